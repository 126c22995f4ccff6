// SPDX-License-Identifier: GPL-2.0-or-later

//! Locked memory that is wiped.

use nix::sys::mman::{
    madvise, mlock, mmap, mmap_anonymous, munmap, MapFlags, MmapAdvise, ProtFlags,
};
use nix::unistd::ftruncate;
use std::ffi::c_void;
use std::fs::File;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::NonNull;
use zeroize::Zeroize;

/// Types that any bytes, and all zeros, are a value of.
///
/// # Safety
///
/// The type has no padding, no invalid bit patterns, no pointers and no destructor, and needs no
/// larger alignment than a page.
pub unsafe trait Plain {}

// SAFETY: Bytes.
unsafe impl<const N: usize> Plain for [u8; N] {}
// SAFETY: Bytes and 32-bit integers without padding; `tresor-uapi` asserts the size.
unsafe impl Plain for tresor_uapi::Load {}
// SAFETY: As above.
unsafe impl Plain for tresor_uapi::SlotKey {}

/// A mapping of its own: never swapped, in no core dump, not inherited by children, wiped before it is
/// given back.
///
/// Where the kernel has `memfd_secret` (Linux 5.14, on by default since 6.5) it also zeroes the pages
/// when they are freed, which is all that wipes them if this process is killed, never moves them,
/// which would leave a copy, and lets nobody read them through `/proc` or ptrace.
pub(super) struct Mapping {
    start: NonNull<c_void>,
    len: NonZeroUsize,
}

const ACCESS: ProtFlags = ProtFlags::PROT_READ.union(ProtFlags::PROT_WRITE);

impl Mapping {
    /// Maps at least `len` bytes of zeros, readable and writable, all of them in memory.
    pub(super) fn new(len: usize) -> io::Result<Self> {
        let len =
            NonZeroUsize::new(len.next_multiple_of(4096)).ok_or(io::ErrorKind::InvalidInput)?;
        Self::secret(len).or_else(|_| Self::locked(len))
    }

    /// Of `memfd_secret`.
    fn secret(len: NonZeroUsize) -> io::Result<Self> {
        // SAFETY: Takes flags, returns a new descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: Just made, and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        ftruncate(&fd, len.get() as i64)?;
        // SAFETY: A new mapping, at an address that the kernel chooses.
        let start = unsafe { mmap(None, len, ACCESS, MapFlags::MAP_SHARED, &fd, 0)? };
        let mapping = Self { start, len };
        mapping.leave_out()?;
        // The kernel brings the pages in, so that lack of memory, or of RLIMIT_MEMLOCK, is an error
        // now and no SIGBUS later.
        // SAFETY: The mapping is ours, and its bytes are zero.
        let bytes = unsafe { std::slice::from_raw_parts_mut(start.cast().as_ptr(), len.get()) };
        File::open("/dev/zero")?.read_exact(bytes)?;
        Ok(mapping)
    }

    /// Of ordinary memory, locked.
    fn locked(len: NonZeroUsize) -> io::Result<Self> {
        // SAFETY: A new mapping, at an address that the kernel chooses.
        let start = unsafe { mmap_anonymous(None, len, ACCESS, MapFlags::MAP_PRIVATE)? };
        let mapping = Self { start, len };
        // SAFETY: The mapping is ours.
        unsafe { mlock(start, len.get())? };
        mapping.leave_out()?;
        Ok(mapping)
    }

    /// Leaves it out of core dumps and of children.
    fn leave_out(&self) -> io::Result<()> {
        // SAFETY: The mapping is ours.
        unsafe {
            madvise(self.start, self.len.get(), MmapAdvise::MADV_DONTDUMP)?;
            madvise(self.start, self.len.get(), MmapAdvise::MADV_DONTFORK)?;
        }
        Ok(())
    }

    pub(super) fn start(&self) -> NonNull<c_void> {
        self.start
    }

    pub(super) fn len(&self) -> usize {
        self.len.get()
    }

    /// Wipes all of it but the first `skip` bytes.
    ///
    /// # Panics
    ///
    /// If it has no `skip` bytes.
    pub(super) fn wipe_from(&mut self, skip: usize) {
        let len = self.len.get() - skip;
        let start: *mut u8 = self.start.as_ptr().cast();
        // SAFETY: The mapping is ours, readable and writable as it was made but for what is skipped,
        // and borrowed exclusively.
        wipe(unsafe { std::slice::from_raw_parts_mut(start.wrapping_add(skip), len) });
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.wipe_from(0);
        // SAFETY: The mapping is ours, and nothing borrows from it any more. Unmapping cannot fail for a
        // mapping that exists; if it did, the memory is wiped anyway.
        let _ = unsafe { munmap(self.start, self.len.get()) };
    }
}

