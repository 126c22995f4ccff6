// SPDX-License-Identifier: GPL-2.0-or-later

//! CPUs that lose their registers while a volume is open.

use std::time::Duration;

use anyhow::{ensure, Result};
use tresor_uapi::{STATE_ARMED, STATE_LOCKED};

use super::disks::RAM_DISK;
use super::guest::Guest;
use super::secrets::{random, Key};

const DEVICE: &str = "/dev/mapper/loss";

fn open(guest: &mut Guest, seed: u64) -> Result<Key> {
    guest.vm.check("modprobe tresor_test")?;
    let key = guest.insert_and_load()?;
    guest.open_filled("loss", &random::<64>()?, seed)?;
    Ok(key)
}

pub(super) fn a_cpu_that_lost_its_registers_fails_until_it_is_armed_again(
    guest: &mut Guest,
) -> Result<()> {
    let key = open(guest, 61)?;
    let before = guest.status()?;
    let arguments = format!("dev={DEVICE} raw={RAM_DISK} seed=61 mode=read seconds=3");
    let tally = guest.disk(&format!("{arguments} cpu=1 clobber=1"))?;
    ensure!(
        tally.failed > 0 && tally.error == "EIO",
        "no read failed: {tally:?}"
    );
    ensure!(
        tally.last_right,
        "reads still fail after three seconds: {tally:?}"
    );
    ensure!(tally.recovered.is_some(), "it does not recover: {tally:?}");
    let after = guest.ensure_state(STATE_ARMED)?;
    ensure!(
        after.cpus_armed == after.cpus_online,
        "a CPU stays without the key: {after:?}"
    );
    ensure!(
        after.losses == before.losses + 1,
        "losses: {before:?}, then {after:?}"
    );
    ensure!(
        after.armings == before.armings + 1,
        "armings: {before:?}, then {after:?}"
    );
    guest.look_armed(&key)?;

    // The other CPU takes no notice.
    let tally = guest.disk(&format!("{arguments} cpu=0 clobber=1"))?;
    ensure!(tally.failed == 0, "reads on an armed CPU failed: {tally:?}");
    guest.verify(DEVICE, 61)?;
    guest.close_volume("loss")
}

pub(super) fn a_write_on_a_cpu_without_its_registers_reaches_no_disk(
    guest: &mut Guest,
) -> Result<()> {
    open(guest, 62)?;
    let sum = |guest: &mut Guest| guest.vm.check(&format!("sha256sum {RAM_DISK}"));
    let before = sum(guest)?;
    let tally = guest.disk(&format!(
        "dev={DEVICE} seed=62 mode=write seconds=3 cpu=1 clobber=1"
    ))?;
    ensure!(
        tally.failed > 0 && tally.error == "EIO",
        "no write failed: {tally:?}"
    );
    ensure!(
        tally.last_right,
        "writes still fail after three seconds: {tally:?}"
    );
    // The same plaintext was written again: any other ciphertext would be under another key.
    ensure!(sum(guest)? == before, "the ciphertext on the disk changed");
    guest.verify(DEVICE, 62)?;
    guest.close_volume("loss")
}

pub(super) fn losing_all_registers_locks_until_the_right_key_returns(
    guest: &mut Guest,
) -> Result<()> {
    let key = open(guest, 63)?;
    let blob_state = guest.status()?;
    ensure!(
        blob_state.volumes == 1,
        "one volume is open: {blob_state:?}"
    );
    for cpu in 0..2 {
        let arguments = format!("dev={DEVICE} raw={RAM_DISK} seed=63 mode=read");
        let clobber = if cpu == 0 { "clobber=0,1" } else { "" };
        let tally = guest.disk(&format!("{arguments} cpu={cpu} {clobber}"))?;
        ensure!(
            tally.right == 0 && tally.error == "EIO",
            "reads without a key: {tally:?}"
        );
    }
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

    let said = guest.program_with_key("load", &Key::random()?)?;
    ensure!(said == "EKEYREJECTED", "another key: {said}");
    ensure!(guest.status()? == status, "a refused key changed something");
    let tally = guest.disk(&format!("dev={DEVICE} raw={RAM_DISK} seed=63 mode=read"))?;
    ensure!(tally.right == 0, "reads without a key: {tally:?}");

    guest.load(&key)?;
    guest.verify(DEVICE, 63)?;
    guest.look_armed(&key)?;
    guest.close_volume("loss")
}
