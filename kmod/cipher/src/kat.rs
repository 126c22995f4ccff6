// SPDX-License-Identifier: GPL-2.0-or-later

//! Known answers: what the module makes the engine compute, through the real debug registers of one
//! CPU, before it offers anything.
//!
//! The answers were computed with RustCrypto's ciphers and modes from the definition of F;
//! `tests/known_answers.rs` computes them again.

use super::{
    arm, check, crypt, give_masked, give_pad, input, peek_check, refresh, slot_key, take_masked,
    take_pad, wipe, CheckValue, Direction, Engine, Input, KeySize, Line, Mode, NotHeld, Purpose,
    Sha256, Share, VolumeKey, SECTION_MAX,
};
use core::fmt;

/// The master key of the answers.
pub const KEY: [u8; 32] = [
    0x74, 0x72, 0x65, 0x73, 0x6f, 0x72, 0x20, 0x6b, 0x6e, 0x6f, 0x77, 0x6e, 0x20, 0x61, 0x6e, 0x73,
    0x77, 0x65, 0x72, 0x73, 0xff, 0x00, 0x80, 0x01, 0x7f, 0xfe, 0x55, 0xaa, 0x33, 0xcc, 0x0f, 0xf0,
];
/// Blob: as many of its first bytes as the mode and size wants.
pub const BLOB: [u8; 64] = pattern(0x51);
/// IV of the request.
pub const IV: [u8; 16] = pattern(0xc3);
/// LUKS UUID of the slot key.
pub const UUID: &[u8; 36] = b"0fb3d2f1-7a44-4d3a-9a1e-5c0de5c0de00";

/// [`KEY`]'s check value.
pub const CHECK: CheckValue = CheckValue([
    0x08, 0xf5, 0x52, 0x39, 0xbf, 0x69, 0x07, 0x56, 0x65, 0xdc, 0x17, 0x7f, 0x29, 0x40, 0x46, 0x34,
]);
/// What one mode and size makes of [`data`].
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The mode.
    pub mode: Mode,
    /// Which AES.
    pub size: KeySize,
    /// SHA-256 of the ciphertext of one request.
    pub ciphertext: [u8; 32],
}

/// Bytes of a request whose mode allows it, and of one of whole blocks.
const LENGTHS: [usize; 2] = [1111, 1104];

impl Answer {
    /// Bytes of the request: with a part of a block if the mode has that.
    pub const fn len(&self) -> usize {
        let [with_part, whole] = LENGTHS;
        if self.mode.allows(with_part) {
            with_part
        } else {
            whole
        }
    }

    /// Bytes of the blob, the first of [`BLOB`].
    pub const fn blob_len(&self) -> usize {
        match self.mode {
            Mode::Xts => 2 * self.size.bytes(),
            _ => self.size.bytes(),
        }
    }
}

const fn answer(mode: Mode, size: KeySize, ciphertext: [u8; 32]) -> Answer {
    Answer {
        mode,
        size,
        ciphertext,
    }
}

