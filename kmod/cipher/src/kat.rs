// SPDX-License-Identifier: GPL-2.0-or-later

//! Known answers: what the module makes the engine compute, through the real debug registers of one
//! CPU, before it offers anything.
//!
//! The answers were computed with RustCrypto's `aes` and `xts-mode` from the definition of F;
//! `tests/known_answers.rs` computes them again.

use super::{
    arm, check, crypt, give_masked, give_pad, input, peek_check, refresh, slot_key, take_masked,
    take_pad, wipe, CheckValue, Direction, Engine, Input, Line, Mode, NotHeld, Purpose, Sha256,
    Share, VolumeKey, SECTION_MAX,
};

/// The master key of the answers.
pub const KEY: [u8; 32] = [
    0x74, 0x72, 0x65, 0x73, 0x6f, 0x72, 0x20, 0x6b, 0x6e, 0x6f, 0x77, 0x6e, 0x20, 0x61, 0x6e, 0x73,
    0x77, 0x65, 0x72, 0x73, 0xff, 0x00, 0x80, 0x01, 0x7f, 0xfe, 0x55, 0xaa, 0x33, 0xcc, 0x0f, 0xf0,
];
/// Blob: all of it for XTS-AES-256, the first 32 bytes for XTS-AES-128.
pub const BLOB: [u8; 64] = pattern(0x51);
/// IV of the data unit.
pub const IV: [u8; 16] = pattern(0xc3);
/// LUKS UUID of the slot key.
pub const UUID: &[u8; 36] = b"0fb3d2f1-7a44-4d3a-9a1e-5c0de5c0de00";

/// [`KEY`]'s check value.
pub const CHECK: CheckValue = CheckValue([
    0x08, 0xf5, 0x52, 0x39, 0xbf, 0x69, 0x07, 0x56, 0x65, 0xdc, 0x17, 0x7f, 0x29, 0x40, 0x46, 0x34,
]);
/// SHA-256 of the 4096-byte data unit [`data`] encrypted with XTS-AES-128.
pub const XTS_128: [u8; 32] = [
    0xe4, 0x31, 0x58, 0x09, 0x1c, 0x43, 0x70, 0x97, 0xc0, 0xd0, 0xb7, 0xb0, 0xa9, 0xea, 0x1f, 0xc1,
    0xb2, 0x7d, 0x83, 0x57, 0xe3, 0x46, 0x7f, 0x9a, 0x8f, 0x86, 0xed, 0xb6, 0x38, 0xc5, 0xf1, 0x0b,
];
/// The same with XTS-AES-256.
pub const XTS_256: [u8; 32] = [
    0x75, 0xa9, 0x9f, 0x2b, 0x1c, 0x7f, 0x47, 0xaf, 0x6c, 0xd9, 0x08, 0x67, 0xcc, 0x5d, 0x88, 0xd2,
    0x82, 0x56, 0x1a, 0x43, 0x6f, 0xa2, 0x62, 0xb4, 0x5f, 0x0f, 0xfd, 0x10, 0x9c, 0xec, 0xd8, 0x45,
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

/// Runs everything, XTS with `engine`. Leaves the debug registers zero and `share` erased, and nothing secret but the
/// test key's volume data in `buffer`. The error says which answer was wrong.
///
/// # Errors
/// The name of the first thing that did not come out as known.
///
/// # Safety
/// The CPU supports `engine`. Runs inside an FPU section, with interrupts off, on the CPU that `share`
/// belongs to, whose debug registers are ours and hold nothing of value.
pub unsafe fn run<H: Sha256>(
    engine: Engine,
    share: &Share,
    buffer: &mut [u8; SECTION_MAX],
) -> Result<(), &'static str> {
    // SAFETY: as promised by the caller.
    let result = unsafe { answers::<H>(engine, share, buffer) };
    // SAFETY: as promised by the caller.
    unsafe { wipe(share) };
    share.erase();
    // SAFETY: as promised by the caller.
    match (result, unsafe { check(share, &CHECK) }) {
        (Ok(()), Ok(())) => Err("the registers still hold the key after wiping"),
        (result, _) => result,
    }
}

/// # Safety
/// As for [`run`].
unsafe fn answers<H: Sha256>(
    engine: Engine,
    share: &Share,
    buffer: &mut [u8; SECTION_MAX],
) -> Result<(), &'static str> {
    share.set(&pattern(0x9d));
    // SAFETY: as promised by the caller.
    unsafe {
        expect(arm(share, &KEY) == CHECK, "check value")?;
        expect(peek_check(&KEY) == CHECK, "check value of a candidate")?;
        held(check(share, &CHECK), "check of what was armed")?;
        xts_answers::<H>(engine, share, 32, &XTS_128, buffer)?;
        xts_answers::<H>(engine, share, 64, &XTS_256, buffer)?;
        slot_answer::<H>(share)?;
        key_passes::<H>(share)?;
    }
    Ok(())
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
unsafe fn xts_answers<H: Sha256>(
    engine: Engine,
    share: &Share,
    blob_len: usize,
    answer: &[u8; 32],
    buffer: &mut [u8; SECTION_MAX],
) -> Result<(), &'static str> {
    let blob = BLOB.get(..blob_len).unwrap_or(&[]);
    let key = VolumeKey::new::<H>(Mode::Xts, CHECK, blob).map_err(|_| "blob length")?;
    for (i, byte) in buffer.iter_mut().enumerate() {
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
        let done = unsafe { in_sections(engine, share, &key, direction, short, buffer) };
        held(done, "XTS: the key is held")?;
        match direction {
            Direction::Encrypt => expect(H::digest(&[buffer]) == *answer, "XTS ciphertext")?,
            Direction::Decrypt => expect(is_plaintext(buffer), "XTS plaintext")?,
        }
    }
    // Of another master key: nothing may change.
    let CheckValue(mut wrong) = CHECK;
    if let Some(byte) = wrong.last_mut() {
        *byte ^= 1;
    }
    let key = VolumeKey::new::<H>(Mode::Xts, CheckValue(wrong), blob).map_err(|_| "blob length")?;
    for direction in [Direction::Encrypt, Direction::Decrypt] {
        // SAFETY: as promised by the caller.
        let done = unsafe { in_sections(engine, share, &key, direction, false, buffer) };
        expect(
            done == Err(NotHeld) && is_plaintext(buffer),
            "XTS under a key of another master key was not refused",
        )?;
    }
    Ok(())
}

/// The data unit in place; `short`: in sections of 1, 2, 3, .. blocks.
///
/// # Safety
/// As for [`run`].
unsafe fn in_sections(
    engine: Engine,
    share: &Share,
    key: &VolumeKey,
    direction: Direction,
    short: bool,
    buffer: &mut [u8; SECTION_MAX],
) -> Result<(), NotHeld> {
    let mut rest = &mut buffer[..];
    let mut block = 0;
    let mut blocks = if short { 1 } else { SECTION_MAX / 16 };
    while !rest.is_empty() {
        let len = rest.len().min(16 * blocks);
        let p = rest.as_mut_ptr();
        // SAFETY: as promised by the caller; the first `len` bytes of `rest` are ours.
        unsafe { crypt(engine, direction, share, key, &IV, block, p, p, len)? };
        block += len as u64 / 16;
        blocks += 1;
        rest = rest.get_mut(len..).unwrap_or_default();
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
