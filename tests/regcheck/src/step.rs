// SPDX-License-Identifier: GPL-2.0-or-later

//! What one instruction does to the state, and which rules it breaks.

use iced_x86::{
    EncodingKind, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};

use crate::contract::{Argument, Contract};
use crate::finding::Rule;
use crate::image::Image;
use crate::lane::Lane;
use crate::state::{Flags, General, Mask, State, Vector, LANES};
use crate::table::{op, Op};
use crate::vectors;
use crate::windows::Windows;

/// What stays the same within a routine.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The file.
    pub image: &'a Image,
    /// The section that the routine lies in.
    pub section: usize,
    /// What the routine may do.
    pub contract: &'a Contract,
    /// All windows of the table.
    pub windows: &'a Windows,
}

/// One instruction at work.
pub struct Step<'a> {
    pub(crate) context: Context<'a>,
    pub(crate) instruction: &'a Instruction,
    pub(crate) state: State,
    /// Rules broken, with what is wrong.
    pub faults: Vec<(Rule, String)>,
}

/// The number of a general register, if it is one of 32 or 64 bits: writing the lower 32 zeroes the
/// others, so that both change all of it.
pub(crate) fn general(register: Register) -> Option<usize> {
    (register.is_gpr32() || register.is_gpr64()).then(|| register.full_register().number())
}

/// rbx, rbp, r12 to r15, which callers keep things in. (rsp is refused before.)
fn belongs_to_caller(number: usize) -> bool {
    matches!(number, 3 | 5 | 12..=15)
}

pub(crate) const RAX: usize = 0;

impl<'a> Step<'a> {
    /// Runs `instruction` on `state`.
    pub fn run(context: Context<'a>, instruction: &'a Instruction, state: &State) -> Self {
        let mut step = Step {
            context,
            instruction,
            state: state.clone(),
            faults: Vec::new(),
        };
        step.boundary();
        step.operands();
        match op(instruction.mnemonic()) {
            Some(op) => step.apply(op),
            None => step.unknown("is not in the table of known instructions"),
        }
        step
    }

    /// The state after it.
    pub fn after(self) -> State {
        self.state
    }

