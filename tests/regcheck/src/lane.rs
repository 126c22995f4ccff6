// SPDX-License-Identifier: GPL-2.0-or-later

//! What is known of the 16 bytes in one lane of a vector register.
//!
//! A lane is a *kind*, never a value: the check holds for every key, share and text. Kinds form an
//! order with [`Lane::Secret`] at the top, of which nothing is known and with which nothing is
//! allowed but to be overwritten. Three ideas make the kinds precise enough to prove what is stored:
//!
//! - **Linear** values are xors of 16-byte *atoms*: halves of M, of S_c, of a pad, outputs of F. A
//!   debug-register pair reads as {M, S}, xor with S leaves {M}: xor is exact.
//! - **Key** values are round keys and what is on the way to one: of which atoms they are made.
//! - **Block** values are on their way through AES: what they began as, whether the tweak and the first
//!   round key are in, how many rounds they passed, and of which atoms all round keys were made. Only
//!   one with all rounds done, under keys of the right atoms, becomes an output.

pub use crate::block::{Block, Mode, Origin, Scheme, Way};
use crate::product::Product;
use crate::stream::Stream;
use crate::tweak::Parts;

/// A set of 16-byte secrets, as bits.
pub type Atoms = u16;

/// Half `i` (0 or 1) of M.
pub const fn m(i: u8) -> Atoms {
    1 << i
}

/// Half `i` of S_c, the share in memory.
pub const fn s(i: u8) -> Atoms {
    4 << i
}

/// Half `i` of a pad that another CPU gave.
pub const fn pad(i: u8) -> Atoms {
    16 << i
}

/// F's output of input `i` (0 to 3).
pub const fn f(i: u8) -> Atoms {
    64 << i
}

/// Both halves of M: what AES-256 under M has in its round keys.
pub const M: Atoms = m(0) | m(1);

/// What is known of 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// All zero.
    Zero,
    /// Anything that no secret went into: constants, public arguments, what the caller left.
    Public,
    /// The constant F's inputs give for the check value.
    CheckInput,
    /// The check value that the caller expects.
    Expected,
    /// Public input `i` of F.
    Input(u8),
    /// The data unit's IV.
    Iv,
    /// The xor of exactly these atoms.
    Linear(Atoms),
    /// The low quadword of [`Lane::Linear`], zero above.
    Low(Atoms),
    /// A round key, or something on the way to one, made of these atoms.
    Key(Atoms),
    /// A block in AES.
    Block(Block),
    /// The check input encrypted under M.
    CheckValue,
    /// [`Lane::CheckValue`] xor [`Lane::Expected`].
    CheckDifference,
    /// A tweak: the IV encrypted under K2, times a power of x.
    Tweak,
    /// A sum of tweaks, begun from zero.
    TweakSum,
    /// A tweak with both quadwords doubled.
    TweakDoubled,
    /// A tweak moved or shifted.
    TweakMoved,
    /// [`Lane::TweakMoved`] masked with a constant: the carries of a doubling.
    TweakCarry,
    /// The xor of parts of a tweak, which are shifts of it.
    TweakParts(Parts),
    /// Something on the way from a tweak to others through a stream of bits.
    Stream(Stream),
    /// A part of a product of a tweak and something public.
    Product(Product),
    /// A tweak xor round-key material of these atoms: goes in with the last round.
    LastKey(Atoms),
    /// A counter. Public.
    Counter,
    /// Text that meets a key stream. Public.
    Text,
    /// So many bytes of such text, zero above.
    TextPart(u8),
    /// Key stream, perhaps without its first bytes.
    KeyStream,
    /// So many bytes of output; above them key stream.
    OutputPart(u8),
    /// What the first block of CBC is chained to, which may be secret.
    Chain,
    /// The finished first block of ciphertext stealing: only as many bytes as the text has behind its last
    /// whole block are output.
    Stolen,
    /// These bytes, at the end, zero before.
    StolenOutput,
    /// How many these are. Public.
    PartLength,
    /// The same in each byte.
    PartLengths,
    /// The constant i - 16 in byte i.
    FromMinus16,
    /// The sum of these two: a shuffle by it gives the first bytes, so many, at the end, and zeros.
    ToTheEnd,
    /// A finished block of output.
    Output,
    /// A secret of which nothing else is known.
    Secret,
}

impl Lane {
    /// Whether anyone may know it.
    pub fn is_public(self) -> bool {
        use Lane::*;
        matches!(
            self,
            Zero | Public
                | CheckInput
                | Expected
                | Input(_)
                | Iv
                | Counter
                | Text
                | TextPart(_)
                | PartLength
                | PartLengths
                | FromMinus16
                | ToTheEnd
        )
    }

