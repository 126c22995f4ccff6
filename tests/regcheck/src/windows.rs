// SPDX-License-Identifier: GPL-2.0-or-later

//! Rule 6: the table of windows, and that each window can be run again.
//!
//! An NMI in a window zeroes rax. If the window is one that runs again, it also sets r11, which the
//! code tests behind the window. What must hold then, for an NMI before any of its instructions:
//!
//! - the rest of the window, with zero in rax, spoils nothing that the next run reads: a register
//!   that is read before the window has written it is not written by the window at all;
//! - all that it has spoilt the next run writes again: there is no branch in it;
//! - memory is changed only by a window that is exactly one `lock xor` of rax, which with zero
//!   changes nothing and which has not run when rax is zeroed; once it has, rax may be zeroed but
//!   it must not run again: the window behind it is of the kind that only zeroes.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use crate::image::Image;

/// What the NMI handler does in a window, as the table says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// rax := 0 and r11 := something: it runs again.
    Redo,
    /// rax := 0.
    Zero,
}

/// An entry of the table; offsets in the engine's section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first instruction.
    pub start: u64,
    /// What is behind its last.
    pub end: u64,
    /// Its kind.
    pub kind: Kind,
}

/// The table.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    /// By their starts.
    pub all: Vec<Window>,
}

impl Windows {
    /// Reads the table, with complaints about its form.
    pub fn read(image: &Image, anchor: u64) -> (Self, Vec<String>) {
        let mut complaints = Vec::new();
        let mut all = Vec::new();
        let ends = ["tresor_windows_begin", "tresor_windows_end"].map(|name| image.symbol(name));
        let [Some(begin), Some(end)] = ends else {
            complaints.push("the symbols around the table of windows are missing".to_owned());
            return (Self { all }, complaints);
        };
        let len = end.address.checked_sub(begin.address);
        let table = len
            .filter(|_| begin.section == end.section)
            .and_then(|len| image.bytes(begin.section, begin.address, len));
        let Some(table) = table.filter(|table| table.len() % 12 == 0) else {
            complaints.push("the table of windows is no whole number of entries".to_owned());
            return (Self { all }, complaints);
        };
        if image.sections[begin.section].writable {
            complaints.push("the table of windows can be written".to_owned());
        }
        if !image.sections[begin.section].relocations.is_empty() {
            complaints.push("the table of windows is changed when it is loaded".to_owned());
        }
        for entry in table.chunks_exact(12) {
            let number =
                |i: usize| u32::from_le_bytes([entry[i], entry[i + 1], entry[i + 2], entry[i + 3]]);
            let (start, end) = (anchor + u64::from(number(0)), anchor + u64::from(number(4)));
            let kind = match number(8) {
                1 => Kind::Redo,
                2 => Kind::Zero,
                other => {
                    complaints.push(format!(
                        "the window at {start:#x} is of unknown kind {other}"
                    ));
                    continue;
                }
            };
            if start >= end {
                complaints.push(format!("the window at {start:#x} ends at {end:#x}"));
                continue;
            }
            all.push(Window { start, end, kind });
        }
        all.sort_by_key(|w| w.start);
        for pair in all.windows(2) {
            if pair[0].end > pair[1].start {
                complaints.push(format!(
                    "the windows at {:#x} and {:#x} overlap",
                    pair[0].start, pair[1].start
                ));
            }
        }
        (Self { all }, complaints)
    }

    fn at(&self, ip: u64) -> Option<&Window> {
        self.all.iter().find(|w| w.start <= ip && ip < w.end)
    }

    /// Whether an NMI before the instruction at `ip` gets rax zeroed.
    pub fn covers(&self, ip: u64) -> bool {
        self.at(ip).is_some()
    }

    /// Whether the instruction at `ip` is in a window that runs again.
    pub fn redoes(&self, ip: u64) -> bool {
        self.at(ip).is_some_and(|w| w.kind == Kind::Redo)
    }

    /// Windows of a routine, with complaints about each: place and text.
    pub fn check(
        &self,
        start: u64,
        end: u64,
        code: &BTreeMap<u64, Instruction>,
    ) -> (usize, Vec<(u64, String)>) {
        let mut complaints = Vec::new();
        let mut count = 0;
        for window in &self.all {
            if window.end <= start || window.start >= end {
                continue;
            }
            count += 1;
            let checked = if window.start < start || window.end > end {
                Err((
                    window.start,
                    "a window is not within one routine".to_owned(),
                ))
            } else {
                match window.kind {
                    Kind::Redo => self.redo(window, code),
                    Kind::Zero => self.zero(window, code),
                }
            };
            complaints.extend(checked.err());
        }
        (count, complaints)
    }

    /// A window that only zeroes is `xor %eax, %eax`, right behind one that runs again.
    fn zero(
        &self,
        window: &Window,
        code: &BTreeMap<u64, Instruction>,
    ) -> Result<(), (u64, String)> {
        let follows = |w: &Window| w.kind == Kind::Redo && w.end == window.start;
        if !self.all.iter().any(follows) {
            return Err((
                window.start,
                "a window that only zeroes does not follow one that runs again".into(),
            ));
        }
        match code.get(&window.start) {
            Some(i) if clears(i, Register::EAX) && i.next_ip() == window.end => Ok(()),
            _ => Err((
                window.start,
                "a window that only zeroes is not exactly `xor %eax, %eax`".into(),
            )),
        }
    }

