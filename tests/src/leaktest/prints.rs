// SPDX-License-Identifier: GPL-2.0-or-later

//! What makes the kernel print registers and stacks: warnings, sysrq, an oops.

use anyhow::{ensure, Result};
use tresor_qemu::Vm;

use super::bench::Bench;
use super::cell::Oracle::{self, Log, Schedules, Secrets, Stores};
use super::ram::Holders;
use super::{Body, Scenario};
use crate::vmtest::logs::{print_registers, MARK};

const ORACLES: &[Oracle] = &[Secrets, Schedules, Stores, Log];

/// What this file has.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "sysrq and WARN",
        short: false,
        machine: |usual| usual.append("log_buf_len=4M"),
        oracles: ORACLES,
        body: Body::Run(|bench| prints(bench, warn_and_sysrq)),
    },
    Scenario {
        name: "oops",
        short: false,
        machine: |usual| usual,
        oracles: ORACLES,
        body: Body::Run(|bench| prints(bench, oops)),
    },
];

/// Makes the kernel print, on both CPUs: first with marks in the debug registers and no module, then
/// with the key there and both volumes busy.
fn prints(bench: &mut Bench, print: fn(&mut Bench) -> Result<()>) -> Result<()> {
    let missing = print_marks(bench, print)?;
    bench.begin()?;
    let from = bench.log_length()?;
    let load = bench.work()?;
    let mut registers = Vec::new();
    for _ in 0..if bench.short { 1 } else { 3 } {
        registers.extend(bench.look(Holders::Every)?);
        print(bench)?;
        registers.extend(bench.guest.while_stopped(Vm::debug_registers)?);
        bench.look(Holders::Every)?;
    }
    load.stop(&mut bench.guest)?;
    bench.ask_log(from, &registers, missing)?;
    bench.ask_stores()
}

/// The control of the kernel's log: with marks in the debug registers and no module, what prints
/// shares would print the marks. Why they were not seen, if so.
pub(super) fn print_marks(
    bench: &mut Bench,
    print: fn(&mut Bench) -> Result<()>,
) -> Result<Option<String>> {
    bench.provokes = true;
    let guest = &mut bench.guest;
    guest.vm.check("modprobe tresor_test")?;
    guest
        .vm
        .check("echo mark 0 >/proc/tresor_test; echo mark 1 >/proc/tresor_test")?;
    let from = bench.log_length()?;
    print(bench)?;
    let marks = bench.log_since(from)?.matches(MARK).count();
    Ok((marks < 2).then(|| format!("marks in the registers were printed only {marks} times")))
}

/// WARN on both CPUs, backtraces of both by NMI (l), and what else sysrq can show: all tasks (t),
/// blocked ones (w), memory (m), timers (q).
fn warn_and_sysrq(bench: &mut Bench) -> Result<()> {
    let from = bench.log_length()?;
    print_registers(&mut bench.guest)?;
    bench
        .guest
        .vm
        .check("for key in t w m q; do echo $key >/proc/sysrq-trigger; done")?;
    let log = bench.log_since(from)?;
    for wanted in [
        "sysrq: Show State",
        "sysrq: Show Blocked State",
        "Show Memory",
        "Show clockevent devices",
    ] {
        ensure!(log.contains(wanted), "the kernel printed no {wanted:?}");
    }
    Ok(())
}

/// A process that the kernel kills for its own fault, on each CPU.
pub(super) fn oops(bench: &mut Bench) -> Result<()> {
    let from = bench.log_length()?;
    bench
        .guest
        .vm
        .run("for mask in 1 2; do taskset $mask sh -c 'echo oops >/proc/tresor_test'; done")?;
    let count = bench.log_since(from)?.matches("Oops: Oops:").count();
    ensure!(count == 2, "{count} oopses instead of 2");
    Ok(())
}
