// SPDX-License-Identifier: GPL-2.0-or-later

//! A block on its way through AES, and what the modes want of it.

use crate::lane::Atoms;

/// What a block was before AES.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The check input, a constant.
    CheckInput,
    /// Public input `i` of F.
    Input(u8),
    /// The data unit's public IV.
    Iv,
    /// A block of the caller's text.
    Data,
    /// A counter.
    Counter,
    /// The last whole block of a text in XTS that is no multiple of 16 bytes, or the last 16 bytes of it.
    Tail,
    /// The block of such a text that is made of its last bytes and of what was stolen.
    Joined,
}

impl Origin {
    /// Whether it is text that goes through AES.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Data | Self::Tail | Self::Joined)
    }
}

/// A direction of AES.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Encryption.
    Enc,
    /// Decryption.
    Dec,
}

/// A block on its way through AES.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// What it was.
    pub origin: Origin,
    /// The tweak is in, or the block before it, to which CBC chains it.
    pub tweaked: bool,
    /// The first round key is in.
    pub keyed: bool,
    /// Rounds passed.
    pub rounds: u8,
    /// The direction of these rounds.
    pub way: Option<Way>,
    /// What the round keys so far were made of.
    pub roots: Atoms,
    /// The last round was one of the last kind.
    pub done: bool,
}

impl Block {
    /// A block that has met nothing.
    pub const fn new(origin: Origin) -> Self {
        Self {
            origin,
            tweaked: false,
            keyed: false,
            rounds: 0,
            way: None,
            roots: 0,
            done: false,
        }
    }
}

/// A mode of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// XTS.
    Xts,
    /// ECB.
    Ecb,
    /// CBC.
    Cbc,
    /// CBC, its IV perhaps encrypted.
    Essiv,
    /// Counter mode.
    Ctr,
}

/// What the routine's AES keys are made of, and what its data passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheme {
    /// The mode.
    pub mode: Mode,
    /// Atoms of K1, which the data meets.
    pub k1: Atoms,
    /// Atoms of K2, which the IV meets; none if it meets no key.
    pub k2: Atoms,
    /// Rounds under K1: 10, 12 or 14.
    pub rounds: u8,
    /// Rounds under K2.
    pub iv_rounds: u8,
    /// The data's direction.
    pub way: Way,
}

impl Scheme {
    /// Whether blocks are chained to those before them.
    pub fn chains(&self) -> bool {
        matches!(self.mode, Mode::Cbc | Mode::Essiv)
    }

    /// Whether a block of text must have met its tweak or the block before it when it meets the rounds.
    /// Where it must not, it may not either.
    pub(crate) fn wants_tweak(&self) -> bool {
        self.mode == Mode::Xts || self.chains() && self.way == Way::Enc
    }

    /// Whether a block has passed all rounds under all of K1, and nothing else.
    pub(crate) fn complete(&self, b: Block) -> bool {
        b.done && b.rounds == self.rounds && b.way == Some(self.way) && b.roots == self.k1
    }
}
