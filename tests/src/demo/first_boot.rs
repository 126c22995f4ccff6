// SPDX-License-Identifier: GPL-2.0-or-later

//! The volumes are made, filled, verified, and kept busy while all RAM is dumped.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{ensure, Result};
use tresor_qemu::{DebugRegisters, Vm};

use super::Demo;
use crate::busy::Busy;
use crate::kernel_log::complaints;
use crate::master;
use crate::reference::Master;
use crate::report::Sample;
use crate::timeline::Timeline;
use crate::volume::{fill, Volume};

/// The piece of the plaintext device whose checksum the guest computes: the file system's head.
const SAMPLE: (u64, u64) = (0, 32 << 20);

/// Time between two dumps, in which every CPU refreshes its shares at least once.
const BETWEEN_DUMPS: Duration = Duration::from_millis(1200);

/// What the first boot left.
pub(super) struct First {
    pub(super) m: [u8; 32],
    pub(super) description: Vec<u8>,
    pub(super) kernel: (String, String),
    pub(super) accelerator: &'static str,
    pub(super) dumps: Vec<(PathBuf, Vec<DebugRegisters>)>,
    pub(super) samples: [Sample; 2],
    pub(super) files: usize,
    pub(super) complaints: Vec<String>,
}

impl Demo<'_> {
    pub(super) fn first_boot(&self, timeline: &mut Timeline) -> Result<First> {
        let mut vm = timeline.step("boot the stock kernel, load tresor.ko", || {
            self.boot("demo")
        })?;
        let vm = &mut vm;
        let kernel = (vm.check("uname -r")?, vm.check("uname -v")?);
        timeline.note(&format!(
            "Linux {} {} ({})",
            kernel.0,
            kernel.1,
            vm.accel().name()
        ));

        let (description, m) = timeline.step("load a master key by passphrase", || {
            let description = master::create(vm, &self.passphrase)?;
            let m = master::derive(&description, self.passphrase.as_bytes())?;
            Ok((description, m))
        })?;
        let status = master::status(vm)?;
        let master = Master::new(&m);
        let check = hex::encode(master.check_value());
        ensure!(
            status.check.as_deref() == Some(&check),
            "the module reports the check value {:?}, but the passphrase gives {check}",
            status.check
        );
        let key_id = master.key_id();
        timeline.note(&format!(
            "key id {key_id}, which the host derives too; armed on {} of {} CPUs",
            status.cpus_armed, status.cpus_online
        ));

        let both = [&self.tresor, &self.control];
        for volume in both {
            let what = format!("luksFormat --cipher {}, open, ext4, mount", volume.cipher);
            timeline.step(&what, || {
                volume.format(vm)?;
                volume.open(vm)?;
                volume.make_file_system(vm)?;
                volume.mount(vm)
            })?;
        }
        timeline.step("copy the files onto both volumes", || fill(vm, &both))?;
        let files = timeline.step("verify every file by checksum", || self.verified(vm, &both))?;
        timeline.note(&format!("{files} files right on each volume"));
        timeline.step("close and reopen both volumes", || {
            for volume in both {
                volume.unmount(vm)?;
                volume.close(vm)?;
                volume.open(vm)?;
                volume.mount(vm)?;
            }
            Ok(())
        })?;
        timeline.step("verify every file again", || self.verified(vm, &both))?;

        let busy = Busy::start(vm, &both)?;
        let mut dumps = Vec::new();
        for number in 1..=self.options.dumps {
            let what = format!("dump {number}: all RAM and every CPU's registers, volumes busy");
            dumps.push(timeline.step(&what, || {
                let before = busy.rounds(vm)?;
                busy.wait_for_progress(vm, &before)?;
                let path = self.options.out.join(format!("dump-{number}.raw"));
                vm.stop()?;
                let registers = vm.debug_registers()?;
                vm.dump_to(&path)?;
                vm.cont()?;
                let before = busy.rounds(vm)?;
                busy.wait_for_progress(vm, &before)?;
                Ok((path, registers))
            })?);
            if number < self.options.dumps {
                thread::sleep(BETWEEN_DUMPS);
            }
        }
        let rounds = busy.stop(vm)?;
        timeline.note(&format!(
            "rounds of writing and reading 2 MiB meanwhile: {rounds:?}"
        ));

        let samples = timeline.step("checksum of a piece of each plaintext device", || {
            let mut samples = Vec::new();
            for volume in both {
                volume.unmount(vm)?;
                samples.push(sample(vm, volume)?);
                volume.close(vm)?;
            }
            samples
                .try_into()
                .map_err(|_| anyhow::anyhow!("there are two volumes"))
        })?;
        let accelerator = vm.accel().name();
        let complaints = complaints(&vm.console().text()?);
        vm.check("sync")?;
        Ok(First {
            m,
            description,
            kernel,
            accelerator,
            dumps,
            samples,
            files,
            complaints,
        })
    }
}

/// The checksum of a piece of an open volume's plaintext device, read past the page cache.
fn sample(vm: &mut Vm, volume: &Volume) -> Result<Sample> {
    let (offset, length) = SAMPLE;
    let command = format!(
        "dd if=/dev/mapper/{}_crypt bs=1M skip={} count={} iflag=direct 2>/dev/null | sha256sum",
        volume.name,
        offset >> 20,
        length >> 20
    );
    let text = vm.check(&command)?;
    let sha256 = text
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned();
    Ok(Sample {
        offset,
        length,
        sha256,
    })
}
