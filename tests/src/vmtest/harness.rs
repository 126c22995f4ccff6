// SPDX-License-Identifier: GPL-2.0-or-later

//! What the other tests rely on: the harness itself, with a real guest.

use std::fs;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use sha2::{Digest, Sha256};
use tresor_qemu::{qmp, target_dir, Hang, Prompt};

use super::guest::Guest;

/// Size of the pieces of RAM that are compared.
const PIECE: usize = 1 << 20;

/// Every byte value, many times, in an order that repeats late.
fn bytes(len: u32) -> Vec<u8> {
    (0..len)
        .map(|i| (i ^ (i >> 8).wrapping_mul(31)) as u8)
        .collect()
}

pub(super) fn bytes_of_every_value_go_in_and_come_out_unchanged(guest: &mut Guest) -> Result<()> {
    let sent = bytes(48 << 10);
    let sum = hex::encode(Sha256::digest(&sent));
    let output = guest
        .vm
        .run_with_input("tee /tmp/bytes | sha256sum", &sent)?;
    ensure!(
        output.text().starts_with(&sum),
        "what went in has the checksum {}",
        output.text()
    );
    let output = guest.vm.run("cat /tmp/bytes")?;
    ensure!(output.bytes == sent, "what came out differs");
    ensure!(
        guest.vm.read_file("/tmp/bytes")? == sent,
        "the file that was read differs"
    );
    Ok(())
}

pub(super) fn a_typed_answer_reaches_the_program_that_asked_and_is_not_echoed(
    guest: &mut Guest,
) -> Result<()> {
    let command = "printf 'Name: '; read -r name; printf '%s' \"$name\" | sha256sum";
    let prompts = [Prompt {
        question: "Name: ",
        answer: b"typed, not shown",
    }];
    let output = guest.vm.run_with_prompts(command, &prompts)?;
    let sum = hex::encode(Sha256::digest("typed, not shown"));
    ensure!(
        output.text().contains(&sum),
        "the program got something else: {}",
        output.text()
    );
    ensure!(
        !output.text().contains("typed"),
        "the answer was echoed: {}",
        output.text()
    );
    Ok(())
}

pub(super) fn an_offset_in_the_ram_is_the_physical_address_there(guest: &mut Guest) -> Result<()> {
    let file = target_dir().join("vm/pmemsave.bin");
    guest.vm.stop()?;
    // QEMU's own view of physical memory, in pieces that are not empty, since zeros are the same
    // everywhere: the first, the middle and the last of those there are.
    let pieces = guest.vm.ram()?.chunks_exact(PIECE).enumerate();
    let filled: Vec<usize> = pieces
        .filter(|(_, piece)| piece.iter().any(|&b| b != 0))
        .map(|(i, _)| i * PIECE)
        .collect();
    let (Some(&first), Some(&last)) = (filled.first(), filled.last()) else {
        bail!("all of the RAM is empty");
    };
    ensure!(first < last, "only one piece of the RAM is not empty");
    for at in [first, filled[filled.len() / 2], last] {
        guest.vm.qmp().execute(qmp::pmemsave {
            val: at as u64,
            size: PIECE as u64,
            filename: file
                .to_str()
                .context("the path of target/ is not UTF-8")?
                .to_owned(),
        })?;
        ensure!(
            fs::read(&file)? == guest.vm.ram()?[at..at + PIECE],
            "RAM at {at:#x} is not what QEMU has at this physical address"
        );
    }
    fs::remove_file(&file)?;
    guest.vm.cont()
}

pub(super) fn a_dump_is_the_ram_byte_for_byte(guest: &mut Guest) -> Result<()> {
    let file = target_dir().join("vm/dump.raw");
    let refused = guest
        .vm
        .dump_to(&file)
        .err()
        .context("a running guest was dumped")?;
    ensure!(refused.to_string().contains("stop it first"), "{refused}");
    guest.vm.stop()?;
    guest.vm.dump_to(&file)?;
    let equal = fs::read(&file)? == guest.vm.ram()?;
    guest.vm.cont()?;
    fs::remove_file(&file)?;
    ensure!(equal, "the dump differs from the RAM");
    Ok(())
}

pub(super) fn a_hang_ends_in_a_time_out_that_shows_both_consoles(guest: &mut Guest) -> Result<()> {
    guest.spend();
    let command = "echo printed by the command; echo printed by the kernel >/dev/kmsg; sleep 600";
    let error = guest
        .vm
        .run_for(command, Duration::from_secs(5))
        .err()
        .context("a command that takes ten minutes came back")?;
    let hang = error
        .downcast_ref::<Hang>()
        .context("another error was expected")?;
    ensure!(!hang.gone, "the guest is gone: {hang}");
    ensure!(
        hang.shell.contains("printed by the command"),
        "the shell's line is missing: {hang}"
    );
    ensure!(
        hang.console.contains("printed by the kernel"),
        "the kernel's log is missing: {hang}"
    );
    ensure!(
        hang.cpus.starts_with("0 at ") && hang.cpus.contains("; 1 at "),
        "the CPUs are missing: {hang}"
    );
    Ok(())
}

pub(super) fn a_process_that_is_killed_is_noticed_and_not_waited_for(
    guest: &mut Guest,
) -> Result<()> {
    guest.ram_disk()?;
    // The program alone, and before it the shell that would keep its result.
    for first in ["true", "kill -9 $(cat /run/killed.pid)"] {
        guest.start_disk("killed", "dev=/dev/ram0 seed=1 mode=cycle stop=/run/never")?;
        guest.ensure_disk_runs("killed")?;
        guest
            .vm
            .check(&format!("{first}; killall -9 tresor-guest"))?;
        guest.wait(Duration::from_secs(10), "end of the process", |guest| {
            Ok(guest.ensure_disk_runs("killed").is_err())
        })?;
        ensure!(
            guest.end_disk("killed").is_err(),
            "it passes for one that ended well"
        );
    }
    Ok(())
}

pub(super) fn the_end_of_the_guest_is_reported_as_such(guest: &mut Guest) -> Result<()> {
    guest.spend();
    let error = guest
        .vm
        .run("poweroff -f; sleep 600")
        .err()
        .context("the guest did not end")?;
    let hang = error
        .downcast_ref::<Hang>()
        .context("another error was expected")?;
    ensure!(hang.gone, "a time-out is reported instead: {hang}");
    guest.vm.wait_exit(Duration::from_secs(30)).map(drop)
}
