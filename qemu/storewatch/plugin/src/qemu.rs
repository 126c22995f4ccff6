// SPDX-License-Identifier: GPL-2.0-or-later

//! QEMU's plugin interface, as far as it is used here (API version 4: QEMU 10.0), and the two calls
//! of GLib that it asks for.
//!
//! The functions are looked up in the running process instead of being linked: the crate then links
//! into programs that are not QEMU, and a QEMU that lacks one is named in a message.

use std::ffi::{c_char, c_int, c_uint, c_void, CStr};
use std::mem::transmute_copy;

use anyhow::{Context, Result};

/// The version of the interface that the plugin declares.
pub const API_VERSION: c_int = 4;

/// Who the plugin is to QEMU.
pub type Id = u64;
/// What QEMU knows of a memory access; opaque.
pub type MemInfo = u32;

/// The callback may read registers: `QEMU_PLUGIN_CB_R_REGS`.
const READS_REGISTERS: c_int = 1;
/// Stores alone: `QEMU_PLUGIN_MEM_W`.
const STORES: c_int = 2;

/// The beginning of `qemu_info_t`.
#[repr(C)]
pub struct Info {
    /// Such as `x86_64`.
    pub target: *const c_char,
    /// Oldest interface that QEMU offers.
    pub min: c_int,
    /// Newest.
    pub current: c_int,
    /// Whether a whole machine is emulated.
    pub system: bool,
}

/// `qemu_plugin_mem_value`: the size as a power of two, then the value in the host's byte order.
#[repr(C)]
#[derive(Clone, Copy)]
struct MemValue {
    shift: c_uint,
    low: u64,
    high: u64,
}

/// GLib's public part of `GArray` and `GByteArray`.
#[repr(C)]
struct Array {
    data: *mut c_void,
    len: c_uint,
}

/// `qemu_plugin_reg_descriptor`.
#[repr(C)]
struct RegisterDescriptor {
    handle: *mut c_void,
    name: *const c_char,
    feature: *const c_char,
}

/// A register that can be read.
#[derive(Clone, Copy)]
pub struct Register(*mut c_void);

/// A callback when a CPU comes up.
pub type VcpuCallback = extern "C" fn(Id, c_uint);
/// A callback when code is translated.
pub type TranslationCallback = extern "C" fn(Id, *mut c_void);
/// A callback after a store.
pub type StoreCallback = extern "C" fn(c_uint, MemInfo, u64, *mut c_void);

macro_rules! interface {
    ($($field:ident: $symbol:literal $type:ty;)*) => {
        /// QEMU's functions.
        pub struct Qemu { $($field: $type,)* }

        impl Qemu {
            /// Looks all of them up.
            ///
            /// # Errors
            /// Naming the one that is missing.
            pub fn find() -> Result<Self> {
                Ok(Self { $($field: {
                    let name: &CStr = $symbol;
                    // SAFETY: the name ends in a NUL; the process' own symbols stay.
                    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
                    (!address.is_null()).then_some(()).with_context(|| {
                        format!("this QEMU has no {}", name.to_string_lossy())
                    })?;
                    // SAFETY: it is a function of this type: QEMU's interface of API_VERSION, which
                    // QEMU has agreed to, or GLib's, which keeps its own.
                    unsafe { transmute_copy::<*mut c_void, $type>(&address) }
                },)* })
            }
        }
    };
}

interface! {
    on_vcpu: c"qemu_plugin_register_vcpu_init_cb" unsafe extern "C" fn(Id, VcpuCallback);
    on_translation: c"qemu_plugin_register_vcpu_tb_trans_cb"
        unsafe extern "C" fn(Id, TranslationCallback);
    on_access: c"qemu_plugin_register_vcpu_mem_cb"
        unsafe extern "C" fn(*mut c_void, StoreCallback, c_int, c_int, *mut c_void);
    instructions: c"qemu_plugin_tb_n_insns" unsafe extern "C" fn(*const c_void) -> usize;
    instruction: c"qemu_plugin_tb_get_insn"
        unsafe extern "C" fn(*const c_void, usize) -> *mut c_void;
    address: c"qemu_plugin_insn_vaddr" unsafe extern "C" fn(*const c_void) -> u64;
    value: c"qemu_plugin_mem_get_value" unsafe extern "C" fn(MemInfo) -> MemValue;
    big_endian: c"qemu_plugin_mem_is_big_endian" unsafe extern "C" fn(MemInfo) -> bool;
    physical: c"qemu_plugin_get_hwaddr" unsafe extern "C" fn(MemInfo, u64) -> *mut c_void;
    physical_address: c"qemu_plugin_hwaddr_phys_addr"
        unsafe extern "C" fn(*const c_void) -> u64;
    registers: c"qemu_plugin_get_registers" unsafe extern "C" fn() -> *mut Array;
    read_register: c"qemu_plugin_read_register"
        unsafe extern "C" fn(*mut c_void, *mut Array) -> c_int;
    read_memory: c"qemu_plugin_read_memory_vaddr"
        unsafe extern "C" fn(u64, *mut Array, usize) -> bool;
    array_new: c"g_byte_array_new" unsafe extern "C" fn() -> *mut Array;
    array_free: c"g_byte_array_free" unsafe extern "C" fn(*mut Array, c_int) -> *mut u8;
    outer_array_free: c"g_array_free" unsafe extern "C" fn(*mut Array, c_int) -> *mut c_char;
}

