// SPDX-License-Identifier: GPL-2.0-or-later

//! Whether what the demo saw is what it claims.

use tresor_qemu::DebugRegisters;

use crate::evidence::Evidence;
use crate::report::{
    table, ControlReport, DrWitness, Report, SecondBoot, Times, TresorReport, XtsReport,
};
use crate::timeline::Timeline;

/// The exit status with which cryptsetup says that no keyslot opens (cryptsetup(8), "RETURN CODES").
const NO_PERMISSION: i32 = 2;

/// Findings of one dump that become failures of their own; the report lists them all.
const LISTED: usize = 8;

/// What decrypting the disks showed.
pub struct Xts {
    /// Whether our sample came out as the guest saw it.
    pub sample_matches: bool,
    /// Whether the control's did.
    pub control_matches: bool,
    /// Blocks of the files found in the decrypted image.
    pub found: usize,
    /// Blocks of the files found in the image as it is.
    pub in_ciphertext: usize,
}

/// All that was seen.
pub struct Facts {
    /// `uname -r` and `uname -v` of the guest.
    pub kernel: (String, String),
    /// SHA-256 of the kernel image.
    pub kernel_sha256: String,
    /// `kvm` or `tcg`.
    pub accelerator: &'static str,
    /// Bytes of RAM.
    pub memory: u64,
    /// Key id of M.
    pub key_id: String,
    /// Ciphers of our volume and of the control, as their headers say.
    pub ciphers: (String, String),
    /// Number of files on each volume, all verified.
    pub files: usize,
    /// Distinct blocks of these files.
    pub file_blocks: usize,
    /// The registers of every CPU, by dump.
    pub registers: Vec<Vec<DebugRegisters>>,
    /// What each dump held.
    pub evidence: Vec<Evidence>,
    /// What decrypting the disks showed.
    pub xts: Xts,
    /// Lines of the first boot's kernel log that tell of a bug.
    pub complaints: Vec<String>,
    /// What the second boot showed.
    pub second_boot: SecondBoot,
}

impl Facts {
    /// Weighs everything up.
    pub fn judge(self, timeline: &Timeline) -> Report {
        let mut failures = Vec::new();
        for evidence in &self.evidence {
            judge_dump(evidence, &mut failures);
        }
        if self.evidence.len() < 3 {
            failures.push(format!(
                "{} dumps were taken, at least 3 are needed",
                self.evidence.len()
            ));
        }
        let dr_witness = self.witness();
        let cpus = self.registers.first().map_or(0, Vec::len);
        if dr_witness.cpus_armed != cpus {
            failures.push(format!(
                "only {} of {cpus} CPUs had something in DR0-DR3 in every dump",
                dr_witness.cpus_armed
            ));
        }
        if !dr_witness.refreshed {
            failures.push(
                "a CPU's registers were the same in two dumps: its shares are not refreshed".into(),
            );
        }
        if self.registers.iter().flatten().any(|r| r.dr7 & 0xff != 0) {
            failures.push("a breakpoint is enabled in DR7 of a CPU".into());
        }
        self.judge_disks(&mut failures);
        if self.second_boot.cryptsetup_status != NO_PERMISSION {
            failures.push(format!(
                "under another master key cryptsetup ended with status {} instead of {NO_PERMISSION}: {}",
                self.second_boot.cryptsetup_status, self.second_boot.cryptsetup
            ));
        }
        for line in self.complaints.iter().chain(&self.second_boot.complaints) {
            failures.push(format!("the guest's kernel complained: {line}"));
        }
        if self.second_boot.files_verified != self.files {
            failures.push(format!(
                "with the right passphrase again only {} of {} files were right",
                self.second_boot.files_verified, self.files
            ));
        }
        let xts_matches = self.xts.sample_matches && self.xts.found == self.file_blocks;
        Report {
            passed: failures.is_empty(),
            failures,
            kernel_release: self.kernel.0,
            kernel_version: self.kernel.1,
            kernel_sha256: self.kernel_sha256,
            accelerator: self.accelerator,
            cpus,
            memory: self.memory,
            files: self.files,
            dr_witness,
            control: ControlReport {
                cipher: self.ciphers.1,
                schedules_found: self.evidence.iter().flat_map(|e| e.control_schedules).sum(),
            },
            tresor: TresorReport {
                cipher: self.ciphers.0,
                key_id: self.key_id,
                findings: self.evidence.iter().map(|e| e.findings.len()).sum(),
            },
            shares_found: self
                .evidence
                .iter()
                .map(|e| e.shares.len() - e.missing_shares().len())
                .sum(),
            shares_expected: self.registers.iter().map(Vec::len).sum(),
            xts_matches,
            xts: XtsReport {
                sample_matches: self.xts.sample_matches,
                file_blocks: self.file_blocks,
                file_blocks_found: self.xts.found,
                file_blocks_in_ciphertext: self.xts.in_ciphertext,
                control_matches: self.xts.control_matches,
            },
            complaints: self.complaints,
            second_boot: self.second_boot,
            dumps: self.evidence,
            times: Times {
                total: timeline.seconds(),
                steps: timeline.steps().to_vec(),
            },
        }
    }

