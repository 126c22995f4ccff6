// SPDX-License-Identifier: GPL-2.0-or-later

//! The classical design, for comparison alone: nothing of a key outlives a block, so that each block
//! expands its key again.
//!
//! TRESOR (2011) gave the kernel a cipher for single blocks, which for each of them read the key from
//! the debug registers, computed its round keys with AESKEYGENASSIST, and ran the rounds; a generic
//! XTS around it kept the tweak in memory. [`Held::VolumeKey`] is that. With [`Held::MasterKey`] the
//! registers hold M, as ours do, and the same rule makes every block expand M, derive the volume's
//! key from it, and expand that.
//!
//! Written with the compiler's intrinsics, this keeps no promise of where a value lives. The shares
//! are read from memory once for each block, in place of the debug registers.

// Which of the intrinsics are unsafe differs between versions of Rust.
#![allow(unused_unsafe)]

use std::arch::x86_64::{
    __m128i, _mm_aesdec_si128, _mm_aesdeclast_si128, _mm_aesenc_si128, _mm_aesenclast_si128,
    _mm_aesimc_si128, _mm_aeskeygenassist_si128, _mm_loadu_si128, _mm_setzero_si128,
    _mm_shuffle_epi32, _mm_slli_si128, _mm_storeu_si128, _mm_xor_si128,
};
use std::ptr;

use tresor_cipher::{input, Direction, Mode, Purpose};

use super::codes::{Code, Hash, M, S};

/// What the registers hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// The key of the data itself, as with TRESOR. Of XTS this is K1 and K2.
    VolumeKey,
    /// M.
    MasterKey,
}

/// Two shares of up to 64 bytes, and what is public.
pub(crate) struct PerBlock {
    held: Held,
    direction: Direction,
    registers: [u8; 64],
    share: [u8; 64],
    /// What E_M makes K1 and K2 from: a block of either at 0 and 2, with AES-256 also at 1 and 3.
    inputs: [[u8; 16]; 4],
    aes256: bool,
}

impl PerBlock {
    /// `key` is K1 || K2 under the blob, of 32 or 64 bytes both.
    pub(crate) fn new(held: Held, direction: Direction, blob: &[u8], key: &[u8]) -> Self {
        let aes256 = key.len() == 64;
        let mut whole = [0; 64];
        match held {
            Held::VolumeKey => {
                let half = key.len() / 2;
                whole[..half].copy_from_slice(&key[..half]);
                whole[32..32 + half].copy_from_slice(&key[half..]);
            }
            Held::MasterKey => whole[..32].copy_from_slice(&M),
        }
        let share = std::array::from_fn(|i| S[i % 32]);
        let bits = 8 * blob.len() as u16;
        let inputs = std::array::from_fn(|i| {
            let index = if aes256 { i } else { i / 2 };
            input::<Hash>(Purpose::VolumeKey, Mode::Xts, bits, index as u16, blob)
        });
        Self {
            held,
            direction,
            registers: std::array::from_fn(|i| whole[i] ^ share[i]),
            share,
            inputs,
            aes256,
        }
    }

    /// One of the keys in the registers, put together from its shares.
    // Volatile, as the debug registers are: the compiler must not keep it from block to block.
    #[inline(always)]
    fn read(&self, at: usize) -> [__m128i; 2] {
        [at, at + 16].map(|at| {
            let half = |bytes: &[u8; 64]| {
                // SAFETY: 16 bytes from 0, 16, 32 or 48 are inside of 64; __m128i is 16 bytes
                // without padding, and the address was made for less alignment.
                unsafe { ptr::read_volatile(ptr::from_ref(&bytes[at]).cast::<[u64; 2]>()) }
            };
            let (a, b) = (half(&self.registers), half(&self.share));
            // SAFETY: both are 16 bytes of plain data.
            unsafe { std::mem::transmute::<[u64; 2], __m128i>([a[0] ^ b[0], a[1] ^ b[1]]) }
        })
    }

    /// K1 (`which` 0) or K2 (`which` 1).
    ///
    /// # Safety
    /// The CPU has AES-NI.
    #[inline]
    #[target_feature(enable = "aes")]
    unsafe fn volume_key(&self, which: usize) -> [__m128i; 2] {
        if self.held == Held::VolumeKey {
            return self.read(32 * which);
        }
        // SAFETY: the caller's promise; inputs have 16 bytes.
        unsafe {
            let keys = expand256(self.read(0));
            let first = encrypt(&keys, load(&self.inputs[2 * which]));
            if !self.aes256 {
                return [first, first];
            }
            [first, encrypt(&keys, load(&self.inputs[2 * which + 1]))]
        }
    }

    /// The single-block cipher: all that it needs of a key is computed for this block.
    ///
    /// # Safety
    /// The CPU has AES-NI.
    #[inline(never)]
    #[target_feature(enable = "aes")]
    unsafe fn block(&self, which: usize, direction: Direction, block: __m128i) -> __m128i {
        // SAFETY: the caller's promise.
        unsafe {
            let key = self.volume_key(which);
            match (self.aes256, direction) {
                (true, Direction::Encrypt) => encrypt(&expand256(key), block),
                (true, Direction::Decrypt) => decrypt(&expand256(key), block),
                (false, Direction::Encrypt) => encrypt(&expand128(key[0]), block),
                (false, Direction::Decrypt) => decrypt(&expand128(key[0]), block),
            }
        }
    }
}

