// SPDX-License-Identifier: GPL-2.0-or-later

//! The plugin that QEMU loads: it shows every store of every guest CPU to `tresor_storewatch`, and
//! answers the harness.
//!
//! Loaded with `-plugin <this>,ram=<fd>,control=<fd>`: the file of the guest's RAM and one end of a
//! socket pair, both inherited.

mod control;
mod qemu;
mod task;

use std::ffi::{c_char, c_int, c_uint, c_void, CStr};
use std::fs::File;
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};

use anyhow::{bail, ensure, Context, Result};
use tresor_storewatch::ram::Ram;
use tresor_storewatch::{Store, Watch};

use qemu::{Id, Info, MemInfo, Place, Qemu, API_VERSION};
use task::Tasks;

/// Bytes on each side of a store that a run through it needs to be seen.
const MARGIN: u64 = 63;
const PAGE: u64 = 4096;

/// The interface that QEMU is to offer.
#[no_mangle]
pub static qemu_plugin_version: c_int = API_VERSION;

struct Plugin {
    qemu: Qemu,
    watch: Arc<Watch>,
    tasks: Arc<Tasks>,
}

static PLUGIN: OnceLock<Plugin> = OnceLock::new();

/// QEMU calls this once, before the machine is made.
///
/// # Safety
/// As QEMU calls it: `info` and `argc` strings at `argv` are alive.
#[no_mangle]
pub unsafe extern "C" fn qemu_plugin_install(
    id: Id,
    info: *const Info,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    // SAFETY: the caller's promise.
    let result = unsafe {
        let arguments = (0..argc.max(0) as usize)
            .map(|i| CStr::from_ptr(*argv.add(i)).to_string_lossy().into_owned());
        install(id, &*info, &arguments.collect::<Vec<_>>())
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("storewatch: {error:#}");
            1
        }
    }
}

fn install(id: Id, info: &Info, arguments: &[String]) -> Result<()> {
    // SAFETY: QEMU's string is alive during the call.
    let target = unsafe { CStr::from_ptr(info.target) };
    ensure!(
        info.system && target == c"x86_64",
        "this plugin is for whole x86_64 machines"
    );
    let (mut ram, mut control) = (None, None);
    for argument in arguments {
        match argument.split_once('=') {
            Some(("ram", fd)) => ram = Some(fd.parse::<RawFd>().context("ram= is no descriptor")?),
            Some(("control", fd)) => {
                control = Some(fd.parse::<RawFd>().context("control= is no descriptor")?);
            }
            _ => bail!("unknown argument {argument:?}"),
        }
    }
    let ram = ram.context("ram= is missing")?;
    let control = control.context("control= is missing")?;
    let qemu = Qemu::find()?;
    // SAFETY: the harness passes both on for the plugin. The map stays when the file is closed,
    // and QEMU opens the RAM's file by its number again, so that one must stay open.
    let (file, control) = unsafe { (File::from_raw_fd(ram), UnixStream::from_raw_fd(control)) };
    let watch = Arc::new(Watch::new(Ram::map(&file)?));
    std::mem::forget(file);
    let tasks = Arc::new(Tasks::default());
    control::serve(control, watch.clone(), tasks.clone())?;
    let plugin = PLUGIN.get_or_init(|| Plugin { qemu, watch, tasks });
    plugin.qemu.watch_vcpus(id, on_vcpu);
    plugin.qemu.watch_translations(id, on_translation);
    Ok(())
}

extern "C" fn on_vcpu(_: Id, _: c_uint) {
    if let Some(plugin) = PLUGIN.get() {
        plugin.tasks.find_registers(&plugin.qemu);
    }
}

extern "C" fn on_translation(_: Id, block: *mut c_void) {
    if let Some(plugin) = PLUGIN.get() {
        // SAFETY: this is the callback that the block is given to.
        unsafe { plugin.qemu.watch_stores(block, on_store) }
    }
}

extern "C" fn on_store(cpu: c_uint, info: MemInfo, address: u64, pc: *mut c_void) {
    let Some(plugin) = PLUGIN.get() else { return };
    if plugin.watch.count(cpu as usize) {
        // SAFETY: this is the callback that both are given to.
        unsafe { plugin.check(cpu as usize, info, address, pc as u64) }
    }
}

