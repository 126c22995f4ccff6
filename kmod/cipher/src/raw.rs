// SPDX-License-Identifier: GPL-2.0-or-later

//! The XTS code under a key that lies in memory: for published vectors, which name keys. Never part
//! of the module.

use super::engine::{Direction, Engine, Start};

/// K1 || K2, in memory.
#[derive(Clone, Copy, Debug)]
pub enum RawKey<'a> {
    /// XTS-AES-128.
    Aes128(&'a [u8; 32]),
    /// XTS-AES-256.
    Aes256(&'a [u8; 64]),
}

/// With a key in place of its public inputs, and no share.
type Routine = unsafe extern "C" fn(*const u8, *const u8, *const Start, *mut u8, *const u8, u64);

/// Declares the routines, and a function that finds the right one.
macro_rules! raw_routines {
    ($(($engine:ident, $size:ident, $direction:ident) => $name:ident,)*) => {
        extern "C" {
            $(fn $name(
                unused: *const u8,
                key: *const u8,
                start: *const Start,
                dst: *mut u8,
                src: *const u8,
                len: u64,
            );)*
        }

        fn routine(engine: Engine, key: RawKey<'_>, direction: Direction) -> (Routine, *const u8) {
            match (engine, key, direction) {
                $((Engine::$engine, RawKey::$size(key), Direction::$direction) => {
                    ($name, key.as_ptr())
                })*
            }
        }
    };
}

raw_routines! {
    (Aesni, Aes128, Encrypt) => tresor_aesni_raw_xts128_enc,
    (Aesni, Aes128, Decrypt) => tresor_aesni_raw_xts128_dec,
    (Aesni, Aes256, Encrypt) => tresor_aesni_raw_xts256_enc,
    (Aesni, Aes256, Decrypt) => tresor_aesni_raw_xts256_dec,
    (AesniAvx, Aes128, Encrypt) => tresor_aesni_avx_raw_xts128_enc,
    (AesniAvx, Aes128, Decrypt) => tresor_aesni_avx_raw_xts128_dec,
    (AesniAvx, Aes256, Encrypt) => tresor_aesni_avx_raw_xts256_enc,
    (AesniAvx, Aes256, Decrypt) => tresor_aesni_avx_raw_xts256_dec,
    (VaesAvx2, Aes128, Encrypt) => tresor_vaes_avx2_raw_xts128_enc,
    (VaesAvx2, Aes128, Decrypt) => tresor_vaes_avx2_raw_xts128_dec,
    (VaesAvx2, Aes256, Encrypt) => tresor_vaes_avx2_raw_xts256_enc,
    (VaesAvx2, Aes256, Decrypt) => tresor_vaes_avx2_raw_xts256_dec,
    (VaesAvx512, Aes128, Encrypt) => tresor_vaes_avx512_raw_xts128_enc,
    (VaesAvx512, Aes128, Decrypt) => tresor_vaes_avx512_raw_xts128_dec,
    (VaesAvx512, Aes256, Encrypt) => tresor_vaes_avx512_raw_xts256_enc,
    (VaesAvx512, Aes256, Decrypt) => tresor_vaes_avx512_raw_xts256_dec,
}

/// [`xts`](super::xts) in place under a key in memory, with the same rounds, schedule and tweaks.
/// `data` is a multiple of 16 bytes and not empty; of another length, or on a CPU that lacks something
/// for `engine`, it is left as it is.
pub fn raw_xts(
    engine: Engine,
    direction: Direction,
    key: RawKey<'_>,
    iv: &[u8; 16],
    block: u64,
    data: &mut [u8],
) {
    if data.is_empty() || data.len() % 16 != 0 || !engine.supported() {
        return;
    }
    let (routine, key) = routine(engine, key, direction);
    let start = Start::new(iv, block);
    let p = data.as_mut_ptr();
    // SAFETY: the key is as long as the routine's name says, source and destination are `data`, its
    // length has been checked, and so has the CPU.
    unsafe { routine(core::ptr::null(), key, &start, p, p, data.len() as u64) }
}
