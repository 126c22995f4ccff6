// SPDX-License-Identifier: GPL-2.0-or-later

//! Known answers at load: the crypto API has no test for an algorithm that it does not know.

use crate::{
    cipher::{self, kat},
    engine, percpu,
    section::Section,
    sha256::KernelSha256,
};
use kernel::prelude::*;

/// Runs the known answers, with a test key in the registers of the CPU at hand, and interrupts off for a
/// piece at a time. Refuses, with the reason in the kernel log, if one of them fails.
pub(crate) fn run() -> Result {
    let engine = engine::chosen();
    let mut buffer = KBox::new([0u8; cipher::SECTION_MAX], GFP_KERNEL)?;
    for piece in 0..kat::PIECES {
        let result = {
            let section = Section::enter()?;
            let slot = percpu::slots().get(section.cpu()).ok_or(EINVAL)?;
            // SAFETY: In a section of the CPU that owns `slot`, which supports the chosen engine; no key
            // is loaded, and its breakpoint slots are reserved.
            unsafe { kat::run::<KernelSha256>(engine, &slot.share, &mut buffer, piece) }
        };
        result.map_err(|wrong| {
            // The engine knows core's Display, and the kernel's macros their own.
            pr_err!(
                "refusing to load: the self-test failed: {}\n",
                core::format_args!("{wrong}")
            );
            EIO
        })?;
    }
    pr_info!("engine {}: known answers correct\n", engine.name());
    Ok(())
}
