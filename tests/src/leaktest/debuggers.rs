// SPDX-License-Identifier: GPL-2.0-or-later

//! Debuggers: on `tresorctl` while it loads the key, and on a process that does I/O.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};

use tresor_qemu::Prompt;

use super::bench::{Bench, SPARE};
use super::cell::Oracle::{Core, Schedules, Secrets, Stores};
use super::log::in_text;
use super::ram::Holders;
use super::{Body, Scenario};
use crate::master::last_line;
use crate::vmtest::disks::BYTES;
use crate::vmtest::guest::PROGRAM;

/// What this file has.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "ptrace on tresorctl",
        short: true,
        machine: |usual| usual,
        oracles: &[Secrets, Schedules, Stores],
        body: Body::Run(|bench| load_under(bench, trace)),
    },
    Scenario {
        name: "gdb on tresorctl",
        short: false,
        machine: |usual| usual.program("usr/bin/gdb"),
        oracles: &[Secrets, Schedules, Stores],
        body: Body::Run(|bench| load_under(bench, gdb)),
    },
    Scenario {
        name: "gdb on a process doing I/O",
        short: false,
        machine: |usual| usual.program("usr/bin/gdb"),
        oracles: &[Secrets, Schedules, Stores, Core],
        body: Body::Run(on_io),
    },
];

/// Waits for a process that [`GATED`] has started, in a shell whose `$pid` it becomes.
pub(super) const FIND: &str =
    "until pid=$(cat /run/pid 2>/dev/null) && [ -n \"$pid\" ]; do usleep 20000; done";

/// Becomes `tresorctl load` once somebody has attached to it and made `/run/attached`.
pub(super) const GATED: &str = "echo $$ >/run/pid; \
     until [ -e /run/attached ]; do usleep 20000; done; exec tresorctl load";

/// Loads the known key through the gate.
fn load_gated(bench: &mut Bench) -> Result<()> {
    let prompts = [Prompt {
        question: "Passphrase: ",
        answer: bench.known.passphrase.as_bytes(),
    }];
    let output = bench.guest.vm.run_with_prompts(GATED, &prompts)?;
    ensure!(output.success(), "tresorctl load: {}", last_line(&output));
    bench.all_armed()
}

/// The control of a debugger's view: without the module it sees a watchpoint in a debug register.
fn debugger_sees(bench: &mut Bench) -> Result<()> {
    let said = bench.guest.program("watch")?;
    ensure!(
        said.contains("peek-dr0 address"),
        "without the module a debugger does not see a watchpoint: {said}"
    );
    Ok(())
}

/// Loads with a debugger attached from the prompt to the end of the process.
fn load_under(bench: &mut Bench, debug: fn(&mut Bench) -> Result<()>) -> Result<()> {
    debugger_sees(bench)?;
    bench.arm()?;
    bench.open_stock()?;
    for _ in 0..if bench.short { 1 } else { 3 } {
        ensure!(bench.guest.clear(0)? == "ok", "the key cannot be cleared");
        debug(bench)?;
        bench.look(Holders::Every)?;
    }
    bench.open_tresor()?;
    bench.look(Holders::Every)?;
    bench.ask_stores()
}

/// ptrace through every system call.
fn trace(bench: &mut Bench) -> Result<()> {
    bench.guest.vm.check(&format!(
        "rm -f /run/trace /run/pid /run/attached; \
         ({FIND}; {PROGRAM} trace pid=$pid at={:x} hold=/run/attached) </dev/null >/run/trace 2>&1 &",
        tresor_uapi::LOAD
    ))?;
    load_gated(bench)?;
    let seen = ended(bench, "/run/trace", "stops=")?;
    ensure!(
        !seen.contains("hits=0"),
        "the tracer did not see the load: {seen}"
    );
    if !seen.contains("debug-registers=0") {
        bench.answer(Secrets, None, vec![format!("the tracer read {seen}")])?;
    }
    Ok(())
}