impl Code for PerBlock {
    fn request(&mut self, iv: &[u8; 16], dst: &mut [u8], src: &[u8]) {
        // SAFETY: the CPU has AES-NI, without which no engine runs; all slices have 16 bytes.
        unsafe {
            let mut tweak = [0; 16];
            store(&mut tweak, self.block(1, Direction::Encrypt, load(iv)));
            for (dst, src) in dst.chunks_exact_mut(16).zip(src.chunks_exact(16)) {
                let mask = load(&tweak);
                let text = _mm_xor_si128(load(src), mask);
                store(
                    dst,
                    _mm_xor_si128(self.block(0, self.direction, text), mask),
                );
                let number = u128::from_le_bytes(tweak);
                let carry = if number >> 127 == 0 { 0 } else { 0x87 };
                tweak = (number << 1 ^ carry).to_le_bytes();
            }
        }
    }
}

/// # Safety
/// There are 16 bytes.
#[inline(always)]
unsafe fn load(bytes: &[u8]) -> __m128i {
    debug_assert_eq!(bytes.len(), 16);
    // SAFETY: the caller's promise.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// # Safety
/// There are 16 bytes.
#[inline(always)]
unsafe fn store(bytes: &mut [u8], value: __m128i) {
    debug_assert_eq!(bytes.len(), 16);
    // SAFETY: the caller's promise.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), value) }
}

/// A word of AESKEYGENASSIST for `$last`, in all four places: 0xff chooses the one with RotWord and
/// the round constant, 0xaa the one without. Then the running xor of FIPS 197, section 5.2, over
/// the round key a period before, and that word.
macro_rules! round_key {
    ($before:expr, $last:expr, $rcon:literal, $word:literal) => {{
        let word = _mm_shuffle_epi32(_mm_aeskeygenassist_si128($last, $rcon), $word);
        let key = _mm_xor_si128($before, _mm_slli_si128($before, 4));
        let key = _mm_xor_si128(key, _mm_slli_si128(key, 8));
        _mm_xor_si128(key, word)
    }};
}

/// KeyExpansion of AES-256 (FIPS 197, section 5.2), one AESKEYGENASSIST for each round key.
///
/// # Safety
/// The CPU has AES-NI.
#[inline]
#[target_feature(enable = "aes")]
unsafe fn expand256(key: [__m128i; 2]) -> [__m128i; 15] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut k = [_mm_setzero_si128(); 15];
        (k[0], k[1]) = (key[0], key[1]);
        macro_rules! pairs {
            ($($at:literal: $rcon:literal,)*) => {$(
                k[$at] = round_key!(k[$at - 2], k[$at - 1], $rcon, 0xff);
                k[$at + 1] = round_key!(k[$at - 1], k[$at], 0, 0xaa);
            )*};
        }
        pairs!(2: 1, 4: 2, 6: 4, 8: 8, 10: 16, 12: 32,);
        k[14] = round_key!(k[12], k[13], 64, 0xff);
        k
    }
}

/// KeyExpansion of AES-128.
///
/// # Safety
/// The CPU has AES-NI.
#[inline]
#[target_feature(enable = "aes")]
unsafe fn expand128(key: __m128i) -> [__m128i; 11] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut k = [_mm_setzero_si128(); 11];
        k[0] = key;
        macro_rules! each {
            ($($at:literal: $rcon:literal,)*) => {$(
                k[$at] = round_key!(k[$at - 1], k[$at - 1], $rcon, 0xff);
            )*};
        }
        each!(1: 1, 2: 2, 3: 4, 4: 8, 5: 16, 6: 32, 7: 64, 8: 128, 9: 0x1b, 10: 0x36,);
        k
    }
}

/// # Safety
/// The CPU has AES-NI.
#[inline]
#[target_feature(enable = "aes")]
unsafe fn encrypt<const N: usize>(keys: &[__m128i; N], block: __m128i) -> __m128i {
    // SAFETY: the caller's promise.
    unsafe {
        let mut state = _mm_xor_si128(block, keys[0]);
        for key in &keys[1..N - 1] {
            state = _mm_aesenc_si128(state, *key);
        }
        _mm_aesenclast_si128(state, keys[N - 1])
    }
}

/// The equivalent inverse cipher (FIPS 197, section 5.3.5).
///
/// # Safety
/// The CPU has AES-NI.
#[inline]
#[target_feature(enable = "aes")]
unsafe fn decrypt<const N: usize>(keys: &[__m128i; N], block: __m128i) -> __m128i {
    // SAFETY: the caller's promise.
    unsafe {
        let mut state = _mm_xor_si128(block, keys[N - 1]);
        for key in keys[1..N - 1].iter().rev() {
            state = _mm_aesdec_si128(state, _mm_aesimc_si128(*key));
        }
        _mm_aesdeclast_si128(state, keys[0])
    }
}
