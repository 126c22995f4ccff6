// SPDX-License-Identifier: GPL-2.0-or-later

//! Every store of every CPU, compared with the secrets: stock code and planted leaks must be seen,
//! ours must leave nothing to see.

use std::fs::{self, File};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use aes::cipher::{BlockEncrypt, KeyInit};
use aes::Aes256;
use anyhow::{ensure, Context, Result};
use tresor_guest::{LEAKS, LEAK_LEN};
use tresor_qemu::{target_dir, Cache, Drive, Forms, Hit, ShareLine, StoreReport, VmConfig};

use super::disks::{INLINE, RAM_DISK};
use super::guest::{Guest, PROGRAM};
use super::secrets::{passphrase, random, Key};
use super::{modes, Skip};
use crate::luks::Header;
use crate::master::{create_with, derive, load};
use crate::reference::Master;
use crate::volume::{Unlock, Volume};

/// Bytes of the disk: a LUKS2 header takes 16 MiB.
const DISK: u64 = 24 << 20;
const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";
/// Less memory for Argon2 than usual, which an emulator is slow to take out of the kernel's own map.
const COST: &str = "--argon2-memory 8192";
/// How the names of the secrets begin that no store may leave behind.
const OURS: [&str; 6] = [
    "M",
    modes::WATCHED,
    "the passphrase",
    "the volume's effective key",
    "the tweak of",
    "DR share",
];
/// Where the guest has the modules that leak on purpose.
const SPILLS: &str = "/usr/lib/tresor-spill";

fn image() -> PathBuf {
    target_dir().join("vm/test-store-watch/tresor.img")
}

/// The usual VM, under watch, with a disk and with the modules that leak on purpose.
pub(super) fn machine(usual: VmConfig) -> VmConfig {
    // Whatever goes wrong here is reported when QEMU cannot open the image, or by the test.
    let _ = image().parent().map(fs::create_dir_all);
    let _ = File::create(image()).and_then(|file| file.set_len(DISK));
    let spills = Cache::open().map(|cache| cache.spill_modules);
    let watched = usual.watch_stores().drive(Drive::new("tresor", &image()));
    spills
        .into_iter()
        .flatten()
        .fold(watched, |vm, (name, path)| {
            vm.file(&format!("{SPILLS}/{name}.ko"), 0o644, &path)
        })
}

/// Shows what was found, for those who read the run.
fn show(title: &str, report: &StoreReport) {
    println!(
        "    {title}: {} stores seen, {} of them compared; {} kinds of hits, {} of them findings",
        report.stores_seen,
        report.stores_checked,
        report.hits.len(),
        report.findings().count()
    );
}

/// One hit in one line.
fn line(hit: &Hit) -> String {
    let end = match (&hit.overwritten_by, hit.resident) {
        (_, true) => "still there".to_owned(),
        (Some(by), _) => format!("overwritten by {by}"),
        (None, _) => "gone".to_owned(),
    };
    format!(
        "{} x {}, {} bytes, by {} of {:?} at {:#x}, {end}",
        hit.count, hit.secret, hit.bytes, hit.symbol, hit.process, hit.address
    )
}

/// Fails unless there is no finding, saying which there are.
fn ensure_clean(report: &StoreReport) -> Result<()> {
    let findings: Vec<String> = report.findings().map(line).collect();
    ensure!(
        findings.is_empty() && report.omitted == 0,
        "secrets were stored:\n{}",
        findings.join("\n")
    );
    Ok(())
}

pub(super) fn every_store_of_a_stock_volume_key_is_seen(guest: &mut Guest) -> Result<()> {
    let key = random::<64>()?;
    guest
        .vm
        .store_watch()?
        .add_secret("the stock key", &key, Forms::Xts)?;
    guest.ram_disk()?;
    let opened = guest.try_open_volume("stock", "aes-xts-plain64", &key, RAM_DISK, INLINE)?;
    ensure!(
        opened.is_ok(),
        "the stock volume was not opened: {opened:?}"
    );
    guest.fill("/dev/mapper/stock", 7)?;
    let open = guest.vm.store_watch()?.report()?;
    show("a stock volume", &open);
    let mut wanted = vec!["the stock key".to_owned()];
    for half in 1..=2 {
        let names = (2..=14)
            .map(|round| (round, "encryption"))
            .chain((1..=13).map(|round| (round, "decryption")));
        wanted.extend(names.map(|(round, direction)| {
            format!("the stock key, key {half}, round key {round}, for {direction}")
        }));
    }
    for name in &wanted {
        let seen = |hit: &&Hit| {
            hit.secret == *name
                && hit.resident
                && hit.process == "dmsetup"
                && hit.symbol.starts_with("aesni_intel:")
        };
        ensure!(
            open.findings().any(|hit| seen(&hit)),
            "{name} was not seen to be stored by aesni_intel in dmsetup; what was: {}",
            open.hits.iter().map(line).collect::<Vec<_>>().join("\n")
        );
    }
    // dm-crypt's own copy comes from the table's text.
    ensure!(
        open.findings()
            .any(|hit| hit.secret == "the stock key" && hit.symbol.starts_with("hex2bin+")),
        "dm-crypt's copy of the key was not seen"
    );

    guest.close_volume("stock")?;
    let closed = guest.vm.store_watch()?.report()?;
    let left = closed
        .hits
        .iter()
        .find(|hit| hit.symbol.starts_with("aesni_intel:") && hit.resident);
    ensure!(
        left.is_none(),
        "the kernel's own key schedule is still there: {}",
        left.map(line).unwrap_or_default()
    );
    let wiped = |hit: &Hit| {
        hit.overwritten_by
            .as_ref()
            .is_some_and(|by| by.contains("+0x"))
    };
    ensure!(
        closed
            .hits
            .iter()
            .any(|hit| hit.symbol.starts_with("aesni_intel:") && wiped(hit)),
        "nobody was seen to overwrite the kernel's own key schedule"
    );
    Ok(())
}

