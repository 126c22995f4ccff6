// SPDX-License-Identifier: GPL-2.0-or-later

//! `/dev/tresor`, with the kernel's error numbers turned into advice.

use crate::error::{Error, Exit};
use crate::secret::Secret;
use nix::errno::Errno;
use std::fmt;
use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use tresor_uapi as uapi;
use uapi::{Check, Clear, Cpu, Load, SlotKey, Status};

/// The opened device of a module that speaks our version of the interface.
pub struct Device {
    file: File,
}

/// A call that the kernel refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Load,
    Generate,
    Lock,
    Clear,
    Status,
    SlotKey,
    Cpu,
}

impl Device {
    /// Opens it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|e| {
                let errno = Errno::from_raw(e.raw_os_error().unwrap_or(0));
                open_advice(errno, path)
            })?;
        let device = Self { file };
        let status = device.status().map_err(|e| match e.exit {
            Exit::NoModule => Error::new(format!(
                "{} is not the tresor device; nothing was changed",
                path.display()
            )),
            _ => e,
        })?;
        if status.abi != uapi::ABI {
            return Err(Error::new(format!(
                "the loaded module speaks version {} of its interface and this tresorctl version \
                 {}; nothing was changed; install a tresorctl of the module's version",
                status.abi,
                uapi::ABI
            )));
        }
        Ok(device)
    }

    /// Reports the state.
    pub fn status(&self) -> Result<Status, Error> {
        let mut status = Status::default();
        self.ioctl(Call::Status, uapi::STATUS, &raw mut status)?;
        Ok(status)
    }

    /// Loads a master key.
    pub fn load(&self, load: &mut Secret<Load>) -> Result<(), Error> {
        self.ioctl(Call::Load, uapi::LOAD, &raw mut **load)
    }

    /// Has the kernel draw a random master key.
    pub fn generate(&self) -> Result<Check, Error> {
        let mut check = Check::default();
        self.ioctl(Call::Generate, uapi::GENERATE, &raw mut check)?;
        Ok(check)
    }

    /// Erases the key, to be loaded again.
    pub fn lock(&self) -> Result<(), Error> {
        self.ioctl(Call::Lock, uapi::LOCK, std::ptr::null_mut::<u8>())
    }

    /// Erases the key and its check value.
    pub fn clear(&self, force: bool) -> Result<(), Error> {
        let mut clear = Clear {
            flags: if force { uapi::CLEAR_FORCE } else { 0 },
            reserved: 0,
        };
        self.ioctl(Call::Clear, uapi::CLEAR, &raw mut clear)
    }

    /// Computes the slot key of the volume whose UUID `request` has.
    pub fn slot_key(&self, request: &mut Secret<SlotKey>) -> Result<(), Error> {
        self.ioctl(Call::SlotKey, uapi::SLOT_KEY, &raw mut **request)
    }

    /// The state of a CPU, one of the `CPU_` constants; `None` beyond the last that there may be.
    pub fn cpu(&self, cpu: u32) -> Result<Option<u32>, Error> {
        let mut argument = Cpu { cpu, state: 0 };
        match self.raw_ioctl(uapi::CPU, &raw mut argument) {
            Ok(()) => Ok(Some(argument.state)),
            Err(Errno::ENXIO) => Ok(None),
            Err(errno) => Err(Call::Cpu.advice(errno)),
        }
    }

    fn ioctl<T>(&self, call: Call, number: u32, argument: *mut T) -> Result<(), Error> {
        self.raw_ioctl(number, argument)
            .map_err(|errno| call.advice(errno))
    }

    fn raw_ioctl<T>(&self, number: u32, argument: *mut T) -> nix::Result<()> {
        let fd: RawFd = self.file.as_raw_fd();
        // SAFETY: Each caller passes the structure that the call is defined with in `tresor-uapi`,
        // borrowed for the time of the call, or null for a call without one. On a device that is
        // not ours the numbers mean nothing, as their type byte is not its.
        let result = unsafe { libc::ioctl(fd, number.into(), argument) };
        Errno::result(result).map(drop)
    }
}

fn open_advice(errno: Errno, path: &Path) -> Error {
    let path = path.display();
    match errno {
        Errno::ENOENT | Errno::ENXIO | Errno::ENODEV => Error::with_exit(
            Exit::NoModule,
            format!("the module is not loaded ({path}: {}): run `modprobe tresor` (nothing was changed)", errno.desc()),
        ),
        Errno::EACCES | Errno::EPERM => Error::new(format!(
            "{path} may be opened by root only: run tresorctl as root, e.g. with sudo (nothing was \
             changed)"
        )),
        _ => Error::new(format!("cannot open {path}: {} (nothing was changed)", errno.desc())),
    }
}

impl Call {
    /// What the user should know about this refusal, `docs/abi.md` in sentences.
    fn advice(self, errno: Errno) -> Error {
        let error = |text: &str| Error::new(format!("{text}; nothing was changed"));
        match (self, errno) {
            (_, Errno::EPERM) => error("this needs the capability CAP_SYS_ADMIN: run tresorctl as root"),
            (_, Errno::ENOTTY) => Error::with_exit(
                Exit::NoModule,
                "the module does not know this request: it is older than this tresorctl",
            ),
            (_, Errno::ENODEV) => Error::with_exit(Exit::NoModule, "the module was unloaded"),
            (Self::Load, Errno::EBUSY) => error(
                "another key is loaded already, or the machine is going down: see `tresorctl status`; \
                 to change keys close the volumes and run `tresorctl clear` first",
            ),
            (Self::Load, Errno::EKEYREJECTED) => Error::with_exit(
                Exit::WrongKey,
                "the key is not the one expected, or not the one that was locked; nothing was changed",
            ),
            (Self::Generate, Errno::EBUSY) => error(
                "a key is loaded or locked already, or the machine is going down: see `tresorctl \
                 status`; `tresorctl clear` forgets the old key",
            ),
            (Self::Load | Self::Generate, Errno::ENOSPC | Errno::ENXIO) => error(
                "the CPU's breakpoint registers are not all the module's: end what uses hardware \
                 breakpoints (gdb, perf), then unload and load the module",
            ),
            (Self::Lock, Errno::ENOKEY) => error("there is no key to lock"),
            (Self::Clear, Errno::EBUSY) => error(
                "tresor volumes are open: close them (umount, then cryptsetup close), or use \
                 --force: what waits fails, and what was not written is lost",
            ),
            (Self::SlotKey, Errno::ENOKEY) => {
                error("no key is loaded, or it is locked: run `tresorctl load` first")
            }
            (Self::SlotKey, Errno::EINVAL) => error("the kernel does not take this UUID"),
            (_, Errno::EINVAL) => {
                error("the module refuses the form of this request: are it and tresorctl of one version?")
            }
            _ => error(&format!("the kernel refused: {}", errno.desc())),
        }
    }
}

/// The text of a field that is padded with zeros.
pub fn text(field: &[u8]) -> String {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// The key id that users see: the first bytes of the check value, in hex.
pub fn key_id(check: &[u8; uapi::CHECK_LEN]) -> String {
    KeyId::of(check).to_string()
}

/// A key id: what users call a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId(pub [u8; uapi::KEY_ID_LEN]);

impl KeyId {
    /// That of the key with this check value.
    pub fn of(check: &[u8; uapi::CHECK_LEN]) -> Self {
        let mut id = [0; uapi::KEY_ID_LEN];
        id.copy_from_slice(&check[..uapi::KEY_ID_LEN]);
        Self(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
