// SPDX-License-Identifier: GPL-2.0-or-later

//! An NMI at every instruction of every share window of the loaded module.

use anyhow::{ensure, Result};
use tresor_guest::mask;
use tresor_qemu::Vm;
use tresor_uapi as uapi;

use super::disks::{Tally, BYTES, INLINE, RAM_DISK};
use super::guest::{Guest, PROGRAM};
use super::secrets::{random, Key};
use super::strikes::Striker;
use crate::modes::Mode;

const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

/// Starts a shell command in the guest a second from now, when the host no longer waits for an
/// answer: it is going to be stopped at a breakpoint.
fn start(vm: &mut Vm, command: &str, input: &[u8]) -> Result<()> {
    let output = vm.run_with_input(
        &format!(
            "rm -f /run/nmi.done; exec 3<&0; \
             {{ sleep 1; {command} <&3; : >/run/nmi.done; }} >/run/nmi.out 2>&1 &"
        ),
        input,
    )?;
    ensure!(output.success(), "{command}: {}", output.text());
    Ok(())
}

/// What the command said that was started last.
fn said(striker: &mut Striker<'_>) -> Result<String> {
    striker.dbg.resume()?;
    let wait = "while [ ! -e /run/nmi.done ]; do usleep 50000; done; cat /run/nmi.out";
    striker.dbg.vm().check(wait)
}

fn strike_loading(striker: &mut Striker<'_>, key: &Key) -> Result<()> {
    let mut masked = key.m;
    mask(&mut masked);
    striker.strike_routine("aesni_arm", |dbg| {
        start(dbg.vm(), &format!("taskset 1 {PROGRAM} load"), &masked)
    })?;
    // What loading goes on with: CPU 0 gives M to the other. Then the keeper has it refresh its shares.
    for routine in ["aesni_give_pad", "aesni_give_masked", "aesni_refresh"] {
        striker.strike_routine(routine, |_| Ok(()))?;
    }
    let said = said(striker)?;
    ensure!(said == "ok", "loading the key: {said}");
    striker.stop_armed(key)
}

/// CPU 0 loses one of its registers: it is checked, and takes M from the other.
fn strike_arming(striker: &mut Striker<'_>, key: &Key) -> Result<()> {
    striker.strike_routine("aesni_check", |dbg| {
        start(dbg.vm(), "echo clobber 0 >/proc/tresor_test", &[])
    })?;
    for routine in ["aesni_take_pad", "aesni_take_masked"] {
        striker.strike_routine(routine, |_| Ok(()))?;
    }
    said(striker)?;
    striker.stop_armed(key)
}

fn strike_slot_key(striker: &mut Striker<'_>, key: &Key) -> Result<()> {
    let mut arg = UUID.as_bytes().to_vec();
    arg.resize(size_of::<uapi::SlotKey>(), 0);
    let command = format!(
        "{PROGRAM} ioctl nr={:x} arg={}",
        uapi::SLOT_KEY,
        hex::encode(&arg)
    );
    striker.strike_routine("aesni_slot_key", |dbg| start(dbg.vm(), &command, &[]))?;
    let said = said(striker)?;
    let slot_key = key.master.slot_key(UUID);
    let at = std::mem::offset_of!(uapi::SlotKey, key);
    arg[at..at + slot_key.len()].copy_from_slice(&slot_key);
    let wanted = format!("ok {}", hex::encode(arg));
    ensure!(said == wanted, "the slot key is wrong");
    striker.stop_armed(key)
}

/// As [`Guest::open_volume`], on the RAM disk.
fn open(vm: &mut Vm, name: &str, blob: &[u8]) -> Result<()> {
    let (blob, options) = (hex::encode(blob), INLINE.join(" "));
    vm.check(&format!(
        "dmsetup create {name} --table \"0 $(blockdev --getsz {RAM_DISK}) crypt \
         tresor-xts-plain64 {blob} 0 {RAM_DISK} 0 {} {options}\"",
        INLINE.len()
    ))
    .map(drop)
}

/// Writes and reads back a volume on CPU 0.
fn strike_volume(striker: &mut Striker<'_>, key: &Key, name: &str, routine: &str) -> Result<()> {
    for (mode, direction) in [("write", "enc"), ("read", "dec")] {
        let disk = format!(
            "{PROGRAM} disk dev=/dev/mapper/{name} bytes={BYTES} seed=93 mode={mode} cpu=0"
        );
        let routine = format!("{routine}_{direction}");
        striker.strike_routine(&routine, |dbg| start(dbg.vm(), &disk, &[]))?;
        let tally = Tally::parse(&said(striker)?)?;
        ensure!(tally.right > 0 && tally.failed == 0, "{routine}: {tally:?}");
        striker.stop_armed(key)?;
    }
    Ok(())
}

