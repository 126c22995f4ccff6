// SPDX-License-Identifier: GPL-2.0-or-later

//! What the kernel prints of the debug registers.

use anyhow::{ensure, Result};

use super::guest::Guest;

/// What `mark` writes into DR0 (`tests/kmod/tresor_test.c`).
pub(crate) const MARK: &str = "DR0: 7e57a11ce5c0de00";

/// Makes the kernel print registers on both CPUs: by a WARN, and by NMI backtraces of whatever a
/// busy CPU does in the kernel. Returns what it printed.
pub(crate) fn print_registers(guest: &mut Guest) -> Result<String> {
    guest.vm.check("dmesg -c >/dev/null")?;
    guest.vm.check(
        "for mask in 1 2; do taskset $mask sh -c 'echo warn >/proc/tresor_test'; done\n\
         for pair in '1 2' '2 1'; do\n\
             set -- $pair\n\
             taskset $1 dd if=/dev/zero of=/dev/null bs=4M 2>/dev/null & busy=$!\n\
             usleep 100000\n\
             for i in 1 2 3; do\n\
                 taskset $2 sh -c 'echo l >/proc/sysrq-trigger'; usleep 50000\n\
             done\n\
             kill $busy; wait $busy\n\
         done; true",
    )?;
    let log = guest.vm.check("dmesg")?;
    for wanted in [
        "tresor_test: asked for",
        "NMI backtrace for cpu 0",
        "NMI backtrace for cpu 1",
    ] {
        ensure!(
            log.contains(wanted),
            "the kernel printed no {wanted:?}: {log}"
        );
    }
    ensure!(
        log.contains("RIP: 0010:"),
        "the kernel printed no registers: {log}"
    );
    Ok(log)
}

pub(super) fn warnings_and_backtraces_print_no_share(guest: &mut Guest) -> Result<()> {
    guest.provokes_complaints();
    let marked = |guest: &mut Guest, when: &str| -> Result<()> {
        guest
            .vm
            .check("echo mark 0 >/proc/tresor_test; echo mark 1 >/proc/tresor_test")?;
        let log = print_registers(guest)?;
        let warned = log.split("NMI backtrace").next().unwrap_or_default();
        let (warned, traced) = (warned.matches(MARK).count(), log.matches(MARK).count());
        ensure!(
            warned >= 2 && traced > warned,
            "{when}, the marks were printed {warned} times in warnings, {traced} times in all: {log}"
        );
        Ok(())
    };
    guest.vm.check("modprobe tresor_test")?;
    marked(guest, "without the module")?;
    guest.insert()?;
    marked(guest, "with the module loaded and no key")?;

    let key = super::secrets::Key::random()?;
    guest.load(&key)?;
    let mut words = Vec::new();
    let mut log = String::new();
    for _ in 0..2 {
        let look = guest.look_armed(&key)?;
        words.extend(look.cpus.iter().flat_map(|cpu| cpu.dr));
        log.push_str(&print_registers(guest)?);
    }
    let look = guest.look_armed(&key)?;
    words.extend(look.cpus.iter().flat_map(|cpu| cpu.dr));
    ensure_no_share(&log, &words)
}

/// Fails if the log has debug registers, or any of these words.
fn ensure_no_share(log: &str, words: &[u64]) -> Result<()> {
    ensure!(!log.contains("DR0:"), "debug registers were printed: {log}");
    for word in words {
        ensure!(
            !log.contains(&format!("{word:016x}")),
            "a share was printed: {log}"
        );
    }
    Ok(())
}

/// Has the kernel warn from inside a probe's handler, and with probes switched off, on each CPU; what it
/// prints.
fn warn_beside_probes(guest: &mut Guest) -> Result<String> {
    guest.vm.check("dmesg -c >/dev/null")?;
    guest.vm.check(
        "mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug\n\
         enabled=/sys/kernel/debug/kprobes/enabled\n\
         for mask in 1 2; do taskset $mask sh -c 'echo probe >/proc/tresor_test'; done\n\
         echo 0 >$enabled\n\
         for mask in 1 2; do taskset $mask sh -c 'echo warn >/proc/tresor_test'; done\n\
         echo 1 >$enabled",
    )?;
    let log = guest.vm.check("dmesg")?;
    for (wanted, times) in [
        ("tresor_test: asked for in a probe", 2),
        ("tresor_test: asked for\n", 2),
    ] {
        ensure!(
            log.matches(wanted).count() >= times,
            "the kernel printed no {wanted:?}: {log}"
        );
    }
    Ok(log)
}

pub(super) fn a_warning_inside_a_probe_or_with_probes_off_prints_no_share(
    guest: &mut Guest,
) -> Result<()> {
    guest.provokes_complaints();
    guest.vm.check(
        "modprobe tresor_test; echo mark 0 >/proc/tresor_test; echo mark 1 >/proc/tresor_test",
    )?;
    let log = warn_beside_probes(guest)?;
    let marks = log.matches(MARK).count();
    ensure!(
        marks >= 4,
        "only {marks} of 4 warnings printed the marks: {log}"
    );
    let key = guest.insert_and_load()?;
    let mut words = Vec::new();
    let mut log = String::new();
    for _ in 0..2 {
        let look = guest.look_armed(&key)?;
        words.extend(look.cpus.iter().flat_map(|cpu| cpu.dr));
        log.push_str(&warn_beside_probes(guest)?);
    }
    ensure_no_share(&log, &words)
}

/// Has each CPU stall until the kernel's watchdog says so; what it prints.
fn stall(guest: &mut Guest) -> Result<String> {
    guest.vm.check("dmesg -c >/dev/null")?;
    guest.vm.check(
        "echo 1 >/proc/sys/kernel/watchdog_thresh\n\
         for mask in 1 2; do taskset $mask sh -c 'echo stall 6 >/proc/tresor_test'; done\n\
         echo 10 >/proc/sys/kernel/watchdog_thresh",
    )?;
    let log = guest.vm.check("dmesg")?;
    for cpu in 0..2 {
        let wanted = format!("BUG: soft lockup - CPU#{cpu} stuck");
        ensure!(log.contains(&wanted), "no {wanted:?}: {log}");
    }
    Ok(log)
}

pub(super) fn a_soft_lockup_prints_no_share(guest: &mut Guest) -> Result<()> {
    guest.provokes_complaints();
    guest.vm.check(
        "modprobe tresor_test; echo mark 0 >/proc/tresor_test; echo mark 1 >/proc/tresor_test",
    )?;
    let log = stall(guest)?;
    let marks = log.matches(MARK).count();
    ensure!(
        marks >= 2,
        "only {marks} of 2 lockups printed the marks: {log}"
    );
    let key = guest.insert_and_load()?;
    let mut words = Vec::new();
    let before = guest.look_armed(&key)?;
    let log = stall(guest)?;
    // A CPU that stalls refreshes nothing: the share was that of before, or of after.
    for look in [before, guest.look_armed(&key)?] {
        words.extend(look.cpus.iter().flat_map(|cpu| cpu.dr));
    }
    ensure_no_share(&log, &words)
}
