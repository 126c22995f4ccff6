// SPDX-License-Identifier: GPL-2.0-or-later

//! Direct I/O with a known pattern.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use nix::errno::Errno;
use tresor_guest::pattern;

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
    wrong: u64,
    /// Failed reads that left something in the buffer that is neither what was there, nor
    /// ciphertext, nor the right plaintext.
    damaged: u64,
    error: Option<Errno>,
    /// When the first request succeeded after one had failed, in milliseconds.
    recovered: Option<u128>,
    /// Whether the last request succeeded.
    last: bool,
}

/// The `disk` command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let bytes = args.number("bytes", 0)? as usize;
    let io = args.number("io", PAGE as u64)? as usize;
    let seed = args.number("seed", 0)?;
    let length = Duration::from_secs(args.number("seconds", 0)?);
    let write = match args.need("mode")? {
        "read" => false,
        "write" => true,
        other => bail!("mode={other} is neither read nor write"),
    };
    ensure!(
        io % SECTOR == 0 && bytes % io == 0 && bytes > 0,
        "bytes= must be a multiple of io="
    );
    if args.get("cpu").is_some() {
        pin(args.number("cpu", 0)? as usize)?;
    }
    let device = open(args.need("dev")?, write)?;
    let raw = args.get("raw").map(|path| open(path, false)).transpose()?;
    let mut buffer = Buffer::new(io, args.number("offset", 0)? as usize);
    let mut expected = vec![0; io];
    for cpu in args.numbers("clobber")? {
        fs::write("/proc/tresor_test", format!("clobber {cpu}")).context("cannot clobber")?;
    }

    let start = Instant::now();
    let mut tally = Tally::default();
    loop {
        for offset in (0..bytes).step_by(io) {
            let at = offset as u64;
            pattern(seed, at, &mut expected);
            let result = if write {
                buffer.get().copy_from_slice(&expected);
                device.write_at(buffer.get(), at)
            } else {
                buffer.get().fill(UNTOUCHED);
                device.read_at(buffer.get(), at)
            };
            tally.last = result.is_ok();
            match result {
                Ok(n) if n != io => bail!("{n} bytes instead of {io} at {at}"),
                Ok(_) if buffer.get() != expected => tally.wrong += 1,
                Ok(_) => {
                    tally.right += 1;
                    if tally.failed > 0 && tally.recovered.is_none() {
                        tally.recovered = Some(start.elapsed().as_millis());
                    }
                }
                Err(error) => {
                    tally.failed += 1;
                    tally.error = error.raw_os_error().map(Errno::from_raw);
                    if let (Some(raw), false) = (&raw, write) {
                        let mut cipher = Buffer::new(io, 0);
                        raw.read_exact_at(cipher.get(), at)
                            .context("cannot read raw=")?;
                        tally.damaged += damaged(buffer.get(), cipher.get(), &expected);
                    }
                }
            }
        }
        let goes_on = args
            .get("while")
            .is_some_and(|path| Path::new(path).exists());
        if start.elapsed() >= length && !goes_on {
            break;
        }
    }
    let Tally {
        right,
        failed,
        wrong,
        damaged,
        last,
        ..
    } = tally;
    let error = tally
        .error
        .map_or("none".into(), |error| format!("{error:?}"));
    let recovered = tally.recovered.map_or("never".into(), |ms| ms.to_string());
    println!(
        "right={right} failed={failed} wrong={wrong} damaged={damaged} error={error} \
         recovered={recovered} last={}",
        if last { "right" } else { "failed" }
    );
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
