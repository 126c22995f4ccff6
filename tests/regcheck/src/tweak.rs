// SPDX-License-Identifier: GPL-2.0-or-later

//! Tweaks times powers of x, put together from shifts.
//!
//! A tweak times x^n is itself shifted to the left, plus what that shifts out of it: out of the lane,
//! times the field's polynomial; and, where quadwords are shifted, out of the lower into the upper one.
//! [`Parts`] says which of these pieces a lane is the xor of; only a lane that has all of them, each
//! once, is a tweak again. With which constants they were shifted and multiplied is not followed: a
//! wrong one makes wrong ciphertext, which the known answers find, but stores nothing else.

use crate::lane::Lane;
use crate::product::Product;
use crate::table::Shift;

/// The pieces that a lane is the xor of, as bits, and times a piece was folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    pieces: u8,
    folds: u8,
}

/// Quadwords of a tweak, shifted to the left.
const QUADS: u8 = 1;
/// A whole tweak, shifted to the left.
const WHOLE: u8 = 2;
/// What is shifted out of its quadwords, in the places from which it came.
const OUT_OF_QUADS: u8 = 4;
/// What is shifted out of a whole tweak.
const OUT_OF_WHOLE: u8 = 8;
/// [`OUT_OF_QUADS`], its quadwords swapped.
const SWAPPED: u8 = 16;
/// [`OUT_OF_QUADS`] of the lower quadword, in the upper one.
const UP: u8 = 32;
/// [`OUT_OF_QUADS`] of the upper quadword, times the polynomial.
const REDUCED: u8 = 64;
/// [`OUT_OF_WHOLE`], times the polynomial.
const WHOLE_REDUCED: u8 = 128;

/// What makes a tweak. The polynomial x^7 + x^2 + x + 1 is the swapped piece itself and 3 folds of it.
const TWEAKS: [(u8, u8); 4] = [
    (WHOLE | WHOLE_REDUCED, 0),
    (QUADS | UP | REDUCED, 0),
    (QUADS | SWAPPED | REDUCED, 0),
    (QUADS | SWAPPED, 3),
];

fn piece(pieces: u8) -> Lane {
    Lane::TweakParts(Parts { pieces, folds: 0 })
}

impl Parts {
    fn is(self, pieces: u8) -> bool {
        self.pieces == pieces && self.folds == 0
    }

    /// The xor of both; nothing is known of it if a piece is in both.
    pub fn with(self, other: Self) -> Option<Lane> {
        let parts = Self {
            pieces: self.pieces | other.pieces,
            folds: self.folds + other.folds,
        };
        if self.pieces & other.pieces != 0 || parts.folds > 3 {
            None
        } else if TWEAKS.contains(&(parts.pieces, parts.folds)) {
            Some(Lane::Tweak)
        } else {
            Some(Lane::TweakParts(parts))
        }
    }

    /// With its quadwords swapped.
    pub fn swapped(self) -> Lane {
        if self.is(OUT_OF_QUADS) {
            piece(SWAPPED)
        } else {
            Lane::Secret
        }
    }

    fn shifted(self, shift: Shift) -> Lane {
        match shift {
            Shift::QuadsLeft if self.is(SWAPPED) => Lane::TweakParts(Self {
                pieces: 0,
                folds: 1,
            }),
            Shift::LanesLeft if self.is(OUT_OF_QUADS) => piece(UP),
            _ => Lane::Secret,
        }
    }
}

impl Lane {
    /// Shifted by public amounts.
    pub fn shifted(self, shift: Shift) -> Self {
        match (self, shift) {
            (Lane::Zero, _) => Lane::Zero,
            (Lane::KeyStream, Shift::LanesRight) => Lane::KeyStream,
            (Lane::Tweak | Lane::TweakSum, Shift::QuadsLeft) => piece(QUADS),
            (Lane::Tweak | Lane::TweakSum, Shift::QuadsRight) => piece(OUT_OF_QUADS),
            (Lane::Tweak | Lane::TweakSum, Shift::LanesLeft) => piece(WHOLE),
            (Lane::Tweak | Lane::TweakSum, Shift::LanesRight) => piece(OUT_OF_WHOLE),
            (Lane::TweakParts(parts), _) => parts.shifted(shift),
            (Lane::Stream(a), Shift::QuadsLeft) => a.quads_left(),
            (Lane::Product(a), _) => a.shifted(shift),
            (other, _) => other.mix(Lane::Zero),
        }
    }

    /// Each part from one of both.
    pub fn blend(self, other: Self) -> Self {
        match (self, other) {
            (Lane::TweakParts(a), Lane::TweakParts(b)) => {
                let (pieces, folds) = (a.pieces | b.pieces, a.folds + b.folds);
                if pieces == SWAPPED | REDUCED && folds == 0 {
                    piece(pieces)
                } else {
                    Lane::Secret
                }
            }
            (a, b) => a.mix(b),
        }
    }

    /// The carry-less product of two quadwords, which the instruction's immediate chooses.
    pub fn product(self, other: Self, which: u64) -> Self {
        match (self, other) {
            (Lane::Tweak, Lane::Public) => Product::of_quads(which),
            (Lane::Product(a), Lane::Public) => a.times(which),
            (Lane::TweakParts(parts), Lane::Public) | (Lane::Public, Lane::TweakParts(parts)) => {
                if parts.is(OUT_OF_QUADS) {
                    piece(REDUCED)
                } else if parts.is(OUT_OF_WHOLE) {
                    piece(WHOLE_REDUCED)
                } else {
                    Lane::Secret
                }
            }
            (a, b) => a.mix(b),
        }
    }

    /// Entries of this table, which stays in its register, chosen by `by`.
    pub fn looked_up(self, by: Self) -> Self {
        match (self, by) {
            (Lane::Public, Lane::TweakParts(parts)) if parts.is(SWAPPED) => piece(REDUCED),
            (a, b) => a.mix(b),
        }
    }
}
