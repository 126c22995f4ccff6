// SPDX-License-Identifier: GPL-2.0-or-later

//! Loads and stores: where an operand in memory lies, and what the contract says of that place.

use iced_x86::Register;
use object::elf;

use crate::contract::{Argument, How, Piece, StoreRule};
use crate::finding::Rule;
use crate::image::Target;
use crate::lane::{Block, Lane, Mode, Origin};
use crate::state::{General, Vector, LANES};
use crate::step::{general, Step};

/// A place in memory that is known well enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a section that nobody can write.
    Constant {
        /// Which section.
        section: usize,
        /// Offset there.
        offset: u64,
    },
    /// In what an argument points to.
    Argument {
        /// Which argument.
        argument: usize,
        /// Offset there; for text from the first byte that the length still covers.
        offset: i64,
    },
    /// In the tail of text, which is certain to be there.
    Tail {
        /// Which argument.
        argument: usize,
        /// From the tail's start, or from as many bytes behind it as its part has.
        behind_part: bool,
        /// Bytes from there.
        offset: i64,
    },
}

impl Place {
    /// The argument and the offset, if it is in one.
    pub fn argument(self) -> Option<(usize, i64)> {
        match self {
            Place::Argument { argument, offset } => Some((argument, offset)),
            Place::Constant { .. } | Place::Tail { .. } => None,
        }
    }

    /// So many bytes farther.
    fn plus(self, at: u64) -> Self {
        match self {
            Place::Constant { section, offset } => Place::Constant {
                section,
                offset: offset.wrapping_add(at),
            },
            Place::Argument { argument, offset } => Place::Argument {
                argument,
                offset: offset.saturating_add_unsigned(at),
            },
            Place::Tail {
                argument,
                behind_part,
                offset,
            } => Place::Tail {
                argument,
                behind_part,
                offset: offset.saturating_add_unsigned(at),
            },
        }
    }
}

