// SPDX-License-Identifier: GPL-2.0-or-later

//! Runs code that handles secrets on a stack that is wiped afterwards.

use super::memory::Mapping;
use super::registers;
use nix::errno::Errno;
use std::any::Any;
use std::ffi::c_void;
use std::io;
use std::mem::MaybeUninit;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

/// Enough for Argon2, which keeps its blocks elsewhere, in a build without optimisation.
const STACK: usize = 1 << 20;
const GUARD: usize = 4096;

/// What goes into the thread and comes out of it.
struct Job<W, R> {
    work: Option<W>,
    result: Option<Result<R, Box<dyn Any + Send>>>,
}

/// Runs `work` in a thread whose stack, thread-local variables included, is locked memory of its
/// own. When it is done, the thread overwrites its vector registers and has itself switched away
/// from, and the stack is wiped. Nothing that `work` returns may be secret, but for what it
/// keeps in a [`Secret`](super::Secret).
///
/// # Errors
///
/// No memory that may be locked, or no thread; `work` did not run.
///
/// # Panics
///
/// If `work` does, after wiping.
pub fn on_own_stack<R: Send, W: FnOnce() -> R + Send>(work: W) -> io::Result<R> {
    let stack = Mapping::new(GUARD + STACK)?;
    // SAFETY: The first page of our own mapping, which nothing uses yet.
    unsafe {
        nix::sys::mman::mprotect(stack.start(), GUARD, nix::sys::mman::ProtFlags::PROT_NONE)?
    };
    // Lets the mapping be wiped whole.
    struct Reopen(Mapping);
    impl Drop for Reopen {
        fn drop(&mut self) {
            let access =
                nix::sys::mman::ProtFlags::PROT_READ | nix::sys::mman::ProtFlags::PROT_WRITE;
            // SAFETY: The first page of our own mapping. Failure would end the process by SIGSEGV,
            // which gives no page back unwiped while others can see it.
            let _ = unsafe { nix::sys::mman::mprotect(self.0.start(), GUARD, access) };
        }
    }
    let stack = Reopen(stack);
    let mut job = Job {
        work: Some(work),
        result: None,
    };
    let mut thread = MaybeUninit::uninit();
    // SAFETY: The attributes are initialised before use; the stack is memory of ours of that size,
    // above the guard page, and lives until the thread has been joined; so does `job`, which
    // nothing else touches meanwhile, and `run` is given the type that it expects.
    unsafe {
        let mut attributes = MaybeUninit::uninit();
        check(libc::pthread_attr_init(attributes.as_mut_ptr()))?;
        let start = stack.0.start().as_ptr().byte_add(GUARD);
        check(libc::pthread_attr_setstack(
            attributes.as_mut_ptr(),
            start,
            stack.0.len() - GUARD,
        ))?;
        let created = libc::pthread_create(
            thread.as_mut_ptr(),
            attributes.as_ptr(),
            run::<W, R>,
            (&raw mut job).cast(),
        );
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        check(created)?;
        check(libc::pthread_join(
            thread.assume_init(),
            std::ptr::null_mut(),
        ))?;
    }
    drop(stack);
    match job.result {
        Some(Ok(result)) => Ok(result),
        Some(Err(panic)) => resume_unwind(panic),
        None => Err(io::Error::other("a thread ended without doing its work")),
    }
}

extern "C" fn run<W: FnOnce() -> R, R>(job: *mut c_void) -> *mut c_void {
    // SAFETY: `on_own_stack` passes a job of this type and waits.
    let job = unsafe { &mut *job.cast::<Job<W, R>>() };
    if let Some(work) = job.work.take() {
        job.result = Some(catch_unwind(AssertUnwindSafe(work)));
    }
    registers::overwrite();
    std::ptr::null_mut()
}

fn check(error: i32) -> io::Result<()> {
    match error {
        0 => Ok(()),
        error => Err(Errno::from_raw(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_comes_back_and_the_work_ran_on_another_stack() {
        let here = 0u8;
        let there = on_own_stack(|| {
            let there = 0u8;
            (&raw const there) as usize
        })
        .unwrap();
        assert!(there.abs_diff((&raw const here) as usize) > STACK / 2);
    }

    #[test]
    fn a_panic_passes_on() {
        let caught = catch_unwind(|| on_own_stack(|| -> () { panic!("as planned") }));
        assert_eq!(
            *caught.unwrap_err().downcast::<&str>().unwrap(),
            "as planned"
        );
    }
}
