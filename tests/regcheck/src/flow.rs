// SPDX-License-Identifier: GPL-2.0-or-later

//! Walks a routine: every instruction that some path reaches, with what is known before it on *all*
//! paths (the least fixpoint over the control flow), then the rules at each.

use std::collections::{BTreeMap, BTreeSet};

use crate::contract::{effects, Argument};
use crate::finding::{Finding, Rule, Walked};
use crate::image::Symbol;
use crate::lane::Lane;
use crate::state::{Flags, General, Mask, OfLength, State, LANES};
use crate::step::{Context, Step, RAX};
use iced_x86::{FlowControl, Formatter, GasFormatter, Instruction, Mnemonic, OpAccess};

/// Where paths leave a routine.
pub const RETURN: &str = "__x86_return_thunk";
/// rdi, rsi, rdx, rcx, r8, r9.
const ARGUMENTS: [usize; 6] = [7, 6, 2, 1, 8, 9];

/// One routine's walk.
pub struct Walk<'a> {
    pub(crate) context: Context<'a>,
    pub(crate) symbol: &'a Symbol,
    /// All instructions that are reached, by address.
    pub code: BTreeMap<u64, Instruction>,
    pub(crate) exits: BTreeSet<u64>,
    /// From where each was reached first.
    pub(crate) from: BTreeMap<u64, u64>,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl<'a> Walk<'a> {
    /// Walks `symbol`.
    pub fn new(context: Context<'a>, symbol: &'a Symbol) -> Self {
        let mut walk = Self {
            context,
            symbol,
            code: BTreeMap::new(),
            exits: BTreeSet::new(),
            from: BTreeMap::new(),
            findings: Vec::new(),
        };
        walk.decode();
        walk
    }

    pub(crate) fn end(&self) -> u64 {
        self.symbol.address.saturating_add(self.symbol.size)
    }

    /// The disassembly of the instruction at `at`.
    pub fn text(&self, at: u64) -> String {
        let mut text = String::new();
        if let Some(instruction) = self.code.get(&at) {
            GasFormatter::new().format(instruction, &mut text);
        }
        text
    }

    /// Notes a finding.
    pub fn find(&mut self, rule: Rule, at: u64, what: impl Into<String>) {
        let mut path = Vec::new();
        let mut before = at;
        while let (Some(&previous), true) = (self.from.get(&before), path.len() < 5) {
            path.insert(0, format!("{previous:#06x}  {}", self.text(previous)));
            before = previous;
        }
        self.findings.push(Finding {
            rule,
            routine: self.symbol.name.clone(),
            address: at,
            instruction: self.text(at),
            what: what.into(),
            path,
        });
    }

    /// Arguments in their registers; anything else is the caller's, and public.
    fn entry(&self) -> State {
        let mut general = [General::Public; 16];
        for (argument, kind) in self.context.contract.arguments.iter().enumerate() {
            general[ARGUMENTS[argument]] = match kind {
                Argument::Length { .. } => General::Length,
                _ => General::Pointer {
                    argument,
                    offset: 0,
                },
            };
        }
        let lengths = self
            .context
            .contract
            .arguments
            .iter()
            .find_map(|a| match a {
                Argument::Length { whole, least } => Some((*whole, *least)),
                _ => None,
            });
        let (aligned, least) = lengths.unwrap_or((true, 0));
        State {
            general,
            vectors: [[Lane::Public; LANES]; 32],
            masks: [Mask::Public; 8],
            flags: Flags::Public,
            left: if aligned { 16 } else { least },
            aligned,
            tail: false,
            most: u64::MAX,
            checked: false,
            registers_written: false,
            written: 0,
            effects: 0,
        }
    }

    /// What is known before each instruction, on all paths together.
    fn fixpoint(&self) -> BTreeMap<u64, State> {
        let order = self.order();
        let mut states = BTreeMap::from([(self.symbol.address, self.entry())]);
        let mut open = BTreeSet::from([(0, self.symbol.address)]);
        while let Some((_, at)) = open.pop_first() {
            let (Some(instruction), Some(state)) = (self.code.get(&at), states.get(&at)) else {
                continue;
            };
            let after = Step::run(self.context, instruction, state).after();
            for next in self.successors(instruction) {
                let along = along(instruction, next, &after);
                let changed = match states.get_mut(&next) {
                    Some(known) => known.join(&along),
                    None => {
                        states.insert(next, along);
                        true
                    }
                };
                if changed {
                    open.insert((order[&next], next));
                }
            }
        }
        states
    }

    /// Applies the rules everywhere.
    pub fn check(&mut self) -> Walked {
        let states = self.fixpoint();
        let mut walked = Walked {
            routine: self.symbol.name.clone(),
            instructions: self.code.len(),
            exits: self.exits.len(),
            ..Walked::default()
        };
        let mut heads = BTreeSet::from([self.symbol.address]);
        for (at, state) in &states {
            // A routine outside of its section has no code at all, which was found out above.
            let Some(&instruction) = self.code.get(at) else {
                continue;
            };
            let step = Step::run(self.context, &instruction, state);
            for (rule, what) in step.faults {
                self.find(rule, *at, what);
            }
            if instruction.flow_control() == FlowControl::ConditionalBranch {
                walked.branches += 1;
                self.branch(&instruction, state);
            }
            if self.exits.contains(at) {
                self.exit(*at, state);
            }
            let next = self.successors(&instruction);
            if instruction.flow_control() != FlowControl::Next {
                heads.extend(next);
            }
            let (loads, stores) = accesses(&instruction);
            walked.loads += usize::from(loads);
            walked.stores += usize::from(stores);
            let debug = instruction.op0_register().is_dr() || instruction.op1_register().is_dr();
            walked.debug_registers += usize::from(debug);
            walked.secrets_live = walked.secrets_live.max(state.secrets());
        }
        walked.blocks = heads.len();
        if self.exits.is_empty() {
            let start = self.symbol.address;
            self.find(Rule::Flow, start, "no path leads to the return thunk");
        }
        let windows = self.context.windows;
        let (count, complaints) = windows.check(self.symbol.address, self.end(), &self.code);
        walked.windows = count;
        for (at, what) in complaints {
            self.find(Rule::Windows, at, what);
        }
        self.findings.sort_by_key(|f| (f.address, f.rule));
        walked
    }

    /// Rule 3: the flags of a branch are public, or are the comparison of the check value.
    fn branch(&mut self, instruction: &Instruction, state: &State) {
        let equality = matches!(instruction.mnemonic(), Mnemonic::Je | Mnemonic::Jne);
        let what = match state.flags {
            Flags::Secret => {
                "a branch on flags that a secret has set, and that are not the \
                              comparison of all 16 bytes of the check value"
            }
            Flags::Check if !equality => {
                "a branch on the check value other than whether it is equal"
            }
            _ => return,
        };
        self.find(Rule::Timing, instruction.ip(), what);
    }

    /// Rule 5, and what the routine promises at its end.
    fn exit(&mut self, at: u64, state: &State) {
        let secret = |lanes: &[Lane]| lanes.iter().any(|lane| !lane.is_public());
        for (n, vector) in state.vectors.iter().enumerate() {
            if secret(vector) {
                let lane = vector.iter().position(|lane| !lane.is_public());
                let lane = lane.unwrap_or(0);
                let what = format!(
                    "bits {} to {} of vector register {n} still hold {}",
                    128 * lane,
                    128 * lane + 127,
                    vector[lane]
                );
                self.find(Rule::Wiped, at, what);
            }
        }
        for (n, value) in state.general.iter().enumerate() {
            if value.is_secret() {
                self.find(
                    Rule::Wiped,
                    at,
                    format!("general register {n} still holds a secret"),
                );
            }
        }
        for (n, mask) in state.masks.iter().enumerate() {
            if *mask == Mask::Secret {
                self.find(
                    Rule::Wiped,
                    at,
                    format!("mask register k{n} still holds a secret"),
                );
            }
        }
        let contract = self.context.contract;
        let (wanted, success) = match (contract.status, state.general[RAX]) {
            (false, _) => (contract.on_success, true),
            (true, General::Number(0)) => (contract.on_success, true),
            (true, General::Number(1)) => (contract.on_failure, false),
            (true, _) => {
                self.find(
                    Rule::CheckFirst,
                    at,
                    "the status returned is neither 0 nor 1",
                );
                return;
            }
        };
        if contract.status && success && !state.checked {
            self.find(
                Rule::CheckFirst,
                at,
                "0 is returned on a path that has not compared the check value",
            );
        }
        let missing = wanted & !state.effects;
        if missing != 0 {
            self.find(
                Rule::Wiped,
                at,
                format!(
                    "what must be done on every path is not: {}",
                    effects(missing)
                ),
            );
        }
    }
}

