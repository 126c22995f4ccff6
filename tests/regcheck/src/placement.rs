// SPDX-License-Identifier: GPL-2.0-or-later

//! Rule 7: where the engine lies, what else in the file points into it, and who else uses debug
//! registers.

use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter, Instruction, OpKind};
use object::elf;

use crate::finding::{Finding, Rule};
use crate::flow::RETURN;
use crate::image::{Image, Symbol, Target};

/// The section that neither ftrace nor kprobes enter.
pub const SECTION: &str = ".noinstr.text";

/// Where the kernel may replace the way out by its own return.
const RETURNS: &str = ".return_sites";
/// Where it may remove an ENDBR that nothing needs.
const ENDBRS: &str = ".ibt_endbr_seal";
/// Tables that may name any place, since nobody changes code by them: unwinding, debug information.
/// All others, such as alternatives, static calls, ftrace's sites, jump labels, lock prefixes and
/// exception tables, are refused.
const DESCRIPTIONS: &[&str] = &[".orc_unwind_ip", ".debug_", ".eh_frame"];

fn finding(place: &str, address: u64, what: String) -> Finding {
    Finding {
        rule: Rule::Placement,
        routine: place.to_owned(),
        address,
        instruction: String::new(),
        what,
        path: Vec::new(),
    }
}

fn span(symbol: &Symbol) -> Range<u64> {
    symbol.address..symbol.address.saturating_add(symbol.size)
}

/// Everything but the routines' own instructions: findings, and how many instructions were looked at.
pub fn check(image: &Image, routines: &[&Symbol]) -> (Vec<Finding>, usize) {
    let mut findings = Vec::new();
    for routine in routines {
        let section = &image.sections[routine.section];
        if section.name != SECTION || !section.executable || section.writable {
            findings.push(finding(
                &routine.name,
                routine.address,
                format!("the routine lies in {}, not in {SECTION}", section.name),
            ));
        }
        if routine.size == 0 || !routine.function {
            findings.push(finding(
                &routine.name,
                routine.address,
                "the symbol is no function with a size".into(),
            ));
        }
    }
    for (index, section) in image.sections.iter().enumerate() {
        if !section.executable {
            references(image, index, routines, &mut findings);
        }
    }
    let instructions = other_code(image, routines, &mut findings);
    (findings, instructions)
}

/// The routine into which a place in a section falls.
fn routine_at<'a>(routines: &[&'a Symbol], section: usize, at: u64) -> Option<&'a Symbol> {
    let hit = |r: &&&Symbol| r.section == section && span(r).contains(&at);
    routines.iter().find(hit).copied()
}

/// What a table that is no code says of places within routines.
fn references(image: &Image, index: usize, routines: &[&Symbol], findings: &mut Vec<Finding>) {
    let table = &image.sections[index];
    if DESCRIPTIONS.iter().any(|d| table.name.starts_with(d)) {
        return;
    }
    for (at, relocation) in &table.relocations {
        let Target::Here { section, offset } = relocation.target else {
            continue;
        };
        let place = offset.wrapping_add_signed(relocation.addend);
        let Some(routine) = routine_at(routines, section, place) else {
            continue;
        };
        let known = match table.name.as_str() {
            RETURNS => is_return(image, section, place),
            ENDBRS => place == routine.address,
            _ => false,
        };
        if known {
            continue;
        }
        findings.push(finding(
            &routine.name,
            place,
            format!(
                "{} (offset {at:#x}) names this place: the kernel may change the code here",
                table.name
            ),
        ));
    }
}

/// Whether a jump to the return thunk is there: its opcode, and its relocation behind that.
fn is_return(image: &Image, section: usize, place: u64) -> bool {
    let relocation = image.sections[section].relocations.get(&(place + 1));
    image.bytes(section, place, 1) == Some(&[0xe9])
        && relocation.is_some_and(|r| r.target == Target::Elsewhere(RETURN.into()))
}

/// Code around the routines: no debug register, no way into the middle of a routine.
fn other_code(image: &Image, routines: &[&Symbol], findings: &mut Vec<Finding>) -> usize {
    let mut count = 0;
    for (index, section) in image.sections.iter().enumerate() {
        if !section.executable {
            continue;
        }
        // Decoding starts afresh at each symbol, and goes around the routines.
        let mut starts: Vec<u64> = image
            .symbols
            .iter()
            .filter(|s| s.section == index && s.address < section.data.len() as u64)
            .map(|s| s.address)
            .collect();
        let ends = routines.iter().filter(|r| r.section == index);
        starts.extend(ends.map(|r| span(r).end));
        starts.extend([0, section.data.len() as u64]);
        starts.sort_unstable();
        starts.dedup();
        for pair in starts.windows(2) {
            if routine_at(routines, index, pair[0]).is_some() {
                continue;
            }
            let Some(bytes) = image.bytes(index, pair[0], pair[1].saturating_sub(pair[0])) else {
                continue;
            };
            for i in Decoder::with_ip(64, bytes, pair[0], DecoderOptions::NONE) {
                count += 1;
                foreign(image, index, routines, &i, findings);
            }
        }
    }
    count
}

fn foreign(
    image: &Image,
    index: usize,
    routines: &[&Symbol],
    i: &Instruction,
    findings: &mut Vec<Finding>,
) {
    let section = &image.sections[index];
    let mut refuse = |what: String| {
        let mut text = String::new();
        GasFormatter::new().format(i, &mut text);
        findings.push(Finding {
            instruction: text,
            ..finding(&section.name, i.ip(), what)
        });
    };
    if (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Register && i.op_register(n).is_dr()) {
        refuse("a debug register is used outside of the engine".into());
    }
    let relocation = section.relocations.range(i.ip()..i.next_ip()).next();
    let place = match relocation {
        Some((at, relocation)) => match relocation.target {
            Target::Here { section, offset } => {
                let relative = matches!(relocation.kind, elf::R_X86_64_PC32 | elf::R_X86_64_PLT32);
                let behind = if relative { i.next_ip() - at } else { 0 };
                let place = offset
                    .wrapping_add_signed(relocation.addend)
                    .wrapping_add(behind);
                Some((section, place))
            }
            Target::Elsewhere(_) => None,
        },
        None if i.op_count() > 0 && i.op_kind(0) == OpKind::NearBranch64 => {
            Some((index, i.near_branch_target()))
        }
        None => None,
    };
    if let Some((section, place)) = place {
        if let Some(routine) = routine_at(routines, section, place) {
            if place != routine.address {
                refuse(format!("a way into the middle of {}", routine.name));
            }
        }
    }
}
