// SPDX-License-Identifier: GPL-2.0-or-later

//! Boots a VM, runs each argument in it as a shell command, and shows what came of it.
//!
//! ```text
//! cargo run -p tresor-qemu --example run -- 'uname -a' 'modprobe tresor; dmesg | tail'
//! ```
//!
//! `TRESOR_FILES` may list files to put into the guest: `guest=host`, separated by spaces.

use std::path::Path;
use std::time::{Duration, Instant};

use tresor_qemu::{Cache, VmConfig};

fn main() -> anyhow::Result<()> {
    let cache = Cache::open()?;
    let start = Instant::now();
    let mut config = VmConfig::new("run");
    for pair in std::env::var("TRESOR_FILES")
        .unwrap_or_default()
        .split_whitespace()
    {
        if let Some((guest, host)) = pair.split_once('=') {
            config = config.file(guest, 0o755, Path::new(host));
        }
    }
    let mut vm = config.boot(&cache)?;
    println!(
        "{} with {} after {:.1?}",
        cache.kernel_release,
        vm.accel().name(),
        start.elapsed()
    );
    for command in std::env::args().skip(1) {
        let start = Instant::now();
        let output = vm.run_for(&command, Duration::from_secs(600))?;
        println!("$ {command}\n{}", output.text());
        println!("[status {}, {:.1?}]", output.status, start.elapsed());
    }
    for cpu in vm.debug_registers()? {
        println!(
            "CPU {}: DR0-3 {} DR7 {:x}",
            cpu.cpu,
            hex::encode(cpu.bytes()),
            cpu.dr7
        );
    }
    vm.power_off()
}
