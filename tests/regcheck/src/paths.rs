// SPDX-License-Identifier: GPL-2.0-or-later

//! The instructions of a routine that some path reaches, and rule 2 about where paths go.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic};
use object::elf;

use crate::finding::Rule;
use crate::flow::{Walk, RETURN};
use crate::image::Target;

impl Walk<'_> {
    /// Follows all paths, without looking at what instructions do.
    pub(crate) fn decode(&mut self) {
        let start = self.symbol.address;
        let image = self.context.image;
        let Some(bytes) = image.bytes(self.context.section, start, self.symbol.size) else {
            self.find(Rule::Flow, start, "the routine is not within its section");
            return;
        };
        let mut open = vec![start];
        while let Some(at) = open.pop() {
            if self.code.contains_key(&at) {
                continue;
            }
            if at < start || at >= self.end() {
                let from = self.from.get(&at).copied().unwrap_or(start);
                self.find(Rule::Flow, from, "a path leaves the routine");
                continue;
            }
            let rest = &bytes[(at - start) as usize..];
            let instruction = Decoder::with_ip(64, rest, at, DecoderOptions::NONE).decode();
            if instruction.is_invalid() {
                self.code.insert(at, instruction);
                self.find(Rule::Instructions, at, "these bytes are no instruction");
                continue;
            }
            self.code.insert(at, instruction);
            for next in self.next(&instruction) {
                self.from.entry(next).or_insert(at);
                open.push(next);
            }
        }
        let mut last: Option<Instruction> = None;
        for (at, instruction) in self.code.clone() {
            if last.is_some_and(|last| last.next_ip() > at) {
                self.find(
                    Rule::Flow,
                    at,
                    "paths disagree about where instructions begin",
                );
            }
            last = Some(instruction);
        }
        self.unreached(bytes);
        self.relocated();
    }

    /// Bytes that no path reaches are padding, or they are refused: nothing was proved of them.
    fn unreached(&mut self, bytes: &[u8]) {
        let start = self.symbol.address;
        let mut at = start;
        while at < self.end() {
            if let Some(instruction) = self.code.get(&at) {
                at = instruction.next_ip();
                continue;
            }
            let rest = &bytes[(at - start) as usize..];
            let instruction = Decoder::with_ip(64, rest, at, DecoderOptions::NONE).decode();
            if instruction.mnemonic() != Mnemonic::Nop {
                self.find(Rule::Flow, at, "code that no path from the entry reaches");
                return;
            }
            at = instruction.next_ip();
        }
    }

    /// What the loader changes: constants' addresses, and the way out.
    fn relocated(&mut self) {
        let image = self.context.image;
        let relocations = &image.sections[self.context.section].relocations;
        for (&at, relocation) in relocations.range(self.symbol.address..self.end()) {
            let within = self.code.range(..=at).next_back();
            let Some((&ip, instruction)) = within.filter(|(_, i)| at < i.next_ip()) else {
                continue;
            };
            let constant = instruction.is_ip_rel_memory_operand()
                && matches!(relocation.target, Target::Here { .. });
            if !constant && !self.exits.contains(&ip) {
                self.find(
                    Rule::Placement,
                    ip,
                    "the loader changes this instruction, which is neither the use of a constant \
                     nor the way out",
                );
            }
        }
    }

    /// Where `instruction` can go on, other than the way out.
    fn next(&mut self, instruction: &Instruction) -> Vec<u64> {
        let ip = instruction.ip();
        let relocated = self.context.image.sections[self.context.section]
            .relocations
            .range(ip..instruction.next_ip())
            .next();
        match instruction.flow_control() {
            FlowControl::Next => vec![instruction.next_ip()],
            FlowControl::UnconditionalBranch => match relocated {
                None => vec![instruction.near_branch_target()],
                Some((_, r))
                    if r.target == Target::Elsewhere(RETURN.into())
                        && r.addend == -4
                        && matches!(r.kind, elf::R_X86_64_PLT32 | elf::R_X86_64_PC32) =>
                {
                    self.exits.insert(ip);
                    vec![]
                }
                Some((_, r)) => {
                    let what = format!("a jump out of the routine, to {:?}", r.target);
                    self.find(Rule::Flow, ip, what);
                    vec![]
                }
            },
            FlowControl::ConditionalBranch if relocated.is_none() => {
                vec![instruction.near_branch_target(), instruction.next_ip()]
            }
            FlowControl::Return => {
                self.find(
                    Rule::Flow,
                    ip,
                    "a plain return; the way out is the return thunk",
                );
                vec![]
            }
            FlowControl::IndirectBranch | FlowControl::IndirectCall => {
                self.find(Rule::Flow, ip, "an indirect branch");
                vec![]
            }
            FlowControl::Call => {
                self.find(Rule::Flow, ip, "a call");
                vec![instruction.next_ip()]
            }
            _ => {
                self.find(Rule::Flow, ip, "control leaves the routine here");
                vec![]
            }
        }
    }

    pub(crate) fn successors(&self, instruction: &Instruction) -> Vec<u64> {
        if self.exits.contains(&instruction.ip()) {
            return vec![];
        }
        let mut next = Vec::new();
        match instruction.flow_control() {
            FlowControl::Next | FlowControl::Call => next.push(instruction.next_ip()),
            FlowControl::UnconditionalBranch => next.push(instruction.near_branch_target()),
            FlowControl::ConditionalBranch => {
                next.push(instruction.near_branch_target());
                next.push(instruction.next_ip());
            }
            _ => {}
        }
        next.retain(|at| self.code.contains_key(at));
        next
    }

    /// Instructions in an order in which, loops aside, each comes after all that lead to it.
    pub(crate) fn order(&self) -> BTreeMap<u64, usize> {
        let mut seen = BTreeSet::new();
        let mut finished = Vec::new();
        let mut stack = vec![(self.symbol.address, 0)];
        seen.insert(self.symbol.address);
        while let Some((at, child)) = stack.pop() {
            let next = self
                .code
                .get(&at)
                .map(|i| self.successors(i))
                .unwrap_or_default();
            if let Some(&successor) = next.get(child) {
                stack.push((at, child + 1));
                if seen.insert(successor) {
                    stack.push((successor, 0));
                }
            } else {
                finished.push(at);
            }
        }
        finished
            .into_iter()
            .rev()
            .enumerate()
            .map(|(n, at)| (at, n))
            .collect()
    }
}