/// All modes and sizes.
pub const ANSWERS: [Answer; 14] = [
    answer(
        Mode::Xts,
        KeySize::Aes128,
        [
            0xad, 0x33, 0x2a, 0x2a, 0xd1, 0x6f, 0x69, 0xc2, 0x9c, 0x72, 0x8f, 0x89, 0x6a, 0xac,
            0xa8, 0x5b, 0xcf, 0xc5, 0x32, 0x05, 0x74, 0x5c, 0x7b, 0xe2, 0xdd, 0xe7, 0x50, 0xcf,
            0xba, 0x21, 0xba, 0x29,
        ],
    ),
    answer(
        Mode::Xts,
        KeySize::Aes256,
        [
            0x4b, 0xef, 0xb7, 0x6c, 0x86, 0x48, 0x28, 0xfe, 0x57, 0xdc, 0xf1, 0x66, 0xbd, 0x4e,
            0x22, 0x06, 0x61, 0x10, 0x25, 0x41, 0x92, 0x75, 0x5d, 0x99, 0x55, 0xe6, 0x8d, 0xc7,
            0x31, 0x7e, 0x0d, 0x13,
        ],
    ),
    answer(
        Mode::Cbc,
        KeySize::Aes128,
        [
            0x0f, 0x91, 0x8b, 0xe6, 0xec, 0xcd, 0xfc, 0x45, 0xc9, 0x5c, 0xb3, 0x0f, 0x3a, 0x73,
            0x7a, 0x8e, 0x59, 0x0a, 0xc1, 0xcc, 0x4b, 0x01, 0x18, 0x6c, 0x3a, 0xe4, 0xaa, 0x86,
            0xb7, 0xd4, 0xdf, 0x85,
        ],
    ),
    answer(
        Mode::Cbc,
        KeySize::Aes192,
        [
            0xa3, 0xcc, 0xd5, 0xbd, 0x4d, 0x99, 0x00, 0xc7, 0x96, 0xb3, 0x33, 0xfe, 0xa1, 0xcc,
            0xdc, 0xe8, 0x4e, 0xf6, 0x55, 0x87, 0x18, 0x84, 0x4b, 0x0b, 0x9f, 0xb8, 0xf7, 0x8f,
            0xa2, 0xd2, 0x86, 0x8a,
        ],
    ),
    answer(
        Mode::Cbc,
        KeySize::Aes256,
        [
            0xf8, 0xc9, 0x49, 0x31, 0xad, 0xdb, 0x04, 0x1f, 0x4f, 0x75, 0x75, 0x4e, 0x5b, 0x42,
            0x15, 0x82, 0x79, 0xa9, 0xaa, 0xd3, 0x49, 0x86, 0x8b, 0x9e, 0x83, 0xe6, 0x84, 0x9f,
            0xa6, 0x50, 0x40, 0x55,
        ],
    ),
    answer(
        Mode::Ctr,
        KeySize::Aes128,
        [
            0x39, 0xe7, 0xd2, 0x7a, 0xd5, 0x4f, 0x4f, 0x9c, 0x4c, 0x56, 0x0a, 0xab, 0x35, 0x0b,
            0x22, 0x42, 0xab, 0x1e, 0x70, 0x6f, 0x20, 0x9d, 0xd9, 0xfc, 0xc6, 0x0d, 0xc0, 0x10,
            0x22, 0xf2, 0xa2, 0xb5,
        ],
    ),
    answer(
        Mode::Ctr,
        KeySize::Aes192,
        [
            0x0d, 0x45, 0x9d, 0x81, 0x69, 0x01, 0x97, 0x49, 0x23, 0x52, 0xc9, 0x98, 0x9c, 0x4c,
            0xa5, 0x09, 0xac, 0x97, 0xd0, 0xc6, 0x2a, 0x92, 0x4a, 0xdf, 0x8f, 0xbe, 0xd1, 0xeb,
            0x10, 0x0d, 0x30, 0xff,
        ],
    ),
    answer(
        Mode::Ctr,
        KeySize::Aes256,
        [
            0x42, 0x2e, 0x64, 0x6d, 0xd4, 0x3f, 0x72, 0xcd, 0x4b, 0x60, 0xd2, 0x71, 0x01, 0xa5,
            0x6b, 0x63, 0x29, 0xb2, 0xa7, 0x3a, 0x99, 0x17, 0x8a, 0x6c, 0x34, 0x0f, 0xce, 0x42,
            0xfc, 0xc6, 0x51, 0x4c,
        ],
    ),
    answer(
        Mode::Ecb,
        KeySize::Aes128,
        [
            0xc5, 0x1f, 0x1c, 0x58, 0x7b, 0x0f, 0x8f, 0x2a, 0xd0, 0x6b, 0x84, 0xa7, 0xc8, 0x59,
            0x5c, 0x00, 0xf6, 0x40, 0xc9, 0x9d, 0x5b, 0xe5, 0x8d, 0xb1, 0x8a, 0xc8, 0x1c, 0xe5,
            0x00, 0x17, 0xac, 0xec,
        ],
    ),
    answer(
        Mode::Ecb,
        KeySize::Aes192,
        [
            0x98, 0xbe, 0x27, 0xbf, 0xeb, 0x30, 0x49, 0x78, 0x04, 0xd7, 0xd4, 0xc5, 0x14, 0xe7,
            0xf2, 0x48, 0xa2, 0x95, 0x3b, 0x59, 0x72, 0x4d, 0x83, 0xa8, 0x97, 0x80, 0xcb, 0xd8,
            0x39, 0xfb, 0x2c, 0xdb,
        ],
    ),
    answer(
        Mode::Ecb,
        KeySize::Aes256,
        [
            0xe5, 0x94, 0xe8, 0xc2, 0x1d, 0x9e, 0xc0, 0xe4, 0x0b, 0xba, 0x37, 0x6c, 0x4f, 0x50,
            0x64, 0x2b, 0xa3, 0x4d, 0x06, 0xb5, 0x9e, 0x4d, 0xca, 0xee, 0x9d, 0x5e, 0x8d, 0xc6,
            0xff, 0xc3, 0x86, 0x9b,
        ],
    ),
    answer(
        Mode::EssivCbc,
        KeySize::Aes128,
        [
            0x3f, 0x82, 0xb8, 0x9a, 0x1f, 0x5f, 0x0f, 0x72, 0x1e, 0xa4, 0x9e, 0xcc, 0x77, 0xd9,
            0x40, 0x3d, 0x57, 0x6e, 0x65, 0x42, 0x82, 0x48, 0x8d, 0xfb, 0x1d, 0x94, 0x20, 0x7e,
            0x3b, 0x5d, 0x3f, 0xe8,
        ],
    ),
    answer(
        Mode::EssivCbc,
        KeySize::Aes192,
        [
            0x19, 0x1c, 0xcf, 0x0c, 0x07, 0x18, 0xc7, 0x9a, 0x88, 0x21, 0xba, 0xa1, 0x9c, 0x6b,
            0xc7, 0x9c, 0x78, 0x0e, 0x11, 0xec, 0xe8, 0x9a, 0x1d, 0x18, 0xc4, 0xac, 0x5c, 0x5e,
            0x30, 0x80, 0x15, 0x1e,
        ],
    ),
    answer(
        Mode::EssivCbc,
        KeySize::Aes256,
        [
            0x97, 0x95, 0xa9, 0x9e, 0x58, 0x9e, 0xfd, 0x6f, 0xc2, 0xdd, 0x39, 0x69, 0x29, 0xa3,
            0xb6, 0xfc, 0xb1, 0xe7, 0x7b, 0x36, 0x6b, 0x32, 0x4e, 0x20, 0x96, 0xe9, 0x54, 0x4c,
            0x17, 0x6e, 0xbd, 0x57,
        ],
    ),
];
/// Slot key for [`UUID`].
pub const SLOT_KEY: [u8; 32] = [
    0x36, 0xd3, 0xe7, 0xa4, 0xfa, 0x4e, 0x28, 0x69, 0x4c, 0x41, 0xbd, 0xe1, 0x7d, 0x8c, 0xe3, 0xff,
    0xb9, 0x8e, 0x90, 0x49, 0x5d, 0x57, 0xdc, 0x3a, 0xca, 0x7f, 0xf9, 0x3c, 0xf8, 0x18, 0xac, 0xf4,
];

