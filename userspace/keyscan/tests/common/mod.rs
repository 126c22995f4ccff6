// SPDX-License-Identifier: GPL-2.0-or-later

//! Writes small dumps of every format.

#![allow(dead_code)]

use rand_chacha::rand_core::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::io::Write;

pub const PAGE: usize = 4096;

/// Memory: addresses, in order, and what is there. In whole pages.
pub type Runs = Vec<(u64, Vec<u8>)>;

pub fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// A 64-bit ELF core, or a 32-bit one in big-endian order.
pub fn elf(runs: &Runs, big32: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let put = |out: &mut Vec<u8>, size: usize, value: u64| {
        if big32 {
            out.extend_from_slice(&value.to_be_bytes()[8 - size..]);
        } else {
            out.extend_from_slice(&value.to_le_bytes()[..size]);
        }
    };
    let (word, header, entry) = if big32 { (4, 52, 32) } else { (8, 64, 56) };
    out.extend_from_slice(b"\x7fELF");
    out.extend_from_slice(if big32 { &[1, 2, 1] } else { &[2, 1, 1] });
    out.resize(16, 0);
    for (size, value) in [
        (2, 4),
        (2, 62),
        (4, 1),
        (word, 0),
        (word, header),
        (word, 0),
        (4, 0),
        (2, header),
        (2, entry),
        (2, runs.len() as u64 + 1),
        (2, 0),
        (2, 0),
        (2, 0),
    ] {
        put(&mut out, size, value);
    }
    let mut at = header + entry * (runs.len() as u64 + 1);
    // A note first, which is no memory.
    let notes = (4u64, 0u64, at, 0u64);
    let mut entries = vec![notes];
    for (address, bytes) in runs {
        entries.push((1, *address, at, bytes.len() as u64));
        at += bytes.len() as u64;
    }
    for (kind, address, at, len) in entries {
        put(&mut out, 4, kind);
        if !big32 {
            put(&mut out, 4, 7);
        }
        for value in [
            at,
            address + 0x7000_0000 * (word as u64 - 4),
            address,
            len,
            len + 4096,
        ] {
            put(&mut out, word, value);
        }
        if big32 {
            put(&mut out, 4, 7);
        }
        put(&mut out, word, 0);
    }
    for (_, bytes) in runs {
        out.extend_from_slice(bytes);
    }
    out
}

fn lime_header(magic: &[u8], version: u32, address: u64, len: usize) -> Vec<u8> {
    let mut out = magic.to_vec();
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(&address.to_le_bytes());
    out.extend_from_slice(&(address + len as u64 - 1).to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out
}

pub fn lime(runs: &Runs) -> Vec<u8> {
    let mut out = Vec::new();
    for (address, bytes) in runs {
        out.extend(lime_header(b"EMiL", 1, *address, bytes.len()));
        out.extend_from_slice(bytes);
    }
    out
}

pub fn avml(runs: &Runs) -> Vec<u8> {
    let mut out = Vec::new();
    for (address, bytes) in runs {
        out.extend(lime_header(b"AVML", 2, *address, bytes.len()));
        let mut encoder = snap::write::FrameEncoder::new(Vec::new());
        encoder.write_all(bytes).unwrap();
        let frames = encoder.into_inner().unwrap();
        out.extend_from_slice(&frames);
        out.extend_from_slice(&(frames.len() as u64).to_le_bytes());
    }
    out
}

/// How the pages of a kdump-compressed file are stored.
#[derive(Clone, Copy, Debug)]
pub enum Method {
    Plain,
    Zlib,
    Lzo,
    Snappy,
    Zstd,
}

impl Method {
    pub const ALL: [Self; 5] = [Self::Plain, Self::Zlib, Self::Lzo, Self::Snappy, Self::Zstd];

    fn flags(self) -> u32 {
        [0, 1, 2, 4, 0x20][self as usize]
    }

    fn compress(self, page: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => page.to_vec(),
            Self::Zlib => {
                let mut encoder =
                    flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(page).unwrap();
                encoder.finish().unwrap()
            }
            Self::Lzo => lzo1x::compress(page, lzo1x::CompressLevel::default()),
            Self::Snappy => snap::raw::Encoder::new().compress_vec(page).unwrap(),
            Self::Zstd => zstd::bulk::compress(page, 1).unwrap(),
        }
    }
}

