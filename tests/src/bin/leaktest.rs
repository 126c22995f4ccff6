// SPDX-License-Identifier: GPL-2.0-or-later

//! Runs the leak matrix. Called by `scripts/leaktest`.

use std::process::ExitCode;

use clap::Parser;
use tresor_tests::leaktest::runner::{run, Options};

/// Tries every way by which a key is known to leak, and looks for ours wherever it could have ended
/// up: scenarios x oracles, each cell with a control that must be found.
///
/// Prints a line for each cell, the matrix, and `N passed, N failed, N skipped` (skipped: pending);
/// leaves target/leaktest/report.json.
///
/// Exit status: 0 if every cell that is not pending saw its control and nothing of ours, 1 if one did
/// not, 2 if nothing could be run.
#[derive(Parser)]
struct Arguments {
    /// Run only what scripts/test runs: fewer scenarios, and fewer random stops
    #[arg(long)]
    short: bool,
    /// Run only scenarios whose names contain this
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    filter: String,
    /// Repeat the random stops of the run that printed this seed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let Arguments {
        short,
        filter,
        seed,
    } = Arguments::parse();
    match run(&Options {
        short,
        filter,
        seed,
    }) {
        Ok(totals) => {
            println!(
                "{} passed, {} failed, {} skipped",
                totals.passed, totals.failed, totals.pending
            );
            ExitCode::from(u8::from(!totals.good()))
        }
        Err(error) => {
            eprintln!("leaktest: {error:#}");
            ExitCode::from(2)
        }
    }
}
