// SPDX-License-Identifier: GPL-2.0-or-later

//! One moment of one machine, dumped in every format that QEMU and makedumpfile write.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context, Result};
use keyscan::{scan_bytes, scan_file, Expand, Finding, Needles, Options, Report, What};
use tresor_qemu::qmp::{self, DumpGuestMemoryFormat as Format};
use tresor_qemu::{target_dir, Cache, VmConfig};

use super::disks::RAM_DISK;
use super::guest::Guest;
use super::secrets::random;

/// What makedumpfile is asked for: the name of the file, and the options. Debian builds it without snappy.
const MAKEDUMPFILE: &[(&str, &[&str])] = &[
    ("makedumpfile-plain", &["-d", "0"]),
    ("makedumpfile-zlib", &["-c", "-d", "0"]),
    ("makedumpfile-lzo", &["-l", "-d", "0"]),
    ("makedumpfile-zstd", &["-z", "-d", "0"]),
    ("makedumpfile-zlib-without-zeros", &["-c", "-d", "1"]),
    ("makedumpfile-elf", &["-E", "-d", "0"]),
    ("makedumpfile-elf-without-zeros", &["-E", "-d", "1"]),
    ("makedumpfile-flattened-zstd", &["-F", "-z", "-d", "0"]),
    ("makedumpfile-flattened-elf", &["-F", "-E", "-d", "1"]),
];

/// Has the guest tell QEMU, and QEMU the dump, what makedumpfile needs to know about the kernel.
pub(super) fn machine(usual: VmConfig) -> VmConfig {
    usual
        .args(["-device", "vmcoreinfo"])
        .modules(["qemu_fw_cfg"])
}

fn folder() -> PathBuf {
    target_dir().join("vm/test-dump-formats/dumps")
}

/// Where what was found lies, and what it is.
fn found(report: &Report) -> Vec<(u64, String)> {
    let place = |finding: &Finding| (finding.offset, finding.what.to_string());
    report.findings.iter().map(place).collect()
}

/// Fails unless a dump gives the findings of the machine's own RAM.
fn compare(path: &Path, needles: &Needles, wanted: &[(u64, String)]) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let report = scan_file(path, needles, &Options::default(), &|_| ())?;
    ensure!(
        report.is_complete(),
        "{name} was not read whole: {:?}",
        report.problems
    );
    let found = found(&report);
    ensure!(
        found == wanted,
        "{name} ({}) gives {found:#x?} and RAM {wanted:#x?}",
        report.format
    );
    println!(
        "    {name}: {}{}, {} MiB of memory in {} MiB, {} findings",
        report.format,
        if report.flattened { ", flattened" } else { "" },
        report.bytes_scanned >> 20,
        fs::metadata(path)?.len() >> 20,
        found.len()
    );
    Ok(())
}