/// Whether the way is the one for "above", of `ja` and `jbe`.
fn jumped_above(instruction: &Instruction, jumped: bool) -> bool {
    jumped == (instruction.mnemonic() == Mnemonic::Ja)
}

/// What more is known on the way from a branch to `next`.
fn along(instruction: &Instruction, next: u64, after: &State) -> State {
    let mut state = after.clone();
    let (taken, other) = (instruction.near_branch_target(), instruction.next_ip());
    if instruction.flow_control() != FlowControl::ConditionalBranch || taken == other {
        return state;
    }
    let jumped = next == taken;
    // At least so many bytes are left if there are more than `n`.
    let unit = if state.aligned { 16 } else { 1 };
    let more = |n: u64| n.saturating_add(unit) / unit * unit;
    // For `n` of comparing: "above" or not.
    if let Flags::LengthAgainst(n) = state.flags {
        match (instruction.mnemonic(), jumped_above(instruction, jumped)) {
            (Mnemonic::Ja | Mnemonic::Jbe, true) => state.left = state.left.max(more(n)),
            (Mnemonic::Ja | Mnemonic::Jbe, false) => state.most = state.most.min(n),
            _ => {}
        }
    }
    // Whether, on this way, the flags say "equal", and whether they say "below".
    let (equal, below) = match instruction.mnemonic() {
        Mnemonic::Je => (Some(jumped), None),
        Mnemonic::Jne => (Some(!jumped), None),
        Mnemonic::Jb => (None, Some(jumped)),
        Mnemonic::Jae => (None, Some(!jumped)),
        _ => (None, None),
    };
    match (state.flags, equal, below) {
        (Flags::Check, Some(true), _) => state.checked = true,
        (Flags::LengthAgainst(n), _, Some(false)) => state.left = state.left.max(n),
        (Flags::LengthAgainst(n), _, Some(true)) => {
            state.most = state.most.min(n.saturating_sub(1));
        }
        (Flags::LengthLeft, Some(false), _) => state.left = state.left.max(unit),
        (Flags::Residue, Some(whole), _) => {
            state.aligned |= whole;
            if !whole && state.left % 16 == 0 {
                state.left += 1;
            }
            state.each_general(|value| match value {
                General::OfLength(OfLength::Residue) if whole => General::Number(0),
                General::OfLength(OfLength::Residue) => General::OfLength(OfLength::Part),
                value => value,
            });
        }
        (Flags::Tail(number), Some(none), _) => {
            state.tail |= !none;
            if let value @ General::MaybeTail = &mut state.general[number] {
                *value = if none {
                    General::Number(0)
                } else {
                    General::Tail
                };
            }
        }
        _ => {}
    }
    state
}

/// Whether an instruction loads, and whether it stores.
fn accesses(instruction: &Instruction) -> (bool, bool) {
    let mut factory = iced_x86::InstructionInfoFactory::new();
    let memory = factory.info(instruction).used_memory();
    let is = |wanted: &[OpAccess]| memory.iter().any(|m| wanted.contains(&m.access()));
    (
        is(&[OpAccess::Read, OpAccess::CondRead, OpAccess::ReadWrite]),
        is(&[OpAccess::Write, OpAccess::CondWrite, OpAccess::ReadWrite]),
    )
}