/// Byte `i` of the plaintext.
pub const fn data(i: usize) -> u8 {
    (i ^ (i >> 8) ^ (i >> 4 << 3)) as u8
}

const fn pattern<const N: usize>(first: u8) -> [u8; N] {
    let mut out = [first; N];
    let mut i = 1;
    while i < N {
        out[i] = out[i - 1].wrapping_mul(5).wrapping_add(17);
        i += 1;
    }
    out
}

/// An answer that did not come out as known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The mode and size at fault; nothing if what is common to all is.
    pub of: Option<(Mode, KeySize)>,
    /// Which answer, or what was not as it must be.
    pub what: &'static str,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.of {
            Some((mode, size)) => write!(f, "{mode} with {} bits: {}", 8 * size.bytes(), self.what),
            None => f.write_str(self.what),
        }
    }
}

/// How many pieces there are for [`run`]: the life of M, and each mode and size.
pub const PIECES: usize = 1 + ANSWERS.len();

/// Runs piece `piece`, data with `engine`. Each is complete in itself, and short enough for interrupts to
/// be off: at most four requests of about a kilobyte, whole or in sections, and their hashes. Leaves the
/// debug registers zero and `share` erased, and nothing secret but the test key's volume data in `buffer`.
///
/// # Errors
/// The first thing that did not come out as known.
///
/// # Safety
/// The CPU supports `engine`. Runs inside an FPU section, with interrupts off, on the CPU that `share`
/// belongs to, whose debug registers are ours and hold nothing of value.
pub unsafe fn run<H: Sha256>(
    engine: Engine,
    share: &Share,
    buffer: &mut [u8; SECTION_MAX],
    piece: usize,
) -> Result<(), Wrong> {
    let answer = piece.checked_sub(1).and_then(|i| ANSWERS.get(i));
    // SAFETY: as promised by the caller.
    let result = unsafe { answers::<H>(engine, share, buffer, answer) };
    // SAFETY: as promised by the caller.
    unsafe { wipe(share) };
    share.erase();
    // SAFETY: as promised by the caller.
    let result = match (result, unsafe { check(share, &CHECK) }) {
        (Ok(()), Ok(())) => Err("the registers still hold the key after wiping"),
        (result, _) => result,
    };
    result.map_err(|what| Wrong {
        of: answer.map(|answer| (answer.mode, answer.size)),
        what,
    })
}

