// SPDX-License-Identifier: GPL-2.0-or-later

//! The module that set-up built, and files that are none.

use std::fs;
use std::process::Command;

use object::{Object, ObjectSection, ObjectSymbol};
use proptest::prelude::*;
use regcheck::{check, BadFile};
use tresor_qemu::Cache;

fn module() -> Vec<u8> {
    let cache = Cache::open().expect("scripts/setup has run");
    fs::read(cache.module.expect("scripts/setup has built tresor.ko")).expect("tresor.ko")
}

#[test]
fn the_built_module_passes() {
    let report = check(&module()).expect("tresor.ko can be checked");
    println!("{report}");
    assert!(report.proved, "{report}");
    assert!(report.other_instructions > 1000, "{report}");
}

/// One instruction of the built module, changed in place.
#[test]
fn a_byte_of_the_built_module_changed_is_refused() {
    let mut bytes = module();
    // test %r11, %r11, behind each window; test %r10, %r10 instead.
    let at = bytes
        .windows(3)
        .position(|w| w == [0x4d, 0x85, 0xdb])
        .expect("the test behind a window");
    bytes[at + 2] = 0xd2;
    assert!(!check(&bytes).expect("still an object").proved);
}

/// A routine that its symbol places where its section has no bytes.
#[test]
fn a_routine_outside_of_its_section_is_refused() {
    let bytes = module();
    let file = object::File::parse(&*bytes).expect("an object");
    let table = file.section_by_name(".symtab").expect("a symbol table");
    let (table, _) = table.file_range().expect("it is in the file");
    let routine = file
        .symbols()
        .find(|symbol| {
            symbol
                .name()
                .is_ok_and(|name| name.starts_with("tresor_aesni_xts"))
        })
        .expect("a routine");
    // st_value and st_size of Elf64_Sym (System V ABI, chapter 4, "Symbol Table").
    for (field, value) in [(8, 1 << 40), (8, u64::MAX), (16, 1 << 40), (16, u64::MAX)] {
        let mut bytes = bytes.clone();
        let at = table as usize + routine.index().0 * 24 + field;
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        let report = check(&bytes).expect("still an object");
        assert!(!report.proved, "field {field} of {value:#x}: {report}");
    }
}

#[test]
fn files_of_other_kinds_are_named() {
    assert!(matches!(check(b""), Err(BadFile::Unreadable(_))));
    assert!(matches!(check(b"#!/bin/sh\n"), Err(BadFile::Unreadable(_))));
    let this = fs::read(std::env::current_exe().expect("this test")).expect("this test");
    let error = check(&this).expect_err("an executable is no module");
    assert!(
        error
            .to_string()
            .contains("not a relocatable x86-64 object"),
        "{error}"
    );
    let other = Cache::open().expect("scripts/setup has run").test_module;
    let other = fs::read(other.expect("tresor_test.ko")).expect("tresor_test.ko");
    assert!(matches!(check(&other), Err(BadFile::NoRoutines)));
}

#[test]
fn the_command_ends_with_0_1_or_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |name: &str, bytes: &[u8], json: bool| {
        let file = folder.path().join(name);
        fs::write(&file, bytes).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_regcheck"));
        if json {
            command.arg("--json");
        }
        let output = command.arg(file).output().expect("regcheck runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let good = module();
    assert_eq!(run("good.ko", &good, false).0, Some(0));
    let (code, json) = run("good.ko", &good, true);
    let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((code, &report["proved"]), (Some(0), &true.into()));
    let mut bad = good.clone();
    let at = bad
        .windows(3)
        .position(|w| w == [0x4d, 0x85, 0xdb])
        .expect("a test");
    bad[at + 2] = 0xd2;
    let (code, text) = run("bad.ko", &bad, false);
    assert_eq!(code, Some(1));
    assert!(
        text.contains("r11 is not tested right behind a window"),
        "{text}"
    );
    assert_eq!(run("short.ko", &good[..100], false).0, Some(2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// No file makes the check panic, and no damage to the code or its tables is an error of ours.
    #[test]
    fn a_damaged_module_is_refused_or_read_never_a_panic(
        cut in 0.0..1.0f64,
        whole in any::<bool>(),
        spots in prop::collection::vec((0.0..1.0f64, any::<u8>()), 1..40),
    ) {
        let mut bytes = module();
        if !whole {
            bytes.truncate((bytes.len() as f64 * cut) as usize);
        }
        for (place, value) in spots {
            let at = (bytes.len() as f64 * place) as usize;
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        let _ = check(&bytes);
    }
}
