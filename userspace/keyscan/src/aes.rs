// SPDX-License-Identifier: GPL-2.0-or-later

//! AES key expansion (FIPS 197, section 5.2) and its equivalent-inverse form (section 5.3.5).
//!
//! Made for recognising keys, not for keeping them: it is neither constant-time nor fast.

use zeroize::{Zeroize, Zeroizing};

/// Bytes in a round key.
pub const ROUND_KEY: usize = 16;

/// Bytes in the longest schedule, that of AES-256.
pub const MAX_SCHEDULE: usize = 240;

/// An AES key size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeySize {
    /// 16-byte keys, 10 rounds.
    Aes128,
    /// 24-byte keys, 12 rounds.
    Aes192,
    /// 32-byte keys, 14 rounds.
    Aes256,
}

impl KeySize {
    /// All sizes, shortest first.
    pub const ALL: [Self; 3] = [Self::Aes128, Self::Aes192, Self::Aes256];

    /// The size with keys of `len` bytes, if there is one.
    pub const fn from_key_len(len: usize) -> Option<Self> {
        match len {
            16 => Some(Self::Aes128),
            24 => Some(Self::Aes192),
            32 => Some(Self::Aes256),
            _ => None,
        }
    }

    /// Words of 32 bits in the key: Nk of FIPS 197.
    pub const fn words(self) -> usize {
        match self {
            Self::Aes128 => 4,
            Self::Aes192 => 6,
            Self::Aes256 => 8,
        }
    }

    /// Bytes in the key.
    pub const fn key_len(self) -> usize {
        4 * self.words()
    }

    /// Bits in the key.
    pub const fn bits(self) -> u16 {
        32 * self.words() as u16
    }

    /// Number of rounds: Nr of FIPS 197.
    pub const fn rounds(self) -> usize {
        self.words() + 6
    }

    /// How word `i`, from Nk on, comes from word i-1.
    pub(crate) const fn step_kind(self, i: usize) -> Step {
        if i % self.words() == 0 {
            Step::Core(i / self.words())
        } else if self.words() == 8 && i % 8 == 4 {
            Step::Sub
        } else {
            Step::Linear
        }
    }

    /// Bytes in the expanded key: 176, 208 or 240.
    pub const fn schedule_len(self) -> usize {
        ROUND_KEY * (self.rounds() + 1)
    }
}

/// What the key expansion does to word i-1 before it is xored with word i-Nk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Linear,
    /// SubWord.
    Sub,
    /// SubWord, RotWord and Rcon of this number.
    Core(usize),
}

/// An expanded key; wiped when dropped.
#[derive(Clone, Zeroize, zeroize::ZeroizeOnDrop)]
pub struct Schedule {
    bytes: [u8; MAX_SCHEDULE],
    len: usize,
}

impl Schedule {
    /// Expands `key`; `None` if its length is not 16, 24 or 32 bytes.
    pub fn expand(key: &[u8]) -> Option<Self> {
        let size = KeySize::from_key_len(key.len())?;
        let nk = size.words();
        let mut schedule = Self {
            bytes: [0; MAX_SCHEDULE],
            len: size.schedule_len(),
        };
        schedule.bytes[..key.len()].copy_from_slice(key);
        for i in nk..schedule.len / 4 {
            let word = xor(schedule.word(i - nk), step(size, i, schedule.word(i - 1)));
            schedule.bytes[4 * i..][..4].copy_from_slice(&word);
        }
        Some(schedule)
    }

    /// Expands a schedule of which any Nk consecutive words are known, `words` from word number
    /// `first` on: the recurrence of [`expand`](Self::expand) runs both ways. `None` if there are
    /// not 4, 6 or 8 words, or they reach beyond the end.
    pub fn from_words(first: usize, words: &[[u8; 4]]) -> Option<Self> {
        let size = KeySize::from_key_len(4 * words.len())?;
        let nk = size.words();
        if 4 * (first + nk) > size.schedule_len() {
            return None;
        }
        let mut window: Zeroizing<[[u8; 4]; 8]> = Zeroizing::default();
        window[..nk].copy_from_slice(words);
        // From words i .. i+Nk to i-1 .. i-1+Nk: word i-1 = word i-1+Nk xor f(word i-2+Nk).
        for i in (1..=first).rev() {
            let last = window[nk - 1];
            let step = step(size, i - 1 + nk, window[nk - 2]);
            window.copy_within(..nk - 1, 1);
            window[0] = xor(last, step);
        }
        let mut key: Zeroizing<[u8; 32]> = Zeroizing::default();
        for (to, word) in key.chunks_exact_mut(4).zip(*window) {
            to.copy_from_slice(&word);
        }
        Self::expand(&key[..size.key_len()])
    }

