// SPDX-License-Identifier: GPL-2.0-or-later

//! The rounds, the schedule and the tweaks against published vectors.

mod common;

use common::engines;
use tresor_cipher::{raw_crypt, Direction, Engine, Mode, RawKey};

struct Vector {
    name: String,
    key: Vec<u8>,
    iv: [u8; 16],
    plaintext: Vec<u8>,
    ciphertext: Vec<u8>,
}

/// Reads `vectors/ieee1619.txt`; its first lines say how it is laid out.
fn vectors() -> Vec<Vector> {
    let mut lines = include_str!("vectors/ieee1619.txt")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut all = Vec::new();
    while let Some(name) = lines.next() {
        let mut field = |label: &str| {
            let line = lines.next().expect("a vector of five lines");
            let value = line.strip_prefix(label).expect(label).trim();
            hex::decode(value).expect("hex digits")
        };
        all.push(Vector {
            name: name.to_owned(),
            key: field("key"),
            iv: field("iv").try_into().expect("16 bytes"),
            plaintext: field("plaintext"),
            ciphertext: field("ciphertext"),
        });
    }
    all
}

fn run(engine: Engine, vector: &Vector, direction: Direction, block: usize, data: &mut [u8]) {
    let key = RawKey::new(Mode::Xts, &vector.key, &[0; 32]).unwrap();
    raw_crypt(engine, direction, &key, &vector.iv, block as u64, data);
}

#[test]
fn the_whole_block_vectors_of_ieee_1619_come_out() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 14);
    for engine in engines() {
        for vector in &vectors {
            let place = format!("{}, {}", engine.name(), vector.name);
            let mut data = vector.plaintext.clone();
            run(engine, vector, Direction::Encrypt, 0, &mut data);
            assert_eq!(
                hex::encode(&data),
                hex::encode(&vector.ciphertext),
                "{place}"
            );
            run(engine, vector, Direction::Decrypt, 0, &mut data);
            assert_eq!(
                hex::encode(&data),
                hex::encode(&vector.plaintext),
                "{place}"
            );
        }
    }
}

#[test]
fn the_vectors_come_out_in_two_sections_split_anywhere() {
    for engine in engines() {
        for vector in vectors() {
            for first in 1..vector.plaintext.len() / 16 {
                let place = format!("{}, {}, {first} blocks", engine.name(), vector.name);
                let mut data = vector.plaintext.clone();
                let (a, b) = data.split_at_mut(16 * first);
                run(engine, &vector, Direction::Encrypt, first, b);
                run(engine, &vector, Direction::Encrypt, 0, a);
                assert_eq!(data, vector.ciphertext, "{place}");
                let (a, b) = data.split_at_mut(16 * first);
                run(engine, &vector, Direction::Decrypt, first, b);
                run(engine, &vector, Direction::Decrypt, 0, a);
                assert_eq!(data, vector.plaintext, "{place}");
            }
        }
    }
}
