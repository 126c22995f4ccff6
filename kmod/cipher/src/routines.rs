// SPDX-License-Identifier: GPL-2.0-or-later

//! The table of the variants' routines for data, and the choice of the right one.

use super::crypt::{Direction, Start};
use super::derive::Mode;
use super::engine::Engine;
use super::share::Share;
use super::volume_key::{KeySize, VolumeKey};

/// A routine for one mode, size and direction, or both if the mode's are the same. Returns 0, or 1
/// without having written anything if the registers hold no M with the key's check value.
#[cfg(any(test, feature = "raw-key"))]
pub type Code = unsafe extern "C" fn(
    share: *const Share,
    key: *const VolumeKey,
    start: *const Start,
    dst: *mut u8,
    src: *const u8,
    len: u64,
) -> u32;

/// The same with a key in memory in place of its public inputs, and no share.
#[cfg(any(test, feature = "raw-key"))]
pub type RawCode = unsafe extern "C" fn(
    unused: *const u8,
    key: *const [u8; 64],
    start: *const Start,
    dst: *mut u8,
    src: *const u8,
    len: u64,
);

/// A row of the table, for tests that go over all of it.
#[cfg(any(test, feature = "raw-key"))]
#[derive(Clone, Copy, Debug)]
pub struct Routine {
    /// The variant.
    pub engine: Engine,
    /// The mode.
    pub mode: Mode,
    /// Which AES.
    pub size: KeySize,
    /// The directions that it serves.
    pub directions: &'static [Direction],
    /// Its symbol.
    pub name: &'static str,
    /// Its code.
    pub code: Code,
    /// Its code under a key in memory.
    pub raw: RawCode,
}

/// Declares a variant's routines, and a function that calls the right one. Named calls, not a table of
/// pointers: an indirect call costs a retpoline and wants a type to check.
macro_rules! routines {
    ($variant:ident: $engine:ident {
        $(($mode:ident, $size:ident, $($direction:ident)|+) => $name:ident, $raw:ident;)*
    }) => {
        mod $variant {
            use super::*;

            extern "C" {
                $(fn $name(
                    share: *const Share,
                    key: *const VolumeKey,
                    start: *const Start,
                    dst: *mut u8,
                    src: *const u8,
                    len: u64,
                ) -> u32;)*
            }

            /// # Safety
            /// As for [`crypt`](super::super::crypt), with the length checked. `mode` is the key's.
            #[allow(clippy::too_many_arguments)]
            #[inline(always)]
            pub(super) unsafe fn run(
                mode: Mode,
                direction: Direction,
                share: *const Share,
                key: &VolumeKey,
                start: &Start,
                dst: *mut u8,
                src: *const u8,
                len: u64,
            ) -> u32 {
                match (mode, key.size(), direction) {
                    $((Mode::$mode, KeySize::$size, $(Direction::$direction)|+) => {
                        // SAFETY: as promised by the caller.
                        unsafe { $name(share, key, start, dst, src, len) }
                    })*
                    // No VolumeKey is of such a mode and size.
                    _ => 1,
                }
            }

            #[cfg(any(test, feature = "raw-key"))]
            extern "C" {
                $(fn $raw(
                    unused: *const u8,
                    key: *const [u8; 64],
                    start: *const Start,
                    dst: *mut u8,
                    src: *const u8,
                    len: u64,
                );)*
            }

            #[cfg(any(test, feature = "raw-key"))]
            pub(super) const TABLE: &[Routine] = &[$(Routine {
                engine: Engine::$engine,
                mode: Mode::$mode,
                size: KeySize::$size,
                directions: &[$(Direction::$direction),+],
                name: stringify!($name),
                code: $name,
                raw: $raw,
            }),*];
        }
    };
}

