// SPDX-License-Identifier: GPL-2.0-or-later

//! What is refused while a volume is open, and what force does to it.

use anyhow::{ensure, Result};
use tresor_uapi::{CLEAR_FORCE, STATE_ARMED, STATE_EMPTY};

use super::guest::Guest;
use super::secrets::{random, Key};

const DEVICE: &str = "/dev/mapper/open";

pub(super) fn clear_and_unload_are_refused_while_a_volume_is_open(guest: &mut Guest) -> Result<()> {
    let key = guest.insert_and_load()?;
    guest.open_filled("open", &random::<64>()?, 81)?;
    let refused = |guest: &mut Guest| -> Result<()> {
        ensure!(guest.clear(0)? == "EBUSY", "it was cleared");
        let said = guest.vm.run("rmmod tresor")?;
        ensure!(
            said.status == 1 && said.text().contains("Module tresor is in use"),
            "rmmod said {}: {:?}",
            said.status,
            said.text()
        );
        Ok(())
    };
    refused(guest)?;
    let status = guest.ensure_state(STATE_ARMED)?;
    ensure!(
        status.volumes == 1 && status.cpus_armed == status.cpus_online,
        "{status:?}"
    );
    guest.look_armed(&key)?;
    guest.verify(DEVICE, 81)?;
    ensure!(guest.lock()? == "ok", "it cannot be locked");
    refused(guest)?;
    guest.load(&key)?;
    guest.verify(DEVICE, 81)?;

    guest.close_volume("open")?;
    ensure!(
        guest.status()?.volumes == 0,
        "the closed volume still counts"
    );
    ensure!(
        guest.clear(0)? == "ok",
        "it cannot be cleared after the volume was closed"
    );
    Ok(())
}

pub(super) fn a_forced_clear_fails_io_until_the_same_key_returns(guest: &mut Guest) -> Result<()> {
    let key = guest.insert_and_load()?;
    guest.open_filled("open", &random::<64>()?, 82)?;
    ensure!(
        guest.clear(CLEAR_FORCE)? == "ok",
        "it was not cleared by force"
    );
    guest.ensure_state(STATE_EMPTY)?;
    guest.look(&key)?.ensure_clear()?;
    let fails = |guest: &mut Guest, when: &str| -> Result<()> {
        for mode in ["read", "write"] {
            let tally = guest.disk(&format!("dev={DEVICE} raw=/dev/ram0 seed=82 mode={mode}"))?;
            ensure!(
                tally.right == 0 && tally.error == "EIO",
                "{mode} {when}: {tally:?}"
            );
        }
        Ok(())
    };
    fails(guest, "without a key")?;
    let refused = guest.try_open_volume(
        "new",
        "tresor-xts-plain64",
        &random::<64>()?,
        "/dev/ram0",
        &[],
    )?;
    ensure!(refused.is_err(), "a volume was opened without a key");
    let other = Key::random()?;
    guest.load(&other)?;
    let before = guest.status()?;
    fails(guest, "under another key")?;
    // Its failures say nothing about the CPUs, and must not cost them the key that they hold.
    let after = guest.status()?;
    ensure!(
        after.losses == before.losses && after.cpus_armed == after.cpus_online,
        "before: {before:?}, after: {after:?}"
    );
    guest.look_armed(&other)?;
    ensure!(
        guest.clear(CLEAR_FORCE)? == "ok",
        "it was not cleared by force"
    );
    guest.load(&key)?;
    guest.verify(DEVICE, 82)?;
    guest.close_volume("open")
}
