// SPDX-License-Identifier: GPL-2.0-or-later

//! The VM's part: dm-crypt over a RAM disk, with our cipher, with the kernel's own, and without.
//!
//! Time under an emulator would measure the emulator, so there it is instructions that count, all
//! that the guest executes between the first request and the end of the last one: system calls, block
//! layer, dm-crypt, its threads, the crypto API and the cipher.

use anyhow::{ensure, Context, Result};
use tresor_guest::MARK;
use tresor_qemu::{Accel, Cache, VmConfig};

use super::report::{DmCrypt, Report};
use crate::vmtest::guest::{Guest, PROGRAM};
use crate::vmtest::runner::build_programs;
use crate::vmtest::secrets::{random, Key};

/// The RAM disk itself.
const NONE: &str = "none";
/// The kernel's own, as dm-crypt calls it.
const AES: &str = "aes-xts-plain64";
/// Ours.
const TRESOR: &str = "tresor-xts-plain64";
/// Bytes of an encryption sector.
const SECTORS: [usize; 2] = [512, 4096];
/// Order of the requests, and bytes of each.
const PATTERNS: [(&str, usize); 2] = [("sequential", 65536), ("random", 4096)];

/// How much to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amount {
    /// MiB that each kind of I/O goes over.
    mib: usize,
    /// How often; the median counts.
    repeats: usize,
}

impl Amount {
    pub(crate) const FULL: Self = Self { mib: 8, repeats: 5 };
    pub(crate) const QUICK: Self = Self { mib: 2, repeats: 1 };
}

/// Boots the VM, or two, measures, and adds it to the report.
///
/// # Errors
/// If something is missing, or I/O fails or gives wrong data.
pub(crate) fn run(report: &mut Report, amount: Amount) -> Result<()> {
    let cache = Cache::open()?;
    ensure!(
        cache.module.is_some(),
        "tresor.ko was not built: run scripts/setup"
    );
    let versions = &mut report.versions;
    versions.insert("linux".into(), cache.kernel_release.clone());
    versions.insert("qemu".into(), cache.qemu_version()?);
    boot(&cache, report, amount, Accel::Tcg)?;
    match Accel::choose(&cache)? {
        Accel::Kvm => boot(&cache, report, amount, Accel::Kvm),
        Accel::Tcg => {
            let why = "throughput of dm-crypt: this host runs no guest with KVM";
            report.skipped.push(why.into());
            Ok(())
        }
    }
}

fn boot(cache: &Cache, report: &mut Report, amount: Amount, accel: Accel) -> Result<()> {
    let [program, tresorctl] = build_programs()?;
    // One CPU, so that the counts are exact.
    let config = VmConfig::new("bench")
        .cpus(1)
        .accel(accel)
        .file(PROGRAM, 0o755, &program)
        .file("/usr/bin/tresorctl", 0o755, &tresorctl);
    let config = match accel {
        Accel::Tcg => config.count_instructions(&MARK),
        Accel::Kvm => config,
    };
    eprintln!("    a VM with {}", accel.name());
    let mut guest = Guest::new(config.boot(cache)?, false)?;
    guest.insert_and_load()?;
    let size = amount.mib << 10;
    guest
        .vm
        .check(&format!("modprobe brd rd_nr=1 rd_size={size}"))?;
    for cipher in [NONE, AES, TRESOR] {
        sector_sizes(&mut guest, report, amount, cipher)?;
    }
    // The kernel's AES may be of another vector width: then once more with the same.
    if let Some(engine) = same_width(&implementation(&mut guest, AES)?) {
        if guest.status()?.engine != engine {
            guest.remove()?;
            guest
                .vm
                .check(&format!("modprobe tresor engine={engine}"))?;
            guest.load(&Key::random()?)?;
            sector_sizes(&mut guest, report, amount, TRESOR)?;
        }
    }
    guest.vm.check("rmmod brd")?;
    guest.finish()
}

/// The engine of the same vector width as this driver of `xts(aes)`.
fn same_width(driver: &str) -> Option<&'static str> {
    match driver {
        "xts-aes-aesni-avx" => Some("aesni_avx"),
        "xts-aes-vaes-avx2" => Some("vaes_avx2"),
        "xts-aes-vaes-avx512" => Some("vaes_avx512"),
        _ => None,
    }
}

