// SPDX-License-Identifier: GPL-2.0-or-later

//! A request on its way through the engine, section by section.

use crate::{
    bindings,
    cipher::{self, Direction, Mode, VolumeKey},
    engine, percpu,
    section::Section,
    skcipher::Request,
    store,
    walk::{Piece, Walk, BLOCK},
};
use kernel::prelude::*;

/// A request, and all that it takes to go on at its first section that is not done. Nothing in it is
/// secret: a running tweak or counter is computed again from `iv` and `block` in each section.
pub(crate) struct Progress {
    mode: Mode,
    direction: Direction,
    /// CBC: the last ciphertext block so far. Otherwise, and before there is one, the request's IV.
    iv: [u8; BLOCK],
    /// Blocks that are done.
    block: u64,
    walk: Walk,
}

impl Progress {
    /// Nothing is done yet. `EINVAL` if the mode takes no request of this length.
    pub(crate) fn new(
        mode: Mode,
        direction: Direction,
        iv: [u8; BLOCK],
        request: Request,
    ) -> Result<Self> {
        let tail = tail(mode, request.len())?;
        Ok(Self {
            mode,
            direction,
            iv,
            block: 0,
            walk: Walk::new(request, tail),
        })
    }

    /// The request.
    pub(crate) fn request(&self) -> &Request {
        self.walk.request()
    }

    /// Ends a request that had to wait, and tells whoever made it.
    pub(crate) fn complete(self, result: Result) {
        self.walk.into_request().complete(result);
    }

    /// Does section after section until the request is done, and leaves the IV for the next one. After an
    /// error it stands at the section that was not. `EAGAIN`: this CPU cannot do it, another one may.
    pub(crate) fn run(&mut self, key: &VolumeKey) -> Result {
        loop {
            if self.walk.left() == 0 {
                if let Some(iv) = self.next_iv() {
                    self.request().set_iv(iv);
                }
                return Ok(());
            }
            self.section(key)?;
            if self.request().may_sleep() {
                // SAFETY: Whoever asked may be made to sleep, and no section is open.
                unsafe { bindings::tresor_cond_resched() };
            }
        }
    }

    /// Does the next section: at most [`cipher::SECTION_MAX`] bytes with interrupts off.
    fn section(&mut self, key: &VolumeKey) -> Result {
        let Self {
            mode,
            direction,
            iv,
            block,
            walk,
        } = self;
        let chained = matches!(mode, Mode::Cbc | Mode::EssivCbc);
        walk.step(|piece| {
            // In place it is gone afterwards.
            let before = match direction {
                Direction::Decrypt if chained => piece.src_end(),
                _ => None,
            };
            crypt(*direction, key, iv, *block, piece)?;
            let ciphertext = match direction {
                Direction::Encrypt if chained => piece.dst_end(),
                _ => before,
            };
            if let Some(last) = ciphertext {
                *iv = last;
            }
            *block += piece.len().div_ceil(BLOCK) as u64;
            Ok(())
        })
    }

    /// The IV under which another request goes on with the message, once this one is done; `None` in modes
    /// in which none can.
    fn next_iv(&self) -> Option<[u8; BLOCK]> {
        match self.mode {
            Mode::Cbc | Mode::EssivCbc => Some(self.iv),
            Mode::Ctr => {
                let counter = u128::from_be_bytes(self.iv);
                Some(counter.wrapping_add(self.block.into()).to_be_bytes())
            }
            Mode::None | Mode::Xts | Mode::Ecb => None,
        }
    }
}

/// How many bytes at the end of a request of `len` bytes one section has to take: the rest that is no
/// block, and with ciphertext stealing the block before it. `EINVAL` if the mode takes no such request.
fn tail(mode: Mode, len: usize) -> Result<usize> {
    match (mode, len % BLOCK) {
        (Mode::Xts, _) if len < BLOCK => Err(EINVAL),
        (_, 0) => Ok(0),
        (Mode::Xts, rest) => Ok(BLOCK + rest),
        (Mode::Ctr, rest) => Ok(rest),
        _ => Err(EINVAL),
    }
}

/// Has the engine work on a piece, in a section of its own. `EAGAIN` if this CPU lacks the key, or cannot
/// use its vector registers now: nothing was written.
fn crypt(
    direction: Direction,
    key: &VolumeKey,
    iv: &[u8; BLOCK],
    block: u64,
    piece: &Piece,
) -> Result {
    let section = Section::enter()?;
    let slot = percpu::slots().get(section.cpu()).ok_or(EINVAL)?;
    // SAFETY: The CPU supports the chosen engine. In a section of the CPU that owns `slot`; the piece is
    // valid for its length.
    let result = unsafe {
        cipher::crypt(
            engine::chosen(),
            direction,
            &slot.share,
            key,
            iv,
            block,
            piece.dst(),
            piece.src(),
            piece.len(),
        )
    };
    result.map_err(|_| {
        // Only if the volume's key is the one that is held does this say anything about the CPU.
        if store::is_held(key.check()) {
            store::note_loss(slot);
        }
        EAGAIN
    })
}
