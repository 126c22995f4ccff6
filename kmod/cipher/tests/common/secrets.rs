// SPDX-License-Identifier: GPL-2.0-or-later

//! Everything that a request computes and that must not be found outside of a running routine.

use super::{essiv_key, volume_key};
use aes::hazmat::{cipher_round, equiv_inv_cipher_round, inv_mix_columns};
use aes::Block;
use std::collections::HashSet;
use std::sync::OnceLock;
use tresor_cipher::{Direction, Mode};

/// Eight-byte strings, at any byte offset of any secret.
#[derive(Default)]
pub struct Secrets {
    words: HashSet<u64>,
}

impl Secrets {
    pub fn add(&mut self, secret: &[u8]) {
        for word in secret.windows(8) {
            self.words
                .insert(u64::from_le_bytes(word.try_into().unwrap()));
        }
    }

    pub fn contains(&self, word: u64) -> bool {
        self.words.contains(&word)
    }

    /// Whether eight consecutive bytes of `bytes` are a secret's.
    pub fn found_in(&self, bytes: &[u8]) -> bool {
        bytes
            .windows(8)
            .any(|word| self.contains(u64::from_le_bytes(word.try_into().unwrap())))
    }

    /// The round keys of a key of 16, 24 or 32 bytes, both as encryption and as decryption uses them.
    pub fn add_schedule(&mut self, key: &[u8]) {
        for round_key in schedule(key) {
            self.add(&round_key);
            let mut inverse = Block::from(round_key);
            inv_mix_columns(&mut inverse);
            self.add(&inverse);
        }
    }

    /// What a request computes from M and a blob: keys, schedules, tweaks or chains or key stream, and the
    /// states of all blocks after each round.
    pub fn of_request(
        m: &[u8; 32],
        mode: Mode,
        blob: &[u8],
        iv: &[u8; 16],
        direction: Direction,
        data: &[u8],
    ) -> Self {
        let mut all = Self::default();
        all.add_schedule(m);
        let key = volume_key(m, mode, blob);
        all.add(&key);
        match mode {
            Mode::Xts => {
                let (k1, k2) = key.split_at(key.len() / 2);
                all.add_schedule(k1);
                all.add_schedule(k2);
                all.add_xts(k1, k2, iv, direction, data);
            }
            _ => {
                all.add_schedule(&key);
                all.add_blocks(m, mode, blob, iv, direction, data);
            }
        }
        all
    }

    fn add_xts(&mut self, k1: &[u8], k2: &[u8], iv: &[u8; 16], direction: Direction, data: &[u8]) {
        let mut tweak = u128::from_le_bytes(self.add_states(k2, *iv, Direction::Encrypt));
        let mut tweaks = std::iter::from_fn(|| {
            let this = tweak;
            tweak = tweak << 1 ^ if tweak >> 127 != 0 { 0x87 } else { 0 };
            Some(this)
        });
        let block = |all: &mut Self, tweak: u128, block: &[u8]| {
            all.add(&tweak.to_le_bytes());
            let masked = u128::from_le_bytes(block.try_into().unwrap()) ^ tweak;
            let out = all.add_states(k1, masked.to_le_bytes(), direction);
            (u128::from_le_bytes(out) ^ tweak).to_le_bytes()
        };
        let part = data.len() % 16;
        let (whole, tail) = data.split_at(match part {
            0 => data.len(),
            part => data.len() - part - 16,
        });
        for text in whole.chunks_exact(16) {
            block(self, tweaks.next().unwrap(), text);
        }
        if let Some((last, rest)) = tail.split_first_chunk::<16>() {
            let mut pair = [tweaks.next().unwrap(), tweaks.next().unwrap()];
            if direction == Direction::Decrypt {
                pair.reverse();
            }
            let stolen = block(self, pair[0], last);
            // All eight bytes of which one at least never leaves.
            self.add(&stolen[part.saturating_sub(7)..]);
            let joined = [rest, &stolen[part..]].concat();
            block(self, pair[1], &joined);
        }
    }

