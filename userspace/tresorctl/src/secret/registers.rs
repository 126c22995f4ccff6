// SPDX-License-Identifier: GPL-2.0-or-later

//! Removes secrets from the registers, and from the kernel's copies of them.
//!
//! When this process is switched out, the kernel saves the vector registers in one place for each
//! thread. Whenever it interrupts the process, it saves the general registers in two: at the top of the
//! thread's kernel stack, which the next system call overwrites, and before that on the entry stack
//! of the CPU, which the next interrupt of any process there overwrites (`error_entry` in
//! `arch/x86/entry/entry_64.S`).

use nix::sched::{sched_getaffinity, sched_setaffinity, CpuSet};
use nix::sys::mman::{mmap_anonymous, mprotect, munlock, munmap, MapFlags, ProtFlags};
use nix::unistd::Pid;
use std::arch::asm;
use std::num::NonZeroUsize;

/// Not zero anywhere: XSAVE does not write components in their initial state, so zeros would leave
/// the copy of what was there before.
#[repr(align(64))]
struct Pattern(#[allow(dead_code, reason = "read by assembly")] [u8; 64]);
static PATTERN: Pattern = Pattern([0xa5; 64]);

/// How often, and for how many nanoseconds, to sleep: more than enough to be switched away from.
const SLEEPS: u32 = 3;
const SLEEP: libc::timespec = libc::timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};

/// Runs the given instructions, which may read the pattern at r9, and then sleeps, without
/// a single instruction in between that is not here.
macro_rules! fill_and_sleep {
    ($($instruction:literal),+ $(,)?) => {
        asm!(
            $($instruction),+,
            "2:",
            "mov eax, {nanosleep}",
            "mov rdi, r10",
            "xor esi, esi",
            "syscall",
            "dec r8d",
            "jnz 2b",
            nanosleep = const libc::SYS_nanosleep,
            inout("r8d") SLEEPS => _,
            in("r9") &PATTERN,
            in("r10") &SLEEP,
            clobber_abi("sysv64"),
        )
    };
}

/// Overwrites all vector and mask registers that the CPU has and then sleeps, which makes the
/// kernel save them over what it saved of this thread before. No other code may run in between:
/// a VZEROUPPER alone would put the upper halves back into their initial state.
pub fn overwrite() {
    if is_x86_feature_detected!("avx512bw") {
        // SAFETY: The CPU and the system support AVX-512; `nanosleep` is given a valid time and no
        // place for the rest; all that changes is declared, or not used by code without AVX-512.
        unsafe {
            fill_and_sleep!(
                "vmovdqu64 zmm0, [r9]",
                ".irp n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16",
                "vmovdqa64 zmm\\n, zmm0",
                ".endr",
                ".irp n, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
                "vmovdqa64 zmm\\n, zmm0",
                ".endr",
                "vmovq rax, xmm0",
                ".irp n, 0, 1, 2, 3, 4, 5, 6, 7",
                "kmovq k\\n, rax",
                ".endr",
            );
        }
    } else if is_x86_feature_detected!("avx") {
        // SAFETY: As above, with AVX.
        unsafe {
            fill_and_sleep!(
                ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
                "vmovups ymm\\n, [r9]",
                ".endr",
            );
        }
    } else {
        // SAFETY: As above, with SSE, which is part of x86-64.
        unsafe {
            fill_and_sleep!(
                ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
                "movups xmm\\n, [r9]",
                ".endr",
            );
        }
    }
}

/// Has the kernel save zeros over the general registers that it saved on the entry stack of each CPU
/// that this process may have run on. Where the process may not go any more, nothing can be done.
pub(super) fn overwrite_entry_stacks() {
    let this = Pid::from_raw(0);
    let Ok(before) = sched_getaffinity(this) else {
        return;
    };
    for cpu in 0..CpuSet::count() {
        let mut only = CpuSet::new();
        if before.is_set(cpu).unwrap_or(false)
            && only.set(cpu).is_ok()
            && sched_setaffinity(this, &only).is_ok()
        {
            fault_with_zeros();
        }
    }
    // The mask is the one that there was.
    let _ = sched_setaffinity(this, &before);
}

