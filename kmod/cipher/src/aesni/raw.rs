// SPDX-License-Identifier: GPL-2.0-or-later

//! The XTS code under a key that lies in memory: for published vectors, which name keys. Never part
//! of the module.

use super::{Direction, Start};

/// K1 || K2, in memory.
#[derive(Clone, Copy, Debug)]
pub enum RawKey<'a> {
    /// XTS-AES-128.
    Aes128(&'a [u8; 32]),
    /// XTS-AES-256.
    Aes256(&'a [u8; 64]),
}

/// Routines with the arguments of XTS, but a key in place of its public inputs, and no share.
macro_rules! raw_xts_routines {
    ($($name:ident)*) => {
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
    };
}

raw_xts_routines!(tresor_aesni_raw_xts128_enc tresor_aesni_raw_xts128_dec);
raw_xts_routines!(tresor_aesni_raw_xts256_enc tresor_aesni_raw_xts256_dec);

/// [`xts`](super::xts) in place under a key in memory, with the same rounds, schedule and tweaks.
/// `data` is a multiple of 16 bytes and not empty; of another length it is left as it is.
pub fn raw_xts(direction: Direction, key: RawKey<'_>, iv: &[u8; 16], block: u64, data: &mut [u8]) {
    if data.is_empty() || data.len() % 16 != 0 {
        return;
    }
    let (routine, key): (
        unsafe extern "C" fn(*const u8, *const u8, *const Start, *mut u8, *const u8, u64),
        *const u8,
    ) = match (key, direction) {
        (RawKey::Aes128(k), Direction::Encrypt) => (tresor_aesni_raw_xts128_enc, k.as_ptr()),
        (RawKey::Aes128(k), Direction::Decrypt) => (tresor_aesni_raw_xts128_dec, k.as_ptr()),
        (RawKey::Aes256(k), Direction::Encrypt) => (tresor_aesni_raw_xts256_enc, k.as_ptr()),
        (RawKey::Aes256(k), Direction::Decrypt) => (tresor_aesni_raw_xts256_dec, k.as_ptr()),
    };
    let start = Start::new(iv, block);
    let p = data.as_mut_ptr();
    // SAFETY: the key is as long as the routine's name says, source and destination are `data`, and
    // its length has been checked.
    unsafe { routine(core::ptr::null(), key, &start, p, p, data.len() as u64) }
}