/// As makedumpfile writes it: a page that does not become smaller is stored as it is.
pub fn kdump(runs: &Runs, method: Method) -> Vec<u8> {
    let frames = runs
        .iter()
        .map(|(address, bytes)| (address + bytes.len() as u64) / PAGE as u64)
        .max()
        .unwrap_or(0);
    let blocks = frames.div_ceil(8).div_ceil(PAGE as u64) as usize;
    let mut header = vec![0; 2 * PAGE];
    header[..8].copy_from_slice(b"KDUMP   ");
    let mut put32 = |at: usize, value: u32| {
        header[at..at + 4].copy_from_slice(&value.to_le_bytes());
    };
    put32(8, 6);
    put32(424, method.flags());
    put32(428, PAGE as u32);
    put32(432, 1);
    put32(436, 2 * blocks as u32);
    put32(440, frames.min(u64::from(u32::MAX)) as u32);
    header[PAGE + 96..PAGE + 104].copy_from_slice(&frames.to_le_bytes());
    let mut bitmap = vec![0u8; blocks * PAGE];
    let mut pages = Vec::new();
    for (address, bytes) in runs {
        for (frame, page) in (address / PAGE as u64..).zip(bytes.chunks_exact(PAGE)) {
            bitmap[frame as usize / 8] |= 1 << (frame % 8);
            pages.push(page);
        }
    }
    let mut out = [header, bitmap.clone(), bitmap].concat();
    let mut at = (out.len() + 24 * pages.len()) as u64;
    let mut data = Vec::new();
    for page in pages {
        let compressed = method.compress(page);
        let (stored, flags) = if compressed.len() < PAGE {
            (&compressed[..], method.flags())
        } else {
            (page, 0)
        };
        out.extend_from_slice(&at.to_le_bytes());
        out.extend_from_slice(&(stored.len() as u32).to_le_bytes());
        out.extend_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        data.extend_from_slice(stored);
        at += stored.len() as u64;
    }
    out.extend(data);
    out
}

/// The same as a flattened file: pieces of `size` bytes, the first one last and once more, wrong, first.
pub fn flatten(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut out = b"makedumpfile\0\0\0\0".to_vec();
    out.extend_from_slice(&1u64.to_be_bytes());
    out.extend_from_slice(&1u64.to_be_bytes());
    out.resize(4096, 0);
    let mut record = |offset: u64, bytes: &[u8]| {
        out.extend_from_slice(&offset.to_be_bytes());
        out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        out.extend_from_slice(bytes);
    };
    let mut pieces: Vec<(u64, &[u8])> = (0..).step_by(size).zip(bytes.chunks(size)).collect();
    pieces.rotate_left(1);
    record(0, &vec![0xa5; size.min(bytes.len())]);
    for (offset, piece) in pieces {
        record(offset, piece);
    }
    record(u64::MAX, &[]);
    let end = out.len() - 8;
    out[end..].fill(0xff);
    out
}

/// Every format, by name, of the same memory.
pub fn all(runs: &Runs) -> Vec<(String, Vec<u8>)> {
    let mut all = vec![
        ("ELF".into(), elf(runs, false)),
        ("ELF, 32-bit big-endian".into(), elf(runs, true)),
        ("flattened ELF".into(), flatten(&elf(runs, false), 5000)),
        ("LiME".into(), lime(runs)),
        ("AVML".into(), avml(runs)),
    ];
    for method in Method::ALL {
        let plain = kdump(runs, method);
        all.push((
            format!("flattened kdump, {method:?}"),
            flatten(&plain, 4096),
        ));
        all.push((format!("kdump, {method:?}"), plain));
    }
    all
}
