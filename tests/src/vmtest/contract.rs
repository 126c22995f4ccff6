// SPDX-License-Identifier: GPL-2.0-or-later

//! The ioctls of `kmod/uapi`, with every error that they promise.

use anyhow::{ensure, Result};
use tresor_uapi as uapi;

use super::guest::Guest;
use super::secrets::{random, Key};

const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

/// Fails unless the call answers this.
fn answers(what: &str, answer: &str, wanted: &str) -> Result<()> {
    ensure!(answer == wanted, "{what}: {answer} instead of {wanted}");
    Ok(())
}

fn slot_key(uuid: &str) -> Vec<u8> {
    let mut arg = uuid.as_bytes().to_vec();
    arg.resize(size_of::<uapi::SlotKey>(), 0);
    arg
}

pub(super) fn an_empty_store_answers_as_documented(guest: &mut Guest) -> Result<()> {
    guest.insert()?;
    let status = guest.ensure_state(uapi::STATE_EMPTY)?;
    ensure!(
        status.check == [0; 16] && (status.cpus_armed, status.volumes, status.losses) == (0, 0, 0),
        "{status:?}"
    );
    ensure!(
        status.cpus_online == 2 && !status.engine.is_empty(),
        "{status:?}"
    );
    ensure!(status.version == env!("CARGO_PKG_VERSION"), "{status:?}");
    answers("LOCK", &guest.lock()?, "ENOKEY")?;
    answers(
        "SLOT_KEY",
        &guest.ioctl(uapi::SLOT_KEY, &slot_key(UUID))?,
        "ENOKEY",
    )?;
    answers("CLEAR", &guest.clear(0)?, "ok")?;
    answers("CLEAR with an unknown flag", &guest.clear(2)?, "EINVAL")?;
    answers(
        "CLEAR with reserved set",
        &guest.ioctl(uapi::CLEAR, &[0, 0, 0, 0, 1, 0, 0, 0])?,
        "EINVAL",
    )?;

    // The same type byte with another number, another size, another direction, another type byte.
    for nr in [
        uapi::LOCK + 9,
        uapi::LOAD ^ 1 << 16,
        uapi::LOAD ^ 3 << 30,
        uapi::LOCK ^ 0x4200,
    ] {
        answers(
            &format!("ioctl {nr:x}"),
            &guest.ioctl(nr, &[0; 64])?,
            "ENOTTY",
        )?;
    }
    for (name, nr) in [
        ("LOAD", uapi::LOAD),
        ("GENERATE", uapi::GENERATE),
        ("CLEAR", uapi::CLEAR),
        ("STATUS", uapi::STATUS),
        ("SLOT_KEY", uapi::SLOT_KEY),
    ] {
        let answer = guest.program(&format!("ioctl nr={nr:x} arg=bad"))?;
        answers(&format!("{name} with a bad pointer"), &answer, "EFAULT")?;
        // A key that nobody can name must not have been drawn.
        guest.ensure_state(uapi::STATE_EMPTY)?;
    }
    Ok(())
}

pub(super) fn load_accepts_and_refuses_keys_as_documented(guest: &mut Guest) -> Result<()> {
    guest.insert()?;
    let (key, other) = (Key::random()?, Key::random()?);
    let expected =
        |key: &Key| format!("flags=1 expected={}", hex::encode(key.master.check_value()));
    let load = |guest: &mut Guest, arguments: &str, key: &Key| {
        guest.program_with_key(&format!("load {arguments}"), key)
    };
    answers("an unknown flag", &load(guest, "flags=2", &key)?, "EINVAL")?;
    answers("reserved set", &load(guest, "reserved=1", &key)?, "EINVAL")?;
    answers(
        "an unexpected key",
        &load(guest, &expected(&other), &key)?,
        "EKEYREJECTED",
    )?;
    guest.ensure_state(uapi::STATE_EMPTY)?;
    guest.look(&key)?.ensure_clear()?;

    answers(
        "the expected key",
        &load(guest, &expected(&key), &key)?,
        "ok",
    )?;
    let status = guest.ensure_state(uapi::STATE_ARMED)?;
    ensure!(
        status.check == key.master.check_value(),
        "the check value is not F('k', ..): {status:?}"
    );
    ensure!(status.armings == 1, "one other CPU was armed: {status:?}");
    answers("the same key again", &load(guest, "", &key)?, "ok")?;
    answers("another key", &load(guest, "", &other)?, "EBUSY")?;
    answers(
        "an unexpected other key",
        &load(guest, &expected(&key), &other)?,
        "EKEYREJECTED",
    )?;
    answers("GENERATE", &guest.ioctl(uapi::GENERATE, &[0; 16])?, "EBUSY")?;
    guest.look_armed(&key)?;

    answers("LOCK", &guest.lock()?, "ok")?;
    answers("LOCK again", &guest.lock()?, "ok")?;
    answers(
        "SLOT_KEY while locked",
        &guest.ioctl(uapi::SLOT_KEY, &slot_key(UUID))?,
        "ENOKEY",
    )?;
    answers(
        "GENERATE while locked",
        &guest.ioctl(uapi::GENERATE, &[0; 16])?,
        "EBUSY",
    )?;
    answers(
        "another key while locked",
        &load(guest, "", &other)?,
        "EKEYREJECTED",
    )?;
    answers("the same key", &load(guest, "", &key)?, "ok")?;
    guest.look_armed(&key).map(drop)
}