impl Step<'_> {
    /// Where the memory operand lies; if that is not known, a finding.
    pub(crate) fn place(&mut self) -> Option<Place> {
        let instruction = self.instruction;
        if instruction.is_ip_rel_memory_operand() {
            return self.constant_place();
        }
        let (base, index) = (instruction.memory_base(), instruction.memory_index());
        for register in [base, index] {
            let secret = match general(register) {
                Some(number) => self.state.general[number].is_secret(),
                None => register != Register::None,
            };
            if secret {
                self.fault(Rule::Timing, "an address depends on a secret");
                return None;
            }
        }
        let base = general(base).map(|number| self.state.general[number]);
        let index_holds = general(index).map(|number| self.state.general[number]);
        let displacement = instruction.memory_displacement64() as i64;
        match base {
            Some(General::Pointer { argument, offset }) if index == Register::None => offset
                .checked_add(displacement)
                .map(|offset| Place::Argument { argument, offset }),
            Some(General::Rest { argument, offset }) => {
                let offset = offset.saturating_add(displacement);
                let scale = instruction.memory_index_scale();
                let (behind_part, offset) = match index_holds {
                    None if index == Register::None => (false, offset),
                    Some(General::Tail) if scale == 1 => (true, offset.saturating_add(16)),
                    Some(General::TailPart) if scale == 1 => (true, offset),
                    _ => {
                        self.fault(Rule::Stores, "this place in the tail of text is not known");
                        return None;
                    }
                };
                Some(Place::Tail {
                    argument,
                    behind_part,
                    offset,
                })
            }
            _ => {
                self.fault(
                    Rule::Stores,
                    "this address is none that an argument gives, with a known offset",
                );
                None
            }
        }
    }

    /// A constant's place, by the relocation of the displacement.
    fn constant_place(&mut self) -> Option<Place> {
        let image = self.context.image;
        let code = &image.sections[self.context.section];
        let (start, end) = (self.instruction.ip(), self.instruction.next_ip());
        if let Some((at, relocation)) = code.relocations.range(start..end).next() {
            if let (Target::Here { section, offset }, elf::R_X86_64_PC32 | elf::R_X86_64_PLT32) =
                (&relocation.target, relocation.kind)
            {
                let target = &image.sections[*section];
                let offset = offset
                    .wrapping_add_signed(relocation.addend)
                    .wrapping_add(end - at);
                if target.loaded && !target.writable && !target.executable {
                    return Some(Place::Constant {
                        section: *section,
                        offset,
                    });
                }
            }
        }
        self.fault(
            Rule::Stores,
            "this address, relative to the code, is not in a section of constants",
        );
        None
    }

    /// The lane that 16 bytes at `place` (of which `len` are read) hold.
    pub(crate) fn load(&mut self, place: Place, len: u64) -> Lane {
        match place {
            Place::Constant { section, offset } => {
                let Some(bytes) = self.context.image.bytes(section, offset, len) else {
                    self.fault(Rule::Stores, "this constant is not within its section");
                    return Lane::Secret;
                };
                if bytes == tresor_cipher::CHECK_INPUT {
                    Lane::CheckInput
                } else if bytes.iter().all(|b| *b == 0) {
                    Lane::Zero
                } else if bytes.iter().copied().eq(240..=255) {
                    Lane::FromMinus16
                } else {
                    Lane::Public
                }
            }
            Place::Argument { argument, offset } => {
                match self.context.contract.arguments[argument] {
                    Argument::Source => {
                        self.text(offset, len);
                        let mode = self.context.contract.scheme.map(|scheme| scheme.mode);
                        match (mode, len) {
                            (Some(Mode::Ctr), 16) => Lane::Text,
                            (Some(Mode::Ctr), 1..=15) => Lane::TextPart(len as u8),
                            (_, 16) => Lane::Block(Block::new(Origin::Data)),
                            _ => Lane::Secret,
                        }
                    }
                    Argument::Memory { loads, .. } => self.load_piece(argument, loads, offset, len),
                    Argument::Destination | Argument::Length { .. } => {
                        self.fault(Rule::Stores, "a load from where output goes");
                        Lane::Secret
                    }
                }
            }
            Place::Tail {
                argument, offset, ..
            } => {
                self.tail(offset, len);
                match self.context.contract.arguments[argument] {
                    Argument::Source if len == 16 => Lane::Block(Block::new(Origin::Tail)),
                    Argument::Source => Lane::Secret,
                    _ => {
                        self.fault(Rule::Stores, "a load from where output goes");
                        Lane::Secret
                    }
                }
            }
        }
    }

    fn load_piece(&mut self, argument: usize, loads: &[Piece], offset: i64, len: u64) -> Lane {
        if self.state.written >> argument & 1 != 0 {
            // It no longer holds what it held.
            return Lane::Secret;
        }
        let piece = u64::try_from(offset).ok().and_then(|offset| {
            let covers = |p: &&Piece| {
                let from = offset.checked_sub(p.at);
                from.is_some_and(|from| len <= p.len && from <= p.len - len)
            };
            loads.iter().find(covers)
        });
        match piece {
            Some(piece) if piece.len == len => piece.holds,
            Some(piece) if piece.holds.is_public() => Lane::Public,
            Some(_) => Lane::Secret,
            None => {
                self.fault(
                    Rule::Stores,
                    format!(
                        "bytes {offset} to {} of {} are not the routine's to read",
                        offset.saturating_add_unsigned(len),
                        self.context.contract.arguments[argument].name()
                    ),
                );
                Lane::Secret
            }
        }
    }

    /// A quadword (or less) for a general register.
    pub(crate) fn load_general(&mut self) -> General {
        let len = self.instruction.memory_size().size() as u64;
        let Some(place) = self.place() else {
            return General::Secret;
        };
        if self.load(place, len).is_public() {
            General::Public
        } else {
            General::Secret
        }
    }

    /// `lanes` lanes for a vector register.
    pub(crate) fn load_vector(&mut self, lanes: usize) -> Vector {
        let mut vector = [Lane::Zero; LANES];
        let Some(place) = self.place() else {
            return [Lane::Secret; LANES];
        };
        if self.masked_text() {
            // Blocks are there or not as a whole; one that is not is zero, and may stand in for one.
            if let Some((argument, _)) = place.argument() {
                if let Argument::Source = self.context.contract.arguments[argument] {
                    return [Lane::Block(Block::new(Origin::Data)); LANES];
                }
            }
        }
        let size = self.instruction.memory_size().size() as u64;
        if self.instruction.is_broadcast() || size < 16 {
            let public = self.load(place, size).is_public();
            let lane = if public { Lane::Public } else { Lane::Secret };
            return [lane; LANES];
        }
        for (i, lane) in vector.iter_mut().enumerate().take(lanes) {
            let place = place.plus(16 * i as u64);
            *lane = self.load(place, 16);
        }
        vector
    }

    /// Where a store goes, if the contract knows any there; else a finding.
    pub(crate) fn store_place(&mut self) -> Option<(usize, i64)> {
        let place = self.place()?;
        if let Place::Tail { .. } = place {
            self.fault(Rule::Stores, "this store may not go to the tail of text");
            return None;
        }
        let place = place.argument();
        match place {
            Some((argument, _)) => self.state.written |= 1 << argument,
            None => self.fault(Rule::Stores, "a store to a constant"),
        }
        place
    }

    pub(crate) fn before_check(&mut self, after_check: bool) {
        if after_check && !self.state.checked {
            self.fault(
                Rule::CheckFirst,
                "output is stored on a path that has not compared the check value",
            );
        }
    }

    /// Checks a store of `len` bytes at `offset` of an argument; `allowed` says which values are.
    fn store(
        &mut self,
        argument: usize,
        offset: i64,
        len: u64,
        how: How,
        value: String,
        allowed: impl Fn(&StoreRule) -> bool,
    ) {
        let Argument::Memory { stores, flush, .. } = self.context.contract.arguments[argument]
        else {
            return self.fault(Rule::Stores, "a store to where only input comes from");
        };
        let at = u64::try_from(offset).ok();
        let place = stores
            .iter()
            .filter(|rule| Some(rule.at) == at && rule.len == len && rule.how == how);
        let place: Vec<_> = place.collect();
        let Some(rule) = place.iter().find(|rule| allowed(rule)) else {
            return self.fault(
                Rule::Stores,
                if place.is_empty() {
                    format!(
                        "the contract knows no such store, of {len} bytes at {offset} of {}",
                        self.context.contract.arguments[argument].name()
                    )
                } else {
                    format!("{value} is stored where the contract wants something else")
                },
            );
        };
        self.before_check(rule.after_check);
        self.state.effects = self.state.effects & !flush | rule.effect;
    }

    /// Stores a general register.
    pub(crate) fn store_general(&mut self, value: General) {
        let len = self.instruction.memory_size().size() as u64;
        if let Some((argument, offset)) = self.store_place() {
            self.store(
                argument,
                offset,
                len,
                How::Plain,
                format!("{value:?}"),
                |rule| rule.value == Lane::Zero && value == General::Number(0),
            );
        }
    }

    /// `lock xor`s a general register.
    pub(crate) fn store_locked_xor(&mut self, value: General) {
        let len = self.instruction.memory_size().size() as u64;
        if !self.context.windows.redoes(self.instruction.ip()) {
            self.fault(Rule::Windows, "a locked xor outside of a window of its own");
        }
        if let Some((argument, offset)) = self.store_place() {
            self.store(
                argument,
                offset,
                len,
                How::LockedXor,
                format!("{value:?}"),
                |rule| match (rule.value, value) {
                    (Lane::Linear(wanted), General::Word { atoms, half }) => {
                        atoms == wanted && u64::from(half) == rule.at / 8 % 2
                    }
                    _ => false,
                },
            );
        }
    }

    /// Stores the first `lanes` lanes of a vector.
    pub(crate) fn store_vector(&mut self, lanes: usize, value: Vector) {
        let masked = self.instruction.op_mask() != Register::None;
        if masked
            && !self
                .place()
                .is_some_and(|place| self.text_under_mask(place))
        {
            return self.fault(
                Rule::Stores,
                "a masked store whose mask is not that of the text which is left there",
            );
        }
        if (self.instruction.memory_size().size()) != 16 * lanes {
            return self.fault(Rule::Stores, "a store of a part of a vector");
        }
        if let Some(Place::Tail {
            argument,
            behind_part,
            offset,
        }) = self.place()
        {
            return self.store_tail(argument, behind_part, offset, value[..lanes].to_vec());
        }
        let Some((argument, offset)) = self.store_place() else {
            return;
        };
        for (i, lane) in value.into_iter().enumerate().take(lanes) {
            let offset = offset.saturating_add_unsigned(16 * i as u64);
            if let Argument::Destination = self.context.contract.arguments[argument] {
                if !masked {
                    self.text(offset, 16);
                }
                self.before_check(true);
                self.finished(lane);
            } else {
                self.store(argument, offset, 16, How::Plain, lane.to_string(), |rule| {
                    rule.value == lane
                });
            }
        }
    }
}
