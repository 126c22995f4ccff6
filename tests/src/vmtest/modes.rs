// SPDX-License-Identifier: GPL-2.0-or-later

//! Every mode with every engine through the kernel's crypto API, against RustCrypto.
//!
//! The requests are made by `tests/kmod/tresor_test.c`: plaintext, blob and IV below are its.

use std::fmt::Write as _;
use std::time::Duration;

use aes::cipher::{BlockEncrypt, KeyInit};
use aes::Aes256;
use anyhow::{bail, ensure, Context, Result};
use sha2::{Digest, Sha256};
use tresor_qemu::Forms;

use super::engines::insert_engine;
use super::guest::Guest;
use super::secrets::Key;
use crate::modes::{Cipher, Mode};
use crate::reference::Master;

/// Lengths of requests: around blocks, groups of blocks, sections and pages, and what lies between.
const LENGTHS: [usize; 37] = [
    1, 5, 15, 16, 17, 31, 32, 33, 47, 48, 63, 64, 65, 127, 128, 129, 250, 256, 500, 511, 512, 513,
    1000, 2047, 2048, 3001, 4080, 4095, 4096, 4097, 4111, 4112, 4113, 8175, 8191, 8192, 20480,
];

/// The longest blob and request that the module tries for [`errors`].
const TRIED_MAX: usize = 80;

const EINVAL: u8 = 22;

fn blob(len: usize) -> Vec<u8> {
    (0..len as u8).map(|i| 0x6b + i).collect()
}

fn iv() -> [u8; 16] {
    let mut iv = [0xff; 16];
    (iv[0], iv[15]) = (0x42, 0xfe);
    iv
}

/// What the module answers to one encryption: the ciphertext, then the IV that is left.
fn answer(cipher: &Cipher, len: usize) -> Result<Vec<u8>> {
    let (mut iv, mut data) = (iv(), plaintext(len));
    cipher.encrypt(&mut iv, &mut data)?;
    data.extend(iv);
    Ok(data)
}

fn plaintext(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i ^ (i >> 8)) as u8).collect()
}

/// Asks for every key size and length, both ways, in memory cut in every way.
pub(super) fn equals_the_reference(guest: &mut Guest, key: &Key, mode: Mode) -> Result<()> {
    guest.vm.check("modprobe tresor_test")?;
    let algorithm = mode.algorithm();
    let lengths: Vec<usize> = LENGTHS.into_iter().filter(|n| mode.takes(*n)).collect();
    for &bytes in mode.blobs() {
        let cipher = Cipher::new(&key.master, mode, &blob(bytes))?;
        let mut script = String::new();
        for len in &lengths {
            // What fails answers with the errno's name in place of a checksum.
            writeln!(
                script,
                "echo 'crypt {algorithm} {bytes} {len}' | cat >/proc/tresor_test && \
                 sha256sum /proc/tresor_test"
            )?;
        }
        let output = guest.vm.run_for(&script, Duration::from_secs(300))?;
        let said = output.text();
        let mut answers = said.lines();
        for &len in &lengths {
            let wanted = answer(&cipher, len)?;
            let what = format!("{algorithm} with {} bits, {len} bytes", 8 * bytes);
            let said = answers
                .next()
                .with_context(|| format!("{what}: no answer"))?;
            if !said.starts_with(&hex::encode(Sha256::digest(&wanted))) {
                bail!("{what}: {}", difference(guest, said, &wanted)?);
            }
        }
    }
    let sizes: Vec<String> = mode.blobs().iter().map(|n| (8 * n).to_string()).collect();
    guest.remark(&format!(
        "blobs of {} bits, encrypt and decrypt, {} lengths of {} to 20480 bytes, in place and not, 13 \
         ways to cut the memory, IV out",
        sizes.join(", "),
        lengths.len(),
        lengths[0],
    ));
    Ok(())
}

/// How the names begin of what [`under_watch`] tells the watch.
pub(super) const WATCHED: &str = "a mode's";