    fn witness(&self) -> DrWitness {
        let cpus = self.registers.first().map_or(0, Vec::len);
        let of_cpu = |i: usize| self.registers.iter().filter_map(move |dump| dump.get(i));
        let armed = (0..cpus)
            .filter(|&i| of_cpu(i).all(|r| !r.is_clear()))
            .count();
        let refreshed = (0..cpus).all(|i| {
            let mut values: Vec<_> = of_cpu(i).map(|r| r.dr).collect();
            let count = values.len();
            values.sort_unstable();
            values.dedup();
            values.len() == count
        });
        DrWitness {
            source: "QMP, `info registers -a`, with all CPUs stopped",
            cpus_armed: armed,
            refreshed,
            dr7: self
                .registers
                .iter()
                .flatten()
                .map(|r| format!("{:#x}", r.dr7))
                .collect(),
        }
    }

    fn judge_disks(&self, failures: &mut Vec<String>) {
        let xts = &self.xts;
        if !xts.control_matches {
            failures.push(
                "the host's decryption of the control disk differs from what the guest sees: the check \
                 itself is wrong"
                    .into(),
            );
        }
        if !xts.sample_matches {
            failures.push(
                "tresor.img, decrypted from M and the blob, differs from what the guest sees"
                    .into(),
            );
        }
        if xts.found != self.file_blocks {
            failures.push(format!(
                "only {} of {} blocks of the real files are in the decrypted tresor.img",
                xts.found, self.file_blocks
            ));
        }
        if xts.in_ciphertext != 0 {
            failures.push(format!(
                "{} blocks of the real files are in tresor.img in clear",
                xts.in_ciphertext
            ));
        }
        if !self.ciphers.0.starts_with("tresor-xts") || !self.ciphers.1.starts_with("aes-xts") {
            failures.push(format!("the volumes' ciphers are {:?}", self.ciphers));
        }
    }
}

fn judge_dump(evidence: &Evidence, failures: &mut Vec<String>) {
    let file = &evidence.file;
    for (half, count) in ["K1", "K2"].iter().zip(evidence.control_schedules) {
        if count == 0 {
            failures.push(format!(
                "{file}: the key schedule of the control's {half} was not found"
            ));
        }
    }
    for cpu in evidence.missing_shares() {
        failures.push(format!("{file}: S = M xor DR of CPU {cpu} was not found"));
    }
    for finding in evidence.findings.iter().take(LISTED) {
        failures.push(format!("{file} holds {finding}"));
    }
    if evidence.findings.len() > LISTED {
        failures.push(format!(
            "{file} holds {} such things in all",
            evidence.findings.len()
        ));
    }
}

