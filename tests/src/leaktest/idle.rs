// SPDX-License-Identifier: GPL-2.0-or-later

//! Nothing happens but the refreshes.

use std::thread;
use std::time::Duration;

use anyhow::{ensure, Result};

use super::bench::Bench;
use super::cell::Oracle::{Schedules, Secrets, Stores};
use super::ram::Holders;
use super::{Body, Scenario};

/// What this file has.
pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "idle",
    short: true,
    machine: |usual| usual,
    oracles: &[Secrets, Schedules, Stores],
    body: Body::Run(idle),
}];

fn idle(bench: &mut Bench) -> Result<()> {
    bench.begin()?;
    let before = bench.look(Holders::Every)?;
    // Every share is refreshed once a second.
    thread::sleep(Duration::from_secs(3));
    let after = bench.look(Holders::Every)?;
    for (was, is) in before.iter().zip(&after) {
        ensure!(was.dr != is.dr, "CPU {} was not refreshed", is.cpu);
    }
    bench.ask_stores()
}
