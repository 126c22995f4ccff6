// SPDX-License-Identifier: GPL-2.0-or-later

//! A stock swap device, and less memory than is asked for.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use tresor_guest::pattern;

use super::bench::{Bench, SPARE};
use super::cell::Oracle::{Schedules, Secrets, Stores, Swap};
use super::ram::Holders;
use super::{Body, Scenario};
use crate::evidence::Evidence;
use crate::vmtest::guest::PROGRAM;

/// What this file has.
pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "swap under memory pressure",
    short: true,
    machine: |usual| usual,
    oracles: &[Secrets, Schedules, Stores, Swap],
    body: Body::Run(swap),
}];

/// The control's pattern and size: a process that has a secret and does not lock its memory.
const CONTROL: u64 = 71;
const CONTROL_BYTES: usize = 256 << 10;

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
        bench
            .guest
            .wait(Duration::from_secs(120), name, |guest| {
                Ok(guest.vm.run(&format!("[ -e /run/{name} ]"))?.success())
            })?;
    }
    let load = bench.work()?;
    let image = bench.image(SPARE);
    for _ in 0..if bench.short { 2 } else { 8 } {
        let before = swapped(bench)?;
        // The key that is loaded may be loaded again: the passphrase is read, M derived and handed
        // to the module, as the first time.
        bench.load_again()?;
        ensure!(swapped(bench)? > before, "nothing is swapped during a load");
        bench.look(Holders::Every)?;
        ask(bench, &image)?;
    }
    load.stop(&mut bench.guest)?;
    bench.guest.vm.check("rm /run/pressure /run/control")?;
    bench.guest.vm.check_for("swapoff -a", Duration::from_secs(120))?;
    bench.look(Holders::Every)?;
    ask(bench, &image)?;
    bench.ask_stores()
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
    let pages = control_pages(image)?;
    let missing = (pages == 0).then(|| "no page of a process with unlocked memory".to_owned());
    bench.answer(Swap, missing, evidence.findings)
}

/// Pages of the control process that are in the image, at the start of one of its pages.
fn control_pages(image: &std::path::Path) -> Result<usize> {
    const PAGE: usize = 4096;
    let mut wanted = vec![0; CONTROL_BYTES];
    pattern(CONTROL, 0, &mut wanted);
    // The process's buffer begins anywhere in a page, so its words are looked for anywhere.
    let words: std::collections::HashSet<[u8; 8]> = wanted
        .chunks_exact(8)
        .filter_map(|word| word.try_into().ok())
        .collect();
    let file = File::open(image).with_context(|| format!("cannot open {}", image.display()))?;
    let mut page = [0; PAGE];
    let mut count = 0;
    for at in (0..file.metadata()?.len()).step_by(PAGE) {
        file.read_exact_at(&mut page, at)?;
        let whole = page.chunks_exact(8).filter(|word| words.contains(*word));
        // Of a page of the process's own data at least half.
        count += usize::from(whole.count() >= PAGE / 16);
    }
    Ok(count)
}
