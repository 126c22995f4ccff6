// SPDX-License-Identifier: GPL-2.0-or-later

//! Known answers: what the module makes the engine compute, through the real debug registers of one
//! CPU, before it offers anything.
//!
//! The answers are in `answers.rs`.

use super::{
    arm, check, crypt, give_masked, give_pad, input, peek_check, refresh, slot_key, take_masked,
    take_pad, wipe, CheckValue, Direction, Engine, Input, KeySize, Line, Mode, NotHeld, Purpose,
    Sha256, Share, VolumeKey, SECTION_MAX,
};
use core::fmt;

pub use super::answers::*;

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
            let request = buffer.get_mut(..answer.text_len()).unwrap_or_default();
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
