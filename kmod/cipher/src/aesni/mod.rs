// SPDX-License-Identifier: GPL-2.0-or-later

//! The life of M, on every CPU, and the windows of all variants. The folder's `xts.S` is the variant of
//! XTS for every CPU with AES-NI.
//!
//! The contracts of the assembly routines are in the `.S` files.

use self::ffi::*;
use super::derive::{CheckValue, Input};
use super::share::{Line, Share};
use core::fmt;

mod ffi;
mod window;

pub use self::window::{window_at, WindowKind};

/// This CPU's registers do not hold the M with the given check value. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHeld;

impl fmt::Display for NotHeld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the master key is not in this CPU's registers; nothing was written")
    }
}

fn held(status: u32) -> Result<(), NotHeld> {
    if status == 0 {
        Ok(())
    } else {
        Err(NotHeld)
    }
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
