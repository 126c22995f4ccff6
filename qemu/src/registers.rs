// SPDX-License-Identifier: GPL-2.0-or-later

//! What QEMU's monitor shows of each CPU's registers.

use std::collections::BTreeMap;

use anyhow::{bail, Context, Result};

/// The debug registers of one CPU (Intel SDM volume 3, section 19.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DebugRegisters {
    /// Number of the CPU, from 0.
    pub cpu: u32,
    /// DR0 to DR3.
    pub dr: [u64; 4],
    /// The status register.
    pub dr6: u64,
    /// The control register; its low eight bits enable breakpoints.
    pub dr7: u64,
}

impl DebugRegisters {
    /// DR0 to DR3 as 32 bytes: DR0 first, each register little-endian.
    pub fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, register) in bytes.chunks_exact_mut(8).zip(self.dr) {
            chunk.copy_from_slice(&register.to_le_bytes());
        }
        bytes
    }

    /// Whether DR0 to DR3 are all zero.
    pub fn is_clear(&self) -> bool {
        self.dr == [0; 4]
    }

    /// Reads the answer to the monitor command `info registers -a`.
    ///
    /// # Errors
    /// If a CPU in it lacks one of the registers, or there is no CPU.
    pub fn parse_all(text: &str) -> Result<Vec<Self>> {
        let mut cpus = Vec::new();
        for (cpu, values) in cpus_of(text)? {
            let get = |name: &str| {
                let value = values.get(name);
                let value = value.with_context(|| format!("QEMU shows no {name} of CPU {cpu}"))?;
                u64::from_str_radix(value, 16)
                    .with_context(|| format!("QEMU shows {name} of CPU {cpu} as {value:?}"))
            };
            cpus.push(Self {
                cpu,
                dr: [get("DR0")?, get("DR1")?, get("DR2")?, get("DR3")?],
                dr6: get("DR6")?,
                dr7: get("DR7")?,
            });
        }
        Ok(cpus)
    }
}

/// Where each CPU is and whether it is halted, from the answer to the monitor command
/// `info registers -a`: words for a person.
///
/// # Errors
/// If there is no CPU in it.
pub(crate) fn places(text: &str) -> Result<String> {
    let place = |(cpu, values): (u32, BTreeMap<&str, &str>)| {
        let rip = values.get("RIP").unwrap_or(&"?");
        let halted = match values.get("HLT") {
            Some(&"1") => ", halted",
            _ => "",
        };
        format!("{cpu} at {rip}{halted}")
    };
    let places: Vec<_> = cpus_of(text)?.into_iter().map(place).collect();
    Ok(places.join("; "))
}

/// The number of each CPU, and what its part of the answer says as `name=value`.
fn cpus_of(text: &str) -> Result<Vec<(u32, BTreeMap<&str, &str>)>> {
    let mut cpus = Vec::new();
    for part in text.split("CPU#").skip(1) {
        let (number, rest) = part.split_at(part.find(|c: char| !c.is_ascii_digit()).unwrap_or(0));
        let cpu = number
            .parse()
            .context("QEMU shows a CPU without a number")?;
        let words = rest.split_whitespace();
        cpus.push((cpu, words.filter_map(|word| word.split_once('=')).collect()));
    }
    if cpus.is_empty() {
        bail!("QEMU shows no CPU in its registers: {text:?}");
    }
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\r\nCPU#0\r\nRAX=0000000000000001 RBX=0000000000000002\r\n\
        ES =0000 0000000000000000 ffffffff 00c09300\r\n\
        DR0=0123456789abcdef DR1=0000000000000001 DR2=0000000000000002 DR3=ffffffffffffffff \r\n\
        DR6=00000000ffff0ff0 DR7=0000000000000400\r\nCCS=0 CCD=0 CCO=LOGICB\r\n\
        \r\nCPU#1\r\nDR0=0000000000000000 DR1=0000000000000000 DR2=0000000000000000 \
        DR3=0000000000000000\r\nDR6=00000000ffff0ff0 DR7=0000000000000401\r\n";

    #[test]
    fn every_cpu_of_the_answer_is_read() {
        let cpus = DebugRegisters::parse_all(TEXT).unwrap();
        assert_eq!(cpus.len(), 2);
        assert_eq!(cpus[0].dr, [0x0123_4567_89ab_cdef, 1, 2, u64::MAX]);
        assert_eq!((cpus[0].dr6, cpus[0].dr7), (0xffff_0ff0, 0x400));
        assert_eq!((cpus[1].cpu, cpus[1].dr7), (1, 0x401));
        assert!(cpus[1].is_clear() && !cpus[0].is_clear());
    }

    #[test]
    fn a_person_is_told_where_each_cpu_is() {
        let text =
            "CPU#0\r\nRIP=ffffffff81000000 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1\r\n\
            CPU#1\r\nRIP=00007f0000000000 RFL=00000246 [---Z-P-] CPL=3 II=0 A20=1 SMM=0 HLT=0\r\n";
        assert_eq!(
            places(text).unwrap(),
            "0 at ffffffff81000000, halted; 1 at 00007f0000000000"
        );
        assert!(places("nonsense").is_err());
    }

    #[test]
    fn bytes_are_little_endian_with_dr0_first() {
        let cpus = DebugRegisters::parse_all(TEXT).unwrap();
        let bytes = cpus[0].bytes();
        assert_eq!(
            bytes[..9],
            [0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01, 1]
        );
        assert_eq!(bytes[24..], [0xff; 8]);
    }

    #[test]
    fn a_missing_register_or_cpu_is_an_error() {
        let error = DebugRegisters::parse_all("CPU#0\r\nDR0=00\r\n").unwrap_err();
        assert_eq!(error.to_string(), "QEMU shows no DR1 of CPU 0");
        assert!(DebugRegisters::parse_all("nonsense").is_err());
    }
}
