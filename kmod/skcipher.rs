// SPDX-License-Identifier: GPL-2.0-or-later

//! Symmetric key ciphers of the crypto API.
//!
//! An algorithm is a type that implements [`Skcipher`]; [`Registration`] offers it to the rest of
//! the kernel for as long as it lives.
//!
//! ```ignore
//! struct Rot13;
//!
//! impl Skcipher for Rot13 {
//!     const PROPERTIES: Properties = Properties { name: c"rot13", .. };
//!     type RequestContext = ();
//!     fn init() -> Self { Self }
//!     fn set_key(&mut self, _key: &[u8]) -> Result { Ok(()) }
//!     fn encrypt(&self, request: Request) -> Result {
//!         let mut walk = Walk::new(request, 0);
//!         while walk.left() != 0 {
//!             walk.step(|piece| { .. })?;
//!         }
//!         Ok(())
//!     }
//!     fn decrypt(&self, request: Request) -> Result { self.encrypt(request) }
//! }
//! ```
//!
//! C header: `include/crypto/internal/skcipher.h`

use crate::bindings;
use core::{
    cell::UnsafeCell,
    ffi::{c_int, c_uint},
    marker::PhantomData,
    mem::{align_of, size_of},
};
use kernel::{
    bindings::scatterlist,
    error::to_result,
    prelude::*,
    time::{delay::fsleep, Delta},
};

/// Alignment of the contexts of tfms and requests, `CRYPTO_MINALIGN` on x86.
const CONTEXT_ALIGN: usize = 8;

/// What the crypto API wants to know of an algorithm.
#[derive(Clone, Copy)]
pub(crate) struct Properties {
    /// Name of the algorithm, such as `xts(aes)`.
    pub(crate) name: &'static CStr,
    /// Name of this implementation.
    pub(crate) driver_name: &'static CStr,
    /// Preference among implementations of one algorithm.
    pub(crate) priority: i32,
    /// `CRYPTO_ALG_` flags.
    pub(crate) flags: u32,
    /// Bytes in a block, 1 for a stream cipher.
    pub(crate) block_size: u32,
    /// Bytes of which every request that others shall continue is a multiple: those in a block of the
    /// cipher underneath.
    pub(crate) chunk_size: u32,
    /// Bytes in an IV, 0 if there is none.
    pub(crate) iv_size: u32,
    /// Bytes in the shortest key.
    pub(crate) min_key_size: u32,
    /// Bytes in the longest key.
    pub(crate) max_key_size: u32,
}

/// A symmetric key cipher. A value of the type is the context of one tfm.
pub(crate) trait Skcipher: Sized + Send + Sync {
    /// Name, sizes and flags.
    const PROPERTIES: Properties;

    /// What the algorithm keeps in the memory that comes with a request, in which nothing may have to be
    /// dropped.
    type RequestContext;

    /// Makes the context of a new tfm, which has no key yet.
    fn init() -> Self;

    /// Sets the key. The crypto API guarantees that no request of the tfm is under way. After an
    /// error the crypto API refuses requests until a key was set.
    fn set_key(&mut self, key: &[u8]) -> Result;

    /// Encrypts one request. Runs in process or softirq context, concurrently with itself. After
    /// `EINPROGRESS` the request is under way until [`Request::complete`], by whoever has it.
    fn encrypt(&self, request: Request) -> Result;

    /// Decrypts one request. Context as of [`Skcipher::encrypt`].
    fn decrypt(&self, request: Request) -> Result;
}

/// A request under way.
///
/// # Invariants
///
/// `0` points to a `struct skcipher_request` that the crypto API handed to the algorithm, which has
/// not completed it yet.
pub(crate) struct Request(*mut bindings::skcipher_request);

