// SPDX-License-Identifier: GPL-2.0-or-later

//! OpenSSL's XTS: the libcrypto that is installed, loaded when the benchmark runs, so that nobody
//! needs its headers to build this.

use std::ffi::{c_char, c_int, c_void, CStr};
use std::ptr::{null, null_mut};
use std::rc::Rc;

use anyhow::{bail, ensure, Context, Result};
use libloading::Library;
use tresor_cipher::Direction;

use super::codes::Code;

/// File names under which distributions have it, newest first.
const NAMES: [&str; 3] = ["libcrypto.so.4", "libcrypto.so.3", "libcrypto.so.1.1"];

type Version = unsafe extern "C" fn(c_int) -> *const c_char;
type Cipher = unsafe extern "C" fn() -> *const c_void;
type NewContext = unsafe extern "C" fn() -> *mut c_void;
type FreeContext = unsafe extern "C" fn(*mut c_void);
type Init = unsafe extern "C" fn(
    *mut c_void,
    *const c_void,
    *mut c_void,
    *const u8,
    *const u8,
    c_int,
) -> c_int;
type Update = unsafe extern "C" fn(*mut c_void, *mut u8, *mut c_int, *const u8, c_int) -> c_int;

/// The loaded library.
pub(crate) struct OpenSsl {
    library: Rc<Library>,
    /// What it calls itself.
    pub(crate) version: String,
}

impl OpenSsl {
    /// Loads it.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn load() -> Result<Self> {
        for name in NAMES {
            // SAFETY: the system's own library, whose initialisers are meant to be run so.
            let Ok(library) = (unsafe { Library::new(name) }) else {
                continue;
            };
            // SAFETY: the prototype of crypto.h; 0 is OPENSSL_VERSION, whose answer is static.
            let version = unsafe {
                let version = library.get::<Version>(b"OpenSSL_version")?;
                CStr::from_ptr(version(0)).to_string_lossy().into_owned()
            };
            return Ok(Self {
                library: Rc::new(library),
                version,
            });
        }
        bail!("none of {} is installed", NAMES.join(", "))
    }

    /// Its XTS under K1 || K2, of 32 or 64 bytes.
    ///
    /// # Errors
    /// If the library refuses.
    pub(crate) fn code(&self, direction: Direction, key: &[u8]) -> Result<Box<dyn Code>> {
        let cipher = match key.len() {
            32 => "EVP_aes_128_xts",
            _ => "EVP_aes_256_xts",
        };
        let encrypt = c_int::from(direction == Direction::Encrypt);
        let library = &self.library;
        // SAFETY: the prototypes of evp.h.
        let (cipher, new, free, init, update) = unsafe {
            (
                *library.get::<Cipher>(cipher.as_bytes())?,
                *library.get::<NewContext>(b"EVP_CIPHER_CTX_new")?,
                *library.get::<FreeContext>(b"EVP_CIPHER_CTX_free")?,
                *library.get::<Init>(b"EVP_CipherInit_ex")?,
                *library.get::<Update>(b"EVP_CipherUpdate")?,
            )
        };
        // SAFETY: as evp.h has it.
        let context = unsafe { new() };
        ensure!(!context.is_null(), "OpenSSL has no memory");
        let code = OpenSslCode {
            context,
            init,
            update,
            free,
            _library: library.clone(),
        };
        // SAFETY: the context is alive, and the key as long as the cipher wants.
        let done = unsafe { init(context, cipher(), null_mut(), key.as_ptr(), null(), encrypt) };
        (done == 1)
            .then_some(())
            .context("OpenSSL refuses the key")?;
        Ok(Box::new(code))
    }
}

struct OpenSslCode {
    context: *mut c_void,
    init: Init,
    update: Update,
    free: FreeContext,
    _library: Rc<Library>,
}

impl Code for OpenSslCode {
    /// The IV, then all data in one call, as its interface wants it for XTS.
    fn request(&mut self, iv: &[u8; 16], dst: &mut [u8], src: &[u8]) {
        assert_eq!(dst.len(), src.len());
        let mut written = 0;
        // SAFETY: the context is alive and has its key; -1 leaves the direction as it is; both
        // slices have the length given, and XTS writes no more than it reads.
        let done = unsafe {
            (self.init)(self.context, null(), null_mut(), null(), iv.as_ptr(), -1) == 1
                && (self.update)(
                    self.context,
                    dst.as_mut_ptr(),
                    &mut written,
                    src.as_ptr(),
                    src.len() as c_int,
                ) == 1
        };
        assert!(done && written as usize == src.len(), "OpenSSL failed");
    }
}

impl Drop for OpenSslCode {
    fn drop(&mut self) {
        // SAFETY: the context is this one's own, and nobody uses it any more.
        unsafe { (self.free)(self.context) }
    }
}
