// SPDX-License-Identifier: GPL-2.0-or-later

//! CPUs go and come, each time with M on its way to the one that comes.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::bench::Bench;
use super::cell::Oracle::{Schedules, Secrets, Stores};
use super::load::Background;
use super::ram::Holders;
use super::{Body, Scenario};
use crate::vmtest::hotplug::set_online;

/// What this file has.
pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "CPU hotplug",
    short: false,
    machine: |usual| usual,
    oracles: &[Secrets, Schedules, Stores],
    body: Body::Run(hotplug),
}];

/// CPU 1 off and on, until it shall stop.
const CYCLE: &str = "while [ ! -e $stop ]; do
    echo 0 >/sys/devices/system/cpu/cpu1/online; usleep 20000
    echo 1 >/sys/devices/system/cpu/cpu1/online; usleep 100000
done
";

fn hotplug(bench: &mut Bench) -> Result<()> {
    bench.begin()?;
    let load = bench.work()?;
    for _ in 0..if bench.short { 1 } else { 5 } {
        set_online(&mut bench.guest, 1, false)?;
        bench.look(Holders::First)?;
        set_online(&mut bench.guest, 1, true)?;
        bench.all_armed()?;
        bench.look(Holders::Every)?;
    }
    // Now wherever a stop falls: off, on its way, or being armed.
    let cycle = Background::start(&mut bench.guest, "cycle", CYCLE, "")?;
    for i in 0..if bench.short { 6 } else { 40 } {
        thread::sleep(Duration::from_millis(37 + 11 * (i % 10)));
        bench.look_with(Holders::First, i % 5 == 0)?;
    }
    cycle.stop(&mut bench.guest)?;
    bench.all_armed()?;
    load.stop(&mut bench.guest)?;
    bench.look(Holders::Every)?;
    bench.ask_stores()
}
