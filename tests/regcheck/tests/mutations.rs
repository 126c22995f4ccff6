// SPDX-License-Identifier: GPL-2.0-or-later

//! Each rule refuses edits of the engine's own assembly that break it, and nothing else is refused.

mod common;
mod mutants;

use common::{edited, sources, verdict, verdict_on};
use mutants::Mutant;
use regcheck::Rule;

/// Each mutant is refused for its rule, in its routine.
fn refused(list: &[Mutant]) {
    let mut wrong = Vec::new();
    for mutant in list {
        let name = mutant.name;
        let report = edited(mutant.file, mutant.anchor, mutant.replacement)
            .and_then(|sources| verdict_on(&sources, mutant.routine));
        let report = match report {
            Ok(report) => report,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        let found = report
            .findings
            .iter()
            .find(|f| f.rule == mutant.rule && f.routine == mutant.routine);
        match found {
            Some(finding) => println!("{name}:\n{finding}\n"),
            None => wrong.push(format!(
                "{name}: not refused for {} in {}; found: {:?}",
                mutant.rule,
                mutant.routine,
                report
                    .findings
                    .iter()
                    .map(|f| (f.rule as u8, &f.routine, &f.what))
                    .take(3)
                    .collect::<Vec<_>>()
            )),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} mutants:\n{}",
        wrong.len(),
        list.len(),
        wrong.join("\n")
    );
    println!("{} mutants refused", list.len());
}

#[test]
fn stores_that_no_contract_names_are_refused() {
    refused(mutants::STORES);
}

#[test]
fn the_stack_calls_and_other_ways_out_are_refused() {
    refused(mutants::FLOW);
}

#[test]
fn branches_and_addresses_that_depend_on_secrets_are_refused() {
    refused(mutants::TIMING);
}

#[test]
fn unknown_instructions_are_refused() {
    refused(mutants::INSTRUCTIONS);
}

#[test]
fn secrets_left_behind_are_refused() {
    refused(mutants::WIPED);
}

#[test]
fn secrets_outside_of_windows_and_windows_that_cannot_run_again_are_refused() {
    refused(mutants::WINDOWS);
}

#[test]
fn code_that_others_can_change_or_enter_is_refused() {
    refused(mutants::PLACEMENT);
}

#[test]
fn output_before_the_check_value_was_compared_is_refused() {
    refused(mutants::CHECK_FIRST);
}

#[test]
fn edits_of_the_wider_variants_are_refused() {
    refused(mutants::VARIANTS);
}

#[test]
fn edits_of_the_modes_are_refused() {
    refused(mutants::MODES);
}

#[test]
fn the_engine_as_it_is_passes() {
    let report = verdict(&sources()).expect("the engine assembles");
    assert!(report.proved, "{report}");
    let wanted: usize = regcheck::contract::VARIANTS
        .iter()
        .map(|v| v.contracts().count())
        .sum();
    assert_eq!(report.routines.len(), wanted);
    println!("{report}");
}

/// The check judges what the code does, not how it looks.
#[test]
fn edits_that_break_nothing_pass() {
    let harmless = [
        ("xts.S", "	TIMES_POWER\n// Of", "	nop\n	TIMES_POWER\n	mfence\n// Of"),
        // A wider register, wiped by an encoding that zeroes all of it.
        (
            "frame.S",
            ".macro	WIPE\n.irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n	pxor		%xmm\\i, %xmm\\i\n",
            ".macro	WIPE\n	vinserti128	$1, %xmm14, %ymm3, %ymm3\n.irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n	vpxor		%xmm\\i, %xmm\\i, %xmm\\i\n",
        ),
        ("frame.S", ".macro	WIPE\n", ".macro	WIPE\n	vbroadcasti32x4	(SHARE), %zmm2\n	vpxord	%zmm2, %zmm9, %zmm9\n	vzeroall\n"),
        // The sum of M and its share in the other order.
        (
            "request.S",
            "	pxor		0(SHARE), %xmm\\lo\n	pxor		16(SHARE), %xmm\\hi\n",
            "	vpxor		16(SHARE), %xmm\\hi, %xmm\\hi\n	movdqu		0(SHARE), %xmm12\n	pxor		%xmm12, %xmm\\lo\n",
        ),
        // Two lanes of AES side by side.
        (
            "xts.S",
            "	TIMES_POWER\n// Of",
            "	TIMES_POWER\n	vmovdqu		(KEY), %ymm2\n	vaesenc	%ymm9, %ymm2, %ymm3\n	vpxor	%xmm3, %xmm3, %xmm3\n	vpxor	%xmm2, %xmm2, %xmm2\n	vextracti128	$1, %ymm3, %xmm4\n// Of",
        ),
    ];
    for (file, anchor, replacement) in harmless {
        let report = edited(file, anchor, replacement).and_then(|sources| verdict(&sources));
        let report = report.unwrap_or_else(|error| panic!("{replacement}: {error}"));
        assert!(report.proved, "{replacement}: {report}");
    }
}

#[test]
fn every_rule_has_mutants() {
    let all = [
        mutants::STORES,
        mutants::FLOW,
        mutants::TIMING,
        mutants::INSTRUCTIONS,
        mutants::WIPED,
        mutants::WINDOWS,
        mutants::PLACEMENT,
        mutants::CHECK_FIRST,
    ];
    let rules: Vec<Rule> = all.iter().map(|list| list[0].rule).collect();
    assert_eq!(rules.len(), 8);
    for (n, list) in all.iter().enumerate() {
        assert!(list
            .iter()
            .all(|m| m.rule as usize == n + 1 && !list.is_empty()));
    }
}
