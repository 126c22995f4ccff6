// SPDX-License-Identifier: GPL-2.0-or-later

//! CPUs that lose their registers while a volume is open.

use std::time::Duration;

use anyhow::{ensure, Result};
use tresor_uapi::{STATE_ARMED, STATE_LOCKED};

use super::guest::Guest;
use super::secrets::{random, Key};

const DEVICE: &str = "/dev/mapper/loss";

fn open(guest: &mut Guest, seed: u64) -> Result<Key> {
    guest.vm.check("modprobe tresor_test")?;
    let key = guest.insert_and_load()?;
    guest.open_filled("loss", &random::<64>()?, seed)?;
    Ok(key)
}

pub(super) fn a_cpu_that_lost_its_registers_passes_its_io_on_until_it_is_armed_again(
    guest: &mut Guest,
) -> Result<()> {
    let key = open(guest, 61)?;
    for mode in ["read", "write"] {
        let before = guest.status()?;
        let tally = guest.disk(&format!(
            "dev={DEVICE} seed=61 mode={mode} seconds=3 cpu=1 clobber=1"
        ))?;
        ensure!(tally.failed == 0, "{mode} failed: {tally:?}");
        let after = guest.ensure_state(STATE_ARMED)?;
        ensure!(
            after.cpus_armed == after.cpus_online && after.waiting == 0,
            "a CPU stays without the key: {after:?}"
        );
        ensure!(
            after.losses == before.losses + 1 && after.armings == before.armings + 1,
            "{before:?}, then {after:?}"
        );
        ensure!(after.hopped > before.hopped, "nothing hopped: {after:?}");
        ensure!(after.parked == before.parked, "it was parked: {after:?}");
    }
    guest.look_armed(&key)?;

    // The other CPU takes no notice.
    let hopped = guest.status()?.hopped;
    let tally = guest.disk(&format!(
        "dev={DEVICE} seed=61 mode=read seconds=3 cpu=0 clobber=1"
    ))?;
    ensure!(tally.failed == 0, "reads on an armed CPU failed: {tally:?}");
    ensure!(guest.status()?.hopped == hopped, "its requests hopped");
    guest.verify(DEVICE, 61)?;
    guest.close_volume("loss")
}

pub(super) fn with_rearm_never_a_cpu_stays_without_the_key_until_it_is_loaded(
    guest: &mut Guest,
) -> Result<()> {
    let said = guest.vm.run("modprobe tresor rearm=sometimes")?;
    ensure!(!said.success(), "rearm=sometimes was accepted");
    guest.wait_for_log("refusing to load: rearm is always or never, not \"sometimes\"")?;
    guest
        .vm
        .check("modprobe tresor_test; modprobe tresor rearm=never")?;
    let key = guest.load_new()?;
    guest.open_filled("loss", &random::<64>()?, 64)?;
    let before = guest.status()?;
    let tally = guest.disk(&format!(
        "dev={DEVICE} seed=64 mode=write seconds=3 cpu=1 clobber=1"
    ))?;
    ensure!(tally.failed == 0, "{tally:?}");
    let after = guest.ensure_state(STATE_ARMED)?;
    ensure!(
        after.cpus_armed == 1 && after.armings == before.armings,
        "M crossed RAM: {before:?}, then {after:?}"
    );
    let tally = guest.disk(&format!("dev={DEVICE} seed=64 mode=read cpu=1"))?;
    ensure!(tally.failed == 0, "{tally:?}");
    ensure!(
        guest.status()?.hopped >= after.hopped + tally.right,
        "requests did not hop: {after:?}"
    );
    guest.load(&key)?;
    let now = guest.ensure_state(STATE_ARMED)?;
    ensure!(
        now.cpus_armed == now.cpus_online && now.armings == after.armings + 1,
        "loading the key again does not arm: {now:?}"
    );
    guest.look_armed(&key)?;
    guest.verify(DEVICE, 64)?;
    guest.close_volume("loss")
}

pub(super) fn losing_all_registers_locks_until_the_right_key_returns(
    guest: &mut Guest,
) -> Result<()> {
    let key = open(guest, 63)?;
    let before = guest.status()?;
    ensure!(before.volumes == 1, "one volume is open: {before:?}");
    // Both CPUs lose it, then this reads.
    guest.start_disk(
        "loss",
        &format!("dev={DEVICE} seed=63 mode=read cpu=0 clobber=0,1"),
    )?;
    guest.wait(Duration::from_secs(3), "locked state", |guest| {
        Ok(guest.status()?.state == STATE_LOCKED)
    })?;
    guest.wait_for_log("tresor: no CPU holds the key any more: locked until it is loaded again")?;
    let look = guest.look(&key)?;
    look.ensure_clear()?;
    let status = guest.ensure_state(STATE_LOCKED)?;
    ensure!(
        status.check == key.master.check_value() && status.volumes == 1,
        "{status:?}"
    );
    ensure!(
        status.waiting != 0 && status.parked == before.parked + u64::from(status.waiting),
        "the requests do not wait: {status:?}"
    );

    let said = guest.program_with_key("load", &Key::random()?)?;
    ensure!(said == "EKEYREJECTED", "another key: {said}");
    ensure!(guest.status()? == status, "a refused key changed something");

    guest.load(&key)?;
    let tally = guest.end_disk("loss")?;
    ensure!(tally.failed == 0, "a parked read failed: {tally:?}");
    ensure!(guest.status()?.waiting == 0, "something still waits");
    guest.verify(DEVICE, 63)?;
    guest.look_armed(&key)?;
    guest.close_volume("loss")
}