pub(super) fn a_secret_put_together_by_any_stores_is_seen(guest: &mut Guest) -> Result<()> {
    let mut secrets = Vec::new();
    for _ in LEAKS {
        secrets.extend(random::<LEAK_LEN>()?);
    }
    let held = format!("exec 3<&0; {PROGRAM} stores hold=/run/held <&3 >/run/stores.out 2>&1 &");
    let output = guest.vm.run_with_input(&held, &secrets)?;
    ensure!(output.success(), "{}", output.text());
    guest.wait(Duration::from_secs(20), "held program", |guest| {
        Ok(guest.vm.run("[ -e /run/held ]")?.success())
    })?;
    // Only what is stored from here on is of interest, not how the secrets came in.
    let watch = guest.vm.store_watch()?;
    for (name, secret) in LEAKS.iter().zip(secrets.chunks_exact(LEAK_LEN)) {
        watch.add_secret(name, secret, Forms::Plain)?;
    }
    guest
        .vm
        .check("rm /run/held; while pidof tresor-guest; do usleep 20000; done")?;
    guest.expect("cat /run/stores.out", 0, "ok")?;
    let report = guest.vm.store_watch()?.report()?;
    show("planted stores", &report);
    for name in LEAKS {
        let words = name.contains("words");
        let seen = |hit: &&Hit| {
            hit.secret == name
                && hit.symbol.starts_with("tresor-guest (user) ")
                && hit.symbol.contains("(separate words)") == words
        };
        ensure!(
            report.findings().any(|hit| seen(&hit)),
            "what was {name} was not seen; what was: {}",
            report.hits.iter().map(line).collect::<Vec<_>>().join("\n")
        );
    }
    Ok(())
}

/// The shares of all CPUs, as they are now.
fn share_lines(guest: &mut Guest, key: &Key) -> Result<Vec<ShareLine>> {
    let look = guest.look_armed(key)?;
    let lines = look.cpus.iter().zip(look.shares);
    Ok(lines
        .filter_map(|(cpu, address)| {
            Some(ShareLine {
                cpu: cpu.cpu,
                address: address?,
            })
        })
        .collect())
}

