// SPDX-License-Identifier: GPL-2.0-or-later

//! A stock swap device, and less memory than is asked for.

use std::time::Duration;

use anyhow::{ensure, Context, Result};

use super::bench::{Bench, SPARE};
use super::cell::Oracle::{Schedules, Secrets, Swap};
use super::ram::Holders;
use super::{Body, Scenario};
use crate::evidence::Evidence;
use crate::vmtest::guest::PROGRAM;

/// What this file has.
pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "swap under memory pressure",
    short: false,
    machine: |usual| usual,
    oracles: &[Secrets, Schedules, Swap],
    body: Body::Run(swap),
}];

/// The control's pattern and size: a process that has a secret and does not lock its memory.
const CONTROL: u64 = 71;
const CONTROL_BYTES: u64 = 256 << 10;

/// Memory that another process walks through: more than the guest has.
const PRESSURE: u64 = 320 << 20;

fn swap(bench: &mut Bench) -> Result<()> {
    bench.begin()?;
    bench
        .guest
        .vm
        .check("mkswap /dev/disk/spare >/dev/null && swapon /dev/disk/spare")?;
    for (name, arguments) in [
        ("control", format!("bytes={CONTROL_BYTES} seed={CONTROL}")),
        ("pressure", format!("bytes={PRESSURE} seed=72 walk=1")),
    ] {
        bench.guest.vm.check(&format!(
            "{PROGRAM} memory {arguments} hold=/run/{name} </dev/null >/dev/null 2>&1 &"
        ))?;
        bench.guest.wait(Duration::from_secs(120), name, |guest| {
            Ok(guest.vm.run(&format!("[ -e /run/{name} ]"))?.success())
        })?;
    }
    let load = bench.work()?;
    let image = bench.image(SPARE);
    let wanted = if bench.short { 2 } else { 8 };
    let (mut loads, mut pressed) = (0, 0);
    while pressed < wanted {
        // Under an emulator the guest may spend all of a load on something else.
        ensure!(
            loads < 3 * wanted,
            "during only {pressed} of {loads} loads something was swapped"
        );
        let before = swapped(bench)?;
        // The key that is loaded may be loaded again: the passphrase is read, M derived and handed
        // to the module, as the first time.
        bench.load_again()?;
        loads += 1;
        pressed += u32::from(swapped(bench)? > before);
        bench.look(Holders::Every)?;
        ask(bench, &image)?;
    }
    load.stop(&mut bench.guest)?;
    let ended = |left: u32| {
        format!("while [ $(pidof tresor-guest | wc -w) -gt {left} ]; do usleep 50000; done")
    };
    bench
        .guest
        .vm
        .check(&format!("rm /run/pressure; {}", ended(1)))?;
    bench.look(Holders::Every)?;
    // What a process had swapped out is overwritten soon after its end: the control's too.
    ask(bench, &image)?;
    bench
        .guest
        .vm
        .check(&format!("rm /run/control; {}", ended(0)))
        .map(drop)
}

/// Pages written to swap so far.
fn swapped(bench: &mut Bench) -> Result<u64> {
    let count = bench
        .guest
        .vm
        .check("awk '$1 == \"pswpout\" {print $2}' /proc/vmstat")?;
    count.parse().with_context(|| format!("pswpout: {count}"))
}

/// Asks about the swap device.
fn ask(bench: &mut Bench, image: &std::path::Path) -> Result<()> {
    let evidence = Evidence::gather(image, &[], &bench.known)?;
    let missing = (bench.spare_pages(CONTROL, CONTROL_BYTES)? == 0)
        .then(|| "no page of a process with unlocked memory".to_owned());
    bench.answer(Swap, missing, evidence.findings)
}