/// gdb, which shows all registers at the prompt and lets it go on.
fn gdb(bench: &mut Bench) -> Result<()> {
    bench.guest.vm.check(&format!(
        "rm -f /run/gdb /run/pid /run/attached; ({FIND}; gdb -nx -q -batch -p $pid \
         -ex 'thread apply all info registers' -ex 'shell touch /run/attached' -ex continue; echo gdb ended) </dev/null >/run/gdb 2>&1 &"
    ))?;
    load_gated(bench)?;
    let said = ended(bench, "/run/gdb", "gdb ended")?;
    ensure!(
        said.contains("rip ") && said.contains("exited normally"),
        "gdb did not follow tresorctl to its end: {said}"
    );
    let findings = in_text(&said, &secrets(bench)?);
    if !findings.is_empty() {
        bench.answer(Secrets, None, findings)?;
    }
    Ok(())
}

/// Waits until a background command has written `end`, and returns all that it wrote.
fn ended(bench: &mut Bench, file: &str, end: &str) -> Result<String> {
    let start = Instant::now();
    loop {
        let said = bench.guest.vm.check(&format!("cat {file}"))?;
        if said.contains(end) {
            return Ok(said);
        }
        ensure!(
            start.elapsed() < bench.guest.vm.limit(Duration::from_secs(60)),
            "no {end:?} in {file}, only {said:?}"
        );
        thread::sleep(Duration::from_millis(100));
    }
}

/// What a text must not show: M, the effective key, and the shares of this moment.
fn secrets(bench: &mut Bench) -> Result<Vec<(String, Vec<u8>)>> {
    let cpus = bench
        .guest
        .while_stopped(tresor_qemu::Vm::debug_registers)?;
    let mut secrets = vec![
        ("M".to_owned(), bench.known.m.to_vec()),
        ("K1 K2".to_owned(), bench.known.effective.clone()),
        (
            "the passphrase".to_owned(),
            bench.known.passphrase.clone().into_bytes(),
        ),
    ];
    for cpu in cpus {
        let share = crate::evidence::share(&bench.known.m, &cpu);
        secrets.push((format!("DR of CPU {}", cpu.cpu), cpu.bytes().to_vec()));
        secrets.push((format!("S of CPU {}", cpu.cpu), share.to_vec()));
    }
    Ok(secrets)
}

fn on_io(bench: &mut Bench) -> Result<()> {
    debugger_sees(bench)?;
    bench.begin()?;
    for (number, mode) in ["read", "write"].into_iter().enumerate() {
        let vm = &mut bench.guest.vm;
        vm.check(&format!(
            "{PROGRAM} disk dev=/dev/mapper/tresor bytes={BYTES} seed=1 mode={mode} seconds=600 \
             </dev/null >/run/io 2>&1 & echo $! >/run/pid; usleep 300000"
        ))?;
        for round in 0..if bench.short { 1 } else { 4 } {
            let mut known = secrets(bench)?;
            let core = format!("/run/core.{number}.{round}");
            let said = bench.guest.vm.check_for(
                &format!(
                    "gdb -nx -q -batch -p $(cat /run/pid) -ex 'info all-registers' -ex bt \
                     -ex 'generate-core-file {core}' -ex detach 2>&1"
                ),
                Duration::from_secs(120),
            )?;
            known.extend(secrets(bench)?);
            ensure!(said.contains("rip "), "gdb showed no registers: {said}");
            let findings = in_text(&said, &known);
            ask_core(bench, &core, findings)?;
            // The same registers that gdb has no name for.
            bench.look(Holders::Every)?;
        }
        bench.guest.vm.check(
            "kill $(cat /run/pid); while [ -e /proc/$(cat /run/pid) ]; do usleep 10000; done",
        )?;
    }
    bench.guest.verify("/dev/mapper/tresor", 1)?;
    bench.ask_stores()
}

/// Asks about a core file of the process: the control is the plaintext that it reads and writes.
fn ask_core(bench: &mut Bench, core: &str, findings: Vec<String>) -> Result<()> {
    bench.fetch(core)?;
    bench.guest.vm.check(&format!("rm {core}"))?;
    let path = bench.image(SPARE);
    let found = bench.spare_words(1, BYTES)? >= 64;
    let missing = (!found).then(|| "the core file has none of the process's data".to_owned());
    bench.answer(Core, missing.clone(), findings)?;
    let cpus = bench
        .guest
        .while_stopped(tresor_qemu::Vm::debug_registers)?;
    bench.search_file(Core, &path, &cpus, Some(missing))
}
