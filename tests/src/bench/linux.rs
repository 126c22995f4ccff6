// SPDX-License-Identifier: GPL-2.0-or-later

//! Linux's `aes_xts_*` of each vector width, assembled from the kernel's source and loaded into this
//! process. That source is no part of this repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use anyhow::{ensure, Context, Result};
use keyscan::aes::Schedule;
use libloading::Library;
use tresor_cipher::{Direction, Engine};
use tresor_qemu::target_dir;

use super::codes::Code;

/// In the kernel's source.
const SOURCE: &str = "arch/x86/crypto/aes-xts-avx-x86_64.S";

/// What the source includes, as far as it uses it: symbols that are functions, and a return.
const LINKAGE_H: &str = "\
#define SYM_FUNC_START(name) .balign 16; .globl name; .type name, @function; name:
#define SYM_TYPED_FUNC_START(name) SYM_FUNC_START(name)
#define SYM_FUNC_END(name) .size name, . - name
#define RET ret
.section .note.GNU-stack, \"\", @progbits
.text
";

/// An expanded key, laid out as `struct crypto_aes_ctx` (include/crypto/aes.h): encryption and
/// decryption round keys, length in bytes.
#[repr(C, align(16))]
struct AesCtx {
    enc: [u8; 240],
    dec: [u8; 240],
    length: u32,
}

impl AesCtx {
    fn new(key: &[u8]) -> Result<Self> {
        let schedule = Schedule::expand(key).context("no AES key")?;
        let inverse = schedule.equivalent_inverse();
        let mut ctx = Self {
            enc: [0; 240],
            dec: [0; 240],
            length: key.len() as u32,
        };
        ctx.enc[..schedule.as_bytes().len()].copy_from_slice(schedule.as_bytes());
        // In the order in which decryption takes them.
        let last_first = inverse.as_bytes().rchunks_exact(16);
        for (to, from) in ctx.dec.chunks_exact_mut(16).zip(last_first) {
            to.copy_from_slice(from);
        }
        Ok(ctx)
    }
}

type EncryptIv = unsafe extern "C" fn(*const AesCtx, *mut [u8; 16]);
type Crypt = unsafe extern "C" fn(*const AesCtx, *const u8, *mut u8, i32, *mut [u8; 16]);

/// The loaded code.
pub(crate) struct Linux(Rc<Library>);

/// The variants that the source has, by the names that they have in common with ours.
pub(crate) const WIDTHS: [Engine; 3] = [Engine::AesniAvx, Engine::VaesAvx2, Engine::VaesAvx512];

impl Linux {
    /// Assembles the code of this kernel tree, and loads it.
    ///
    /// # Errors
    /// If the tree has no such file, or the C compiler does not take it.
    pub(crate) fn assemble(tree: &Path) -> Result<Self> {
        let source = tree.join(SOURCE);
        ensure!(
            source.is_file(),
            "{} does not exist: run scripts/setup",
            source.display()
        );
        let object = build(&source)?;
        // SAFETY: the object was just built from the kernel's source, and has no initialisers.
        let library = unsafe { Library::new(&object) };
        Ok(Self(Rc::new(library.context("cannot load Linux's code")?)))
    }

    /// The code of this width under K1 || K2. The CPU supports what our own variant of that name
    /// wants.
    ///
    /// # Errors
    /// If the source has no such code.
    pub(crate) fn code(
        &self,
        width: Engine,
        direction: Direction,
        key: &[u8],
    ) -> Result<Box<dyn Code>> {
        let name = match direction {
            Direction::Encrypt => format!("aes_xts_encrypt_{}", width.name()),
            Direction::Decrypt => format!("aes_xts_decrypt_{}", width.name()),
        };
        // SAFETY: the types are the prototypes that the source gives for these symbols.
        let (encrypt_iv, crypt) = unsafe {
            (
                *self.0.get::<EncryptIv>(b"aes_xts_encrypt_iv")?,
                *self.0.get::<Crypt>(name.as_bytes())?,
            )
        };
        let (data, tweak) = key.split_at(key.len() / 2);
        Ok(Box::new(LinuxCode {
            encrypt_iv,
            crypt,
            data: AesCtx::new(data)?,
            tweak: AesCtx::new(tweak)?,
            _library: self.0.clone(),
        }))
    }
}

struct LinuxCode {
    encrypt_iv: EncryptIv,
    crypt: Crypt,
    data: AesCtx,
    tweak: AesCtx,
    _library: Rc<Library>,
}

impl Code for LinuxCode {
    /// As the kernel's glue code does it for data that lie in one piece.
    fn request(&mut self, iv: &[u8; 16], dst: &mut [u8], src: &[u8]) {
        assert_eq!(dst.len(), src.len());
        let mut tweak = *iv;
        // SAFETY: the keys are laid out as the code wants, both slices have the length given, and
        // the CPU supports the code, as promised to `Linux::code`.
        unsafe {
            (self.encrypt_iv)(&self.tweak, &mut tweak);
            (self.crypt)(
                &self.data,
                src.as_ptr(),
                dst.as_mut_ptr(),
                src.len() as i32,
                &mut tweak,
            );
        }
    }
}

/// Compiles `source` into a shared object under `target/`.
fn build(source: &Path) -> Result<PathBuf> {
    let folder = target_dir().join("bench/linux");
    let include = folder.join("include/linux");
    fs::create_dir_all(&include).with_context(|| format!("cannot make {}", include.display()))?;
    for (name, text) in [("linkage.h", LINKAGE_H), ("cfi_types.h", "")] {
        let path = include.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let object = folder.join("aes-xts-avx.so");
    let output = Command::new("cc")
        .args(["-shared", "-nostdlib", "-fPIC"])
        .args(["-D__ASSEMBLY__", "-D__ASSEMBLER__", "-I"])
        .arg(folder.join("include"))
        .arg(source)
        .arg("-o")
        .arg(&object)
        .output()
        .context("cannot start cc")?;
    ensure!(
        output.status.success(),
        "cc does not take {}: {}",
        source.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(object)
}
