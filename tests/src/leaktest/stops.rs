// SPDX-License-Identifier: GPL-2.0-or-later

//! The machine stopped at random instants: a cold boot attack that may come at any time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use tresor_guest::mixed;

use super::bench::Bench;
use super::ram::Holders;
use super::{Body, Scenario, RAM};

/// What this file has.
pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "random stops during I/O",
    short: true,
    machine: |usual| usual.memory_mib(256),
    oracles: RAM,
    body: Body::Run(random_stops),
}];

/// Longest time that the guest runs between two stops.
const LONGEST: Duration = Duration::from_millis(60);

fn random_stops(bench: &mut Bench) -> Result<()> {
    bench.begin()?;
    let mut load = bench.work()?;
    // An emulated CPU stops between translation blocks only; these are now one instruction long.
    bench.guest.vm.qmp().monitor("one-insn-per-tb on")?;
    let stops = if bench.short { 40 } else { 1000 };
    let mut state = bench.seed;
    let start = Instant::now();
    for i in 0..stops {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let nanos = mixed(state) % LONGEST.as_nanos() as u64;
        thread::sleep(Duration::from_nanos(nanos));
        bench.look_with(Holders::Every, i % 10 == 0)?;
        if (i + 1) % 100 == 0 {
            println!(
                "    {} stops, {} between the halves of a refresh, {:.0} s",
                i + 1,
                bench.torn,
                start.elapsed().as_secs_f64()
            );
        }
    }
    // A refresh takes a few hundred instructions of a second: a torn one is rare.
    ensure!(
        bench.torn <= stops / 20,
        "{} of {stops} stops came between the halves of a refresh",
        bench.torn
    );
    bench.guest.vm.qmp().monitor("one-insn-per-tb off")?;
    // The volumes were busy all the time, and still are.
    load.wait(&mut bench.guest, 1)?;
    load.stop(&mut bench.guest).map(drop)
}
