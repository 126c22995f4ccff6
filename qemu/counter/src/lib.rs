// SPDX-License-Identifier: GPL-2.0-or-later

//! The plugin that QEMU loads to count instructions: whenever a guest CPU executes an instruction of
//! exactly the bytes of the mark, the number of instructions that all CPUs have begun so far, as a
//! little-endian 64-bit number, is appended to a file.
//!
//! Loaded with `-plugin <this>,mark=<hex>,marks=<fd>`. A guest program that executes the mark at the
//! beginning and at the end of what it does learns nothing and pays nothing; whoever reads the file
//! subtracts. This is exact where QEMU's `-icount` is not: that also counts the time for which all
//! CPUs sleep.

use std::ffi::{c_char, c_int, c_uint, c_void, CStr};
use std::fs::File;
use std::io::Write;
use std::mem::transmute_copy;
use std::os::fd::FromRawFd;
use std::sync::{Mutex, OnceLock};

use anyhow::{bail, ensure, Context, Result};

/// The interface that QEMU is to offer (version 4: QEMU 10.0).
#[no_mangle]
pub static qemu_plugin_version: c_int = 4;

/// The beginning of `qemu_info_t`.
#[repr(C)]
pub struct Info {
    target: *const c_char,
    versions: [c_int; 2],
    system: bool,
}

/// `qemu_plugin_u64`: a number that each CPU has one of.
#[repr(C)]
#[derive(Clone, Copy)]
struct PerCpu {
    scoreboard: *mut c_void,
    offset: usize,
}

/// `QEMU_PLUGIN_INLINE_ADD_U64`.
const ADD: c_int = 0;
/// `QEMU_PLUGIN_CB_NO_REGS`.
const NO_REGISTERS: c_int = 0;
/// Bytes of the longest instruction (Intel SDM volume 2, section 2.3.11).
const LONGEST: usize = 15;

type TranslationCallback = extern "C" fn(u64, *const c_void);
type ExecutionCallback = extern "C" fn(c_uint, *mut c_void);

macro_rules! interface {
    ($($field:ident: $symbol:literal $type:ty;)*) => {
        /// QEMU's functions.
        struct Qemu { $($field: $type,)* }

        impl Qemu {
            /// Looks all of them up in the running process.
            fn find() -> Result<Self> {
                Ok(Self { $($field: {
                    let name: &CStr = $symbol;
                    // SAFETY: the name ends in a NUL; the process' own symbols stay.
                    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
                    ensure!(!address.is_null(), "this QEMU has no {}", name.to_string_lossy());
                    // SAFETY: it is a function of this type, as QEMU's interface of the version
                    // above has it, which QEMU has agreed to.
                    unsafe { transmute_copy::<*mut c_void, $type>(&address) }
                },)* })
            }
        }
    };
}

interface! {
    on_translation: c"qemu_plugin_register_vcpu_tb_trans_cb"
        unsafe extern "C" fn(u64, TranslationCallback);
    instructions: c"qemu_plugin_tb_n_insns" unsafe extern "C" fn(*const c_void) -> usize;
    instruction: c"qemu_plugin_tb_get_insn"
        unsafe extern "C" fn(*const c_void, usize) -> *mut c_void;
    bytes: c"qemu_plugin_insn_data"
        unsafe extern "C" fn(*const c_void, *mut c_void, usize) -> usize;
    add: c"qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu"
        unsafe extern "C" fn(*mut c_void, c_int, PerCpu, u64);
    on_execution: c"qemu_plugin_register_vcpu_insn_exec_cb"
        unsafe extern "C" fn(*mut c_void, ExecutionCallback, c_int, *mut c_void);
    new_scoreboard: c"qemu_plugin_scoreboard_new" unsafe extern "C" fn(usize) -> *mut c_void;
    sum: c"qemu_plugin_u64_sum" unsafe extern "C" fn(PerCpu) -> u64;
}

struct Counter {
    qemu: Qemu,
    count: PerCpu,
    mark: Vec<u8>,
    marks: Mutex<File>,
}

// SAFETY: the pointer in `count` is handed to QEMU only, whose functions may be called by any thread.
unsafe impl Send for Counter {}
// SAFETY: as above.
unsafe impl Sync for Counter {}

static COUNTER: OnceLock<Counter> = OnceLock::new();

/// QEMU calls this once, before the machine is made.
///
/// # Safety
/// As QEMU calls it: `info` and `argc` strings at `argv` are alive.
#[no_mangle]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    info: *const Info,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    // SAFETY: the caller's promise.
    let result = unsafe {
        let arguments = (0..argc.max(0) as usize)
            .map(|i| CStr::from_ptr(*argv.add(i)).to_string_lossy().into_owned());
        install(id, &*info, arguments)
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("counter: {error:#}");
            1
        }
    }
}

fn install(id: u64, info: &Info, arguments: impl Iterator<Item = String>) -> Result<()> {
    ensure!(info.system, "this plugin is for whole machines");
    let (mut mark, mut marks) = (None, None);
    for argument in arguments {
        match argument.split_once('=') {
            Some(("mark", text)) => mark = Some(hex::decode(text).context("mark= is not hex")?),
            Some(("marks", fd)) => marks = Some(fd.parse().context("marks= is no descriptor")?),
            _ => bail!("unknown argument {argument:?}"),
        }
    }
    let mark = mark.context("mark= is missing")?;
    let marks = marks.context("marks= is missing")?;
    let qemu = Qemu::find()?;
    // SAFETY: the harness passes the descriptor on for the plugin alone; a scoreboard of 8 bytes for
    // each CPU lives until QEMU ends, and 0 is a place for a 64-bit number in it.
    let (marks, count) = unsafe {
        let scoreboard = (qemu.new_scoreboard)(8);
        (
            Mutex::new(File::from_raw_fd(marks)),
            PerCpu {
                scoreboard,
                offset: 0,
            },
        )
    };
    let counter = COUNTER.get_or_init(|| Counter {
        qemu,
        count,
        mark,
        marks,
    });
    // SAFETY: QEMU gave the id, and the function lives as long as the process.
    unsafe { (counter.qemu.on_translation)(id, on_translation) };
    Ok(())
}

extern "C" fn on_translation(_: u64, block: *const c_void) {
    let Some(counter) = COUNTER.get() else { return };
    let qemu = &counter.qemu;
    // SAFETY: the block is alive in this callback, each index is below the number of its
    // instructions, and the buffer is as long as it is said to be.
    unsafe {
        for index in 0..(qemu.instructions)(block) {
            let instruction = (qemu.instruction)(block, index);
            (qemu.add)(instruction, ADD, counter.count, 1);
            let mut bytes = [0u8; LONGEST];
            let len = (qemu.bytes)(instruction, bytes.as_mut_ptr().cast(), LONGEST);
            if bytes.get(..len) == Some(&counter.mark[..]) {
                (qemu.on_execution)(instruction, on_mark, NO_REGISTERS, std::ptr::null_mut());
            }
        }
    }
}

extern "C" fn on_mark(_: c_uint, _: *mut c_void) {
    let Some(counter) = COUNTER.get() else { return };
    // SAFETY: the scoreboard lives.
    let count = unsafe { (counter.qemu.sum)(counter.count) };
    let mut marks = counter.marks.lock().unwrap_or_else(|p| p.into_inner());
    if let Err(error) = marks.write_all(&count.to_le_bytes()) {
        // Whoever reads misses a mark, and says so.
        eprintln!("counter: cannot write a mark: {error}");
    }
}
