// SPDX-License-Identifier: GPL-2.0-or-later

//! The command line as a user meets it, as far as it does without the module: exact messages and
//! exit codes. `tests/cases` holds one file for each call.

use keyscan::aes::Schedule;
use nix::pty::openpty;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Not regular, and its round keys neither.
fn key() -> Vec<u8> {
    (0..32u8).map(|i| i.wrapping_mul(73) ^ 0x5a).collect()
}

fn tresorctl(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tresorctl"));
    command.current_dir(folder);
    command
}

fn with_input(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not want its input may close it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_case_gives_exactly_its_output_and_exit_code() {
    trycmd::TestCases::new().case("tests/cases/*.toml");
}

#[test]
fn a_clean_dump_is_exit_code_0_and_a_schedule_is_1() {
    let folder = tempfile::tempdir().unwrap();
    let mut dump = vec![0; 100_000];
    std::fs::write(folder.path().join("clean.raw"), &dump).unwrap();
    dump[54_321..][..240].copy_from_slice(Schedule::expand(&key()).unwrap().as_bytes());
    std::fs::write(folder.path().join("dirty.raw"), &dump).unwrap();

    let clean = tresorctl(folder.path())
        .args(["scan", "clean.raw"])
        .output()
        .unwrap();
    assert_eq!(clean.status.code(), Some(0));
    let out = text(&clean.stdout);
    assert!(
        out.starts_with("clean.raw: raw, 97.66 KiB scanned in "),
        "{out}"
    );
    assert!(out.ends_with(" s\n  key schedules: not found\n"), "{out}");

    let dirty = tresorctl(folder.path())
        .args(["scan", "clean.raw", "dirty.raw"])
        .output()
        .unwrap();
    assert_eq!(dirty.status.code(), Some(1));
    let out = text(&dirty.stdout);
    let found = out
        .split_once("dirty.raw: raw, 97.66 KiB scanned in ")
        .unwrap()
        .1;
    let table = found.split_once('\n').unwrap().1;
    assert_eq!(
        table,
        "  OFFSET             LENGTH  ORDER          WHAT\n  \
           0x000000000000d431    240  native         AES-256 key schedule, key sha256:5723c5193f9b6d4c\n  \
           key schedules: found once\n"
    );
    assert!(text(&dirty.stderr).is_empty());
}

#[test]
fn a_file_that_cannot_be_read_is_exit_code_2_and_the_others_are_scanned() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("b.raw"),
        Schedule::expand(&key()).unwrap().as_bytes(),
    )
    .unwrap();
    let output = tresorctl(folder.path())
        .args(["scan", "a.raw", "b.raw"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stdout).contains("key schedules: found once"));
    assert!(text(&output.stderr).starts_with("error: cannot open a.raw: No such file"));
}

/// A LiME file: a header for 8192 bytes at an address, and a schedule among them.
fn lime(address: u64, at: usize) -> Vec<u8> {
    let mut dump = b"EMiL\x01\0\0\0".to_vec();
    dump.extend_from_slice(&address.to_le_bytes());
    dump.extend_from_slice(&(address + 8191).to_le_bytes());
    dump.resize(32 + 8192, 0);
    dump[32 + at..][..240].copy_from_slice(Schedule::expand(&key()).unwrap().as_bytes());
    dump
}

