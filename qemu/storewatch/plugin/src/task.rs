// SPDX-License-Identifier: GPL-2.0-or-later

//! Names the process that a CPU runs.
//!
//! The kernel keeps a pointer to the current task in a per-CPU variable, relative to the base of GS,
//! and the task's name in the task. Where in the task is found out by looking for the one name that
//! is known, that of the first task.

use std::sync::{Mutex, OnceLock, PoisonError};

use tresor_storewatch::wire::Kernel;

use crate::qemu::{Qemu, Register};

/// Bytes in a task's name, with the NUL.
const NAME: usize = 16;
/// Name of the first task.
const FIRST: &[u8] = b"swapper/0\0";
/// A task is smaller than this.
const TASK: usize = 16 << 10;
/// Addresses from here on are the kernel's, whatever the number of page table levels.
const KERNEL_HALF: u64 = 1 << 63;

/// What is known about tasks.
#[derive(Default)]
pub struct Tasks {
    /// GS base and the one that the kernel or the user has meanwhile.
    registers: OnceLock<[Option<Register>; 2]>,
    kernel: Mutex<Option<(Kernel, Option<u64>)>>,
}

// SAFETY: a `Register` is a number by which QEMU knows the register, the same on every CPU.
unsafe impl Send for Register {}
// SAFETY: as above.
unsafe impl Sync for Register {}

impl Tasks {
    /// Finds the registers; on a CPU's own thread, while it comes up.
    pub fn find_registers(&self, qemu: &Qemu) {
        self.registers
            .get_or_init(|| qemu.registers([c"gs_base", c"k_gs_base"]));
    }

    /// Says where the kernel keeps things; it may have moved, in a reboot.
    pub fn set_kernel(&self, kernel: Kernel) {
        *self.lock() = Some((kernel, None));
    }

    /// Name of the task that this CPU runs, empty if it is not known; inside a callback.
    pub fn current(&self, qemu: &Qemu) -> String {
        self.find(qemu).unwrap_or_default()
    }

    fn find(&self, qemu: &Qemu) -> Option<String> {
        let pointer = |address| {
            let bytes = qemu.read_memory(address, 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let mut guard = self.lock();
        let (kernel, offset) = guard.as_mut()?;
        if offset.is_none() {
            let task = (9..=14).rev().find_map(|shift| {
                // The end of the task may be the end of what is mapped.
                qemu.read_memory(kernel.init_task, TASK.min(1 << shift))
            })?;
            let at = task.windows(FIRST.len()).position(|run| run == FIRST)?;
            *offset = Some(at as u64);
        }
        let (current_task, offset) = (kernel.current_task, (*offset)?);
        drop(guard);
        let base = self
            .registers
            .get()?
            .iter()
            .flatten()
            .filter_map(|&register| qemu.read_register(register))
            .find(|&base| base >= KERNEL_HALF)?;
        let task = pointer(base.wrapping_add(current_task))?;
        let name = qemu.read_memory(task.wrapping_add(offset), NAME)?;
        let len = name.iter().position(|&byte| byte == 0)?;
        Some(String::from_utf8_lossy(&name[..len]).into_owned())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Kernel, Option<u64>)>> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