routines! { aesni: Aesni {
    (Xts, Aes128, Encrypt) => tresor_aesni_xts128_enc, tresor_aesni_raw_xts128_enc;
    (Xts, Aes128, Decrypt) => tresor_aesni_xts128_dec, tresor_aesni_raw_xts128_dec;
    (Xts, Aes256, Encrypt) => tresor_aesni_xts256_enc, tresor_aesni_raw_xts256_enc;
    (Xts, Aes256, Decrypt) => tresor_aesni_xts256_dec, tresor_aesni_raw_xts256_dec;
    (Cbc, Aes128, Encrypt) => tresor_aesni_cbc128_enc, tresor_aesni_raw_cbc128_enc;
    (Cbc, Aes128, Decrypt) => tresor_aesni_cbc128_dec, tresor_aesni_raw_cbc128_dec;
    (Cbc, Aes192, Encrypt) => tresor_aesni_cbc192_enc, tresor_aesni_raw_cbc192_enc;
    (Cbc, Aes192, Decrypt) => tresor_aesni_cbc192_dec, tresor_aesni_raw_cbc192_dec;
    (Cbc, Aes256, Encrypt) => tresor_aesni_cbc256_enc, tresor_aesni_raw_cbc256_enc;
    (Cbc, Aes256, Decrypt) => tresor_aesni_cbc256_dec, tresor_aesni_raw_cbc256_dec;
    (Ctr, Aes128, Encrypt|Decrypt) => tresor_aesni_ctr128, tresor_aesni_raw_ctr128;
    (Ctr, Aes192, Encrypt|Decrypt) => tresor_aesni_ctr192, tresor_aesni_raw_ctr192;
    (Ctr, Aes256, Encrypt|Decrypt) => tresor_aesni_ctr256, tresor_aesni_raw_ctr256;
    (Ecb, Aes128, Encrypt) => tresor_aesni_ecb128_enc, tresor_aesni_raw_ecb128_enc;
    (Ecb, Aes128, Decrypt) => tresor_aesni_ecb128_dec, tresor_aesni_raw_ecb128_dec;
    (Ecb, Aes192, Encrypt) => tresor_aesni_ecb192_enc, tresor_aesni_raw_ecb192_enc;
    (Ecb, Aes192, Decrypt) => tresor_aesni_ecb192_dec, tresor_aesni_raw_ecb192_dec;
    (Ecb, Aes256, Encrypt) => tresor_aesni_ecb256_enc, tresor_aesni_raw_ecb256_enc;
    (Ecb, Aes256, Decrypt) => tresor_aesni_ecb256_dec, tresor_aesni_raw_ecb256_dec;
    (EssivCbc, Aes128, Encrypt) => tresor_aesni_essiv128_enc, tresor_aesni_raw_essiv128_enc;
    (EssivCbc, Aes128, Decrypt) => tresor_aesni_essiv128_dec, tresor_aesni_raw_essiv128_dec;
    (EssivCbc, Aes192, Encrypt) => tresor_aesni_essiv192_enc, tresor_aesni_raw_essiv192_enc;
    (EssivCbc, Aes192, Decrypt) => tresor_aesni_essiv192_dec, tresor_aesni_raw_essiv192_dec;
    (EssivCbc, Aes256, Encrypt) => tresor_aesni_essiv256_enc, tresor_aesni_raw_essiv256_enc;
    (EssivCbc, Aes256, Decrypt) => tresor_aesni_essiv256_dec, tresor_aesni_raw_essiv256_dec;
} }

