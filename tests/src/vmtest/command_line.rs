// SPDX-License-Identifier: GPL-2.0-or-later

//! `tresorctl` against the real module.

use anyhow::{ensure, Result};
use tresor_uapi::{STATE_ARMED, STATE_EMPTY, STATE_LOCKED};

use super::guest::Guest;
use super::secrets::{random, Found, Key};
use crate::master::{create, derive, last_line, load, status, DESCRIPTION};
use crate::reference::Master;

const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

/// A passphrase that nobody has used before.
fn passphrase() -> Result<String> {
    Ok(format!("pass {}", hex::encode(random::<12>()?)))
}

pub(super) fn tresorctl_loads_by_passphrase_and_leaves_nothing_in_ram(
    guest: &mut Guest,
) -> Result<()> {
    guest.insert()?;
    guest.vm.check("rm -rf /etc/tresor/key.toml")?;
    let (right, wrong) = (passphrase()?, passphrase()?);
    let description = create(&mut guest.vm, &right)?;
    let m = derive(&description, right.as_bytes())?;
    let key = Key {
        m,
        master: Master::new(&m),
    };
    let state = guest.ensure_state(STATE_ARMED)?;
    ensure!(
        state.check == key.master.check_value(),
        "the key is not Argon2id of the passphrase"
    );
    guest.look_armed(&key)?;

    ensure!(guest.lock()? == "ok", "it cannot be locked");
    let refused = load(&mut guest.vm, &wrong)?;
    let wanted = format!(
        "error: wrong passphrase: it does not give key {}; nothing was changed",
        key.master.key_id()
    );
    ensure!(
        (refused.status, last_line(&refused)) == (4, wanted.clone()),
        "a wrong passphrase: {} {} instead of 4 {wanted}",
        refused.status,
        refused.text()
    );
    guest.ensure_state(STATE_LOCKED)?;
    let loaded = load(&mut guest.vm, &right)?;
    let wanted = format!("key {} is loaded on 2 of 2 CPUs", key.master.key_id());
    ensure!(
        (loaded.status, last_line(&loaded)) == (0, wanted.clone()),
        "the right passphrase: {} {} instead of 0 {wanted}",
        loaded.status,
        loaded.text()
    );
    let said = status(&mut guest.vm)?;
    ensure!(
        said.key_id == Some(key.master.key_id()) && (said.cpus_armed, said.cpus_online) == (2, 2),
        "tresorctl status says {said:?}"
    );

    // The control is what was written to a file on purpose.
    let control = random::<32>()?;
    guest.vm.write_file("/run/control", &control)?;
    guest.look_armed(&key)?;
    let not_typed = right.trim_start_matches("pass ").as_bytes().to_vec();
    let secrets = [
        ("M".to_owned(), key.m.to_vec()),
        ("the passphrase".to_owned(), not_typed),
        ("the control".to_owned(), control.to_vec()),
    ];
    let found = guest.while_stopped(|vm| Found::search(vm.ram()?, &secrets))?;
    ensure!(
        found.whole("the control").is_some(),
        "the control was not found"
    );
    for name in ["M", "the passphrase"] {
        ensure!(
            found.all(name).is_empty(),
            "RAM holds {name} at {:x?}",
            found.all(name)
        );
    }
    guest
        .vm
        .check(&format!("rm {DESCRIPTION} /run/control"))
        .map(drop)
}

