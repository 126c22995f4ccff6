// SPDX-License-Identifier: GPL-2.0-or-later

//! What a secret may look like in memory.

use anyhow::{ensure, Context, Result};
use keyscan::aes::Schedule;

use crate::wire::Forms;

/// Bytes in a row that make a hit.
pub const MIN_RUN: usize = 8;

/// One thing to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// The secret's name, then the form's.
    pub name: String,
    /// Its bytes, [`MIN_RUN`] or more.
    pub bytes: Vec<u8>,
}

/// All forms of a secret: its bytes and, as asked for, all round keys of the encryption schedule and
/// of the equivalent inverse cipher; each as it is and in the byte orders of big-endian words.
///
/// # Errors
/// If the secret is too short, its length is not that of such a key, or it is so regular that
/// ordinary memory contains it.
pub fn forms(name: &str, secret: &[u8], forms: Forms) -> Result<Vec<Form>> {
    ensure!(
        secret.len() >= MIN_RUN,
        "the secret {name} has {} bytes; {MIN_RUN} or more can be told from other memory",
        secret.len()
    );
    ensure!(
        secret.windows(MIN_RUN).any(|run| !is_regular(run)),
        "the secret {name} is so regular that ordinary memory contains it"
    );
    let mut native = vec![(name.to_owned(), secret.to_vec())];
    let keys: Vec<(&str, &[u8])> = match forms {
        Forms::Plain => Vec::new(),
        Forms::Aes => vec![("", secret)],
        Forms::Xts => {
            ensure!(
                secret.len() % 2 == 0,
                "the secret {name} is no pair of AES-XTS keys: its length is odd"
            );
            let (data, tweak) = secret.split_at(secret.len() / 2);
            vec![(" key 1,", data), (" key 2,", tweak)]
        }
    };
    for (half, key) in keys {
        let schedule = Schedule::expand(key).with_context(|| {
            format!(
                "the secret {name} is no such key: {} bytes are the length of no AES key",
                key.len()
            )
        })?;
        let inverse = schedule.equivalent_inverse();
        for (schedule, direction) in [(&schedule, "encryption"), (&inverse, "decryption")] {
            for (round, bytes) in schedule.round_keys().enumerate() {
                native.push((
                    format!("{name},{half} round key {round}, for {direction}"),
                    bytes.to_vec(),
                ));
            }
        }
    }
    let mut all: Vec<Form> = Vec::new();
    for (order, group) in [("", 1), (", 32-bit swapped", 4), (", 64-bit swapped", 8)] {
        for (name, bytes) in &native {
            if bytes.len() % group != 0 {
                continue;
            }
            let mut bytes = bytes.clone();
            bytes.chunks_mut(group).for_each(<[u8]>::reverse);
            // The first round keys are the key itself, and the outer ones those of both directions.
            if !all.iter().any(|known| contains(&known.bytes, &bytes)) {
                all.push(Form {
                    name: format!("{name}{order}"),
                    bytes,
                });
            }
        }
    }
    Ok(all)
}

fn contains(long: &[u8], short: &[u8]) -> bool {
    long.windows(short.len()).any(|run| run == short)
}

/// Whether ordinary memory is likely to contain these bytes: too few distinct values. Eight random
/// bytes have fewer than four distinct ones less than once in 10^9.
pub fn is_regular(bytes: &[u8]) -> bool {
    let mut seen = [false; 256];
    let distinct = bytes
        .iter()
        .filter(|&&byte| !std::mem::replace(&mut seen[usize::from(byte)], true))
        .count();
    distinct < bytes.len().div_ceil(2).min(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(len: usize) -> Vec<u8> {
        (0..len as u32)
            .map(|i| (i.wrapping_mul(0x9e37_79b1) >> 13) as u8)
            .collect()
    }

    #[test]
    fn an_xts_pair_has_both_keys_round_keys_in_both_directions() {
        let all = forms("K", &secret(64), Forms::Xts).unwrap();
        let names: Vec<&str> = all.iter().map(|form| form.name.as_str()).collect();
        for name in [
            "K",
            "K, key 1, round key 2, for encryption",
            "K, key 1, round key 13, for decryption",
            "K, key 2, round key 14, for encryption",
            "K, key 2, round key 9, for decryption, 32-bit swapped",
        ] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
        // For each half 13 round keys that are not part of the key, and 13 inner ones for decryption.
        let native = names.iter().filter(|name| !name.contains("swapped"));
        assert_eq!(native.count(), 1 + 2 * (13 + 13));
    }

    #[test]
    fn what_is_no_secret_or_no_key_is_refused() {
        for (bytes, kind, says) in [
            (&[0; 32][..], Forms::Plain, "so regular"),
            (b"short", Forms::Plain, "has 5 bytes"),
            (b"twenty bytes are no key", Forms::Aes, "no AES key"),
            (b"neither are thirty-three in all..", Forms::Xts, "odd"),
        ] {
            let error = format!("{:#}", forms("K", bytes, kind).unwrap_err());
            assert!(error.contains(says), "{error}");
        }
    }
}
