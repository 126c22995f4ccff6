// SPDX-License-Identifier: GPL-2.0-or-later

//! Boots the stock kernel in QEMU, drives it, and looks at it from outside.
//!
//! A [`Vm`] is one run of the QEMU of the cache's Debian tree ([`Cache`]) with the tree's untouched
//! kernel and an initramfs that [`Initramfs`] packs from the tree's own programs. The host talks to
//! it through
//!
//! - a root shell on the second serial port ([`Vm::run`], [`Vm::run_with_input`],
//!   [`Vm::run_with_prompts`]); the first port carries the kernel log ([`Vm::console`]);
//! - QMP, for the debug registers of every CPU ([`Vm::debug_registers`]) and for power ([`Qmp`]);
//! - QEMU's debugger stub, to stop at chosen instructions ([`Vm::debugger`]);
//! - the guest's RAM itself, which is memory that host and guest share ([`Vm::ram`]);
//! - if it was asked for ([`VmConfig::watch_stores`]), a plugin in QEMU that compares every store of
//!   every CPU with a set of secrets ([`StoreWatch`]);
//! - if it was asked for ([`VmConfig::count_instructions`]), another one that counts the guest's
//!   instructions ([`Vm::take_marks`]).
//!
//! ```no_run
//! use tresor_qemu::{Cache, VmConfig};
//!
//! let cache = Cache::open()?;
//! let mut vm = VmConfig::new("example").memory_mib(512).modules(["dm-crypt"]).boot(&cache)?;
//! vm.check("modprobe dm-crypt")?;
//! vm.stop()?;
//! println!("{} bytes, DR0-DR3 of CPU 0: {:?}", vm.ram()?.len(), vm.debug_registers()?[0].dr);
//! vm.cont()?;
//! # anyhow::Ok(())
//! ```
//!
//! Secrets go in only through the shell's serial line, to a program that already waits for them:
//! never through an image, the kernel command line, an argument, or a shell variable.

mod accel;
mod cache;
mod config;
mod console;
mod cpio;
mod elf;
mod gdb;
mod initramfs;
mod instructions;
mod memory;
mod modules;
mod paths;
mod plugin;
mod qmp_session;
mod registers;
mod shell;
mod spawn;
mod store_watch;
mod symbols;
mod vm;

pub use accel::Accel;
pub use cache::Cache;
pub use config::{Drive, VmConfig};
pub use console::Console;
pub use cpio::Cpio;
pub use gdb::{Debugger, Registers};
pub use initramfs::Initramfs;
pub use memory::MAX_MIB;
pub use modules::{decompress, ModuleIndex};
pub use paths::{target_dir, workspace_dir};
/// The commands that [`Qmp::execute`] takes.
pub use qapi::qmp;
pub use qmp_session::Qmp;
pub use registers::DebugRegisters;
pub use shell::{Hang, Output, Prompt};
pub use store_watch::{allowed_reasons, Forms, Hit, ShareLine, StoreReport, StoreWatch};
pub use vm::{DeadRam, Vm};
