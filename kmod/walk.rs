// SPDX-License-Identifier: GPL-2.0-or-later

//! The way through the data of a request: two scatterlists, cut where either of them is.
//!
//! The crypto API's own walk allocates where a block lies across two entries, and may fail then. This one
//! needs no memory. It is plain data as well: whoever keeps it can go on later at the piece that was not
//! done.
//!
//! C header: [`include/linux/scatterlist.h`](srctree/include/linux/scatterlist.h)

use crate::{bindings, cipher::SECTION_MAX, skcipher::Request};
use core::ptr;
use kernel::{bindings::scatterlist, prelude::*};

/// Bytes in an AES block.
pub(crate) const BLOCK: usize = 16;

/// Most bytes that stay together at the end of a request: a block, and what is not one.
const TAIL_MAX: usize = 2 * BLOCK - 1;

/// A position in a scatterlist.
///
/// # Invariants
///
/// `sg` is null, or points to an entry of a scatterlist that is valid, with all the memory that it names,
/// while the request is under way.
#[derive(Clone, Copy)]
struct Cursor {
    sg: *mut scatterlist,
    offset: usize,
}

impl Cursor {
    /// Where the next byte is, and how many lie behind one another from there. `EINVAL` at the list's end.
    fn here(&mut self) -> Result<(*mut u8, usize)> {
        loop {
            if self.sg.is_null() {
                return Err(EINVAL);
            }
            // SAFETY: By the type invariant.
            let len = unsafe { (*self.sg).length } as usize;
            if self.offset < len {
                // SAFETY: By the type invariant the entry has `len` bytes; all memory is mapped.
                let at = unsafe {
                    bindings::tresor_sg_virt(self.sg)
                        .cast::<u8>()
                        .add(self.offset)
                };
                return Ok((at, len - self.offset));
            }
            self.offset -= len;
            // INVARIANT: The next entry of the same list, or null.
            // SAFETY: By the type invariant.
            self.sg = unsafe { bindings::tresor_sg_next(self.sg) };
        }
    }

    /// Moves on. The bytes may lie in several entries.
    fn advance(&mut self, len: usize) {
        self.offset += len;
    }

    /// Copies the next bytes, and does not move.
    fn read(mut self, mut to: &mut [u8]) -> Result {
        while !to.is_empty() {
            let (at, len) = self.here()?;
            let (part, rest) = to.split_at_mut(len.min(to.len()));
            // SAFETY: `part.len()` bytes are readable at `at`; `part` is the caller's own.
            unsafe { ptr::copy_nonoverlapping(at, part.as_mut_ptr(), part.len()) };
            self.advance(part.len());
            to = rest;
        }
        Ok(())
    }

    /// Overwrites the next bytes, and does not move.
    fn write(mut self, mut from: &[u8]) -> Result {
        while !from.is_empty() {
            let (at, len) = self.here()?;
            let (part, rest) = from.split_at(len.min(from.len()));
            // SAFETY: `part.len()` bytes are writable at `at`; `part` is the caller's own.
            unsafe { ptr::copy_nonoverlapping(part.as_ptr(), at, part.len()) };
            self.advance(part.len());
            from = rest;
        }
        Ok(())
    }
}

/// A piece of a request: what one section takes.
///
/// # Invariants
///
/// `src` is valid for reads and `dst` for writes of `len` bytes, of which there is at least one; they are
/// equal or do not overlap.
pub(crate) struct Piece {
    src: *const u8,
    dst: *mut u8,
    len: usize,
}

impl Piece {
    /// The source: valid for reads of [`Piece::len`] bytes.
    pub(crate) fn src(&self) -> *const u8 {
        self.src
    }

    /// The destination: valid for writes of [`Piece::len`] bytes; the source, or apart from it.
    pub(crate) fn dst(&self) -> *mut u8 {
        self.dst
    }

    /// From 1 to [`SECTION_MAX`] bytes: whole blocks, but for the request's last piece.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The last [`BLOCK`] bytes of the source; `None` if it has fewer.
    pub(crate) fn src_end(&self) -> Option<[u8; BLOCK]> {
        Self::end(self.src, self.len)
    }

    /// The last [`BLOCK`] bytes of the destination; `None` if it has fewer.
    pub(crate) fn dst_end(&self) -> Option<[u8; BLOCK]> {
        Self::end(self.dst, self.len)
    }

    fn end(start: *const u8, len: usize) -> Option<[u8; BLOCK]> {
        let at = len.checked_sub(BLOCK)?;
        // SAFETY: By the type invariant `len` bytes are readable at either of the two that this is called
        // with: whoever may write them may read them, and they came from somebody.
        Some(unsafe { start.add(at).cast::<[u8; BLOCK]>().read() })
    }
}

/// A piece's bytes, while they have no place of their own. They are wiped when it goes.
struct Bounce([u8; TAIL_MAX]);

impl Drop for Bounce {
    fn drop(&mut self) {
        // SAFETY: The bytes are ours.
        unsafe { bindings::tresor_wipe(self.0.as_mut_ptr().cast(), self.0.len()) };
    }
}

/// A request, and how far it has come through its scatterlists.
pub(crate) struct Walk {
    request: Request,
    src: Cursor,
    dst: Cursor,
    left: usize,
    tail: usize,
}

impl Walk {
    /// At the request's first byte. Its last `tail` bytes are not to be cut: less than two blocks, with
    /// whole ones before them.
    pub(crate) fn new(request: Request, tail: usize) -> Self {
        // INVARIANT: The request is under way for as long as somebody has it.
        let [src, dst] = [request.src(), request.dst()].map(|sg| Cursor { sg, offset: 0 });
        Self {
            src,
            dst,
            left: request.len(),
            tail,
            request,
        }
    }

    /// The request.
    pub(crate) fn request(&self) -> &Request {
        &self.request
    }

    /// The request, with which the walk ends.
    pub(crate) fn into_request(self) -> Request {
        self.request
    }

    /// Bytes that are not done.
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// Calls `f` with the next piece, and moves on unless it fails: the same piece then comes again.
    ///
    /// `EINVAL` if a scatterlist is shorter than the request.
    pub(crate) fn step(&mut self, f: impl FnOnce(&Piece) -> Result) -> Result {
        let ((src, src_len), (dst, dst_len)) = (self.src.here()?, self.dst.here()?);
        let together = src_len.min(dst_len).min(SECTION_MAX);
        let before_tail = self.left.saturating_sub(self.tail);
        let len = if self.left <= together {
            self.left
        } else {
            before_tail.min(together) / BLOCK * BLOCK
        };
        if len != 0 {
            // INVARIANT: Neither entry ends before; the crypto API's users give lists that are the same or
            // do not overlap.
            f(&Piece {
                src: src.cast_const(),
                dst,
                len,
            })?;
            self.advance(len);
            return Ok(());
        }
        // What must stay together lies in several entries.
        let len = if before_tail == 0 { self.left } else { BLOCK };
        let mut bounce = Bounce([0; TAIL_MAX]);
        let bytes = bounce.0.get_mut(..len).ok_or(EINVAL)?;
        self.src.read(bytes)?;
        let at = bytes.as_mut_ptr();
        // INVARIANT: Both sides are `bytes`.
        f(&Piece {
            src: at.cast_const(),
            dst: at,
            len,
        })?;
        self.dst.write(bytes)?;
        self.advance(len);
        Ok(())
    }

    fn advance(&mut self, len: usize) {
        self.src.advance(len);
        self.dst.advance(len);
        self.left -= len;
    }
}
