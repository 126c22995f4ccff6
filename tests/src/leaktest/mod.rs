// SPDX-License-Identifier: GPL-2.0-or-later

//! The leak matrix: every way that a key is known to leak by, tried, and every place looked at where
//! it could have ended up.
//!
//! A [`Scenario`] is a kind of VM, the oracles that it asks, and a body that does to the guest what
//! might leak and asks them at the right moments. One oracle in one scenario is a *cell*
//! ([`cell::Cell`]). An oracle that finds nothing has shown something only if it could have found
//! it: each has a control, which must be found in the same cell.
//!
//! To add a scenario: write its body in a file here, name it in the `SCENARIOS` of that file, and the
//! file in `GROUPS` below.
//!
//! ```text
//! pub(super) fn idle(bench: &mut Bench) -> Result<()> {
//!     bench.begin()?;              // module and key loaded, a tresor and a stock volume open
//!     let load = bench.work()?;    // both busy
//!     bench.look(Holders::Every)?; // the RAM oracles: stops the machine, searches, lets it go on
//!     load.stop(&mut bench.guest)?;
//!     bench.ask_stores()           // the oracle of stores
//! }
//! ```
//!
//! - [`Bench::arm`](bench::Bench::arm) and [`Bench::open`](bench::Bench::open) are the two halves of
//!   `begin`; [`Bench::key`](bench::Bench) and `known` are what the host knows.
//! - [`Bench::look_at_stopped`](bench::Bench) asks the RAM oracles about a machine that is stopped
//!   for good, [`Bench::search_file`](bench::Bench) asks any oracle about a file (core, vmcore,
//!   swap), and [`Bench::answer`](bench::Bench::answer) notes an answer that the scenario found by
//!   itself: why the control was not seen, if it was not, and the findings in words.
//! - An oracle that is listed and not asked fails its cell; so does an error of the body, a finding,
//!   and a control that was not found.

pub mod bench;
pub mod cell;
pub mod load;
pub mod log;
pub mod ram;
pub mod report;
pub mod runner;
pub mod stores;

mod crash;
mod debuggers;
mod hibernation;
mod hotplug;
mod idle;
mod io;
mod keys;
mod killed;
mod luks;
mod nmis;
mod prints;
mod spare;
mod stops;
mod swap;

use anyhow::Result;
use tresor_qemu::VmConfig;

use bench::Bench;
use cell::Oracle;

/// What a scenario does.
#[derive(Clone, Copy)]
pub enum Body {
    /// Drives the guest and asks the oracles.
    Run(fn(&mut Bench) -> Result<()>),
    /// It cannot be run before this is there.
    Pending(&'static str),
}

/// A row of the matrix.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Whether it belongs to the short run.
    pub short: bool,
    /// Changes the usual VM, which has two CPUs, 288 MiB and four disks, into the one needed.
    pub machine: fn(VmConfig) -> VmConfig,
    /// The oracles that it asks.
    pub oracles: &'static [Oracle],
    /// What happens.
    pub body: Body,
}

/// The oracles of RAM.
const RAM: &[Oracle] = &[Oracle::Secrets, Oracle::Schedules];

/// Every file's scenarios, in the order of the matrix's rows.
const GROUPS: &[&[Scenario]] = &[
    idle::SCENARIOS,
    io::SCENARIOS,
    keys::SCENARIOS,
    nmis::SCENARIOS,
    prints::SCENARIOS,
    hotplug::SCENARIOS,
    stops::SCENARIOS,
    swap::SCENARIOS,
    killed::SCENARIOS,
    debuggers::SCENARIOS,
    luks::SCENARIOS,
    crash::SCENARIOS,
    hibernation::SCENARIOS,
];

/// All scenarios.
pub fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    GROUPS.iter().copied().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_scenario_has_a_name_of_its_own_and_lists_each_oracle_once() {
        let mut names = HashSet::new();
        for scenario in scenarios() {
            assert!(names.insert(scenario.name), "{}", scenario.name);
            let mut oracles = HashSet::new();
            assert!(!scenario.oracles.is_empty(), "{}", scenario.name);
            for oracle in scenario.oracles {
                assert!(oracles.insert(oracle), "{}: {oracle:?}", scenario.name);
            }
        }
    }
}
