// SPDX-License-Identifier: GPL-2.0-or-later

//! `tresorctl scan --self-test`.

use super::super::print;
use crate::cli;
use crate::error::{Error, Exit};
use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use keyscan::{false_reports, Damage, Detection, FalseReports, Harm};
use serde_json::json;
use std::fmt::Write;

/// What random data is searched for, beside undamaged schedules.
const RANDOM: [Option<Damage>; 3] = [None, Some(Damage::flips(0.05)), Some(Damage::decay(0.30))];

/// Plants schedules, searches for them, and prints how many were found.
pub fn run(args: &cli::Scan) -> Result<Exit, Error> {
    let bar = progress_bar((Harm::ALL.len() + RANDOM.len()) as u64);
    let mut lines = Vec::new();
    for harm in Harm::ALL {
        bar.set_message(harm.to_string());
        lines.extend(keyscan::self_test(&[harm], args.count, args.seed));
        bar.inc(1);
    }
    let mut random = Vec::new();
    for damage in RANDOM {
        bar.set_message("random data");
        random.push(false_reports(args.random << 20, damage, args.seed));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let kept = lines.iter().all(is_kept) && random.iter().all(|line| line.reports == 0);
    if args.json {
        let value = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "detection": lines,
            "random": random,
            "kept": kept,
        });
        let text = serde_json::to_string_pretty(&value)
            .map_err(|e| Error::new(format!("cannot write JSON: {e}")))?;
        print(&(text + "\n"))?;
    } else {
        print(&table(&lines, &random, kept))?;
    }
    Ok(if kept { Exit::Ok } else { Exit::No })
}

/// Whether a line is as the documentation promises.
fn is_kept(line: &Detection) -> bool {
    let least = match line.harm {
        Harm::None | Harm::Bits(_) => 1.0,
        Harm::Flips(rate) if rate <= 0.05 => 0.95,
        _ => 0.0,
    };
    let found = f64::from(line.found) >= least * f64::from(line.planted);
    found && line.wrong_key + line.false_reports == 0
}

fn table(lines: &[Detection], random: &[FalseReports], kept: bool) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(
        text,
        "Schedules found with the right key, of those planted in random data at any offset, half of \
         them\nbyte-swapped. \"enc\": for encryption, in either order of rounds; \"dec\": for decryption.\n"
    );
    let _ = write!(text, "{:22}", "DAMAGE");
    for bits in [128, 192, 256] {
        let _ = write!(
            text,
            " {:>9} {:>9}",
            format!("{bits} enc"),
            format!("{bits} dec")
        );
    }
    let _ = writeln!(text, " {:>6} {:>6}", "WRONG", "FALSE");
    for harm in Harm::ALL {
        let of_harm = || lines.iter().filter(|line| line.harm == harm);
        let _ = write!(text, "{harm:22}");
        for bits in [128, 192, 256] {
            for decryption in [false, true] {
                let here = || {
                    of_harm().filter(|line| {
                        (line.bits, line.layout.is_decryption()) == (bits, decryption)
                    })
                };
                let found: u32 = here().map(|line| line.found).sum();
                let planted: u32 = here().map(|line| line.planted).sum();
                let _ = write!(text, " {:>9}", format!("{found}/{planted}"));
            }
        }
        let wrong: u32 = of_harm().map(|line| line.wrong_key).sum();
        let false_reports: u32 = of_harm().map(|line| line.false_reports).sum();
        let _ = writeln!(text, " {wrong:>6} {false_reports:>6}");
    }
    text.push('\n');
    for line in random {
        let seconds = line.time.as_secs_f64();
        let _ = writeln!(
            text,
            "random data, {:24} {} false reports in {} ({}/s)",
            line.sought(),
            line.reports,
            BinaryBytes(line.bytes),
            BinaryBytes((line.bytes as f64 / seconds.max(1e-9)) as u64)
        );
    }
    let verdict = if kept {
        "as promised"
    } else {
        "NOT as promised"
    };
    let _ = writeln!(text, "\nDetection and false reports are {verdict}.");
    text
}

fn progress_bar(steps: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
    // A template that does not parse would only cost the looks.
    if let Ok(style) = ProgressStyle::with_template("{msg:22} {wide_bar} {pos}/{len} {eta} left") {
        bar.set_style(style);
    }
    bar
}
