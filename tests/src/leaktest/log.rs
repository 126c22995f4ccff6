// SPDX-License-Identifier: GPL-2.0-or-later

//! The oracle of the kernel's log: secrets as the kernel would print them.

use std::time::Duration;

use anyhow::Result;
use keyscan::aes::Schedule;
use tresor_qemu::DebugRegisters;

use super::bench::Bench;
use super::cell::Oracle;

/// How the kernel prints a debug register, when it does.
const REGISTER: &str = "DR0:";

impl Bench {
    /// Asks the oracle of the kernel's log about all that the kernel has printed since its log was
    /// `from` bytes long.
    ///
    /// `registers` are those of the times when something was printed: shares last a second. Since
    /// one may be missed, a line that prints debug registers at all is a finding too. `missing` says
    /// why the same events printed no marks before the module was there, if so.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn ask_log(
        &mut self,
        from: usize,
        registers: &[DebugRegisters],
        missing: Option<String>,
    ) -> Result<()> {
        let log = self.log_since(from)?;
        let mut secrets = vec![
            ("M".to_owned(), round_keys(&self.known.m)),
            (
                "the passphrase".to_owned(),
                self.known.passphrase.clone().into_bytes(),
            ),
        ];
        for (half, key) in (1..).zip(self.known.effective.chunks(32)) {
            secrets.push((format!("K{half}"), round_keys(key)));
        }
        for cpu in registers {
            secrets.push((format!("DR of CPU {}", cpu.cpu), cpu.bytes().to_vec()));
        }
        let mut findings = in_text(&log, &secrets);
        findings.extend(
            log.lines()
                .filter(|line| line.contains(REGISTER))
                .map(|_| "debug registers were printed".to_owned()),
        );
        if log.is_empty() {
            return self.answer(Oracle::Log, Some("the log is empty".into()), findings);
        }
        self.answer(Oracle::Log, missing, findings)
    }

    /// How long the kernel's log is now, with all that it still has to print.
    ///
    /// # Errors
    /// If it cannot be read, or the console is not done within three minutes.
    pub fn log_length(&mut self) -> Result<usize> {
        self.log_since(0).map(|log| log.len())
    }

    /// What the kernel has printed since its log was `from` bytes long.
    ///
    /// # Errors
    /// See [`Bench::log_length`].
    pub fn log_since(&mut self, from: usize) -> Result<String> {
        // The console lags behind the log; a line of our own ends it.
        self.ends += 1;
        let end = format!("leaktest: end {}", self.ends);
        self.guest.vm.check(&format!("echo '{end}' >/dev/kmsg"))?;
        let console = self.guest.vm.console();
        console.wait_for(&end, Duration::from_secs(180))?;
        Ok(console.text()?.get(from..).unwrap_or_default().to_owned())
    }
}

/// The key's round keys in a row, of which the first are the key.
fn round_keys(key: &[u8]) -> Vec<u8> {
    Schedule::expand(key).map_or_else(|| key.to_vec(), |schedule| schedule.as_bytes().to_vec())
}

/// The 8-byte words of secrets that a text shows: as a register (16 hex digits), as a dump of bytes
/// with or without spaces, or as they are. Each once, by name.
pub fn in_text(text: &str, secrets: &[(String, Vec<u8>)]) -> Vec<String> {
    let lower = text.to_lowercase();
    let mut found = Vec::new();
    for (name, secret) in secrets {
        for (number, word) in secret.chunks_exact(8).enumerate() {
            let mut swapped = word.to_vec();
            swapped.reverse();
            let pairs: Vec<String> = word.iter().map(|byte| format!("{byte:02x}")).collect();
            let forms = [hex::encode(&swapped), pairs.concat(), pairs.join(" ")];
            let plain = std::str::from_utf8(word).is_ok_and(|word| text.contains(word));
            if plain || forms.iter().any(|form| lower.contains(form)) {
                found.push(format!("word {number} of {name}"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_as_a_register_as_bytes_and_as_text_and_nothing_else_is() {
        let secrets = [
            ("a".to_owned(), (1..=16).collect::<Vec<u8>>()),
            ("b".to_owned(), b"hush, do not say".to_vec()),
        ];
        for (text, found) in [
            ("DR1: 100F0E0D0C0B0A09", "word 1 of a"),
            ("key=0102030405060708.", "word 0 of a"),
            ("dump: 09 0a 0b 0c 0d 0e 0f 10", "word 1 of a"),
            ("typed hush, do not", "word 0 of b"),
        ] {
            assert_eq!(in_text(text, &secrets), [found]);
        }
        assert!(in_text("01020304 05060708 hush", &secrets).is_empty());
    }
}
