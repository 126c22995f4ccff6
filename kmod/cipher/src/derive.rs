// SPDX-License-Identifier: GPL-2.0-or-later

//! F, the one function of M, as far as it is public: what the registers' AES is applied to.
//!
//! F(purpose, mode, bits, index, context) = E_M(first 16 bytes of SHA-256([`header`] context)), with
//! E_M = AES-256 under M. Everything here is computed outside of the registers, once, from public
//! values.

use core::fmt;

/// First bytes of every [`header`].
pub const VERSION: &[u8; 10] = b"tresor v1\0";

/// What an output of F is for.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The check value, which is public and names M.
    Check = b'k',
    /// A volume's key; the context is the blob.
    VolumeKey = b'v',
    /// The key that encrypts sector numbers for ESSIV; the context is the blob.
    EssivKey = b'e',
    /// The key of a LUKS2 keyslot; the context is the LUKS UUID, 36 lower-case characters.
    SlotKey = b's',
    /// What is added to both shares; the context is the CPU (LE32) and 16 fresh random bytes.
    Refresh = b'r',
    /// The pad under which M goes to another CPU; the context is 16 fresh random bytes.
    Transport = b't',
}

/// The mode of operation that an output of F serves.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// None: the output is no key of a mode.
    None = 0,
    /// XTS (IEEE 1619).
    Xts = 1,
    /// CBC.
    Cbc = 2,
    /// Counter mode.
    Ctr = 3,
    /// Single blocks.
    Ecb = 4,
    /// CBC with an encrypted salt-sector IV.
    EssivCbc = 5,
}

/// What E_M is applied to. Public.
pub type Input = [u8; 16];

/// SHA-256 (FIPS 180-4), supplied by the caller: the kernel has one, tests bring theirs.
pub trait Sha256 {
    /// Digest of the concatenation of `parts`.
    fn digest(parts: &[&[u8]]) -> [u8; 32];
}

/// The fixed-length start of what is hashed: `"tresor v1" 00 purpose mode bits(LE16) index(LE16)`.
///
/// `bits` is the length of the blob in bits, 0 without blob, 256 for slot, refresh and transport;
/// `index` is the number of the 16-byte output block.
pub const fn header(purpose: Purpose, mode: Mode, bits: u16, index: u16) -> [u8; 16] {
    let [v0, v1, v2, v3, v4, v5, v6, v7, v8, v9] = *VERSION;
    let [b0, b1] = bits.to_le_bytes();
    let [i0, i1] = index.to_le_bytes();
    [
        v0,
        v1,
        v2,
        v3,
        v4,
        v5,
        v6,
        v7,
        v8,
        v9,
        purpose as u8,
        mode as u8,
        b0,
        b1,
        i0,
        i1,
    ]
}

/// The input of F for these arguments.
pub fn input<H: Sha256>(
    purpose: Purpose,
    mode: Mode,
    bits: u16,
    index: u16,
    context: &[u8],
) -> Input {
    let digest = H::digest(&[&header(purpose, mode, bits, index), context]);
    let [input @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = digest;
    input
}

/// The input of the check value: [`input`] of (`Check`, `None`, 0, 0, ""). `aesni/xts.S` has a copy.
pub const CHECK_INPUT: Input = [
    0x54, 0x26, 0xcc, 0x8e, 0xb5, 0xc5, 0x9e, 0xda, 0x79, 0x38, 0xd6, 0x85, 0x11, 0xe7, 0xee, 0xf9,
];

/// F('k', 0, 0, 0, ""): public, names M. Its first 8 bytes in hex are the key id.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CheckValue(pub [u8; 16]);

/// A blob of a length that no XTS key has: neither 32 nor 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobLength(
    /// The length in bytes.
    pub usize,
);

impl fmt::Display for BlobLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an XTS blob is 32 or 64 bytes, not {}", self.0)
    }
}

/// What identifies the key of an XTS volume. All of it is public: the key itself is E_M of these
/// inputs, and is computed in registers in every call of [`xts`](super::xts).
#[repr(C)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XtsKey {
    // Layout known to aesni/xts.S.
    inputs: [Input; 4],
    check: CheckValue,
    size: XtsSize,
}

/// Which AES the two halves of an XTS key are for.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum XtsSize {
    Aes128,
    Aes256,
}

impl XtsKey {
    /// The key that `blob` stands for under the M with this check value: F('v', 1, bits, i, blob) is
    /// the i-th 16-byte block of K1 || K2, K1 encrypting data and K2 the IV (IEEE 1619 section 5.1).
    ///
    /// 32 bytes of blob make XTS-AES-128, 64 make XTS-AES-256.
    ///
    /// # Errors
    /// [`BlobLength`] for any other length.
    pub fn new<H: Sha256>(check: CheckValue, blob: &[u8]) -> Result<Self, BlobLength> {
        let (size, bits) = match blob.len() {
            32 => (XtsSize::Aes128, 256),
            64 => (XtsSize::Aes256, 512),
            other => return Err(BlobLength(other)),
        };
        let block = |index| input::<H>(Purpose::VolumeKey, Mode::Xts, bits, index, blob);
        let inputs = match size {
            XtsSize::Aes128 => [block(0), block(1), [0; 16], [0; 16]],
            XtsSize::Aes256 => [block(0), block(1), block(2), block(3)],
        };
        Ok(Self {
            inputs,
            check,
            size,
        })
    }

    /// The check value of the M that the key belongs to.
    pub fn check(&self) -> &CheckValue {
        &self.check
    }

    pub(super) fn size(&self) -> XtsSize {
        self.size
    }
}

const _: () = assert!(core::mem::offset_of!(XtsKey, inputs) == 0);
const _: () = assert!(core::mem::offset_of!(XtsKey, check) == 64);