    pub(crate) fn fault(&mut self, rule: Rule, what: impl Into<String>) {
        let fault = (rule, what.into());
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// An instruction of unknown effect: whatever it writes may now hold a secret.
    pub(crate) fn unknown(&mut self, what: &str) {
        self.fault(Rule::Instructions, format!("this instruction {what}"));
        let mut factory = InstructionInfoFactory::new();
        for used in factory.info(self.instruction).used_registers() {
            if matches!(used.access(), OpAccess::Read | OpAccess::CondRead) {
                continue;
            }
            let register = used.register().full_register();
            if register.is_gpr() {
                self.state.general[register.number()] = General::Secret;
            } else if register.is_zmm() || register.is_vector_register() {
                self.state.vectors[register.number()] = [Lane::Secret; LANES];
            } else if register.is_k() {
                self.state.masks[register.number()] = Mask::Secret;
            }
        }
        self.state.flags = Flags::Secret;
    }

    /// What must hold at the boundary before the instruction: here an interrupt or NMI may come.
    fn boundary(&mut self) {
        let ip = self.instruction.ip();
        for (number, value) in self.state.general.into_iter().enumerate() {
            if !value.is_secret() {
                continue;
            }
            if number != RAX {
                self.fault(
                    Rule::Windows,
                    format!("general register {number} holds a secret; only rax may"),
                );
            } else if !self.context.windows.covers(ip) {
                self.fault(Rule::Windows, "rax holds a secret outside of a window");
            }
        }
    }

    /// What is refused of any instruction: the stack, callers' registers, MMX, segments.
    fn operands(&mut self) {
        let mut factory = InstructionInfoFactory::new();
        let info = factory.info(self.instruction);
        let used: Vec<_> = info.used_registers().to_vec();
        let memory: Vec<_> = info.used_memory().to_vec();
        for used in used {
            let register = used.register();
            let written = !matches!(used.access(), OpAccess::Read | OpAccess::CondRead);
            if register.full_register() == Register::RSP || register == Register::SS {
                self.fault(Rule::Flow, "the stack is used");
            } else if register.is_mm() || register.is_st() || register.is_tmm() {
                self.fault(
                    Rule::Instructions,
                    "an MMX, x87 or tile register is used, which no rule covers",
                );
            } else if register.is_gpr() {
                let number = register.full_register().number();
                if written && belongs_to_caller(number) {
                    self.fault(
                        Rule::Flow,
                        "a register that belongs to the caller is changed, and cannot have been saved",
                    );
                }
                if general(register).is_none() {
                    self.fault(Rule::Instructions, "only a part of a register is used");
                }
            }
        }
        if self.instruction.is_stack_instruction() {
            self.fault(Rule::Flow, "the stack is used");
        }
        let writes = memory
            .iter()
            .any(|m| !matches!(m.access(), OpAccess::Read | OpAccess::NoMemAccess));
        let known = matches!(
            op(self.instruction.mnemonic()),
            Some(Op::Move | Op::Xor | Op::VectorMove | Op::Quadword | Op::Part | Op::Flush)
        );
        if writes && !known {
            self.fault(
                Rule::Stores,
                "this instruction writes memory, and is none of the stores that are known",
            );
        }
        if self.instruction.has_rep_prefix() || self.instruction.has_repne_prefix() {
            self.fault(Rule::Instructions, "a repeat prefix");
        }
        // Padding has one, and touches no memory.
        let padding = self.instruction.mnemonic() == Mnemonic::Nop;
        if self.instruction.segment_prefix() != Register::None && !padding {
            self.fault(Rule::Stores, "a segment override");
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Nothing => {}
            Op::Flush => {
                if let Some(place) = self.place() {
                    if let Some((argument, _)) = place.argument() {
                        if let Argument::Memory { flush, .. } =
                            self.context.contract.arguments[argument]
                        {
                            self.state.effects |= flush;
                        }
                    }
                }
            }
            Op::Branch => {}
            Op::Move => self.general_move(),
            Op::Add => self.add(),
            Op::Subtract => self.subtract(),
            Op::Decrement => self.decrement(),
            Op::ShiftRight => self.shift_right(),
            Op::SetBit => self.set_bit(),
            Op::MoveMask => self.move_mask(),
            Op::Xor => self.xor(),
            Op::And => self.and(),
            Op::Combine => {
                let value = self.mixed_operands();
                self.write_general(0, value);
                self.set_flags(value);
            }
            Op::Compare => {
                let immediate = self.immediate(1);
                self.state.flags = match (self.read_general(0), immediate) {
                    (General::Length, Some(n)) => Flags::LengthAgainst(n),
                    _ => self.flags_of_operands(),
                };
            }
            Op::Test => self.test(),
            _ => vectors::apply(self, op),
        }
    }

    pub(crate) fn operand_is_memory(&self, n: u32) -> bool {
        self.instruction.op_kind(n) == OpKind::Memory
    }

    pub(crate) fn immediate(&self, n: u32) -> Option<u64> {
        let is = !matches!(
            self.instruction.op_kind(n),
            OpKind::Register | OpKind::Memory
        );
        is.then(|| self.instruction.immediate(n))
    }

    /// What a general operand holds.
    pub(crate) fn read_general(&mut self, n: u32) -> General {
        match self.instruction.op_kind(n) {
            OpKind::Register => match general(self.instruction.op_register(n)) {
                Some(number) => self.state.general[number],
                None => General::Secret,
            },
            OpKind::Memory => self.load_general(),
            _ => General::Number(self.instruction.immediate(n)),
        }
    }

    pub(crate) fn write_general(&mut self, n: u32, value: General) {
        let register = self.instruction.op_register(n);
        match general(register) {
            Some(number) => {
                // What was a pointer or a length of 64 bits is none of 32.
                let value = match value {
                    General::Pointer { .. }
                    | General::Rest { .. }
                    | General::Tail
                    | General::MaybeTail
                    | General::TailPart
                    | General::Length
                    | General::LengthLess(_)
                    | General::OfLength(_)
                        if register.is_gpr32() =>
                    {
                        General::Public
                    }
                    General::Word { .. } if register.is_gpr32() => General::Secret,
                    General::Number(n) if register.is_gpr32() => General::Number(n & 0xffff_ffff),
                    value => value,
                };
                self.state.general[number] = value;
            }
            None => self.unknown("writes a register that is not followed"),
        }
    }

    /// The lanes of a vector operand, of which `lanes` take part.
    pub(crate) fn vector(&mut self, n: u32, lanes: usize) -> Vector {
        match self.instruction.op_kind(n) {
            OpKind::Register if self.instruction.op_register(n).is_vector_register() => {
                self.state.vectors[self.instruction.op_register(n).number()]
            }
            OpKind::Memory => self.load_vector(lanes),
            _ => [Lane::Secret; LANES],
        }
    }

    /// Gives a vector register the `lanes` lanes of `value`; the others stay, or become zero if the
    /// encoding does that.
    pub(crate) fn write_vector(&mut self, n: u32, lanes: usize, value: Vector) {
        let register = self.instruction.op_register(n);
        if !register.is_vector_register() {
            return self.unknown("writes a register that is not followed");
        }
        let mask = self.instruction.op_mask();
        if mask != Register::None && self.state.masks[mask.number()] == Mask::Secret {
            self.fault(Rule::Timing, "a mask register holds a secret");
        }
        let legacy = self.instruction.encoding() == EncodingKind::Legacy;
        let old = self.state.vectors[register.number()];
        let mut new = value;
        for i in 0..LANES {
            if i >= lanes {
                new[i] = if legacy { old[i] } else { Lane::Zero };
            } else if mask != Register::None && !self.masked_text() {
                let rest = if self.instruction.zeroing_masking() {
                    Lane::Zero
                } else {
                    old[i]
                };
                // Bytes are the elements of this instruction alone that masks of bytes are for.
                if self.instruction.mnemonic() == Mnemonic::Vpalignr
                    && self.state.masks[mask.number()] == Mask::LowestBytes
                    && !self.instruction.zeroing_masking()
                {
                    new[i] = rest.with_lowest_byte(new[i]);
                    continue;
                }
                // Some elements of each: of the same kind only if nothing depends on which.
                new[i] = if new[i] == rest || new[i].is_public() && rest.is_public() {
                    new[i].join(rest)
                } else {
                    Lane::Secret
                };
            }
        }
        self.state.vectors[register.number()] = new;
    }
}