impl Request {
    /// Number of bytes to process.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: By the type invariant.
        unsafe { (*self.0).cryptlen as usize }
    }

    /// Whether whoever asked may be made to sleep.
    pub(crate) fn may_sleep(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { (*self.0).base.flags & bindings::CRYPTO_TFM_REQ_MAY_SLEEP != 0 }
    }

    /// The IV; zeros if the algorithm has none.
    pub(crate) fn iv<T: Skcipher, const N: usize>(&self) -> [u8; N] {
        match Self::iv_size::<T, N>() {
            0 => [0; N],
            // SAFETY: By the type invariant; callers give an IV of the algorithm's IV size.
            _ => unsafe { (*self.0).iv.cast::<[u8; N]>().read() },
        }
    }

    /// Leaves the IV under which a next request goes on with the message. The algorithm must have one of as
    /// many bytes.
    pub(crate) fn set_iv<const N: usize>(&self, iv: [u8; N]) {
        // SAFETY: As above, and the crypto API's users expect it to be overwritten.
        unsafe { (*self.0).iv.cast::<[u8; N]>().write(iv) };
    }

    /// The memory for the algorithm's [`Skcipher::RequestContext`], not initialised.
    pub(crate) fn context(&self) -> *mut c_void {
        // SAFETY: By the type invariant.
        unsafe { bindings::tresor_skcipher_request_ctx(self.0) }
    }

    /// Whether a task sleeps until the request is complete.
    pub(crate) fn is_waited_for(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::tresor_skcipher_is_waited_for(self.0) }
    }

    /// Ends a request of which `EINPROGRESS` was said.
    pub(crate) fn complete(self, result: Result) {
        // SAFETY: By the type invariant, and nobody has the request any more: it was moved here.
        unsafe { bindings::tresor_skcipher_complete(self.0, errno(result)) };
    }

    fn iv_size<T: Skcipher, const N: usize>() -> usize {
        const {
            let size = T::PROPERTIES.iv_size as usize;
            assert!(size == 0 || size == N);
            size
        }
    }

    /// The source, valid while the request is under way.
    pub(crate) fn src(&self) -> *mut scatterlist {
        // SAFETY: By the type invariant.
        unsafe { (*self.0).src }
    }

    /// The destination, valid while the request is under way; the source, or apart from it.
    pub(crate) fn dst(&self) -> *mut scatterlist {
        // SAFETY: By the type invariant.
        unsafe { (*self.0).dst }
    }
}

/// A registered algorithm. Dropping it takes it back.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<T: Skcipher> {
    #[pin]
    alg: kernel::types::Opaque<bindings::skcipher_alg>,
    _algorithm: PhantomData<T>,
}

// SAFETY: The crypto API has its own locks; the registration has no methods.
unsafe impl<T: Skcipher> Send for Registration<T> {}
// SAFETY: As above.
unsafe impl<T: Skcipher> Sync for Registration<T> {}

impl<T: Skcipher> Registration<T> {
    /// Registers the algorithm. The crypto API takes a reference to `module` for every tfm.
    pub(crate) fn new(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        const { assert!(align_of::<T>() <= CONTEXT_ALIGN) };
        const { assert!(align_of::<T::RequestContext>() <= CONTEXT_ALIGN) };
        try_pin_init!(Self {
            alg <- kernel::types::Opaque::try_ffi_init(move |slot: *mut bindings::skcipher_alg| {
                // SAFETY: `slot` is valid for writes.
                unsafe { slot.write(Self::describe(module)) };
                // SAFETY: The description is complete, and pinned until it is taken back.
                to_result(unsafe { bindings::crypto_register_skcipher(slot) }).map_err(|error| {
                    let name = T::PROPERTIES.driver_name;
                    pr_err!("refusing to load: {name:?} cannot be registered: {error:?}\n");
                    // A module that cannot be loaded for this means to the kernel that it is loaded.
                    if error == EEXIST { EBUSY } else { error }
                })
            }),
            _algorithm: PhantomData,
        })
    }

    fn describe(module: &'static ThisModule) -> bindings::skcipher_alg {
        let properties = T::PROPERTIES;
        let mut base = bindings::crypto_alg {
            cra_flags: properties.flags,
            cra_blocksize: properties.block_size,
            cra_ctxsize: size_of::<T>() as c_uint,
            cra_priority: properties.priority,
            cra_module: module.as_ptr(),
            ..Default::default()
        };
        copy_name(&mut base.cra_name, properties.name);
        copy_name(&mut base.cra_driver_name, properties.driver_name);
        let mut alg = bindings::skcipher_alg {
            setkey: Some(Self::set_key),
            encrypt: Some(Self::encrypt),
            decrypt: Some(Self::decrypt),
            init: Some(Self::init),
            exit: Some(Self::exit),
            ..Default::default()
        };
        // SAFETY: The named fields and `co` are the same bytes: a union of two names for one
        // structure. `base` is moved in, no destructor is skipped.
        let common = unsafe { alg.__bindgen_anon_1.co.as_mut() };
        common.min_keysize = properties.min_key_size;
        common.max_keysize = properties.max_key_size;
        common.ivsize = properties.iv_size;
        common.chunksize = properties.chunk_size;
        common.base = base;
        alg
    }

