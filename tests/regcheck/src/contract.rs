// SPDX-License-Identifier: GPL-2.0-or-later

//! What each routine is given and may write: the comments above the routines, as tables.
//!
//! A routine without an entry here is refused, and so is an entry without a routine.

use crate::lane::{f, m, pad, s, Atoms, Lane, Scheme};
use crate::requests::DATA_CONTRACTS;

/// Bytes of an argument's memory, and what they hold.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Offset from the argument.
    pub at: u64,
    /// How many.
    pub len: u64,
    /// What they hold; for a length of 16 the lane that a load gives.
    pub holds: Lane,
}

/// How a store changes memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By an ordinary store.
    Plain,
    /// By `lock xor` of a quadword.
    LockedXor,
}

/// A store that the contract allows.
#[derive(Clone, Copy, Debug)]
pub struct StoreRule {
    /// Offset from the argument; stores of parts are allowed if `value` is public.
    pub at: u64,
    /// Bytes.
    pub len: u64,
    /// What may be stored.
    pub value: Lane,
    /// How.
    pub how: How,
    /// Only after the check value matched.
    pub after_check: bool,
    /// The effects that this store has, as bits of [`Contract::on_success`].
    pub effect: u32,
}

/// An argument, in the order of the calling convention.
#[derive(Clone, Copy, Debug)]
pub enum Argument {
    /// A pointer to a structure.
    Memory {
        /// Its name.
        name: &'static str,
        /// What can be loaded.
        loads: &'static [Piece],
        /// What can be stored.
        stores: &'static [StoreRule],
        /// Effect of flushing its line.
        flush: u32,
    },
    /// A pointer to as much text as [`Argument::Length`] says, which is read.
    Source,
    /// A pointer to as much text, which is written.
    Destination,
    /// Bytes of text.
    Length {
        /// Whether they are a multiple of 16.
        whole: bool,
        /// How many there are at least.
        least: u64,
    },
}

impl Argument {
    /// Whether it points to text.
    pub fn is_text(&self) -> bool {
        matches!(self, Argument::Source | Argument::Destination)
    }

    /// Its name, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Argument::Memory { name, .. } => name,
            Argument::Source => "the source",
            Argument::Destination => "the destination",
            Argument::Length { .. } => "the length",
        }
    }
}

/// A routine's contract.
#[derive(Clone, Copy, Debug)]
pub struct Contract {
    /// What follows the variant's prefix in its symbol.
    pub routine: &'static str,
    /// Its arguments.
    pub arguments: &'static [Argument],
    /// What the pairs DR0-DR1 and DR2-DR3 hold at entry; nothing if they must not be read.
    pub registers: Option<[Atoms; 2]>,
    /// What may be written to them, and whether only after the check value matched.
    pub new_registers: Option<([Atoms; 2], bool)>,
    /// Whether they may be zeroed.
    pub clears_registers: bool,
    /// Its keys and data.
    pub scheme: Option<Scheme>,
    /// Returns 0, only if the check value matched, or 1.
    pub status: bool,
    /// Effects at an exit with 0, or without status.
    pub on_success: u32,
    /// Effects at an exit with 1.
    pub on_failure: u32,
}

/// A variant of the engine.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// What its symbols begin with.
    pub prefix: &'static str,
    /// Whether it has all routines, or those for the data only.
    pub whole: bool,
}

const fn data_only(prefix: &'static str) -> Variant {
    Variant {
        prefix,
        whole: false,
    }
}

/// All variants; their routines have the same contracts. One whose prefix begins with another's comes
/// before that one.
pub const VARIANTS: &[Variant] = &[
    data_only("tresor_aesni_avx_"),
    data_only("tresor_vaes_avx2_"),
    data_only("tresor_vaes_avx512_"),
    Variant {
        prefix: "tresor_aesni_",
        whole: true,
    },
];

impl Variant {
    /// The contracts that it must have a routine for.
    pub fn contracts(&self) -> impl Iterator<Item = &'static Contract> {
        let whole = self.whole;
        let of_key = KEY_CONTRACTS.iter().filter(move |_| whole);
        of_key.chain(DATA_CONTRACTS)
    }
}

