// SPDX-License-Identifier: GPL-2.0-or-later

//! What the machine must be for the module to load.

use crate::bindings;
use kernel::prelude::*;

/// SEV_STATUS, AMD64 Architecture Programmer's Manual volume 2, section 15.34.10.
const MSR_SEV_STATUS: u32 = 0xc001_0131;
/// SEV_STATUS: the guest runs with SEV-ES.
const SEV_ES: u64 = 1 << 1;
/// SEV_STATUS: the debug registers are swapped with the guest's state.
const SEV_DEBUG_SWAP: u64 = 1 << 7;

/// Refuses machines on which the key could not be kept, with the reason in the kernel log.
pub(crate) fn check() -> Result {
    // SAFETY: These helpers only read feature bits.
    let (clflush, xenpv) = unsafe {
        (
            bindings::tresor_cpu_has_clflush(),
            bindings::tresor_cpu_has_xenpv(),
        )
    };
    if !clflush {
        pr_err!("refusing to load: this CPU has no CLFLUSH\n");
        return Err(ENODEV);
    }
    if xenpv {
        pr_err!("refusing to load: in a Xen PV guest the debug registers are the host's\n");
        return Err(ENODEV);
    }
    // SAFETY: `cc_platform_has()` may be called at any time.
    if unsafe { bindings::cc_platform_has(bindings::cc_attr_CC_ATTR_GUEST_STATE_ENCRYPT) } {
        let mut status = 0;
        // SAFETY: Reads an MSR that every guest with encrypted state on AMD has; a fault is
        // caught (TDX guests have another, where the debug registers are the guest's own).
        let missing = unsafe { bindings::tresor_rdmsr_safe(MSR_SEV_STATUS, &mut status) } != 0;
        if !missing && status & SEV_ES != 0 && status & SEV_DEBUG_SWAP == 0 {
            pr_err!("refusing to load: in an SEV-ES guest without DebugSwap the debug registers are the host's\n");
            return Err(ENODEV);
        }
    }
    Ok(())
}
