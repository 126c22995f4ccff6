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

impl Mode {
    /// Those that encrypt.
    pub const ALL: [Self; 5] = [Self::Xts, Self::Cbc, Self::Ctr, Self::Ecb, Self::EssivCbc];

    /// The name, as the crypto API has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Xts => "xts",
            Self::Cbc => "cbc",
            Self::Ctr => "ctr",
            Self::Ecb => "ecb",
            Self::EssivCbc => "essiv",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
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
