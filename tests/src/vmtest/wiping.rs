// SPDX-License-Identifier: GPL-2.0-or-later

//! What is left when M is gone.

use anyhow::{ensure, Result};
use tresor_uapi::{STATE_EMPTY, STATE_LOCKED};

use super::guest::Guest;
use super::secrets::{Found, Key, Look};

/// Fails if anything of M or of the shares that `before` shows is left in the stopped machine.
fn ensure_gone(guest: &mut Guest, key: &Key, before: &Look) -> Result<()> {
    let mut secrets = vec![("M".to_owned(), key.m.to_vec())];
    for (cpu, share) in before.registers().iter().enumerate() {
        secrets.push((format!("DR of CPU {cpu}"), share.to_vec()));
        secrets.push((format!("S of CPU {cpu}"), key.other_share(share).to_vec()));
    }
    guest.while_stopped(|vm| {
        let cpus = vm.debug_registers()?;
        let ram = vm.ram()?;
        let found = Found::search(ram, &secrets)?.any();
        ensure!(found.is_empty(), "RAM still holds {}", found.join(", "));
        Look::at(ram, cpus, key)?.ensure_clear()
    })
}

/// Fails unless every line of the table of shares is zero.
fn ensure_table_zero(guest: &mut Guest, before: &Look) -> Result<()> {
    guest.while_stopped(|vm| {
        let ram = vm.ram()?;
        for (cpu, at) in before.shares.iter().enumerate() {
            let at = at.unwrap_or_default() as usize;
            ensure!(ram[at..at + 32] == [0; 32], "S of CPU {cpu} is not zero");
        }
        Ok(())
    })
}

pub(super) fn lock_wipes_shares_and_registers(guest: &mut Guest) -> Result<()> {
    let key = guest.insert_and_load()?;
    let before = guest.look_armed(&key)?;
    ensure!(guest.lock()? == "ok", "it cannot be locked");
    ensure_table_zero(guest, &before)?;
    ensure_gone(guest, &key, &before)?;
    let status = guest.ensure_state(STATE_LOCKED)?;
    ensure!(
        status.check == key.master.check_value(),
        "it forgot which key was locked"
    );
    ensure!(status.cpus_armed == 0, "CPUs count as armed: {status:?}");

    let wrong = Key::random()?;
    let said = guest.program_with_key("load", &wrong)?;
    ensure!(
        said == "EKEYREJECTED",
        "another key than the locked one: {said}"
    );
    guest.ensure_state(STATE_LOCKED)?;
    ensure_table_zero(guest, &before)?;
    ensure_gone(guest, &wrong, &before)?;
    guest.load(&key)?;
    guest.look_armed(&key).map(drop)
}

pub(super) fn clear_wipes_shares_and_registers_and_forgets_the_key(
    guest: &mut Guest,
) -> Result<()> {
    let key = guest.insert_and_load()?;
    let before = guest.look_armed(&key)?;
    ensure!(guest.clear(0)? == "ok", "it cannot be cleared");
    ensure_table_zero(guest, &before)?;
    ensure_gone(guest, &key, &before)?;
    let status = guest.ensure_state(STATE_EMPTY)?;
    ensure!(
        status.check == [0; 16] && status.cpus_armed == 0,
        "it remembers: {status:?}"
    );
    let other = Key::random()?;
    guest.load(&other)?;
    guest.look_armed(&other).map(drop)
}

pub(super) fn unloading_wipes_shares_and_registers_and_can_be_repeated(
    guest: &mut Guest,
) -> Result<()> {
    // The shares may be refreshed between the look and the end, hence more than one look counts.
    for _ in 0..if guest.all { 50 } else { 5 } {
        let key = guest.insert_and_load()?;
        let before = guest.look_armed(&key)?;
        guest.remove()?;
        ensure_gone(guest, &key, &before)?;
    }
    guest.expect(
        "ls /dev/tresor; grep -c tresor /proc/crypto",
        1,
        "ls: /dev/tresor: No such file or directory\n0",
    )
}