#[test]
fn places_in_a_format_with_addresses_are_physical() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("d.lime"), lime(0x1_2345_6000, 0x789)).unwrap();
    let output = tresorctl(folder.path())
        .args(["scan", "d.lime"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let out = text(&output.stdout);
    assert!(
        out.starts_with("d.lime: LiME, 8.00 KiB scanned in "),
        "{out}"
    );
    assert!(out.contains("\n  PHYSICAL           LENGTH"), "{out}");
    assert!(
        out.contains("\n  0x0000000123456789    240  native "),
        "{out}"
    );
    let raw = tresorctl(folder.path())
        .args(["scan", "--raw", "d.lime"])
        .output()
        .unwrap();
    let out = text(&raw.stdout);
    assert!(out.contains("\n  OFFSET "), "{out}");
    assert!(out.contains("\n  0x00000000000007a9    240"), "{out}");
}

#[test]
fn a_file_that_was_cut_off_is_exit_code_5_unless_something_is_found_in_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    for (at, code) in [(100, 1), (8000 - 240, 5)] {
        std::fs::write(folder.path().join("d.lime"), &lime(0x1000, at)[..32 + 4000]).unwrap();
        let output = tresorctl(folder.path())
            .args(["scan", "d.lime"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code));
        let out = text(&output.stdout);
        let told = "  NOT READ at offset 0xfc0: the file ends here: 4192 bytes of the range at 0x1000 are \
                    missing\n";
        assert!(out.ends_with(told), "{out}");
    }
    std::fs::write(folder.path().join("d.lime"), b"EMiL\x09\0\0\0").unwrap();
    let output = tresorctl(folder.path())
        .args(["scan", "d.lime"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told =
        "error: cannot read d.lime: at offset 0x8: the file ends here; nothing of it was scanned; \
                to search its bytes as they are, use --raw\n";
    assert_eq!(text(&output.stderr), told);
}

#[test]
fn damaged_schedules_are_found_when_asked_for_and_left_ones_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut dump: Vec<u8> = (0..20_000u32)
        .flat_map(|i| {
            i.wrapping_mul(0x9e37_79b1)
                .rotate_left(i % 31)
                .to_le_bytes()
        })
        .collect();
    let mut damaged = Schedule::expand(&key()).unwrap().as_bytes().to_vec();
    for bit in (3..damaged.len() * 8).step_by(40) {
        damaged[bit / 8] ^= 1 << (bit % 8);
    }
    dump[4321..][..240].copy_from_slice(&damaged);
    std::fs::write(folder.path().join("d.raw"), &dump).unwrap();
    let scan = |arguments: &[&str]| {
        let output = tresorctl(folder.path())
            .args(["scan", "d.raw"])
            .args(arguments)
            .output()
            .unwrap();
        (output.status.code(), text(&output.stdout))
    };
    assert_eq!(scan(&[]).0, Some(0));
    for arguments in [&["--flips", "5%"][..], &["--decay", "0.1"]] {
        let (code, out) = scan(arguments);
        assert_eq!(code, Some(1), "{out}");
        assert!(
            out.contains("key sha256:5723c5193f9b6d4c, corrected: "),
            "{out}"
        );
    }
    let (code, out) = scan(&["--flips", "5%", "--effort", "0"]);
    assert_eq!(code, Some(5), "{out}");
    assert!(out.contains("NOT TRIED: 1 places"), "{out}");
}

#[test]
fn two_shares_are_found_as_the_secret_that_they_give_together() {
    let folder = tempfile::tempdir().unwrap();
    let share: Vec<u8> = key().iter().map(|b| b.wrapping_mul(29) ^ 0xc5).collect();
    let both: Vec<u8> = key().iter().zip(&share).map(|(a, b)| a ^ b).collect();
    let mut dump = vec![0; 5000];
    dump[777..809].copy_from_slice(&both);
    std::fs::write(folder.path().join("d.raw"), &dump).unwrap();
    let list = |name: &str, bytes: &[u8]| {
        format!(r#"[{{"name": "{name}", "hex": "{}"}}]"#, hex::encode(bytes))
    };
    let shares = folder.path().join("shares.json");
    let scan = || {
        with_input(
            tresorctl(folder.path()).args([
                "scan",
                "--secrets",
                "-",
                "--xor",
                "shares.json",
                "d.raw",
            ]),
            list("M", &key()).as_bytes(),
        )
    };
    std::fs::write(&shares, list("M", &share)).unwrap();
    let output = scan();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let out = text(&output.stdout);
    assert!(out.contains("all of \"M, both shares\""), "{out}");
    assert!(out.contains("\"M\": not found") && out.contains("\"M, second share\": not found"));
    std::fs::write(&shares, list("N", &share)).unwrap();
    let output = scan();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("the first list has none to xor it with"));
    std::fs::write(&shares, list("M", &share[..16])).unwrap();
    assert!(text(&scan().stderr).contains("have 32 and 16 bytes, and cannot be xored"));
}

#[test]
fn a_page_is_written_that_has_the_findings_and_no_key() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("d<.lime"), lime(0x1000, 0x789)).unwrap();
    let output = tresorctl(folder.path())
        .args(["scan", "--report", "out.html", "d<.lime"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let page = std::fs::read_to_string(folder.path().join("out.html")).unwrap();
    assert!(page.contains("<code>0x1789</code>") && page.contains("d&lt;.lime"));
    assert!(page.contains("5723c5193f9b6d4c") && !page.contains(&hex::encode(&key()[..8])));
}

#[test]
fn a_self_test_prints_the_detection_table_and_says_whether_it_is_as_promised() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        tresorctl(folder.path())
            .args(["scan", "--self-test", "--count", "2", "--random", "2"])
            .args(arguments)
            .output()
            .unwrap()
    };
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let out = text(&output.stdout);
    let line = "undamaged                    4/4       4/4       4/4       4/4       4/4       4/4";
    assert!(out.contains(line), "{out}");
    assert!(out.contains("0 false reports in 2.00 MiB"), "{out}");
    assert!(
        out.ends_with("Detection and false reports are as promised.\n"),
        "{out}"
    );
    let output = run(&["--json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["detection"].as_array().unwrap().len(), 11 * 12);
    assert_eq!(
        (&value["kept"], &value["random"][1]["reports"]),
        (&true.into(), &0.into())
    );
}

#[test]
fn keys_are_printed_only_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("d.raw"),
        Schedule::expand(&key()).unwrap().as_bytes(),
    )
    .unwrap();
    let hex = hex::encode(key());
    for json in [&[][..], &["--json"]] {
        let hidden = tresorctl(folder.path())
            .args(["scan", "d.raw"])
            .args(json)
            .output()
            .unwrap();
        assert!(!text(&hidden.stdout).contains(&hex[..16]));
        let shown = tresorctl(folder.path())
            .args(["scan", "--show-keys", "d.raw"])
            .args(json)
            .output()
            .unwrap();
        assert!(text(&shown.stdout).contains(&hex));
    }
}

