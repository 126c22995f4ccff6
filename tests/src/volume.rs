// SPDX-License-Identifier: GPL-2.0-or-later

//! A LUKS2 volume in the guest, handled by stock cryptsetup.

use std::time::Duration;

use anyhow::{ensure, Result};
use tresor_qemu::{Output, Vm};

use crate::data::SUMS;

/// Time limit of what moves all the data; an emulated CPU on a busy host needs a while.
const DATA_LIMIT: Duration = Duration::from_secs(300);

/// What opens a volume's LUKS keyslot.
pub enum Unlock {
    /// The slot key that `tresorctl slot-key` has the loaded master key make for the volume's UUID.
    SlotKey,
    /// A passphrase of its own.
    Passphrase(Vec<u8>),
}

/// A volume on the guest's disk `/dev/disk/<name>`, opened as `/dev/mapper/<name>_crypt` (the device
/// mapper has a file `control` of its own) and mounted on
/// `/mnt/<name>`.
pub struct Volume {
    /// Its name.
    pub name: &'static str,
    /// The cipher, as cryptsetup's option `--cipher` takes it.
    pub cipher: &'static str,
    /// The UUID that it is formatted with.
    pub uuid: String,
    /// What opens it.
    pub unlock: Unlock,
}

impl Volume {
    /// Runs cryptsetup with the key on its standard input.
    ///
    /// # Errors
    /// If the guest hangs; not if cryptsetup refuses.
    fn cryptsetup(&self, vm: &mut Vm, arguments: &str) -> Result<Output> {
        match &self.unlock {
            Unlock::SlotKey => vm.run(&format!(
                "tresorctl slot-key {} | cryptsetup --key-file - {arguments}",
                self.uuid
            )),
            Unlock::Passphrase(passphrase) => {
                vm.run_with_input(&format!("cryptsetup --key-file - {arguments}"), passphrase)
            }
        }
    }

    fn must(&self, vm: &mut Vm, arguments: &str) -> Result<()> {
        let output = self.cryptsetup(vm, arguments)?;
        ensure!(
            output.success(),
            "cryptsetup {arguments} ended with status {}: {}",
            output.status,
            output.text()
        );
        Ok(())
    }

    /// Formats the disk as LUKS2 with 4096-byte sectors and a 512-bit volume key.
    ///
    /// # Errors
    /// If cryptsetup refuses or the guest hangs.
    pub fn format(&self, vm: &mut Vm) -> Result<()> {
        // The keyslot's secret has 256 random bits: stretching it would only cost time.
        self.must(
            vm,
            &format!(
                "luksFormat --type luks2 --cipher {} --key-size 512 --sector-size 4096 --uuid {} \
                 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --batch-mode /dev/disk/{}",
                self.cipher, self.uuid, self.name
            ),
        )
    }

    /// Opens the volume.
    ///
    /// # Errors
    /// If cryptsetup refuses or the guest hangs.
    pub fn open(&self, vm: &mut Vm) -> Result<()> {
        self.must(vm, &self.open_arguments())
    }

    /// Tries to open the volume and returns what cryptsetup made of it.
    ///
    /// # Errors
    /// If the guest hangs.
    pub fn try_open(&self, vm: &mut Vm) -> Result<Output> {
        self.cryptsetup(vm, &self.open_arguments())
    }

    fn open_arguments(&self) -> String {
        format!("open --type luks2 /dev/disk/{0} {0}_crypt", self.name)
    }

    /// Closes the volume, which must not be mounted.
    ///
    /// # Errors
    /// If cryptsetup refuses or the guest hangs.
    pub fn close(&self, vm: &mut Vm) -> Result<()> {
        vm.check(&format!("cryptsetup close {}_crypt", self.name))
            .map(drop)
    }

    /// Gives a volume that `cryptsetup luksSuspend` has stopped its key back.
    ///
    /// # Errors
    /// If the guest hangs; not if cryptsetup refuses.
    pub fn resume(&self, vm: &mut Vm) -> Result<Output> {
        self.cryptsetup(vm, &format!("luksResume {}_crypt", self.name))
    }

    /// Makes an ext4 file system.
    ///
    /// # Errors
    /// If that fails or the guest hangs.
    pub fn make_file_system(&self, vm: &mut Vm) -> Result<()> {
        // Nothing shall be left for the kernel to do in the background.
        vm.check(&format!(
            "mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 /dev/mapper/{}_crypt",
            self.name
        ))
        .map(drop)
    }

    /// Mounts the file system.
    ///
    /// # Errors
    /// If that fails or the guest hangs.
    pub fn mount(&self, vm: &mut Vm) -> Result<()> {
        vm.check(&format!(
            "mkdir -p /mnt/{0} && mount -t ext4 /dev/mapper/{0}_crypt /mnt/{0}",
            self.name
        ))
        .map(drop)
    }

    /// Opens the volume and mounts its file system, neither of which can be written then.
    ///
    /// # Errors
    /// If that fails or the guest hangs.
    pub fn open_read_only(&self, vm: &mut Vm) -> Result<()> {
        self.must(vm, &format!("{} --readonly", self.open_arguments()))?;
        vm.check(&format!(
            "mkdir -p /mnt/{0} && mount -t ext4 -o ro /dev/mapper/{0}_crypt /mnt/{0}",
            self.name
        ))
        .map(drop)
    }

    /// Unmounts the file system; all of it is on the disk then.
    ///
    /// # Errors
    /// If that fails or the guest hangs.
    pub fn unmount(&self, vm: &mut Vm) -> Result<()> {
        vm.check_for(&format!("umount /mnt/{}", self.name), DATA_LIMIT)
            .map(drop)
    }
}

/// Unpacks the archive on the disk `files` onto all volumes at once, and waits until it is there.
///
/// # Errors
/// If that fails or the guest hangs.
pub fn fill(vm: &mut Vm, volumes: &[&Volume]) -> Result<()> {
    let command = on_each(
        volumes,
        "tar -xf /dev/disk/files -C /mnt/$v && sync -f /mnt/$v",
    );
    vm.check_for(&command, DATA_LIMIT).map(drop)
}

/// Reads every file back from the disks, and returns how many had the checksum that the host wrote
/// down, by volume.
///
/// # Errors
/// If one has not, or the guest hangs.
pub fn verify(vm: &mut Vm, volumes: &[&Volume]) -> Result<Vec<usize>> {
    // What is still in the page cache would prove nothing about the disk.
    vm.check("sync; echo 3 >/proc/sys/vm/drop_caches")?;
    let command = on_each(
        volumes,
        &format!("cd /mnt/$v && sha256sum -c {SUMS} >/tmp/sums.$v 2>&1"),
    );
    let output = vm.run_for(&command, DATA_LIMIT)?;
    let mut counts = Vec::new();
    for volume in volumes {
        let bad = vm
            .run(&format!(
                "grep -v ': OK$' /tmp/sums.{} | head -n 5",
                volume.name
            ))?
            .text();
        ensure!(
            output.success() && bad.is_empty(),
            "checksums on {} differ: {bad}",
            volume.name
        );
        counts.push(
            vm.check(&format!("grep -c ': OK$' /tmp/sums.{}", volume.name))?
                .parse()?,
        );
    }
    Ok(counts)
}

/// A shell command that runs `action` for each volume, named by `$v`, at the same time.
fn on_each(volumes: &[&Volume], action: &str) -> String {
    let mut command = String::from("pids=;");
    for volume in volumes {
        command += &format!(" (v={}; {action}) & pids=\"$pids $!\";", volume.name);
    }
    command + " status=0; for p in $pids; do wait $p || status=1; done; exit $status"
}
