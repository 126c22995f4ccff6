// SPDX-License-Identifier: GPL-2.0-or-later

//! FPU sections with interrupts off, the only place where the engine runs.
//!
//! C header: `arch/x86/include/asm/fpu/api.h`

use crate::bindings;
use core::marker::PhantomData;
use kernel::prelude::*;

/// An open FPU section of the current CPU with interrupts off.
///
/// # Invariants
///
/// While a `Section` lives, the vector registers belong to its owner, no interrupt is taken and the
/// task cannot move to another CPU.
pub(crate) struct Section {
    flags: usize,
    cpu: usize,
    // The section belongs to one CPU: it must not be sent to another.
    _pinned: PhantomData<*mut ()>,
}

impl Section {
    /// Opens a section. Fails with `EAGAIN` in a hard interrupt that hit another section.
    pub(crate) fn enter() -> Result<Self> {
        // SAFETY: May be called in any context but NMI, which never gets here.
        if !unsafe { bindings::irq_fpu_usable() } {
            return Err(EAGAIN);
        }
        // No x87 or MXCSR state is needed: the engine uses integer vector instructions only.
        // SAFETY: `irq_fpu_usable()` holds; paired with `kernel_fpu_end()` in `drop()`.
        unsafe { bindings::kernel_fpu_begin_mask(0) };
        // SAFETY: Paired with `tresor_irq_restore()` in `drop()`.
        let flags = unsafe { bindings::tresor_irq_save() } as usize;
        // SAFETY: Always safe; the answer stays true, since interrupts are off.
        let cpu = unsafe { bindings::tresor_smp_processor_id() } as usize;
        // INVARIANT: FPU section opened and interrupts off, just above.
        Ok(Self {
            flags,
            cpu,
            _pinned: PhantomData,
        })
    }

    /// Number of the CPU that the section runs on.
    pub(crate) fn cpu(&self) -> usize {
        self.cpu
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        // SAFETY: `flags` comes from the matching save, on this CPU.
        unsafe { bindings::tresor_irq_restore(self.flags as _) };
        // SAFETY: Closes the section opened in `enter()`.
        unsafe { bindings::kernel_fpu_end() };
    }
}
