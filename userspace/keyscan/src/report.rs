// SPDX-License-Identifier: GPL-2.0-or-later

//! What a scan found.

use crate::map::MemoryMap;
use crate::pairs::XtsPair;
use crate::{Addresses, Format, Problem};
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroizing;

/// How the bytes lay in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Order {
    /// As given, or as FIPS 197 numbers them.
    Native,
    /// The whole run reversed.
    Reversed,
    /// Each group of 8 bytes reversed: a big-endian value in 64-bit registers.
    Words64Swapped,
    /// Each group of 4 bytes reversed: a big-endian value in 32-bit words.
    Words32Swapped,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Native => "native",
            Self::Reversed => "reversed",
            Self::Words64Swapped => "64-bit swapped",
            Self::Words32Swapped => "32-bit swapped",
        })
    }
}

/// Which schedule of a key, and in which order its round keys lie.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Layout {
    /// The encryption schedule (FIPS 197, section 5.2).
    #[default]
    Encryption,
    /// The same, last round key first: decryption without the equivalent inverse cipher.
    EncryptionReversed,
    /// The schedule of the equivalent inverse cipher in the order of its use: last round key first,
    /// all but the outer ones gone through InvMixColumns. What Linux and OpenSSL keep.
    Decryption,
    /// The same, first round key first.
    DecryptionForward,
}

impl Layout {
    /// All layouts.
    pub const ALL: [Self; 4] = [
        Self::Encryption,
        Self::EncryptionReversed,
        Self::Decryption,
        Self::DecryptionForward,
    ];

    /// Whether the inner round keys have gone through InvMixColumns.
    pub const fn is_decryption(self) -> bool {
        matches!(self, Self::Decryption | Self::DecryptionForward)
    }

    /// Whether the last round key lies first.
    pub const fn is_reversed(self) -> bool {
        matches!(self, Self::EncryptionReversed | Self::Decryption)
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Encryption => "encryption",
            Self::EncryptionReversed => "encryption, rounds reversed",
            Self::Decryption => "decryption",
            Self::DecryptionForward => "decryption, rounds in encryption order",
        })
    }
}

/// A key that a scan came upon; wiped when dropped, never serialised, hidden from `{:?}`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FoundKey(pub(crate) Zeroizing<Vec<u8>>);

impl FoundKey {
    /// The key: 16, 24 or 32 bytes. Empty in a report that was read back from text.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for FoundKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FoundKey(..)")
    }
}

/// What lies at the offset of a [`Finding`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum What {
    /// An AES key schedule.
    Schedule {
        /// Key size in bits: 128, 192 or 256.
        bits: u16,
        /// Which schedule of the key.
        #[serde(default)]
        layout: Layout,
        /// Bits that were one and are read as zero. The key is the corrected one.
        #[serde(default)]
        fallen: u32,
        /// Bits that were zero and are read as one.
        #[serde(default)]
        risen: u32,
        /// First 8 bytes of the key's SHA-256, in hex: names the key without telling it.
        fingerprint: String,
        /// The key.
        #[serde(skip)]
        key: FoundKey,
    },
    /// All of a known secret.
    Whole {
        /// Name of the secret.
        name: String,
    },
    /// Half of a known secret.
    Half {
        /// Name of the secret.
        name: String,
        /// 0 or 1.
        index: usize,
    },
    /// Eight bytes of a known secret.
    Word {
        /// Name of the secret.
        name: String,
        /// Which word, from 0. In a secret whose length is no multiple of 8 the last word is its
        /// last 8 bytes.
        index: usize,
    },
    /// A round key of the AES key that a known secret is.
    RoundKey {
        /// Name of the secret.
        name: String,
        /// 0, or 1 for the second (tweak) key of an XTS pair.
        half: usize,
        /// Round, from 0, counted as in encryption.
        round: usize,
        /// It belongs to the equivalent inverse cipher (FIPS 197, section 5.3.5).
        inverse: bool,
    },
}

