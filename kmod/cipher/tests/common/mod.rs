// SPDX-License-Identifier: GPL-2.0-or-later

//! The engine's definition, written again with RustCrypto: F, the modes under keys from F, and M's life.
//! Nothing here calls the engine, except [`armed`].

#![allow(dead_code)] // every test file uses some of it

use aes::cipher::{
    consts::U16, generic_array::GenericArray, BlockCipher, BlockDecrypt, BlockDecryptMut,
    BlockEncrypt, BlockEncryptMut, InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper,
};
use aes::{Aes128, Aes192, Aes256};
use ctr::{flavors::Ctr128BE, CtrCore};
use sha2::{Digest, Sha256};
use tresor_cipher::{arm, CheckValue, Direction, Engine, KeySize, Mode, Share};
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

/// The key of a volume, as long as its blob: K, of XTS K1 || K2.
pub fn volume_key(m: &[u8; 32], mode: Mode, blob: &[u8]) -> Vec<u8> {
    let bits = 8 * blob.len() as u16;
    let mut key: Vec<u8> = (0..blob.len().div_ceil(16))
        .flat_map(|i| f(m, b'v', mode as u8, bits, i as u16, blob))
        .collect();
    key.truncate(blob.len());
    key
}

/// The key that encrypts the IVs of ESSIV.
pub fn essiv_key(m: &[u8; 32], blob: &[u8]) -> [u8; 32] {
    let block = |i| f(m, b'e', 5, 8 * blob.len() as u16, i, blob);
    [block(0), block(1)].concat().try_into().unwrap()
}

/// One request, in place.
pub fn crypt(
    m: &[u8; 32],
    mode: Mode,
    blob: &[u8],
    iv: &[u8; 16],
    direction: Direction,
    data: &mut [u8],
) {
    let key = volume_key(m, mode, blob);
    let iv = match mode {
        Mode::EssivCbc => e(&essiv_key(m, blob), *iv),
        _ => *iv,
    };
    let done = under_key(mode, &key, iv, direction, data);
    data.copy_from_slice(&done);
}

/// The same under a key; of ESSIV with its IV encrypted.
pub fn under_key(
    mode: Mode,
    key: &[u8],
    iv: [u8; 16],
    direction: Direction,
    data: &[u8],
) -> Vec<u8> {
    let mut data = data.to_vec();
    match (mode, key.len()) {
        (Mode::Xts, 32) | (_, 16) => under::<Aes128>(mode, key, iv, direction, &mut data),
        (Mode::Xts, 64) | (_, 32) => under::<Aes256>(mode, key, iv, direction, &mut data),
        (_, 24) => under::<Aes192>(mode, key, iv, direction, &mut data),
        (_, other) => panic!("no key has {other} bytes"),
    }
    data
}

fn blocks(data: &mut [u8]) -> impl Iterator<Item = &mut GenericArray<u8, U16>> {
    assert_eq!(data.len() % 16, 0);
    data.chunks_exact_mut(16).map(GenericArray::from_mut_slice)
}

/// The same for one AES.
fn under<C>(mode: Mode, key: &[u8], iv: [u8; 16], direction: Direction, data: &mut [u8])
where
    C: KeyInit
        + BlockCipher<BlockSize = U16>
        + BlockEncrypt
        + BlockDecryptMut
        + BlockDecrypt
        + BlockEncryptMut
        + Clone,
{
    let cipher = |key: &[u8]| C::new_from_slice(key).expect("a key of the cipher's size");
    match (mode, direction) {
        (Mode::Xts, _) => {
            let (k1, k2) = key.split_at(key.len() / 2);
            let xts = Xts128::new(cipher(k1), cipher(k2));
            match direction {
                Direction::Encrypt => xts.encrypt_sector(data, iv),
                Direction::Decrypt => xts.decrypt_sector(data, iv),
            }
        }
        (Mode::Ctr, _) => {
            let core = CtrCore::<C, Ctr128BE>::inner_iv_init(cipher(key), &iv.into());
            StreamCipherCoreWrapper::from_core(core).apply_keystream(data);
        }
        (Mode::Ecb, Direction::Encrypt) => {
            let cipher = cipher(key);
            blocks(data).for_each(|block| cipher.encrypt_block(block));
        }
        (Mode::Ecb, Direction::Decrypt) => {
            let cipher = cipher(key);
            blocks(data).for_each(|block| cipher.decrypt_block(block));
        }
        (Mode::Cbc | Mode::EssivCbc, Direction::Encrypt) => {
            let mut cbc = cbc::Encryptor::<C>::inner_iv_init(cipher(key), &iv.into());
            blocks(data).for_each(|block| cbc.encrypt_block_mut(block));
        }
        (Mode::Cbc | Mode::EssivCbc, Direction::Decrypt) => {
            let mut cbc = cbc::Decryptor::<C>::inner_iv_init(cipher(key), &iv.into());
            blocks(data).for_each(|block| cbc.decrypt_block_mut(block));
        }
        (Mode::None, _) => panic!("no mode"),
    }
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

/// A way of the engine to work on data.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub engine: Engine,
    pub mode: Mode,
    pub size: KeySize,
    pub direction: Direction,
}

impl Row {
    /// All that there must be, whatever this CPU can run.
    pub fn all() -> impl Iterator<Item = Self> {
        let modes = Mode::ALL.into_iter().flat_map(|mode| {
            let sizes = KeySize::ALL.into_iter();
            sizes
                .filter(move |size| (mode, *size) != (Mode::Xts, KeySize::Aes192))
                .map(move |size| (mode, size))
        });
        let modes: Vec<_> = modes.collect();
        Engine::ALL.into_iter().flat_map(move |engine| {
            let of_mode = move |(mode, size)| {
                [Direction::Encrypt, Direction::Decrypt].map(|direction| Row {
                    engine,
                    mode,
                    size,
                    direction,
                })
            };
            modes.clone().into_iter().flat_map(of_mode)
        })
    }

    /// Such as `aesni_xts_256_encrypts`.
    pub fn name(&self) -> String {
        let verb = match self.direction {
            Direction::Encrypt => "encrypts",
            Direction::Decrypt => "decrypts",
        };
        let bits = 8 * self.size.bytes();
        format!("{}_{}_{bits}_{verb}", self.engine.name(), self.mode)
    }

    /// Bytes of a blob for it.
    pub fn blob_len(&self) -> usize {
        match self.mode {
            Mode::Xts => 2 * self.size.bytes(),
            _ => self.size.bytes(),
        }
    }
}
