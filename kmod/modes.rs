// SPDX-License-Identifier: GPL-2.0-or-later

//! The algorithms: AES in several modes of operation, under a volume key that exists only in registers.
//!
//! What the caller sets as the key is the volume's blob, no secret (see `docs/architecture.md`).

use crate::{
    bindings,
    cipher::{Direction, Mode, VolumeKey},
    errno::no_key,
    progress::Progress,
    queue::{self, Context},
    sha256::KernelSha256,
    skcipher::{Properties, Registration, Request, Skcipher},
    store::{self, Volume},
    walk::BLOCK,
};
use core::marker::PhantomData;
use kernel::prelude::*;

/// A mode of operation as an algorithm of the crypto API.
pub(crate) trait Algorithm: Send + Sync {
    /// The mode.
    const MODE: Mode;
    /// What the crypto API wants to know of it.
    const PROPERTIES: Properties;
}

/// What most modes have in common.
const COMMON: Properties = Properties {
    name: c"",
    driver_name: c"",
    priority: 300,
    // Whoever asks for a synchronous algorithm keeps requests on the stack, where they cannot wait for a
    // key to come back.
    flags: bindings::CRYPTO_ALG_ASYNC,
    block_size: BLOCK as u32,
    chunk_size: BLOCK as u32,
    iv_size: BLOCK as u32,
    min_key_size: 16,
    max_key_size: 32,
};

/// XTS-AES (IEEE 1619-2018).
pub(crate) struct Xts;

impl Algorithm for Xts {
    const MODE: Mode = Mode::Xts;
    const PROPERTIES: Properties = Properties {
        name: c"xts(tresor)",
        driver_name: c"xts-tresor",
        min_key_size: 32,
        max_key_size: 64,
        ..COMMON
    };
}

/// CBC (NIST SP 800-38A, section 6.2).
pub(crate) struct Cbc;

impl Algorithm for Cbc {
    const MODE: Mode = Mode::Cbc;
    const PROPERTIES: Properties = Properties {
        name: c"cbc(tresor)",
        driver_name: c"cbc-tresor",
        ..COMMON
    };
}

/// CTR (NIST SP 800-38A, section 6.5) with a 128-bit big-endian counter.
pub(crate) struct Ctr;

impl Algorithm for Ctr {
    const MODE: Mode = Mode::Ctr;
    const PROPERTIES: Properties = Properties {
        name: c"ctr(tresor)",
        driver_name: c"ctr-tresor",
        block_size: 1,
        ..COMMON
    };
}

/// ECB (NIST SP 800-38A, section 6.1).
pub(crate) struct Ecb;

impl Algorithm for Ecb {
    const MODE: Mode = Mode::Ecb;
    const PROPERTIES: Properties = Properties {
        name: c"ecb(tresor)",
        driver_name: c"ecb-tresor",
        iv_size: 0,
        ..COMMON
    };
}

/// CBC whose IV is encrypted first, under a key of its own. The name is the one under which dm-crypt looks
/// for `tresor-cbc-essiv:sha256`; here nothing of a key is a hash of the other.
pub(crate) struct EssivCbc;

impl Algorithm for EssivCbc {
    const MODE: Mode = Mode::EssivCbc;
    const PROPERTIES: Properties = Properties {
        name: c"essiv(cbc(tresor),sha256)",
        driver_name: c"essiv-cbc-tresor-sha256",
        ..COMMON
    };
}

/// Context of a tfm: nothing in it is secret.
pub(crate) struct Tfm<A>(Option<Keyed>, PhantomData<A>);

struct Keyed {
    key: VolumeKey,
    _volume: Volume,
}

impl<A: Algorithm> Skcipher for Tfm<A> {
    const PROPERTIES: Properties = A::PROPERTIES;
    type RequestContext = Context;

    fn init() -> Self {
        Self(None, PhantomData)
    }

    /// `EINVAL` if the blob has another length than keys of the mode, `EPERM` without CAP_SYS_ADMIN,
    /// `ENOKEY` if no master key is loaded, or it is locked: then only a tfm that has a key of it already may
    /// be given another (as dm-crypt does to forget a volume's key, and to have it back).
    fn set_key(&mut self, blob: &[u8]) -> Result {
        // After an error there is none.
        let before = self.0.take();
        // SAFETY: Process context.
        if !unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as i32) } {
            return Err(EPERM);
        }
        let (check, volume) = store::open_volume(before.as_ref().map(|keyed| keyed.key.check()))?;
        let key = VolumeKey::new::<KernelSha256>(A::MODE, check, blob).map_err(|_| EINVAL)?;
        self.0 = Some(Keyed {
            key,
            _volume: volume,
        });
        Ok(())
    }

    fn encrypt(&self, request: Request) -> Result {
        self.process(Direction::Encrypt, request)
    }

    fn decrypt(&self, request: Request) -> Result {
        self.process(Direction::Decrypt, request)
    }
}

impl<A: Algorithm> Tfm<A> {
    fn process(&self, direction: Direction, request: Request) -> Result {
        let Some(Keyed { key, .. }) = &self.0 else {
            return Err(no_key());
        };
        let iv = request.iv::<Self, BLOCK>();
        let mut progress = Progress::new(A::MODE, direction, iv, request)?;
        match progress.run(key) {
            Err(error) if error == EAGAIN => Err(queue::wait(progress, key.clone())),
            result => result,
        }
    }
}

/// All algorithms, registered.
#[pin_data]
pub(crate) struct Algorithms {
    #[pin]
    xts: Registration<Tfm<Xts>>,
    #[pin]
    cbc: Registration<Tfm<Cbc>>,
    #[pin]
    ctr: Registration<Tfm<Ctr>>,
    #[pin]
    ecb: Registration<Tfm<Ecb>>,
    #[pin]
    essiv_cbc: Registration<Tfm<EssivCbc>>,
}

impl Algorithms {
    /// Registers all algorithms, or none.
    pub(crate) fn register(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            xts <- Registration::new(module),
            cbc <- Registration::new(module),
            ctr <- Registration::new(module),
            ecb <- Registration::new(module),
            essiv_cbc <- Registration::new(module),
        })
    }
}
