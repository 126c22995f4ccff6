// SPDX-License-Identifier: GPL-2.0-or-later

//! The key comes and goes.

use anyhow::{ensure, Result};
use tresor_uapi::{CLEAR_FORCE, STATE_EMPTY, STATE_LOCKED};

use super::bench::{Bench, TRESOR};
use super::cell::Oracle::{self, Schedules, Secrets, Stores};
use super::ram::Holders;
use super::{Body, Scenario};

const ORACLES: &[Oracle] = &[Secrets, Schedules, Stores];

/// What this file has.
pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("load by passphrase", true, load),
    scenario("lock", true, lock),
    scenario("clear", false, clear),
    scenario("clear by force under I/O", false, clear_by_force),
    scenario("unload the module", false, unload),
];

const fn scenario(name: &'static str, short: bool, body: fn(&mut Bench) -> Result<()>) -> Scenario {
    Scenario {
        name,
        short,
        machine: |usual| usual,
        oracles: ORACLES,
        body: Body::Run(body),
    }
}

/// While it runs, `tresorctl` holds the passphrase and M: what is stored then is the oracle of
/// stores' to judge. When it has returned, nothing may be left.
fn load(bench: &mut Bench) -> Result<()> {
    bench.arm()?;
    bench.open_stock()?;
    bench.look(Holders::Every)?;
    for _ in 0..if bench.short { 1 } else { 3 } {
        bench.remember_shares("before the load")?;
        ensure!(bench.guest.clear(0)? == "ok", "the key cannot be cleared");
        bench.look(Holders::Nobody)?;
        bench.load_again()?;
        bench.look(Holders::Every)?;
        // The old shares may come up once more by no chance worth mentioning.
        bench.known.others.clear();
    }
    bench.open_tresor()?;
    bench.look(Holders::Every)?;
    bench.ask_stores()
}

/// Volume open and used, then closed; both kinds of shares on record.
fn used(bench: &mut Bench) -> Result<()> {
    bench.begin()?;
    let load = bench.work()?;
    bench.look(Holders::Every)?;
    load.stop(&mut bench.guest)?;
    bench.guest.close_volume(TRESOR)?;
    bench.remember_shares("before the end")
}

fn lock(bench: &mut Bench) -> Result<()> {
    used(bench)?;
    ensure!(bench.guest.lock()? == "ok", "it cannot be locked");
    bench.guest.ensure_state(STATE_LOCKED)?;
    bench.look(Holders::Nobody)?;
    bench.load_again()?;
    bench.open_tresor()?;
    bench.look(Holders::Every)?;
    bench.ask_stores()
}

fn clear(bench: &mut Bench) -> Result<()> {
    used(bench)?;
    ensure!(bench.guest.clear(0)? == "ok", "it cannot be cleared");
    bench.guest.ensure_state(STATE_EMPTY)?;
    bench.look(Holders::Nobody)?;
    bench.ask_stores()
}

fn clear_by_force(bench: &mut Bench) -> Result<()> {
    bench.begin()?;
    let mut load = bench.work()?;
    bench.look(Holders::Every)?;
    bench.remember_shares("before the end")?;
    ensure!(
        bench.guest.clear(CLEAR_FORCE)? == "ok",
        "it cannot be cleared by force"
    );
    bench.look(Holders::Nobody)?;
    load.wait(&mut bench.guest, 1)?;
    bench.look(Holders::Nobody)?;
    load.stop_after_failures(&mut bench.guest)?;
    bench.ask_stores()
}

fn unload(bench: &mut Bench) -> Result<()> {
    used(bench)?;
    bench.guest.remove()?;
    bench.look(Holders::Nobody)?;
    bench.ask_stores()
}