pub(super) fn no_store_of_a_load_and_of_busy_volumes_holds_the_key(
    guest: &mut Guest,
) -> Result<()> {
    guest.insert()?;
    guest.vm.check("rm -rf /etc/tresor/key.toml")?;
    let passphrase = passphrase()?;
    let description = create_with(&mut guest.vm, &passphrase, COST)?;
    let m = derive(&description, passphrase.as_bytes())?;
    let key = Key {
        m,
        master: Master::new(&m),
    };
    // From here on M is known, and all of the next load is watched.
    ensure!(guest.clear(0)? == "ok", "it cannot be cleared");
    guest.remove()?;
    guest.insert()?;
    let control = random::<32>()?;
    let watch = guest.vm.store_watch()?;
    watch.add_secret("M", &m, Forms::Aes)?;
    watch.add_secret("the passphrase", passphrase.as_bytes(), Forms::Plain)?;
    watch.add_secret("the control", &control, Forms::Plain)?;
    let before = watch.report()?.stores_checked;

    let loaded = load(&mut guest.vm, &passphrase)?;
    ensure!(loaded.success(), "tresorctl load: {}", loaded.text());
    let lines = share_lines(guest, &key)?;
    guest.vm.store_watch()?.follow_shares(&m, &lines)?;
    guest.vm.write_file("/run/control", &control)?;

    let volume = Volume {
        name: "tresor",
        cipher: "tresor-xts-plain64",
        uuid: UUID.into(),
        unlock: Unlock::SlotKey,
    };
    volume.format(&mut guest.vm)?;
    guest
        .vm
        .check("sync; blockdev --flushbufs /dev/disk/tresor")?;
    let blob = Header::read(&image())?
        .volume_key(&key.master.slot_key(UUID))?
        .context("the slot key does not open the volume's header")?;
    let effective = key.master.xts_key(&blob)?;
    let watch = guest.vm.store_watch()?;
    watch.add_secret("the volume's effective key", &effective, Forms::Xts)?;
    for sector in [0u64, 1, 8, 9] {
        let mut tweak = [0; 16];
        tweak[..8].copy_from_slice(&sector.to_le_bytes());
        Aes256::new_from_slice(&effective[32..])?.encrypt_block((&mut tweak).into());
        watch.add_secret(
            &format!("the tweak of sector {sector}"),
            &tweak,
            Forms::Plain,
        )?;
    }
    volume.open(&mut guest.vm)?;
    guest.fill("/dev/mapper/tresor_crypt", 91)?;
    for cpu in 0..2 {
        let said = guest.program(&format!(
            "disk dev=/dev/mapper/tresor_crypt bytes=1048576 seed=91 mode=read cpu={cpu}"
        ))?;
        ensure!(said.contains("failed=0"), "reading on CPU {cpu}: {said}");
    }
    // Some refreshes of every CPU's shares, and a CPU that is armed by another.
    let refreshes = guest.status()?.refreshes;
    thread::sleep(Duration::from_secs(5));
    ensure!(
        guest.status()?.refreshes > refreshes,
        "no share was refreshed meanwhile"
    );
    guest.verify("/dev/mapper/tresor_crypt", 91)?;
    volume.close(&mut guest.vm)?;
    // What dm-crypt does not ask for.
    modes::under_watch(guest, &key.master)?;
    ensure!(guest.lock()? == "ok", "it cannot be locked");
    let again = load(&mut guest.vm, &passphrase)?;
    ensure!(again.success(), "tresorctl load: {}", again.text());
    ensure!(guest.clear(0)? == "ok", "it cannot be cleared");
    guest.vm.check("rm /etc/tresor/key.toml")?;

    let mut report = guest.vm.store_watch()?.report()?;
    show("two loads and a busy volume", &report);
    for hit in report.hits.iter().filter(|hit| !hit.is_finding()) {
        println!("    allowed: {}", line(hit));
    }
    ensure!(
        report.findings().any(|hit| hit.secret == "the control"),
        "the control was not found"
    );
    // What other tests have planted in this machine is theirs to find.
    report
        .hits
        .retain(|hit| OURS.iter().any(|name| hit.secret.starts_with(name)));
    ensure_clean(&report)?;
    ensure!(
        report.stores_checked - before > 10_000_000,
        "only {} stores were compared",
        report.stores_checked - before
    );
    // An entry of the list that nothing needs would allow what it was not meant for.
    for reason in tresor_qemu::allowed_reasons()? {
        ensure!(
            report
                .hits
                .iter()
                .any(|hit| hit.allowed.as_ref() == Some(&reason)),
            "nothing needs this entry of allowed.toml: {reason}"
        );
    }
    Ok(())
}

/// Loads the build of the module that leaks on purpose in this engine, and has it caught.
fn spill_is_caught(guest: &mut Guest, engine: &str) -> Result<()> {
    let spills = Cache::open()?.spill_modules;
    ensure!(
        spills.contains_key(engine),
        "scripts/setup built no module that leaks on purpose with the engine {engine}: run it again"
    );
    // What it depends on is loaded by the module's own name.
    guest.insert()?;
    guest.remove()?;
    let insert = format!("insmod {SPILLS}/{engine}.ko engine={engine}");
    let output = guest.vm.run(&insert)?;
    if !output.success() {
        let log = guest.log()?;
        ensure!(
            log.contains(", which this CPU lacks"),
            "{}: {log}",
            output.text()
        );
        return Err(Skip(format!("the VM's CPU cannot run {engine}")).into());
    }
    let key = Key::random()?;
    let name = format!("M under the {engine} engine that leaks");
    let watch = guest.vm.store_watch()?;
    watch.add_secret(&name, &key.m, Forms::Aes)?;
    guest.load(&key)?;
    ensure!(
        guest.status()?.engine == engine,
        "the engine is not {engine}"
    );
    guest.open_filled("spill", &random::<64>()?, 92)?;
    let report = guest.vm.store_watch()?.report()?;
    show("a deliberate spill", &report);
    let symbol = format!("tresor:tresor_{engine}_xts256_enc+");
    let caught = report
        .findings()
        .find(|hit| hit.secret == name && hit.symbol.starts_with(&symbol));
    let caught = caught.with_context(|| {
        let hits: Vec<String> = report.hits.iter().map(line).collect();
        format!("the spill was not seen; what was:\n{}", hits.join("\n"))
    })?;
    println!("    {}", line(caught));
    guest.close_volume("spill")?;
    guest.remove()
}

pub(super) fn a_deliberate_spill_of_aesni_is_caught(guest: &mut Guest) -> Result<()> {
    spill_is_caught(guest, "aesni")
}

pub(super) fn a_deliberate_spill_of_aesni_avx_is_caught(guest: &mut Guest) -> Result<()> {
    spill_is_caught(guest, "aesni_avx")
}

pub(super) fn a_deliberate_spill_of_vaes_avx2_is_caught(guest: &mut Guest) -> Result<()> {
    spill_is_caught(guest, "vaes_avx2")
}

pub(super) fn a_deliberate_spill_of_vaes_avx512_is_caught(guest: &mut Guest) -> Result<()> {
    spill_is_caught(guest, "vaes_avx512")
}
