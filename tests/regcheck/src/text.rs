// SPDX-License-Identifier: GPL-2.0-or-later

//! Text: how much of it there is, parts of it, its tail in XTS, and what may be stored in its place.

use iced_x86::{Mnemonic, OpKind, Register};

use crate::contract::Argument;
use crate::finding::Rule;
use crate::lane::{Lane, Mode};
use crate::memory::Place;
use crate::state::Mask;
use crate::step::Step;

impl Step<'_> {
    /// Checks that `len` bytes at `offset` of text are left.
    pub(crate) fn text(&mut self, offset: i64, len: u64) {
        let end = offset.checked_add_unsigned(len);
        let left = self.state.left;
        if offset < 0 || end.is_none_or(|end| end as u64 > left) {
            self.fault(
                Rule::Stores,
                format!(
                    "bytes {offset} to {} of the text are used, but only {left} are known to be left",
                    offset.saturating_add_unsigned(len)
                ),
            );
        }
    }

    /// Checks that `len` bytes are in the tail: it is at least 17 bytes, and so many more than 16 as its
    /// part has.
    pub(crate) fn tail(&mut self, offset: i64, len: u64) {
        if !self.state.tail {
            self.fault(
                Rule::Stores,
                "the tail of text is used on a path on which there may be none",
            );
        }
        if offset < 0 || offset.checked_add_unsigned(len).is_none_or(|end| end > 16) {
            self.fault(
                Rule::Stores,
                format!("bytes {offset} and {len} on are not in the tail of text"),
            );
        }
    }

    /// Whether the mask, the place and the width make the instruction touch no byte but such of the
    /// text: the quadwords of vector `n` that are there, under the mask of these.
    pub(crate) fn text_under_mask(&self, place: Place) -> bool {
        let instruction = self.instruction;
        let Some(Mask::Text(n)) = self.mask() else {
            return false;
        };
        let Some((argument, offset)) = place.argument() else {
            return false;
        };
        let text = matches!(
            self.context.contract.arguments[argument],
            Argument::Source | Argument::Destination
        );
        let quadwords = instruction.mnemonic() == Mnemonic::Vmovdqu64;
        let whole = instruction.memory_size().size() == 64;
        text && quadwords && whole && offset == 64 * i64::from(n)
    }

    fn mask(&self) -> Option<Mask> {
        let mask = self.instruction.op_mask();
        (mask != Register::None).then(|| self.state.masks[mask.number()])
    }

    /// Whether this is a load of text under the mask of what is there of it, and zeroes the rest.
    pub(crate) fn masked_text(&mut self) -> bool {
        if !self.instruction.zeroing_masking() || self.instruction.op1_kind() != OpKind::Memory {
            return false;
        }
        let place = self.place();
        place.is_some_and(|place| self.text_under_mask(place))
    }

    /// A part of a vector: text that is less than a block, zero above it.
    pub(crate) fn load_part(&mut self) -> Lane {
        let len = self.instruction.memory_size().size() as u64;
        match self.place().map(|place| self.load(place, len)) {
            Some(lane @ Lane::TextPart(_)) => lane,
            Some(lane) if lane.is_public() => Lane::Public,
            _ => Lane::Secret,
        }
    }

    /// Stores the first bytes of a vector: only of output, and only as many as are.
    pub(crate) fn store_part(&mut self, value: Lane) {
        let len = self.instruction.memory_size().size() as u64;
        let Some((argument, offset)) = self.store_place() else {
            return;
        };
        let whole = match value {
            Lane::Output => true,
            Lane::OutputPart(n) => len <= u64::from(n),
            _ => false,
        };
        let destination = matches!(
            self.context.contract.arguments[argument],
            Argument::Destination
        );
        if !whole || !destination || self.context.contract.scheme.map(|s| s.mode) != Some(Mode::Ctr)
        {
            return self.fault(Rule::Stores, "a store of a part of a vector");
        }
        self.text(offset, len);
        self.before_check(true);
    }

    /// Only finished blocks go to the destination; in XTS only such as cannot be the one before a part of
    /// a block, from which bytes are stolen.
    pub(crate) fn finished(&mut self, lane: Lane) {
        if lane != Lane::Output {
            self.fault(
                Rule::Stores,
                format!("{lane} is stored where only finished blocks may go"),
            );
        }
        let xts = self.context.contract.scheme.map(|s| s.mode) == Some(Mode::Xts);
        if xts && !self.state.aligned {
            self.fault(
                Rule::Stores,
                "a block is stored that may be the last before a part of one, which steals from it",
            );
        }
    }

    /// Stores to the tail of text: the block that was made of what was stolen, or, at its end, what was
    /// not.
    pub(crate) fn store_tail(
        &mut self,
        argument: usize,
        behind_part: bool,
        offset: i64,
        lanes: Vec<Lane>,
    ) {
        self.tail(offset, 16 * lanes.len() as u64);
        self.state.written |= 1 << argument;
        self.before_check(true);
        let destination = matches!(
            self.context.contract.arguments[argument],
            Argument::Destination
        );
        let masked = self.instruction.op_mask() != Register::None;
        let output = match lanes[..] {
            [Lane::Output] => true,
            [Lane::StolenOutput] => behind_part && offset == 0,
            _ => false,
        };
        if !destination || masked || !output {
            self.fault(
                Rule::Stores,
                format!(
                    "{} is stored where only finished blocks, or what of one was not stolen, may go",
                    lanes[0]
                ),
            );
        }
    }
}
