// SPDX-License-Identifier: GPL-2.0-or-later

//! What is known of the machine before an instruction.

use crate::lane::{Atoms, Lane};

/// What is known of a general register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum General {
    /// Something public.
    Public,
    /// This number.
    Number(u64),
    /// Argument `argument` plus `offset`. For text, `offset` counts from the first byte that
    /// [`General::Length`] still covers.
    Pointer {
        /// Which argument.
        argument: usize,
        /// Bytes from it.
        offset: i64,
    },
    /// The bytes of text that are left.
    Length,
    /// A pointer to text, counted from where [`General::Length`] ends: from the tail, if there is one.
    Rest {
        /// Which argument.
        argument: usize,
        /// Bytes from there.
        offset: i64,
    },
    /// 16 and the bytes behind the last whole block of the text, which are the tail.
    Tail,
    /// The same, or zero if there is no tail.
    MaybeTail,
    /// The bytes behind the last whole block.
    TailPart,
    /// The bytes of text that are left, less this number: perhaps below zero.
    LengthLess(u64),
    /// A copy of [`General::Length`], or what was made of it; gone when the length changes.
    OfLength(OfLength),
    /// A quadword of [`Lane::Linear`].
    Word {
        /// The atoms whose xor the lane is.
        atoms: Atoms,
        /// Its low (0) or high (1) quadword.
        half: u8,
    },
    /// A secret of which nothing else is known.
    Secret,
}

/// What masks are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfLength {
    /// The length.
    Copy,
    /// What it is more than a multiple of 16.
    Residue,
    /// The same, which is not zero.
    Part,
    /// That and 16: the tail.
    Tail,
    /// Its quadwords.
    Quadwords,
    /// The bit behind those of its quadwords, which are less than 64.
    BitBehind,
    /// A bit for each of its quadwords, which are less than 64, without those of the first so many
    /// vectors of eight.
    Mask(u8),
}

/// What is known of a mask register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// Something public.
    Public,
    /// [`OfLength::Mask`].
    Text(u8),
    /// The lowest byte of each lane.
    LowestBytes,
    /// A secret.
    Secret,
}

impl General {
    /// Whether nobody may know it.
    pub fn is_secret(self) -> bool {
        matches!(self, General::Word { .. } | General::Secret)
    }

    fn join(self, other: Self) -> Self {
        use General::{MaybeTail, Number, Tail};
        if self == other {
            self
        } else if let (Tail | MaybeTail | Number(0), Tail | MaybeTail | Number(0)) = (self, other) {
            MaybeTail
        } else if self.is_secret() || other.is_secret() {
            General::Secret
        } else {
            General::Public
        }
    }
}

/// What is known of the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flags {
    /// They come from public values.
    Public,
    /// They come from comparing the length left with this number.
    LengthAgainst(u64),
    /// They come from subtracting from the length.
    LengthLeft,
    /// ZF says whether the length is a multiple of 16.
    Residue,
    /// ZF says whether there is no tail, by this general register.
    Tail(usize),
    /// ZF says whether the check value is the expected one.
    Check,
    /// They come from a secret.
    Secret,
}

impl Flags {
    fn join(self, other: Self) -> Self {
        use Flags::*;
        match (self, other) {
            (a, b) if a == b => a,
            (Secret | Check, _) | (_, Secret | Check) => Secret,
            _ => Public,
        }
    }
}

/// Lanes of a vector register: 16 bytes each, 512 bits together.
pub const LANES: usize = 4;
/// One vector register.
pub type Vector = [Lane; LANES];

/// What is known of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// General registers, by their number.
    pub general: [General; 16],
    /// zmm0 to zmm31.
    pub vectors: [Vector; 32],
    /// k0 to k7.
    pub masks: [Mask; 8],
    /// The flags.
    pub flags: Flags,
    /// At least this many bytes of text are left.
    pub left: u64,
    /// At most this many bytes of text are left.
    pub most: u64,
    /// What is left is a multiple of 16 bytes, without the tail.
    pub aligned: bool,
    /// There is a tail behind what is left.
    pub tail: bool,
    /// The check value has matched.
    pub checked: bool,
    /// Some debug register has been written.
    pub registers_written: bool,
    /// Arguments whose memory has been written, as bits.
    pub written: u32,
    /// What has been done on every path, as bits of the contract.
    pub effects: u32,
}

impl State {
    /// Takes in another path's state; whether that changed anything.
    pub fn join(&mut self, other: &Self) -> bool {
        let before = self.clone();
        for (a, b) in self.general.iter_mut().zip(other.general) {
            *a = a.join(b);
        }
        for (a, b) in self.vectors.iter_mut().zip(other.vectors) {
            for (a, b) in a.iter_mut().zip(b) {
                *a = a.join(b);
            }
        }
        for (a, b) in self.masks.iter_mut().zip(other.masks) {
            *a = match (*a, b) {
                (a, b) if a == b => a,
                (Mask::Secret, _) | (_, Mask::Secret) => Mask::Secret,
                _ => Mask::Public,
            };
        }
        self.flags = self.flags.join(other.flags);
        self.left = self.left.min(other.left);
        self.most = self.most.max(other.most);
        self.aligned &= other.aligned;
        self.tail &= other.tail;
        self.checked &= other.checked;
        self.registers_written |= other.registers_written;
        self.written |= other.written;
        self.effects &= other.effects;
        *self != before
    }

    /// Changes what is known of each general register.
    pub fn each_general(&mut self, f: impl Fn(General) -> General) {
        for value in &mut self.general {
            *value = f(*value);
        }
    }

    /// How many registers hold secrets.
    pub fn secrets(&self) -> usize {
        let vectors = self.vectors.iter();
        vectors
            .filter(|v| v.iter().any(|lane| !lane.is_public()))
            .count()
            + self.general.iter().filter(|g| g.is_secret()).count()
            + self.masks.iter().filter(|m| **m == Mask::Secret).count()
    }
}
