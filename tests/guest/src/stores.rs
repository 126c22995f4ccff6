// SPDX-License-Identifier: GPL-2.0-or-later

//! Leaks on purpose: stores secrets in every way in which memory can come to hold them.

use std::arch::asm;
use std::io::Read;

use anyhow::{Context, Result};
use tresor_guest::{LEAKS, LEAK_LEN};

use crate::{hold, Args};

const PAGE: usize = 4096;

/// Copies a secret to `to`, which has room for two pages and begins on a page.
type Leak = unsafe fn(from: *const u8, to: *mut u8);

/// The `stores` command: reads one secret for each of [`LEAKS`] from standard input, and copies it.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut secrets = vec![0; LEAKS.len() * LEAK_LEN];
    std::io::stdin()
        .read_exact(&mut secrets)
        .context("cannot read the secrets")?;
    hold(args)?;
    let leaks: [Leak; LEAKS.len()] = [
        rep_movsb,
        bytes_in_reverse,
        unaligned_16,
        words_with_gaps,
        across_pages_16,
        across_pages_bytes,
    ];
    // Each leak has pages of its own, so that what it wrote stays there.
    let mut room = vec![0u8; (2 * LEAKS.len() + 1) * PAGE];
    let start = room.as_ptr().align_offset(PAGE);
    for (i, leak) in leaks.into_iter().enumerate() {
        // SAFETY: a secret has LEAK_LEN bytes, and two pages from there are inside the room.
        unsafe {
            leak(
                secrets.as_ptr().add(i * LEAK_LEN),
                room.as_mut_ptr().add(start + 2 * i * PAGE),
            );
        }
    }
    println!("ok");
    // What was written must not be found to be unused.
    std::hint::black_box(&mut room);
    Ok(())
}

unsafe fn rep_movsb(from: *const u8, to: *mut u8) {
    // SAFETY: the caller's promise; the direction flag is clear.
    unsafe {
        asm!("rep movsb", inout("rcx") LEAK_LEN => _, inout("rsi") from => _,
             inout("rdi") to.add(3) => _, options(nostack));
    }
}

unsafe fn bytes_in_reverse(from: *const u8, to: *mut u8) {
    for i in (0..LEAK_LEN).rev() {
        // SAFETY: the caller's promise; volatile, so that bytes are not put together.
        unsafe { to.add(i).write_volatile(from.add(i).read_volatile()) };
    }
}

unsafe fn unaligned_16(from: *const u8, to: *mut u8) {
    // SAFETY: the caller's promise; neither address needs to be aligned.
    unsafe {
        asm!("movdqu {x}, [{from}]", "movdqu [{to}], {x}", x = out(xmm_reg) _,
             from = in(reg) from, to = in(reg) to.add(5), options(nostack));
    }
}

unsafe fn words_with_gaps(from: *const u8, to: *mut u8) {
    for i in 0..LEAK_LEN / 4 {
        // SAFETY: the caller's promise, and both are aligned to four bytes.
        unsafe {
            let word = from.cast::<u32>().add(i).read_unaligned();
            to.cast::<u32>().add(3 * i).write_volatile(word);
        }
    }
}

unsafe fn across_pages_16(from: *const u8, to: *mut u8) {
    // SAFETY: the caller's promise; eight bytes go to each page.
    unsafe {
        asm!("movdqu {x}, [{from}]", "movdqu [{to}], {x}", x = out(xmm_reg) _,
             from = in(reg) from, to = in(reg) to.add(PAGE - 8), options(nostack));
    }
}

/// Four bytes on one page and four on the next, byte by byte: in a row for the process alone.
unsafe fn across_pages_bytes(from: *const u8, to: *mut u8) {
    for i in 0..8 {
        // SAFETY: the caller's promise; volatile, so that bytes are not put together.
        unsafe {
            to.add(PAGE - 4 + i)
                .write_volatile(from.add(i).read_volatile());
        }
    }
}
