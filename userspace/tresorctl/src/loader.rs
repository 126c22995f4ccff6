// SPDX-License-Identifier: GPL-2.0-or-later

//! The last steps of a key: out of the passphrase, and into the module.

use crate::derive::{Argon2id, Cost, SALT};
use crate::device::Device;
use crate::error::Error;
use crate::process::no_memory;
use crate::secret::{overwrite_registers, Secret};
use crate::terminal::Line;
use tresor_uapi::{Load, CHECK_LEN, KEY_LEN, LOAD_EXPECT};

/// A master key on its way.
pub type Key = Secret<[u8; KEY_LEN]>;

/// Loads keys from passphrases, in memory that is made once and wiped after each.
pub struct Loader {
    argon2id: Argon2id,
    key: Key,
    request: Secret<Load>,
}

impl Loader {
    /// Takes the memory.
    ///
    /// # Errors
    ///
    /// There is none that may be locked, or Argon2id does not allow this cost.
    pub fn new(cost: Cost) -> Result<Self, Error> {
        Ok(Self {
            argon2id: Argon2id::new(cost)?,
            key: Key::new().map_err(|e| no_memory(&e))?,
            request: Secret::new().map_err(|e| no_memory(&e))?,
        })
    }

    /// Loads the key that a passphrase gives; how many requests waited for it. With `check` the kernel
    /// refuses any other key.
    ///
    /// # Errors
    ///
    /// The kernel refused; nothing was changed.
    pub fn load(
        &mut self,
        device: &Device,
        passphrase: &Line,
        salt: &[u8; SALT],
        check: Option<[u8; CHECK_LEN]>,
    ) -> Result<u32, Error> {
        let result = self
            .argon2id
            .derive(passphrase.as_bytes(), salt, &mut self.key)
            .and_then(|()| load_with(&mut self.request, device, &self.key, check));
        self.key.wipe();
        result
    }
}

/// Loads a key; how many requests waited for it. With `check` the kernel refuses any other key.
///
/// # Errors
///
/// No memory that may be locked, or the kernel refused; nothing was changed.
pub fn load(device: &Device, key: &Key, check: Option<[u8; CHECK_LEN]>) -> Result<u32, Error> {
    let mut request = Secret::new().map_err(|e| no_memory(&e))?;
    load_with(&mut request, device, key, check)
}

fn load_with(
    request: &mut Secret<Load>,
    device: &Device,
    key: &Key,
    check: Option<[u8; CHECK_LEN]>,
) -> Result<u32, Error> {
    let waiting = device.status()?.waiting;
    request.key = **key;
    if let Some(check) = check {
        request.expected = check;
        request.flags = LOAD_EXPECT;
    }
    // The module's sections save the vector registers of whoever calls it.
    overwrite_registers();
    let result = device.load(request);
    request.wipe();
    result.map(|()| waiting)
}
