// SPDX-License-Identifier: GPL-2.0-or-later

//! Runs the AVX-512 variant in the kernel, in Bochs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Runs the engine's AVX-512 variant in the stock kernel, in Bochs, which emulates a CPU that has it:
/// its known answers, and data through dm-crypt that another variant has written or reads.
///
/// Takes some five minutes. What it leaves is in target/bochs/. Ends with 0 if no check failed, with 1
/// if one did, with 2 if they could not be run.
#[derive(Parser)]
#[command(name = "scripts/bochs")]
struct Arguments {
    /// Folder with the unpacked packages of Bochs, which scripts/bochs makes
    #[arg(long, hide = true)]
    tools: PathBuf,
}

fn main() -> ExitCode {
    let Arguments { tools } = Arguments::parse();
    match tresor_tests::bochs::run(&tools) {
        Ok(counts) => {
            println!(
                "{} passed, {} failed, {} skipped",
                counts.passed, counts.failed, counts.skipped
            );
            ExitCode::from(u8::from(counts.failed > 0))
        }
        Err(error) => {
            eprintln!("bochs: {error:#}");
            ExitCode::from(2)
        }
    }
}
