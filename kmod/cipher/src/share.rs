// SPDX-License-Identifier: GPL-2.0-or-later

//! The two kinds of cache line that hold half of a secret.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One CPU's share S_c of M: a cache line of its own. The other share is in that CPU's debug
/// registers, and M is the xor of both.
///
/// Anybody may [`erase`](Self::erase) it at any time. Everything else is for the CPU it belongs to.
#[repr(C, align(64))]
pub struct Share {
    // Layout known to aesni/: S_c, then, in user space, what stands for DR0-DR3.
    s: [AtomicU64; 4],
    registers: [AtomicU64; 4],
}

const _: () = assert!(size_of::<Share>() == 64);

impl Share {
    /// A share that is zero: of no M.
    pub const fn new() -> Self {
        Self {
            s: [const { AtomicU64::new(0) }; 4],
            registers: [const { AtomicU64::new(0) }; 4],
        }
    }

    /// Zeroes S_c, here and in DRAM: the CPU no longer holds M. Works in any context, touches no
    /// vector register.
    pub fn erase(&self) {
        self.set(&[0; 32]);
    }

    /// Sets S_c to fresh random bytes, before [`arm`](super::arm) or
    /// [`take_masked`](super::take_masked). Touches no vector register.
    pub fn set(&self, s: &[u8; 32]) {
        for (to, from) in self.s.iter().zip(s.chunks_exact(8)) {
            // The chunk is 8 bytes long.
            to.store(
                u64::from_le_bytes(from.try_into().unwrap_or_default()),
                Relaxed,
            );
        }
        flush(self);
    }

    /// As [`set`](Self::set), with bytes that `fill` writes in place: no copy of them is left
    /// anywhere, which would fit the first share in the registers.
    pub fn set_with(&self, fill: impl FnOnce(*mut [u8; 32])) {
        fill(self.s.as_ptr().cast_mut().cast());
        flush(self);
    }

    /// S_c: half a secret at most.
    pub fn load(&self) -> [u8; 32] {
        bytes(&self.s)
    }

    /// What stands for DR0-DR3 in user space, DR0 first, each little-endian.
    #[cfg(not(MODULE))]
    pub fn registers(&self) -> [u8; 32] {
        bytes(&self.registers)
    }

    /// Overwrites what stands for DR0-DR3 in user space, as a guest of KVM might the real ones.
    #[cfg(not(MODULE))]
    pub fn set_registers(&self, words: &[u8; 32]) {
        for (to, from) in self.registers.iter().zip(words.chunks_exact(8)) {
            to.store(
                u64::from_le_bytes(from.try_into().unwrap_or_default()),
                Relaxed,
            );
        }
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::new()
    }
}

/// The line through which one CPU passes M to another, in two halves that are never there at once.
#[repr(C, align(64))]
pub struct Line(UnsafeCell<[u8; 64]>);

const _: () = assert!(size_of::<Line>() == 64);

// SAFETY: there is no safe access to the content; who passes the pointer on vouches for order.
unsafe impl Sync for Line {}

impl Line {
    /// An empty line.
    pub const fn new() -> Self {
        Self(UnsafeCell::new([0; 64]))
    }

    /// Zeroes the line, here and in DRAM. Works in any context, even in the middle of a transfer,
    /// which then fails.
    pub fn erase(&self) {
        for i in 0..8 {
            // SAFETY: the line has eight words; volatile, as another CPU may be at work on them.
            unsafe { self.0.get().cast::<u64>().add(i).write_volatile(0) };
        }
        flush(self);
    }

    /// What the functions that give and take want.
    pub const fn as_ptr(&self) -> *mut Line {
        self.0.get().cast()
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

fn bytes(words: &[AtomicU64; 4]) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&from.load(Relaxed).to_le_bytes());
    }
    out
}

/// Pushes the cache line that `line` begins in to DRAM: one that is often used might otherwise never
/// get there, and what it replaces would stay. The fences are for CPUs that order CLFLUSH with nothing
/// else. Works in any context.
pub fn flush<T>(line: &T) {
    // SAFETY: CLFLUSH changes no value and needs no more than a readable address.
    unsafe {
        asm!("mfence", "clflush [{0}]", "mfence", in(reg) core::ptr::from_ref(line),
             options(nostack, preserves_flags));
    }
}
