// SPDX-License-Identifier: GPL-2.0-or-later

//! Every variant, mode, key size and direction against published vectors: one test for each of them,
//! also for those that this CPU cannot run, which say why.
//!
//! A vector is run in one section, and again in two, cut at each of its blocks. `vectors/` has the
//! data; the head of each file says where they come from.

use libtest_mimic::{run, Arguments, Completion, Failed, Trial};
use sha2::{Digest, Sha256};
use std::process::ExitCode;
use tresor_cipher::{raw_crypt, Direction, Engine, KeySize, Mode, RawKey};

/// The files, and how many vectors each has.
const FILES: [(&str, &str, usize); 8] = [
    ("ieee1619", include_str!("vectors/ieee1619.txt"), 19),
    ("cavp-xts", include_str!("vectors/cavp-xts.txt"), 700),
    ("cavp-ecb", include_str!("vectors/cavp-ecb.txt"), 1099),
    ("cavp-cbc", include_str!("vectors/cavp-cbc.txt"), 139),
    ("ctr", include_str!("vectors/ctr.txt"), 12),
    ("essiv", include_str!("vectors/essiv.txt"), 5),
    (
        "wycheproof-xts",
        include_str!("vectors/wycheproof-xts.txt"),
        82,
    ),
    (
        "wycheproof-cbc",
        include_str!("vectors/wycheproof-cbc.txt"),
        72,
    ),
];

struct Vector {
    /// Group and number in it, from 1.
    name: String,
    mode: Mode,
    key: Vec<u8>,
    iv: [u8; 16],
    plaintext: Vec<u8>,
    ciphertext: Vec<u8>,
}

/// Reads a line with a vector of a group.
fn vector(line: &str, name: String, mode: Mode) -> Option<Vector> {
    let fields: Vec<&str> = line.split(' ').collect();
    let &[key, iv, plaintext, ciphertext] = &fields[..] else {
        return None;
    };
    let iv = match mode {
        Mode::Ecb => (iv == "-").then_some([0; 16])?,
        _ => hex::decode(iv).ok()?.try_into().ok()?,
    };
    let [key, plaintext, ciphertext] =
        [key, plaintext, ciphertext].map(|field| hex::decode(field).ok());
    let vector = Vector {
        name,
        mode,
        key: key?,
        iv,
        plaintext: plaintext?,
        ciphertext: ciphertext?,
    };
    (vector.plaintext.len() == vector.ciphertext.len()).then_some(vector)
}

/// Reads a file; the head of each says how it is laid out.
fn parse(text: &str) -> Result<Vec<Vector>, String> {
    let mut group = None;
    let mut number = 0;
    let mut vectors = Vec::new();
    for line in text
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
    {
        if let Some(title) = line.strip_prefix("= ") {
            let named = title.split_once(' ').and_then(|(name, mode)| {
                let mode = Mode::ALL.into_iter().find(|m| m.name() == mode)?;
                Some((name, mode))
            });
            group = Some(named.ok_or(format!("no group: {line}"))?);
            number = 0;
            continue;
        }
        number += 1;
        let (name, mode) = group.ok_or(format!("no group before {line}"))?;
        let vector = vector(line, format!("{name} {number}"), mode);
        vectors.push(vector.ok_or(format!("no vector: {line}"))?);
    }
    Ok(vectors)
}

fn key_of(vector: &Vector) -> RawKey {
    // Of ESSIV: the SHA-256 of the key. The module derives it otherwise, but the code is the same.
    let essiv = Sha256::digest(&vector.key).into();
    RawKey::new(vector.mode, &vector.key, &essiv).expect("a key of the mode")
}

/// Runs a vector with its first `cut` bytes as a section of their own, if there are any.
fn sections(
    engine: Engine,
    direction: Direction,
    vector: &Vector,
    cut: usize,
) -> Result<(), Failed> {
    let (from, to) = match direction {
        Direction::Encrypt => (&vector.plaintext, &vector.ciphertext),
        Direction::Decrypt => (&vector.ciphertext, &vector.plaintext),
    };
    let key = key_of(vector);
    let mut data = from.clone();
    let (first, second) = data.split_at_mut(cut);
    if cut > 0 {
        raw_crypt(engine, direction, &key, &vector.iv, 0, first);
    }
    let iv = match vector.mode {
        Mode::Cbc | Mode::EssivCbc if cut > 0 => &vector.ciphertext[cut - 16..cut],
        _ => &vector.iv,
    };
    let iv = iv.try_into().expect("16 bytes");
    raw_crypt(engine, direction, &key, iv, cut as u64 / 16, second);
    if data == *to {
        return Ok(());
    }
    Err(format!(
        "{}, cut after {cut} bytes: {} instead of {}",
        vector.name,
        hex::encode(&data),
        hex::encode(to)
    )
    .into())
}

/// One row: all vectors of a mode and key size.
fn row(
    engine: Engine,
    mode: Mode,
    size: KeySize,
    direction: Direction,
) -> Result<Completion, Failed> {
    if let Some(lack) = engine.lacks() {
        return Ok(Completion::ignored_with(format!("this CPU lacks {lack}")));
    }
    let mut ran = 0;
    for (_, text, _) in FILES {
        for vector in parse(text)? {
            if vector.mode != mode || KeySize::of_blob(mode, vector.key.len()) != Ok(size) {
                continue;
            }
            let len = vector.plaintext.len();
            sections(engine, direction, &vector, 0)?;
            for cut in (16..len).step_by(16).filter(|cut| mode.allows(len - cut)) {
                sections(engine, direction, &vector, cut)?;
            }
            ran += 1;
        }
    }
    if ran == 0 {
        return Err("there is no vector for it".into());
    }
    Ok(Completion::Completed)
}

fn every_file_has_all_its_vectors() -> Result<(), Failed> {
    for (name, text, count) in FILES {
        let read = parse(text)?.len();
        if read != count {
            return Err(format!("{name} has {read} vectors instead of {count}").into());
        }
    }
    Ok(())
}

fn what_is_no_vector_is_refused() -> Result<(), Failed> {
    for text in [
        "00 00 00 00",
        "= a xts-aes",
        "= a ecb\n00 00 00 00",
        "= a ecb\n00 - 00",
        "= a ecb\n00 - 00 00 00",
        "= a ecb\n00 - 00 0000",
        "= a cbc\n00 00 00 00",
        "= a ecb\n0g - 00 00",
    ] {
        if parse(text).is_ok() {
            return Err(format!("{text:?} is taken for a vector").into());
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut trials = vec![
        Trial::test(
            "every_file_has_all_its_vectors",
            every_file_has_all_its_vectors,
        ),
        Trial::test("what_is_no_vector_is_refused", what_is_no_vector_is_refused),
    ];
    for engine in Engine::ALL {
        for mode in Mode::ALL {
            for size in KeySize::ALL {
                let keys = if mode == Mode::Xts { 2 } else { 1 };
                if KeySize::of_blob(mode, keys * size.bytes()) != Ok(size) {
                    continue;
                }
                for direction in [Direction::Encrypt, Direction::Decrypt] {
                    let name = format!(
                        "{}_{mode}_{}_{}s_as_published",
                        engine.name(),
                        8 * size.bytes(),
                        format!("{direction:?}").to_lowercase()
                    );
                    let row = move || row(engine, mode, size, direction);
                    trials.push(Trial::ignorable_test(name, row));
                }
            }
        }
    }
    run(&Arguments::from_args(), trials).exit_code()
}
