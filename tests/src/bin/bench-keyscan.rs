// SPDX-License-Identifier: GPL-2.0-or-later

//! Compares `tresorctl scan` with other finders of AES keys, on this machine.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tresor_tests::bench_keyscan::{run, Options};

/// Compares `tresorctl scan` with other finders of AES keys: what they find, and how fast.
#[derive(Parser)]
struct Arguments {
    /// tresorctl, built with optimisation
    #[arg(long, env = "TRESORCTL")]
    tresorctl: PathBuf,
    /// A dump of a real machine's memory, raw, to measure speed on
    #[arg(long)]
    dump: Option<PathBuf>,
    /// Schedules of each kind and damage
    #[arg(long, default_value_t = 50)]
    count: u32,
    /// MiB of random data, and at most of the dump, that speed is measured on
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    /// Where the result is left
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let Arguments {
        tresorctl,
        dump,
        count,
        mib,
        out,
    } = Arguments::parse();
    let options = Options {
        tresorctl,
        dump,
        count,
        mib,
        out,
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-keyscan: {error:#}");
            ExitCode::from(2)
        }
    }
}
