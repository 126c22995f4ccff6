// SPDX-License-Identifier: GPL-2.0-or-later

//! The main job, end to end: an encrypted disk whose key is in no memory dump.
//!
//! One VM serves two LUKS2 volumes with the same real files, one through `tresor.ko` and one
//! through the kernel's own AES, and its RAM is dumped while both are busy. The host, which knows
//! the passphrase, then looks for every form of the keys in the dumps: the control's must be there,
//! ours must not. A second boot shows who can open the volume.

mod conclusion;
mod first_boot;
mod second_boot;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};
use tresor_qemu::{Cache, Drive, Vm, VmConfig};

use crate::data::Data;
use crate::timeline::Timeline;
use crate::vmtest::secrets::{passphrase, random};
use crate::volume::{verify, Unlock, Volume};

/// At least this many bytes of real files are copied.
const DATA_BYTES: u64 = 132 << 20;

/// Size of each volume's disk.
const DISK_BYTES: u64 = 224 << 20;

/// What can be chosen.
pub struct Options {
    /// A statically linked `tresorctl`.
    pub tresorctl: PathBuf,
    /// Where everything is left.
    pub out: PathBuf,
    /// CPUs of the VM.
    pub cpus: u32,
    /// RAM of the VM in MiB.
    pub memory_mib: u64,
    /// Number of dumps.
    pub dumps: usize,
}

/// Runs the demo, prints what happens and the result, and writes `report.json`, `report.html` and
/// `secrets.json`.
///
/// Returns whether every condition held.
///
/// # Errors
/// If a step could not be done at all.
pub fn run(options: &Options) -> Result<bool> {
    let mut timeline = Timeline::start();
    let cache = Cache::open()?;
    ensure!(
        cache.module.is_some(),
        "tresor.ko is not built: run scripts/setup"
    );
    ensure!(
        options.tresorctl.is_file(),
        "there is no {}: build tresorctl first, as scripts/demo does",
        options.tresorctl.display()
    );
    let demo = Demo::prepare(options, &cache, &mut timeline)?;
    let first = demo.first_boot(&mut timeline)?;
    let second_boot = demo.second_boot(&first, &mut timeline)?;
    demo.conclude(first, second_boot, timeline)
}

struct Demo<'a> {
    options: &'a Options,
    cache: &'a Cache,
    data: Data,
    tresor: Volume,
    control: Volume,
    passphrase: String,
}

impl<'a> Demo<'a> {
    fn prepare(options: &'a Options, cache: &'a Cache, timeline: &mut Timeline) -> Result<Self> {
        let out = &options.out;
        let data = timeline.step("pack real files of the Debian tree", || {
            clear(out)?;
            Data::pack(cache, &out.join("files.tar"), DATA_BYTES)
        })?;
        timeline.note(&format!("{} files, {} bytes", data.files, data.bytes));
        for image in ["tresor.img", "control.img"] {
            let path = out.join(image);
            File::create(&path)
                .and_then(|file| file.set_len(DISK_BYTES))
                .with_context(|| format!("cannot make {}", path.display()))?;
        }
        Ok(Self {
            options,
            cache,
            data,
            tresor: Volume {
                name: "tresor",
                cipher: "tresor-xts-plain64",
                uuid: uuid()?,
                unlock: Unlock::SlotKey,
            },
            control: Volume {
                name: "control",
                cipher: "aes-xts-plain64",
                uuid: uuid()?,
                unlock: Unlock::Passphrase(passphrase()?.into_bytes()),
            },
            passphrase: passphrase()?,
        })
    }

    fn image(&self, volume: &Volume) -> PathBuf {
        self.options.out.join(format!("{}.img", volume.name))
    }

    fn boot(&self, name: &str) -> Result<Vm> {
        let mut config = VmConfig::new(name)
            .cpus(self.options.cpus)
            .memory_mib(self.options.memory_mib)
            .file("/usr/sbin/tresorctl", 0o755, &self.options.tresorctl)
            .drive(Drive::new("files", &self.data.archive).read_only());
        for volume in [&self.tresor, &self.control] {
            config = config.drive(Drive::new(volume.name, &self.image(volume)));
        }
        let mut vm = config.boot(self.cache)?;
        vm.check("modprobe tresor")?;
        Ok(vm)
    }

    fn verified(&self, vm: &mut Vm, volumes: &[&Volume]) -> Result<usize> {
        for count in verify(vm, volumes)? {
            ensure!(
                count == self.data.files,
                "{count} of {} files verified",
                self.data.files
            );
        }
        Ok(self.data.files)
    }
}

/// Makes the folder, without what an earlier run left in it.
fn clear(out: &Path) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    for entry in fs::read_dir(out)? {
        let path = entry?.path();
        let ours = path
            .extension()
            .is_some_and(|e| e == "raw" || e == "img" || e == "json" || e == "tar" || e == "html");
        if ours {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// A random UUID (RFC 9562, version 4) in lower case.
fn uuid() -> Result<String> {
    let mut b = random::<16>()?;
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let h = hex::encode(b);
    Ok(format!(
        "{}-{}-{}-{}-{}",
        &h[..8],
        &h[8..12],
        &h[12..16],
        &h[16..20],
        &h[20..]
    ))
}
