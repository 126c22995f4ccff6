// SPDX-License-Identifier: GPL-2.0-or-later

//! The harness's end of the plugin that watches every store.

use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use tresor_storewatch::allowed::Allowed;
use tresor_storewatch::wire::{receive, send, Answer, By, Kernel, RawHit, Request, State};
pub use tresor_storewatch::wire::{Forms, ShareLine};

use crate::symbols::Symbols;

/// How long the plugin may take to answer: a search of all RAM takes a second or two.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Hits in a report.
const HITS: usize = 2000;

/// The reasons on the list of justified transients, but for rare ones: for a test that each of them is
/// needed.
///
/// # Errors
/// If the list is not understood.
pub fn allowed_reasons() -> Result<Vec<String>> {
    let list = Allowed::list()?;
    let usual = list.entries().iter().filter(|e| !e.rare);
    Ok(usual.map(|e| e.reason.clone()).collect())
}

/// Every store of a guest under watch, from power-on.
///
/// The plugin sees each store when it is executed; what a caller of this has observed of the guest
/// (an answer of its shell, the stop of the VM) comes after all stores that led to it.
pub struct StoreWatch {
    requests: UnixStream,
    answers: BufReader<UnixStream>,
    allowed: Allowed,
    pub(crate) symbols: Symbols,
    /// The image of the drive on which the guest hands them over.
    pub(crate) symbols_file: PathBuf,
}

impl StoreWatch {
    pub(crate) fn new(stream: UnixStream, symbols_file: PathBuf) -> Result<Self> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self {
            answers: BufReader::new(stream.try_clone()?),
            requests: stream,
            allowed: Allowed::list()?,
            symbols: Symbols::default(),
            symbols_file,
        })
    }

    /// From now on a store that leaves any 8 bytes in a row of `bytes`, or of its forms, in memory
    /// is a hit. Also looks through RAM once, for what was stored before the secret was known.
    ///
    /// # Errors
    /// If the name is taken; the secret is shorter than 8 bytes, too regular to be told from other
    /// memory, or no such key; or QEMU is gone.
    pub fn add_secret(&mut self, name: &str, bytes: &[u8], forms: Forms) -> Result<()> {
        self.ask(&Request::Secret {
            name: name.to_owned(),
            bytes: bytes.to_vec(),
            forms,
        })
        .map(drop)
    }

    /// Follows DR_c = M xor S_c of each CPU through its refreshes: `lines` are the places of S_c.
    /// Replaces what was followed before.
    ///
    /// # Errors
    /// If a place is not in RAM, or QEMU is gone.
    pub fn follow_shares(&mut self, m: &[u8; 32], lines: &[ShareLine]) -> Result<()> {
        self.ask(&Request::Shares {
            m: *m,
            lines: lines.to_vec(),
        })
        .map(drop)
    }

    pub(crate) fn set_kernel(&mut self, kernel: Kernel) -> Result<()> {
        self.ask(&Request::Kernel(kernel)).map(drop)
    }

    /// Everything found so far. RAM is searched for each secret: what is there but was not seen to
    /// be stored is a hit of its own.
    ///
    /// # Errors
    /// If QEMU is gone.
    pub fn report(&mut self) -> Result<StoreReport> {
        let state = self.ask(&Request::State)?;
        Ok(self.translate(state))
    }

    fn ask(&mut self, request: &Request) -> Result<State> {
        const GONE: &str = "the plugin that watches stores does not answer: did QEMU end?";
        send(&mut self.requests, request).context(GONE)?;
        let answer: Option<Answer> = receive(&mut self.answers).context(GONE)?;
        answer
            .context(GONE)?
            .map_err(|error| anyhow::anyhow!("{error}"))
    }

    fn translate(&self, state: State) -> StoreReport {
        let mut hits: Vec<Hit> = Vec::new();
        for raw in state.hits {
            let hit = self.hit(raw);
            let same = |other: &&mut Hit| {
                other.secret == hit.secret
                    && other.symbol == hit.symbol
                    && other.process == hit.process
            };
            match hits.iter_mut().find(same) {
                Some(known) => known.join(hit),
                None => hits.push(hit),
            }
        }
        // What matters most must not be what is cut off.
        hits.sort_by_key(|hit| (!hit.is_finding(), !hit.resident));
        let rest = hits.split_off(hits.len().min(HITS));
        let rest: u64 = rest.iter().map(|hit| hit.count).sum();
        StoreReport {
            stores_seen: state.stores_seen,
            stores_checked: state.stores_checked,
            stores_to_devices: state.stores_to_devices,
            stores_without_address: state.stores_without_address,
            hits,
            omitted: state.omitted + rest,
        }
    }

    fn hit(&self, raw: RawHit) -> Hit {
        let symbol = match raw.by {
            By::Store => self.symbols.name(raw.pc, &raw.process),
            By::Words => format!(
                "{} (separate words)",
                self.symbols.name(raw.pc, &raw.process)
            ),
            By::Before => "(in RAM before the secret was known)".into(),
            By::Unseen => "(in RAM, and no store was seen: DMA or a CPU's own frame)".into(),
        };
        let allowed = self
            .allowed
            .reason(&symbol, &raw.process, &raw.secret)
            .map(str::to_owned);
        Hit {
            allowed,
            overwritten_by: raw.overwritten.map(|end| {
                let symbol = self.symbols.name(end.pc, &end.process);
                format!("{symbol} after {} µs", end.after)
            }),
            secret: raw.secret,
            cpu: raw.cpu,
            pc: raw.pc,
            symbol,
            process: raw.process,
            address: raw.address,
            bytes: raw.bytes,
            resident: raw.resident,
            count: raw.count,
        }
    }
}

