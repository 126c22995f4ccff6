// SPDX-License-Identifier: GPL-2.0-or-later

//! The assembly's routines. What each does is said above it in `frame.S` and `key.S`; those that return
//! a number return 0, or 1 if the registers hold no M with the check value.

use super::super::derive::{CheckValue, Input};
use super::super::share::{Line, Share};
use super::window::Window;

extern "C" {
    pub(super) fn tresor_aesni_check(share: *const Share, check: *const CheckValue) -> u32;
    pub(super) fn tresor_aesni_arm(share: *const Share, m: *const [u8; 32], check: *mut CheckValue);
    pub(super) fn tresor_aesni_peek_check(m: *const [u8; 32], check: *mut CheckValue);
    pub(super) fn tresor_aesni_refresh(
        share: *const Share,
        check: *const CheckValue,
        inputs: *const [Input; 2],
    ) -> u32;
    pub(super) fn tresor_aesni_give_pad(
        share: *const Share,
        check: *const CheckValue,
        inputs: *const [Input; 2],
        line: *mut Line,
    ) -> u32;
    pub(super) fn tresor_aesni_give_masked(
        share: *const Share,
        check: *const CheckValue,
        inputs: *const [Input; 2],
        line: *mut Line,
    ) -> u32;
    pub(super) fn tresor_aesni_slot_key(
        share: *const Share,
        check: *const CheckValue,
        inputs: *const [Input; 2],
        out: *mut [u8; 32],
    ) -> u32;
    pub(super) fn tresor_aesni_take_pad(share: *const Share, line: *mut Line);
    pub(super) fn tresor_aesni_take_masked(
        share: *const Share,
        check: *const CheckValue,
        line: *mut Line,
    ) -> u32;
    pub(super) fn tresor_aesni_wipe(share: *const Share);

    pub(super) static tresor_windows_begin: Window;
    pub(super) static tresor_windows_end: Window;
}
