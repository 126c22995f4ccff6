// SPDX-License-Identifier: GPL-2.0-or-later

//! What lanes are called in messages.

use std::fmt;

use crate::lane::{Atoms, Lane};

impl fmt::Display for Lane {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lane::Zero => out.write_str("zero"),
            Lane::Public => out.write_str("something public"),
            Lane::CheckInput => out.write_str("the check input"),
            Lane::Expected => out.write_str("the expected check value"),
            Lane::Input(i) => write!(out, "input {i} of F"),
            Lane::Iv => out.write_str("the IV"),
            Lane::Linear(atoms) => write!(out, "{}", names(*atoms, " xor ")),
            Lane::Low(atoms) => write!(out, "the low half of {}", names(*atoms, " xor ")),
            Lane::Key(atoms) => write!(out, "round-key material of {}", names(*atoms, ", ")),
            Lane::Block(b) => write!(
                out,
                "a block ({:?}{}{}) after {} rounds{}",
                b.origin,
                if b.tweaked { ", tweak in" } else { "" },
                if b.keyed { ", first key in" } else { "" },
                b.rounds,
                if b.done { ", the last included" } else { "" }
            ),
            Lane::CheckValue => out.write_str("the computed check value"),
            Lane::CheckDifference => out.write_str("the difference of the check values"),
            Lane::Tweak | Lane::TweakSum => out.write_str("a tweak"),
            Lane::TweakDoubled | Lane::TweakMoved | Lane::TweakCarry => {
                out.write_str("a part of a tweak")
            }
            Lane::TweakParts(_) | Lane::Stream(_) | Lane::Product(_) => {
                out.write_str("a part of a tweak")
            }
            Lane::LastKey(atoms) => write!(
                out,
                "a tweak xor round-key material of {}",
                names(*atoms, ", ")
            ),
            Lane::Counter => out.write_str("a counter"),
            Lane::Text | Lane::TextPart(_) => out.write_str("text"),
            Lane::KeyStream => out.write_str("key stream"),
            Lane::OutputPart(n) => write!(out, "{n} bytes of output before key stream"),
            Lane::Chain => out.write_str("what the first block is chained to"),
            Lane::Stolen => out.write_str("a block of which bytes are stolen"),
            Lane::StolenOutput => out.write_str("the bytes of it that are not"),
            Lane::PartLength | Lane::PartLengths => out.write_str("the length of a part"),
            Lane::FromMinus16 | Lane::ToTheEnd => out.write_str("a shuffle"),
            Lane::Output => out.write_str("a finished block"),
            Lane::Secret => out.write_str("a secret of unknown kind"),
        }
    }
}

/// The names of atoms, for messages.
pub fn names(atoms: Atoms, between: &str) -> String {
    const NAMES: [&str; 10] = [
        "M[0]", "M[1]", "S[0]", "S[1]", "pad[0]", "pad[1]", "F[0]", "F[1]", "F[2]", "F[3]",
    ];
    let named: Vec<_> = (0..NAMES.len())
        .filter(|i| atoms >> i & 1 != 0)
        .map(|i| NAMES[i])
        .collect();
    named.join(between)
}
