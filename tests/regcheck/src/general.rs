// SPDX-License-Identifier: GPL-2.0-or-later

//! Instructions on general and debug registers.

use iced_x86::OpKind;

use crate::contract::Argument;
use crate::finding::Rule;
use crate::lane::Atoms;
use crate::state::{Flags, General};
use crate::step::Step;

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
                General::Length => General::Public,
                value => value,
            };
            self.write_general(0, value);
        }
    }

    pub(crate) fn add(&mut self) {
        let immediate = self.immediate(1);
        let sum = match (self.read_general(0), immediate) {
            (General::Pointer { argument, offset }, Some(n)) => offset
                .checked_add(n as i64)
                .map(|offset| General::Pointer { argument, offset }),
            _ => None,
        };
        let mixed = self.mixed_operands();
        self.write_general(0, sum.unwrap_or(mixed));
        self.set_flags(mixed);
    }

    /// Taking from the length moves what pointers to text are counted from.
    pub(crate) fn subtract(&mut self) {
        let immediate = self.immediate(1);
        let mixed = self.mixed_operands();
        let whole = self.instruction.op0_register().is_gpr64();
        if let (General::Length, Some(n), true) = (self.read_general(0), immediate, whole) {
            if n <= self.state.left && n % 16 == 0 {
                self.state.left -= n;
                for register in &mut self.state.general {
                    if let General::Pointer { argument, offset } = register {
                        let text = matches!(
                            self.context.contract.arguments[*argument],
                            Argument::Source | Argument::Destination
                        );
                        if text {
                            *offset -= n as i64;
                        }
                    }
                }
                self.state.flags = Flags::LengthLeft;
                return;
            }
        }
        self.write_general(0, mixed);
        self.set_flags(mixed);
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