    fn redo(
        &self,
        window: &Window,
        code: &BTreeMap<u64, Instruction>,
    ) -> Result<(), (u64, String)> {
        let fail = |at: u64, what: &str| Err((at, what.to_owned()));
        if !code.contains_key(&window.start) || !code.contains_key(&window.end) {
            return fail(
                window.start,
                "a window does not begin and end at instructions",
            );
        }
        // Behind it, perhaps after a window that only zeroes: the test, and the way back.
        let behind = self
            .all
            .iter()
            .find(|w| w.start == window.end && w.kind == Kind::Zero);
        let test = behind.map_or(window.end, |w| w.end);
        let back = match code.get(&test) {
            Some(i)
                if i.mnemonic() == Mnemonic::Test
                    && i.op0_register() == Register::R11
                    && i.op_kind(1) == OpKind::Register
                    && i.op1_register() == Register::R11 =>
            {
                i.next_ip()
            }
            _ => return fail(test, "r11 is not tested right behind a window"),
        };
        let again = match code.get(&back) {
            Some(i) if i.mnemonic() == Mnemonic::Jne => i.near_branch_target(),
            _ => return fail(back, "the test of r11 does not lead back to the window"),
        };
        if again > window.start {
            return fail(back, "the test of r11 does not lead back to the window");
        }
        match code.get(&again) {
            Some(i) if clears(i, Register::R11D) => {}
            _ => return fail(again, "r11 is not zeroed before a window"),
        }
        // The whole way from there, in one line, to the test.
        let mut way = Vec::new();
        let mut at = code[&again].next_ip();
        while at < test {
            let Some(instruction) = code.get(&at) else {
                return fail(at, "a window is not one line of instructions");
            };
            way.push(instruction);
            at = instruction.next_ip();
        }
        if at != test {
            return fail(at, "a window does not begin and end at instructions");
        }
        for instruction in code.values() {
            let target = instruction.near_branch_target();
            if is_branch(instruction) && target > again && target <= back {
                return fail(instruction.ip(), "a branch leads into a window");
            }
        }
        match way.last() {
            Some(i) if clears(i, Register::EAX) => {}
            _ => return fail(test, "rax is not zeroed at the end of a window"),
        }
        runs_again(window, &way)
    }
}

/// `xor r, r`.
fn clears(i: &Instruction, register: Register) -> bool {
    i.mnemonic() == Mnemonic::Xor
        && i.op_kind(0) == OpKind::Register
        && i.op_kind(1) == OpKind::Register
        && i.op0_register() == register
        && i.op1_register() == register
}

fn is_branch(i: &Instruction) -> bool {
    i.op_count() > 0 && matches!(i.op_kind(0), OpKind::NearBranch64 | OpKind::NearBranch32)
}

/// What an instruction of a window reads and writes, other than rax.
fn uses(i: &Instruction) -> Option<(Vec<Register>, Vec<Register>)> {
    let (to, from) = (i.op0_register(), i.op1_register());
    let rax = Register::RAX;
    let registers = i.op_kind(0) == OpKind::Register && i.op_kind(1) == OpKind::Register;
    if !registers {
        return None;
    }
    Some(match i.mnemonic() {
        Mnemonic::Xor if clears(i, Register::EAX) => (vec![], vec![]),
        Mnemonic::Mov if to == rax && from.is_dr() => (vec![from], vec![]),
        Mnemonic::Mov if to.is_dr() && from == rax => (vec![], vec![to]),
        Mnemonic::Movq | Mnemonic::Vmovq if to == rax && from.is_xmm() => (vec![from], vec![]),
        Mnemonic::Movq | Mnemonic::Vmovq if to.is_xmm() && from == rax => (vec![], vec![to]),
        Mnemonic::Pextrq | Mnemonic::Vpextrq if to == rax => (vec![from], vec![]),
        Mnemonic::Pinsrq if to.is_xmm() && from == rax => (vec![to], vec![to]),
        Mnemonic::Vpinsrq if i.op2_register() == rax => (vec![from], vec![to]),
        _ => return None,
    })
}

/// Whether `way`, from where r11 is zeroed to where it is tested, can be run again.
fn runs_again(window: &Window, way: &[&Instruction]) -> Result<(), (u64, String)> {
    let adds = |i: &&&Instruction| {
        i.mnemonic() == Mnemonic::Xor && i.has_lock_prefix() && i.op1_register() == Register::RAX
    };
    let adding = way.iter().filter(adds).count();
    let (mut read_first, mut written) = (BTreeSet::new(), BTreeSet::new());
    for i in way {
        if adding > 0 && adds(&i) {
            if adding > 1 || window.start != i.ip() || window.end != i.next_ip() {
                return Err((
                    i.ip(),
                    "a window that changes memory is not exactly the one instruction that does: \
                     run again, it would undo itself"
                        .into(),
                ));
            }
            continue;
        }
        let Some((reads, writes)) = uses(i) else {
            return Err((
                i.ip(),
                "an instruction that a window must not have: it cannot run again".into(),
            ));
        };
        let new = reads.into_iter().filter(|r| !written.contains(r));
        read_first.extend(new.collect::<Vec<_>>());
        written.extend(writes);
    }
    if let Some(register) = read_first.intersection(&written).next() {
        return Err((
            window.start,
            format!("a window changes {register:?}, which it has read: run again, it would read another value"),
        ));
    }
    if adding > 0 && !written.is_empty() {
        return Err((
            window.start,
            "a window changes memory and registers".to_owned(),
        ));
    }
    Ok(())
}
