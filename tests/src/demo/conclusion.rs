// SPDX-License-Identifier: GPL-2.0-or-later

//! The host looks at the dumps and the disks, judges, and writes down what it saw.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;

use anyhow::{bail, Context, Result};
use sha2::{Digest, Sha256};

use super::first_boot::First;
use super::Demo;
use crate::disk::Disk;
use crate::evidence::{Evidence, Known};
use crate::luks::Header;
use crate::reference::Master;
use crate::report::{self, SecondBoot};
use crate::timeline::Timeline;
use crate::verdict::{Facts, Xts};
use crate::volume::Unlock;

impl Demo<'_> {
    /// Everything after the VMs: the host looks at the dumps and the disks.
    pub(super) fn conclude(
        &self,
        first: First,
        second_boot: SecondBoot,
        mut timeline: Timeline,
    ) -> Result<bool> {
        let master = Master::new(&first.m);
        let header = Header::read(&self.image(&self.tresor))?;
        let blob = header
            .volume_key(&master.slot_key(&self.tresor.uuid))?
            .context("the slot key that the host computes opens no keyslot of tresor.img")?;
        let effective = master.xts_key(&blob)?;
        let control_header = Header::read(&self.image(&self.control))?;
        let Unlock::Passphrase(passphrase) = &self.control.unlock else {
            bail!("the control volume has a passphrase of its own");
        };
        let control_key = control_header
            .volume_key(passphrase)?
            .context("the control's passphrase opens no keyslot of control.img")?;

        let known = Known {
            passphrase: self.passphrase.clone(),
            m: first.m,
            effective: effective.clone(),
            control: control_key.clone(),
            others: Vec::new(),
        };
        let mut evidence = Vec::new();
        for (path, registers) in &first.dumps {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            evidence.push(
                timeline.step(&format!("search {name} for every form of the keys"), || {
                    Evidence::gather(path, registers, &known)
                })?,
            );
        }
        let xts = timeline.step("decrypt both disks on the host, compare", || {
            let ours = Disk::open(
                &self.image(&self.tresor),
                header.data_offset,
                header.sector_size,
                &effective,
            )?;
            let control = Disk::open(
                &self.image(&self.control),
                control_header.data_offset,
                control_header.sector_size,
                &control_key,
            )?;
            let (found, in_ciphertext) = ours.count_blocks(&self.data.blocks)?;
            Ok(Xts {
                sample_matches: ours.matches(&first.samples[0])?,
                control_matches: control.matches(&first.samples[1])?,
                found,
                in_ciphertext,
            })
        })?;

        let secrets = self.secrets(
            &first,
            &header,
            &blob,
            &effective,
            &control_header,
            &control_key,
        );
        report::write_json(&self.options.out.join("secrets.json"), &secrets)?;
        let facts = Facts {
            kernel: first.kernel,
            kernel_sha256: sha256_of(&self.cache.vmlinuz)?,
            accelerator: first.accelerator,
            memory: self.options.memory_mib << 20,
            key_id: master.key_id(),
            ciphers: (header.cipher.clone(), control_header.cipher.clone()),
            files: first.files,
            file_blocks: self.data.blocks.len(),
            registers: first
                .dumps
                .into_iter()
                .map(|(_, registers)| registers)
                .collect(),
            evidence,
            xts,
            complaints: first.complaints,
            second_boot,
        };
        let report = facts.judge(&timeline);
        report::write_json(&self.options.out.join("report.json"), &report)?;
        let page = self.options.out.join("report.html");
        fs::write(&page, page_of(&report, &control_key))
            .with_context(|| format!("cannot write {}", page.display()))?;
        print!("\n{}", report.summary());
        let here = env::current_dir().unwrap_or_default();
        let out = self
            .options
            .out
            .strip_prefix(here)
            .unwrap_or(&self.options.out);
        println!(
            "Left in {}: dumps, disk images, report.html, report.json, secrets.json.",
            out.display()
        );
        for failure in &report.failures {
            println!("FAILED: {failure}");
        }
        if report.passed {
            println!(
                "Every condition holds. It took {:.0} s.",
                report.times.total
            );
        }
        Ok(report.passed)
    }

    fn secrets(
        &self,
        first: &First,
        header: &Header,
        blob: &[u8],
        effective: &[u8],
        control_header: &Header,
        control_key: &[u8],
    ) -> report::Secrets {
        let name = |path: &Path| {
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        let dumps = first
            .dumps
            .iter()
            .map(|(path, registers)| report::DumpSecrets {
                file: name(path),
                dr: registers
                    .iter()
                    .map(|r| (r.cpu.to_string(), hex::encode(r.bytes())))
                    .collect::<BTreeMap<_, _>>(),
            });
        report::Secrets {
            passphrase: self.passphrase.clone(),
            description: String::from_utf8_lossy(&first.description).into_owned(),
            m: hex::encode(first.m),
            dumps: dumps.collect(),
            tresor: report::TresorSecrets {
                image: name(&self.image(&self.tresor)),
                blob: hex::encode(blob),
                data_offset: header.data_offset,
                sector_size: header.sector_size,
                key_id: Master::new(&first.m).key_id(),
                effective_keys: effective
                    .chunks(effective.len() / 2)
                    .map(hex::encode)
                    .collect(),
                sample: first.samples[0].clone(),
            },
            control: report::ControlSecrets {
                image: name(&self.image(&self.control)),
                key: hex::encode(control_key),
                data_offset: control_header.data_offset,
                sector_size: control_header.sector_size,
            },
        }
    }
}

/// What is in the dumps, as a page: the control volume's keys beside ours.
fn page_of(report: &report::Report, control_key: &[u8]) -> String {
    let dumps: Vec<_> = report
        .dumps
        .iter()
        .map(|evidence| (evidence.file.clone(), &evidence.scan))
        .collect();
    let keys: Vec<String> = control_key
        .chunks(control_key.len() / 2)
        .map(|key| hex::encode(&Sha256::digest(key)[..8]))
        .collect();
    let notes = [
        format!(
            "All RAM of a virtual machine with Linux {} that had two encrypted volumes open, both busy: \
             \u{201c}control\u{201d}, with the kernel's own AES, and one with tresor. Known to the host, and \
             searched for in whole, as every 8-byte word, and as every round key: the passphrase, M, the \
             tresor volume's keys K1 and K2, and what the debug registers held.",
            report.kernel_release
        ),
        format!(
            "The schedules of the keys sha256:{} are the control volume's: they must be found, or the search \
             would prove nothing. The S shares are in RAM by design, one for each CPU; one alone says nothing \
             about M. Nothing else of ours may be found: {}.",
            keys.join(" and sha256:"),
            if report.passed { "nothing is" } else { "something is not as it must be" }
        ),
    ];
    let notes: Vec<&str> = notes.iter().map(String::as_str).collect();
    keyscan::page("A control volume beside tresor", &notes, &dumps)
}

fn sha256_of(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hex::encode(Sha256::digest(bytes)))
}
