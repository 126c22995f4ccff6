// SPDX-License-Identifier: GPL-2.0-or-later

//! ioctl numbers and structures of `/dev/tresor`, shared by the module and its users.
//!
//! Every structure is plain data in the machine's (little-endian) byte order, has no padding, and
//! the same layout for 32-bit and 64-bit callers. `docs/abi.md` describes each call with its errors.
//!
//! From user space, in C:
//!
//! ```c
//! struct tresor_status s;
//! int fd = open("/dev/tresor", O_RDWR | O_CLOEXEC);
//! if (ioctl(fd, TRESOR_IOC_STATUS, &s) == 0 && s.state == TRESOR_STATE_ARMED)
//!         printf("armed on %u of %u CPUs\n", s.cpus_armed, s.cpus_online);
//! ```

#![cfg_attr(not(MODULE), no_std)]

/// Path of the character device.
pub const DEVICE: &str = "/dev/tresor";

/// Version of this interface; [`Status::abi`] carries the module's.
pub const ABI: u32 = 2;

/// The ioctl type byte ("magic") of all calls.
pub const MAGIC: u32 = 0xE7;

/// Bytes in a master key M.
pub const KEY_LEN: usize = 32;

/// Bytes in a check value; its first [`KEY_ID_LEN`] bytes, in hex, are the key id that users see.
pub const CHECK_LEN: usize = 16;

/// Bytes of a check value that make up the key id.
pub const KEY_ID_LEN: usize = 8;

/// Bytes in the textual form of a LUKS UUID (RFC 9562, section 4).
pub const UUID_LEN: usize = 36;

/// [`Load::flags`]: refuse, with `EKEYREJECTED`, a key whose check value is not [`Load::expected`].
pub const LOAD_EXPECT: u32 = 1 << 0;

/// Flag of [`CLEAR`]: forget M even while volumes are open; their I/O, also what waits, then fails.
pub const CLEAR_FORCE: u32 = 1 << 0;

/// [`Status::state`]: no key is loaded.
pub const STATE_EMPTY: u32 = 0;
/// [`Status::state`]: a key is loaded and requests run.
pub const STATE_ARMED: u32 = 1;
/// [`Status::state`]: no CPU holds the key, but only a key with the same check value may return.
pub const STATE_LOCKED: u32 = 2;

/// Argument of [`LOAD`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Load {
    /// In: the master key M. The caller wipes its copy.
    pub key: [u8; KEY_LEN],
    /// In: the check value that the key must have, if `flags` has [`LOAD_EXPECT`]; else zero.
    pub expected: [u8; CHECK_LEN],
    /// In: [`LOAD_EXPECT`] or zero.
    pub flags: u32,
    /// Must be zero.
    pub reserved: u32,
}

/// What [`GENERATE`] gives back: the public name of a master key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// F('k', 0, 0, 0, ""), see `docs/architecture.md`.
    pub value: [u8; CHECK_LEN],
}

/// Argument of [`CLEAR`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Clear {
    /// [`CLEAR_FORCE`] or zero.
    pub flags: u32,
    /// Must be zero.
    pub reserved: u32,
}

/// What [`STATUS`] gives back.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Status {
    /// [`ABI`] of the module.
    pub abi: u32,
    /// One of the `STATE_` constants.
    pub state: u32,
    /// The check value of the key, all zero if the state is [`STATE_EMPTY`].
    pub check: [u8; CHECK_LEN],
    /// CPUs online.
    pub cpus_online: u32,
    /// CPUs that hold the key.
    pub cpus_armed: u32,
    /// Crypto API transforms that hold a volume key context: open volumes.
    pub volumes: u32,
    /// Requests that wait at this moment, for a CPU that holds the key or, if it is locked, for the key.
    pub waiting: u32,
    /// How often M crossed RAM to arm another CPU since the module was loaded.
    pub armings: u64,
    /// How often a CPU refreshed its shares since the module was loaded.
    pub refreshes: u64,
    /// How often a CPU was found without its key while one was loaded.
    pub losses: u64,
    /// Share windows that were run again because an NMI fell into them.
    pub nmi_restarts: u64,
    /// Requests that went from a CPU that could not do them, mostly for want of the key, to another since the
    /// module was loaded.
    pub hopped: u64,
    /// Requests that have waited for the key to come back since the module was loaded; once more for each time
    /// that it was locked meanwhile.
    pub parked: u64,
    /// Name of the engine variant in use, padded with zeros.
    pub engine: [u8; 16],
    /// Version of the module, padded with zeros.
    pub version: [u8; 16],
}

/// [`Cpu::state`]: it has come online, and was not armed yet.
pub const CPU_NOT_YET: u32 = 0;
/// [`Cpu::state`]: it holds the key.
pub const CPU_ARMED: u32 = 1;
/// [`Cpu::state`]: something overwrote its registers.
pub const CPU_LOST: u32 = 2;
/// [`Cpu::state`]: the key was erased there.
pub const CPU_ERASED: u32 = 3;
/// [`Cpu::state`]: it is offline.
pub const CPU_OFFLINE: u32 = 4;
/// [`Cpu::state`]: somebody else has a hardware breakpoint there, so that it never gets the key.
pub const CPU_REFUSED: u32 = 5;

/// Argument of [`CPU`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// In: the CPU's number.
    pub cpu: u32,
    /// Out: one of the `CPU_` constants.
    pub state: u32,
}

/// Argument of [`SLOT_KEY`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SlotKey {
    /// In: the LUKS UUID, 36 lower-case characters.
    pub uuid: [u8; UUID_LEN],
    /// Must be zero.
    pub reserved: u32,
    /// Out: F('s', 0, 256, i, uuid) for i = 0, 1. The caller wipes it.
    pub key: [u8; KEY_LEN],
}

// ioctl encoding: include/uapi/asm-generic/ioctl.h.
const WRITE: u32 = 1;
const READ: u32 = 2;

const fn ioc(dir: u32, nr: u32, size: usize) -> u32 {
    (dir << 30) | ((size as u32) << 16) | (MAGIC << 8) | nr
}

/// Takes a master key: `_IOW(MAGIC, 1, Load)`.
pub const LOAD: u32 = ioc(WRITE, 1, size_of::<Load>());
/// Draws a random master key inside the kernel: `_IOR(MAGIC, 2, Check)`.
pub const GENERATE: u32 = ioc(READ, 2, size_of::<Check>());
/// Erases M but keeps its check value; I/O waits: `_IO(MAGIC, 3)`.
pub const LOCK: u32 = ioc(0, 3, 0);
/// Erases M and its check value: `_IOW(MAGIC, 4, Clear)`.
pub const CLEAR: u32 = ioc(WRITE, 4, size_of::<Clear>());
/// Reports the state: `_IOR(MAGIC, 5, Status)`.
pub const STATUS: u32 = ioc(READ, 5, size_of::<Status>());
/// Computes a slot key: `_IOWR(MAGIC, 6, SlotKey)`.
pub const SLOT_KEY: u32 = ioc(READ | WRITE, 6, size_of::<SlotKey>());
/// Reports whether a CPU holds the key: `_IOWR(MAGIC, 7, Cpu)`.
pub const CPU: u32 = ioc(READ | WRITE, 7, size_of::<Cpu>());

const _: () = assert!(size_of::<Load>() == 56);
const _: () = assert!(size_of::<Status>() == 120);
const _: () = assert!(size_of::<Cpu>() == 8);
const _: () = assert!(size_of::<SlotKey>() == 72);
