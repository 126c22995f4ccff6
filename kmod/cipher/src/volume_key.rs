// SPDX-License-Identifier: GPL-2.0-or-later

//! What identifies the key of a volume: public, and all that is kept of it.

use super::derive::{input, CheckValue, Input, Mode, Purpose, Sha256};
use core::fmt;

/// Which AES a key is for; of XTS, which each of its two keys is for.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySize {
    /// AES-128.
    Aes128,
    /// AES-192. Not for XTS (IEEE 1619-2018 section 5.1 has none).
    Aes192,
    /// AES-256.
    Aes256,
}

impl KeySize {
    /// All sizes.
    pub const ALL: [Self; 3] = [Self::Aes128, Self::Aes192, Self::Aes256];

    /// Bytes of one AES key.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes192 => 24,
            Self::Aes256 => 32,
        }
    }

    /// The size of the key, or, in XTS, of each of both, for which a blob of `len` bytes stands.
    ///
    /// # Errors
    /// [`BlobLength`] if the mode has no key of that length, or is none that encrypts.
    pub const fn of_blob(mode: Mode, len: usize) -> Result<Self, BlobLength> {
        match (mode, len) {
            (Mode::Xts, 32) => Ok(Self::Aes128),
            (Mode::Xts, 64) => Ok(Self::Aes256),
            (Mode::Xts | Mode::None, _) => Err(BlobLength { mode, len }),
            (_, 16) => Ok(Self::Aes128),
            (_, 24) => Ok(Self::Aes192),
            (_, 32) => Ok(Self::Aes256),
            _ => Err(BlobLength { mode, len }),
        }
    }
}

/// A blob of a length that no key of the mode has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobLength {
    /// The mode that it was for.
    pub mode: Mode,
    /// The length in bytes.
    pub len: usize,
}

impl fmt::Display for BlobLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mode, len) = (self.mode, self.len);
        match mode {
            Mode::None => write!(f, "no blob makes a key that is for no mode"),
            Mode::Xts => write!(f, "a blob for {mode} is 32 or 64 bytes, not {len}"),
            _ => write!(f, "a blob for {mode} is 16, 24 or 32 bytes, not {len}"),
        }
    }
}

/// What identifies the key of a volume. All of it is public: the key itself is E_M of these inputs, and
/// is computed in registers in every call of [`crypt`](super::crypt).
#[repr(C)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeKey {
    // Layout known to aesni/derive.S. XTS: of K1, then of K2, as many as they have 16-byte blocks.
    // Other modes: of K in 0 and, if it is longer than 16 bytes, 1; of the ESSIV key in 2 and 3.
    // Those that are not needed are zero.
    inputs: [Input; 4],
    check: CheckValue,
    mode: Mode,
    size: KeySize,
}

impl VolumeKey {
    /// The key that `blob` stands for under the M with this check value.
    ///
    /// XTS: F('v', 1, bits, i, blob) is the i-th 16-byte block of K1 || K2, K1 encrypting data and K2 the
    /// IV (IEEE 1619-2018 section 5.1); 32 bytes of blob make XTS-AES-128, 64 make XTS-AES-256.
    ///
    /// Other modes: F('v', mode, bits, i, blob) is the i-th 16-byte block of K; a blob of 16, 24 or 32
    /// bytes makes a key of as many, that of 24 being the first 24 bytes of two blocks. The key that
    /// encrypts the IV of ESSIV is F('e', 5, bits, i, blob) for i = 0 and 1, AES-256 whatever K is.
    ///
    /// # Errors
    /// [`BlobLength`] for any other length.
    pub fn new<H: Sha256>(mode: Mode, check: CheckValue, blob: &[u8]) -> Result<Self, BlobLength> {
        let size = KeySize::of_blob(mode, blob.len())?;
        // At most 512.
        let bits = 8 * blob.len() as u16;
        let block = |purpose, index| input::<H>(purpose, mode, bits, index, blob);
        let mut inputs = [[0; 16]; 4];
        for (index, input) in (0..).zip(inputs.iter_mut()).take(blob.len().div_ceil(16)) {
            *input = block(Purpose::VolumeKey, index);
        }
        if let (Mode::EssivCbc, [_, _, first, second]) = (mode, &mut inputs) {
            *first = block(Purpose::EssivKey, 0);
            *second = block(Purpose::EssivKey, 1);
        }
        Ok(Self {
            inputs,
            check,
            mode,
            size,
        })
    }

    /// The check value of the M that the key belongs to.
    pub fn check(&self) -> &CheckValue {
        &self.check
    }

    /// The mode that it is for.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Which AES it is for.
    pub fn size(&self) -> KeySize {
        self.size
    }
}

const _: () = assert!(core::mem::offset_of!(VolumeKey, inputs) == 0);
const _: () = assert!(core::mem::offset_of!(VolumeKey, check) == 64);
