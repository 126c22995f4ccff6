// SPDX-License-Identifier: GPL-2.0-or-later

//! Runs the tests that need a VM, and prints one line for each and one with their counts.

use std::process::ExitCode;

use clap::Parser;
use tresor_tests::vmtest::runner::{run, Options};

/// Runs the tests that need a VM.
///
/// Ends with 0 if none failed, with 1 if one did, with 2 if they could not be run.
#[derive(Parser)]
struct Arguments {
    /// Loop longer where a test loops
    #[arg(long)]
    all: bool,
    /// Run only tests whose names contain this
    #[arg(default_value = "")]
    filter: String,
}

fn main() -> ExitCode {
    let Arguments { all, filter } = Arguments::parse();
    match run(&Options { all, filter }) {
        Ok(counts) => {
            println!(
                "{} passed, {} failed, {} skipped",
                counts.passed, counts.failed, counts.skipped
            );
            ExitCode::from(u8::from(counts.failed > 0))
        }
        Err(error) => {
            eprintln!("vmtest: {error:#}");
            ExitCode::from(2)
        }
    }
}
