// SPDX-License-Identifier: GPL-2.0-or-later

//! Known answers at load: the crypto API has no test for an algorithm that it does not know.

use crate::{cipher, engine, percpu, section::Section, sha256::KernelSha256};
use kernel::prelude::*;

/// Runs the known answers on this CPU, with a test key in its registers and interrupts off.
/// Refuses, with the reason in the kernel log, if one of them fails.
pub(crate) fn run() -> Result {
    let engine = engine::chosen();
    let mut buffer = KBox::new([0u8; cipher::SECTION_MAX], GFP_KERNEL)?;
    let result = {
        let section = Section::enter()?;
        let slot = percpu::slots().get(section.cpu()).ok_or(EINVAL)?;
        // SAFETY: In a section of the CPU that owns `slot`, no key is loaded, and its breakpoint
        // slots are reserved.
        let result = unsafe { cipher::kat::run::<KernelSha256>(engine, &slot.share, &mut buffer) };
        slot.share.erase();
        result
    };
    result.map_err(|what| {
        pr_err!("refusing to load: the self-test failed: {what}\n");
        EIO
    })?;
    pr_info!("engine {}: known answers correct\n", engine.name());
    Ok(())
}
