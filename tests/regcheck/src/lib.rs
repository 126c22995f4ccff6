// SPDX-License-Identifier: GPL-2.0-or-later

//! Proves, on the machine code of a built `tresor.ko`, that the engine's routines let no secret out:
//! by abstract interpretation of every path (see [`lane`] for what is known of a register, [`Rule`]
//! for what must hold, `docs/evidence.md` for what this can and cannot see).

use std::collections::BTreeSet;

pub mod block;
pub mod contract;
pub mod finding;
pub mod flow;
mod general;
pub mod image;
pub mod lane;
mod memory;
mod names;
mod paths;
pub mod placement;
pub mod product;
pub mod requests;
pub mod state;
pub mod step;
pub mod stream;
pub mod table;
mod text;
pub mod tweak;
mod vectors;
pub mod windows;

pub use finding::{Finding, Report, Rule, Walked};
pub use image::BadFile;

use contract::VARIANTS;
use image::{Image, Symbol};
use step::Context;
use windows::Windows;

/// What windows are counted from.
const ANCHOR: &str = "tresor_aesni_wipe";

/// Checks an object: `tresor.ko`, or the engine's assembly assembled for the kernel.
///
/// # Errors
/// [`BadFile`] if the file cannot be checked. A file that can, but breaks rules, is no error: its
/// report has findings.
pub fn check(bytes: &[u8]) -> Result<Report, BadFile> {
    check_those(bytes, |_| true)
}

/// The same, but of the routines only those whose symbol is `wanted` are walked: nothing is proved of the
/// others. For edits, of which there are many, to one routine.
///
/// # Errors
/// As [`check`].
pub fn check_those(bytes: &[u8], wanted: impl Fn(&str) -> bool) -> Result<Report, BadFile> {
    let image = Image::parse(bytes)?;
    let mut report = Report::default();
    let mut routines: Vec<&Symbol> = image
        .symbols
        .iter()
        .filter(|s| VARIANTS.iter().any(|v| s.name.starts_with(v.prefix)))
        .collect();
    routines.sort_by_key(|s| (s.section, s.address));
    if routines.is_empty() {
        return Err(BadFile::NoRoutines);
    }
    contracts(&routines, &mut report.findings);

    let anchor = image.symbol(ANCHOR);
    let (windows, complaints) = Windows::read(&image, anchor.map_or(0, |s| s.address));
    for what in complaints {
        report.findings.push(about(".tresor_windows", what));
    }
    for window in &windows.all {
        let inside = routines.iter().any(|r| {
            Some(r.section) == anchor.map(|a| a.section)
                && r.address <= window.start
                && window.end <= r.address.saturating_add(r.size)
        });
        if !inside {
            report.findings.push(about(
                ".tresor_windows",
                format!("the window at {:#x} is in no routine", window.start),
            ));
        }
    }

    for symbol in routines.iter().filter(|symbol| wanted(&symbol.name)) {
        let Some(contract) = contract::of(&symbol.name) else {
            continue;
        };
        let context = Context {
            image: &image,
            section: symbol.section,
            contract,
            windows: &windows,
        };
        let mut walk = flow::Walk::new(context, symbol);
        report.routines.push(walk.check());
        report.findings.append(&mut walk.findings);
    }
    let (mut findings, others) = placement::check(&image, &routines);
    report.findings.append(&mut findings);
    report.other_instructions = others;
    report.proved = report.findings.is_empty();
    Ok(report)
}

/// Every routine has a contract, and every contract of each variant exactly one routine.
fn contracts(routines: &[&Symbol], findings: &mut Vec<Finding>) {
    let mut missing: BTreeSet<String> = VARIANTS
        .iter()
        .flat_map(|v| v.contracts().map(|c| format!("{}{}", v.prefix, c.routine)))
        .collect();
    for symbol in routines {
        if contract::of(&symbol.name).is_none() {
            findings.push(Finding {
                address: symbol.address,
                ..about(&symbol.name, "no contract says what this routine may do")
            });
        } else if !missing.remove(&symbol.name) {
            findings.push(about(&symbol.name, "two routines of this name"));
        }
    }
    for routine in &missing {
        findings.push(about(routine, "this routine is missing, or has no symbol"));
    }
}

fn about(place: &str, what: impl Into<String>) -> Finding {
    Finding {
        rule: if place.starts_with('.') {
            Rule::Windows
        } else {
            Rule::Placement
        },
        routine: place.to_owned(),
        address: 0,
        instruction: String::new(),
        what: what.into(),
        path: Vec::new(),
    }
}