#[test]
fn secrets_are_read_from_standard_input_and_counted_whether_found_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut dump = vec![0; 5000];
    dump[1001..1009].copy_from_slice(&key()[8..16]);
    dump[3003..3019].copy_from_slice(&Schedule::expand(&key()).unwrap().as_bytes()[80..96]);
    std::fs::write(folder.path().join("d.raw"), &dump).unwrap();
    let absent: Vec<u8> = key().iter().map(|b| b ^ 0x33).collect();
    let secrets = format!(
        r#"[{{"name": "M", "hex": "{}", "expand": true}}, {{"name": "other", "hex": "{}"}}]"#,
        hex::encode(key()),
        hex::encode(absent)
    );
    let output = with_input(
        tresorctl(folder.path()).args(["scan", "--json", "--secrets", "-", "d.raw"]),
        secrets.as_bytes(),
    );
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let file = &report["files"][0];
    assert_eq!(file["file"], "d.raw");
    assert_eq!(file["bytes_scanned"], 5000);
    assert_eq!(file["schedules"], 0);
    assert_eq!(file["needles"][0]["found"], 2);
    assert_eq!(
        (&file["needles"][1]["name"], &file["needles"][1]["found"]),
        (&"other".into(), &0.into())
    );
    let what = |i: usize, field: &str| file["findings"][i][field].clone();
    assert_eq!(
        (what(0, "offset"), what(0, "kind"), what(0, "index")),
        (1001.into(), "word".into(), 1.into())
    );
    assert_eq!(
        (what(1, "offset"), what(1, "kind"), what(1, "round")),
        (3003.into(), "round-key".into(), 5.into())
    );
    assert!(!text(&output.stdout).contains(&hex::encode(&key()[8..16])));
}

#[test]
fn a_slot_key_is_not_written_to_a_terminal() {
    let pty = openpty(None, None).unwrap();
    let output = tresorctl(Path::new("/"))
        .args(["slot-key", "01234567-89ab-cdef-0123-456789abcdef"])
        .stdout(Stdio::from(pty.slave))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        text(&output.stderr),
        "error: the slot key is 32 raw bytes and no text for a terminal; nothing was printed; pipe it \
         into cryptsetup --key-file=-, or use --output FILE\n"
    );
    // Nothing came through: the other side is at its end, which Linux tells by EIO.
    let mut seen = Vec::new();
    let _ = File::from(pty.master).read_to_end(&mut seen);
    assert!(seen.is_empty(), "{seen:?}");
}

#[test]
fn completions_and_manual_pages_are_made_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = tresorctl(folder.path())
            .args(["completions", shell])
            .output()
            .unwrap();
        assert!(text(&output.stdout).contains("slot-key"), "{shell}");
    }
    let page = tresorctl(folder.path()).arg("man").output().unwrap();
    assert!(text(&page.stdout).contains(".TH tresorctl 1"));
    assert!(tresorctl(folder.path())
        .args(["man", "--output", "."])
        .status()
        .unwrap()
        .success());
    for page in [
        "tresorctl.1",
        "tresorctl-load.1",
        "tresorctl-agent.1",
        "tresorctl-slot-key.1",
        "tresorctl-scan.1",
    ] {
        assert!(folder.path().join(page).is_file(), "{page}");
    }
}
