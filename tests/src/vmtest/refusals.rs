// SPDX-License-Identifier: GPL-2.0-or-later

//! Machines that the module refuses, with the reason in the kernel log.

use std::time::Duration;

use anyhow::{ensure, Result};

use super::guest::{Guest, PROGRAM};
use super::Skip;

pub(super) fn a_cpu_without_aes_ni_is_refused(guest: &mut Guest) -> Result<()> {
    let output = guest.vm.run("modprobe tresor")?;
    ensure!(output.status == 1, "modprobe ended with {}", output.status);
    ensure!(
        output.text().contains("No such device"),
        "modprobe said {:?}",
        output.text()
    );
    let log = guest.log()?;
    ensure!(
        log.contains("tresor: refusing to load: this CPU has no AES-NI with SSE4.1"),
        "the kernel gave no reason: {log}"
    );
    guest.expect(
        "ls /dev/tresor /sys/module/tresor 2>/dev/null; grep -c tresor /proc/crypto",
        1,
        "0",
    )
}

pub(super) fn a_breakpoint_in_use_refuses_the_module_until_it_is_gone(
    guest: &mut Guest,
) -> Result<()> {
    guest.vm.check(&format!(
        "{PROGRAM} watch hold=/run/watched >/run/watch.out 2>&1 &"
    ))?;
    guest.wait(Duration::from_secs(10), "watchpoint", |guest| {
        Ok(guest.vm.run("[ -e /run/watched ]")?.success())
    })?;
    let said = guest.vm.check("cat /run/watch.out")?;
    ensure!(
        said.starts_with("poke-dr0 ok\npoke-dr7 ok\n"),
        "the watchpoint was not set: {said}"
    );
    let output = guest.vm.run("modprobe tresor")?;
    ensure!(output.status == 1, "modprobe ended with {}", output.status);
    ensure!(
        output.text().contains("No space left on device"),
        "modprobe said {:?}",
        output.text()
    );
    let log = guest.log()?;
    ensure!(
        log.contains(
            "tresor: refusing to load: a hardware breakpoint is in use (by a debugger, ptrace or \
             perf); end it and try again"
        ),
        "the kernel gave no reason: {log}"
    );
    guest
        .vm
        .check("rm /run/watched; while pidof tresor-guest; do usleep 20000; done")?;
    guest.insert()?;
    guest.remove()
}

pub(super) fn the_module_warns_where_kvm_is_loaded(guest: &mut Guest) -> Result<()> {
    const WARNING: &str = "tresor: KVM is loaded";
    guest.insert()?;
    ensure!(!guest.log()?.contains(WARNING), "it warned without KVM");
    guest.remove()?;
    let loaded = guest.vm.run("modprobe kvm-amd")?;
    if !loaded.success() {
        return Err(Skip(format!(
            "the VM's CPU has no SVM, and kvm-amd does not load: {}",
            loaded.text().trim()
        ))
        .into());
    }
    guest.insert()?;
    guest.wait_for_log(WARNING)?;
    guest.remove()?;
    guest.vm.check("rmmod kvm-amd").map(drop)
}
