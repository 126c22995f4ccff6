// SPDX-License-Identifier: GPL-2.0-or-later

//! The benchmark: how fast the engine is beside the kernel's own AES and others, on this CPU, and
//! what dm-crypt costs with it, in a VM. `docs/performance.md` explains the method.

mod codes;
mod contest;
mod floors;
mod host;
mod linux;
mod openssl;
mod per_block;
mod plot;
pub mod report;
mod table;
mod vm;

use std::fs;

use anyhow::{Context, Result};
use tresor_qemu::target_dir;

use contest::Effort;
use report::Report;
use vm::Amount;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whole requests in user space.
    pub host: bool,
    /// dm-crypt in a VM.
    pub vm: bool,
    /// Shorter timings, fewer sectors.
    pub quick: bool,
}

/// Runs it, prints the tables, and leaves report and plot in `target/bench`.
///
/// # Errors
/// If a code computes something wrong, or something that is needed is missing.
pub fn run(options: Options) -> Result<()> {
    let folder = target_dir().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut report = Report::new()?;
    if options.host {
        let effort = match options.quick {
            true => Effort::QUICK,
            false => Effort::FULL,
        };
        host::run(&mut report, effort)?;
        let plot = folder.join("throughput.svg");
        fs::write(&plot, plot::svg(&report))
            .with_context(|| format!("cannot write {}", plot.display()))?;
    }
    if options.vm {
        let amount = match options.quick {
            true => Amount::QUICK,
            false => Amount::FULL,
        };
        vm::run(&mut report, amount)?;
    }
    let file = folder.join("report.json");
    let json = serde_json::to_string_pretty(&report)?;
    fs::write(&file, json).with_context(|| format!("cannot write {}", file.display()))?;
    print!("{}", table::text(&report));
    println!("The report and the plot are in {}.", folder.display());
    Ok(())
}
