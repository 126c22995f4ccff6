// SPDX-License-Identifier: GPL-2.0-or-later

//! What a dump of RAM holds of keys that we know.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{ensure, Context, Result};
use keyscan::{Dump, Expand, Needles, Options, What};
use serde::Serialize;
use tresor_qemu::DebugRegisters;

/// Cells in the map of a dump.
const MAP_CELLS: usize = 2048;

/// The secrets of one VM, known to the host, which may look for them.
pub struct Known {
    /// The passphrase, which gives M to whoever has the key description file.
    pub passphrase: String,
    /// The master key M.
    pub m: [u8; 32],
    /// The key that the tresor volume's data is encrypted with: K1, then K2.
    pub effective: Vec<u8>,
    /// The control volume's key: K1, then K2.
    pub control: Vec<u8>,
    /// What else may not be found, by name: shares of another time, for one.
    pub others: Vec<(String, Vec<u8>)>,
}

/// What one dump holds.
#[derive(Clone, Debug, Serialize)]
pub struct Evidence {
    /// File name of the dump.
    pub file: String,
    /// Bytes scanned.
    pub bytes: u64,
    /// Byte patterns that stand for our secrets and were searched for.
    pub patterns: usize,
    /// Key schedules of the control volume's K1 and K2: `[of K1, of K2]`. Each must be found.
    pub control_schedules: [u64; 2],
    /// Places that hold a word or a round key of the control volume's keys.
    pub control_words: u64,
    /// Key schedules of keys that are neither the control's nor ours, such as the kernel's own
    /// random number generator's.
    pub other_schedules: u64,
    /// Where S_c = M xor DR_c was found whole, by CPU. Each must be found.
    pub shares: BTreeMap<u32, Vec<u64>>,
    /// All that was found of M, of K1 and K2, of their round keys, of the DR shares and of the
    /// passphrase. Nothing may be.
    pub findings: Vec<String>,
    /// Those of the findings that are whole key schedules, of M, K1 or K2.
    pub schedules: Vec<String>,
    /// All that the search found, ours or not, with a map.
    #[serde(skip)]
    pub scan: keyscan::Report,
}

/// A set of needles, and what they are called.
struct Search<'a> {
    registers: &'a [DebugRegisters],
    known: &'a Known,
    needles: Needles,
    /// Patterns that stand for our secrets.
    patterns: usize,
}

impl Evidence {
    /// Scans all bytes of a file, whatever its format, that was made when the CPUs' registers held
    /// `registers`.
    ///
    /// # Errors
    /// If the file cannot be read to its end, or a secret is of a form that cannot be searched for.
    pub fn gather(dump: &Path, registers: &[DebugRegisters], known: &Known) -> Result<Self> {
        let search = Search::new(registers, known)?;
        let options = Options {
            map_cells: MAP_CELLS,
            ..Options::default()
        };
        let report = Dump::open_raw(dump)
            .map(|dump| keyscan::scan_dump(&dump, &search.needles, &options, &|_| ()))
            .with_context(|| format!("cannot scan {}", dump.display()))?;
        ensure!(
            report.is_complete(),
            "not all of {} could be read: {:?}",
            dump.display(),
            report.problems
        );
        let name = dump.file_name().unwrap_or_default().to_string_lossy();
        Ok(search.judge(&name, &report))
    }

    /// Searches the RAM of a machine that was stopped when its CPUs' registers held `registers`;
    /// for key schedules only if `schedules` says so, since they take most of the time.
    ///
    /// # Errors
    /// If a secret is of a form that cannot be searched for.
    pub fn in_ram(
        ram: &[u8],
        registers: &[DebugRegisters],
        known: &Known,
        schedules: bool,
    ) -> Result<Self> {
        let search = Search::new(registers, known)?;
        let options = Options {
            schedules,
            ..Options::default()
        };
        let report = keyscan::scan_bytes(ram, &search.needles, &options, &|_| ());
        Ok(search.judge("RAM", &report))
    }