routines! { aesni_avx: AesniAvx {
    (Xts, Aes128, Encrypt) => tresor_aesni_avx_xts128_enc, tresor_aesni_avx_raw_xts128_enc;
    (Xts, Aes128, Decrypt) => tresor_aesni_avx_xts128_dec, tresor_aesni_avx_raw_xts128_dec;
    (Xts, Aes256, Encrypt) => tresor_aesni_avx_xts256_enc, tresor_aesni_avx_raw_xts256_enc;
    (Xts, Aes256, Decrypt) => tresor_aesni_avx_xts256_dec, tresor_aesni_avx_raw_xts256_dec;
    (Cbc, Aes128, Encrypt) => tresor_aesni_avx_cbc128_enc, tresor_aesni_avx_raw_cbc128_enc;
    (Cbc, Aes128, Decrypt) => tresor_aesni_avx_cbc128_dec, tresor_aesni_avx_raw_cbc128_dec;
    (Cbc, Aes192, Encrypt) => tresor_aesni_avx_cbc192_enc, tresor_aesni_avx_raw_cbc192_enc;
    (Cbc, Aes192, Decrypt) => tresor_aesni_avx_cbc192_dec, tresor_aesni_avx_raw_cbc192_dec;
    (Cbc, Aes256, Encrypt) => tresor_aesni_avx_cbc256_enc, tresor_aesni_avx_raw_cbc256_enc;
    (Cbc, Aes256, Decrypt) => tresor_aesni_avx_cbc256_dec, tresor_aesni_avx_raw_cbc256_dec;
    (Ctr, Aes128, Encrypt | Decrypt) => tresor_aesni_avx_ctr128, tresor_aesni_avx_raw_ctr128;
    (Ctr, Aes192, Encrypt | Decrypt) => tresor_aesni_avx_ctr192, tresor_aesni_avx_raw_ctr192;
    (Ctr, Aes256, Encrypt | Decrypt) => tresor_aesni_avx_ctr256, tresor_aesni_avx_raw_ctr256;
    (Ecb, Aes128, Encrypt) => tresor_aesni_avx_ecb128_enc, tresor_aesni_avx_raw_ecb128_enc;
    (Ecb, Aes128, Decrypt) => tresor_aesni_avx_ecb128_dec, tresor_aesni_avx_raw_ecb128_dec;
    (Ecb, Aes192, Encrypt) => tresor_aesni_avx_ecb192_enc, tresor_aesni_avx_raw_ecb192_enc;
    (Ecb, Aes192, Decrypt) => tresor_aesni_avx_ecb192_dec, tresor_aesni_avx_raw_ecb192_dec;
    (Ecb, Aes256, Encrypt) => tresor_aesni_avx_ecb256_enc, tresor_aesni_avx_raw_ecb256_enc;
    (Ecb, Aes256, Decrypt) => tresor_aesni_avx_ecb256_dec, tresor_aesni_avx_raw_ecb256_dec;
    (EssivCbc, Aes128, Encrypt) => tresor_aesni_avx_essiv128_enc, tresor_aesni_avx_raw_essiv128_enc;
    (EssivCbc, Aes128, Decrypt) => tresor_aesni_avx_essiv128_dec, tresor_aesni_avx_raw_essiv128_dec;
    (EssivCbc, Aes192, Encrypt) => tresor_aesni_avx_essiv192_enc, tresor_aesni_avx_raw_essiv192_enc;
    (EssivCbc, Aes192, Decrypt) => tresor_aesni_avx_essiv192_dec, tresor_aesni_avx_raw_essiv192_dec;
    (EssivCbc, Aes256, Encrypt) => tresor_aesni_avx_essiv256_enc, tresor_aesni_avx_raw_essiv256_enc;
    (EssivCbc, Aes256, Decrypt) => tresor_aesni_avx_essiv256_dec, tresor_aesni_avx_raw_essiv256_dec;
} }

