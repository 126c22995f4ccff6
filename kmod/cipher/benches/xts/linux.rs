// SPDX-License-Identifier: GPL-2.0-or-later

//! Linux's `aes_xts_*_aesni_avx`, assembled from a kernel tree and loaded into this process.

use crate::secrets::schedule;
use libloading::Library;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tresor_cipher::Direction;

/// In the kernel tree.
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
    fn new(key: &[u8]) -> Self {
        let mut keys = schedule(key);
        let mut ctx = Self {
            enc: [0; 240],
            dec: [0; 240],
            length: key.len() as u32,
        };
        ctx.enc[..16 * keys.len()].copy_from_slice(&keys.concat());
        keys.reverse();
        let last = keys.len() - 1;
        for key in &mut keys[1..last] {
            let mut inverse = aes::Block::from(*key);
            aes::hazmat::inv_mix_columns(&mut inverse);
            *key = inverse.into();
        }
        ctx.dec[..16 * keys.len()].copy_from_slice(&keys.concat());
        ctx
    }
}

/// Both keys of XTS.
pub struct Key {
    data: AesCtx,
    tweak: AesCtx,
}

type EncryptIv = unsafe extern "C" fn(*const AesCtx, *mut [u8; 16]);
type Crypt = unsafe extern "C" fn(*const AesCtx, *const u8, *mut u8, i32, *mut [u8; 16]);

/// The loaded code.
pub struct Linux {
    encrypt_iv: EncryptIv,
    encrypt: Crypt,
    decrypt: Crypt,
    _library: Library,
}

/// The tree that `scripts/setup` has unpacked, if it ran.
fn set_up_tree() -> Option<OsString> {
    let cache = env::var_os("TRESOR_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&env::var_os("XDG_CACHE_HOME")?).join("tresor")))
        .or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cache/tresor")))?;
    let suite = env::var_os("TRESOR_SUITE").unwrap_or_else(|| "trixie".into());
    let facts = fs::read_to_string(cache.join(suite).join("env")).ok()?;
    let tree = facts
        .lines()
        .find_map(|line| line.strip_prefix("LINUX_SOURCE="))?;
    Some(tree.into())
}

impl Linux {
    /// Assembles and loads it, or says why not.
    pub fn assemble() -> Result<Self, String> {
        if !is_x86_feature_detected!("avx") || !is_x86_feature_detected!("aes") {
            return Err("this CPU lacks AVX or AES-NI".into());
        }
        let tree = env::var_os("TRESOR_LINUX_SOURCE")
            .or_else(set_up_tree)
            .ok_or("run scripts/setup, or set TRESOR_LINUX_SOURCE to an unpacked kernel tree")?;
        let source = Path::new(&tree).join(SOURCE);
        if !source.is_file() {
            return Err(format!("{} does not exist", source.display()));
        }
        let object = build(&source)?;
        // SAFETY: the object was just built from the kernel's source and has no initialisers; the
        // types are the prototypes that the source gives for these symbols.
        unsafe {
            let library = Library::new(&object).map_err(|e| e.to_string())?;
            let missing = |e: libloading::Error| e.to_string();
            Ok(Self {
                encrypt_iv: *library.get(b"aes_xts_encrypt_iv\0").map_err(missing)?,
                encrypt: *library
                    .get(b"aes_xts_encrypt_aesni_avx\0")
                    .map_err(missing)?,
                decrypt: *library
                    .get(b"aes_xts_decrypt_aesni_avx\0")
                    .map_err(missing)?,
                _library: library,
            })
        }
    }

    /// Expands K1 || K2, as the kernel does once, when a volume is opened.
    pub fn key(&self, key: &[u8]) -> Key {
        let (data, tweak) = key.split_at(key.len() / 2);
        Key {
            data: AesCtx::new(data),
            tweak: AesCtx::new(tweak),
        }
    }

    /// One request, as the kernel's glue code makes it.
    pub fn request(
        &self,
        direction: Direction,
        key: &Key,
        iv: &[u8; 16],
        dst: &mut [u8],
        src: &[u8],
    ) {
        assert_eq!(dst.len(), src.len());
        let mut tweak = *iv;
        let crypt = match direction {
            Direction::Encrypt => self.encrypt,
            Direction::Decrypt => self.decrypt,
        };
        // SAFETY: the keys are laid out as the code wants, both slices have the length given, and
        // `assemble` has checked the CPU.
        unsafe {
            (self.encrypt_iv)(&key.tweak, &mut tweak);
            crypt(
                &key.data,
                src.as_ptr(),
                dst.as_mut_ptr(),
                src.len() as i32,
                &mut tweak,
            );
        }
    }
}

/// Compiles `source` into a shared object beside the benchmark's own binary, under `target/`.
fn build(source: &Path) -> Result<PathBuf, String> {
    let binary = env::current_exe().map_err(|e| e.to_string())?;
    let folder = binary.with_extension("linux");
    let include = folder.join("include/linux");
    let write = |name: &str, text: &str| {
        fs::write(include.join(name), text).map_err(|e| format!("{name}: {e}"))
    };
    fs::create_dir_all(&include).map_err(|e| format!("{}: {e}", include.display()))?;
    write("linkage.h", LINKAGE_H)?;
    write("cfi_types.h", "")?;
    let object = folder.join("aes-xts-avx.so");
    let output = Command::new("cc")
        .args([
            "-shared",
            "-nostdlib",
            "-fPIC",
            "-D__ASSEMBLY__",
            "-D__ASSEMBLER__",
            "-I",
        ])
        .arg(folder.join("include"))
        .arg(source)
        .arg("-o")
        .arg(&object)
        .output()
        .map_err(|e| format!("cc: {e}"))?;
    if !output.status.success() {
        return Err(format!(
            "cc failed: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    Ok(object)
}
