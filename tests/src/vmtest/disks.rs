// SPDX-License-Identifier: GPL-2.0-or-later

//! Volumes in the guest, and direct I/O on them.

use std::fs::{self, File};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use tresor_qemu::{target_dir, Drive, VmConfig};

use super::guest::{Guest, PROGRAM};

/// A disk in the guest's RAM: its I/O ends on the CPU that asked for it.
pub const RAM_DISK: &str = "/dev/ram0";

/// Bytes that tests use of a volume.
pub const BYTES: u64 = 1 << 20;

/// Options of dm-crypt that keep its work on the CPU of whoever asks.
pub const INLINE: &[&str] = &["no_read_workqueue", "no_write_workqueue"];

/// How the requests of one run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Requests that succeeded with the right data.
    pub right: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Bytes that came back as something else, and failed reads that left something strange.
    pub wrong: u64,
    /// The last error's name, or `none`.
    pub error: String,
    /// Milliseconds from the start to the first success after a failure.
    pub recovered: Option<u64>,
    /// Whether the last request succeeded.
    pub last_right: bool,
    /// Sectors of 512 bytes that were written.
    pub written: u64,
    /// Sectors of 512 bytes that were read and were right.
    pub verified: u64,
    /// The seed of the pattern that is there now.
    pub seed: u64,
}

/// Adds an empty disk, `/dev/disk/<name>`, of so many bytes to a scenario's VM.
pub fn with_disk(config: VmConfig, scenario: &str, name: &str, bytes: u64) -> VmConfig {
    let folder = target_dir().join(format!("vm/test-{scenario}"));
    let path = folder.join(format!("{name}.img"));
    // Whatever goes wrong here is reported when QEMU cannot open the image.
    let _ = fs::create_dir_all(folder);
    let _ = File::create(&path).and_then(|file| file.set_len(bytes));
    config.drive(Drive::new(name, &path))
}

impl Guest {
    /// Makes [`RAM_DISK`], 16 MiB, unless it is there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn ram_disk(&mut self) -> Result<()> {
        self.vm
            .check("[ -e /dev/ram0 ] || modprobe brd rd_nr=1 rd_size=16384")
            .map(drop)
    }

    /// Opens `/dev/mapper/<name>` on all of `device`, with the blob as dm-crypt's key; what dmsetup
    /// says if it refuses.
    ///
    /// # Errors
    /// If the guest does not answer.
    pub fn try_open_volume(
        &mut self,
        name: &str,
        cipher: &str,
        blob: &[u8],
        device: &str,
        options: &[&str],
    ) -> Result<std::result::Result<(), String>> {
        // The blob is no secret, or that of a control; a real key would not belong here.
        let output = self.vm.run(&format!(
            "dmsetup create {name} --table \"0 $(blockdev --getsz {device}) crypt {cipher} {} 0 \
             {device} 0 {} {}\"",
            hex::encode(blob),
            options.len(),
            options.join(" ")
        ))?;
        Ok(if output.success() {
            Ok(())
        } else {
            Err(output.text())
        })
    }

    /// Opens a volume with `tresor-xts-plain64`.
    ///
    /// # Errors
    /// If dmsetup refuses.
    pub fn open_volume(
        &mut self,
        name: &str,
        blob: &[u8],
        device: &str,
        options: &[&str],
    ) -> Result<()> {
        match self.try_open_volume(name, "tresor-xts-plain64", blob, device, options)? {
            Ok(()) => Ok(()),
            Err(said) => bail!(
                "dmsetup could not open {name}: {said}; the kernel said: {}",
                self.log()?
            ),
        }
    }

    /// Opens a volume on the RAM disk whose work stays on the CPU that asks, and fills it.
    ///
    /// # Errors
    /// If it cannot be opened or written.
    pub fn open_filled(&mut self, name: &str, blob: &[u8], seed: u64) -> Result<()> {
        self.ram_disk()?;
        self.open_volume(name, blob, RAM_DISK, INLINE)?;
        self.fill(&format!("/dev/mapper/{name}"), seed)
    }

    /// Closes a volume.
    ///
    /// # Errors
    /// If it is in use.
    pub fn close_volume(&mut self, name: &str) -> Result<()> {
        self.vm.check(&format!("dmsetup remove {name}")).map(drop)
    }

    /// Writes the pattern to [`BYTES`] of a device.
    ///
    /// # Errors
    /// If a write fails.
    pub fn fill(&mut self, device: &str, seed: u64) -> Result<()> {
        let tally = self.disk(&format!("dev={device} seed={seed} mode=write"))?;
        ensure!(tally.failed == 0, "writing {device}: {tally:?}");
        Ok(())
    }

    /// Reads the pattern from [`BYTES`] of a device.
    ///
    /// # Errors
    /// If a read fails.
    pub fn verify(&mut self, device: &str, seed: u64) -> Result<()> {
        let tally = self.disk(&format!("dev={device} seed={seed} mode=read"))?;
        ensure!(tally.failed == 0, "reading {device}: {tally:?}");
        Ok(())
    }

    /// Starts [`Guest::disk`] in the background, under a name.
    ///
    /// # Errors
    /// If the guest does not answer.
    pub fn start_disk(&mut self, name: &str, arguments: &str) -> Result<()> {
        self.vm.check(&format!(
            "rm -f /run/{name}.disk; ({PROGRAM} disk bytes={BYTES} {arguments} >/run/{name}.new 2>&1; \
             mv /run/{name}.new /run/{name}.disk) </dev/null >/dev/null 2>&1 & echo $! >/run/{name}.pid"
        ))?;
        Ok(())
    }

    /// Fails if what [`Guest::start_disk`] started has ended.
    ///
    /// # Errors
    /// If it has, with what it printed; and if the guest does not answer.
    pub fn ensure_disk_runs(&mut self, name: &str) -> Result<()> {
        let output = self.vm.run(&format!(
            "[ ! -e /run/{name}.disk ] && kill -0 $(cat /run/{name}.pid) || \
             {{ cat /run/{name}.disk; false; }}"
        ))?;
        let said = output.text();
        ensure!(output.success(), "{name} ended by itself: {said}");
        Ok(())
    }

    /// Waits for what [`Guest::start_disk`] started, and returns how its requests ended.
    ///
    /// # Errors
    /// If it does not end within two minutes, or any request returned something wrong.
    pub fn end_disk(&mut self, name: &str) -> Result<Tally> {
        Tally::parse(&self.end_disk_text(name)?)
    }

    /// As [`Guest::end_disk`], what it printed.
    ///
    /// # Errors
    /// If it leaves no result within two minutes, with the tasks that the kernel sees blocked.
    pub fn end_disk_text(&mut self, name: &str) -> Result<String> {
        let seconds = self.seconds(100);
        let output = self.vm.run_for(
            &format!(
                "timeout {seconds} sh -c 'while [ ! -e /run/{name}.disk ] && \
                 kill -0 $(cat /run/{name}.pid) 2>/dev/null; do usleep 20000; done'; cat /run/{name}.disk"
            ),
            Duration::from_secs(120),
        )?;
        if !output.success() {
            let blocked = self.blocked_tasks()?;
            bail!("{name} left no result: {}\n{blocked}", output.text());
        }
        Ok(output.text())
    }

    /// What the kernel says of the tasks that wait for something and cannot be interrupted.
    ///
    /// # Errors
    /// If the guest does not answer.
    pub fn blocked_tasks(&mut self) -> Result<String> {
        self.vm
            .check("echo w >/proc/sysrq-trigger; dmesg | tail -n 60")
    }

    /// Direct I/O with the pattern on [`BYTES`] of a device.
    ///
    /// # Errors
    /// If any request returned something wrong.
    pub fn disk(&mut self, arguments: &str) -> Result<Tally> {
        let said = self.program(&format!("disk bytes={BYTES} {arguments}"))?;
        Tally::parse(&said)
    }
}

