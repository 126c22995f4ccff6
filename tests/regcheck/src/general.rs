// SPDX-License-Identifier: GPL-2.0-or-later

//! Instructions on general and debug registers.

use iced_x86::OpKind;

use crate::finding::Rule;
use crate::lane::Atoms;
use crate::state::{Flags, General, Mask, OfLength};
use crate::step::Step;
use crate::stream::LOWEST_BYTES;

impl Step<'_> {
    pub(crate) fn mixed_operands(&mut self) -> General {
        let secret = (0..self.instruction.op_count()).any(|n| self.read_general(n).is_secret());
        if secret {
            General::Secret
        } else {
            General::Public
        }
    }

    pub(crate) fn set_flags(&mut self, value: General) {
        self.state.flags = if value.is_secret() {
            Flags::Secret
        } else {
            Flags::Public
        };
    }

    pub(crate) fn flags_of_operands(&mut self) -> Flags {
        match self.mixed_operands() {
            General::Secret => Flags::Secret,
            _ => Flags::Public,
        }
    }

    pub(crate) fn general_move(&mut self) {
        let (to, from) = (
            self.instruction.op_register(0),
            self.instruction.op_register(1),
        );
        if from.is_dr() {
            self.read_debug_register(from.number());
        } else if to.is_dr() {
            self.write_debug_register(to.number());
        } else if to.is_segment_register()
            || from.is_segment_register()
            || to.is_cr()
            || from.is_cr()
        {
            self.unknown("moves to or from a control or segment register");
        } else if self.operand_is_memory(0) {
            let value = self.read_general(1);
            self.store_general(value);
        } else {
            // A second register with the length would not see it change.
            let value = match self.read_general(1) {
                General::Length => General::OfLength(OfLength::Copy),
                General::LengthLess(_) => General::Public,
                value => value,
            };
            self.write_general(0, value);
        }
    }

    pub(crate) fn add(&mut self) {
        let immediate = self.immediate(1);
        let whole = self.instruction.op0_register().is_gpr64();
        let old = self.read_general(0);
        if let (General::LengthLess(n), Some(m), true) = (old, immediate, whole) {
            if n == m {
                self.write_general(0, General::Length);
                self.state.flags = Flags::LengthLeft;
                return;
            }
        }
        if let (General::OfLength(OfLength::Part), Some(16), true) = (old, immediate, whole) {
            self.write_general(0, General::OfLength(OfLength::Tail));
            self.state.flags = Flags::Public;
            return;
        }
        // To the end of what is left, from where it begins: the tail.
        if let (General::Pointer { argument, offset }, None, true) = (old, immediate, whole) {
            if self.context.contract.arguments[argument].is_text()
                && self.read_general(1) == General::Length
            {
                self.write_general(0, General::Rest { argument, offset });
                self.state.flags = Flags::Public;
                return;
            }
        }
        let sum = match (old, immediate) {
            (General::Pointer { argument, offset }, Some(n)) => offset
                .checked_add(n as i64)
                .map(|offset| General::Pointer { argument, offset }),
            _ => None,
        };
        let mixed = self.mixed_operands();
        self.write_general(0, sum.unwrap_or(mixed));
        self.set_flags(mixed);
    }

    /// Takes `n` bytes, which are left, from the text: pointers are counted from behind them, and
    /// what was made of the length is the length's no more.
    fn consume(&mut self, n: u64) {
        self.state.left -= n;
        self.state.aligned &= n % 16 == 0;
        self.state.most = self.state.most.saturating_sub(n);
        let arguments = self.context.contract.arguments;
        self.state.each_general(|value| match value {
            General::Pointer { argument, offset } if arguments[argument].is_text() => {
                General::Pointer {
                    argument,
                    offset: offset - n as i64,
                }
            }
            value => value,
        });
        self.length_changed();
    }

    /// What was made of the length is the length's no more.
    fn length_changed(&mut self) {
        self.state.each_general(|value| match value {
            General::OfLength(_) => General::Public,
            value => value,
        });
        for mask in &mut self.state.masks {
            if let Mask::Text(_) = mask {
                *mask = Mask::Public;
            }
        }
    }

    /// Taking from the length moves what pointers to text are counted from; but if more may be taken
    /// than there is, only once it is known that it was there.
    pub(crate) fn subtract(&mut self) {
        let immediate = self.immediate(1);
        let mixed = self.mixed_operands();
        let whole = self.instruction.op0_register().is_gpr64();
        let (old, left) = (self.read_general(0), self.state.left);
        let sizes = |n: u64| n % 16 == 0 && n <= u64::from(u16::MAX);
        if let (General::Length, None, true) = (old, immediate, whole) {
            if self.read_general(1) == General::OfLength(OfLength::Tail) && left >= 17 {
                return self.keep_tail();
            }
        }
        match (old, immediate, whole) {
            (General::Tail, Some(16), true) => {
                self.write_general(0, General::TailPart);
                self.state.flags = Flags::Public;
            }
            // Pointers that are not there yet, as the text is used later: its length is still whole.
            (General::Length, Some(n), true) if n <= left && self.pointers_are_behind(n) => {
                self.consume(n);
                self.state.flags = Flags::LengthLeft;
            }
            (General::Length, Some(n), true) if sizes(n) => {
                self.write_general(0, General::LengthLess(n));
                self.state.flags = Flags::LengthAgainst(n);
            }
            (General::LengthLess(taken), Some(n), true) if taken <= left && sizes(n) => {
                self.consume(taken);
                self.write_general(0, General::LengthLess(n));
                self.state.flags = Flags::LengthAgainst(n);
            }
            _ => {
                self.write_general(0, mixed);
                self.set_flags(mixed);
            }
        }
    }

    /// Whether all pointers to text are so many bytes behind the first that is left.
    fn pointers_are_behind(&self, n: u64) -> bool {
        self.state.general.iter().all(|value| match value {
            General::Pointer { argument, offset }
                if self.context.contract.arguments[*argument].is_text() =>
            {
                u64::try_from(*offset).is_ok_and(|offset| offset >= n)
            }
            _ => true,
        })
    }

    /// The length without its last whole block and the bytes behind it, which are 17 at least.
    fn keep_tail(&mut self) {
        self.state.each_general(|value| match value {
            General::OfLength(OfLength::Tail) => General::Tail,
            value => value,
        });
        self.length_changed();
        self.state.left = self.state.left.saturating_sub(31) / 16 * 16;
        self.state.aligned = true;
        self.state.tail = true;
        self.state.flags = Flags::LengthLeft;
    }

    /// What is more than a multiple of 16; else something of both.
    pub(crate) fn and(&mut self) {
        if self.operand_is_memory(0) {
            return self.fault(Rule::Stores, "an and to memory");
        }
        let whole = self.instruction.op0_register().is_gpr64();
        let residue = matches!(
            (self.read_general(0), self.immediate(1)),
            (General::OfLength(OfLength::Copy), Some(15))
        );
        if residue && whole {
            self.write_general(0, General::OfLength(OfLength::Residue));
            self.state.flags = Flags::Residue;
            return;
        }
        let value = self.mixed_operands();
        self.write_general(0, value);
        self.set_flags(value);
    }

    /// Testing a register for zero with itself; else something public, or secret.
    pub(crate) fn test(&mut self) {
        let same = self.instruction.op_kind(1) == OpKind::Register
            && self.instruction.op0_register() == self.instruction.op1_register()
            && self.instruction.op0_register().is_gpr64();
        self.state.flags = match self.read_general(0) {
            General::Length if same => Flags::LengthLeft,
            General::Tail | General::MaybeTail if same => {
                Flags::Tail(self.instruction.op0_register().number())
            }
            General::LengthLess(taken) if same && taken <= self.state.left => {
                self.consume(taken);
                self.write_general(0, General::Length);
                Flags::LengthLeft
            }
            _ => self.flags_of_operands(),
        };
    }

    pub(crate) fn decrement(&mut self) {
        let whole = self.instruction.op0_register().is_gpr64();
        let value = match self.read_general(0) {
            General::OfLength(OfLength::BitBehind) if whole => General::OfLength(OfLength::Mask(0)),
            _ => self.mixed_operands(),
        };
        self.write_general(0, value);
        self.set_flags(value);
    }

    pub(crate) fn shift_right(&mut self) {
        let whole = self.instruction.op0_register().is_gpr64();
        let value = match (self.read_general(0), self.immediate(1)) {
            (General::OfLength(OfLength::Copy), Some(3)) if whole => {
                General::OfLength(OfLength::Quadwords)
            }
            (General::OfLength(OfLength::Mask(n)), Some(8)) if whole && n < 8 => {
                General::OfLength(OfLength::Mask(n + 1))
            }
            _ => self.mixed_operands(),
        };
        self.write_general(0, value);
        self.set_flags(value);
    }

    /// `bts` takes the bit's number modulo 64: it is the length's only if the length is below 512.
    pub(crate) fn set_bit(&mut self) {
        if self.operand_is_memory(0) {
            return self.fault(Rule::Stores, "a bit is set in memory");
        }
        let whole = self.instruction.op0_register().is_gpr64();
        let value = match (self.read_general(0), self.read_general(1)) {
            (General::Number(0), General::OfLength(OfLength::Quadwords))
                if whole && self.state.most < 512 =>
            {
                General::OfLength(OfLength::BitBehind)
            }
            _ => self.mixed_operands(),
        };
        self.write_general(0, value);
        self.set_flags(value);
    }

    pub(crate) fn move_mask(&mut self) {
        let (to, from) = (
            self.instruction.op_register(0),
            self.instruction.op_register(1),
        );
        if !to.is_k() || !from.is_gpr64() {
            return self.unknown("moves a mask other than from a general register");
        }
        self.state.masks[to.number()] = match self.read_general(1) {
            General::OfLength(OfLength::Mask(n)) => Mask::Text(n),
            General::Number(LOWEST_BYTES) => Mask::LowestBytes,
            value if value.is_secret() => Mask::Secret,
            _ => Mask::Public,
        };
    }

    pub(crate) fn xor(&mut self) {
        if self.operand_is_memory(0) {
            let value = self.read_general(1);
            if self.instruction.has_lock_prefix() {
                self.store_locked_xor(value);
            } else {
                self.fault(Rule::Stores, "xor to memory without lock");
            }
            self.set_flags(General::Secret);
            return;
        }
        let registers = (
            self.instruction.op_register(0),
            self.instruction.op_register(1),
        );
        let same = registers.0 == registers.1 && self.instruction.op_kind(1) == OpKind::Register;
        let value = if same {
            General::Number(0)
        } else {
            self.mixed_operands()
        };
        self.write_general(0, value);
        self.set_flags(value);
    }

    fn read_debug_register(&mut self, number: usize) {
        let meaning = match (number, self.context.contract.registers) {
            (0..=3, Some(pairs)) if !self.state.registers_written => Some(pairs[number / 2]),
            _ => None,
        };
        let value = match meaning {
            Some(atoms) => General::Word {
                atoms,
                half: (number % 2) as u8,
            },
            None => {
                self.fault(
                    Rule::Windows,
                    format!("DR{number} is not one that this routine may read here"),
                );
                General::Secret
            }
        };
        if !self.context.windows.redoes(self.instruction.ip()) {
            self.fault(
                Rule::Windows,
                format!("DR{number} is read outside of a window that runs again"),
            );
        }
        self.write_general(0, value);
    }

    fn write_debug_register(&mut self, number: usize) {
        let value = self.read_general(1);
        let contract = self.context.contract;
        let half = (number % 2) as u8;
        let allowed = |pairs: [Atoms; 2]| General::Word {
            atoms: pairs[number / 2],
            half,
        };
        match (contract.new_registers, value) {
            _ if number > 3 => self.fault(
                Rule::Windows,
                format!("DR{number} is written, which controls breakpoints"),
            ),
            (_, General::Number(0)) if contract.clears_registers => {}
            (Some((pairs, after_check)), value) if value == allowed(pairs) => {
                if after_check && !self.state.checked {
                    self.fault(
                        Rule::CheckFirst,
                        format!("DR{number} is written before the check value was compared"),
                    );
                }
                if !self.context.windows.redoes(self.instruction.ip()) {
                    self.fault(
                        Rule::Windows,
                        format!("DR{number} is written outside of a window that runs again"),
                    );
                }
            }
            _ => self.fault(
                Rule::Stores,
                format!("DR{number} is given a value that the contract does not name"),
            ),
        }
        self.state.registers_written = true;
        if number <= 3 {
            self.state.effects |= 1 << number;
        }
    }
}