/// What was found until now.
#[derive(Clone, Debug, Serialize)]
pub struct StoreReport {
    /// Stores that all CPUs executed since power-on.
    pub stores_seen: u64,
    /// Those of them that were compared with at least one secret.
    pub stores_checked: u64,
    /// Those that went to devices instead of RAM.
    pub stores_to_devices: u64,
    /// Those whose physical address QEMU no longer knew: only the bytes stored were compared.
    pub stores_without_address: u64,
    /// Hits, those that are not allowed first.
    pub hits: Vec<Hit>,
    /// Hits beyond these.
    pub omitted: u64,
}

impl StoreReport {
    /// Hits that are not allowed; a resident one never is.
    pub fn findings(&self) -> impl Iterator<Item = &Hit> {
        self.hits.iter().filter(|hit| hit.is_finding())
    }
}

/// Bytes of a secret in RAM, left there by one instruction of one process.
#[derive(Clone, Debug, Serialize)]
pub struct Hit {
    /// The name given to [`StoreWatch::add_secret`], and the form.
    pub secret: String,
    /// CPU of the last such store.
    pub cpu: u32,
    /// Guest-virtual address of the instruction.
    pub pc: u64,
    /// The instruction by its function, such as `tresor:tresor_aesni_arm+0x1c`.
    pub symbol: String,
    /// Name of the current task, where it can be read.
    pub process: String,
    /// Guest-physical address of the last one.
    pub address: u64,
    /// Most bytes in a row.
    pub bytes: usize,
    /// Whether any of it is still in RAM.
    pub resident: bool,
    /// Who overwrote the last one that was, and when.
    pub overwritten_by: Option<String>,
    /// Why it is allowed, if it is on the list of justified transients.
    pub allowed: Option<String>,
    /// How many stores.
    pub count: u64,
}

impl Hit {
    /// Whether it is not allowed. A resident one never is.
    pub fn is_finding(&self) -> bool {
        self.resident || self.allowed.is_none()
    }

    /// Adds one that is equal as far as a reader is concerned.
    fn join(&mut self, other: Self) {
        let count = self.count + other.count;
        let resident = self.resident || other.resident;
        let bytes = self.bytes.max(other.bytes);
        // The one that is still there is the one to look at.
        if other.resident && !self.resident {
            *self = other;
        }
        (self.count, self.resident, self.bytes) = (count, resident, bytes);
    }
}
