// SPDX-License-Identifier: GPL-2.0-or-later

//! What can go wrong. No message contains a byte of a secret.

use std::io;
use std::path::PathBuf;

/// Why a needle was refused or a file could not be scanned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The secret is too short to be told from chance.
    #[error(
        "secret \"{name}\" has {len} bytes; at least {} are needed to tell it from chance",
        crate::MIN_NEEDLE
    )]
    TooShort {
        /// Name of the secret.
        name: String,
        /// Its length in bytes.
        len: usize,
    },
    /// A part of the secret is so regular that ordinary memory contains it.
    #[error(
        "{part} of secret \"{name}\" is too regular to search for (few distinct bytes, or mostly \
         one); a search would report ordinary memory"
    )]
    LowEntropy {
        /// Name of the secret.
        name: String,
        /// Which part, e.g. "word 2".
        part: String,
    },
    /// The length does not fit the expansion that was asked for.
    #[error("secret \"{name}\" has {len} bytes, which is no {wanted} key length")]
    KeyLength {
        /// Name of the secret.
        name: String,
        /// Its length in bytes.
        len: usize,
        /// "AES" or "AES-XTS".
        wanted: &'static str,
    },
    /// Two secrets have the same name, so a report could not tell them apart.
    #[error("two secrets are called \"{name}\"; give each a name of its own")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// The file cannot be opened, or is not something that holds a dump.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is of a known format, but nothing in it can be read.
    #[error("{}, {problem}; to search its bytes as they are, scan it as raw", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problem: crate::Problem,
    },
}