/// Effects 0 to 3: debug register n has been written.
pub const REGISTERS: u32 = 0xf;
/// The handed-over line's two halves are zero, and then flushed.
const LINE_ZERO: [u32; 2] = [1 << 4, 1 << 5];
const LINE_FLUSHED: u32 = 1 << 6;
const LINE_GONE: u32 = LINE_ZERO[0] | LINE_ZERO[1] | LINE_FLUSHED;
/// The four words of S_c have been changed, and then flushed.
const SHARE_WORD: [u32; 4] = [1 << 7, 1 << 8, 1 << 9, 1 << 10];
const SHARE_FLUSHED: u32 = 1 << 11;
const SHARE_CHANGED: u32 = 0xf << 7 | SHARE_FLUSHED;
/// The two halves of an output have been stored.
const OUT: [u32; 2] = [1 << 12, 1 << 13];

pub(crate) const fn piece(at: u64, holds: Lane) -> Piece {
    Piece { at, len: 16, holds }
}

const fn store(at: u64, value: Lane, after_check: bool, effect: u32) -> StoreRule {
    StoreRule {
        at,
        len: 16,
        value,
        how: How::Plain,
        after_check,
        effect,
    }
}

/// Word `i` of S_c ^= that word of F's outputs.
const fn add(i: u8) -> StoreRule {
    StoreRule {
        at: 8 * i as u64,
        len: 8,
        value: Lane::Linear(f(i / 2)),
        how: How::LockedXor,
        after_check: true,
        effect: SHARE_WORD[i as usize],
    }
}

/// Word `i` of S_c := 0.
const fn erase(i: u8) -> StoreRule {
    StoreRule {
        at: 8 * i as u64,
        len: 8,
        value: Lane::Zero,
        how: How::Plain,
        after_check: false,
        effect: SHARE_WORD[i as usize],
    }
}

const SHARES: &[Piece] = &[piece(0, Lane::Linear(s(0))), piece(16, Lane::Linear(s(1)))];

pub(crate) const fn memory(name: &'static str, loads: &'static [Piece]) -> Argument {
    Argument::Memory {
        name,
        loads,
        stores: &[],
        flush: 0,
    }
}

pub(crate) const SHARE: Argument = memory("share", SHARES);
const REFRESHED_SHARE: Argument = Argument::Memory {
    name: "share",
    loads: SHARES,
    stores: &[add(0), add(1), add(2), add(3)],
    flush: SHARE_FLUSHED,
};
const ERASED_SHARE: Argument = Argument::Memory {
    name: "share",
    loads: SHARES,
    stores: &[erase(0), erase(1), erase(2), erase(3)],
    flush: SHARE_FLUSHED,
};
const CHECK: Argument = memory("check", &[piece(0, Lane::Expected)]);
const NEW_CHECK: Argument = Argument::Memory {
    name: "check",
    loads: &[],
    stores: &[store(0, Lane::CheckValue, false, OUT[0])],
    flush: 0,
};
const MASTER: Argument = memory(
    "m",
    &[piece(0, Lane::Linear(m(0))), piece(16, Lane::Linear(m(1)))],
);
const INPUTS: Argument = memory(
    "inputs",
    &[piece(0, Lane::Input(0)), piece(16, Lane::Input(1))],
);

/// The line by which M goes from CPU to CPU.
const fn line(loads: &'static [Piece], stores: &'static [StoreRule]) -> Argument {
    Argument::Memory {
        name: "line",
        loads,
        stores,
        flush: LINE_FLUSHED,
    }
}

const ZEROED: &[StoreRule] = &[
    store(0, Lane::Zero, false, LINE_ZERO[0]),
    store(16, Lane::Zero, false, LINE_ZERO[1]),
];
const OUTPUTS: &[StoreRule] = &[
    store(0, Lane::Linear(f(0)), true, OUT[0]),
    store(16, Lane::Linear(f(1)), true, OUT[1]),
];
const GIVEN_PAD: Argument = line(&[], OUTPUTS);
const SLOT_KEY: Argument = Argument::Memory {
    name: "out",
    loads: &[],
    stores: OUTPUTS,
    flush: 0,
};
const GIVEN_MASKED: Argument = line(
    &[],
    &[
        store(0, Lane::Linear(m(0) | f(0)), true, OUT[0]),
        store(16, Lane::Linear(m(1) | f(1)), true, OUT[1]),
    ],
);
const TAKEN_PAD: Argument = line(
    &[
        piece(0, Lane::Linear(pad(0))),
        piece(16, Lane::Linear(pad(1))),
    ],
    ZEROED,
);
const TAKEN_MASKED: Argument = line(
    &[
        piece(0, Lane::Linear(m(0) | pad(0))),
        piece(16, Lane::Linear(m(1) | pad(1))),
    ],
    ZEROED,
);

