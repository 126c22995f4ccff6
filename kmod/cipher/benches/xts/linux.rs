// SPDX-License-Identifier: GPL-2.0-or-later

//! Linux's `aes_xts_*` of each vector width, assembled from a kernel tree and loaded into this process.

use crate::secrets::schedule;
use libloading::Library;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tresor_cipher::{Direction, Engine};

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
    /// Encryption and decryption, in the order of [`WIDTHS`].
    crypt: [(Crypt, Crypt); 3],
    _library: Library,
}

/// The variants that the source has, by the names that they have in common with ours.
pub const WIDTHS: [Engine; 3] = [Engine::AesniAvx, Engine::VaesAvx2, Engine::VaesAvx512];

/// Linux's name of a variant.
pub fn linux_name(width: Engine) -> &'static str {
    match width {
        Engine::Aesni | Engine::AesniAvx => "aesni_avx",
        Engine::VaesAvx2 => "vaes_avx2",
        Engine::VaesAvx512 => "vaes_avx512",
    }
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
            let crypt = |direction: &str, width| {
                let name = format!("aes_xts_{direction}crypt_{}", linux_name(width));
                library.get::<Crypt>(name.as_bytes()).map(|f| *f)
            };
            let both = |width| Ok((crypt("en", width)?, crypt("de", width)?));
            let [a, b, c] = WIDTHS.map(both);
            Ok(Self {
                encrypt_iv: *library.get(b"aes_xts_encrypt_iv").map_err(missing)?,
                crypt: [
                    a.map_err(missing)?,
                    b.map_err(missing)?,
                    c.map_err(missing)?,
                ],
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

    /// One request, as the kernel's glue code makes it, by the code of the same vector width as
    /// `width`, which this CPU supports.
    pub fn request(
        &self,
        width: Engine,
        direction: Direction,
        key: &Key,
        iv: &[u8; 16],
        dst: &mut [u8],
        src: &[u8],
    ) {
        assert_eq!(dst.len(), src.len());
        let mut tweak = *iv;
        let [avx, avx2, avx512] = self.crypt;
        let (encrypt, decrypt) = match width {
            Engine::Aesni | Engine::AesniAvx => avx,
            Engine::VaesAvx2 => avx2,
            Engine::VaesAvx512 => avx512,
        };
        let crypt = match direction {
            Direction::Encrypt => encrypt,
            Direction::Decrypt => decrypt,
        };
        // SAFETY: the keys are laid out as the code wants, both slices have the length given, and
        // the CPU supports what our own code of the width wants, which is the same.
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