    /// CPUs whose share was not found.
    pub fn missing_shares(&self) -> Vec<u32> {
        self.shares
            .iter()
            .filter(|(_, places)| places.is_empty())
            .map(|(&cpu, _)| cpu)
            .collect()
    }
}

impl<'a> Search<'a> {
    fn new(registers: &'a [DebugRegisters], known: &'a Known) -> Result<Self> {
        let mut needles = Needles::new();
        needles.add_secret("passphrase", known.passphrase.as_bytes(), Expand::None)?;
        needles.add_secret("M", &known.m, Expand::Aes)?;
        needles.add_secret("K1 K2", &known.effective, Expand::Xts)?;
        for (name, secret) in &known.others {
            needles.add_secret(name, secret, Expand::None)?;
        }
        for cpu in registers {
            needles.add_secret(&dr_name(cpu.cpu), &cpu.bytes(), Expand::None)?;
        }
        let patterns = needles.patterns();
        for cpu in registers {
            needles.add_secret(&share_name(cpu.cpu), &share(&known.m, cpu), Expand::None)?;
        }
        needles.add_secret(CONTROL, &known.control, Expand::Xts)?;
        Ok(Self {
            registers,
            known,
            needles,
            patterns,
        })
    }

    /// Tells what may be found from what may not.
    fn judge(&self, file: &str, report: &keyscan::Report) -> Evidence {
        let Self {
            registers, known, ..
        } = self;
        let (k1, k2) = known.control.split_at(known.control.len() / 2);
        let mut evidence = Evidence {
            file: file.to_owned(),
            bytes: report.bytes_scanned,
            patterns: self.patterns,
            control_schedules: [0; 2],
            control_words: 0,
            other_schedules: 0,
            shares: registers.iter().map(|cpu| (cpu.cpu, Vec::new())).collect(),
            findings: Vec::new(),
            schedules: Vec::new(),
            scan: report.clone(),
        };
        let ours: Vec<&[u8]> = std::iter::once(&known.m[..])
            .chain(known.effective.chunks(known.effective.len() / 2))
            .collect();
        let share_of = |name: &str| registers.iter().find(|cpu| share_name(cpu.cpu) == name);
        for finding in &report.findings {
            let place = format!("{} at {:#x}", finding.what, finding.offset);
            match &finding.what {
                What::Schedule { key, .. } if key.expose() == k1 => {
                    evidence.control_schedules[0] += 1;
                }
                What::Schedule { key, .. } if key.expose() == k2 => {
                    evidence.control_schedules[1] += 1;
                }
                What::Schedule { key, .. } if !ours.contains(&key.expose()) => {
                    evidence.other_schedules += 1;
                }
                What::Schedule { .. } => {
                    evidence.schedules.push(place.clone());
                    evidence.findings.push(place);
                }
                What::Whole { name } if share_of(name).is_some() => {
                    let places = share_of(name).and_then(|cpu| evidence.shares.get_mut(&cpu.cpu));
                    places
                        .into_iter()
                        .for_each(|places| places.push(finding.offset));
                }
                // Words of the share in RAM are in RAM by design.
                other if other.name().is_some_and(|name| share_of(name).is_some()) => {}
                other if other.name() == Some(CONTROL) => evidence.control_words += 1,
                _ => evidence.findings.push(place),
            }
        }
        if report.omitted > 0 {
            evidence.findings.push(format!(
                "{} more places, which were not listed",
                report.omitted
            ));
        }
        evidence
    }
}

/// Name of the control volume's key among the needles.
const CONTROL: &str = "control";

/// S_c = M xor DR_c.
pub fn share(m: &[u8; 32], cpu: &DebugRegisters) -> [u8; 32] {
    let dr = cpu.bytes();
    std::array::from_fn(|i| m[i] ^ dr[i])
}

fn dr_name(cpu: u32) -> String {
    format!("DR share of CPU {cpu}")
}

