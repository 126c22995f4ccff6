// SPDX-License-Identifier: GPL-2.0-or-later

//! A master key, and what of it a look at the stopped machine shows.

use anyhow::{ensure, Result};
use keyscan::{scan_bytes, Expand, Needles, Options, What};
use tresor_qemu::DebugRegisters;

use crate::reference::{Master, MASTER};

/// A master key drawn on the host.
pub struct Key {
    /// M.
    pub m: [u8; MASTER],
    /// What follows from it.
    pub master: Master,
}

impl Key {
    /// Draws one.
    ///
    /// # Errors
    /// If the host has no random bytes.
    pub fn random() -> Result<Self> {
        let m = random()?;
        Ok(Self {
            m,
            master: Master::new(&m),
        })
    }

    /// The other share of M: what a CPU whose debug registers hold `share` keeps in RAM.
    pub fn other_share(&self, share: &[u8; MASTER]) -> [u8; MASTER] {
        std::array::from_fn(|i| self.m[i] ^ share[i])
    }
}

/// Random bytes of the host.
///
/// # Errors
/// If it has none.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|e| anyhow::anyhow!("no random bytes from the host: {e}"))?;
    Ok(bytes)
}

/// A random passphrase of 32 characters. They are of 64 kinds: of hex digits, one word of eight in a thousand
/// is so regular that a search refuses to look for it.
///
/// # Errors
/// If the host has no random bytes.
pub fn passphrase() -> Result<String> {
    const CHARACTERS: &[u8; 64] =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
    let bytes = random::<32>()?;
    Ok(bytes
        .iter()
        .map(|byte| char::from(CHARACTERS[usize::from(byte % 64)]))
        .collect())
}

/// The stopped machine, seen from outside.
pub struct Look {
    /// DR0 to DR7 of every CPU.
    pub cpus: Vec<DebugRegisters>,
    /// For each CPU the guest-physical address of M xor DR_c, if all of it is in RAM.
    pub shares: Vec<Option<u64>>,
    /// Places in RAM that hold 8 bytes or more of M, by address.
    pub master: Vec<u64>,
}

impl Look {
    /// Looks at RAM and registers, which must be of one moment.
    ///
    /// # Errors
    /// If the search is not possible.
    pub fn at(ram: &[u8], cpus: Vec<DebugRegisters>, key: &Key) -> Result<Self> {
        let mut secrets = vec![("M".to_owned(), key.m.to_vec())];
        for cpu in cpus.iter().filter(|cpu| !cpu.is_clear()) {
            secrets.push((
                format!("{}", cpu.cpu),
                key.other_share(&cpu.bytes()).to_vec(),
            ));
        }
        let found = Found::search(ram, &secrets)?;
        let shares = cpus
            .iter()
            .map(|cpu| found.whole(&format!("{}", cpu.cpu)))
            .collect();
        Ok(Self {
            cpus,
            shares,
            master: found.all("M"),
        })
    }

    /// Whether every CPU holds the key: its registers are half of M and RAM has the other half.
    pub fn armed(&self) -> bool {
        self.shares.iter().all(Option::is_some)
    }

    /// The registers of each CPU as a share.
    pub fn registers(&self) -> Vec<[u8; MASTER]> {
        self.cpus.iter().map(DebugRegisters::bytes).collect()
    }

    /// Fails unless every CPU's registers are zero.
    ///
    /// # Errors
    /// Naming the CPUs.
    pub fn ensure_clear(&self) -> Result<()> {
        let dirty: Vec<u32> = self
            .cpus
            .iter()
            .filter(|cpu| !cpu.is_clear())
            .map(|cpu| cpu.cpu)
            .collect();
        ensure!(
            dirty.is_empty(),
            "the debug registers of CPUs {dirty:?} are not zero"
        );
        Ok(())
    }
}

/// Where secrets lie.
pub struct Found(keyscan::Report);

impl Found {
    /// Searches for each secret in whole and for every 8-byte word of it.
    ///
    /// # Errors
    /// If a secret is too regular to be told from other memory.
    pub fn search(ram: &[u8], secrets: &[(String, Vec<u8>)]) -> Result<Self> {
        let mut needles = Needles::new();
        for (name, secret) in secrets {
            needles.add_secret(name, secret, Expand::None)?;
        }
        let options = Options {
            schedules: false,
            ..Options::default()
        };
        Ok(Self(scan_bytes(ram, &needles, &options, &|_| ())))
    }

    /// Where all of a secret lies, first place.
    pub fn whole(&self, name: &str) -> Option<u64> {
        let whole = |what: &What| matches!(what, What::Whole { name: found } if found == name);
        self.0
            .findings
            .iter()
            .find(|finding| whole(&finding.what))
            .map(|finding| finding.offset)
    }

    /// Every place where some of a secret lies.
    pub fn all(&self, name: &str) -> Vec<u64> {
        let of = self
            .0
            .findings
            .iter()
            .filter(|finding| finding.what.name() == Some(name));
        of.map(|finding| finding.offset).collect()
    }

    /// Every place where some of any secret lies.
    pub fn any(&self) -> Vec<String> {
        let places = self.0.findings.iter();
        places
            .map(|finding| format!("{} at {:#x}", finding.what, finding.offset))
            .collect()
    }
}
