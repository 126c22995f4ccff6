// SPDX-License-Identifier: GPL-2.0-or-later

//! Runs code that handles secrets on a stack that is wiped afterwards.

use super::memory::Mapping;
use super::registers;
use nix::sys::mman::{mprotect, ProtFlags};
use std::any::Any;
use std::arch::asm;
use std::io;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

/// Enough for Argon2, which keeps its blocks elsewhere, in a build without optimisation.
const STACK: usize = 1 << 20;
const GUARD: usize = 4096;
/// Zeros above the stack: who walks it for a backtrace takes what follows the frame of [`run`] for
/// that of its caller, whose return address is then zero: the end.
const END: usize = 4096;

/// What is done on the other stack, and what comes of it.
struct Job<W, R> {
    work: Option<W>,
    result: Option<Result<R, Box<dyn Any + Send>>>,
}

/// A stack in memory for secrets, below it a page that may not be touched. It is wiped whenever it was
/// used.
pub struct Stack(Mapping);

impl Stack {
    /// Makes one, all of it in memory.
    ///
    /// # Errors
    ///
    /// No memory that may be locked.
    pub fn new() -> io::Result<Self> {
        let stack = Self(Mapping::new(GUARD + STACK + END)?);
        // SAFETY: The first page of our own mapping, which nothing uses.
        unsafe { mprotect(stack.0.start(), GUARD, ProtFlags::PROT_NONE)? };
        Ok(stack)
    }

    fn top(&self) -> *mut u8 {
        // A page's end, hence aligned as the ABI wants it.
        let start: *mut u8 = self.0.start().as_ptr().cast();
        start.wrapping_add(self.0.len() - END)
    }

    /// Runs `work` on this stack. When it is done, all registers are overwritten, where the CPU has them
    /// and where the kernel saves them, and the stack is wiped. Nothing that `work` returns may be secret,
    /// but for what it keeps in a [`Secret`](super::Secret).
    ///
    /// # Panics
    ///
    /// If `work` does, after wiping.
    pub fn run<R, W: FnOnce() -> R>(&mut self, work: W) -> R {
        let mut job = Job {
            work: Some(work),
            result: None,
        };
        // SAFETY: `run` is given a job of the type that it expects, which nothing else touches meanwhile,
        // and a stack that is aligned, large enough and used by nothing else: it is borrowed exclusively.
        // It keeps R12, as all functions do, and no panic leaves it.
        unsafe {
            asm!(
                "mov r12, rsp",
                "mov rsp, rsi",
                "call {run}",
                "mov rsp, r12",
                run = sym run::<W, R>,
                in("rdi") &raw mut job,
                in("rsi") self.top(),
                out("r12") _,
                clobber_abi("sysv64"),
            );
        }
        self.0.wipe_from(GUARD);
        registers::overwrite_entry_stacks();
        match job.result {
            Some(Ok(result)) => result,
            Some(Err(panic)) => resume_unwind(panic),
            None => unreachable!("`run` leaves a result"),
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // Lets the mapping be wiped whole.
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: The first page of our own mapping. Failure would end the process by SIGSEGV,
        // and the kernel zeroes what it was killed with.
        let _ = unsafe { mprotect(self.0.start(), GUARD, access) };
    }
}

/// [`Stack::run`] on a stack for this once.
///
/// # Errors
///
/// No memory that may be locked; `work` did not run.
///
/// # Panics
///
/// If `work` does, after wiping.
pub fn on_own_stack<R, W: FnOnce() -> R>(work: W) -> io::Result<R> {
    Ok(Stack::new()?.run(work))
}

extern "sysv64" fn run<W: FnOnce() -> R, R>(job: *mut Job<W, R>) {
    // SAFETY: `on_own_stack` passes a job and waits.
    let job = unsafe { &mut *job };
    if let Some(work) = job.work.take() {
        job.result = Some(catch_unwind(AssertUnwindSafe(work)));
    }
    registers::overwrite();
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
    fn a_stack_is_zero_after_each_use() {
        let mut stack = Stack::new().unwrap();
        for _ in 0..2 {
            let at = stack.run(|| {
                let local = std::hint::black_box([0xa5u8; 64]);
                (&raw const local) as usize
            });
            let start = stack.0.start().as_ptr() as usize;
            assert!((start + GUARD..start + stack.0.len()).contains(&at));
            // SAFETY: All of the mapping behind the guard, which nothing uses now.
            let bytes = unsafe {
                std::slice::from_raw_parts((start + GUARD) as *const u8, stack.0.len() - GUARD)
            };
            assert!(bytes.iter().all(|byte| *byte == 0));
        }
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