fn share_name(cpu: u32) -> String {
    format!("S share of CPU {cpu}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};
    use std::fs;

    /// Bytes that look random.
    fn bytes<const N: usize>(seed: u32) -> [u8; N] {
        let blocks = (0u32..)
            .flat_map(|i| Sha256::digest([seed.to_le_bytes(), i.to_le_bytes()].concat()).to_vec());
        let mut bytes = [0; N];
        bytes
            .iter_mut()
            .zip(blocks)
            .for_each(|(to, from)| *to = from);
        bytes
    }

    fn registers() -> Vec<DebugRegisters> {
        let word = |i: u32| u64::from_le_bytes(bytes(i));
        (0..2)
            .map(|cpu| DebugRegisters {
                cpu,
                dr: std::array::from_fn(|i| word(100 + cpu * 1000 + i as u32 * 50)),
                ..DebugRegisters::default()
            })
            .collect()
    }

    fn known() -> Known {
        Known {
            passphrase: hex::encode(bytes::<16>(3)),
            m: bytes(1),
            effective: bytes::<64>(7000).to_vec(),
            control: bytes::<64>(9000).to_vec(),
            others: vec![("old share".into(), bytes::<32>(11000).to_vec())],
        }
    }

    fn scan(plant: impl Fn(&mut [u8])) -> Evidence {
        let mut ram = vec![0; 1 << 20];
        plant(&mut ram);
        let id = std::thread::current().id();
        let path =
            std::env::temp_dir().join(format!("tresor-evidence-{}-{id:?}", std::process::id()));
        fs::write(&path, ram).unwrap();
        let evidence = Evidence::gather(&path, &registers(), &known());
        fs::remove_file(&path).unwrap();
        evidence.unwrap()
    }

    #[test]
    fn the_controls_schedules_and_our_shares_are_found_and_are_no_findings() {
        let evidence = scan(|ram| {
            for (i, key) in known().control.chunks(32).enumerate() {
                let schedule = keyscan::aes::Schedule::expand(key).unwrap();
                ram[5000 + i * 480..][..240].copy_from_slice(schedule.as_bytes());
            }
            for cpu in registers() {
                let at = 65536 + cpu.cpu as usize * 64;
                ram[at..at + 32].copy_from_slice(&share(&known().m, &cpu));
            }
        });
        assert_eq!(evidence.control_schedules, [1, 1]);
        assert!(evidence.control_words >= 2 * 15, "{evidence:?}");
        assert_eq!(evidence.shares[&0], [65536]);
        assert_eq!(evidence.shares[&1], [65600]);
        assert!(evidence.findings.is_empty(), "{:?}", evidence.findings);
        assert_eq!(evidence.missing_shares(), [0; 0]);
    }

    #[test]
    fn eight_bytes_of_any_secret_are_a_finding() {
        let secrets = [
            known().passphrase.into_bytes(),
            known().m.to_vec(),
            known().effective,
            registers()[0].bytes().to_vec(),
            registers()[1].bytes().to_vec(),
            known().others[0].1.clone(),
        ];
        for secret in secrets {
            let evidence = scan(|ram| ram[777..785].copy_from_slice(&secret[8..16]));
            assert_eq!(evidence.findings.len(), 1, "{:?}", evidence.findings);
            assert_eq!(evidence.missing_shares(), [0, 1]);
        }
    }

    #[test]
    fn a_round_key_of_m_or_of_a_volume_key_is_a_finding() {
        let effective = known().effective;
        for key in [&known().m[..], &effective[..32], &effective[32..]] {
            let schedule = keyscan::aes::Schedule::expand(key).unwrap();
            for schedule in [schedule.equivalent_inverse(), schedule] {
                let round = schedule.round_keys().nth(9).unwrap().to_vec();
                let evidence = scan(|ram| ram[4099..4115].copy_from_slice(&round));
                assert_eq!(evidence.findings.len(), 1, "{:?}", evidence.findings);
            }
        }
    }
}