impl Tally {
    /// Reads what `tresor-guest disk` prints.
    ///
    /// # Errors
    /// If a request returned something wrong, whatever else happened.
    pub fn parse(said: &str) -> Result<Self> {
        let tally = Self::read(said)?;
        ensure!(tally.wrong == 0, "wrong data came back: {said}");
        Ok(tally)
    }

    /// Reads what `tresor-guest disk` prints, also of wrong data.
    ///
    /// # Errors
    /// If it is something else.
    pub fn read(said: &str) -> Result<Self> {
        let value = |name: &str| {
            let values = said
                .split_whitespace()
                .filter_map(|word| word.split_once('='));
            let mut values = values
                .filter(|(found, _)| *found == name)
                .map(|(_, value)| value);
            values
                .next()
                .with_context(|| format!("no {name} in {said:?}"))
        };
        let (wrong, damaged): (u64, u64) = (value("wrong")?.parse()?, value("damaged")?.parse()?);
        Ok(Self {
            wrong: wrong + damaged,
            right: value("right")?.parse()?,
            failed: value("failed")?.parse()?,
            error: value("error")?.to_owned(),
            recovered: value("recovered")?.parse().ok(),
            last_right: value("last")? == "right",
            written: value("written")?.parse()?,
            verified: value("verified")?.parse()?,
            seed: value("seed")?.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_is_read_and_wrong_data_is_an_error() {
        let said = "right=3 failed=1 wrong=0 damaged=0 error=EIO recovered=900 last=right \
                    written=8 verified=16 seed=5";
        let tally = Tally::parse(said).unwrap();
        assert_eq!(
            (tally.right, tally.failed, tally.recovered),
            (3, 1, Some(900))
        );
        assert!(tally.last_right && tally.error == "EIO");
        assert!(Tally::parse(&said.replace("wrong=0", "wrong=1")).is_err());
        assert!(Tally::parse(&said.replace("damaged=0", "damaged=1")).is_err());
    }
}