    /// The context of a tfm.
    ///
    /// # Safety
    ///
    /// `tfm` must be a tfm of this algorithm, its context initialised.
    unsafe fn context<'a>(tfm: *mut bindings::crypto_skcipher) -> &'a UnsafeCell<T> {
        // SAFETY: By this function's own contract; the context has T's size and alignment.
        unsafe { &*bindings::tresor_skcipher_ctx(tfm).cast() }
    }

    unsafe extern "C" fn init(tfm: *mut bindings::crypto_skcipher) -> c_int {
        // SAFETY: The context is uninitialised memory of T's size and alignment.
        unsafe {
            bindings::tresor_skcipher_ctx(tfm)
                .cast::<T>()
                .write(T::init());
            bindings::tresor_skcipher_set_reqsize(tfm, size_of::<T::RequestContext>() as c_uint);
        };
        0
    }

    unsafe extern "C" fn exit(tfm: *mut bindings::crypto_skcipher) {
        // SAFETY: The context was initialised in `init()`, and nobody uses the tfm any more.
        unsafe {
            bindings::tresor_skcipher_ctx(tfm)
                .cast::<T>()
                .drop_in_place()
        };
    }

    unsafe extern "C" fn set_key(
        tfm: *mut bindings::crypto_skcipher,
        key: *const u8,
        len: c_uint,
    ) -> c_int {
        // SAFETY: The crypto API gives a key of `len` bytes.
        let key = unsafe { core::slice::from_raw_parts(key, len as usize) };
        // SAFETY: The tfm is of this algorithm. The crypto API's users set keys only while no
        // request of the tfm is under way, so the reference is exclusive.
        let context = unsafe { &mut *Self::context(tfm).get() };
        errno(context.set_key(key))
    }

    unsafe extern "C" fn encrypt(req: *mut bindings::skcipher_request) -> c_int {
        // SAFETY: The crypto API hands over a request of a tfm of this algorithm.
        unsafe { Self::process(req, T::encrypt) }
    }

    unsafe extern "C" fn decrypt(req: *mut bindings::skcipher_request) -> c_int {
        // SAFETY: As for `encrypt()`.
        unsafe { Self::process(req, T::decrypt) }
    }

    /// # Safety
    ///
    /// `req` must be a request of a tfm of this algorithm, handed over by the crypto API.
    unsafe fn process(
        req: *mut bindings::skcipher_request,
        f: impl Fn(&T, Request) -> Result,
    ) -> c_int {
        // SAFETY: By this function's own contract. The context is only read while requests are
        // under way.
        let context = unsafe { &*Self::context(bindings::tresor_skcipher_reqtfm(req)).get() };
        // INVARIANT: By this function's own contract.
        errno(f(context, Request(req)))
    }
}

#[pinned_drop]
impl<T: Skcipher> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // The crypto API looks for a test in a thread of its own, which has the algorithm for a while. A
        // module that goes has waited for it; one whose load fails at the next algorithm has not.
        // SAFETY: Registered in `new()`.
        while unsafe { bindings::tresor_skcipher_alg_users(self.alg.get()) } > 1 {
            fsleep(Delta::from_millis(1));
        }
        // SAFETY: As above. Every tfm holds a reference to the algorithm, so none is left.
        unsafe { bindings::crypto_unregister_skcipher(self.alg.get()) };
    }
}

fn errno(result: Result) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

fn copy_name(to: &mut [kernel::ffi::c_char], name: &CStr) {
    for (to, from) in to.iter_mut().zip(name.to_bytes_with_nul()) {
        *to = *from as kernel::ffi::c_char;
    }
}