impl Report {
    /// The tables that the demo ends with.
    pub fn summary(&self) -> String {
        let row = |cells: &[&str]| cells.iter().map(|&c| c.to_owned()).collect::<Vec<_>>();
        let files = format!("{} verified", self.files);
        let volumes = table(&[
            row(&["volume", "cipher", "key id", "files", "on the host"]),
            row(&[
                "tresor",
                &self.tresor.cipher,
                &self.tresor.key_id,
                &files,
                if self.xts_matches {
                    "decrypted from M and blob, equal"
                } else {
                    "DIFFERENT"
                },
            ]),
            row(&[
                "control",
                &self.control.cipher,
                "-",
                &files,
                if self.xts.control_matches {
                    "decrypted, equal"
                } else {
                    "DIFFERENT"
                },
            ]),
        ]);
        let mut dumps = vec![row(&[
            "dump",
            "MiB",
            "control's key schedules",
            "S = M xor DR",
            "M, K1, K2, round keys, DR, passphrase",
            "patterns",
        ])];
        for evidence in &self.dumps {
            let found = |n: usize| {
                if n == 0 {
                    "none".to_owned()
                } else {
                    format!("FOUND {n}")
                }
            };
            dumps.push(vec![
                evidence.file.clone(),
                (evidence.bytes >> 20).to_string(),
                format!("found {}", evidence.control_schedules.iter().sum::<u64>()),
                format!(
                    "found on {} of {} CPUs",
                    evidence.shares.len() - evidence.missing_shares().len(),
                    evidence.shares.len()
                ),
                found(evidence.findings.len()),
                evidence.patterns.to_string(),
            ]);
        }
        format!(
            "{volumes}\n{}\nSecond boot, key id {}: cryptsetup refuses: {}\n",
            table(&dumps),
            self.second_boot.other_key_id,
            self.second_boot.cryptsetup
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers(dump: u64) -> Vec<DebugRegisters> {
        (0..2)
            .map(|cpu| DebugRegisters {
                cpu,
                dr: [dump * 8 + u64::from(cpu) + 1; 4],
                dr7: 0x400,
                ..DebugRegisters::default()
            })
            .collect()
    }

    fn evidence(number: u64) -> Evidence {
        Evidence {
            file: format!("dump-{number}.raw"),
            bytes: 1 << 20,
            patterns: 400,
            control_schedules: [1, 1],
            control_words: 60,
            other_schedules: 0,
            shares: [(0, vec![64]), (1, vec![128])].into(),
            findings: Vec::new(),
            schedules: Vec::new(),
            scan: keyscan::Report::default(),
        }
    }

    fn good() -> Facts {
        Facts {
            kernel: ("7.0".into(), "#1".into()),
            kernel_sha256: String::new(),
            accelerator: "tcg",
            memory: 1 << 20,
            key_id: "0011223344556677".into(),
            ciphers: ("tresor-xts-plain64".into(), "aes-xts-plain64".into()),
            files: 10,
            file_blocks: 100,
            registers: (0..3).map(registers).collect(),
            evidence: (0..3).map(evidence).collect(),
            xts: Xts {
                sample_matches: true,
                control_matches: true,
                found: 100,
                in_ciphertext: 0,
            },
            complaints: Vec::new(),
            second_boot: SecondBoot {
                other_key_id: "8899aabbccddeeff".into(),
                wrong_passphrase: "wrong".into(),
                cryptsetup: "No key available with this passphrase.".into(),
                cryptsetup_status: 2,
                files_verified: 10,
                complaints: Vec::new(),
            },
        }
    }

    #[test]
    fn the_demo_passes_when_every_condition_holds() {
        let report = good().judge(&Timeline::start());
        assert!(
            report.passed && report.failures.is_empty(),
            "{:?}",
            report.failures
        );
        assert_eq!(
            (report.control.schedules_found, report.tresor.findings),
            (6, 0)
        );
        assert_eq!((report.shares_found, report.shares_expected), (6, 6));
        assert!(report.xts_matches);
    }

    #[test]
    fn each_condition_that_does_not_hold_fails_the_demo_by_itself() {
        type Spoil = fn(&mut Facts);
        let spoil: [(&str, Spoil); 15] = [
            ("dump-1.raw holds word 3 of \"M\" at 0x10", |f| {
                f.evidence[1]
                    .findings
                    .push("word 3 of \"M\" at 0x10".into());
            }),
            ("dump-2.raw: the key schedule of the control's K2", |f| {
                f.evidence[2].control_schedules[1] = 0;
            }),
            ("dump-0.raw: S = M xor DR of CPU 1 was not found", |f| {
                f.evidence[0].shares.insert(1, Vec::new());
            }),
            ("2 dumps were taken", |f| {
                f.evidence.pop();
                f.registers.pop();
            }),
            ("only 1 of 2 CPUs had something in DR0-DR3", |f| {
                f.registers[1][0].dr = [0; 4]
            }),
            ("the same in two dumps", |f| {
                f.registers[1][1].dr = f.registers[2][1].dr
            }),
            ("a breakpoint is enabled", |f| f.registers[0][0].dr7 = 0x401),
            ("control disk differs", |f| f.xts.control_matches = false),
            ("tresor.img, decrypted", |f| f.xts.sample_matches = false),
            ("only 99 of 100 blocks", |f| f.xts.found = 99),
            ("in clear", |f| f.xts.in_ciphertext = 1),
            ("the volumes' ciphers", |f| {
                f.ciphers.0 = "aes-xts-plain64".into()
            }),
            ("ended with status 0", |f| {
                f.second_boot.cryptsetup_status = 0
            }),
            ("only 9 of 10 files", |f| f.second_boot.files_verified = 9),
            ("the guest's kernel complained: BUG: x", |f| {
                f.complaints.push("BUG: x".into())
            }),
        ];
        for (sentence, spoil) in spoil {
            let mut facts = good();
            spoil(&mut facts);
            let report = facts.judge(&Timeline::start());
            assert!(!report.passed);
            assert_eq!(report.failures.len(), 1, "{:?}", report.failures);
            assert!(
                report.failures[0].contains(sentence),
                "{:?}",
                report.failures
            );
        }
    }
}