routines! { vaes_avx2: VaesAvx2 {
    (Xts, Aes128, Encrypt) => tresor_vaes_avx2_xts128_enc, tresor_vaes_avx2_raw_xts128_enc;
    (Xts, Aes128, Decrypt) => tresor_vaes_avx2_xts128_dec, tresor_vaes_avx2_raw_xts128_dec;
    (Xts, Aes256, Encrypt) => tresor_vaes_avx2_xts256_enc, tresor_vaes_avx2_raw_xts256_enc;
    (Xts, Aes256, Decrypt) => tresor_vaes_avx2_xts256_dec, tresor_vaes_avx2_raw_xts256_dec;
    (Cbc, Aes128, Encrypt) => tresor_vaes_avx2_cbc128_enc, tresor_vaes_avx2_raw_cbc128_enc;
    (Cbc, Aes128, Decrypt) => tresor_vaes_avx2_cbc128_dec, tresor_vaes_avx2_raw_cbc128_dec;
    (Cbc, Aes192, Encrypt) => tresor_vaes_avx2_cbc192_enc, tresor_vaes_avx2_raw_cbc192_enc;
    (Cbc, Aes192, Decrypt) => tresor_vaes_avx2_cbc192_dec, tresor_vaes_avx2_raw_cbc192_dec;
    (Cbc, Aes256, Encrypt) => tresor_vaes_avx2_cbc256_enc, tresor_vaes_avx2_raw_cbc256_enc;
    (Cbc, Aes256, Decrypt) => tresor_vaes_avx2_cbc256_dec, tresor_vaes_avx2_raw_cbc256_dec;
    (Ctr, Aes128, Encrypt | Decrypt) => tresor_vaes_avx2_ctr128, tresor_vaes_avx2_raw_ctr128;
    (Ctr, Aes192, Encrypt | Decrypt) => tresor_vaes_avx2_ctr192, tresor_vaes_avx2_raw_ctr192;
    (Ctr, Aes256, Encrypt | Decrypt) => tresor_vaes_avx2_ctr256, tresor_vaes_avx2_raw_ctr256;
    (Ecb, Aes128, Encrypt) => tresor_vaes_avx2_ecb128_enc, tresor_vaes_avx2_raw_ecb128_enc;
    (Ecb, Aes128, Decrypt) => tresor_vaes_avx2_ecb128_dec, tresor_vaes_avx2_raw_ecb128_dec;
    (Ecb, Aes192, Encrypt) => tresor_vaes_avx2_ecb192_enc, tresor_vaes_avx2_raw_ecb192_enc;
    (Ecb, Aes192, Decrypt) => tresor_vaes_avx2_ecb192_dec, tresor_vaes_avx2_raw_ecb192_dec;
    (Ecb, Aes256, Encrypt) => tresor_vaes_avx2_ecb256_enc, tresor_vaes_avx2_raw_ecb256_enc;
    (Ecb, Aes256, Decrypt) => tresor_vaes_avx2_ecb256_dec, tresor_vaes_avx2_raw_ecb256_dec;
    (EssivCbc, Aes128, Encrypt) => tresor_vaes_avx2_essiv128_enc, tresor_vaes_avx2_raw_essiv128_enc;
    (EssivCbc, Aes128, Decrypt) => tresor_vaes_avx2_essiv128_dec, tresor_vaes_avx2_raw_essiv128_dec;
    (EssivCbc, Aes192, Encrypt) => tresor_vaes_avx2_essiv192_enc, tresor_vaes_avx2_raw_essiv192_enc;
    (EssivCbc, Aes192, Decrypt) => tresor_vaes_avx2_essiv192_dec, tresor_vaes_avx2_raw_essiv192_dec;
    (EssivCbc, Aes256, Encrypt) => tresor_vaes_avx2_essiv256_enc, tresor_vaes_avx2_raw_essiv256_enc;
    (EssivCbc, Aes256, Decrypt) => tresor_vaes_avx2_essiv256_dec, tresor_vaes_avx2_raw_essiv256_dec;
} }

