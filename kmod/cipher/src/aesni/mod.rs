// SPDX-License-Identifier: GPL-2.0-or-later

//! The engine's variant for every CPU with AES-NI, and the safe half of its interface.
//!
//! The contracts of the assembly routines are in the `.S` files.

use self::ffi::*;
use super::derive::{CheckValue, Input, XtsKey, XtsSize};
use super::gf128::{power_of_x, Element};
use super::share::{Line, Share};
use core::arch::global_asm;
use core::fmt;

mod ffi;
#[cfg(any(test, feature = "raw-key"))]
mod raw;
mod window;

#[cfg(any(test, feature = "raw-key"))]
pub use self::raw::{raw_xts, RawKey};
pub use self::window::{window_at, WindowKind};

#[cfg(MODULE)]
global_asm!(
    ".set TRESOR_KERNEL, 1",
    include_str!("frame.S"),
    include_str!("schedule.S"),
    include_str!("groups.S"),
    include_str!("xts.S"),
    include_str!("key.S"),
    options(att_syntax, raw)
);

#[cfg(all(not(MODULE), not(any(test, feature = "raw-key"))))]
global_asm!(
    ".set TRESOR_KERNEL, 0",
    include_str!("frame.S"),
    include_str!("schedule.S"),
    include_str!("groups.S"),
    include_str!("xts.S"),
    include_str!("key.S"),
    options(att_syntax, raw)
);

#[cfg(all(not(MODULE), any(test, feature = "raw-key")))]
global_asm!(
    ".set TRESOR_KERNEL, 0",
    include_str!("frame.S"),
    include_str!("schedule.S"),
    include_str!("groups.S"),
    include_str!("xts.S"),
    include_str!("xts_raw.S"),
    include_str!("key.S"),
    options(att_syntax, raw)
);

/// Name of the variant, as status reports give it.
pub const VARIANT: &str = "aesni";

/// Most bytes that one call of [`xts`] takes: how long interrupts may be off.
pub const SECTION_MAX: usize = 4096;

/// This CPU's registers do not hold the M with the given check value. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHeld;

impl fmt::Display for NotHeld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the master key is not in this CPU's registers; nothing was written")
    }
}

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Plaintext to ciphertext.
    Encrypt,
    /// Ciphertext to plaintext.
    Decrypt,
}

/// Where a section starts. Layout known to xts.S.
#[repr(C)]
struct Start {
    iv: [u8; 16],
    power: Element,
}

impl Start {
    fn new(iv: &[u8; 16], block: u64) -> Self {
        Self {
            iv: *iv,
            power: power_of_x(block),
        }
    }
}

fn held(status: u32) -> Result<(), NotHeld> {
    if status == 0 {
        Ok(())
    } else {
        Err(NotHeld)
    }
}

/// Whether this CPU can run the variant: AES-NI with the SSSE3 and SSE4.1 that come with it.
pub fn supported() -> bool {
    // Intel SDM, CPUID leaf 1, ECX: AESNI, SSE4.1, SSSE3.
    const NEEDED: u32 = 1 << 25 | 1 << 19 | 1 << 9;
    #[allow(unused_unsafe)] // newer compilers know it to be safe
    // SAFETY: every x86-64 CPU has CPUID and its leaf 1.
    let leaf = unsafe { core::arch::x86_64::__cpuid(1) };
    leaf.ecx & NEEDED == NEEDED
}

/// Encrypts or decrypts one section of a data unit with XTS, under the key that `key` stands for,
/// which is computed in registers and gone when this returns.
///
/// `block` is the index, within the data unit, of the section's first 16-byte block; `iv` the data
/// unit's, as in `xts(aes)`. `len` is a multiple of 16 from 16 to [`SECTION_MAX`]; with another one
/// nothing happens and the answer is `NotHeld`. The more doublings of the tweak are behind `block`,
/// the longer it takes: up to about a microsecond.
///
/// # Errors
/// [`NotHeld`] if the registers hold no M with the key's check value: `dst` is untouched.
///
/// # Safety
/// Runs inside an FPU section, with interrupts off, on the CPU that `share` belongs to (in user
/// space: nobody else uses `share`). `src` is readable and `dst` writable for `len` bytes; they are
/// equal or do not overlap.
#[allow(clippy::too_many_arguments)] // one request, as the crypto API splits it
pub unsafe fn xts(
    direction: Direction,
    share: &Share,
    key: &XtsKey,
    iv: &[u8; 16],
    block: u64,
    dst: *mut u8,
    src: *const u8,
    len: usize,
) -> Result<(), NotHeld> {
    if len == 0 || len > SECTION_MAX || len % 16 != 0 {
        return Err(NotHeld);
    }
    let start = Start::new(iv, block);
    let len = len as u64;
    // Named calls, not a pointer: an indirect one costs a retpoline and wants a type to check.
    // SAFETY: the caller's promises are the routines', and `len` was checked.
    held(unsafe {
        match (key.size(), direction) {
            (XtsSize::Aes128, Direction::Encrypt) => {
                tresor_aesni_xts128_enc(share, key, &start, dst, src, len)
            }
            (XtsSize::Aes128, Direction::Decrypt) => {
                tresor_aesni_xts128_dec(share, key, &start, dst, src, len)
            }
            (XtsSize::Aes256, Direction::Encrypt) => {
                tresor_aesni_xts256_enc(share, key, &start, dst, src, len)
            }
            (XtsSize::Aes256, Direction::Decrypt) => {
                tresor_aesni_xts256_dec(share, key, &start, dst, src, len)
            }
        }
    })
}

