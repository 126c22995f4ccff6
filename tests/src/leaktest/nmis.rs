// SPDX-License-Identifier: GPL-2.0-or-later

//! Interrupts that nothing can mask, while the engine works.

use std::thread;
use std::time::Duration;

use anyhow::{ensure, Result};

use super::bench::Bench;
use super::cell::Oracle::{Schedules, Secrets, Stores};
use super::ram::Holders;
use super::{Body, Scenario};

/// What this file has.
pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "NMI storm during I/O",
    short: true,
    machine: |usual| usual,
    oracles: &[Secrets, Schedules, Stores],
    body: Body::Run(storm),
}];

fn storm(bench: &mut Bench) -> Result<()> {
    bench.begin()?;
    let load = bench.work()?;
    let rounds = if bench.short { 4 } else { 20 };
    for _ in 0..rounds {
        for _ in 0..100 {
            bench.guest.vm.qmp().inject_nmi()?;
            // One that comes before the last was taken is lost.
            thread::sleep(Duration::from_millis(2));
        }
        bench.look(Holders::Every)?;
    }
    load.stop(&mut bench.guest)?;
    // The control: they arrived. QEMU gives them to CPU 0 only.
    let count = "awk '/NMI:/ {print $2}' /proc/interrupts";
    let count: u64 = bench.guest.vm.check(count)?.parse()?;
    ensure!(count >= rounds * 25, "only {count} NMIs arrived");
    bench.ask_stores()
}