/// A secret in memory of its own that is never swapped, zero at first; wiped when dropped. With
/// `memfd_secret` the kernel zeroes it too, even if the process is killed, and never moves it.
pub struct Secret<T: Plain> {
    mapping: Mapping,
    value: PhantomData<T>,
}

impl<T: Plain> Secret<T> {
    /// Memory for one `T`, all zero.
    ///
    /// # Errors
    ///
    /// No memory, or none that may be locked (`RLIMIT_MEMLOCK`).
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            mapping: Mapping::new(size_of::<T>())?,
            value: PhantomData,
        })
    }

    /// Makes it zero, to be used again.
    pub fn wipe(&mut self) {
        self.mapping.wipe_from(0);
    }
}

impl<T: Plain> Deref for Secret<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The mapping is large and aligned enough, and any bytes are a `T`.
        unsafe { self.mapping.start.cast().as_ref() }
    }
}

impl<T: Plain> DerefMut for Secret<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As above, and borrowed exclusively.
        unsafe { self.mapping.start.cast().as_mut() }
    }
}

// SAFETY: The mapping belongs to this value alone, and plain data may go to other threads.
unsafe impl<T: Plain> Send for Secret<T> {}

/// Argon2's memory, zero at first; wiped when dropped.
pub struct Blocks {
    mapping: Mapping,
    count: usize,
}

impl Blocks {
    /// Memory for `count` blocks.
    ///
    /// # Errors
    ///
    /// As [`Secret::new`].
    pub fn new(count: usize) -> io::Result<Self> {
        let len = count.checked_mul(argon2::Block::SIZE);
        Ok(Self {
            mapping: Mapping::new(len.ok_or(io::ErrorKind::OutOfMemory)?)?,
            count,
        })
    }

    /// Makes them zero, to be used again.
    pub fn wipe(&mut self) {
        self.mapping.wipe_from(0);
    }

    /// The blocks.
    pub fn as_mut_slice(&mut self) -> &mut [argon2::Block] {
        // SAFETY: The mapping is large and aligned enough, and borrowed exclusively; a block is
        // 1024 bytes of integers, which all zeros are a value of.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.start.cast().as_ptr(), self.count) }
    }
}

/// Whether the memory of secrets is of the better kind: see [`Secret`].
///
/// # Errors
///
/// Why it is not.
pub fn check_secret_memory() -> io::Result<()> {
    Mapping::secret(NonZeroUsize::MIN).map(drop)
}

/// Overwrites `bytes` with zeros, in the caches and in the memory behind them: otherwise DRAM might
/// keep the old contents for as long as the lines stay in a cache.
pub fn wipe(bytes: &mut [u8]) {
    bytes.zeroize();
    flush(bytes.as_ptr(), bytes.len());
}

fn flush(start: *const u8, len: usize) {
    // From a line's beginning on, or the last line would be missed.
    let skew = start as usize % 64;
    for offset in (0..len + skew).step_by(64) {
        // SAFETY: CLFLUSH is part of x86-64 and changes no value; the address is within the object.
        unsafe { std::arch::x86_64::_mm_clflush(start.wrapping_add(offset.saturating_sub(skew))) };
    }
    // SAFETY: MFENCE is part of x86-64.
    unsafe { std::arch::x86_64::_mm_mfence() };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wiping_reaches_the_first_and_the_last_byte_at_any_alignment() {
        let mut memory = [0xa5u8; 300];
        for start in 0..70 {
            memory.fill(0xa5);
            wipe(&mut memory[start..start + 130]);
            assert!(memory[..start].iter().all(|b| *b == 0xa5));
            assert!(memory[start..start + 130].iter().all(|b| *b == 0));
            assert!(memory[start + 130..].iter().all(|b| *b == 0xa5));
        }
    }

    #[test]
    fn a_secret_is_never_swapped_left_out_of_dumps_and_not_inherited() {
        let mut secret = Secret::<[u8; 32]>::new().unwrap();
        secret[0] = 1;
        let address = secret.mapping.start().as_ptr() as usize;
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        let mut lines = maps.lines();
        // The kernel may show neighbouring mappings as one.
        let flags = lines.find(|line| {
            let range = line
                .split(' ')
                .next()
                .and_then(|range| range.split_once('-'));
            if let Some((start, end)) = range {
                if let [Ok(start), Ok(end)] = [start, end].map(|x| usize::from_str_radix(x, 16)) {
                    inside = (start..end).contains(&address);
                }
            }
            inside && line.starts_with("VmFlags:")
        });
        let flags = flags.expect("the mapping is listed");
        // Secret memory is never swapped, and so not marked as locked.
        let locked = if check_secret_memory().is_ok() {
            "sh"
        } else {
            "lo"
        };
        for flag in [locked, "dd", "dc"] {
            assert!(
                flags.split(' ').any(|f| f == flag),
                "{flag} is missing in {flags}"
            );
        }
    }
}