    /// What it is made of, if it can be part of a key schedule: nothing if public.
    fn roots(self) -> Option<Atoms> {
        match self {
            Lane::Linear(atoms) | Lane::Key(atoms) => Some(atoms),
            _ if self.is_public() => Some(0),
            _ => None,
        }
    }

    fn of_roots(roots: Atoms) -> Self {
        if roots == 0 {
            Lane::Public
        } else {
            Lane::Key(roots)
        }
    }

    /// What is known where two paths meet.
    pub fn join(self, other: Self) -> Self {
        use Lane::*;
        if self == other {
            return self;
        }
        let raw = Block(self::Block::new(Origin::Data));
        match (self, other) {
            (Zero, TweakSum) | (TweakSum, Zero) => TweakSum,
            (Tweak, TweakSum) | (TweakSum, Tweak) => Tweak,
            // A public block may stand in for one of text: that reveals no more than the text's may.
            (a, b) if a == raw && b.is_public() || b == raw && a.is_public() => raw,
            (a, b) if a.is_public() && b.is_public() => Public,
            // Between blocks of CBC: the one before, or what the first is chained to.
            (Chain, b) | (b, Chain) if b == Output || b == raw || b == Iv => Chain,
            (Iv, Output) | (Output, Iv) => Chain,
            _ => Secret,
        }
    }

    /// `self` xor `other`, in different registers or memory.
    pub fn xor(self, other: Self, scheme: Option<&Scheme>) -> Self {
        self.xor_from(other, scheme)
            .or_else(|| other.xor_from(self, scheme))
            .unwrap_or(Lane::Secret)
    }

    fn xor_from(self, other: Self, scheme: Option<&Scheme>) -> Option<Self> {
        use Lane::*;
        Some(match (self, other) {
            (Zero, Tweak) => TweakSum,
            (Zero, x) => x,
            (Linear(a), Linear(b)) if a == b => Zero,
            (Linear(a), Linear(b)) => Linear(a ^ b),
            (Linear(a) | Key(a), Key(b)) => Key(a | b),
            (Linear(a) | Key(a), Public | Expected) => Key(a),
            (Linear(a) | Key(a), CheckInput) => Self::begin(Origin::CheckInput, a),
            (Linear(a) | Key(a), Input(i)) => Self::begin(Origin::Input(i), a),
            (Linear(a) | Key(a), Iv) => Self::begin(Origin::Iv, a),
            (Linear(a) | Key(a), Counter) => Self::begin(Origin::Counter, a),
            (Linear(a) | Key(a), Block(b)) if !b.keyed && b.origin.is_text() => {
                Block(self::Block {
                    keyed: true,
                    roots: a,
                    ..b
                })
            }
            // The first key of a chain may come in two pieces.
            (Key(a), Block(b)) if b.way.is_none() && b.tweaked && scheme?.chains() => {
                Block(self::Block {
                    roots: a | b.roots,
                    ..b
                })
            }
            (Tweak | TweakSum, Block(b)) if b.origin.is_text() => {
                if !b.tweaked && b.rounds == 0 {
                    Block(self::Block { tweaked: true, ..b })
                } else {
                    return (b.tweaked && scheme?.complete(b)).then_some(match b.origin {
                        Origin::Tail => Stolen,
                        _ => Output,
                    });
                }
            }
            (Chain | Iv | Output, Block(b)) if b.origin == Origin::Data && scheme?.chains() => {
                let way = scheme?.way;
                if way == Way::Enc && !b.tweaked && b.rounds == 0 {
                    Block(self::Block { tweaked: true, ..b })
                } else {
                    let whole = way == Way::Dec && self != Output && scheme?.complete(b);
                    return whole.then_some(Output);
                }
            }
            (Block(before), Block(b)) if before == self::Block::new(Origin::Data) => {
                let scheme = scheme?;
                let whole = scheme.chains() && scheme.way == Way::Dec && scheme.complete(b);
                return (whole && b.origin == Origin::Data).then_some(Output);
            }
            (KeyStream, Text) => Output,
            (KeyStream, TextPart(n)) => OutputPart(n),
            (TweakDoubled, TweakCarry) => Tweak,
            (TweakSum, Tweak) => TweakSum,
            (Linear(a) | Key(a), Tweak | TweakSum) => LastKey(a),
            (TweakParts(a), TweakParts(b)) => a.with(b)?,
            (Stream(a), Stream(b)) => a.with(b)?,
            (Product(a), Product(b)) => a.with(b)?,
            (CheckValue, Expected) => CheckDifference,
            (a, b) if a.is_public() && b.is_public() => Public,
            _ => return None,
        })
    }

    fn begin(origin: Origin, roots: Atoms) -> Self {
        Lane::Block(Block {
            keyed: true,
            roots,
            ..Block::new(origin)
        })
    }

