// SPDX-License-Identifier: GPL-2.0-or-later

//! Volumes as users have them: the data on the disk is AES-XTS, and nothing of its keys is in RAM.
//! `essiv.rs` has those with ESSIV.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use anyhow::{ensure, Context, Result};
use keyscan::{scan_bytes, Expand, Needles, Options};
use tresor_guest::pattern;
use tresor_qemu::{target_dir, VmConfig};

use super::disks::{with_disk, Tally, BYTES};
use super::guest::{Guest, PROGRAM};
use super::secrets::{random, Key};
use crate::luks::Header;
use crate::reference::Volume;

/// Bytes of each disk of the scenario: a LUKS2 header takes 16 MiB.
const DISK: u64 = 24 << 20;
pub(super) const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";
const STOCK_UUID: &str = "76543210-89ab-cdef-0123-456789abcdef";

pub(super) fn image(name: &str) -> PathBuf {
    target_dir()
        .join("vm/test-volumes")
        .join(format!("{name}.img"))
}

/// Adds the two disks to the VM.
pub(super) fn machine(usual: VmConfig) -> VmConfig {
    ["tresor", "stock"].into_iter().fold(usual, |config, name| {
        with_disk(config, "volumes", name, DISK)
    })
}

/// What lies on a disk of the scenario after the guest has written it back.
pub(super) fn on_disk(guest: &mut Guest, name: &str, offset: u64) -> Result<Vec<u8>> {
    guest
        .vm
        .check(&format!("sync; blockdev --flushbufs /dev/disk/{name}"))?;
    let mut bytes = vec![0; BYTES as usize];
    let file = File::open(image(name)).context("cannot open the disk's image")?;
    file.read_exact_at(&mut bytes, offset)
        .context("cannot read the disk's image")?;
    Ok(bytes)
}

/// Fails unless the ciphertext is the pattern under this key.
fn ensure_is_xts(bytes: Vec<u8>, key: &[u8], sector_size: usize, seed: u64) -> Result<()> {
    let volume = Volume::new(key)?;
    ensure_decrypts(bytes, seed, |bytes| {
        volume.decrypt(bytes, 0, sector_size);
        Ok(())
    })
}

/// Fails unless this makes the pattern of the ciphertext.
pub(super) fn ensure_decrypts(
    mut bytes: Vec<u8>,
    seed: u64,
    decrypt: impl FnOnce(&mut [u8]) -> Result<()>,
) -> Result<()> {
    let mut wanted = vec![0; bytes.len()];
    pattern(seed, 0, &mut wanted);
    ensure!(bytes != wanted, "the plaintext is on the disk");
    decrypt(&mut bytes)?;
    let at = bytes
        .chunks(512)
        .zip(wanted.chunks(512))
        .position(|(is, was)| is != was);
    ensure!(
        at.is_none(),
        "sector {at:?} on the disk is not encrypted under the key of F"
    );
    Ok(())
}

pub(super) fn what_reaches_the_disk_is_aes_xts_under_the_derived_key(
    guest: &mut Guest,
) -> Result<()> {
    let key = guest.insert_and_load()?;
    let blobs = [random::<64>()?.to_vec(), random::<32>()?.to_vec()];
    let ways: [(usize, &str, &[&str]); 5] = [
        (512, "", &[]),
        (4096, "", &[]),
        (
            512,
            "offset=512 io=65536",
            &["no_read_workqueue", "no_write_workqueue"],
        ),
        (
            4096,
            "io=131072",
            &["same_cpu_crypt", "submit_from_crypt_cpus"],
        ),
        (512, "offset=1536 io=3584", &["high_priority"]),
    ];
    let mut seed = 20;
    for blob in &blobs {
        for (sector_size, io, options) in ways {
            seed += 1;
            let what = format!(
                "{} bits, sectors of {sector_size}, {options:?} {io}",
                blob.len() * 8
            );
            let sector = format!("sector_size:{sector_size}");
            let options = [&[sector.as_str()], options].concat();
            guest.open_volume("plain", blob, "/dev/disk/tresor", &options)?;
            let mut bytes = BYTES;
            if io.ends_with("3584") {
                // It does not divide BYTES: what is left keeps this.
                guest.fill("/dev/mapper/plain", seed)?;
                bytes -= bytes % 3584;
            }
            for mode in ["write", "read"] {
                let said = guest.program(&format!(
                    "disk dev=/dev/mapper/plain bytes={bytes} seed={seed} mode={mode} {io}"
                ))?;
                let tally = Tally::parse(&said).with_context(|| what.clone())?;
                ensure!(tally.failed == 0, "{what}: {tally:?}");
            }
            guest.close_volume("plain")?;
            let bytes = on_disk(guest, "tresor", 0)?;
            ensure_is_xts(bytes, &key.master.xts_key(blob)?, sector_size, seed).context(what)?;
        }
    }
    Ok(())
}

pub(super) fn plain_mode_of_cryptsetup_works(guest: &mut Guest) -> Result<()> {
    let key = guest.insert_and_load()?;
    for bits in [512, 256] {
        let blob = &random::<64>()?[..bits / 8];
        let command = format!(
            "cryptsetup open --type plain --cipher tresor-xts-plain64 --key-size {bits} \
             --hash plain --sector-size 4096 --key-file - /dev/disk/tresor plain"
        );
        let output = guest.vm.run_with_input(&command, blob)?;
        ensure!(output.success(), "cryptsetup: {}", output.text());
        guest.fill("/dev/mapper/plain", bits as u64)?;
        guest.verify("/dev/mapper/plain", bits as u64)?;
        guest.vm.check("cryptsetup close plain")?;
        let bytes = on_disk(guest, "tresor", 0)?;
        ensure_is_xts(bytes, &key.master.xts_key(blob)?, 4096, bits as u64)?;
    }
    Ok(())
}

