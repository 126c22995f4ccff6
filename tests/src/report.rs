// SPDX-License-Identifier: GPL-2.0-or-later

//! What the demo leaves for those who want to check it with tools of their own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::evidence::Evidence;
use crate::timeline::Step;

/// `report.json`: what was seen. It holds no secret.
#[derive(Serialize)]
pub struct Report {
    /// Whether every condition held.
    pub passed: bool,
    /// The conditions that did not hold, each a sentence.
    pub failures: Vec<String>,
    /// `uname -r` of the guest.
    pub kernel_release: String,
    /// `uname -v` of the guest, with the version of Debian's package.
    pub kernel_version: String,
    /// SHA-256 of the kernel image that was booted.
    pub kernel_sha256: String,
    /// `kvm` or `tcg`.
    pub accelerator: &'static str,
    /// Number of CPUs.
    pub cpus: usize,
    /// Bytes of RAM.
    pub memory: u64,
    /// Real files on each volume; all were verified by checksum, before and after it was reopened.
    pub files: usize,
    /// The debug registers as seen from outside of the guest.
    pub dr_witness: DrWitness,
    /// The volume with the kernel's own AES.
    pub control: ControlReport,
    /// Our volume.
    pub tresor: TresorReport,
    /// Places where S_c = M xor DR_c was found, over all dumps and CPUs, counting a CPU once a dump.
    pub shares_found: usize,
    /// Dumps times CPUs: what `shares_found` must be.
    pub shares_expected: usize,
    /// Whether the host decrypted the image from M and the blob to what the guest sees.
    pub xts_matches: bool,
    /// How it was found out.
    pub xts: XtsReport,
    /// Lines of the kernel's log that tell of a bug, in the first boot.
    pub complaints: Vec<String>,
    /// What the second boot, under another master key, showed.
    pub second_boot: SecondBoot,
    /// Each dump.
    pub dumps: Vec<Evidence>,
    /// When what happened.
    pub times: Times,
}

/// The debug registers as seen from outside.
#[derive(Serialize)]
pub struct DrWitness {
    /// Who says so.
    pub source: &'static str,
    /// CPUs whose DR0-DR3 were not all zero in every dump.
    pub cpus_armed: usize,
    /// Whether each CPU's registers differed between any two dumps: shares are refreshed.
    pub refreshed: bool,
    /// DR7 of every CPU in every dump; its low eight bits, which enable breakpoints, must be 0.
    pub dr7: Vec<String>,
}

/// The control volume.
#[derive(Serialize)]
pub struct ControlReport {
    /// Its cipher.
    pub cipher: String,
    /// Key schedules of its two keys found, over all dumps.
    pub schedules_found: u64,
}

/// Our volume.
#[derive(Serialize)]
pub struct TresorReport {
    /// Its cipher.
    pub cipher: String,
    /// Key id of the master key.
    pub key_id: String,
    /// Places, over all dumps, that hold something of M, of the volume's keys, of a round key of
    /// these, of a debug register, or of the passphrase.
    pub findings: usize,
}

/// How the host checked the encryption.
#[derive(Serialize)]
pub struct XtsReport {
    /// Whether the sample has the checksum that the guest computed.
    pub sample_matches: bool,
    /// Blocks of the real files.
    pub file_blocks: usize,
    /// How many of them are in the decrypted image.
    pub file_blocks_found: usize,
    /// How many of them are in the image as it is.
    pub file_blocks_in_ciphertext: usize,
    /// The same check of the control volume, with the kernel's own AES: it shows that the host's
    /// decryption is right.
    pub control_matches: bool,
}

/// What the second boot showed.
#[derive(Serialize)]
pub struct SecondBoot {
    /// Key id of the other master key.
    pub other_key_id: String,
    /// What `tresorctl load` says to a wrong passphrase for the first key's description.
    pub wrong_passphrase: String,
    /// What cryptsetup says to the other key's slot key.
    pub cryptsetup: String,
    /// Its exit status.
    pub cryptsetup_status: i32,
    /// Files whose checksums were right after the first passphrase was given again.
    pub files_verified: usize,
    /// Lines of the kernel's log that tell of a bug.
    pub complaints: Vec<String>,
}

/// When what happened, in seconds.
#[derive(Serialize)]
pub struct Times {
    /// From start to end.
    pub total: f64,
    /// Each step.
    pub steps: Vec<Step>,
}

/// `secrets.json`: the secrets of this throwaway VM.
#[derive(Serialize)]
pub struct Secrets {
    /// The passphrase.
    pub passphrase: String,
    /// The key description file, with the salt and the cost of Argon2id.
    pub description: String,
    /// The master key, in hex: Argon2id of the passphrase.
    pub m: String,
    /// Each dump with the registers at its time.
    pub dumps: Vec<DumpSecrets>,
    /// Our volume.
    pub tresor: TresorSecrets,
    /// The control volume.
    pub control: ControlSecrets,
}

/// A dump and the registers at its time.
#[derive(Serialize)]
pub struct DumpSecrets {
    /// File name.
    pub file: String,
    /// By CPU: DR0 to DR3 in hex, DR0 first, each register little-endian.
    pub dr: BTreeMap<String, String>,
}

/// What decrypts our volume.
#[derive(Serialize)]
pub struct TresorSecrets {
    /// File name of the raw disk image.
    pub image: String,
    /// The blob, in hex: what LUKS and dm-crypt take for the volume key.
    pub blob: String,
    /// Where the data begins, in bytes.
    pub data_offset: u64,
    /// Size of an encryption sector, in bytes.
    pub sector_size: usize,
    /// Key id of M.
    pub key_id: String,
    /// K1 and K2 of the data, in hex.
    pub effective_keys: Vec<String>,
    /// A piece of the plaintext device, as the guest saw it.
    pub sample: Sample,
}

/// A piece of a plaintext device.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// Its offset in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Its SHA-256, computed in the guest.
    pub sha256: String,
}

/// What decrypts the control volume.
#[derive(Serialize)]
pub struct ControlSecrets {
    /// File name of the raw disk image.
    pub image: String,
    /// Its XTS key, in hex: K1, then K2.
    pub key: String,
    /// Where the data begins, in bytes.
    pub data_offset: u64,
    /// Size of an encryption sector, in bytes.
    pub sector_size: usize,
}

/// Writes a value as indented JSON.
///
/// # Errors
/// If the file cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Rows of cells as aligned text, the first row underlined.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| {
        rows.iter()
            .filter_map(|row| row.get(c))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (i, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, &w)| format!("{cell:w$}"))
            .collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
        if i == 0 {
            let lines: Vec<String> = widths.iter().map(|&w| "-".repeat(w)).collect();
            text += &(lines.join("  ") + "\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_its_head_underlined() {
        let row = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        let text = table(&[row("name", "n"), row("x", "10")]);
        assert_eq!(text, "name  n\n----  --\nx     10\n");
    }
}
