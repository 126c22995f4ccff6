// SPDX-License-Identifier: GPL-2.0-or-later

//! Runs the soak. Called by `scripts/soak`.

use std::process::ExitCode;

use clap::Parser;
use tresor_qemu::target_dir;
use tresor_tests::soak::{run, Options, Verdict};
use tresor_tests::vmtest::secrets::random;

/// Draws random faults over verified I/O on two volumes, in a VM with four CPUs.
///
/// Prints a line for each fault, a table, and `N passed, N failed, N skipped`, which counts kinds of
/// faults (skipped: done fewer than three times); leaves target/soak/report.json, or report-N.json for
/// the seed N if one is given.
///
/// Exit status: 0 clean, 1 something was wrong, 2 nothing could be run, 3 incomplete: nothing was wrong,
/// but some kind of fault was done fewer than three times.
#[derive(Parser)]
struct Arguments {
    /// For how long
    #[arg(default_value_t = 3, value_name = "MINUTES")]
    minutes: u64,
    /// Draw the faults of the run that printed this seed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Guests of KVM too. Under TCG they may crash the machine by themselves
    #[arg(long)]
    kvm: bool,
}

fn main() -> ExitCode {
    let Arguments { minutes, seed, kvm } = Arguments::parse();
    let path = match seed {
        None => target_dir().join("soak/report.json"),
        Some(seed) => target_dir().join(format!("soak/report-{seed}.json")),
    };
    let result = seed
        .map_or_else(|| random().map(u64::from_le_bytes), Ok)
        .and_then(|seed| {
            println!("seed {seed}, {minutes} minutes");
            let report = run(Options { minutes, seed, kvm })?;
            report.write(&path)?;
            Ok(report)
        });
    match result {
        Ok(report) => {
            println!("\n{report}report: {}", path.display());
            let (lines, [passed, failed, skipped]) = report.tests();
            println!("{lines}{passed} passed, {failed} failed, {skipped} skipped");
            ExitCode::from(match report.verdict {
                Verdict::Clean => 0,
                Verdict::Failed => 1,
                Verdict::Incomplete => 3,
            })
        }
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::from(2)
        }
    }
}
