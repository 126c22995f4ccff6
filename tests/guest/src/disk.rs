// SPDX-License-Identifier: GPL-2.0-or-later

//! Direct I/O with a known pattern.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use nix::errno::Errno;
use tresor_guest::{mixed, pattern};

use crate::{pin, Args};

const PAGE: usize = 4096;
const SECTOR: usize = 512;

/// What a failed read must leave behind unless it wrote something.
const UNTOUCHED: u8 = 0xa5;

/// A buffer that begins `offset` bytes into a page.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    pub(crate) fn new(len: usize, offset: usize) -> Self {
        let bytes = vec![0; len + offset + PAGE];
        let start = bytes.as_ptr().align_offset(PAGE) + offset;
        Self { bytes, start, len }
    }

    pub(crate) fn get(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

/// How the requests ended.
#[derive(Default)]
struct Tally {
    right: u64,
    failed: u64,
    /// Bytes that were read and were not what was written.
    wrong: u64,
    /// Failed reads that left something in the buffer that is neither what was there, nor
    /// ciphertext, nor the right plaintext.
    damaged: u64,
    error: Option<Errno>,
    /// When the first request succeeded after one had failed, in milliseconds.
    recovered: Option<u128>,
    /// Whether the last request succeeded.
    last: bool,
    /// Sectors of 512 bytes that were written, and that were read and were right.
    written: u64,
    verified: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            right,
            failed,
            wrong,
            damaged,
            written,
            verified,
            ..
        } = self;
        let error = self
            .error
            .map_or("none".into(), |error| format!("{error:?}"));
        let recovered = self.recovered.map_or("never".into(), |ms| ms.to_string());
        let last = if self.last { "right" } else { "failed" };
        write!(
            f,
            "right={right} failed={failed} wrong={wrong} damaged={damaged} error={error} \
             recovered={recovered} last={last} written={written} verified={verified}"
        )
    }
}

/// Where the I/O goes.
struct Disk {
    device: File,
    raw: Option<File>,
    start: u64,
    bytes: usize,
    buffer: Buffer,
    expected: Vec<u8>,
    began: Instant,
    tally: Tally,
}

impl Disk {
    /// Each request once: all that is written, or is to be read, is the pattern of `seed`.
    fn pass(&mut self, write: bool, seed: u64) -> Result<()> {
        let Self {
            device,
            raw,
            buffer,
            expected,
            tally,
            ..
        } = self;
        let io = expected.len();
        for offset in (0..self.bytes).step_by(io) {
            let at = self.start + offset as u64;
            pattern(seed, at, expected);
            let result = if write {
                buffer.get().copy_from_slice(expected);
                device.write_at(buffer.get(), at)
            } else {
                buffer.get().fill(UNTOUCHED);
                device.read_at(buffer.get(), at)
            };
            tally.last = result.is_ok();
            match result {
                Ok(n) if n != io => bail!("{n} bytes instead of {io} at {at}"),
                Ok(_) if buffer.get() != *expected => {
                    let pairs = buffer.get().iter().zip(expected.iter());
                    tally.wrong += pairs.filter(|(is, was)| is != was).count() as u64;
                }
                Ok(_) => {
                    tally.right += 1;
                    let sectors = (io / SECTOR) as u64;
                    *(if write {
                        &mut tally.written
                    } else {
                        &mut tally.verified
                    }) += sectors;
                    if tally.failed > 0 && tally.recovered.is_none() {
                        tally.recovered = Some(self.began.elapsed().as_millis());
                    }
                }
                Err(error) => {
                    tally.failed += 1;
                    tally.error = error.raw_os_error().map(Errno::from_raw);
                    if let (Some(raw), false) = (&raw, write) {
                        let mut cipher = Buffer::new(io, 0);
                        raw.read_exact_at(cipher.get(), at)
                            .context("cannot read raw=")?;
                        tally.damaged += damaged(buffer.get(), cipher.get(), expected);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The `disk` command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let bytes = args.number("bytes", 0)? as usize;
    let io = args.number("io", PAGE as u64)? as usize;
    let start = args.number("at", 0)?;
    let mut seed = args.number("seed", 0)?;
    let length = Duration::from_secs(args.number("seconds", 0)?);
    let mode = args.need("mode")?;
    ensure!(
        ["read", "write", "cycle"].contains(&mode),
        "mode={mode} is neither read nor write nor cycle"
    );
    ensure!(
        io % SECTOR == 0 && bytes % io == 0 && bytes > 0 && start % SECTOR as u64 == 0,
        "bytes= must be a multiple of io=, at= of {SECTOR}"
    );
    if args.get("cpu").is_some() {
        pin(args.number("cpu", 0)? as usize)?;
    }
    let mut disk = Disk {
        device: open(args.need("dev")?, mode != "read")?,
        raw: args.get("raw").map(|path| open(path, false)).transpose()?,
        start,
        bytes,
        buffer: Buffer::new(io, args.number("offset", 0)? as usize),
        expected: vec![0; io],
        began: Instant::now(),
        tally: Tally::default(),
    };
    for cpu in args.numbers("clobber")? {
        fs::write("/proc/tresor_test", format!("clobber {cpu}")).context("cannot clobber")?;
    }
    let stop = args.get("stop");
    disk.began = Instant::now();
    loop {
        if mode != "read" {
            disk.pass(true, seed)?;
        }
        if mode != "write" {
            disk.pass(false, seed)?;
        }
        if let Some(path) = args.get("progress") {
            // Whoever reads it sees all of one or all of the other.
            let new = format!("{path}.new");
            fs::write(&new, disk.tally.to_string()).context("cannot write progress=")?;
            fs::rename(new, path).context("cannot write progress=")?;
        }
        if stop.is_some_and(|path| Path::new(path).exists())
            || (stop.is_none() && disk.began.elapsed() >= length)
        {
            break;
        }
        if mode == "cycle" {
            // Old data must not pass for new.
            seed = mixed(seed);
        }
    }
    println!("{} seed={seed}", disk.tally);
    Ok(())
}

pub(crate) fn open(path: &str, write: bool) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(libc::O_DIRECT)
        .open(path)
        .with_context(|| format!("cannot open {path}"))
}

/// Sectors of `buffer` that are neither untouched, nor ciphertext, nor plaintext.
fn damaged(buffer: &[u8], cipher: &[u8], plain: &[u8]) -> u64 {
    let sectors = |bytes: &'_ [u8]| bytes.chunks(SECTOR).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let known = sectors(cipher).into_iter().zip(sectors(plain));
    let bad = sectors(buffer)
        .into_iter()
        .zip(known)
        .filter(|(sector, (cipher, plain))| {
            sector != cipher && sector != plain && *sector != [UNTOUCHED; SECTOR]
        });
    bad.count() as u64
}
