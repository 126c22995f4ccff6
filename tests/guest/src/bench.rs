// SPDX-License-Identifier: GPL-2.0-or-later

//! Direct I/O between two marks, for the benchmark: nothing but the requests themselves.

use std::os::unix::fs::FileExt;
use std::time::Instant;

use anyhow::{bail, ensure, Result};
use tresor_guest::{mark, mixed, pattern};

use crate::disk::{open, Buffer};
use crate::Args;

/// The `bench` command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let bytes = args.number("bytes", 0)? as usize;
    let io = args.number("io", 4096)? as usize;
    let seed = args.number("seed", 0)?;
    let write = match args.need("mode")? {
        "read" => false,
        "write" => true,
        other => bail!("mode={other} is neither read nor write"),
    };
    ensure!(
        io % 512 == 0 && bytes % io == 0 && bytes > 0,
        "bytes= must be a multiple of io="
    );
    let mut offsets: Vec<usize> = (0..bytes).step_by(io).collect();
    match args.need("order")? {
        "sequential" => {}
        // Each place once.
        "random" => {
            for last in (1..offsets.len()).rev() {
                offsets.swap(last, (mixed(last as u64) % (last as u64 + 1)) as usize);
            }
        }
        other => bail!("order={other} is neither sequential nor random"),
    }
    let device = open(args.need("dev")?, write)?;
    let mut wanted = vec![0; bytes];
    pattern(seed, 0, &mut wanted);
    // Everything that the requests use is there before the first mark, and has been touched.
    let mut buffer = Buffer::new(bytes, 0);
    if write {
        buffer.get().copy_from_slice(&wanted);
    } else {
        buffer.get().fill(0xa5);
    }
    let memory = buffer.get();
    mark();
    let start = Instant::now();
    for &at in &offsets {
        let piece = &mut memory[at..at + io];
        let done = match write {
            true => device.write_at(piece, at as u64)?,
            false => device.read_at(piece, at as u64)?,
        };
        ensure!(done == io, "{done} bytes instead of {io} at {at}");
    }
    let took = start.elapsed();
    mark();
    ensure!(memory == wanted, "what was read is not the pattern");
    println!("ns={}", took.as_nanos());
    Ok(())
}
