// SPDX-License-Identifier: GPL-2.0-or-later

//! The windows in which a share is in a general register, for the NMI handler. `frame.S` explains
//! them and writes their table.

use super::ffi::{tresor_aesni_wipe, tresor_windows_begin, tresor_windows_end};

/// What an NMI handler does that interrupted the engine in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowKind {
    /// Zero `rax` in the saved frame and set `r11` to something that is not zero.
    Redo,
    /// Zero `rax` in the saved frame.
    ZeroOnly,
}

/// An entry of the table: places, counted from `tresor_aesni_wipe`, and a kind.
#[repr(C)]
pub(super) struct Window {
    start: u32,
    end: u32,
    kind: u32,
}

/// The window that the instruction at `ip` is in, if any: `rax` may hold a secret there. Takes no
/// lock and works in an NMI.
pub fn window_at(ip: u64) -> Option<WindowKind> {
    let place = ip.wrapping_sub((tresor_aesni_wipe as *const ()).addr() as u64);
    let mut at = &raw const tresor_windows_begin;
    let end = &raw const tresor_windows_end;
    while at < end {
        // SAFETY: the assembly has put whole entries between the two symbols.
        let window = unsafe { &*at };
        if place >= u64::from(window.start) && place < u64::from(window.end) {
            // The values are frame.S's WINDOW_REDO and WINDOW_ZERO.
            return Some(match window.kind {
                1 => WindowKind::Redo,
                _ => WindowKind::ZeroOnly,
            });
        }
        at = at.wrapping_add(1);
    }
    None
}
