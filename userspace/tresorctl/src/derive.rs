// SPDX-License-Identifier: GPL-2.0-or-later

//! From a passphrase to a master key: Argon2id (RFC 9106).

use crate::error::{reason, Error};
use crate::secret::{overwrite_registers, Blocks, Secret};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use tresor_uapi::KEY_LEN;

/// Bytes of salt (RFC 9106, section 3.1, recommends 16).
pub const SALT: usize = 16;

/// How much work a guess costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
    /// Lanes (degree of parallelism of the definition; they are computed one after the other).
    pub lanes: u32,
}

impl Cost {
    /// RFC 9106, section 4, second recommended option.
    pub const DEFAULT: Self = Self {
        memory_kib: 64 << 10,
        iterations: 3,
        lanes: 4,
    };
    /// Most memory, in KiB, that a description may ask for: a typing error in it should not take
    /// the machine down.
    const MAX_MEMORY: u32 = 16 << 20;

    fn params(self) -> Result<Params, Error> {
        let refuse = |why: &str| {
            Error::new(format!(
                "Argon2id cannot run with {} KiB, {} iterations and {} lanes: {why}; nothing was \
                 changed",
                self.memory_kib, self.iterations, self.lanes
            ))
        };
        if self.memory_kib > Self::MAX_MEMORY {
            return Err(refuse("more than 16 GiB"));
        }
        Params::new(self.memory_kib, self.iterations, self.lanes, Some(KEY_LEN)).map_err(|e| {
            refuse(match e {
                argon2::Error::MemoryTooLittle => "it needs 8 KiB for each lane",
                argon2::Error::TimeTooSmall => "it needs 1 iteration",
                argon2::Error::ThreadsTooFew => "it needs 1 lane",
                argon2::Error::ThreadsTooMany => "there are too many lanes",
                _ => "these values are not allowed",
            })
        })
    }

    /// Whether Argon2id can run with these values.
    ///
    /// # Errors
    ///
    /// Saying why not.
    pub fn check(self) -> Result<(), Error> {
        self.params().map(drop)
    }
}

/// Argon2's memory for one description, made once: for each key it is used again.
pub struct Argon2id {
    params: Params,
    blocks: Blocks,
}

impl Argon2id {
    /// Takes the memory, all of it at once.
    ///
    /// # Errors
    ///
    /// Argon2id does not allow this cost, or there is no memory that may be locked.
    pub fn new(cost: Cost) -> Result<Self, Error> {
        let params = cost.params()?;
        let blocks = Blocks::new(params.block_count()).map_err(|e| {
            Error::new(format!(
                "there is no memory for Argon2id, which needs {} KiB: {}; nothing was changed",
                cost.memory_kib,
                reason(&e)
            ))
        })?;
        Ok(Self { params, blocks })
    }

    /// Computes the key. The memory is wiped afterwards.
    ///
    /// # Errors
    ///
    /// Those of Argon2id, for a passphrase that is too long.
    pub fn derive(
        &mut self,
        passphrase: &[u8],
        salt: &[u8; SALT],
        key: &mut Secret<[u8; KEY_LEN]>,
    ) -> Result<(), Error> {
        let result = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone())
            .hash_password_into_with_memory(
                passphrase,
                salt,
                &mut key[..],
                self.blocks.as_mut_slice(),
            )
            .map_err(|e| Error::new(format!("Argon2id failed: {e}; nothing was changed")));
        // Wiping Argon2's memory takes a while, in which the process may be switched out.
        overwrite_registers();
        self.blocks.wipe();
        result
    }
}

/// Computes one key.
#[cfg(test)]
pub fn derive(
    passphrase: &[u8],
    salt: &[u8; SALT],
    cost: Cost,
    key: &mut Secret<[u8; KEY_LEN]>,
) -> Result<(), Error> {
    Argon2id::new(cost)?.derive(passphrase, salt, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_argon2id_version_19_of_the_passphrase() {
        // argon2id_hash_raw() of the reference implementation, version 20190702.
        let cost = Cost {
            memory_kib: 64,
            iterations: 2,
            lanes: 2,
        };
        let mut key = Secret::new().unwrap();
        let mut argon2id = Argon2id::new(cost).unwrap();
        // What the memory held before makes no difference.
        for passphrase in [&b"another"[..], b"correct horse"] {
            argon2id
                .derive(passphrase, b"0123456789abcdef", &mut key)
                .unwrap();
        }
        assert_eq!(
            hex::encode(*key),
            "7a1a864655e1358f74bb5997a24b9a1a9a2bf4e686e1649955be2309f7afe32b"
        );
    }

    #[test]
    fn costs_that_argon2id_does_not_allow_are_refused_with_the_reason() {
        let refuse = |memory_kib, iterations, lanes| {
            Cost {
                memory_kib,
                iterations,
                lanes,
            }
            .check()
            .unwrap_err()
            .to_string()
        };
        assert!(refuse(8, 1, 4).contains("it needs 8 KiB for each lane"));
        assert!(refuse(64, 0, 1).contains("it needs 1 iteration"));
        assert!(refuse(64, 1, 0).contains("it needs 1 lane"));
        assert!(refuse(u32::MAX, 1, 1).contains("more than 16 GiB"));
        assert!(Cost::DEFAULT.check().is_ok());
    }
}