    /// The schedule that the equivalent inverse cipher uses, rounds in encryption order: every
    /// round key but the first and the last has gone through InvMixColumns.
    pub fn equivalent_inverse(&self) -> Self {
        let mut inverse = self.clone();
        let inner = ROUND_KEY..self.len - ROUND_KEY;
        for column in inverse.bytes[inner].chunks_exact_mut(4) {
            inv_mix_column(column);
        }
        inverse
    }

    /// The schedule's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The round keys, first to last.
    pub fn round_keys(&self) -> impl Iterator<Item = &[u8]> {
        self.as_bytes().chunks_exact(ROUND_KEY)
    }

    /// Word number `i`, from 0.
    pub(crate) fn word(&self, i: usize) -> [u8; 4] {
        [0, 1, 2, 3].map(|b| self.bytes[4 * i + b])
    }
}

/// What word i-Nk is xored with to give word `i`, from `before`, word i-1 (FIPS 197, section 5.2).
pub(crate) fn step(size: KeySize, i: usize, before: [u8; 4]) -> [u8; 4] {
    match size.step_kind(i) {
        Step::Core(round) => key_core(before, round),
        Step::Sub => before.map(sub_byte),
        Step::Linear => before,
    }
}

/// SubWord(RotWord(word)) xor Rcon\[round\], with `round` from 1 (FIPS 197, section 5.2).
pub(crate) fn key_core(word: [u8; 4], round: usize) -> [u8; 4] {
    let [a, b, c, d] = word.map(sub_byte);
    [b ^ RCON[round], c, d, a]
}

/// SubBytes of one byte (FIPS 197, section 5.1.1).
#[inline(always)]
pub(crate) fn sub_byte(byte: u8) -> u8 {
    SBOX[usize::from(byte)]
}

/// Byte-wise xor of two words.
pub(crate) fn xor(a: [u8; 4], b: [u8; 4]) -> [u8; 4] {
    (u32::from_ne_bytes(a) ^ u32::from_ne_bytes(b)).to_ne_bytes()
}

/// MixColumns of one column (FIPS 197, section 5.1.3).
pub(crate) fn mix_column(column: [u8; 4]) -> [u8; 4] {
    let double = |x: u8| (x << 1) ^ ((x >> 7) * 0x1b);
    let all = column.iter().fold(0, |sum, x| sum ^ x);
    // 2a + 3b + c + d = a + 2(a + b) + (a + b + c + d), in GF(2^8).
    std::array::from_fn(|i| column[i] ^ double(column[i] ^ column[(i + 1) % 4]) ^ all)
}

fn inv_mix_column(column: &mut [u8]) {
    let old = [column[0], column[1], column[2], column[3]];
    for (i, byte) in column.iter_mut().enumerate() {
        // FIPS 197, section 5.3.3: the matrix is circulant, with this first row.
        *byte = [0x0e, 0x0b, 0x0d, 0x09]
            .iter()
            .enumerate()
            .fold(0, |sum, (j, &factor)| {
                sum ^ gf_mul(old[(i + j) % 4], factor)
            });
    }
}

/// Product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1 (FIPS 197, section 4.2).
pub(crate) const fn gf_mul(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        if b & 1 != 0 {
            product ^= a;
        }
        a = (a << 1) ^ if a & 0x80 != 0 { 0x1b } else { 0 };
        b >>= 1;
    }
    product
}

/// Rcon\[i\] = x^(i-1); index 0 is unused.
pub(crate) const RCON: [u8; 11] = {
    let mut rcon = [0; 11];
    let mut power = 1;
    let mut i = 1;
    while i < rcon.len() {
        rcon[i] = power;
        power = gf_mul(power, 2);
        i += 1;
    }
    rcon
};