    fn add_blocks(
        &mut self,
        m: &[u8; 32],
        mode: Mode,
        blob: &[u8],
        iv: &[u8; 16],
        direction: Direction,
        data: &[u8],
    ) {
        let key = volume_key(m, mode, blob);
        let mut chain = *iv;
        if mode == Mode::EssivCbc {
            let key = essiv_key(m, blob);
            self.add(&key);
            self.add_schedule(&key);
            chain = self.add_states(&key, chain, Direction::Encrypt);
        }
        let mut counter = u128::from_be_bytes(*iv);
        for text in data.chunks(16) {
            match (mode, direction) {
                (Mode::Ctr, _) => {
                    self.add_states(&key, counter.to_be_bytes(), Direction::Encrypt);
                    counter = counter.wrapping_add(1);
                }
                (Mode::Cbc | Mode::EssivCbc, Direction::Encrypt) => {
                    let text: [u8; 16] = text.try_into().unwrap();
                    chain = self.add_states(&key, xor16(text, chain), direction);
                }
                // Of CBC what is behind the last round, before the public chain went in.
                _ => {
                    self.add_states(&key, text.try_into().unwrap(), direction);
                }
            }
        }
    }

    fn add_states(&mut self, key: &[u8], block: [u8; 16], direction: Direction) -> [u8; 16] {
        let mut keys = schedule(key);
        if direction == Direction::Decrypt {
            keys.reverse();
            let last = keys.len() - 1;
            for key in &mut keys[1..last] {
                let mut inverse = Block::from(*key);
                inv_mix_columns(&mut inverse);
                *key = inverse.into();
            }
        }
        let mut state = Block::from(block);
        state.iter_mut().zip(keys[0]).for_each(|(s, k)| *s ^= k);
        self.add(&state);
        for key in &keys[1..keys.len() - 1] {
            match direction {
                Direction::Encrypt => cipher_round(&mut state, &Block::from(*key)),
                Direction::Decrypt => equiv_inv_cipher_round(&mut state, &Block::from(*key)),
            }
            self.add(&state);
        }
        // The last round lacks MixColumns: a round with the key zero, and MixColumns undone.
        match direction {
            Direction::Encrypt => {
                cipher_round(&mut state, &Block::default());
                inv_mix_columns(&mut state);
            }
            Direction::Decrypt => {
                equiv_inv_cipher_round(&mut state, &Block::default());
                aes::hazmat::mix_columns(&mut state);
            }
        }
        let last = keys[keys.len() - 1];
        state.iter_mut().zip(last).for_each(|(s, k)| *s ^= k);
        self.add(&state);
        state.into()
    }
}

fn xor16(a: [u8; 16], b: [u8; 16]) -> [u8; 16] {
    std::array::from_fn(|i| a[i] ^ b[i])
}

/// SubBytes of one byte (FIPS 197 section 5.1.1).
fn sub(x: u8) -> u8 {
    static TABLE: OnceLock<[u8; 256]> = OnceLock::new();
    TABLE.get_or_init(|| std::array::from_fn(|x| compute_sub(x as u8)))[usize::from(x)]
}

/// Inverse in GF(2^8), then the affine map.
fn compute_sub(x: u8) -> u8 {
    let times = |mut a: u8, mut b: u8| {
        let mut product = 0;
        while b != 0 {
            if b & 1 != 0 {
                product ^= a;
            }
            a = a << 1 ^ if a >> 7 != 0 { 0x1b } else { 0 };
            b >>= 1;
        }
        product
    };
    let inverse = (0..=255u8).find(|&y| times(x, y) == 1).unwrap_or(0);
    (0..5).fold(0x63, |sum, turn| sum ^ inverse.rotate_left(turn))
}

/// KeyExpansion (FIPS 197 section 5.2), as written there.
pub fn schedule(key: &[u8]) -> Vec<[u8; 16]> {
    let nk = key.len() / 4;
    let mut words: Vec<[u8; 4]> = key.chunks_exact(4).map(|w| w.try_into().unwrap()).collect();
    let mut rcon = 1u8;
    for i in nk..4 * (nk + 7) {
        let mut temp = words[i - 1];
        if i % nk == 0 {
            temp.rotate_left(1);
            temp = temp.map(sub);
            temp[0] ^= rcon;
            rcon = rcon << 1 ^ if rcon >> 7 != 0 { 0x1b } else { 0 };
        } else if nk > 6 && i % nk == 4 {
            temp = temp.map(sub);
        }
        let before = words[i - nk];
        words.push(std::array::from_fn(|b| before[b] ^ temp[b]));
    }
    words
        .chunks_exact(4)
        .map(|k| k.concat().try_into().unwrap())
        .collect()
}
