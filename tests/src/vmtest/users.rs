// SPDX-License-Identifier: GPL-2.0-or-later

//! What users without privileges can do: nothing.

use anyhow::{ensure, Result};

use super::guest::{Guest, PROGRAM};
use super::secrets::random;

pub(super) fn users_can_do_nothing(guest: &mut Guest) -> Result<()> {
    let key = guest.insert_and_load()?;
    guest.expect("stat -c '%a %u %g' /dev/tresor", 0, "600 0 0")?;
    let output = guest
        .vm
        .run_as_user(&format!("{PROGRAM} ioctl nr={:x}", tresor_uapi::STATUS))?;
    ensure!(
        output.status == 2 && output.text().contains("Permission denied"),
        "a user opened the device: {}",
        output.text()
    );
    let before = guest.look_armed(&key)?;
    let said = guest.program("unprivileged")?;
    ensure!(
        said
            == "open EACCES\nLOAD EPERM\nGENERATE EPERM\nLOCK EPERM\nCLEAR EPERM\nSLOT_KEY EPERM\n\
                 unknown EPERM\nSTATUS ok\nleaked false",
        "with an inherited descriptor a user got: {said}"
    );
    let after = guest.look_armed(&key)?;
    ensure!(before.shares == after.shares, "a user changed something");

    // Blobs are set through device-mapper alone: AF_ALG sees no algorithm that may wait.
    guest.ram_disk()?;
    let table = format!(
        "0 8 crypt tresor-xts-plain64 {} 0 /dev/ram0 0",
        hex::encode(random::<64>()?)
    );
    let output = guest
        .vm
        .run_as_user(&format!("dmsetup create u --table '{table}'"))?;
    ensure!(!output.success(), "a user made a volume: {}", output.text());
    let status = guest.status()?;
    ensure!(status.volumes == 0, "a user made a volume: {status:?}");
    Ok(())
}
