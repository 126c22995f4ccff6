// SPDX-License-Identifier: GPL-2.0-or-later

//! Buffers between pages that cannot be touched.

use std::ptr;

const PAGE: usize = 4096;
/// Pages that can.
const INNER: usize = 3;

/// A few pages with one before and one behind them that fault.
pub struct Pages(*mut u8);

impl Pages {
    pub fn new() -> Self {
        let all = (INNER + 2) * PAGE;
        // SAFETY: a new mapping, and its inner pages made accessible.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let map = libc::mmap(ptr::null_mut(), all, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(map, libc::MAP_FAILED);
            let inner = map.cast::<u8>().add(PAGE);
            let both = libc::PROT_READ | libc::PROT_WRITE;
            assert_eq!(libc::mprotect(inner.cast(), INNER * PAGE, both), 0);
            Self(inner)
        }
    }

    /// The inner pages.
    pub fn all(&mut self) -> &mut [u8] {
        // SAFETY: accessible, and as long as `self` is borrowed nobody else's.
        unsafe { std::slice::from_raw_parts_mut(self.0, INNER * PAGE) }
    }

    /// The first `len` bytes: one before them faults.
    pub fn first(&mut self, len: usize) -> &mut [u8] {
        &mut self.all()[..len]
    }

    /// The last `len` bytes: one behind them faults.
    pub fn last(&mut self, len: usize) -> &mut [u8] {
        &mut self.all()[INNER * PAGE - len..]
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and nobody borrows from it any more.
        unsafe { libc::munmap(self.0.sub(PAGE).cast(), (INNER + 2) * PAGE) };
    }
}
