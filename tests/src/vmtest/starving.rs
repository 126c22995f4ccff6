// SPDX-License-Identifier: GPL-2.0-or-later

//! What only a debug kernel (`scripts/debug-kernel`) can do: pretend to have no memory, and notice bugs.

use anyhow::{bail, ensure, Context, Result};
use tresor_uapi::CLEAR_FORCE;

use super::disks::INLINE;
use super::guest::Guest;
use super::secrets::{random, Key};
use super::Skip;
use crate::kernel_log::complaints;

/// Has the kernel fail allocations of all kinds, for tasks that ask for it, without a word.
const SETTINGS: &str = "\
    mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug; \
    cd /sys/kernel/debug || exit; \
    for kind in failslab fail_page_alloc; do \
        echo 0 >$kind/verbose && echo N >$kind/ignore-gfp-wait && echo Y >$kind/task-filter && \
        echo 1 >$kind/interval && echo 0 >$kind/probability || exit; \
    done; \
    echo 0 >fail_page_alloc/min-order; echo N >fail_page_alloc/ignore-gfp-highmem";

/// Skips the test where the kernel cannot do that.
fn prepare(guest: &mut Guest) -> Result<()> {
    let missing = "mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug; \
        [ ! -e /sys/kernel/debug/failslab ]";
    if guest.vm.run(missing)?.success() {
        bail!(Skip(
            "this kernel cannot make allocations fail: use scripts/debug-kernel kasan".into()
        ));
    }
    guest.vm.check(SETTINGS).map(drop)
}

/// Checks what `starve` printed: how many allocations failed.
fn failures(said: &str) -> Result<u64> {
    let mut failed = None;
    for line in said.lines() {
        let (what, count) = line.rsplit_once(' ').with_context(|| format!("{line:?}"))?;
        match what.rsplit_once(' ') {
            Some((_, "ok" | "ENOMEM")) => {}
            Some(("allocations", "failed")) => failed = Some(count.parse()?),
            _ => bail!("{what}, {count} times; all of it: {said}"),
        }
    }
    failed.with_context(|| format!("no number of failures in {said:?}"))
}

/// What a kernel with this option looks for, `bug` of the tests' module does it, and the kernel must say.
const BUGS: [(&str, &str, &str); 4] = [
    // First: lockdep looks no further after a report of KASAN.
    (
        "PROVE_LOCKING",
        "deadlock",
        "WARNING: possible circular locking dependency",
    ),
    ("KCSAN", "race", "BUG: KCSAN: data-race"),
    ("KASAN", "overrun", "BUG: KASAN: slab-out-of-bounds"),
    (
        "DEBUG_ATOMIC_SLEEP",
        "atomic",
        "BUG: sleeping function called from invalid context",
    ),
];

pub(super) fn a_debug_kernel_complains_of_what_it_looks_for(guest: &mut Guest) -> Result<()> {
    // A stock kernel does not even tell how it was configured.
    let config = guest.vm.run("zcat /proc/config.gz")?.text();
    let has = |option: &str| {
        let line = format!("CONFIG_{option}=y");
        config.lines().any(|l| l == line)
    };
    let looked_for: Vec<_> = BUGS.iter().filter(|(option, ..)| has(option)).collect();
    if looked_for.is_empty() {
        bail!(Skip(
            "this kernel looks for no bugs: use scripts/debug-kernel".into()
        ));
    }
    guest.provokes_complaints();
    guest.spend();
    guest.vm.check("modprobe tresor_test")?;
    for (_, bug, message) in &looked_for {
        let before = complaints(guest.log()?).len();
        guest
            .vm
            .check(&format!("echo 'bug {bug}' >/proc/tresor_test"))?;
        let new = complaints(guest.log()?).split_off(before);
        ensure!(
            new.iter().any(|line| line.contains(message)),
            "of {bug} it said {new:?}"
        );
    }
    let options: Vec<&str> = looked_for.iter().map(|(option, ..)| *option).collect();
    guest.remark(&options.join(", "));
    Ok(())
}

pub(super) fn calls_whose_allocations_fail_say_so_and_change_nothing(
    guest: &mut Guest,
) -> Result<()> {
    prepare(guest)?;
    guest.insert()?;
    let key = Key::random()?;
    let rounds = if guest.all { 200 } else { 20 };
    let said = guest.program_with_key(&format!("starve rounds={rounds}"), &key)?;
    guest.remark(&format!("{} allocations failed", failures(&said)?));
    guest.load(&key)?;
    guest.look_armed(&key)?;
    ensure!(guest.clear(0)? == "ok", "it cannot be cleared");
    guest.look(&key)?.ensure_clear()
}

