// SPDX-License-Identifier: GPL-2.0-or-later

//! Both volumes under as much I/O as there is, on each variant of the engine.

use std::collections::HashSet;

use anyhow::{ensure, Result};
use sha2::{Digest, Sha256};
use tresor_guest::pattern;

use super::bench::{Bench, PLAIN, TRESOR};
use super::cell::Oracle::{self, Disk, Schedules, Secrets, Stores};
use super::ram::Holders;
use super::{Body, Scenario};
use crate::data::BLOCK;
use crate::disk;
use crate::vmtest::disks::BYTES;

const ORACLES: &[Oracle] = &[Secrets, Schedules, Stores, Disk];

/// What this file has.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "heavy I/O, engine aesni",
        short: true,
        machine: |usual| usual,
        oracles: ORACLES,
        body: Body::Run(|bench| heavy_io(bench, "aesni")),
    },
    variant("heavy I/O, engine aesni_avx"),
    variant("heavy I/O, engine vaes_avx2"),
    variant("heavy I/O, engine vaes_avx512"),
];

const fn variant(name: &'static str) -> Scenario {
    Scenario {
        name,
        short: false,
        machine: |usual| usual,
        oracles: ORACLES,
        body: Body::Pending("engine variants"),
    }
}

fn heavy_io(bench: &mut Bench, engine: &str) -> Result<()> {
    bench.begin()?;
    let status = bench.guest.status()?;
    ensure!(status.engine == engine, "the engine is {}", status.engine);
    let mut load = bench.work()?;
    for _ in 0..if bench.short { 2 } else { 6 } {
        bench.look(Holders::Every)?;
        load.wait(&mut bench.guest, 1)?;
    }
    load.stop(&mut bench.guest)?;
    bench.look(Holders::Every)?;
    bench.ask_stores()?;
    disk_image(bench)
}

/// Writes the same pattern to the volume and to a disk without encryption, and counts its blocks in
/// both images.
fn disk_image(bench: &mut Bench) -> Result<()> {
    let seed = 55;
    for device in ["mapper/tresor", "disk/plain"] {
        bench.guest.fill(&format!("/dev/{device}"), seed)?;
    }
    bench.guest.vm.check("sync")?;
    let blocks: HashSet<[u8; 32]> = (0..BYTES)
        .step_by(BLOCK)
        .map(|at| {
            let mut block = [0; BLOCK];
            pattern(seed, at, &mut block);
            Sha256::digest(block).into()
        })
        .collect();
    let open = |disk: &str| {
        // dm-crypt's sectors have 512 bytes unless its table says otherwise.
        disk::Disk::open(&bench.image(disk), 0, 512, &bench.known.effective)
    };
    let (decrypted, seen) = open(TRESOR)?.count_blocks(&blocks)?;
    let (_, control) = open(PLAIN)?.count_blocks(&blocks)?;
    let all = blocks.len();
    let missing = (decrypted != all || control != all).then(|| {
        format!(
            "of {all} blocks the host finds {decrypted} when it decrypts the volume's image, and \
             {control} in that of the disk without encryption"
        )
    });
    let findings = (seen > 0).then(|| format!("{seen} of {all} blocks of plaintext"));
    bench.answer(Disk, missing.clone(), findings.into_iter().collect())?;
    let image = bench.image(TRESOR);
    bench.search_file(Disk, &image, &[], Some(missing))
}
