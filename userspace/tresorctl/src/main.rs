// SPDX-License-Identifier: GPL-2.0-or-later

//! tresorctl: loads, locks and inspects the tresor master key, and scans memory dumps for keys.

mod check;
mod cli;
mod commands;
mod derive;
mod description;
mod device;
mod error;
mod loader;
mod pipe;
mod process;
mod secret;
mod swaps;
mod terminal;
mod uevent;
mod volumes;

use clap::Parser;
use cli::{Cli, Command};
use error::{Error, Exit};
use nix::sys::signal::raise;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(signal) = error.signal {
                // Ends the process as the shell expects. If it does not, the exit code will do.
                let _ = raise(signal);
            }
            error.exit.into()
        }
    }
}

fn run(cli: Cli) -> Result<Exit, Error> {
    process::harden()?;
    let device = cli.device.as_path();
    match cli.command {
        Command::Load(load) => commands::load::run(device, &load),
        Command::Lock => commands::lock::lock(device),
        Command::Clear { force } => commands::lock::clear(device, force),
        Command::Status { json, armed } => commands::status::run(device, json, armed),
        Command::MayHibernate => commands::may_hibernate::run(),
        Command::Agent(agent) => commands::agent::run(device, &agent),
        Command::SlotKey { uuid, output } => {
            commands::slot_key::run(device, &uuid, output.as_deref())
        }
        Command::Scan(scan) => commands::scan::run(&scan),
        Command::Completions { shell } => commands::generate::completions(shell),
        Command::Man { output } => commands::generate::man(output.as_deref()),
    }
}