/// The value with its bytes in the other order.
fn reversed(store: &Store) -> u128 {
    store.value.swap_bytes() >> (128 - 8 * store.size)
}

impl Plugin {
    /// # Safety
    /// `info` and the guest-virtual `address` are those of the store callback that is running.
    #[inline(always)]
    unsafe fn check(&self, cpu: usize, info: MemInfo, address: u64, pc: u64) {
        let process = || self.tasks.current(&self.qemu);
        // SAFETY: the caller's promise.
        let ((size, value), place) =
            unsafe { (self.qemu.value(info), self.qemu.place(info, address)) };
        let mut store = Store {
            address: 0,
            size,
            value,
            pc,
        };
        match place {
            Place::At(physical) if physical >= self.watch.ram_len() => {
                return self.watch.count_device(cpu);
            }
            // SAFETY: the caller's promise.
            Place::Unknown => unsafe {
                if self.qemu.is_big_endian(info) {
                    store.value = reversed(&store);
                }
                self.watch.store_nowhere(cpu, &store, &process);
            },
            Place::At(physical) => {
                store.address = physical;
                // MOVBE is rare, and asking each time would cost as much as the rest.
                // SAFETY: the caller's promise.
                if !self.watch.holds(&store) && unsafe { self.qemu.is_big_endian(info) } {
                    store.value = reversed(&store);
                }
                let in_page = address % PAGE;
                let room = PAGE - in_page;
                if size as u64 > room {
                    // SAFETY: the caller's promise; the second page was written to as well.
                    unsafe { self.check_crossing(cpu, info, address, &store, room as usize) }
                } else {
                    self.watch.store(cpu, store, &process);
                    if in_page < 7 || room - (size as u64) < 7 {
                        self.check_edge(cpu, address, &store, &store);
                    }
                }
            }
        }
        self.watch.count_checked(cpu);
    }

    /// A store to two pages is two stores.
    ///
    /// # Safety
    /// As for `check`.
    #[cold]
    unsafe fn check_crossing(
        &self,
        cpu: usize,
        info: MemInfo,
        address: u64,
        store: &Store,
        room: usize,
    ) {
        let process = || self.tasks.current(&self.qemu);
        let first = Store {
            size: room,
            value: store.value & (u128::MAX >> (128 - 8 * room)),
            ..*store
        };
        let second = Store {
            size: store.size - room,
            value: store.value >> (8 * room),
            ..*store
        };
        self.watch.store(cpu, first, &process);
        self.check_edge(cpu, address, store, &first);
        let next = address + room as u64;
        // SAFETY: the caller's promise; the second page was written to as well.
        match unsafe { self.qemu.place(info, next) } {
            Place::At(physical) if physical < self.watch.ram_len() => {
                let second = Store {
                    address: physical,
                    ..second
                };
                self.watch.store(cpu, second, &process);
            }
            Place::At(_) => self.watch.count_device(cpu),
            Place::Unknown => self.watch.store_nowhere(cpu, &second, &process),
        }
    }

    /// Where the neighbours in virtual memory may not be those in physical memory: looks at the
    /// former, around the whole store; `at` is the part of it on the page of `address`.
    #[cold]
    fn check_edge(&self, cpu: usize, address: u64, store: &Store, at: &Store) {
        // The neighbouring page may not be mapped: then nothing there belongs to this run.
        let page = address & !(PAGE - 1);
        let last = address + store.size as u64;
        let from = address.saturating_sub(MARGIN);
        let spans = [
            (from, last + MARGIN),
            (from.max(page), last + MARGIN),
            (from, last.min(page + PAGE)),
        ];
        for (from, to) in spans {
            if let Some(bytes) = self.qemu.read_memory(from, (to - from) as usize) {
                let process = || self.tasks.current(&self.qemu);
                let offset = (address - from) as usize;
                return self.watch.examine_bytes(cpu, at, &bytes, offset, &process);
            }
        }
    }
}
