// SPDX-License-Identifier: GPL-2.0-or-later

//! SHA-256 of public data, by the kernel's own library.
//!
//! C header: [`include/crypto/sha2.h`](srctree/include/crypto/sha2.h)

use crate::{bindings, cipher};

/// The kernel's SHA-256.
pub(crate) struct KernelSha256;

impl cipher::Sha256 for KernelSha256 {
    fn digest(parts: &[&[u8]]) -> [u8; 32] {
        let mut context = bindings::sha256_ctx::default();
        let mut out = [0; 32];
        // SAFETY: The context is ours and initialised first; each part is readable for its length,
        // and `out` has the 32 bytes of a digest.
        unsafe {
            bindings::sha256_init(&mut context);
            for part in parts {
                bindings::__sha256_update(&mut context.ctx, part.as_ptr(), part.len());
            }
            bindings::sha256_final(&mut context, out.as_mut_ptr());
        }
        out
    }
}
