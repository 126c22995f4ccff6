// SPDX-License-Identifier: GPL-2.0-or-later

//! Whether this host can run the guest with KVM, found out by doing it.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use sha2::{Digest, Sha256};

use crate::cpio::Cpio;
use crate::spawn::spawn;
use crate::{target_dir, Cache};

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// The host's CPU, through KVM.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

const MARKER: &str = "tresor: the trial guest has booted";
const INIT: &str = "#!/usr/bin/busybox sh\n\
    /usr/bin/busybox echo 'tresor: the trial guest has booted'\n\
    /usr/bin/busybox poweroff -f\n";

/// A stock kernel boots under KVM in about a second; a host under load may need a few.
const LIMIT: Duration = Duration::from_secs(20);

impl Accel {
    /// As QEMU and reports name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// The value of QEMU's option `-accel`.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=multi",
        }
    }

    /// KVM if a trial guest boots with it, else TCG.
    ///
    /// That `/dev/kvm` opens, or even creates a VM, does not mean that a guest runs, so a guest is
    /// run: the stock kernel with an init that prints a line and powers off. The answer holds for
    /// as long as host boot, QEMU and kernel stay the same, and is kept in `target/vm`. The
    /// environment variable `TRESOR_ACCEL` (`kvm` or `tcg`) decides instead.
    ///
    /// # Errors
    /// If `TRESOR_ACCEL` has another value, QEMU does not start, or `target/` cannot be written.
    pub fn choose(cache: &Cache) -> Result<Self> {
        match env::var("TRESOR_ACCEL").as_deref() {
            Ok("kvm") => return Ok(Self::Kvm),
            Ok("tcg") => return Ok(Self::Tcg),
            Ok(other) => bail!("TRESOR_ACCEL is {other:?}: it must be kvm or tcg"),
            Err(_) => {}
        }
        // Not worth remembering: access may be granted at any time.
        if OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_err()
        {
            return Ok(Self::Tcg);
        }
        let folder = target_dir().join("vm");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let memory = folder.join(format!("accel-{}", key(cache)?));
        match fs::read_to_string(&memory).as_deref().map(str::trim) {
            Ok("kvm") => return Ok(Self::Kvm),
            Ok("tcg") => return Ok(Self::Tcg),
            _ => {}
        }
        let accel = if boots_with_kvm(cache, &folder)? {
            Self::Kvm
        } else {
            Self::Tcg
        };
        fs::write(&memory, accel.name())
            .with_context(|| format!("cannot write {}", memory.display()))?;
        Ok(accel)
    }
}

/// What the answer depends on.
fn key(cache: &Cache) -> Result<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let mut hash = Sha256::new();
    for part in [boot.trim(), &cache.qemu_version()?, &cache.kernel_release] {
        hash.update(Sha256::digest(part));
    }
    Ok(hex::encode(&hash.finalize()[..8]))
}

fn boots_with_kvm(cache: &Cache, folder: &Path) -> Result<bool> {
    let trial = folder.join(format!(
        "trial-{}-{:?}",
        process::id(),
        thread::current().id()
    ));
    fs::create_dir_all(&trial).with_context(|| format!("cannot make {}", trial.display()))?;
    let result = run_trial(cache, &trial);
    // Left behind, it would only take room.
    let _ = fs::remove_dir_all(&trial);
    result
}

fn run_trial(cache: &Cache, folder: &Path) -> Result<bool> {
    let initrd = folder.join("initramfs.cpio");
    fs::write(&initrd, trial_initramfs(cache)?)?;
    let log: PathBuf = folder.join("console.log");
    let complaints: PathBuf = folder.join("qemu.log");
    let mut qemu = cache.qemu();
    qemu.args([
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
    ])
    .args(["-machine", "q35", "-m", "256M", "-cpu", "max", "-smp", "2"])
    .args(["-accel", Accel::Kvm.option()])
    .arg("-kernel")
    .arg(&cache.vmlinuz)
    .arg("-initrd")
    .arg(&initrd)
    .args(["-append", "console=ttyS0 panic=-1"])
    .arg("-serial")
    .arg(format!("file:{}", log.display()))
    .stdin(process::Stdio::null())
    .stdout(process::Stdio::null())
    .stderr(File::create(&complaints)?);
    let mut child = spawn(qemu, Vec::new())?;
    let start = Instant::now();
    let said = |path: &Path, text: &str| {
        fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
    };
    let booted = loop {
        if said(&log, MARKER) {
            break true;
        }
        // QEMU does not exit on such an error but stops the guest for a debugger.
        let failed = said(&complaints, "internal error") || said(&complaints, "failed to set MSR");
        if failed || start.elapsed() > LIMIT || child.try_wait()?.is_some() {
            break said(&log, MARKER);
        }
        thread::sleep(Duration::from_millis(50));
    };
    // It may have ended by itself; either way nothing of it may stay.
    let _ = child.kill();
    child.wait().context("cannot wait for QEMU")?;
    Ok(booted)
}

fn trial_initramfs(cache: &Cache) -> Result<Vec<u8>> {
    let mut cpio = Cpio::new();
    let busybox =
        fs::read(cache.tree.join("usr/bin/busybox")).context("the tree has no busybox")?;
    cpio.file("usr/bin/busybox", 0o755, &busybox)?;
    cpio.file("init", 0o755, INIT.as_bytes())?;
    Ok(cpio.finish())
}
