// SPDX-License-Identifier: GPL-2.0-or-later

//! How pages of a kdump-compressed file are compressed.

use flate2::{Decompress, FlushDecompress};

/// `DUMP_DH_COMPRESSED_*` of makedumpfile's `diskdump_mod.h`: which method, as a bit.
const ZLIB: u32 = 0x1;
const LZO: u32 = 0x2;
const SNAPPY: u32 = 0x4;
const ZSTD: u32 = 0x20;

/// What one thread keeps to decompress pages.
pub(crate) struct Codec {
    zlib: Decompress,
    snappy: snap::raw::Decoder,
    /// Made when first needed.
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl Default for Codec {
    fn default() -> Self {
        Self {
            zlib: Decompress::new(true),
            snappy: snap::raw::Decoder::new(),
            zstd: None,
        }
    }
}

impl Codec {
    /// Fills `page` with what `stored` decompresses to, by the method in `flags`; `false` if that is
    /// not a whole page. No more than a page is ever written, whatever `stored` says.
    pub fn page(&mut self, flags: u32, stored: &[u8], page: &mut [u8]) -> bool {
        match flags & (ZLIB | LZO | SNAPPY | ZSTD) {
            0 => {
                let whole = stored.len() == page.len();
                if whole {
                    page.copy_from_slice(stored);
                }
                whole
            }
            ZLIB => {
                self.zlib.reset(true);
                let ended = self.zlib.decompress(stored, page, FlushDecompress::Finish);
                matches!(ended, Ok(flate2::Status::StreamEnd))
                    && self.zlib.total_out() == page.len() as u64
            }
            LZO => lzo1x::decompress(stored, page).is_ok(),
            SNAPPY => {
                snap::raw::decompress_len(stored).is_ok_and(|len| len == page.len())
                    && self.snappy.decompress(stored, page).is_ok()
            }
            ZSTD => {
                if self.zstd.is_none() {
                    self.zstd = zstd::bulk::Decompressor::new().ok();
                }
                let len = page.len();
                self.zstd
                    .as_mut()
                    .is_some_and(|z| z.decompress_to_buffer(stored, page).is_ok_and(|n| n == len))
            }
            // Two methods at once.
            _ => false,
        }
    }
}
