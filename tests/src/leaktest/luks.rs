// SPDX-License-Identifier: GPL-2.0-or-later

//! LUKS volumes of both kinds, handled by stock cryptsetup, and what is on their disks.

use std::collections::HashSet;
use std::fs;

use anyhow::{ensure, Context, Result};
use sha2::{Digest, Sha256};
use tresor_guest::pattern;

use super::bench::{Bench, STOCK, TRESOR};
use super::cell::Oracle::{Disk, Schedules, Secrets, Stores};
use super::ram::Holders;
use super::{Body, Scenario};
use crate::data::BLOCK;
use crate::disk;
use crate::luks::Header;
use crate::vmtest::disks::BYTES;
use crate::vmtest::secrets::{passphrase, random, Found};
use crate::volume::{Unlock, Volume};

/// What this file has.
pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "LUKS with stock cryptsetup",
    short: true,
    machine: |usual| usual,
    oracles: &[Secrets, Schedules, Stores, Disk],
    body: Body::Run(luks),
}];

/// The pattern that is written to the volumes.
const SEED: u64 = 61;

fn luks(bench: &mut Bench) -> Result<()> {
    bench.arm()?;
    let passphrase = passphrase()?.into_bytes();
    let tresor = volume(TRESOR, "tresor-xts-plain64", Unlock::SlotKey)?;
    let stock = volume(
        STOCK,
        "aes-xts-plain64",
        Unlock::Passphrase(passphrase.clone()),
    )?;
    for volume in [&tresor, &stock] {
        volume.format(&mut bench.guest.vm)?;
    }
    bench.guest.vm.check("sync")?;
    // What the data is encrypted with follows from the headers.
    let header = Header::read(&bench.image(TRESOR))?;
    let blob = header
        .volume_key(&bench.key.master.slot_key(&tresor.uuid))?
        .context("no keyslot opens with the slot key")?;
    bench.known.effective = bench.key.master.xts_key(&blob)?;
    bench.known.control = Header::read(&bench.image(STOCK))?
        .volume_key(&passphrase)?
        .context("no keyslot of the stock volume opens")?;
    bench.tell_the_watch_of_volumes()?;

    for volume in [&tresor, &stock] {
        volume.open(&mut bench.guest.vm)?;
        bench
            .guest
            .fill(&format!("/dev/mapper/{}_crypt", volume.name), SEED)?;
    }
    bench.look(Holders::Every)?;
    for (suspended, other) in [(&tresor, &stock), (&stock, &tresor)] {
        suspend(bench, suspended)?;
        // A suspended stock volume has lost its key, which is this look's control.
        if suspended.name == TRESOR {
            bench.look(Holders::Every)?;
        }
        verify(bench, other)?;
        resume(bench, suspended)?;
        verify(bench, suspended)?;
        bench.look(Holders::Every)?;
    }
    tresor.close(&mut bench.guest.vm)?;
    bench.look(Holders::Every)?;
    tresor.open(&mut bench.guest.vm)?;
    verify(bench, &tresor)?;
    bench.look(Holders::Every)?;
    bench.ask_stores()?;
    on_disk(bench, &header, &tresor.uuid)
}

fn volume(name: &'static str, cipher: &'static str, unlock: Unlock) -> Result<Volume> {
    let id = hex::encode(random::<16>()?);
    let parts = [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]];
    Ok(Volume {
        name,
        cipher,
        uuid: parts.join("-"),
        unlock,
    })
}

fn verify(bench: &mut Bench, volume: &Volume) -> Result<()> {
    bench
        .guest
        .verify(&format!("/dev/mapper/{}_crypt", volume.name), SEED)
}

fn suspend(bench: &mut Bench, volume: &Volume) -> Result<()> {
    let vm = &mut bench.guest.vm;
    vm.check(&format!("cryptsetup luksSuspend {}_crypt", volume.name))?;
    let state = vm.check(&format!("dmsetup info {}_crypt", volume.name))?;
    ensure!(
        state.contains("SUSPENDED"),
        "it is not suspended after luksSuspend: {state}"
    );
    Ok(())
}

fn resume(bench: &mut Bench, volume: &Volume) -> Result<()> {
    let output = volume.resume(&mut bench.guest.vm)?;
    ensure!(output.success(), "luksResume: {}", output.text());
    Ok(())
}

/// Searches the header and the data of our volume. The controls: the header's UUID is found by the
/// same search, and the data as it was written when the host decrypts it.
fn on_disk(bench: &mut Bench, header: &Header, uuid: &str) -> Result<()> {
    bench.guest.vm.check("sync")?;
    let image = bench.image(TRESOR);
    let bytes = fs::read(&image).with_context(|| format!("cannot read {}", image.display()))?;
    let found = Found::search(&bytes, &[("UUID".into(), uuid.as_bytes().to_vec())])?;
    let blocks: HashSet<[u8; 32]> = (0..BYTES)
        .step_by(BLOCK)
        .map(|at| {
            let mut block = [0; BLOCK];
            pattern(SEED, at, &mut block);
            Sha256::digest(block).into()
        })
        .collect();
    let (decrypted, seen) = disk::Disk::open(
        &image,
        header.data_offset,
        header.sector_size,
        &bench.known.effective,
    )?
    .count_blocks(&blocks)?;
    let missing = if found.whole("UUID").is_none() {
        Some("the UUID is not in the image".to_owned())
    } else {
        (decrypted != blocks.len())
            .then(|| format!("only {decrypted} of {} blocks decrypt", blocks.len()))
    };
    if seen > 0 {
        let finding = format!("{seen} of {} blocks of plaintext", blocks.len());
        bench.answer(Disk, None, vec![finding])?;
    }
    bench.search_file(Disk, &image, &[], Some(missing))
}