pub(super) fn a_dump_in_every_format_gives_the_findings_of_the_ram_itself(
    guest: &mut Guest,
) -> Result<()> {
    let dumps = folder();
    let _ = fs::remove_dir_all(&dumps);
    fs::create_dir_all(&dumps)?;
    guest.ram_disk()?;
    // Without it makedumpfile below would not know the kernel; QEMU's own formats need nothing.
    guest.vm.check("modprobe qemu_fw_cfg")?;
    let key = random::<64>()?;
    if let Err(said) = guest.try_open_volume("stock", "aes-xts-plain64", &key, RAM_DISK, &[])? {
        bail!("dmsetup could not open the volume: {said}");
    }
    let mut formats = guest
        .vm
        .qmp()
        .execute(qmp::query_dump_guest_memory_capability {})?
        .formats;
    // For guests with Windows alone.
    formats.retain(|format| *format != Format::win_dmp);
    let mut needles = Needles::new();
    needles.add_secret("stock", &key, Expand::Xts)?;
    let (wanted, written) = guest.while_stopped(|vm| {
        let report = scan_bytes(vm.ram()?, &needles, &Options::default(), &|_| ());
        let raw = dumps.join("raw");
        vm.dump_to(&raw)?;
        let mut written = vec![raw];
        for &format in &formats {
            let path = dumps.join(format!("qemu-{}", name(format)?));
            vm.qmp().execute(qmp::dump_guest_memory {
                paging: false,
                protocol: format!("file:{}", path.to_str().context("a path is not UTF-8")?),
                detach: None,
                begin: None,
                length: None,
                format: Some(format),
            })?;
            written.push(path);
        }
        Ok((report, written))
    })?;
    guest.close_volume("stock")?;
    let schedules = |half: &[u8]| {
        let is_half =
            |f: &&Finding| matches!(&f.what, What::Schedule { key, .. } if key.expose() == half);
        wanted.findings.iter().filter(is_half).count()
    };
    ensure!(
        schedules(&key[..32]) > 0 && schedules(&key[32..]) > 0,
        "the volume's keys are not in RAM: {:#x?}",
        found(&wanted)
    );
    let wanted = found(&wanted);
    for path in &written {
        compare(path, &needles, &wanted)?;
    }
    // Debian builds QEMU without lzo and snappy; makedumpfile has them.
    for format in [Format::elf, Format::kdump_zlib] {
        ensure!(formats.contains(&format), "QEMU writes only {formats:?}");
    }
    let count = with_makedumpfile(&dumps, &needles, &wanted)?;
    println!("    {} files gave the same findings", written.len() + count);
    fs::remove_dir_all(&dumps)?;
    Ok(())
}

/// What makedumpfile makes of QEMU's ELF core.
fn with_makedumpfile(dumps: &Path, needles: &Needles, wanted: &[(u64, String)]) -> Result<usize> {
    let cache = Cache::open()?;
    let core = dumps.join("for-makedumpfile");
    move_program_headers(&dumps.join("qemu-elf"), &core)?;
    for (name, options) in MAKEDUMPFILE {
        let path = dumps.join(name);
        let mut command = cache.command("usr/bin/makedumpfile");
        command.args(*options).arg(&core);
        if options.contains(&"-F") {
            command.stdout(File::create(&path)?);
        } else {
            command.arg(&path);
        }
        let output = command.output().context("cannot start makedumpfile")?;
        ensure!(
            output.status.success(),
            "makedumpfile {options:?} failed: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        // It ignores options for what it was built without.
        let compressed = ["-c", "-l", "-z"]
            .iter()
            .any(|option| options.contains(option));
        ensure!(
            !compressed || fs::metadata(&path)?.len() < fs::metadata(&core)?.len() / 2,
            "makedumpfile {options:?} did not compress"
        );
        compare(&path, needles, wanted)?;
    }
    Ok(MAKEDUMPFILE.len())
}

/// Copies an ELF core with the program headers behind the ELF header, where makedumpfile 1.7.2 expects
/// them; QEMU 10 has section headers there. Offsets are those of `Elf64_Ehdr` and `Elf64_Phdr` in `elf.h`.
fn move_program_headers(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)?;
    // QEMU makes it unreadable to others, and read-only.
    fs::set_permissions(to, fs::Permissions::from_mode(0o600))?;
    let file = File::options().read(true).write(true).open(to)?;
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0)?;
    let table = u64::from_le_bytes(header[32..40].try_into()?);
    let count = u16::from_le_bytes(header[56..58].try_into()?);
    let mut entries = vec![0; 56 * usize::from(count)];
    file.read_exact_at(&mut entries, table)?;
    for entry in entries.chunks_exact(56) {
        let data = u64::from_le_bytes(entry[8..16].try_into()?);
        ensure!(
            data >= 64 + entries.len() as u64,
            "the core has no room for program headers behind the ELF header"
        );
    }
    header[32..40].copy_from_slice(&64u64.to_le_bytes());
    // No section headers.
    header[40..48].fill(0);
    header[58..].fill(0);
    file.write_all_at(&header, 0)?;
    Ok(file.write_all_at(&entries, 64)?)
}

/// QEMU's name of a format.
fn name(format: Format) -> Result<String> {
    let name = serde_json::to_value(format)?;
    Ok(name.as_str().context("a format has no name")?.to_owned())
}
