// SPDX-License-Identifier: GPL-2.0-or-later

//! What the harness and the plugin say to each other: one JSON value a line, a question and then its
//! answer.
//!
//! Secrets travel over a socket pair that the plugin inherits: they are in no argument or file.

use std::io::{BufRead, Write};

use anyhow::{bail, Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What else of a secret is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Forms {
    /// Nothing: the bytes themselves.
    Plain,
    /// All round keys of an AES key of 16, 24 or 32 bytes, both directions.
    Aes,
    /// The same of both halves of an AES-XTS key of 32 or 64 bytes.
    Xts,
}

/// Where one CPU keeps its share S_c.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareLine {
    /// The CPU whose debug registers hold M xor S_c.
    pub cpu: u32,
    /// Guest-physical address of the 32 bytes of S_c.
    pub address: u64,
}

/// A question of the harness.
#[derive(Serialize, Deserialize)]
pub enum Request {
    /// A secret to look for.
    Secret {
        /// As hits name it.
        name: String,
        /// Its bytes.
        #[serde(with = "hex")]
        bytes: Vec<u8>,
        /// What else to look for.
        forms: Forms,
    },
    /// Shares to follow.
    Shares {
        /// M.
        #[serde(with = "hex")]
        m: [u8; 32],
        /// One line for each CPU.
        lines: Vec<ShareLine>,
    },
    /// Where the kernel keeps what names a process.
    Kernel(Kernel),
    /// The state.
    State,
}

/// Guest-virtual addresses by which the current task is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// The per-CPU variable that points to the current task, relative to the base of GS.
    pub current_task: u64,
    /// The first task of CPU 0, whose name is known.
    pub init_task: u64,
}

/// Everything found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Stores executed since power-on.
    pub stores_seen: u64,
    /// Those of them that were compared with at least one secret.
    pub stores_checked: u64,
    /// Those to devices, which do not end up in RAM.
    pub stores_to_devices: u64,
    /// Those whose physical address QEMU no longer knew: only their own bytes were compared.
    pub stores_without_address: u64,
    /// What was found.
    pub hits: Vec<RawHit>,
    /// Hits beyond those that are kept apart.
    pub omitted: u64,
}

/// Equal hits: the same secret by the same instruction of the same process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawHit {
    /// Name of the secret and of its form.
    pub secret: String,
    /// How it came about.
    pub by: By,
    /// The CPU, where there is one.
    pub cpu: u32,
    /// Guest-virtual address of the instruction; 0 unless a store was seen.
    pub pc: u64,
    /// Name of the current task; empty if it is not known.
    pub process: String,
    /// Guest-physical address of the first byte, of the last such hit.
    pub address: u64,
    /// Most bytes in a row.
    pub bytes: usize,
    /// Whether any of it is in RAM now.
    pub resident: bool,
    /// Who overwrote it last.
    pub overwritten: Option<Overwritten>,
    /// How many stores.
    pub count: u64,
}

/// How a hit came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum By {
    /// A store left eight bytes or more in a row.
    Store,
    /// Two stores left two 4-byte words, not in a row.
    Words,
    /// It was in RAM when the secret became known.
    Before,
    /// It is in RAM, and no store was seen to leave it there: DMA, or the CPU's own frames.
    Unseen,
}

/// The end of a secret in RAM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overwritten {
    /// Guest-virtual address of the instruction.
    pub pc: u64,
    /// Name of the task.
    pub process: String,
    /// Microseconds since the hit.
    pub after: u64,
}

/// The answer to a [`Request`]: the state (empty unless it was asked for), or a sentence.
pub type Answer = Result<State, String>;

/// Writes one value.
///
/// # Errors
/// If the other end is gone.
pub fn send<T: Serialize>(stream: &mut impl Write, value: &T) -> Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    Ok(stream.flush()?)
}

/// Reads one value; `None` at the end of the stream.
///
/// # Errors
/// If it is not understood.
pub fn receive<T: DeserializeOwned>(stream: &mut impl BufRead) -> Result<Option<T>> {
    let mut line = Vec::new();
    if stream.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        bail!("the line ends in the middle of a message");
    }
    serde_json::from_slice(&line)
        .map(Some)
        .context("a message is not understood")
}