/// # Safety
/// As for [`run`].
unsafe fn answers<H: Sha256>(
    engine: Engine,
    share: &Share,
    buffer: &mut [u8; SECTION_MAX],
    answer: Option<&Answer>,
) -> Result<(), &'static str> {
    share.set(&pattern(0x9d));
    // SAFETY: as promised by the caller.
    unsafe {
        expect(arm(share, &KEY) == CHECK, "check value")?;
        if let Some(answer) = answer {
            let request = buffer.get_mut(..answer.len()).unwrap_or_default();
            return mode_answers::<H>(engine, share, answer, request);
        }
        expect(peek_check(&KEY) == CHECK, "check value of a candidate")?;
        held(check(share, &CHECK), "check of what was armed")?;
        slot_answer::<H>(share)?;
        key_passes::<H>(share)
    }
}

fn expect(ok: bool, what: &'static str) -> Result<(), &'static str> {
    if ok {
        Ok(())
    } else {
        Err(what)
    }
}

fn held(result: Result<(), NotHeld>, what: &'static str) -> Result<(), &'static str> {
    result.map_err(|NotHeld| what)
}

fn is_plaintext(buffer: &[u8]) -> bool {
    buffer.iter().enumerate().all(|(i, b)| *b == data(i))
}

/// # Safety
/// As for [`run`].
unsafe fn mode_answers<H: Sha256>(
    engine: Engine,
    share: &Share,
    answer: &Answer,
    request: &mut [u8],
) -> Result<(), &'static str> {
    let blob = BLOB.get(..answer.blob_len()).unwrap_or_default();
    let new = |check| VolumeKey::new::<H>(answer.mode, check, blob).map_err(|_| "blob length");
    let key = new(CHECK)?;
    for (i, byte) in request.iter_mut().enumerate() {
        *byte = data(i);
    }
    // One whole section there, back in short ones, there in short ones, back in a whole one.
    for (direction, short) in [
        (Direction::Encrypt, false),
        (Direction::Decrypt, true),
        (Direction::Encrypt, true),
        (Direction::Decrypt, false),
    ] {
        // SAFETY: as promised by the caller.
        let done = unsafe { in_sections(engine, share, &key, direction, short, request) };
        held(done, "the key is not held")?;
        match direction {
            Direction::Encrypt => expect(
                H::digest(&[request]) == answer.ciphertext,
                "wrong ciphertext",
            )?,
            Direction::Decrypt => expect(is_plaintext(request), "wrong plaintext")?,
        }
    }
    // Of another master key: nothing may change.
    let CheckValue(mut wrong) = CHECK;
    if let Some(byte) = wrong.last_mut() {
        *byte ^= 1;
    }
    let key = new(CheckValue(wrong))?;
    for direction in [Direction::Encrypt, Direction::Decrypt] {
        // SAFETY: as promised by the caller.
        let done = unsafe { in_sections(engine, share, &key, direction, false, request) };
        expect(
            done == Err(NotHeld) && is_plaintext(request),
            "a key of another master key was not refused",
        )?;
    }
    Ok(())
}

/// The request in place; `short`: in sections of 1, 2, 3, .. blocks.
///
/// # Safety
/// As for [`run`].
unsafe fn in_sections(
    engine: Engine,
    share: &Share,
    key: &VolumeKey,
    direction: Direction,
    short: bool,
    request: &mut [u8],
) -> Result<(), NotHeld> {
    let mut iv = IV;
    let mut rest = request;
    let mut block = 0;
    let mut blocks = if short { 1 } else { SECTION_MAX / 16 };
    while !rest.is_empty() {
        let (section, behind) = rest.split_at_mut(rest.len().min(16 * blocks));
        let chain = |section: &[u8]| section.last_chunk().copied().unwrap_or_default();
        let before = chain(section);
        let (p, len) = (section.as_mut_ptr(), section.len());
        // SAFETY: as promised by the caller; the section is ours.
        unsafe { crypt(engine, direction, share, key, &iv, block, p, p, len)? };
        if matches!(key.mode(), Mode::Cbc | Mode::EssivCbc) {
            // The last block of ciphertext.
            iv = match direction {
                Direction::Encrypt => chain(section),
                Direction::Decrypt => before,
            };
        }
        block += len as u64 / 16;
        blocks += 1;
        rest = behind;
    }
    Ok(())
}

/// # Safety
/// As for [`run`].
unsafe fn slot_answer<H: Sha256>(share: &Share) -> Result<(), &'static str> {
    let inputs = two_inputs::<H>(Purpose::SlotKey, UUID);
    let mut out = [0; 32];
    // SAFETY: as promised by the caller.
    let done = unsafe { slot_key(share, &CHECK, &inputs, &mut out) };
    held(done, "slot key: the key is held")?;
    expect(out == SLOT_KEY, "slot key")
}