/// Has requests made in every mode, of a length that is no multiple of the block where it takes one, after
/// telling the watch of stores what no store may leave behind: the keys, the encrypted IV, the last
/// block's key stream, and the half of a stolen block that is no ciphertext.
pub(super) fn under_watch(guest: &mut Guest, master: &Master) -> Result<()> {
    guest.vm.check("modprobe tresor_test")?;
    for mode in Mode::ALL {
        let algorithm = mode.algorithm();
        let len = if mode.takes(4104) { 4104 } else { 4112 };
        for &bytes in mode.blobs() {
            let blob = blob(bytes);
            let (key, forms) = match mode {
                Mode::Xts => (master.xts_key(&blob)?, Forms::Xts),
                _ => (master.volume_key(mode as u8, &blob), Forms::Aes),
            };
            let mut secrets = vec![("key", key, forms)];
            let cipher = Cipher::new(master, mode, &blob)?;
            match mode {
                Mode::Xts => {
                    // Without the rest, the last whole block is encrypted as it is.
                    let whole = len / 16 * 16;
                    let block = answer(&cipher, whole)?[whole - 16..whole].to_vec();
                    secrets.push(("stolen half", block[len % 16..].to_vec(), Forms::Plain));
                }
                Mode::Ctr => {
                    let mut stream = vec![0; len.next_multiple_of(16)];
                    cipher.encrypt(&mut iv(), &mut stream)?;
                    let last = stream.split_off(stream.len() - 16);
                    secrets.push(("key stream", last, Forms::Plain));
                }
                Mode::EssivCbc => {
                    let iv_key = master.essiv_key(&blob);
                    let mut first = iv();
                    Aes256::new_from_slice(&iv_key)?.encrypt_block((&mut first).into());
                    secrets.push(("IV key", iv_key, Forms::Aes));
                    secrets.push(("encrypted IV", first.to_vec(), Forms::Plain));
                }
                Mode::Cbc | Mode::Ecb => {}
            }
            let watch = guest.vm.store_watch()?;
            for (what, secret, forms) in &secrets {
                let name = format!("{WATCHED} {what}: {algorithm}, {} bits", 8 * bytes);
                watch.add_secret(&name, secret, *forms)?;
            }
            let script = format!(
                "echo 'crypt {algorithm} {bytes} {len}' | cat >/proc/tresor_test && \
                 sha256sum /proc/tresor_test"
            );
            let said = guest.vm.check_for(&script, Duration::from_secs(120))?;
            let wanted = hex::encode(Sha256::digest(answer(&cipher, len)?));
            ensure!(
                said.starts_with(&wanted),
                "{algorithm}, {bytes} bytes: {said}"
            );
        }
    }
    Ok(())
}

/// What is wrong with the last answer of the module.
fn difference(guest: &mut Guest, said: &str, wanted: &[u8]) -> Result<String> {
    let is = guest.vm.read_file("/proc/tresor_test")?;
    if is.len() != wanted.len() {
        return Ok(said.to_owned());
    }
    let at = is.iter().zip(wanted).position(|(is, wanted)| is != wanted);
    Ok(format!("byte {at:?} is not what RustCrypto gives ({said})"))
}

fn with_engine(guest: &mut Guest, engine: &str, mode: Mode) -> Result<()> {
    insert_engine(guest, engine)?;
    let key = guest.load_new()?;
    equals_the_reference(guest, &key, mode)
}

/// A row for each mode and engine.
macro_rules! rows {
    ($($row:ident: $mode:ident, $engine:literal;)*) => {
        $(pub(super) fn $row(guest: &mut Guest) -> Result<()> {
            with_engine(guest, $engine, Mode::$mode)
        })*
    };
}

rows! {
    xts_by_aesni_is_xts_by_rustcrypto: Xts, "aesni";
    xts_by_aesni_avx_is_xts_by_rustcrypto: Xts, "aesni_avx";
    xts_by_vaes_avx2_is_xts_by_rustcrypto: Xts, "vaes_avx2";
    xts_by_vaes_avx512_is_xts_by_rustcrypto: Xts, "vaes_avx512";
    cbc_by_aesni_is_cbc_by_rustcrypto: Cbc, "aesni";
    cbc_by_aesni_avx_is_cbc_by_rustcrypto: Cbc, "aesni_avx";
    cbc_by_vaes_avx2_is_cbc_by_rustcrypto: Cbc, "vaes_avx2";
    cbc_by_vaes_avx512_is_cbc_by_rustcrypto: Cbc, "vaes_avx512";
    ctr_by_aesni_is_ctr_by_rustcrypto: Ctr, "aesni";
    ctr_by_aesni_avx_is_ctr_by_rustcrypto: Ctr, "aesni_avx";
    ctr_by_vaes_avx2_is_ctr_by_rustcrypto: Ctr, "vaes_avx2";
    ctr_by_vaes_avx512_is_ctr_by_rustcrypto: Ctr, "vaes_avx512";
    ecb_by_aesni_is_ecb_by_rustcrypto: Ecb, "aesni";
    ecb_by_aesni_avx_is_ecb_by_rustcrypto: Ecb, "aesni_avx";
    ecb_by_vaes_avx2_is_ecb_by_rustcrypto: Ecb, "vaes_avx2";
    ecb_by_vaes_avx512_is_ecb_by_rustcrypto: Ecb, "vaes_avx512";
    essiv_by_aesni_is_essiv_by_rustcrypto: EssivCbc, "aesni";
    essiv_by_aesni_avx_is_essiv_by_rustcrypto: EssivCbc, "aesni_avx";
    essiv_by_vaes_avx2_is_essiv_by_rustcrypto: EssivCbc, "vaes_avx2";
    essiv_by_vaes_avx512_is_essiv_by_rustcrypto: EssivCbc, "vaes_avx512";
}

