// SPDX-License-Identifier: GPL-2.0-or-later

//! How a machine ends: M is erased first.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Result};
use tresor_qemu::{Hang, VmConfig};

use super::guest::Guest;
use super::secrets::{random, Found, Key, Look};

/// A VM that stays as it is when the guest reboots, powers off or panics.
pub(super) fn machine(usual: VmConfig) -> VmConfig {
    usual
        .args(["-action", "reboot=shutdown,shutdown=pause"])
        .append("panic=0")
}

/// The key loaded, a volume open and filled, and a look at both shares.
fn prepare(guest: &mut Guest) -> Result<(Key, Look)> {
    let key = guest.insert_and_load()?;
    guest.open_filled("end", &random::<64>()?, 41)?;
    let look = guest.look_armed(&key)?;
    Ok((key, look))
}

/// Runs a command from which the guest does not return.
fn run_to_the_end(guest: &mut Guest, command: &str) -> Result<()> {
    match guest.vm.run_for(command, Duration::from_secs(3)) {
        Ok(output) => bail!("`{command}` returned: {}", output.text()),
        Err(error) if error.is::<Hang>() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Fails if the shares, or M, or what fits the registers is in the RAM of the stopped machine.
pub(super) fn ensure_erased(guest: &mut Guest, key: &Key, before: &Look) -> Result<Look> {
    guest.vm.stop()?;
    let cpus = guest.vm.debug_registers()?;
    let ram = guest.vm.ram()?;
    for (cpu, at) in before.shares.iter().enumerate() {
        let at = at.unwrap_or_default() as usize;
        ensure!(ram[at..at + 32] == [0; 32], "S of CPU {cpu} is not zero");
    }
    let mut secrets = vec![("M".to_owned(), key.m.to_vec())];
    let old = before.registers();
    let new = cpus
        .iter()
        .filter(|cpu| !cpu.is_clear())
        .map(|cpu| cpu.bytes());
    for (i, share) in old.into_iter().chain(new).enumerate() {
        let name = format!("the other share of registers {i}");
        // A CPU whose registers did not change since gives the same share again.
        let other = key.other_share(&share).to_vec();
        if secrets.iter().all(|(_, known)| *known != other) {
            secrets.push((name, other));
        }
    }
    let found = Found::search(ram, &secrets)?.any();
    ensure!(found.is_empty(), "RAM holds {}", found.join(", "));
    Look::at(ram, cpus, key)
}

pub(super) fn a_panic_erases_the_shares(guest: &mut Guest) -> Result<()> {
    guest.spend();
    guest.provokes_complaints();
    let (key, before) = prepare(guest)?;
    run_to_the_end(guest, "echo c >/proc/sysrq-trigger")?;
    let console = guest.vm.console().clone();
    console.wait_for("end Kernel panic", Duration::from_secs(20))?;
    let look = ensure_erased(guest, &key, &before)?;
    ensure!(
        look.cpus.iter().any(|cpu| cpu.is_clear()),
        "the CPU that panicked keeps its registers"
    );
    let log = console.text()?;
    ensure!(!log.contains("DR0:"), "debug registers were printed");
    Ok(())
}

/// Waits until QEMU has paused the machine at the end of the guest.
fn wait_for_end(guest: &mut Guest) -> Result<()> {
    let start = Instant::now();
    loop {
        let state = guest.vm.qmp().monitor("info status")?;
        if state.contains("shutdown") || state.contains("paused") {
            return Ok(());
        }
        ensure!(
            start.elapsed() < guest.vm.limit(Duration::from_secs(20)),
            "the guest does not end: {state}"
        );
        thread::sleep(Duration::from_millis(50));
    }
}

pub(super) fn a_reboot_erases_shares_and_registers(guest: &mut Guest) -> Result<()> {
    guest.spend();
    let (key, before) = prepare(guest)?;
    run_to_the_end(guest, "reboot -f")?;
    wait_for_end(guest)?;
    ensure_erased(guest, &key, &before)?.ensure_clear()
}

pub(super) fn a_power_off_erases_shares_and_registers(guest: &mut Guest) -> Result<()> {
    guest.spend();
    let (key, before) = prepare(guest)?;
    run_to_the_end(guest, "poweroff -f")?;
    wait_for_end(guest)?;
    ensure_erased(guest, &key, &before)?.ensure_clear()
}
