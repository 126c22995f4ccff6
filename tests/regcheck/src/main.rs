// SPDX-License-Identifier: GPL-2.0-or-later

//! The command.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use regcheck::Report;
use tresor_qemu::Cache;

/// Proves on the machine code of tresor.ko that the engine's routines let no secret out.
///
/// Exit status: 0 proved, 1 refused (each violation is printed), 2 the file cannot be checked.
#[derive(Parser)]
#[command(name = "regcheck")]
struct Arguments {
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// The module [default: the one that scripts/setup built]
    module: Option<PathBuf>,
}

fn run(arguments: &Arguments) -> Result<Report> {
    let module = match &arguments.module {
        Some(module) => module.clone(),
        None => Cache::open()?
            .module
            .context("no tresor.ko is built: run scripts/setup, which builds it")?,
    };
    let name = module.display().to_string();
    let bytes = std::fs::read(&module).with_context(|| format!("cannot read {name}"))?;
    regcheck::check(&bytes).with_context(|| format!("cannot check {name}"))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let report = match run(&arguments) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("regcheck: {error:#}");
            return ExitCode::from(2);
        }
    };
    if arguments.json {
        match serde_json::to_string_pretty(&report) {
            Ok(text) => println!("{text}"),
            Err(error) => {
                eprintln!("regcheck: cannot write the report: {error}");
                return ExitCode::from(2);
            }
        }
    } else {
        println!("{report}");
    }
    ExitCode::from(u8::from(!report.proved))
}
