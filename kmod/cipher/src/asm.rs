// SPDX-License-Identifier: GPL-2.0-or-later

//! The assembly, in one piece, since the files use each other's macros and the windows' table counts
//! places across all variants.

use core::arch::global_asm;

/// All of it, with what is for tests only as an argument.
macro_rules! assembly {
    ($kernel:literal $(, $tests:literal)*) => {
        global_asm!(
            concat!(".set TRESOR_KERNEL, ", $kernel),
            include_str!("aesni/frame.S"),
            include_str!("aesni/schedule.S"),
            include_str!("aesni/groups.S"),
            include_str!("aesni/request.S"),
            include_str!("aesni/schedule192.S"),
            include_str!("aesni/xts.S"),
            include_str!("aesni/modes.S"),
            include_str!("aesni/chain.S"),
            include_str!("avx/schedule.S"),
            include_str!("avx/frame.S"),
            include_str!("avx/wide.S"),
            include_str!("avx/packed.S"),
            include_str!("avx/single.S"),
            include_str!("avx/modes.S"),
            include_str!("avx/steal.S"),
            include_str!("aesni_avx/xts.S"),
            include_str!("aesni_avx/modes.S"),
            include_str!("vaes_avx2/xts.S"),
            include_str!("vaes_avx2/modes.S"),
            include_str!("vaes_avx512/tweaks.S"),
            include_str!("vaes_avx512/xts.S"),
            include_str!("vaes_avx512/modes.S"),
            $(include_str!($tests),)*
            // Last, as it ends the table of windows.
            include_str!("aesni/key.S"),
            options(att_syntax, raw)
        );
    };
}

#[cfg(MODULE)]
assembly!(1);
#[cfg(all(not(MODULE), not(any(test, feature = "raw-key"))))]
assembly!(0);
#[cfg(all(not(MODULE), any(test, feature = "raw-key")))]
assembly!(0, "aesni/raw.S", "avx/raw.S");