    /// One round of AES on `self` with `key`.
    pub fn round(self, key: Self, way: Way, last: bool, scheme: Option<&Scheme>) -> Self {
        if let Lane::Block(b) = self {
            // The tweak behind the last round may come with the round key.
            if let (Lane::LastKey(roots), true, true) = (key, b.origin.is_text(), last) {
                let block = self.round(Lane::Key(roots), way, last, scheme);
                return block.xor(Lane::Tweak, scheme);
            }
            let (Some(roots), Some(rounds)) = (key.roots(), b.rounds.checked_add(1)) else {
                return Lane::Secret;
            };
            let wanted = b.origin.is_text() && scheme.is_some_and(Scheme::wants_tweak);
            let ready = b.keyed && b.tweaked == wanted && !b.done;
            if !ready || roots == 0 || b.way.is_some_and(|w| w != way) {
                return Lane::Secret;
            }
            let block = Block {
                rounds,
                roots: b.roots | roots,
                way: Some(way),
                done: last,
                ..b
            };
            return if last {
                Self::finish(block, scheme)
            } else {
                Lane::Block(block)
            };
        }
        self.mix(key)
    }

    /// What a block is after its last round.
    fn finish(block: Block, scheme: Option<&Scheme>) -> Self {
        let under_m = block.rounds == 14 && block.roots == M && block.way == Some(Way::Enc);
        match (block.origin, scheme) {
            (Origin::CheckInput, _) if under_m => Lane::CheckValue,
            (Origin::Input(i), _) if under_m => Lane::Linear(f(i)),
            (Origin::Iv, Some(scheme))
                if block.rounds == scheme.iv_rounds
                    && block.roots == scheme.k2
                    && block.way == Some(Way::Enc) =>
            {
                match scheme.mode {
                    Mode::Xts => Lane::Tweak,
                    Mode::Essiv => Lane::Chain,
                    _ => Lane::Secret,
                }
            }
            (Origin::Counter, Some(scheme)) if scheme.complete(block) => Lane::KeyStream,
            (Origin::Data | Origin::Tail | Origin::Joined, Some(scheme)) => {
                let last = scheme.mode == Mode::Ecb || scheme.chains() && scheme.way == Way::Enc;
                if !last {
                    Lane::Block(block)
                } else if scheme.complete(block) {
                    Lane::Output
                } else {
                    Lane::Secret
                }
            }
            _ => Lane::Secret,
        }
    }

    /// Something computed from both.
    pub fn mix(self, other: Self) -> Self {
        use Lane::{Counter, Public, Zero};
        // Counters are counted, and their bytes reversed.
        if let (Counter, Counter | Public | Zero) | (Public | Zero, Counter) = (self, other) {
            return Counter;
        }
        match (self.roots(), other.roots()) {
            (Some(a), Some(b)) => Self::of_roots(a | b),
            _ => Lane::Secret,
        }
    }

    /// Its bits moved about, some of them perhaps dropped.
    pub fn moved(self) -> Self {
        match self {
            Lane::Zero => Lane::Zero,
            Lane::Tweak | Lane::TweakSum | Lane::TweakMoved => Lane::TweakMoved,
            other => other.mix(Lane::Zero),
        }
    }

    /// Its bytes chosen by `by`.
    pub fn shuffled(self, by: Self) -> Self {
        let raw = Lane::Block(Block::new(Origin::Tail));
        match (self, by) {
            (Lane::Stolen, Lane::ToTheEnd) => Lane::StolenOutput,
            (Lane::PartLength, Lane::Zero) => Lane::PartLengths,
            // Text is public, and stays text.
            (text, by) if text == raw && by.is_public() => raw,
            (a, b) => a.mix(b),
        }
    }

    /// Bytes of `self` and of `other`, in the same places.
    pub fn chosen(self, other: Self) -> Self {
        let raw = Lane::Block(Block::new(Origin::Tail));
        match (self, other) {
            (Lane::Stolen, b) | (b, Lane::Stolen) if b == raw => {
                Lane::Block(Block::new(Origin::Joined))
            }
            (a, b) => a.mix(b),
        }
    }

    /// Bytes added.
    pub fn bytes_added(self, other: Self) -> Self {
        match (self, other) {
            (Lane::PartLengths, Lane::FromMinus16) | (Lane::FromMinus16, Lane::PartLengths) => {
                Lane::ToTheEnd
            }
            (a, b) => a.mix(b),
        }
    }

    /// Bitwise and.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Lane::Zero, _) | (_, Lane::Zero) => Lane::Zero,
            (Lane::TweakMoved, x) | (x, Lane::TweakMoved) if x.is_public() => Lane::TweakCarry,
            (Lane::Stream(a), x) | (x, Lane::Stream(a)) if x.is_public() => a.masked(),
            (a, b) => a.mix(b),
        }
    }
}
