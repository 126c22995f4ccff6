// SPDX-License-Identifier: GPL-2.0-or-later

//! Shows that a volume's key is in no memory dump. Called by `scripts/demo`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tresor_qemu::target_dir;
use tresor_tests::demo::{run, Options};

/// Boots the stock kernel, serves a LUKS2 volume through tresor.ko beside a control volume, dumps
/// all RAM, and looks for the keys.
///
/// Exit status: 0 if every condition holds, 1 if one does not, 2 if a step could not be done.
#[derive(Parser)]
struct Arguments {
    /// A statically linked tresorctl.
    #[arg(long, env = "TRESORCTL", value_name = "FILE")]
    tresorctl: PathBuf,
    /// Where dumps, images and reports are left [default: target/demo].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// CPUs of the VM.
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// RAM of the VM in MiB.
    #[arg(long, default_value_t = 768, value_name = "MIB")]
    memory: u64,
    /// Number of dumps.
    #[arg(long, default_value_t = 3)]
    dumps: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        tresorctl: arguments.tresorctl,
        out: arguments.out.unwrap_or_else(|| target_dir().join("demo")),
        cpus: arguments.cpus,
        memory_mib: arguments.memory,
        dumps: arguments.dumps,
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::from(2)
        }
    }
}
