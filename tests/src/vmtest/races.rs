// SPDX-License-Identifier: GPL-2.0-or-later

//! Everything at once.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use tresor_guest::mask;
use tresor_uapi::{CLEAR_FORCE, STATE_ARMED};

use super::disks::{Tally, BYTES};
use super::guest::{Guest, PROGRAM};
use super::secrets::{random, Key};

/// Ends of calls that a race may bring about; each is what the call's documentation says.
const ALLOWED: [&str; 23] = [
    "CLEAR ok",
    "CLEAR EBUSY",
    "CLEAR-FORCE ok",
    "GENERATE ok",
    "GENERATE EBUSY",
    "GENERATE EKEYREJECTED",
    "LOAD ok",
    "LOAD EBUSY",
    "LOAD EKEYREJECTED",
    "LOCK ok",
    "LOCK ENOKEY",
    "SLOT_KEY ok",
    "SLOT_KEY ENOKEY",
    "STATUS ok",
    "clobber ok",
    "open ENOENT",
    "open ENODEV",
    "open ENXIO",
    "rmmod ok",
    "rmmod EWOULDBLOCK",
    "rmmod EAGAIN",
    "rmmod ENOENT",
    "rmmod EBUSY",
];

/// Runs `race` in four processes for `seconds`, with `meanwhile` beside them; how often each call
/// ended how.
fn race(
    guest: &mut Guest,
    key: &Key,
    seconds: u64,
    arguments: &str,
    meanwhile: &str,
) -> Result<BTreeMap<String, u64>> {
    let mut masked = key.m;
    mask(&mut masked);
    let command = format!(
        "cat >/run/masked\n\
         for i in 1 2 3 4; do\n\
             {PROGRAM} race seconds={seconds} seed={}$i {arguments} </run/masked >/run/race$i 2>&1 & \
             pids=\"$pids $!\"\n\
         done\n\
         {meanwhile}\n\
         for pid in $pids; do wait $pid || exit 1; done\n\
         {PROGRAM} load </run/masked\n\
         for pid in $io; do wait $pid || exit 1; done",
        u64::from_le_bytes(random()?) >> 8
    );
    let output = guest.vm.run_with_input(&command, &masked)?;
    let said = guest
        .vm
        .check("cat /run/race[1-4]; rm /run/race[1-4] /run/masked")?;
    ensure!(
        output.success(),
        "a process failed: {} {said}",
        output.text()
    );
    let mut counts = BTreeMap::new();
    for line in said.lines() {
        let (what, count) = line.rsplit_once(' ').with_context(|| format!("{line:?}"))?;
        ensure!(ALLOWED.contains(&what), "unexpected: {what}, {count} times");
        *counts.entry(what.to_owned()).or_default() += count.parse::<u64>()?;
    }
    Ok(counts)
}

fn ensure_happened(counts: &BTreeMap<String, u64>, wanted: &[&str]) -> Result<()> {
    for what in wanted {
        ensure!(
            counts.contains_key(*what),
            "{what} never happened: {counts:?}"
        );
    }
    Ok(())
}

pub(super) fn calls_losses_and_unloading_may_race(guest: &mut Guest) -> Result<()> {
    guest.vm.check("modprobe tresor_test")?;
    guest.insert()?;
    let key = Key::random()?;
    let seconds = guest.seconds(if guest.all { 50 } else { 8 });
    let meanwhile = format!(
        "end=$(($(date +%s) + {seconds}))\n\
         while [ $(date +%s) -lt $end ]; do modprobe tresor; usleep 50000; done"
    );
    let counts = race(guest, &key, seconds, "", &meanwhile)?;
    ensure_happened(
        &counts,
        &[
            "LOAD ok",
            "LOCK ok",
            "CLEAR ok",
            "GENERATE ok",
            "SLOT_KEY ok",
            "STATUS ok",
            "rmmod ok",
        ],
    )?;
    guest.vm.check("modprobe tresor")?;
    ensure!(guest.clear(CLEAR_FORCE)? == "ok", "it cannot be cleared");
    guest.load(&key)?;
    guest.look_armed(&key).map(drop)
}

pub(super) fn calls_losses_hotplug_and_io_may_race(guest: &mut Guest) -> Result<()> {
    guest.vm.check("modprobe tresor_test")?;
    let key = guest.insert_and_load()?;
    guest.ram_disk()?;
    guest.open_volume("race", &random::<64>()?, "/dev/ram0", &[])?;
    guest.fill("/dev/mapper/race", 71)?;
    let seconds = guest.seconds(if guest.all { 50 } else { 8 });
    let plug = "/sys/devices/system/cpu/cpu3/online";
    let meanwhile = format!(
        "{PROGRAM} disk dev=/dev/mapper/race bytes={BYTES} seed=71 mode=read seconds={seconds} \
             >/run/io.read 2>&1 & io=\"$io $!\"\n\
         {PROGRAM} disk dev=/dev/mapper/race bytes={BYTES} seed=71 mode=write seconds={seconds} \
             >/run/io.write 2>&1 & io=\"$io $!\"\n\
         end=$(($(date +%s) + {seconds}))\n\
         while [ $(date +%s) -lt $end ]; do\n\
             echo 0 >{plug}; usleep 100000; echo 1 >{plug}; usleep 300000\n\
         done"
    );
    let counts = race(guest, &key, seconds, "volume=1", &meanwhile)?;
    ensure_happened(
        &counts,
        &[
            "LOAD ok",
            "LOCK ok",
            "CLEAR EBUSY",
            "SLOT_KEY ok",
            "clobber ok",
        ],
    )?;
    for mode in ["read", "write"] {
        let tally = Tally::parse(&guest.vm.check(&format!("cat /run/io.{mode}"))?)?;
        ensure!(tally.right > 0 && tally.failed == 0, "{mode}: {tally:?}");
    }
    let status = guest.status()?;
    ensure!(
        status.waiting == 0 && status.parked > 0 && status.hopped > 0,
        "{status:?}"
    );
    guest.remark(&format!(
        "{} requests hopped, {} parked, none failed",
        status.hopped, status.parked
    ));
    guest.load(&key)?;
    guest.wait(Duration::from_secs(4), "armed CPUs", |guest| {
        let status = guest.ensure_state(STATE_ARMED)?;
        Ok(status.cpus_armed == status.cpus_online)
    })?;
    guest.look_armed(&key)?;
    guest.verify("/dev/mapper/race", 71)?;
    guest.close_volume("race")
}
