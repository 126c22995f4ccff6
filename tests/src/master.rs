// SPDX-License-Identifier: GPL-2.0-or-later

//! The master key: loaded in the guest by `tresorctl`, and derived a second time on the host.

use anyhow::{ensure, Context, Result};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::Deserialize;
use tresor_qemu::{Output, Prompt, Vm};

use crate::reference::MASTER;

/// Where the guest keeps the key description file.
pub const DESCRIPTION: &str = "/etc/tresor/key.toml";

/// What `tresorctl load` asks for a key that has a description.
pub const QUESTION: &str = "Passphrase: ";
/// What it asks for a new key.
const NEW: [&str; 2] = ["New passphrase: ", "Repeat passphrase: "];

/// What `tresorctl status --json` says, as far as it matters here.
#[derive(Debug, Deserialize)]
pub struct Status {
    /// Key id of the loaded key, if one is loaded.
    pub key_id: Option<String>,
    /// Its whole check value in hex.
    pub check: Option<String>,
    /// CPUs that hold the key.
    pub cpus_armed: u32,
    /// CPUs online.
    pub cpus_online: u32,
}

/// Asks the guest's `tresorctl` for the state.
///
/// # Errors
/// If it fails, or its answer is not understood.
pub fn status(vm: &mut Vm) -> Result<Status> {
    let text = vm.check("tresorctl status --json")?;
    serde_json::from_str(&text).with_context(|| format!("tresorctl status said {text}"))
}

/// Types a new passphrase, twice, and returns the key description file that came of it.
///
/// # Errors
/// If `tresorctl` does not take it.
pub fn create(vm: &mut Vm, passphrase: &str) -> Result<Vec<u8>> {
    create_with(vm, passphrase, "")
}

/// [`create`] with more arguments of `tresorctl load`.
///
/// # Errors
/// If `tresorctl` does not take it.
pub fn create_with(vm: &mut Vm, passphrase: &str, arguments: &str) -> Result<Vec<u8>> {
    let answer = passphrase.as_bytes();
    let prompts = NEW.map(|question| Prompt { question, answer });
    let output = vm.run_with_prompts(&format!("tresorctl load {arguments}"), &prompts)?;
    ensure!(
        output.success(),
        "tresorctl load ended with status {}: {}",
        output.status,
        output.text()
    );
    vm.read_file(DESCRIPTION)
}

/// Types a passphrase for the description that is there, and returns what `tresorctl` made of it.
///
/// # Errors
/// If the guest hangs.
pub fn load(vm: &mut Vm, passphrase: &str) -> Result<Output> {
    let prompts = [Prompt {
        question: QUESTION,
        answer: passphrase.as_bytes(),
    }];
    vm.run_with_prompts("tresorctl load", &prompts)
}

/// The last line of what a program said: its error message, after the prompts.
pub fn last_line(output: &Output) -> String {
    output.text().lines().last().unwrap_or_default().to_owned()
}

/// The key description file, as far as it takes part in the derivation.
#[derive(Deserialize)]
struct Description {
    argon2id: Derivation,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Derivation {
    salt: String,
    memory_kib: u32,
    iterations: u32,
    lanes: u32,
}

/// M: Argon2id (RFC 9106, version 0x13) of the passphrase as the description says.
///
/// # Errors
/// If the description is not understood.
pub fn derive(description: &[u8], passphrase: &[u8]) -> Result<[u8; MASTER]> {
    let text = std::str::from_utf8(description).context("the key description is not text")?;
    let Description { argon2id: how } =
        toml::from_str(text).context("the key description is not understood")?;
    let failed = |e| anyhow::anyhow!("Argon2id: {e}");
    let params =
        Params::new(how.memory_kib, how.iterations, how.lanes, Some(MASTER)).map_err(failed)?;
    let salt = hex::decode(&how.salt).context("the salt is not in hex")?;
    let mut m = [0; MASTER];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, &salt, &mut m)
        .map_err(failed)?;
    Ok(m)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_and_a_passphrase_give_the_key_of_the_reference_implementation() {
        // printf password | argon2 somesalt -id -t 2 -k 65536 -p 1 -l 32 -r: a test of the
        // reference implementation (phc-winner-argon2, src/test.c).
        let text = "format = 1\n[argon2id]\nsalt = \"736f6d6573616c74\"\n\
                    memory-kib = 65536\niterations = 2\nlanes = 1\n";
        let m = derive(text.as_bytes(), b"password").unwrap();
        assert_eq!(
            hex::encode(m),
            "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"
        );
    }
}
