// SPDX-License-Identifier: GPL-2.0-or-later

//! The benchmark.

use std::process::ExitCode;

use clap::Parser;
use tresor_tests::bench::{run, Options};

/// Times the engine beside the kernel's own AES, OpenSSL and RustCrypto, on this machine; then counts
/// what dm-crypt costs with it beside the kernel's AES, in a VM.
///
/// Prints tables, and leaves report.json and throughput.svg in target/bench/. A floor that is missed is
/// printed as such and is no failure. Ends with 0, or with 2 if something could not be measured.
#[derive(Parser)]
#[command(name = "scripts/bench")]
struct Arguments {
    /// Only the host's part: whole requests in user space
    #[arg(long, conflicts_with = "vm")]
    host: bool,
    /// Only the VM's part: dm-crypt over a RAM disk
    #[arg(long)]
    vm: bool,
    /// Measure for a shorter time; figures vary more
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        host: !arguments.vm,
        vm: !arguments.host,
        quick: arguments.quick,
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(2)
        }
    }
}