impl What {
    /// Name of the known secret that this is part of; `None` for schedules.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Schedule { .. } => None,
            Self::Whole { name }
            | Self::Half { name, .. }
            | Self::Word { name, .. }
            | Self::RoundKey { name, .. } => Some(name),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Schedule {
                bits,
                layout,
                fallen,
                risen,
                fingerprint,
                ..
            } => {
                write!(f, "AES-{bits} key schedule")?;
                if *layout != Layout::Encryption {
                    write!(f, " for {layout}")?;
                }
                write!(f, ", key sha256:{fingerprint}")?;
                if fallen + risen != 0 {
                    write!(f, ", corrected: {fallen} bits 1 to 0, {risen} bits 0 to 1")?;
                }
                Ok(())
            }
            Self::Whole { name } => write!(f, "all of {name:?}"),
            Self::Half { name, index } => {
                let which = if *index == 0 { "first" } else { "second" };
                write!(f, "{which} half of {name:?}")
            }
            Self::Word { name, index } => write!(f, "word {index} of {name:?}"),
            Self::RoundKey {
                name,
                half,
                round,
                inverse,
            } => {
                let inverse = if *inverse { "inverse " } else { "" };
                write!(f, "{inverse}round key {round} of {name:?}")?;
                if *half != 0 {
                    write!(f, ", second half")?;
                }
                Ok(())
            }
        }
    }
}

/// One place where something was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Offset of the first byte: the physical address in a raw dump that begins at address 0.
    pub offset: u64,
    /// Length in bytes.
    pub length: usize,
    /// Byte order in memory.
    pub order: Order,
    /// What it is.
    #[serde(flatten)]
    pub what: What,
}

/// How often parts of one known secret were found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeedleCount {
    /// Name of the secret.
    pub name: String,
    /// Byte patterns that were searched for on its behalf.
    pub patterns: usize,
    /// Places where one of them was found.
    pub found: u64,
}

/// The result of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Bytes looked at.
    pub bytes_scanned: u64,
    /// Key schedules found; `None` if they were not searched for.
    pub schedules: Option<u64>,
    /// Every known secret that was searched for, found or not, in the order given.
    pub needles: Vec<NeedleCount>,
    /// The findings by offset, at most [`Options::max_findings`](crate::Options::max_findings).
    pub findings: Vec<Finding>,
    /// Schedules among `findings` that are the two keys of an XTS pair.
    #[serde(default)]
    pub xts_pairs: Vec<XtsPair>,
    /// Findings counted above but left out of `findings`.
    pub omitted: u64,
    /// Places that may be damaged schedules, but were not decoded: the
    /// [budget](crate::Options::budget) was spent.
    #[serde(default)]
    pub undecoded: u64,
    /// Format of the file.
    #[serde(default)]
    pub format: Format,
    /// Whether it was flattened.
    #[serde(default)]
    pub flattened: bool,
    /// What the offsets are.
    #[serde(default)]
    pub addresses: Addresses,
    /// What could not be read: nothing is known of what was there.
    #[serde(default)]
    pub problems: Vec<Problem>,
    /// Whether there were more problems than are listed.
    #[serde(default)]
    pub more_problems: bool,
    /// What the dump's addresses hold, if [a map](crate::Options::map_cells) was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<MemoryMap>,
}

impl Report {
    /// Whether nothing at all was found.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.omitted == 0
    }

    /// Whether all of the dump was read, and everything that looks like a schedule was decoded: only
    /// then does finding nothing mean anything.
    pub fn is_complete(&self) -> bool {
        self.problems.is_empty() && self.undecoded == 0
    }

    /// Places where parts of the secret `name` were found; `None` if it was not searched for.
    pub fn found(&self, name: &str) -> Option<u64> {
        self.needles
            .iter()
            .find(|n| n.name == name)
            .map(|n| n.found)
    }

    /// The schedules among the listed findings.
    pub fn schedule_keys(&self) -> impl Iterator<Item = &FoundKey> {
        self.findings
            .iter()
            .filter_map(|finding| match &finding.what {
                What::Schedule { key, .. } => Some(key),
                _ => None,
            })
    }
}
