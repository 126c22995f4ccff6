// SPDX-License-Identifier: GPL-2.0-or-later

//! One section of a request: the way into the variants' routines.

use super::derive::Mode;
use super::engine::Engine;
use super::gf128::{power_of_x, Element, ONE};
use super::routines;
use super::share::Share;
use super::volume_key::VolumeKey;
use super::NotHeld;

/// Most bytes that one call of [`crypt`] takes: how long interrupts may be off.
pub const SECTION_MAX: usize = 4096;

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Plaintext to ciphertext.
    Encrypt,
    /// Ciphertext to plaintext.
    Decrypt,
}

impl Mode {
    /// Whether a section may be `len` bytes long: from 1 to [`SECTION_MAX`], and in ECB, CBC and ESSIV a
    /// multiple of 16; in XTS a multiple of 16 or, at the end of a request, 17 or more (ciphertext
    /// stealing); in counter mode, at the end of a request, anything.
    pub const fn allows(self, len: usize) -> bool {
        let whole = len % 16 == 0;
        len != 0
            && len <= SECTION_MAX
            && match self {
                Self::None => false,
                Self::Xts => whole || len > 16,
                Self::Ctr => true,
                Self::Cbc | Self::Ecb | Self::EssivCbc => whole,
            }
    }
}

/// Where a section starts. Layout known to aesni/request.S.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct Start {
    /// XTS: the data unit's IV. Counter mode: the counter block of the section's first block. CBC: the
    /// block of ciphertext before the section, or the IV. ESSIV: the same, or the IV not encrypted yet.
    iv: [u8; 16],
    /// XTS: what the first tweak of the data unit is multiplied by. Other modes: zero.
    power: Element,
    /// ESSIV: 1 if the IV is still to be encrypted. Other modes: zero.
    first: u64,
}

impl Start {
    /// For block `block` of a request with this IV; see [`crypt`].
    #[inline(always)]
    pub fn new(mode: Mode, iv: &[u8; 16], block: u64) -> Self {
        let mut start = Self {
            iv: *iv,
            power: [0; 2],
            first: 0,
        };
        match mode {
            // Nearly every request is one section.
            Mode::Xts if block == 0 => start.power = ONE,
            Mode::Xts => start.power = power_of_x(block),
            // The counter is the whole block, big-endian (SP 800-38A appendix B.1 with m = 128).
            Mode::Ctr => {
                let counter = u128::from_be_bytes(*iv).wrapping_add(u128::from(block));
                start.iv = counter.to_be_bytes();
            }
            Mode::EssivCbc => start.first = u64::from(block == 0),
            Mode::Cbc | Mode::Ecb | Mode::None => {}
        }
        start
    }
}

/// Encrypts or decrypts one section of a request under the key that `key` stands for, which is computed
/// in registers and gone when this returns.
///
/// `iv` and `block`, the index within the request of the section's first 16-byte block:
///
/// | mode | |
/// |---|---|
/// | XTS | `iv` is the data unit's, as in `xts(aes)`; the tweak of block b is E_K2(iv) times x^b (IEEE 1619-2018 section 5.3.1) |
/// | CTR | `iv` is the counter block of the request's first block; the section starts at `iv` + `block`, a sum of 128 bits, big-endian |
/// | CBC | `iv` is the block of ciphertext before the section, for the first section the IV; `block` is not used |
/// | ESSIV | if `block` is 0, `iv` is the request's and is encrypted under the IV key first; else as in CBC |
/// | ECB | neither is used |
///
/// `len` is what [`Mode::allows`]; with another one nothing happens and the answer is `NotHeld`. Sections
/// of XTS and CTR other than a request's last are multiples of 16 bytes. In XTS the farther `block` is
/// from the start, the longer it takes, up to about a microsecond; with [`Engine::VaesAvx512`] some 10 ns,
/// wherever it is.
///
/// # Errors
/// [`NotHeld`] if the registers hold no M with the key's check value: `dst` is untouched.
///
/// # Safety
/// The CPU supports `engine`. Runs inside an FPU section, with interrupts off, on the CPU that `share`
/// belongs to (in user space: nobody else uses `share`). `src` is readable and `dst` writable for
/// `len` bytes; they are equal or do not overlap.
#[allow(clippy::too_many_arguments)] // one request, as the crypto API splits it
#[inline]
pub unsafe fn crypt(
    engine: Engine,
    direction: Direction,
    share: &Share,
    key: &VolumeKey,
    iv: &[u8; 16],
    block: u64,
    dst: *mut u8,
    src: *const u8,
    len: usize,
) -> Result<(), NotHeld> {
    // A way of its own for what nearly all requests are, which knows of nothing else.
    // SAFETY: as promised by the caller.
    unsafe {
        match (key.mode(), block) {
            (Mode::Xts, 0) => section(
                engine,
                Mode::Xts,
                direction,
                share,
                key,
                iv,
                0,
                dst,
                src,
                len,
            ),
            (mode, block) => other(
                engine, mode, direction, share, key, iv, block, dst, src, len,
            ),
        }
    }
}

/// [`crypt`] itself, of which a caller who knows mode and block compiles what he needs.
///
/// # Safety
/// As for [`crypt`]; `mode` is the key's.
#[allow(clippy::too_many_arguments)]
#[inline(always)]
unsafe fn section(
    engine: Engine,
    mode: Mode,
    direction: Direction,
    share: &Share,
    key: &VolumeKey,
    iv: &[u8; 16],
    block: u64,
    dst: *mut u8,
    src: *const u8,
    len: usize,
) -> Result<(), NotHeld> {
    if !mode.allows(len) {
        return Err(NotHeld);
    }
    let start = Start::new(mode, iv, block);
    let len = len as u64;
    // SAFETY: the caller's promises are the routines', and `len` was checked.
    match unsafe { routines::run(engine, mode, direction, share, key, &start, dst, src, len) } {
        0 => Ok(()),
        _ => Err(NotHeld),
    }
}

/// All of it, for whoever knows neither; out of the way of the one that is often gone.
///
/// # Safety
/// As for [`crypt`]; `mode` is the key's.
#[allow(clippy::too_many_arguments)]
#[inline(never)]
unsafe fn other(
    engine: Engine,
    mode: Mode,
    direction: Direction,
    share: &Share,
    key: &VolumeKey,
    iv: &[u8; 16],
    block: u64,
    dst: *mut u8,
    src: *const u8,
    len: usize,
) -> Result<(), NotHeld> {
    // SAFETY: as promised by the caller.
    unsafe {
        section(
            engine, mode, direction, share, key, iv, block, dst, src, len,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_wraps_at_the_end_of_its_128_bits() {
        let at = |iv: u128, block| Start::new(Mode::Ctr, &iv.to_be_bytes(), block).iv;
        assert_eq!(at(u128::MAX, 1), [0; 16]);
        assert_eq!(
            at(u128::MAX, u64::MAX),
            (u128::from(u64::MAX) - 1).to_be_bytes()
        );
        assert_eq!(at(u128::from(u64::MAX), 1), (1u128 << 64).to_be_bytes());
    }
}