/// Whether the registers hold the M with this check value.
///
/// # Errors
/// [`NotHeld`] if not.
///
/// # Safety
/// Runs inside an FPU section, with interrupts off, on the CPU that `share` belongs to.
pub unsafe fn check(share: &Share, check: &CheckValue) -> Result<(), NotHeld> {
    // SAFETY: as promised by the caller.
    held(unsafe { tresor_aesni_check(share, check) })
}

/// Gives M to this CPU: DR0-DR3 become `m` xor the share, which [`Share::set`] has just filled with
/// fresh random bytes. Returns M's check value. The caller wipes `m`.
///
/// # Safety
/// Runs inside an FPU section, with interrupts off, on the CPU that `share` belongs to, whose debug
/// registers are ours. `m` is readable.
pub unsafe fn arm(share: &Share, m: *const [u8; 32]) -> CheckValue {
    let mut check = CheckValue([0; 16]);
    // SAFETY: as promised by the caller.
    unsafe { tresor_aesni_arm(share, m, &mut check) };
    check
}

/// The check value of `m`; touches neither debug registers nor shares.
///
/// # Safety
/// Runs inside an FPU section, with interrupts off. `m` is readable.
pub unsafe fn peek_check(m: *const [u8; 32]) -> CheckValue {
    let mut check = CheckValue([0; 16]);
    // SAFETY: as promised by the caller.
    unsafe { tresor_aesni_peek_check(m, &mut check) };
    check
}

/// Replaces both shares of M: each is xored with E_M(`inputs`), which makes a share that leaked
/// earlier worthless. The inputs are F's for [`Purpose::Refresh`](super::Purpose::Refresh).
///
/// # Errors
/// [`NotHeld`] if the registers hold no M with this check value: neither share has changed.
///
/// # Safety
/// Runs inside an FPU section, with interrupts off, on the CPU that `share` belongs to.
pub unsafe fn refresh(
    share: &Share,
    check: &CheckValue,
    inputs: &[Input; 2],
) -> Result<(), NotHeld> {
    // SAFETY: as promised by the caller.
    held(unsafe { tresor_aesni_refresh(share, check, inputs) })
}

/// First half of passing M on: stores the pad Q = E_M(`inputs`) to `line`. The inputs are F's for
/// [`Purpose::Transport`](super::Purpose::Transport).
///
/// # Errors
/// [`NotHeld`] if the registers hold no M with this check value: `line` is untouched.
///
/// # Safety
/// Runs inside an FPU section, with interrupts off, on the CPU that `share` belongs to. `line` is
/// writable, and nobody else uses it meanwhile.
pub unsafe fn give_pad(
    share: &Share,
    check: &CheckValue,
    inputs: &[Input; 2],
    line: *mut Line,
) -> Result<(), NotHeld> {
    // SAFETY: as promised by the caller.
    held(unsafe { tresor_aesni_give_pad(share, check, inputs, line) })
}

/// Second half, once the receiver has taken the pad out of `line`: stores M xor Q there.
///
/// # Errors
/// [`NotHeld`] if the registers hold no M with this check value: `line` is untouched.
///
/// # Safety
/// As for [`give_pad`]; besides, the receiver has acknowledged [`take_pad`].
pub unsafe fn give_masked(
    share: &Share,
    check: &CheckValue,
    inputs: &[Input; 2],
    line: *mut Line,
) -> Result<(), NotHeld> {
    // SAFETY: as promised by the caller.
    held(unsafe { tresor_aesni_give_masked(share, check, inputs, line) })
}

/// Receives the pad: DR0-DR3 become the content of `line`, which is zeroed and flushed.
///
/// # Safety
/// Runs inside an FPU section, with interrupts off, on the CPU that `share` belongs to, whose debug
/// registers are ours. `line` is writable, and nobody else uses it meanwhile.
pub unsafe fn take_pad(share: &Share, line: *mut Line) {
    // SAFETY: as promised by the caller.
    unsafe { tresor_aesni_take_pad(share, line) }
}

/// Receives M xor Q from `line`, which is zeroed and flushed, with Q in DR0-DR3 since [`take_pad`].
/// If M has the check value, DR0-DR3 become M xor the share, which [`Share::set`] has just filled
/// with fresh random bytes.
///
/// # Errors
/// [`NotHeld`] if M is another one: the debug registers are zero and the share is erased.
///
/// # Safety
/// As for [`take_pad`].
pub unsafe fn take_masked(
    share: &Share,
    check: &CheckValue,
    line: *mut Line,
) -> Result<(), NotHeld> {
    // SAFETY: as promised by the caller.
    held(unsafe { tresor_aesni_take_masked(share, check, line) })
}

/// Computes E_M(`inputs`) for the world outside: the only secret output that is stored. The inputs
/// are F's for [`Purpose::SlotKey`](super::Purpose::SlotKey). The caller wipes `out`.
///
/// # Errors
/// [`NotHeld`] if the registers hold no M with this check value: `out` is untouched.
///
/// # Safety
/// Runs inside an FPU section, with interrupts off, on the CPU that `share` belongs to. `out` is
/// writable.
pub unsafe fn slot_key(
    share: &Share,
    check: &CheckValue,
    inputs: &[Input; 2],
    out: *mut [u8; 32],
) -> Result<(), NotHeld> {
    // SAFETY: as promised by the caller.
    held(unsafe { tresor_aesni_slot_key(share, check, inputs, out) })
}

/// DR0-DR3 := 0. The share is left to [`Share::erase`].
///
/// # Safety
/// Runs on the CPU that `share` belongs to, pinned to it, whose debug registers are ours.
pub unsafe fn wipe(share: &Share) {
    // SAFETY: as promised by the caller.
    unsafe { tresor_aesni_wipe(share) }
}
