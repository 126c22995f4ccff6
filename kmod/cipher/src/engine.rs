// SPDX-License-Identifier: GPL-2.0-or-later

//! The variants of the code that works on data, for CPUs of different age, and the choice between them.
//!
//! All of them compute the same, under the same discipline; what M's life needs beside it is not hot,
//! and is the SSE variant's on every CPU.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};

/// A variant, from the one that asks least of a CPU to the fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Engine {
    /// SSE with AES-NI: 128-bit vectors, the schedule rerun for each group of eight blocks.
    Aesni,
    /// AES-NI and AVX: 128-bit vectors, round keys kept, two to a register.
    AesniAvx,
    /// VAES and AVX2: 256-bit vectors, round keys kept, two to a register.
    VaesAvx2,
    /// VAES and AVX-512: 512-bit vectors, every round key in a register of its own.
    VaesAvx512,
}

impl Engine {
    /// All variants.
    pub const ALL: [Self; 4] = [
        Self::Aesni,
        Self::AesniAvx,
        Self::VaesAvx2,
        Self::VaesAvx512,
    ];

    /// The name, as parameters and status reports give it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aesni => "aesni",
            Self::AesniAvx => "aesni_avx",
            Self::VaesAvx2 => "vaes_avx2",
            Self::VaesAvx512 => "vaes_avx512",
        }
    }

    /// The variant of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|engine| engine.name() == name)
    }

    /// What this CPU, or its kernel, lacks for the variant: the first of it that was missed.
    pub fn lacks(self) -> Option<&'static str> {
        let cpu = Features::get();
        NEEDED
            .iter()
            .find(|(from, _, has)| self >= *from && !has(&cpu))
            .map(|(_, what, _)| *what)
    }

    /// Whether this CPU can run the variant.
    pub fn supported(self) -> bool {
        self.lacks().is_none()
    }

    /// The fastest variant that this CPU can run, if any.
    pub fn best() -> Option<Self> {
        Self::ALL
            .into_iter()
            .rev()
            .find(|engine| engine.supported())
    }
}

/// What CPUID and XCR0 say, as far as it matters.
struct Features {
    leaf_1_ecx: u32,
    leaf_7_ebx: u32,
    leaf_7_ecx: u32,
    xcr0: u32,
}

impl Features {
    fn get() -> Self {
        const OSXSAVE: u32 = 1 << 27;
        #[allow(unused_unsafe)] // newer compilers know CPUID to be safe
        // SAFETY: every x86-64 CPU has CPUID, leaves 0 and 1, and leaf 7 if leaf 0 says so; XGETBV
        // exists if OSXSAVE is set.
        unsafe {
            let leaf_1_ecx = __cpuid(1).ecx;
            let leaf_7 = (__cpuid(0).eax >= 7).then(|| __cpuid_count(7, 0));
            let mut xcr0 = 0;
            if leaf_1_ecx & OSXSAVE != 0 {
                asm!("xgetbv", in("ecx") 0, out("eax") xcr0, out("edx") _,
                     options(nomem, nostack, preserves_flags));
            }
            Self {
                leaf_1_ecx,
                leaf_7_ebx: leaf_7.as_ref().map_or(0, |leaf| leaf.ebx),
                leaf_7_ecx: leaf_7.as_ref().map_or(0, |leaf| leaf.ecx),
                xcr0,
            }
        }
    }
}

type Need = (Engine, &'static str, fn(&Features) -> bool);

/// What variants need, each the needs of those before it too. Bits: Intel SDM volume 2, CPUID, leaf 1
/// and leaf 7; volume 1, section 13.3, for XCR0.
const NEEDED: [Need; 13] = [
    (Engine::Aesni, "AES-NI", |f| f.leaf_1_ecx & 1 << 25 != 0),
    (Engine::Aesni, "SSSE3", |f| f.leaf_1_ecx & 1 << 9 != 0),
    (Engine::Aesni, "SSE4.1", |f| f.leaf_1_ecx & 1 << 19 != 0),
    (Engine::AesniAvx, "AVX", |f| f.leaf_1_ecx & 1 << 28 != 0),
    (Engine::AesniAvx, "a kernel that saves ymm registers", |f| {
        f.xcr0 & 0b110 == 0b110
    }),
    (Engine::VaesAvx2, "AVX2", |f| f.leaf_7_ebx & 1 << 5 != 0),
    (Engine::VaesAvx2, "VAES", |f| f.leaf_7_ecx & 1 << 9 != 0),
    (Engine::VaesAvx512, "VPCLMULQDQ", |f| {
        f.leaf_7_ecx & 1 << 10 != 0
    }),
    (Engine::VaesAvx512, "AVX512F", |f| {
        f.leaf_7_ebx & 1 << 16 != 0
    }),
    (Engine::VaesAvx512, "AVX512DQ", |f| {
        f.leaf_7_ebx & 1 << 17 != 0
    }),
    (Engine::VaesAvx512, "AVX512BW", |f| {
        f.leaf_7_ebx & 1 << 30 != 0
    }),
    (Engine::VaesAvx512, "AVX512VL", |f| {
        f.leaf_7_ebx & 1 << 31 != 0
    }),
    (
        Engine::VaesAvx512,
        "a kernel that saves zmm registers",
        |f| f.xcr0 & 0b1110_0110 == 0b1110_0110,
    ),
];