pub(super) fn tresorctl_gives_the_slot_key_to_root_alone(guest: &mut Guest) -> Result<()> {
    let key = guest.insert_and_load()?;
    let slot_key = format!("tresorctl slot-key {UUID} | base64 -w 0");
    let text = guest.vm.check(&slot_key)?;
    guest
        .vm
        .check(&format!("tresorctl slot-key --output /run/slot {UUID}"))?;
    let bytes = guest.vm.read_file("/run/slot")?;
    ensure!(
        bytes == key.master.slot_key(UUID),
        "the slot key is not F('s', ..)"
    );
    ensure!(
        guest.vm.check("base64 -w 0 /run/slot")? == text,
        "a pipe and a file differ"
    );
    guest.expect("stat -c %a /run/slot; rm /run/slot", 0, "600")?;
    let output = guest
        .vm
        .run_as_user(&format!("tresorctl slot-key {UUID} >/dev/null"))?;
    ensure!(
        (output.status, output.text().as_str())
            == (
                2,
                "error: /dev/tresor may be opened by root only: run tresorctl as root, e.g. with \
                 sudo (nothing was changed)"
            ),
        "a user got {}: {}",
        output.status,
        output.text()
    );
    Ok(())
}

pub(super) fn tresorctl_turns_errors_into_advice(guest: &mut Guest) -> Result<()> {
    let no_module = "error: the module is not loaded (/dev/tresor: No such file or directory): \
                     run `modprobe tresor` (nothing was changed)";
    for command in [
        "status",
        "lock",
        "clear",
        "load --random",
        &format!("slot-key {UUID}"),
    ] {
        guest.expect(
            &format!("tresorctl {command} | cat; tresorctl {command} >/dev/null 2>&1"),
            3,
            no_module,
        )?;
    }
    guest.insert()?;
    guest.expect("tresorctl status --armed >/dev/null", 1, "")?;
    guest.expect(
        "tresorctl lock",
        2,
        "error: there is no key to lock; nothing was changed",
    )?;
    guest.expect(
        &format!("tresorctl slot-key {UUID} | cat"),
        0,
        "error: no key is loaded, or it is locked: run `tresorctl load` first; nothing was changed",
    )?;
    guest.vm.check("tresorctl load --random")?;
    let id = hex::encode(&guest.ensure_state(STATE_ARMED)?.check[..8]);
    guest.expect("tresorctl status --armed >/dev/null", 0, "")?;
    guest.expect(
        "tresorctl load --random",
        2,
        "error: a key is loaded or locked already, or the machine is going down: see `tresorctl \
         status`; `tresorctl clear` forgets the old key; nothing was changed",
    )?;
    let output = guest
        .vm
        .run_with_input("tresorctl load --stdin", &random::<32>()?)?;
    ensure!(
        (output.status, output.text().as_str())
            == (
                2,
                "error: another key is loaded already, or the machine is going down: see `tresorctl \
                 status`; to change keys close the volumes and run `tresorctl clear` first; nothing \
                 was changed"
            ),
        "loading another key: {} {}",
        output.status,
        output.text()
    );
    guest.open_filled("tool", &random::<64>()?, 51)?;
    let status = guest.vm.check("tresorctl status")?;
    for line in [
        format!("key id        {id}"),
        "state         armed".into(),
        "volumes       1 (tool)".into(),
        "  CPUs 0-1    armed".into(),
        "waiting       0".into(),
    ] {
        ensure!(status.contains(&line), "status lacks {line:?}: {status}");
    }
    let locked = format!("locked: key {id} is gone from all CPUs; only it can be loaded again");
    guest.expect(
        "tresorctl lock",
        0,
        &format!("{locked}\n1 volume is open: its I/O waits until `tresorctl load`"),
    )?;
    guest.expect(
        "tresorctl clear",
        2,
        "error: tresor volumes are open: close them (umount, then cryptsetup close), or use \
         --force: what waits fails, and what was not written is lost; nothing was changed",
    )?;
    guest.close_volume("tool")?;
    guest.expect("tresorctl lock", 0, &locked)?;
    let output = guest
        .vm
        .run_with_input("tresorctl load --stdin", &random::<32>()?)?;
    ensure!(
        (output.status, output.text().as_str())
            == (
                4,
                "error: the key is not the one expected, or not the one that was locked; nothing \
                 was changed"
            ),
        "loading another key: {} {}",
        output.status,
        output.text()
    );
    guest.expect("tresorctl clear --force", 0, "cleared: no key is loaded")?;
    guest.ensure_state(STATE_EMPTY).map(drop)
}