/// Both shares of M meet: what DR0-DR3 hold of it.
const ARMED: [Atoms; 2] = [m(0) | s(0), m(1) | s(1)];
const REFRESHED: [Atoms; 2] = [m(0) | s(0) | f(0), m(1) | s(1) | f(1)];
const PADDED: [Atoms; 2] = [pad(0), pad(1)];

/// A routine that reads M from the debug registers and changes nothing.
pub(crate) const READER: Contract = Contract {
    routine: "",
    arguments: &[],
    registers: Some(ARMED),
    new_registers: None,
    clears_registers: false,
    scheme: None,
    status: true,
    on_success: 0,
    on_failure: 0,
};

/// The contracts of what is not about data.
pub const KEY_CONTRACTS: &[Contract] = &[
    Contract {
        routine: "check",
        arguments: &[SHARE, CHECK],
        ..READER
    },
    Contract {
        routine: "arm",
        arguments: &[SHARE, MASTER, NEW_CHECK],
        registers: None,
        new_registers: Some((ARMED, false)),
        status: false,
        on_success: REGISTERS | OUT[0],
        ..READER
    },
    Contract {
        routine: "peek_check",
        arguments: &[MASTER, NEW_CHECK],
        registers: None,
        status: false,
        on_success: OUT[0],
        ..READER
    },
    Contract {
        routine: "refresh",
        arguments: &[REFRESHED_SHARE, CHECK, INPUTS],
        new_registers: Some((REFRESHED, true)),
        on_success: REGISTERS | SHARE_CHANGED,
        ..READER
    },
    Contract {
        routine: "give_pad",
        arguments: &[SHARE, CHECK, INPUTS, GIVEN_PAD],
        on_success: OUT[0] | OUT[1],
        ..READER
    },
    Contract {
        routine: "give_masked",
        arguments: &[SHARE, CHECK, INPUTS, GIVEN_MASKED],
        on_success: OUT[0] | OUT[1],
        ..READER
    },
    Contract {
        routine: "slot_key",
        arguments: &[SHARE, CHECK, INPUTS, SLOT_KEY],
        on_success: OUT[0] | OUT[1],
        ..READER
    },
    Contract {
        routine: "take_pad",
        arguments: &[SHARE, TAKEN_PAD],
        registers: None,
        new_registers: Some((PADDED, false)),
        status: false,
        on_success: REGISTERS | LINE_GONE,
        ..READER
    },
    Contract {
        routine: "take_masked",
        arguments: &[ERASED_SHARE, CHECK, TAKEN_MASKED],
        registers: Some(PADDED),
        new_registers: Some((ARMED, true)),
        clears_registers: true,
        on_success: REGISTERS | LINE_GONE,
        on_failure: REGISTERS | LINE_GONE | SHARE_CHANGED,
        ..READER
    },
    Contract {
        routine: "wipe",
        arguments: &[SHARE],
        registers: None,
        clears_registers: true,
        status: false,
        on_success: REGISTERS,
        ..READER
    },
];

/// What effects mean, for messages.
pub fn effects(bits: u32) -> String {
    const NAMES: [&str; 14] = [
        "DR0 written",
        "DR1 written",
        "DR2 written",
        "DR3 written",
        "line[0..16] zeroed",
        "line[16..32] zeroed",
        "line flushed",
        "S[0..8] changed",
        "S[8..16] changed",
        "S[16..24] changed",
        "S[24..32] changed",
        "S flushed",
        "first half of the output stored",
        "second half of the output stored",
    ];
    let named: Vec<_> = (0..NAMES.len())
        .filter(|i| bits >> i & 1 != 0)
        .map(|i| NAMES[i])
        .collect();
    named.join(", ")
}

/// The contract of the routine that a symbol names, and no contract if its variant has no such one.
pub fn of(symbol: &str) -> Option<&'static Contract> {
    let (variant, routine) = VARIANTS
        .iter()
        .find_map(|v| Some((v, symbol.strip_prefix(v.prefix)?)))?;
    variant.contracts().find(|c| c.routine == routine)
}