/// Refreshes the shares, then passes the key from this CPU to itself.
///
/// # Safety
/// As for [`run`].
unsafe fn key_passes<H: Sha256>(share: &Share) -> Result<(), &'static str> {
    let before = share.load();
    let inputs = two_inputs::<H>(Purpose::Refresh, b"known answers");
    // SAFETY: as promised by the caller.
    unsafe {
        held(refresh(share, &CHECK, &inputs), "refresh: the key is held")?;
        expect(share.load() != before, "refresh did not change the share")?;
        held(check(share, &CHECK), "refresh lost the key")?;
    }
    let (pad, masked) = (Line::new(), Line::new());
    let inputs = two_inputs::<H>(Purpose::Transport, b"known answers");
    // SAFETY: as promised by the caller; the lines are this function's own.
    unsafe {
        held(
            give_pad(share, &CHECK, &inputs, pad.as_ptr()),
            "giving the pad",
        )?;
        held(
            give_masked(share, &CHECK, &inputs, masked.as_ptr()),
            "giving the masked key",
        )?;
        take_pad(share, pad.as_ptr());
        expect(check(share, &CHECK) == Err(NotHeld), "taking the pad")?;
        share.set(&pattern(0x3b));
        held(
            take_masked(share, &CHECK, masked.as_ptr()),
            "taking the masked key",
        )?;
        held(check(share, &CHECK), "check of what was taken")
    }
}

fn two_inputs<H: Sha256>(purpose: Purpose, context: &[u8]) -> [Input; 2] {
    [0, 1].map(|i| input::<H>(purpose, Mode::None, 256, i, context))
}
