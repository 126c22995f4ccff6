// SPDX-License-Identifier: GPL-2.0-or-later

//! The engine's own assembly, edited and assembled as the module has it.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use regcheck::{check, check_those, Report};

/// The sources in the order in which the module includes them, each with its name; names without a folder
/// are those of `aesni`.
pub fn sources() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kmod/cipher/src");
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("the engine's sources");
    let list = read("asm.rs");
    let names = list.lines().filter_map(|line| {
        let name = line.trim().strip_prefix("include_str!(\"")?;
        name.strip_suffix("\"),")
    });
    let file = |name: &str| {
        let short = name.strip_prefix("aesni/").unwrap_or(name);
        (short.to_owned(), read(name))
    };
    let files: Vec<_> = names.map(file).collect();
    assert!(files.len() > 10, "asm.rs includes {} files", files.len());
    files
}

/// Assembles for the kernel, with the C compiler that linking needs anyway.
pub fn assemble(sources: &[(String, String)]) -> Result<Vec<u8>, String> {
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
) -> Result<Vec<(String, String)>, String> {
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
pub fn verdict(sources: &[(String, String)]) -> Result<Report, String> {
    check(&assemble(sources)?).map_err(|error| error.to_string())
}

/// Assembles, and checks one routine and what is around it.
pub fn verdict_on(sources: &[(String, String)], routine: &str) -> Result<Report, String> {
    let object = assemble(sources)?;
    check_those(&object, |name| name == routine).map_err(|error| error.to_string())
}
