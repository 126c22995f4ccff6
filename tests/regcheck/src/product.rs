// SPDX-License-Identifier: GPL-2.0-or-later

//! A tweak times something public, put together from products of quadwords.
//!
//! Four products make one of 256 bits. Its highest quadword is multiplied by the polynomial and comes in
//! 128 bits lower, then the next one. As in `tweak.rs`, every piece must be there once, and with which
//! constants they were multiplied and moved is left to the known answers.

use crate::lane::Lane;
use crate::table::Shift;

/// The pieces that a lane is the xor of, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product(u16);

/// The product of both lower quadwords.
const LOW: u16 = 1;
/// That of both upper ones.
const HIGH: u16 = 2;
/// Those of an upper with a lower one.
const CROSS: u16 = 4 | 8;
/// The lower quadword of [`CROSS`], in the upper one.
const CROSS_UP: u16 = 16;
/// The upper quadword of [`CROSS`], in the lower one.
const CROSS_DOWN: u16 = 32;
/// The highest quadword of the product, times the polynomial.
const FOLD: u16 = 64;
/// The lower quadword of [`FOLD`], in the upper one.
const FOLD_UP: u16 = 128;
/// The upper quadword of [`FOLD`], in the lower one.
const FOLD_DOWN: u16 = 256;
/// The highest but one, times the polynomial.
const REST: u16 = 512;

impl Product {
    /// A tweak by something public: `which` quadwords, as the instruction's immediate has it.
    pub fn of_quads(which: u64) -> Lane {
        Lane::Product(Product(match which {
            0x00 => LOW,
            0x11 => HIGH,
            0x01 => 4,
            0x10 => 8,
            _ => return Lane::Secret,
        }))
    }

    /// Times something public.
    pub fn times(self, which: u64) -> Lane {
        // The first bit of `which` says which quadword of this one.
        if self.0 == HIGH | CROSS_DOWN && which == 0x01 {
            Lane::Product(Self(FOLD))
        } else if self.0 == HIGH | CROSS_DOWN | FOLD_DOWN && which == 0x00 {
            Lane::Product(Self(REST))
        } else {
            Lane::Secret
        }
    }

    /// The xor of both; nothing is known of it if a piece is in both.
    pub fn with(self, other: Self) -> Option<Lane> {
        let pieces = self.0 | other.0;
        if self.0 & other.0 != 0 {
            None
        } else if pieces == LOW | CROSS_UP | FOLD_UP | REST {
            Some(Lane::Tweak)
        } else {
            Some(Lane::Product(Self(pieces)))
        }
    }

    /// Shifted by a quadword.
    pub fn shifted(self, shift: Shift) -> Lane {
        Lane::Product(Self(match (self.0, shift) {
            (CROSS, Shift::LanesLeft) => CROSS_UP,
            (CROSS, Shift::LanesRight) => CROSS_DOWN,
            (FOLD, Shift::LanesLeft) => FOLD_UP,
            (FOLD, Shift::LanesRight) => FOLD_DOWN,
            _ => return Lane::Secret,
        }))
    }
}
