// SPDX-License-Identifier: GPL-2.0-or-later

//! Tweaks times powers of x, as windows of a stream of bits.
//!
//! The highest bits of a tweak times 1, x, x^2 and so on are a stream in which each bit is the sum of the
//! ones 128, 127, 126 and 121 before it. 128 bits of it are a *window*, and differ from the tweak in the
//! lowest byte alone. What follows a window is its sum with itself times 2, 4 and 128, quadword by
//! quadword, from the top; a window moved up with that behind it is the window of the tweak times a power
//! of x^8, and its lowest byte becomes the tweak's when it is replaced by one of the same sum made byte by
//! byte. So multiplying takes neither a product nor more than one shift.
//!
//! Moves are followed with their amounts. That a window begins with the byte of the right tweak is not,
//! nor is the amount of the shift: as in `tweak.rs`, a wrong one makes wrong ciphertext and stores nothing
//! else.

use crate::lane::Lane;

/// The mask of the lowest byte of each lane.
pub const LOWEST_BYTES: u64 = 0x0001_0001_0001_0001;

/// What a lane is on the way from tweak to tweak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// A window.
    Window,
    /// A window above what follows it, moved down by so many bytes.
    Moved(u8),
    /// The xor of these multiples of a window.
    Sum(Multiples),
    /// A tweak, its bytes turned by one place.
    TurnedTweak,
    /// A whole sum by bytes, turned by so many places.
    TurnedSum(u8),
}

/// Which multiples, as bits, and whether bytes were multiplied or quadwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiples {
    of: u8,
    bytes: bool,
}

const TIMES_1: u8 = 1;
const TIMES_2: u8 = 2;
const TIMES_4: u8 = 4;
const TIMES_128: u8 = 8;
const ALL: u8 = TIMES_1 | TIMES_2 | TIMES_4 | TIMES_128;

fn sum(of: u8, bytes: bool) -> Lane {
    Lane::Stream(Stream::Sum(Multiples { of, bytes }))
}

impl Stream {
    /// Added to itself, as bytes or as quadwords.
    pub fn doubled(self, bytes: bool) -> Lane {
        match self {
            Stream::Window => sum(TIMES_2, bytes),
            Stream::Sum(a) if a.of == TIMES_2 && a.bytes == bytes => sum(TIMES_4, bytes),
            _ => Lane::Secret,
        }
    }

    /// Its quadwords shifted to the left.
    pub fn quads_left(self) -> Lane {
        match self {
            Stream::Window => sum(TIMES_128, false),
            _ => Lane::Secret,
        }
    }

    /// Of each byte, the bits of a public mask.
    pub fn masked(self) -> Lane {
        match self {
            Stream::Sum(a) if a.of == TIMES_128 => sum(TIMES_128, true),
            _ => Lane::Secret,
        }
    }

    /// The xor of both; nothing is known of it if a multiple is in both.
    pub fn with(self, other: Self) -> Option<Lane> {
        let (a, b) = match (self, other) {
            (Stream::Sum(a), Stream::Sum(b)) => (a, b),
            (Stream::Window, Stream::Sum(b)) => (Multiples { of: TIMES_1, ..b }, b),
            _ => return None,
        };
        (a.bytes == b.bytes && a.of & b.of == 0).then(|| sum(a.of | b.of, a.bytes))
    }
}

impl Lane {
    /// `self` above `low`, moved down by `bytes`.
    pub fn aligned(self, low: Self, bytes: u64, same: bool) -> Self {
        use Stream::{Moved, Sum, TurnedSum, TurnedTweak, Window};
        let whole = |a: Multiples, bytes| a.of == ALL && a.bytes == bytes;
        match (self, low) {
            (Lane::Tweak, Lane::Tweak) if same && bytes == 1 => Lane::Stream(TurnedTweak),
            // Of a sum of quadwords, the highest 57 bits are whole; of bytes, all.
            (Lane::Stream(Window), Lane::Stream(Sum(a)))
                if whole(a, false) && (9..16).contains(&bytes) =>
            {
                Lane::Stream(Moved(bytes as u8))
            }
            (Lane::Stream(Sum(a)), _) if same && whole(a, true) && bytes < 16 => {
                Lane::Stream(TurnedSum(bytes as u8))
            }
            (a, b) => a.mix(b),
        }
    }

    /// `self` with its lowest byte from `other`.
    pub fn with_lowest_byte(self, other: Self) -> Self {
        use Stream::{Moved, TurnedSum, TurnedTweak, Window};
        match (self, other) {
            (Lane::Tweak, Lane::Stream(TurnedTweak)) => Lane::Stream(Window),
            (Lane::Stream(Moved(a)), Lane::Stream(TurnedSum(b))) if a == b => Lane::Tweak,
            _ => Lane::Secret,
        }
    }
}