/// The errno of each length from 0 to [`TRIED_MAX`] that a command of the module tried.
fn errors(guest: &mut Guest, command: &str) -> Result<Vec<u8>> {
    guest
        .vm
        .check(&format!("echo '{command}' | cat >/proc/tresor_test"))?;
    let errors = guest.vm.read_file("/proc/tresor_test")?;
    ensure!(
        errors.len() == TRIED_MAX + 1,
        "{command}: {} answers",
        errors.len()
    );
    Ok(errors)
}

/// Fails unless what is not `taken` is `EINVAL`, and the rest is no error.
fn ensure_refused_unless(errors: &[u8], taken: impl Fn(usize) -> bool, what: &str) -> Result<()> {
    for (len, &error) in errors.iter().enumerate() {
        let wanted = if taken(len) { 0 } else { EINVAL };
        ensure!(
            error == wanted,
            "{what} of {len} bytes: errno {error} in place of {wanted}"
        );
    }
    Ok(())
}

pub(super) fn blobs_of_lengths_that_a_mode_has_not_are_refused(guest: &mut Guest) -> Result<()> {
    guest.vm.check("modprobe tresor_test")?;
    guest.insert_and_load()?;
    for mode in Mode::ALL {
        let algorithm = mode.algorithm();
        let errors = errors(guest, &format!("blobs {algorithm}"))?;
        let what = format!("a blob for {algorithm}");
        ensure_refused_unless(&errors, |len| mode.blobs().contains(&len), &what)?;
    }
    let volumes = guest.status()?.volumes;
    ensure!(volumes == 0, "{volumes} volumes count as open");
    Ok(())
}

pub(super) fn requests_of_lengths_that_a_mode_has_not_are_refused(guest: &mut Guest) -> Result<()> {
    guest.vm.check("modprobe tresor_test")?;
    guest.insert_and_load()?;
    for mode in Mode::ALL {
        let algorithm = mode.algorithm();
        for bytes in mode.blobs() {
            let errors = errors(guest, &format!("lengths {algorithm} {bytes}"))?;
            let what = format!("a request to {algorithm}");
            ensure_refused_unless(&errors, |len| mode.takes(len), &what)?;
        }
    }
    Ok(())
}

pub(super) fn if_one_algorithm_cannot_be_registered_none_is(guest: &mut Guest) -> Result<()> {
    const DRIVERS: [&str; 5] = [
        "xts-tresor",
        "cbc-tresor",
        "ctr-tresor",
        "ecb-tresor",
        "essiv-cbc-tresor-sha256",
    ];
    let ours = "grep '^driver.*tresor' /proc/crypto | sort";
    for occupied in DRIVERS {
        guest.vm.check("modprobe tresor_test")?;
        guest.vm.check(&format!(
            "echo 'occupy {occupied}' | cat >/proc/tresor_test"
        ))?;
        let output = guest.vm.run("modprobe tresor")?;
        ensure!(
            !output.success() && output.text().contains("Device or resource busy"),
            "modprobe said {:?} with {occupied} taken",
            output.text()
        );
        let reason =
            format!("tresor: refusing to load: \"{occupied}\" cannot be registered: EEXIST");
        ensure!(
            guest.log()?.contains(&reason),
            "the kernel gave no reason for {occupied}"
        );
        guest.expect(ours, 0, &format!("driver       : {occupied}"))?;
        guest.vm.check("rmmod tresor_test")?;
    }
    guest.insert()?;
    let there = guest.vm.check(ours)?;
    for driver in DRIVERS {
        ensure!(there.contains(driver), "{driver} is missing: {there}");
    }
    Ok(())
}

/// The module on a CPU without something takes `engine` by itself, and it runs there in all modes.
fn chooses(guest: &mut Guest, engine: &str) -> Result<()> {
    let key = guest.insert_and_load()?;
    let status = guest.status()?;
    ensure!(
        status.engine == engine,
        "the module chose {} on a CPU that has what {engine} wants, and no more",
        status.engine
    );
    for mode in Mode::ALL {
        equals_the_reference(guest, &key, mode)?;
    }
    guest.remark("all modes, key sizes and directions against RustCrypto");
    Ok(())
}

pub(super) fn a_cpu_without_vaes_gets_aesni_avx(guest: &mut Guest) -> Result<()> {
    chooses(guest, "aesni_avx")
}

pub(super) fn a_cpu_without_avx_gets_aesni(guest: &mut Guest) -> Result<()> {
    chooses(guest, "aesni")
}