/// Where a store went.
pub enum Place {
    /// To this guest-physical address.
    At(u64),
    /// QEMU no longer knows.
    Unknown,
}

impl Qemu {
    /// Has `callback` called on each CPU's own thread before it runs.
    pub fn watch_vcpus(&self, id: Id, callback: VcpuCallback) {
        // SAFETY: QEMU gave the id, and the function lives as long as the process.
        unsafe { (self.on_vcpu)(id, callback) }
    }

    /// Has `callback` called for each piece of code that is translated.
    pub fn watch_translations(&self, id: Id, callback: TranslationCallback) {
        // SAFETY: as above.
        unsafe { (self.on_translation)(id, callback) }
    }

    /// Has `callback` called after every store of each instruction of a translated block, with the
    /// instruction's address as its last argument.
    ///
    /// # Safety
    /// `block` is the argument of the translation callback that is running.
    pub unsafe fn watch_stores(&self, block: *mut c_void, callback: StoreCallback) {
        // SAFETY: the block is alive, and each index is below the number of its instructions.
        unsafe {
            for index in 0..(self.instructions)(block) {
                let instruction = (self.instruction)(block, index);
                let address = (self.address)(instruction);
                (self.on_access)(
                    instruction,
                    callback,
                    READS_REGISTERS,
                    STORES,
                    address as *mut c_void,
                );
            }
        }
    }

    /// Size in bytes, and what the store wrote, in the order of memory.
    ///
    /// # Safety
    /// `info` is that of the store callback that is running.
    #[inline(always)]
    pub unsafe fn value(&self, info: MemInfo) -> (usize, u128) {
        // SAFETY: the caller's promise.
        let value = unsafe { (self.value)(info) };
        let size = 1 << value.shift.min(4);
        let number = match value.shift {
            0 => u128::from(value.low as u8),
            1 => u128::from(value.low as u16),
            2 => u128::from(value.low as u32),
            3 => u128::from(value.low),
            _ => u128::from(value.low) | u128::from(value.high) << 64,
        };
        (size, number)
    }

    /// Whether the value is stored with its most significant byte first.
    ///
    /// # Safety
    /// `info` is that of the store callback that is running.
    #[inline(always)]
    pub unsafe fn is_big_endian(&self, info: MemInfo) -> bool {
        // SAFETY: the caller's promise.
        unsafe { (self.big_endian)(info) }
    }

    /// Where the byte at the guest-virtual address went.
    ///
    /// # Safety
    /// `info` is that of the store callback that is running, and the address is one it wrote to.
    #[inline(always)]
    pub unsafe fn place(&self, info: MemInfo, address: u64) -> Place {
        // SAFETY: the caller's promise; the handle is used at once.
        unsafe {
            let handle = (self.physical)(info, address);
            if handle.is_null() {
                Place::Unknown
            } else {
                Place::At((self.physical_address)(handle))
            }
        }
    }

    /// Finds registers by name, on a CPU's own thread while it comes up.
    pub fn registers<const N: usize>(&self, names: [&CStr; N]) -> [Option<Register>; N] {
        let mut found = [None; N];
        // SAFETY: QEMU returns an array of descriptors whose names are static; the array is ours.
        unsafe {
            let array = (self.registers)();
            if array.is_null() {
                return found;
            }
            let first: *const RegisterDescriptor = (*array).data.cast();
            for index in 0..(*array).len as usize {
                let register = &*first.add(index);
                let name = CStr::from_ptr(register.name);
                if let Some(slot) = names.iter().position(|wanted| *wanted == name) {
                    found[slot] = Some(Register(register.handle));
                }
            }
            (self.outer_array_free)(array, 1);
        }
        found
    }

    /// A 64-bit register of the CPU on whose thread this runs, inside one of its callbacks.
    pub fn read_register(&self, register: Register) -> Option<u64> {
        self.with_array(|array| {
            // SAFETY: the handle is QEMU's, the array is alive, and a callback is running.
            unsafe { ((self.read_register)(register.0, array) == 8).then_some(()) }
        })
        .and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)))
    }

    /// Guest-virtual memory, as the CPU on whose thread this runs sees it, inside one of its
    /// callbacks. `None` if not all of it is mapped.
    pub fn read_memory(&self, address: u64, len: usize) -> Option<Vec<u8>> {
        self.with_array(|array| {
            // SAFETY: the array is alive, and a callback is running.
            unsafe { (self.read_memory)(address, array, len).then_some(()) }
        })
        .filter(|bytes| bytes.len() == len)
    }

    fn with_array(&self, fill: impl FnOnce(*mut Array) -> Option<()>) -> Option<Vec<u8>> {
        // SAFETY: GLib makes the array and frees it; between the two it is ours, and `len` bytes of
        // `data` are initialised.
        unsafe {
            let array = (self.array_new)();
            let filled = fill(array).map(|()| {
                let Array { data, len } = &*array;
                match *len {
                    0 => Vec::new(),
                    len => std::slice::from_raw_parts(data.cast::<u8>(), len as usize).to_vec(),
                }
            });
            (self.array_free)(array, 1);
            filled
        }
    }
}