fn sector_sizes(
    guest: &mut Guest,
    report: &mut Report,
    amount: Amount,
    cipher: &str,
) -> Result<()> {
    let accel = guest.vm.accel().name();
    for sector in SECTORS {
        eprintln!("    {accel}: {cipher}, sectors of {sector} bytes");
        sectors(guest, report, amount, cipher, sector)
            .with_context(|| format!("{cipher} with sectors of {sector} bytes"))?;
    }
    Ok(())
}

/// All kinds of I/O with one cipher and sector size.
fn sectors(
    guest: &mut Guest,
    report: &mut Report,
    amount: Amount,
    cipher: &str,
    sector: usize,
) -> Result<()> {
    let device = match cipher {
        NONE => "/dev/ram0",
        _ => {
            let command = format!(
                "cryptsetup open --type plain --cipher {cipher} --key-size 512 --hash plain \
                 --sector-size {sector} --key-file - /dev/ram0 bench"
            );
            let output = guest.vm.run_with_input(&command, &random::<64>()?)?;
            ensure!(output.success(), "cryptsetup: {}", output.text());
            "/dev/mapper/bench"
        }
    };
    let implementation = implementation(guest, cipher)?;
    let bytes = amount.mib << 20;
    for (pattern, io) in PATTERNS {
        // Writing first: there must be something to read, and a RAM disk has no page before that.
        let fill =
            format!("bench dev={device} bytes={bytes} io={io} seed=1 mode=write order=sequential");
        guest.program(&fill)?;
        for operation in ["write", "read"] {
            let command = format!(
                "bench dev={device} bytes={bytes} io={io} seed=1 mode={operation} order={pattern}"
            );
            let counts = guest.vm.accel() == Accel::Tcg;
            let mut results = Vec::new();
            for _ in 0..amount.repeats {
                if counts {
                    guest.vm.take_marks()?;
                }
                let said = guest.program(&command)?;
                results.push(if counts {
                    let marks = guest.vm.take_marks()?;
                    let [from, to] = marks[..] else {
                        anyhow::bail!("{} marks instead of 2", marks.len());
                    };
                    (to - from) as f64
                } else {
                    let ns = said
                        .strip_prefix("ns=")
                        .context("the program said no time")?;
                    ns.parse::<f64>()?
                });
            }
            results.sort_by(f64::total_cmp);
            let result = results[results.len() / 2];
            let sectors = bytes / sector;
            report.dm_crypt.push(DmCrypt {
                cipher: cipher.into(),
                implementation: implementation.clone(),
                pattern: pattern.into(),
                operation: operation.into(),
                sector_bytes: sector,
                io_bytes: io,
                sectors,
                accelerator: guest.vm.accel().name().into(),
                instructions_per_sector: counts.then(|| result / sectors as f64),
                mb_per_s: (!counts).then(|| bytes as f64 * 1000.0 / result),
            });
        }
    }
    if cipher != NONE {
        guest.vm.check("cryptsetup close bench")?;
    }
    Ok(())
}

/// Our engine's name, or that of the driver which the kernel has chosen.
fn implementation(guest: &mut Guest, cipher: &str) -> Result<String> {
    match cipher {
        NONE => Ok("brd".into()),
        AES => {
            let text = guest.vm.check("cat /proc/crypto")?;
            driver(&text, "xts(aes)").context("the kernel has no xts(aes)")
        }
        _ => Ok(format!("tresor/{}", guest.status()?.engine)),
    }
}

/// The driver of the highest priority for an algorithm, from /proc/crypto.
fn driver(text: &str, algorithm: &str) -> Option<String> {
    let entries = text.split("\n\n").filter_map(|entry| {
        let field = |name: &str| {
            let mut lines = entry.lines().filter_map(|line| line.split_once(':'));
            let (_, value) = lines.find(|(key, _)| key.trim() == name)?;
            Some(value.trim())
        };
        (field("name")? == algorithm).then_some(())?;
        Some((field("priority")?.parse::<u32>().ok()?, field("driver")?))
    });
    entries.max().map(|(_, driver)| driver.to_owned())
}

#[cfg(test)]
mod tests {
    use super::driver;

    #[test]
    fn the_driver_of_the_highest_priority_is_named() {
        let text = "name         : xts(aes)\ndriver       : a\npriority     : 400\n\n\
                    name         : xts(aes)\ndriver       : b\npriority     : 1600\n\n\
                    name         : cbc(aes)\ndriver       : c\npriority     : 9000\n";
        assert_eq!(driver(text, "xts(aes)").as_deref(), Some("b"));
        assert_eq!(driver(text, "ctr(aes)"), None);
    }
}