routines! { vaes_avx512: VaesAvx512 {
    (Xts, Aes128, Encrypt) => tresor_vaes_avx512_xts128_enc, tresor_vaes_avx512_raw_xts128_enc;
    (Xts, Aes128, Decrypt) => tresor_vaes_avx512_xts128_dec, tresor_vaes_avx512_raw_xts128_dec;
    (Xts, Aes256, Encrypt) => tresor_vaes_avx512_xts256_enc, tresor_vaes_avx512_raw_xts256_enc;
    (Xts, Aes256, Decrypt) => tresor_vaes_avx512_xts256_dec, tresor_vaes_avx512_raw_xts256_dec;
    (Cbc, Aes128, Encrypt) => tresor_vaes_avx512_cbc128_enc, tresor_vaes_avx512_raw_cbc128_enc;
    (Cbc, Aes128, Decrypt) => tresor_vaes_avx512_cbc128_dec, tresor_vaes_avx512_raw_cbc128_dec;
    (Cbc, Aes192, Encrypt) => tresor_vaes_avx512_cbc192_enc, tresor_vaes_avx512_raw_cbc192_enc;
    (Cbc, Aes192, Decrypt) => tresor_vaes_avx512_cbc192_dec, tresor_vaes_avx512_raw_cbc192_dec;
    (Cbc, Aes256, Encrypt) => tresor_vaes_avx512_cbc256_enc, tresor_vaes_avx512_raw_cbc256_enc;
    (Cbc, Aes256, Decrypt) => tresor_vaes_avx512_cbc256_dec, tresor_vaes_avx512_raw_cbc256_dec;
    (Ctr, Aes128, Encrypt | Decrypt) => tresor_vaes_avx512_ctr128, tresor_vaes_avx512_raw_ctr128;
    (Ctr, Aes192, Encrypt | Decrypt) => tresor_vaes_avx512_ctr192, tresor_vaes_avx512_raw_ctr192;
    (Ctr, Aes256, Encrypt | Decrypt) => tresor_vaes_avx512_ctr256, tresor_vaes_avx512_raw_ctr256;
    (Ecb, Aes128, Encrypt) => tresor_vaes_avx512_ecb128_enc, tresor_vaes_avx512_raw_ecb128_enc;
    (Ecb, Aes128, Decrypt) => tresor_vaes_avx512_ecb128_dec, tresor_vaes_avx512_raw_ecb128_dec;
    (Ecb, Aes192, Encrypt) => tresor_vaes_avx512_ecb192_enc, tresor_vaes_avx512_raw_ecb192_enc;
    (Ecb, Aes192, Decrypt) => tresor_vaes_avx512_ecb192_dec, tresor_vaes_avx512_raw_ecb192_dec;
    (Ecb, Aes256, Encrypt) => tresor_vaes_avx512_ecb256_enc, tresor_vaes_avx512_raw_ecb256_enc;
    (Ecb, Aes256, Decrypt) => tresor_vaes_avx512_ecb256_dec, tresor_vaes_avx512_raw_ecb256_dec;
    (EssivCbc, Aes128, Encrypt) => tresor_vaes_avx512_essiv128_enc, tresor_vaes_avx512_raw_essiv128_enc;
    (EssivCbc, Aes128, Decrypt) => tresor_vaes_avx512_essiv128_dec, tresor_vaes_avx512_raw_essiv128_dec;
    (EssivCbc, Aes192, Encrypt) => tresor_vaes_avx512_essiv192_enc, tresor_vaes_avx512_raw_essiv192_enc;
    (EssivCbc, Aes192, Decrypt) => tresor_vaes_avx512_essiv192_dec, tresor_vaes_avx512_raw_essiv192_dec;
    (EssivCbc, Aes256, Encrypt) => tresor_vaes_avx512_essiv256_enc, tresor_vaes_avx512_raw_essiv256_enc;
    (EssivCbc, Aes256, Decrypt) => tresor_vaes_avx512_essiv256_dec, tresor_vaes_avx512_raw_essiv256_dec;
} }

/// # Safety
/// As for [`crypt`](super::crypt), with the length checked. `mode` is the key's.
#[allow(clippy::too_many_arguments)] // the routines' six, and what they are chosen by
#[inline(always)] // so that nothing is left of a mode that the caller knows
pub(super) unsafe fn run(
    engine: Engine,
    mode: Mode,
    direction: Direction,
    share: *const Share,
    key: &VolumeKey,
    start: &Start,
    dst: *mut u8,
    src: *const u8,
    len: u64,
) -> u32 {
    // SAFETY: as promised by the caller.
    unsafe {
        match engine {
            Engine::Aesni => aesni::run(mode, direction, share, key, start, dst, src, len),
            Engine::AesniAvx => aesni_avx::run(mode, direction, share, key, start, dst, src, len),
            Engine::VaesAvx2 => vaes_avx2::run(mode, direction, share, key, start, dst, src, len),
            Engine::VaesAvx512 => {
                vaes_avx512::run(mode, direction, share, key, start, dst, src, len)
            }
        }
    }
}

/// The whole table, whatever this CPU can run of it.
#[cfg(any(test, feature = "raw-key"))]
pub fn routines() -> impl Iterator<Item = &'static Routine> {
    [
        aesni::TABLE,
        aesni_avx::TABLE,
        vaes_avx2::TABLE,
        vaes_avx512::TABLE,
    ]
    .into_iter()
    .flatten()
}