/// Makes a LUKS2 volume with this passphrase, cipher and size of the blob on the disk of this name, and
/// opens it; its blob.
pub(super) fn luks(
    guest: &mut Guest,
    name: &str,
    uuid: &str,
    (cipher, bits): (&str, usize),
    passphrase: &[u8],
) -> Result<Vec<u8>> {
    let format = format!(
        "cryptsetup luksFormat --batch-mode --type luks2 --cipher {cipher} --key-size {bits} \
         --uuid {uuid} --hash sha256 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file - \
         /dev/disk/{name}"
    );
    let open = format!("cryptsetup open --key-file - /dev/disk/{name} {name}");
    for command in [format, open] {
        let output = guest.vm.run_with_input(&command, passphrase)?;
        ensure!(output.success(), "{command}: {}", output.text());
    }
    guest
        .vm
        .check(&format!("sync; blockdev --flushbufs /dev/disk/{name}"))?;
    let header = Header::read(&image(name))?;
    header
        .volume_key(passphrase)?
        .context("the keyslot does not open")
}

pub(super) fn a_dump_holds_the_keys_of_a_stock_volume_and_none_of_ours(
    guest: &mut Guest,
) -> Result<()> {
    let key = guest.insert_and_load()?;
    let blob = luks(
        guest,
        "tresor",
        UUID,
        ("tresor-xts-plain64", 512),
        &key.master.slot_key(UUID),
    )?;
    let control = luks(
        guest,
        "stock",
        STOCK_UUID,
        ("aes-xts-plain64", 512),
        &random::<32>()?,
    )?;
    for (name, seed) in [("tresor", 11), ("stock", 12)] {
        guest.fill(&format!("/dev/mapper/{name}"), seed)?;
        guest.vm.check(&format!(
            "{PROGRAM} disk dev=/dev/mapper/{name} bytes={BYTES} seed={seed} mode=read seconds=4 \
             >/run/{name}.out 2>&1 &"
        ))?;
    }
    let effective = key.master.xts_key(&blob)?;
    for _ in 0..2 {
        let look = guest.look_armed(&key)?;
        ensure!(look.master.is_empty(), "M is in RAM at {:x?}", look.master);
        let report = guest.while_stopped(|vm| {
            let cpus = vm.debug_registers()?;
            let mut needles = Needles::new();
            needles.add_secret("M", &key.m, Expand::Aes)?;
            needles.add_secret("effective keys", &effective, Expand::Xts)?;
            for cpu in cpus {
                needles.add_secret(
                    &format!("DR of CPU {}", cpu.cpu),
                    &cpu.bytes(),
                    Expand::None,
                )?;
            }
            needles.add_secret("control", &control, Expand::Xts)?;
            Ok(scan_bytes(
                vm.ram()?,
                &needles,
                &Options::default(),
                &|_| (),
            ))
        })?;
        let schedules: Vec<&[u8]> = report.schedule_keys().map(|key| key.expose()).collect();
        for half in control.chunks(32) {
            ensure!(
                schedules.contains(&half),
                "the control's schedule was not found"
            );
        }
        ensure!(
            report.found("control").unwrap_or(0) > 2,
            "the control's key was not found"
        );
        for ours in effective.chunks(32).chain([&key.m[..]]) {
            ensure!(!schedules.contains(&ours), "a schedule of ours is in RAM");
        }
        let ours = report
            .findings
            .iter()
            .filter(|finding| finding.what.name().is_some_and(|name| name != "control"));
        let ours: Vec<String> = ours
            .map(|finding| format!("{} at {:#x}", finding.what, finding.offset))
            .collect();
        ensure!(ours.is_empty(), "RAM holds {}", ours.join(", "));
    }
    guest
        .vm
        .check("while pidof tresor-guest; do usleep 50000; done")?;
    for name in ["tresor", "stock"] {
        let tally = Tally::parse(&guest.vm.check(&format!("cat /run/{name}.out"))?)?;
        ensure!(
            tally.failed == 0 && tally.right > 0,
            "{name} under load: {tally:?}"
        );
        guest.vm.check(&format!("cryptsetup close {name}"))?;
    }
    let offset = Header::read(&image("tresor"))?.data_offset;
    let bytes = on_disk(guest, "tresor", offset)?;
    let sector_size = Header::read(&image("tresor"))?.sector_size;
    ensure_is_xts(bytes, &effective, sector_size, 11)?;

    // Another M gives another slot key, so that cryptsetup itself refuses.
    ensure!(guest.clear(0)? == "ok", "it cannot be cleared");
    let other = Key::random()?;
    guest.load(&other)?;
    let open = "cryptsetup open --key-file - /dev/disk/tresor tresor";
    let output = guest
        .vm
        .run_with_input(open, &other.master.slot_key(UUID))?;
    ensure!(
        output.status == 2 && output.text() == "No key available with this passphrase.",
        "cryptsetup said {}: {}",
        output.status,
        output.text()
    );
    Ok(())
}
