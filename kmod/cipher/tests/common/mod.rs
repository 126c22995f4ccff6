// SPDX-License-Identifier: GPL-2.0-or-later

//! The engine's definition, written again with RustCrypto: F, XTS under keys from F, and M's life.
//! Nothing here calls the engine, except [`armed`].

#![allow(dead_code)] // every test file uses some of it

use aes::cipher::{generic_array::GenericArray, BlockEncrypt, KeyInit};
use aes::{Aes128, Aes256};
use sha2::{Digest, Sha256};
use tresor_cipher::{arm, CheckValue, Direction, Engine, Share};
use xts_mode::Xts128;

/// The SHA-256 that the engine's public half is given.
pub struct Hash;

impl tresor_cipher::Sha256 for Hash {
    fn digest(parts: &[&[u8]]) -> [u8; 32] {
        parts
            .iter()
            .fold(Sha256::new(), |hash, part| hash.chain_update(part))
            .finalize()
            .into()
    }
}

/// The 16 bytes that E_M is applied to.
pub fn input(purpose: u8, mode: u8, bits: u16, index: u16, context: &[u8]) -> [u8; 16] {
    let mut message = b"tresor v1\0".to_vec();
    message.extend([purpose, mode]);
    message.extend(bits.to_le_bytes());
    message.extend(index.to_le_bytes());
    message.extend(context);
    Sha256::digest(message)[..16].try_into().unwrap()
}

/// E_M of a block.
pub fn e(m: &[u8; 32], block: [u8; 16]) -> [u8; 16] {
    let mut block = GenericArray::from(block);
    Aes256::new(m.into()).encrypt_block(&mut block);
    block.into()
}

/// F(purpose, mode, bits, index, context).
pub fn f(m: &[u8; 32], purpose: u8, mode: u8, bits: u16, index: u16, context: &[u8]) -> [u8; 16] {
    e(m, input(purpose, mode, bits, index, context))
}

/// M's check value.
pub fn check_value(m: &[u8; 32]) -> [u8; 16] {
    f(m, b'k', 0, 0, 0, b"")
}

/// K1 || K2 of a volume, as long as its blob.
pub fn volume_key(m: &[u8; 32], blob: &[u8]) -> Vec<u8> {
    (0..blob.len() / 16)
        .flat_map(|i| f(m, b'v', 1, 8 * blob.len() as u16, i as u16, blob))
        .collect()
}

/// One data unit, in place.
pub fn xts(m: &[u8; 32], blob: &[u8], iv: &[u8; 16], direction: Direction, data: &mut [u8]) {
    let key = volume_key(m, blob);
    let (k1, k2) = key.split_at(key.len() / 2);
    match (key.len(), direction) {
        (32, Direction::Encrypt) => {
            Xts128::new(Aes128::new(k1.into()), Aes128::new(k2.into())).encrypt_sector(data, *iv)
        }
        (32, Direction::Decrypt) => {
            Xts128::new(Aes128::new(k1.into()), Aes128::new(k2.into())).decrypt_sector(data, *iv)
        }
        (64, Direction::Encrypt) => {
            Xts128::new(Aes256::new(k1.into()), Aes256::new(k2.into())).encrypt_sector(data, *iv)
        }
        (64, Direction::Decrypt) => {
            Xts128::new(Aes256::new(k1.into()), Aes256::new(k2.into())).decrypt_sector(data, *iv)
        }
        (other, _) => panic!("no XTS key has {other} bytes"),
    }
}

/// XTS-AES-256 under K1 || K2, expanded.
pub fn xts_cipher(key: &[u8; 64]) -> Xts128<Aes256> {
    let (k1, k2) = key.split_at(32);
    Xts128::new(Aes256::new(k1.into()), Aes256::new(k2.into()))
}

/// `a` xor `b`.
pub fn xor(a: &[u8; 32], b: &[u8; 32]) -> [u8; 32] {
    std::array::from_fn(|i| a[i] ^ b[i])
}

/// A share line whose "CPU" holds `m`, with `s` as its S.
pub fn armed(m: &[u8; 32], s: &[u8; 32]) -> (Box<Share>, CheckValue) {
    let share = Box::new(Share::new());
    share.set(s);
    // SAFETY: user space, and nobody else knows this share.
    let check = unsafe { arm(&share, m) };
    (share, check)
}

/// The inputs of the two blocks of F(purpose, 0, 256, i, context).
pub fn two_inputs(purpose: u8, context: &[u8]) -> [[u8; 16]; 2] {
    [0, 1].map(|i| input(purpose, 0, 256, i, context))
}

/// E_M of both.
pub fn two_blocks(m: &[u8; 32], inputs: &[[u8; 16]; 2]) -> [u8; 32] {
    let mut out = [0; 32];
    out[..16].copy_from_slice(&e(m, inputs[0]));
    out[16..].copy_from_slice(&e(m, inputs[1]));
    out
}

/// What M is, to an observer of both shares.
pub fn master_key(share: &Share) -> [u8; 32] {
    xor(&share.load(), &share.registers())
}

/// The variants that this CPU can run. Says, once for each test, which it cannot and why.
pub fn engines() -> Vec<Engine> {
    let (can, cannot): (Vec<_>, Vec<_>) = Engine::ALL.into_iter().partition(|e| e.supported());
    for engine in cannot {
        println!(
            "skipped: engine {}: this CPU lacks {}",
            engine.name(),
            engine.lacks().unwrap_or("nothing")
        );
    }
    assert!(can.contains(&Engine::Aesni), "no variant without AES-NI");
    can
}
