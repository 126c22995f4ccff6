// SPDX-License-Identifier: GPL-2.0-or-later

//! Calls a routine and looks at all registers afterwards, or, with the trap flag, after each of its
//! instructions; and plays NMI handler at chosen ones.

use super::secrets::Secrets;
use std::arch::global_asm;
use std::sync::Mutex;
use tresor_cipher::{window_at, WindowKind};

/// The registers after a routine: rax, rbx, rcx, rdx, rsi, rdi, rbp, r8 to r15; the vector registers as
/// wide and as many as the CPU has them, else zero.
#[repr(C)]
pub struct Registers {
    pub general: [u64; 15],
    pub vector: [[u8; 64]; 32],
}

impl Default for Registers {
    fn default() -> Self {
        Self {
            general: [0; 15],
            vector: [[0; 64]; 32],
        }
    }
}

/// Bytes in this CPU's vector registers.
fn vector_width() -> u64 {
    if is_x86_feature_detected!("avx512f") {
        64
    } else if is_x86_feature_detected!("avx") {
        32
    } else {
        16
    }
}

// void tresor_test_call(routine, const u64 arguments[6], struct registers *out, u64 trap_flag,
//			 u64 vector_width)
global_asm!(
    "
    .pushsection .text
    .type tresor_test_call, @function
tresor_test_call:
    push    %rbp
    push    %rbx
    push    %r12
    push    %r13
    push    %r14
    push    %r15
    push    %rdx
    mov     %rdi, %r10
    mov     %rsi, %r11
    mov     %rcx, %rbx
    mov     %r8, %r12
    // What the caller left in registers is not the routine's: C libraries copy through all of them.
    cmp     $32, %r12
    jb      2f
    je      1f
    .irp i, 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    vpxord  %zmm\\i, %zmm\\i, %zmm\\i
    .endr
1:
    vzeroall
2:
    mov     0(%r11), %rdi
    mov     8(%r11), %rsi
    mov     16(%r11), %rdx
    mov     24(%r11), %rcx
    mov     32(%r11), %r8
    mov     40(%r11), %r9
    xor     %eax, %eax
    pushfq
    or      %rbx, (%rsp)
    popfq
    call    *%r10
    pushfq
    andq    $~0x100, (%rsp)
    popfq
    xchg    %rax, (%rsp)
    mov     %rbx, 8(%rax)
    mov     %rcx, 16(%rax)
    mov     %rdx, 24(%rax)
    mov     %rsi, 32(%rax)
    mov     %rdi, 40(%rax)
    mov     %rbp, 48(%rax)
    mov     %r8, 56(%rax)
    mov     %r9, 64(%rax)
    mov     %r10, 72(%rax)
    mov     %r11, 80(%rax)
    mov     %r12, 88(%rax)
    mov     %r13, 96(%rax)
    mov     %r14, 104(%rax)
    mov     %r15, 112(%rax)
    cmp     $32, %r12
    je      2f
    ja      1f
    .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    movdqu  %xmm\\i, 120+64*\\i(%rax)
    .endr
    jmp     3f
1:
    .irp i, 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    vmovdqu64 %zmm\\i, 120+64*\\i(%rax)
    .endr
    .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    vmovdqu64 %zmm\\i, 120+64*\\i(%rax)
    .endr
    jmp     3f
2:
    .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    vmovdqu %ymm\\i, 120+64*\\i(%rax)
    .endr
3:
    pop     %rcx
    mov     %rcx, (%rax)
    pop     %r15
    pop     %r14
    pop     %r13
    pop     %r12
    pop     %rbx
    pop     %rbp
    ret
    .size tresor_test_call, . - tresor_test_call
    .popsection
    ",
    options(att_syntax, raw)
);

extern "C" {
    fn tresor_test_call(
        routine: unsafe extern "C" fn(),
        arguments: *const u64,
        out: *mut Registers,
        trap_flag: u64,
        vector_width: u64,
    );
}

/// RFLAGS.TF: a debug exception after each instruction (Intel SDM volume 3, section 17.3.1.4).
const TRAP_FLAG: u64 = 0x100;