/// The S-box by its definition: inverse in GF(2^8), then the affine map (FIPS 197, section 5.1.1).
static SBOX: [u8; 256] = {
    let mut sbox = [0; 256];
    let mut x = 0;
    while x < 256 {
        // x^254 is the inverse of x, and 0 for 0.
        let mut inverse = 1;
        let mut n = 0;
        while n < 254 {
            inverse = gf_mul(inverse, x as u8);
            n += 1;
        }
        sbox[x] = inverse
            ^ inverse.rotate_left(1)
            ^ inverse.rotate_left(2)
            ^ inverse.rotate_left(3)
            ^ inverse.rotate_left(4)
            ^ 0x63;
        x += 1;
    }
    sbox
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_s_box_has_the_values_of_fips_197_figure_7() {
        assert_eq!(
            [SBOX[0x00], SBOX[0x53], SBOX[0x9a], SBOX[0xff]],
            [0x63, 0xed, 0xb8, 0x16]
        );
    }

    #[test]
    fn expansion_gives_the_last_words_of_fips_197_appendix_a() {
        for (key, last_word) in [
            ("2b7e151628aed2a6abf7158809cf4f3c", "b6630ca6"),
            (
                "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
                "01002202",
            ),
            (
                "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
                "706c631e",
            ),
        ] {
            let schedule = Schedule::expand(&hex::decode(key).unwrap()).unwrap();
            let bytes = schedule.as_bytes();
            assert_eq!(hex::encode(&bytes[bytes.len() - 4..]), last_word);
        }
    }

    #[test]
    fn the_inverse_schedule_of_fips_197_appendix_c_1_has_its_ik_sch_values() {
        let key = hex::decode("000102030405060708090a0b0c0d0e0f").unwrap();
        let inverse = Schedule::expand(&key).unwrap().equivalent_inverse();
        let keys: Vec<String> = inverse.round_keys().map(hex::encode).collect();
        assert_eq!(keys[0], "000102030405060708090a0b0c0d0e0f");
        assert_eq!(keys[1], "8c56dff0825dd3f9805ad3fc8659d7fd");
        assert_eq!(keys[9], "13aa29be9c8faff6f770f58000f7bf03");
        assert_eq!(keys[10], "13111d7fe3944a17f307a78b4d2b30c5");
    }

    #[test]
    fn any_nk_consecutive_words_give_back_the_schedule_and_mixing_undoes_inverse_mixing() {
        proptest::proptest!(|(key: [u8; 32], size in 0usize..3, first in 0usize..53)| {
            let size = KeySize::ALL[size];
            let schedule = Schedule::expand(&key[..size.key_len()]).unwrap();
            let first = first % (size.schedule_len() / 4 - size.words() + 1);
            let words: Vec<_> = (first..first + size.words()).map(|i| schedule.word(i)).collect();
            let again = Schedule::from_words(first, &words).unwrap();
            assert_eq!(again.as_bytes(), schedule.as_bytes());
            let inverse = schedule.equivalent_inverse();
            assert_eq!(mix_column(inverse.word(5)), schedule.word(5));
        });
        assert!(Schedule::from_words(41, &[[0; 4]; 4]).is_none());
        assert!(Schedule::from_words(0, &[[0; 4]; 5]).is_none());
    }

    #[test]
    fn expansion_agrees_with_what_another_implementation_encrypts_with() {
        use ::aes::cipher::{BlockEncrypt, KeyInit};
        // AES by its round functions alone, so that every byte of the schedule matters.
        fn encrypt(schedule: &Schedule, block: [u8; 16]) -> [u8; 16] {
            let keys: Vec<&[u8]> = schedule.round_keys().collect();
            let add = |s: [u8; 16], k: &[u8]| std::array::from_fn(|i| s[i] ^ k[i]);
            let mut state: [u8; 16] = add(block, keys[0]);
            for (round, key) in keys.iter().enumerate().skip(1) {
                let shifted: [u8; 16] =
                    std::array::from_fn(|i| sub_byte(state[(i + 4 * (i % 4)) % 16]));
                let mixed = if round == keys.len() - 1 {
                    shifted
                } else {
                    std::array::from_fn(|i| {
                        let column = &shifted[i / 4 * 4..][..4];
                        [2u8, 3, 1, 1]
                            .iter()
                            .enumerate()
                            .fold(0, |sum, (j, &f)| sum ^ gf_mul(column[(i % 4 + j) % 4], f))
                    })
                };
                state = add(mixed, key);
            }
            state
        }
        proptest::proptest!(|(key: [u8; 32], block: [u8; 16])| {
            let ours = encrypt(&Schedule::expand(&key).unwrap(), block);
            let mut theirs = block.into();
            ::aes::Aes256::new(&key.into()).encrypt_block(&mut theirs);
            assert_eq!(ours, <[u8; 16]>::from(theirs));
            let key = &key[..24];
            let ours = encrypt(&Schedule::expand(key).unwrap(), block);
            let mut theirs = block.into();
            ::aes::Aes192::new_from_slice(key).unwrap().encrypt_block(&mut theirs);
            assert_eq!(ours, <[u8; 16]>::from(theirs));
        });
    }
}