pub(super) fn slot_keys_are_f_of_the_uuid(guest: &mut Guest) -> Result<()> {
    let key = guest.insert_and_load()?;
    for uuid in [UUID, "ffffffff-ffff-ffff-ffff-ffffffffffff"] {
        let mut wanted = slot_key(uuid);
        let at = wanted.len() - uapi::KEY_LEN;
        wanted[at..].copy_from_slice(&key.master.slot_key(uuid));
        let answer = guest.ioctl(uapi::SLOT_KEY, &slot_key(uuid))?;
        answers("SLOT_KEY", &answer, &format!("ok {}", hex::encode(wanted)))?;
    }
    for bad in [
        UUID.to_uppercase(),
        UUID.replace('-', "0"),
        UUID.replacen('a', "g", 1),
        UUID.replace("cdef-", "cde-f"),
    ] {
        let answer = guest.ioctl(uapi::SLOT_KEY, &slot_key(&bad))?;
        answers(&format!("SLOT_KEY of {bad}"), &answer, "EINVAL")?;
    }
    let mut reserved = slot_key(UUID);
    reserved[uapi::UUID_LEN] = 1;
    answers(
        "SLOT_KEY with reserved set",
        &guest.ioctl(uapi::SLOT_KEY, &reserved)?,
        "EINVAL",
    )
}

pub(super) fn generated_keys_differ_and_are_named(guest: &mut Guest) -> Result<()> {
    guest.insert()?;
    let mut names = Vec::new();
    for _ in 0..2 {
        let answer = guest.ioctl(uapi::GENERATE, &[0; 16])?;
        let status = guest.ensure_state(uapi::STATE_ARMED)?;
        answers(
            "GENERATE",
            &answer,
            &format!("ok {}", hex::encode(status.check)),
        )?;
        ensure!(status.cpus_armed == status.cpus_online, "{status:?}");
        names.push(status.check);
        answers("CLEAR", &guest.clear(0)?, "ok")?;
    }
    ensure!(names[0] != names[1], "the same key was drawn twice");
    Ok(())
}

pub(super) fn blobs_are_accepted_by_length_alone(guest: &mut Guest) -> Result<()> {
    guest.insert()?;
    guest.ram_disk()?;
    let open = |guest: &mut Guest, blob: &[u8]| {
        guest.try_open_volume("blob", "tresor-xts-plain64", blob, "/dev/ram0", &[])
    };
    let refused = open(guest, &random::<64>()?)?;
    ensure!(refused.is_err(), "a volume was opened without a key");
    guest.load(&Key::random()?)?;
    for blob in [
        vec![0; 64],
        vec![0xff; 32],
        random::<64>()?.to_vec(),
        random::<32>()?.to_vec(),
    ] {
        let opened = open(guest, &blob)?;
        ensure!(
            opened.is_ok(),
            "a blob of {} bytes was refused: {opened:?}",
            blob.len()
        );
        ensure!(
            guest.status()?.volumes == 1,
            "an open volume does not count"
        );
        guest.close_volume("blob")?;
    }
    for bytes in [16, 31, 33, 48, 63, 65, 96] {
        let refused = open(guest, &vec![0x5a; bytes])?;
        let Err(said) = refused else {
            anyhow::bail!("a blob of {bytes} bytes was accepted");
        };
        ensure!(
            said.contains("Invalid argument"),
            "a blob of {bytes} bytes: {said}"
        );
    }
    ensure!(
        guest.status()?.volumes == 0,
        "a refused blob counts as a volume"
    );
    Ok(())
}