pub(super) fn requests_whose_allocations_fail_say_so_and_the_data_stays_right(
    guest: &mut Guest,
) -> Result<()> {
    prepare(guest)?;
    let key = guest.insert_and_load()?;
    guest.open_filled("hungry", &random::<64>()?, 81)?;
    let rounds = if guest.all { 50 } else { 5 };
    let said = guest.program_with_key(
        &format!("starve dev=/dev/mapper/hungry seed=81 rounds={rounds}"),
        &key,
    )?;
    guest.remark(&format!("{} allocations failed", failures(&said)?));
    guest.verify("/dev/mapper/hungry", 81)?;
    guest.close_volume("hungry")
}

/// Of some allocations that fail the kernel shows where they were made: for a module's code, or for a slab
/// cache. Whatever else it complains of is an error.
fn ensure_only_traces(guest: &mut Guest) -> Result<()> {
    let mut complaints = complaints(guest.log()?);
    complaints.retain(|line| !line.ends_with("Call Trace:"));
    ensure!(
        complaints.is_empty(),
        "the kernel complained: {}",
        complaints.join("; ")
    );
    Ok(())
}

pub(super) fn volumes_open_or_do_not_whichever_allocations_fail(guest: &mut Guest) -> Result<()> {
    prepare(guest)?;
    let key = guest.insert_and_load()?;
    guest.provokes_complaints();
    let blob = random::<64>()?;
    guest.open_filled("hungry", &blob, 82)?;
    guest.close_volume("hungry")?;
    let rounds: u64 = if guest.all { 1000 } else { 100 };
    let limit = 1_000_000;
    // Every fiftieth allocation fails, then every hundredth, and so on to every thousandth. dmsetup itself
    // starves as well, and then ends in many ways; what it left is removed.
    let said = guest.vm.check(&format!(
        "sectors=$(blockdev --getsz /dev/ram0); cd /sys/kernel/debug/failslab; echo {limit} >times\n\
         echo 100 >probability; made=0; done=0\n\
         while [ $done -lt {rounds} ]; do\n\
             echo $((50 * (1 + done % 20))) >interval\n\
             (echo 1 >/proc/self/make-it-fail; exec dmsetup create hungry --table \
                 \"0 $sectors crypt tresor-xts-plain64 {} 0 /dev/ram0 0 {} {}\") >/dev/null 2>&1 && \
                 made=$((made + 1))\n\
             (echo 1 >/proc/self/make-it-fail; exec dmsetup remove hungry) >/dev/null 2>&1\n\
             [ ! -e /dev/mapper/hungry ] && ! dmsetup info hungry >/dev/null 2>&1 || \
                 dmsetup remove --retry hungry >/dev/null\n\
             rm -f /dev/mapper/hungry; done=$((done + 1))\n\
         done\n\
         echo 0 >probability; echo 1 >interval; echo $made $(({limit} - $(cat times)))",
        hex::encode(blob),
        INLINE.len(),
        INLINE.join(" "),
    ))?;
    // The shell says which signals ended the processes before.
    let last = said.lines().last().unwrap_or_default();
    let (made, failed) = last.split_once(' ').with_context(|| said.clone())?;
    let (made, failed): (u64, u64) = (made.parse()?, failed.parse()?);
    ensure!(
        failed > rounds / 4 && made > 0 && made < rounds,
        "{failed} allocations failed, and {made} of {rounds} volumes opened"
    );
    guest.remark(&format!(
        "{failed} allocations failed, {made} of {rounds} volumes opened"
    ));
    ensure_only_traces(guest)?;
    let status = guest.status()?;
    ensure!(status.volumes == 0, "{status:?}");
    guest.look_armed(&key)?;
    guest.open_volume("hungry", &blob, "/dev/ram0", INLINE)?;
    guest.verify("/dev/mapper/hungry", 82)?;
    guest.close_volume("hungry")
}

pub(super) fn loading_the_module_fails_cleanly_whichever_allocation_fails(
    guest: &mut Guest,
) -> Result<()> {
    prepare(guest)?;
    guest.provokes_complaints();
    let step = if guest.all { 5 } else { 61 };
    let module = guest.vm.check("modinfo -n tresor")?;
    let said = guest.program(&format!("starve-module module={module} step={step}"))?;
    ensure_only_traces(guest)?;
    guest.remark(&format!("{} allocations failed", failures(&said)?));
    let key = guest.insert_and_load()?;
    guest.look_armed(&key)?;
    ensure!(guest.clear(CLEAR_FORCE)? == "ok", "it cannot be cleared");
    Ok(())
}
