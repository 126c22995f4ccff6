// SPDX-License-Identifier: GPL-2.0-or-later

//! The engine's own assembly, edited and assembled as the module has it.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use regcheck::{check, Report};

/// The files, in the order in which the module includes them.
/// Names without a folder are those of `aesni`.
pub const FILES: [&str; 21] = [
    "frame.S",
    "schedule.S",
    "groups.S",
    "request.S",
    "schedule192.S",
    "xts.S",
    "modes.S",
    "chain.S",
    "avx/schedule.S",
    "avx/frame.S",
    "avx/packed.S",
    "avx/single.S",
    "avx/modes.S",
    "avx/steal.S",
    "aesni_avx/xts.S",
    "aesni_avx/modes.S",
    "vaes_avx2/xts.S",
    "vaes_avx2/modes.S",
    "vaes_avx512/xts.S",
    "vaes_avx512/modes.S",
    "key.S",
];

/// The sources, each with its name.
pub fn sources() -> Vec<(&'static str, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kmod/cipher/src");
    let read = |name: &str| {
        let path = if name.contains('/') {
            folder.join(name)
        } else {
            folder.join("aesni").join(name)
        };
        fs::read_to_string(path).expect("the engine's assembly")
    };
    FILES.iter().map(|name| (*name, read(name))).collect()
}

/// Assembles for the kernel, with the C compiler that linking needs anyway.
pub fn assemble(sources: &[(&'static str, String)]) -> Result<Vec<u8>, String> {
    let folder = tempfile::tempdir().expect("a folder for the object");
    let object = folder.path().join("engine.o");
    let mut cc = Command::new("cc")
        .args(["-c", "-x", "assembler-with-cpp", "-o"])
        .arg(&object)
        .arg("-")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start cc, which assembles the engine: {error}"))?;
    let mut text = String::from(".set TRESOR_KERNEL, 1\n");
    for (_, source) in sources {
        text.push_str(source);
    }
    let mut stdin = cc.stdin.take().expect("a pipe");
    stdin
        .write_all(text.as_bytes())
        .expect("cc reads its input");
    drop(stdin);
    let output = cc.wait_with_output().expect("cc ends");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(fs::read(&object).expect("the object"))
}

/// The sources with one edit: the anchor must be there exactly once.
pub fn edited(
    file: &str,
    anchor: &str,
    replacement: &str,
) -> Result<Vec<(&'static str, String)>, String> {
    let mut sources = sources();
    let source = sources
        .iter_mut()
        .find(|(name, _)| *name == file)
        .ok_or_else(|| format!("there is no {file}"))?;
    let count = source.1.matches(anchor).count();
    if count != 1 {
        return Err(format!("{file} has {anchor:?} {count} times, not once"));
    }
    source.1 = source.1.replace(anchor, replacement);
    Ok(sources)
}

/// Assembles and checks.
pub fn verdict(sources: &[(&'static str, String)]) -> Result<Report, String> {
    check(&assemble(sources)?).map_err(|error| error.to_string())
}
