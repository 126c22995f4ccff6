// SPDX-License-Identifier: GPL-2.0-or-later

//! What loading leaves of M in memory.

use std::time::Duration;

use anyhow::{ensure, Result};
use tresor_guest::mask;

use super::guest::{Guest, PROGRAM};
use super::secrets::{Found, Key};

pub(super) fn loading_leaves_nothing_of_the_key_in_ram(guest: &mut Guest) -> Result<()> {
    guest.insert()?;
    let key = Key::random()?;
    let mut masked = key.m;
    mask(&mut masked);
    // The control: the caller's own buffer, before the caller wipes it.
    // The shell gives what runs in the background no standard input of its own.
    let held = format!("exec 3<&0; {PROGRAM} load hold=/run/held <&3 >/run/load.out 2>&1 &");
    let output = guest.vm.run_with_input(&held, &masked)?;
    ensure!(output.success(), "{}", output.text());
    guest.wait(Duration::from_secs(10), "held buffer", |guest| {
        Ok(guest.vm.run("[ -e /run/held ]")?.success())
    })?;
    guest.expect("cat /run/load.out", 0, "ok")?;
    let look = guest.look_armed(&key)?;
    ensure!(
        look.master.len() == 1,
        "M is at {:x?} instead of one place",
        look.master
    );

    guest
        .vm
        .check("rm /run/held; while pidof tresor-guest; do usleep 20000; done")?;
    let look = guest.look_armed(&key)?;
    ensure!(look.master.is_empty(), "M is still at {:x?}", look.master);
    // Twice more: the key that is loaded already, and one that is refused.
    guest.load(&key)?;
    let other = Key::random()?;
    let said = guest.program_with_key("load", &other)?;
    ensure!(said == "EBUSY", "another key over the loaded one: {said}");
    let secrets =
        [("M", &key), ("the refused key", &other)].map(|(n, k)| (n.to_owned(), k.m.to_vec()));
    let found = guest
        .while_stopped(|vm| Found::search(vm.ram()?, &secrets))?
        .any();
    ensure!(found.is_empty(), "RAM holds {}", found.join(", "));
    Ok(())
}
