// SPDX-License-Identifier: GPL-2.0-or-later

//! The character device `/dev/tresor`.
//!
//! From user space, to arm the machine with a key that is in `key`:
//!
//! ```c
//! struct tresor_load load = { .flags = 0 };
//! int fd = open("/dev/tresor", O_RDWR | O_CLOEXEC);
//!
//! memcpy(load.key, key, sizeof(load.key));
//! if (ioctl(fd, TRESOR_IOC_LOAD, &load) < 0)
//!         err(1, "load");
//! explicit_bzero(&load, sizeof(load));
//! ```
//!
//! `kmod/uapi` defines the calls, `docs/abi.md` describes them with their errors.

use crate::{
    bindings,
    cipher::CheckValue,
    engine,
    key_buffer::KeyBuffer,
    nmi,
    percpu::{self, Holding},
    queue,
    store::{self, State},
    uapi,
};
use core::{
    mem::offset_of,
    sync::atomic::{AtomicU32, Ordering},
};
use kernel::{
    fs::File,
    miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration},
    prelude::*,
    time::{delay::fsleep, Delta},
    transmute::AsBytes,
    uaccess::{UserPtr, UserSlice},
};

/// How many files of the device are open.
static OPEN: AtomicU32 = AtomicU32::new(0);

/// An open file of the device. It has no state of its own: the key store has.
pub(crate) struct TresorDevice(());

impl TresorDevice {
    fn new() -> Self {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for TresorDevice {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Release);
    }
}

/// What the device's files need, for longer than the device itself: who forces the module out does so
/// although they are open.
pub(crate) struct Files(());

impl Files {
    /// To be made before the device, and dropped after it.
    pub(crate) fn new() -> Self {
        Self(())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        while OPEN.load(Ordering::Acquire) != 0 {
            fsleep(Delta::from_millis(20));
        }
        // Whoever closed the last one is still on his way out of the module. Without force it is held until he is.
        fsleep(Delta::from_millis(20));
    }
}

/// How to register it.
pub(crate) const OPTIONS: MiscDeviceOptions = MiscDeviceOptions { name: c"tresor" };

// SAFETY: Both are plain integers and byte arrays without padding (`kmod/uapi` asserts the sizes).
unsafe impl AsBytes for uapi::Status {}
// SAFETY: As above.
unsafe impl AsBytes for uapi::Check {}

#[vtable]
impl MiscDevice for TresorDevice {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        let file = TresorDevice::new();
        Ok(KBox::new(file, GFP_KERNEL)?)
    }

    fn ioctl(_me: &Self, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        let arg = UserPtr::from_addr(arg);
        match cmd {
            uapi::STATUS => return status(arg),
            uapi::CPU => return cpu(arg),
            _ => {}
        }
        // SAFETY: Process context.
        if !unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as i32) } {
            return Err(EPERM);
        }
        let result = match cmd {
            uapi::LOAD => load(arg),
            uapi::GENERATE => generate(arg),
            uapi::LOCK => store::lock().map(|()| 0),
            uapi::CLEAR => clear(arg),
            uapi::SLOT_KEY => slot_key(arg),
            _ => Err(ENOTTY),
        };
        // The terminal layer and the interrupts that hit it may have left some of what this thread
        // read on its kernel stack.
        // SAFETY: Process context.
        unsafe { bindings::tresor_wipe_stack() };
        result
    }
}

fn status(arg: UserPtr) -> Result<isize> {
    let store = store::status();
    let (state, check) = match store.state {
        State::Empty => (uapi::STATE_EMPTY, [0; uapi::CHECK_LEN]),
        State::Armed(check) => (uapi::STATE_ARMED, check.0),
        State::Locked(check) => (uapi::STATE_LOCKED, check.0),
    };
    let status = uapi::Status {
        abi: uapi::ABI,
        state,
        check,
        cpus_online: percpu::online().count() as u32,
        cpus_armed: store.armed,
        volumes: store.volumes,
        waiting: queue::len(),
        armings: store.armings,
        refreshes: store.refreshes,
        losses: store.losses,
        nmi_restarts: nmi::restarts(),
        hopped: queue::hopped(),
        parked: queue::parked(),
        engine: padded(engine::chosen().name()),
        version: padded(crate::VERSION),
    };
    UserSlice::new(arg, size_of::<uapi::Status>())
        .writer()
        .write(&status)?;
    Ok(0)
}

