// SPDX-License-Identifier: GPL-2.0-or-later

//! The shares change every second, M does not.

use std::thread;
use std::time::Duration;

use anyhow::{ensure, Result};

use super::guest::Guest;
use super::parking::Busy;
use super::secrets::{Found, Key};

pub(super) fn shares_are_refreshed_so_that_old_registers_are_worthless(
    guest: &mut Guest,
) -> Result<()> {
    let key = guest.insert_and_load()?;
    ensure_refreshed(guest, &key)
}

pub(super) fn shares_are_refreshed_under_load_too(guest: &mut Guest) -> Result<()> {
    let key = guest.insert_and_load()?;
    let busy = Busy::start(guest, &[])?;
    for _ in 0..3 {
        ensure_refreshed(guest, &key)?;
    }
    let verified = busy.end_well(guest)?.verified;
    guest.remark(&format!("{verified} sectors verified meanwhile"));
    Ok(())
}

/// Fails unless registers that were seen at one moment, with which M can be put together from the RAM of
/// that moment (the control), are worth nothing with the RAM of two and a half seconds later.
fn ensure_refreshed(guest: &mut Guest, key: &Key) -> Result<()> {
    let before = guest.look_armed(key)?;
    let refreshes = guest.status()?.refreshes;
    thread::sleep(Duration::from_millis(2500));
    // That M xor DR_c is there again for every CPU shows that both shares changed together.
    let after = guest.look_armed(key)?;
    ensure!(before.shares == after.shares, "the table of shares moved");
    let pairs = before.registers().into_iter().zip(after.registers());
    let mut old = Vec::new();
    for (cpu, (was, is)) in pairs.enumerate() {
        for (i, (was, is)) in was.chunks(8).zip(is.chunks(8)).enumerate() {
            ensure!(was != is, "DR{i} of CPU {cpu} did not change");
        }
        old.push((
            format!("old S of CPU {cpu}"),
            key.other_share(&was).to_vec(),
        ));
        old.push((format!("old DR of CPU {cpu}"), was.to_vec()));
    }
    let found = guest
        .while_stopped(|vm| Found::search(vm.ram()?, &old))?
        .any();
    ensure!(found.is_empty(), "RAM still holds {}", found.join(", "));
    let status = guest.status()?;
    let cpus = u64::from(status.cpus_online);
    ensure!(
        status.refreshes >= refreshes + 2 * cpus,
        "{} refreshes became only {} in 2.5 seconds on {cpus} CPUs",
        refreshes,
        status.refreshes
    );
    ensure!(status.losses == 0, "losses were counted: {status:?}");
    Ok(())
}

pub(super) fn each_cpu_has_shares_of_its_own(guest: &mut Guest) -> Result<()> {
    let key = guest.insert_and_load()?;
    let look = guest.look_armed(&key)?;
    let mut words: Vec<u64> = look.cpus.iter().flat_map(|cpu| cpu.dr).collect();
    let count = words.len();
    words.sort_unstable();
    words.dedup();
    ensure!(
        words.len() == count,
        "two debug registers hold the same word"
    );
    for cpu in &look.cpus {
        ensure!(
            cpu.dr7 & 0xff == 0,
            "CPU {} has a breakpoint enabled: DR7 {:x}",
            cpu.cpu,
            cpu.dr7
        );
    }
    for at in look.shares.iter().flatten() {
        ensure!(
            at % 64 == 0,
            "a share at {at:#x} has no cache line of its own"
        );
    }
    ensure!(
        look.master.is_empty(),
        "M itself is in RAM at {:x?}",
        look.master
    );
    Ok(())
}
