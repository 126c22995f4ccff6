// SPDX-License-Identifier: GPL-2.0-or-later

//! Ordinary memory with known content: what goes to swap, or into a core file.

use std::hint::black_box;
use std::path::Path;

use anyhow::{ensure, Result};
use tresor_guest::pattern;

use crate::{hold, make_hold, Args};

const PAGE: usize = 4096;

/// The `memory` command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let bytes = args.number("bytes", 0)? as usize;
    ensure!(
        bytes > 0 && bytes % 8 == 0,
        "bytes= must be a multiple of 8"
    );
    let mut memory = vec![0; bytes];
    pattern(args.number("seed", 0)?, 0, &mut memory);
    if args.number("walk", 0)? == 0 {
        hold(args)?;
    } else {
        // What is walked through again and again drives out what is not.
        let path = Path::new(args.need("hold")?);
        make_hold(path)?;
        while path.exists() {
            for at in (0..bytes).step_by(PAGE) {
                memory[at] = black_box(memory[at]);
            }
        }
    }
    black_box(&memory);
    Ok(())
}