fn cpu(arg: UserPtr) -> Result<isize> {
    let mut reader = UserSlice::new(arg, size_of::<u32>()).reader();
    let cpu = reader.read::<u32>()? as usize;
    let slot = percpu::slots().get(cpu).ok_or(ENXIO)?;
    let state = match slot.holding() {
        Holding::Offline => uapi::CPU_OFFLINE,
        _ if !slot.reserved.load(Ordering::Relaxed) => match percpu::online().any(|n| n == cpu) {
            true => uapi::CPU_REFUSED,
            false => uapi::CPU_OFFLINE,
        },
        Holding::NotYet => uapi::CPU_NOT_YET,
        Holding::Armed => uapi::CPU_ARMED,
        Holding::Lost => uapi::CPU_LOST,
        Holding::Erased => uapi::CPU_ERASED,
    };
    UserSlice::new(
        arg.wrapping_byte_add(offset_of!(uapi::Cpu, state)),
        size_of::<u32>(),
    )
    .writer()
    .write(&state)?;
    Ok(0)
}

fn load(arg: UserPtr) -> Result<isize> {
    // The key goes straight into the key buffer; only what follows it is read the usual way.
    let mut rest = [0u8; size_of::<uapi::Load>() - uapi::KEY_LEN];
    let after_key = arg.wrapping_byte_add(offset_of!(uapi::Load, expected));
    UserSlice::new(after_key, rest.len())
        .reader()
        .read_slice(&mut rest)?;
    let (expected, rest) = rest.split_at(uapi::CHECK_LEN);
    let (flags, reserved) = rest.split_at(4);
    let flags = u32::from_le_bytes(flags.try_into().map_err(|_| EINVAL)?);
    if flags & !uapi::LOAD_EXPECT != 0 || reserved != [0; 4] {
        return Err(EINVAL);
    }
    let expected = match flags {
        0 => None,
        _ => Some(CheckValue(expected.try_into().map_err(|_| EINVAL)?)),
    };
    store::wait_for_random()?;
    store::load(KeyBuffer::from_user(arg)?, expected)?;
    Ok(0)
}

fn generate(arg: UserPtr) -> Result<isize> {
    // A key whose check value cannot be told must not be made.
    write_check(arg, [0; uapi::CHECK_LEN])?;
    write_check(arg, store::generate()?.0)?;
    Ok(0)
}

fn write_check(arg: UserPtr, value: [u8; uapi::CHECK_LEN]) -> Result {
    UserSlice::new(arg, size_of::<uapi::Check>())
        .writer()
        .write(&uapi::Check { value })
}

fn clear(arg: UserPtr) -> Result<isize> {
    let mut reader = UserSlice::new(arg, size_of::<uapi::Clear>()).reader();
    let (flags, reserved) = (reader.read::<u32>()?, reader.read::<u32>()?);
    if flags & !uapi::CLEAR_FORCE != 0 || reserved != 0 {
        return Err(EINVAL);
    }
    store::clear(flags & uapi::CLEAR_FORCE != 0)?;
    Ok(0)
}

fn slot_key(arg: UserPtr) -> Result<isize> {
    let mut reader = UserSlice::new(arg, size_of::<uapi::SlotKey>()).reader();
    let mut uuid = [0u8; uapi::UUID_LEN];
    reader.read_slice(&mut uuid)?;
    if reader.read::<u32>()? != 0 || !is_uuid(&uuid) {
        return Err(EINVAL);
    }
    let out = arg.wrapping_byte_add(offset_of!(uapi::SlotKey, key));
    KeyBuffer::to_user(out, |key| store::slot_key(&uuid, key))?;
    Ok(0)
}

/// Whether `text` is a UUID in lower case: RFC 9562, section 4.
fn is_uuid(text: &[u8; uapi::UUID_LEN]) -> bool {
    text.iter().enumerate().all(|(i, c)| match i {
        8 | 13 | 18 | 23 => *c == b'-',
        _ => matches!(c, b'0'..=b'9' | b'a'..=b'f'),
    })
}

fn padded(text: &str) -> [u8; 16] {
    let mut field = [0; 16];
    for (to, from) in field.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    field
}