/// Has requests of the crypto API made on CPU 0, in the modes that no volume above is in.
fn strike_mode(striker: &mut Striker<'_>, key: &Key, engine: &str, mode: Mode) -> Result<()> {
    let (name, both) = match mode {
        Mode::Xts => return Ok(()),
        Mode::Cbc => ("cbc", true),
        Mode::Ctr => ("ctr", false),
        Mode::Ecb => ("ecb", true),
        Mode::EssivCbc => ("essiv", true),
    };
    for bytes in mode.blobs() {
        let routine = format!("{engine}_{name}{}", 8 * bytes);
        let request = format!(
            "taskset 1 sh -c \"echo 'crypt {} {bytes} 64' | cat >/proc/tresor_test\" && echo ok",
            mode.algorithm()
        );
        // Each request is encrypted, and then decrypted.
        if both {
            let encrypt = format!("{routine}_enc");
            striker.strike_routine(&encrypt, |dbg| start(dbg.vm(), &request, &[]))?;
            striker.strike_routine(&format!("{routine}_dec"), |_| Ok(()))?;
        } else {
            striker.strike_routine(&routine, |dbg| start(dbg.vm(), &request, &[]))?;
        }
        let said = said(striker)?;
        ensure!(said == "ok", "{routine}: {said}");
        striker.stop_armed(key)?;
    }
    Ok(())
}

/// Strikes the windows of this engine's variant. The life of M is the variant aesni's for all of them.
fn strike_engine(guest: &mut Guest, engine: &str) -> Result<()> {
    guest.vm.check("modprobe tresor_test")?;
    guest.ram_disk()?;
    guest
        .vm
        .check(&format!("modprobe tresor engine={engine}"))?;
    let before = guest.status()?.nmi_restarts;
    let symbols = guest
        .vm
        .check("grep -e tresor_ -e 3nmi6handle -e ' native_irq_return_iret$' /proc/kallsyms")?;
    let key = Key::random()?;
    let (life, all) = (engine == "aesni", guest.all);
    if !life {
        guest.load(&key)?;
    }
    let mut striker = Striker::new(guest.vm.debugger()?, &symbols)?;

    if life {
        strike_loading(&mut striker, &key)?;
        strike_arming(&mut striker, &key)?;
        strike_slot_key(&mut striker, &key)?;
    }
    for (name, blob_len, size) in [("long", 64, "xts256"), ("short", 32, "xts128")] {
        striker.dbg.resume()?;
        open(striker.dbg.vm(), name, &random::<64>()?[..blob_len])?;
        striker.dbg.interrupt()?;
        strike_volume(&mut striker, &key, name, &format!("{engine}_{size}"))?;
        striker.dbg.resume()?;
        striker.dbg.vm().check(&format!("dmsetup remove {name}"))?;
        striker.dbg.interrupt()?;
    }

    // The windows of the other modes come from the same macros: for the long run.
    if all {
        for mode in Mode::ALL {
            strike_mode(&mut striker, &key, engine, mode)?;
        }
    }

    let mine = |routine: &str| {
        let rest = routine.strip_prefix(engine).unwrap_or_default();
        let mode = ["_xts", "_cbc", "_ctr", "_ecb", "_essiv"]
            .into_iter()
            .find(|mode| rest.starts_with(mode));
        match mode {
            Some(mode) => all || mode == "_xts",
            None => life && !rest.is_empty() && !rest.starts_with("_avx"),
        }
    };
    let (tally, windows) = (striker.tally.clone(), striker.windows(mine));
    striker.dbg.detach()?;
    // For whoever wants to know how much was looked at; the scripts skip what is indented.
    println!(
        "    {engine}: struck {} instructions in {} windows, {} of them with a share in rax, and {} \
         behind; {} double NMIs; {} shares left in RAM without the guard",
        tally.struck, tally.windows, tally.exposed, tally.edges, tally.doubles, tally.controls
    );
    ensure!(
        tally.windows == windows,
        "only {} of {windows} windows were struck",
        tally.windows
    );
    let restarts = guest.status()?.nmi_restarts - before;
    ensure!(
        restarts == tally.restarts,
        "{restarts} windows ran again instead of {}",
        tally.restarts
    );
    guest.look_armed(&key)?;
    Ok(())
}

pub(super) fn an_nmi_at_any_instruction_of_a_share_window_leaves_no_share_in_ram(
    guest: &mut Guest,
) -> Result<()> {
    strike_engine(guest, "aesni")
}

pub(super) fn an_nmi_at_any_instruction_of_a_window_of_aesni_avx_leaves_no_share_in_ram(
    guest: &mut Guest,
) -> Result<()> {
    strike_engine(guest, "aesni_avx")
}

pub(super) fn an_nmi_at_any_instruction_of_a_window_of_vaes_avx2_leaves_no_share_in_ram(
    guest: &mut Guest,
) -> Result<()> {
    strike_engine(guest, "vaes_avx2")
}