/// Calls `routine` and returns the registers as it left them.
///
/// # Safety
/// The arguments are what the routine wants.
pub unsafe fn call(routine: unsafe extern "C" fn(), arguments: &[u64; 6]) -> Registers {
    let mut out = Registers::default();
    // SAFETY: as promised by the caller; `out` has the layout that the assembly writes.
    unsafe { tresor_test_call(routine, arguments.as_ptr(), &mut out, 0, vector_width()) };
    out
}

/// At which instructions in windows, counted from 0, an "NMI" arrives.
#[derive(Clone, Copy)]
pub enum Nmi {
    Never,
    /// Handled as the windows' kinds demand.
    Between(u32, u32),
    /// Handled wrongly: the share is taken, but the flag not set.
    WithoutFlag(u32),
    /// Handled wrongly: the flag is set whatever the kind.
    AlwaysFlag(u32),
}

/// What was seen while stepping.
#[derive(Clone, Copy, Default)]
pub struct Seen {
    pub steps: u32,
    /// Instructions in windows.
    pub stops: u32,
    /// Secrets in general registers before an instruction in a window, in rax.
    pub inside: u32,
    /// Secrets in any other general register, or outside of windows.
    pub outside: u32,
    /// Where the first of these was, counted from the routine.
    pub first_outside: u64,
}

struct Session {
    seen: Seen,
    nmi: Nmi,
    secrets: *const Secrets,
    routine: u64,
}

// SAFETY: the pointer is used by the thread that set it, under STEPPING.
unsafe impl Send for Session {}

/// One thread steps at a time, since the handler has one place to look.
static STEPPING: Mutex<()> = Mutex::new(());
static mut SESSION: Option<Session> = None;

extern "C" fn on_trap(
    _signal: libc::c_int,
    _info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: traps are synchronous, so this runs on the stepping thread, between two instructions
    // of the routine; the kernel passes a ucontext_t to SA_SIGINFO handlers.
    let (session, registers) = unsafe {
        let context = &mut *context.cast::<libc::ucontext_t>();
        let session = &raw mut SESSION;
        let Some(session) = (*session).as_mut() else {
            return;
        };
        (session, &mut context.uc_mcontext.gregs)
    };
    let ip = registers[libc::REG_RIP as usize] as u64;
    session.seen.steps += 1;
    let window = window_at(ip);
    // gregs: r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp.
    for (i, value) in registers[..16].iter().enumerate() {
        // SAFETY: set by `step`, which is still running.
        if unsafe { (*session.secrets).contains(*value as u64) } {
            if window.is_some() && i == libc::REG_RAX as usize {
                session.seen.inside += 1;
            } else {
                if session.seen.outside == 0 {
                    session.seen.first_outside = ip.wrapping_sub(session.routine);
                }
                session.seen.outside += 1;
            }
        }
    }
    if let Some(kind) = window {
        let at = session.seen.stops;
        session.seen.stops += 1;
        let (take, flag) = match session.nmi {
            Nmi::Never => (false, false),
            Nmi::Between(from, to) => ((from..to).contains(&at), kind == WindowKind::Redo),
            Nmi::WithoutFlag(n) => (n == at, false),
            Nmi::AlwaysFlag(n) => (n == at, true),
        };
        if take {
            registers[libc::REG_RAX as usize] = 0;
            if flag {
                registers[libc::REG_R11 as usize] = -1;
            }
        }
    }
}

/// Calls `routine` one instruction at a time, looking for `secrets` in the general registers.
///
/// # Safety
/// The arguments are what the routine wants.
pub unsafe fn step(
    routine: unsafe extern "C" fn(),
    arguments: &[u64; 6],
    secrets: &Secrets,
    nmi: Nmi,
) -> (Registers, Seen) {
    let _one = STEPPING
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut out = Registers::default();
    // SAFETY: the handler is a function of the right type; the session is set before the first trap
    // and read after the last; the rest as promised by the caller.
    let seen = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_trap as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(
            libc::sigaction(libc::SIGTRAP, &action, std::ptr::null_mut()),
            0
        );
        SESSION = Some(Session {
            seen: Seen::default(),
            nmi,
            secrets,
            routine: routine as *const () as u64,
        });
        tresor_test_call(
            routine,
            arguments.as_ptr(),
            &mut out,
            TRAP_FLAG,
            vector_width(),
        );
        let session = &raw mut SESSION;
        let session = (*session).take();
        session.map(|s| s.seen).unwrap_or_default()
    };
    (out, seen)
}
