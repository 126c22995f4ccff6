// SPDX-License-Identifier: GPL-2.0-or-later

//! The rounds, the schedule and the tweaks against published vectors.

use tresor_cipher::{raw_xts, Direction, RawKey};

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

fn run(vector: &Vector, direction: Direction, block: usize, data: &mut [u8]) {
    let key = match vector.key.len() {
        32 => RawKey::Aes128(vector.key[..].try_into().unwrap()),
        _ => RawKey::Aes256(vector.key[..].try_into().unwrap()),
    };
    raw_xts(direction, key, &vector.iv, block as u64, data);
}

#[test]
fn the_whole_block_vectors_of_ieee_1619_come_out() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 14);
    for vector in &vectors {
        let mut data = vector.plaintext.clone();
        run(vector, Direction::Encrypt, 0, &mut data);
        assert_eq!(
            hex::encode(&data),
            hex::encode(&vector.ciphertext),
            "{}",
            vector.name
        );
        run(vector, Direction::Decrypt, 0, &mut data);
        assert_eq!(
            hex::encode(&data),
            hex::encode(&vector.plaintext),
            "{}",
            vector.name
        );
    }
}

#[test]
fn the_vectors_come_out_in_two_sections_split_anywhere() {
    for vector in vectors() {
        for first in 1..vector.plaintext.len() / 16 {
            let mut data = vector.plaintext.clone();
            let (a, b) = data.split_at_mut(16 * first);
            run(&vector, Direction::Encrypt, first, b);
            run(&vector, Direction::Encrypt, 0, a);
            assert_eq!(data, vector.ciphertext, "{}, {first} blocks", vector.name);
            let (a, b) = data.split_at_mut(16 * first);
            run(&vector, Direction::Decrypt, first, b);
            run(&vector, Direction::Decrypt, 0, a);
            assert_eq!(data, vector.plaintext, "{}, {first} blocks", vector.name);
        }
    }
}