/// Takes a page fault while all general registers but two, which hold addresses, are zero.
fn fault_with_zeros() {
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // With memory locked, pages are brought in at once: hence no access at first, and the munlock.
    // SAFETY: A new mapping, at an address that the kernel chooses.
    let page = unsafe {
        mmap_anonymous(
            None,
            NonZeroUsize::MIN,
            ProtFlags::PROT_NONE,
            MapFlags::MAP_PRIVATE,
        )
    };
    let Ok(page) = page else { return };
    // SAFETY: The page is ours, and is written to only once that is allowed. All registers that change
    // are declared or restored.
    unsafe {
        if munlock(page, 4096).is_ok() && mprotect(page, 4096, access).is_ok() {
            asm!(
                "push rbx",
                "push rbp",
                ".irp r, eax, ebx, ecx, edx, esi, ebp, r8d, r9d, r10d, r11d, r12d, r13d, r14d, r15d",
                "xor \\r, \\r",
                ".endr",
                "mov [rdi], al",
                "pop rbp",
                "pop rbx",
                in("rdi") page.as_ptr(),
                out("r12") _, out("r13") _, out("r14") _, out("r15") _,
                clobber_abi("sysv64"),
            );
        }
        // Cannot fail for a mapping that exists.
        let _ = munmap(page, 4096);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::arch::x86_64::__cpuid_count;

    /// Components of the state (Intel SDM, volume 1, section 13.1), with their sizes in bytes.
    const AVX: (u32, usize) = (2, 256);
    const AVX_512: [(u32, usize); 3] = [(5, 64), (6, 512), (7, 1024)];

    #[test]
    fn each_cpu_takes_a_fault_and_the_process_may_run_where_it_might_before() {
        let this = Pid::from_raw(0);
        let faults = || nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_THREAD);
        let before = sched_getaffinity(this).unwrap();
        let cpus = (0..CpuSet::count()).filter(|cpu| before.is_set(*cpu).unwrap());
        let at_first = faults().unwrap().minor_page_faults();
        overwrite_entry_stacks();
        let taken = faults().unwrap().minor_page_faults() - at_first;
        assert!(taken >= cpus.count() as i64, "{taken}");
        assert_eq!(sched_getaffinity(this).unwrap(), before);
    }

    #[repr(align(64))]
    struct Area([u8; 8192]);

    #[test]
    fn every_vector_and_mask_register_holds_the_pattern() {
        let mut area = Area([0; 8192]);
        // SAFETY: The area is aligned and large enough for the components asked for, its header is
        // zero, and nothing else changes. Code of this crate does not use the upper halves, so
        // they are still as `overwrite` left them.
        unsafe {
            overwrite();
            if is_x86_feature_detected!("avx") {
                asm!("xsave64 [{0}]", in(reg) &mut area, in("eax") 0xe7, in("edx") 0);
            } else {
                asm!("fxsave64 [{0}]", in(reg) &mut area);
            }
        }
        // XMM0 to XMM15 have the same place in both.
        assert!(
            area.0[160..416].iter().all(|b| *b == 0xa5),
            "{:02x?}",
            &area.0[160..416]
        );
        let mut components = Vec::new();
        if is_x86_feature_detected!("avx") {
            components.push(AVX);
        }
        if is_x86_feature_detected!("avx512bw") {
            components.extend(AVX_512);
        }
        for (number, len) in components {
            // SAFETY: CPUID leaf 0xD exists where XSAVE does.
            #[allow(unused_unsafe, reason = "safe since Rust 1.93")]
            let start = unsafe { __cpuid_count(0xd, number) }.ebx as usize;
            let bytes = &area.0[start..start + len];
            assert!(
                bytes.iter().all(|b| *b == 0xa5),
                "component {number}: {bytes:02x?}"
            );
        }
    }
}
