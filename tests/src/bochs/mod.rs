// SPDX-License-Identifier: GPL-2.0-or-later

//! The engine that no VM can run, in the kernel: Bochs emulates a CPU with AVX-512, slowly.
//!
//! It boots the stock kernel from a CD image. The guest computes the known answers of `vaes_avx512`,
//! and what that variant writes through dm-crypt another one must read, and the other way round.
//! `scripts/bochs` unpacks what is needed.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use tresor_qemu::{target_dir, Cache, Cpio, Initramfs};

use crate::vmtest::guest::PROGRAM;
use crate::vmtest::runner::{build_programs, Counts};

/// The CPU that Bochs is. Its `sapphire_rapids` has AMX in part, at which the kernel does not boot.
const CPU: &str = "corei7_icelake_u";
/// What the guest's `init` tests, and beside which other variant.
const ENGINE: &str = "vaes_avx512";
const OTHER: &str = "aesni";
/// dm-crypt's ciphers and the bits of their keys.
const CIPHERS: [&str; 7] = [
    "tresor-xts-plain64/512",
    "tresor-xts-plain64/256",
    "tresor-cbc-essiv:sha256/256",
    "tresor-cbc-essiv:sha256/192",
    "tresor-cbc-essiv:sha256/128",
    "tresor-cbc-plain64/256",
    "tresor-ctr-plain64/256",
];
/// Checks that a whole run makes: four of each cipher, and of the module itself.
const CHECKS: usize = 4 * CIPHERS.len() + 5;
/// How long a run may take; five minutes are usual.
const LIMIT: Duration = Duration::from_secs(30 * 60);

const INIT: &str = include_str!("init");

/// Runs Bochs from `tools`, a folder with the unpacked packages; prints a line for each check.
///
/// # Errors
/// If something is missing, or the guest does not come to its end.
pub fn run(tools: &Path) -> Result<Counts> {
    let cache = Cache::open()?;
    ensure!(
        cache.module.is_some(),
        "tresor.ko was not built: run scripts/setup"
    );
    let folder = target_dir().join("bochs");
    let cd = folder.join("cd.iso");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let tools = Tools {
        cache: &cache,
        folder: tools,
    };
    make_cd(&tools, &folder, &cd)?;

    let serial = folder.join("serial.log");
    File::create(&serial).context("cannot make the file of the serial port")?;
    let share = tools.path("usr/share/bochs");
    let configuration = format!(
        "plugin_ctrl: unmapped=1, biosdev=1, speaker=0, e1000=0, parallel=0\n\
         config_interface: textconfig\n\
         display_library: rfb, options=\"timeout=0\"\n\
         memory: guest=512, host=512\n\
         romimage: file={share}/BIOS-bochs-latest\n\
         vgaromimage: file={share}/VGABIOS-lgpl-latest\n\
         cpu: model={CPU}, count=1, ips=100000000, reset_on_triple_fault=0\n\
         ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14\n\
         ata0-master: type=cdrom, path={cd}, status=inserted\n\
         boot: cdrom\n\
         com1: enabled=1, mode=file, dev={serial}\n\
         log: {log}\n\
         panic: action=fatal\n\
         clock: sync=none, time0=local\n",
        share = share.display(),
        cd = cd.display(),
        serial = serial.display(),
        log = folder.join("bochs.log").display(),
    );
    let file = folder.join("bochsrc");
    fs::write(&file, configuration).context("cannot write Bochs' configuration")?;
    let plugins = tools.path("usr/lib/x86_64-linux-gnu/bochs/plugins");
    let said = File::create(folder.join("bochs.out"))?;
    let child = tools
        .command("usr/bin/bochs-bin")
        .env("LTDL_LIBRARY_PATH", plugins)
        .env("BXSHARE", share)
        .args(["-q", "-f"])
        .arg(file)
        .stdin(Stdio::null())
        .stderr(said.try_clone()?)
        .stdout(said)
        .spawn()
        .context("cannot start Bochs")?;
    follow(Bochs(child), &serial)
}

/// Ends with its owner.
struct Bochs(std::process::Child);

impl Drop for Bochs {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Prints the guest's lines as they come, until the last one.
fn follow(mut bochs: Bochs, serial: &Path) -> Result<Counts> {
    let start = Instant::now();
    let mut counts = Counts::default();
    let mut shown = 0;
    loop {
        let ended = bochs.0.try_wait()?.is_some();
        let text = fs::read(serial).context("cannot read the serial port")?;
        let text = String::from_utf8_lossy(&text).replace('\r', "");
        // The last line may not be whole yet.
        let lines: Vec<&str> = text.split('\n').collect();
        let whole = &lines[..lines.len() - 1];
        for line in &whole[shown..] {
            let ours = ["ok ", "FAILED ", "bochs: "]
                .iter()
                .any(|start| line.starts_with(start));
            if ours {
                println!("{line}");
                std::io::stdout().flush()?;
            }
            counts.passed += u32::from(line.starts_with("ok "));
            counts.failed += u32::from(line.starts_with("FAILED "));
            if *line == "bochs: end" {
                let all = (counts.passed + counts.failed) as usize;
                ensure!(all == CHECKS, "{all} checks instead of {CHECKS}");
                return Ok(counts);
            }
        }
        shown = whole.len();
        let late = start.elapsed() > LIMIT;
        ensure!(
            !ended && !late,
            "the guest did not come to its end; its serial port's last lines, in {}:\n{}",
            serial.display(),
            whole[whole.len().saturating_sub(20)..].join("\n")
        );
        thread::sleep(Duration::from_millis(500));
    }
}

/// Programs of the unpacked packages, which run on the libraries there and in the tree.
struct Tools<'a> {
    cache: &'a Cache,
    folder: &'a Path,
}

impl Tools<'_> {
    fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    fn command(&self, program: &str) -> Command {
        let libraries = [
            self.path("usr/lib/x86_64-linux-gnu"),
            self.path("usr/lib/x86_64-linux-gnu/pulseaudio"),
            self.cache.tree.join("usr/lib/x86_64-linux-gnu"),
        ];
        let libraries: Vec<String> = libraries.map(|l| l.display().to_string()).to_vec();
        let loader = self.cache.tree.join("usr/lib64/ld-linux-x86-64.so.2");
        let mut command = Command::new(loader);
        command
            .arg("--library-path")
            .arg(libraries.join(":"))
            .arg(self.path(program))
            .env_remove("LD_LIBRARY_PATH")
            .env_remove("LD_PRELOAD");
        command
    }
}

/// A CD that boots the stock kernel with our initramfs, whose `init` is replaced.
fn make_cd(tools: &Tools<'_>, folder: &Path, cd: &Path) -> Result<()> {
    let [program, _] = build_programs()?;
    let mut initramfs = Initramfs::new(tools.cache);
    initramfs.host_file(PROGRAM, 0o755, &program);
    let mut image = fs::read(initramfs.build()?).context("cannot read the initramfs")?;
    // Of two files of one name the kernel takes the later one.
    let (head, body) = INIT.split_once('\n').context("init has no first line")?;
    let ciphers = CIPHERS.join(" ");
    let init = format!("{head}\nENGINE={ENGINE} OTHER={OTHER} CIPHERS='{ciphers}'\n{body}");
    let mut more = Cpio::new();
    more.file("init", 0o755, init.as_bytes())?;
    image.resize(image.len().next_multiple_of(4), 0);
    image.extend(more.finish());

    let root = folder.join("cd");
    let boot = root.join("isolinux");
    fs::create_dir_all(&boot).with_context(|| format!("cannot make {}", boot.display()))?;
    fs::write(root.join("initrd"), image)?;
    fs::write(
        boot.join("isolinux.cfg"),
        "DEFAULT linux\nLABEL linux\n KERNEL /vmlinuz\n INITRD /initrd\n \
         APPEND console=ttyS0 panic=-1 tsc=reliable\n",
    )?;
    for (from, to) in [
        (tools.cache.vmlinuz.clone(), root.join("vmlinuz")),
        (
            tools.path("usr/lib/ISOLINUX/isolinux.bin"),
            boot.join("isolinux.bin"),
        ),
        (
            tools.path("usr/lib/syslinux/modules/bios/ldlinux.c32"),
            boot.join("ldlinux.c32"),
        ),
    ] {
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let output = tools
        .command("usr/bin/xorriso")
        .args(["-as", "mkisofs", "-quiet", "-o"])
        .arg(cd)
        .args(["-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat"])
        .args(["-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"])
        .arg(&root)
        .output()
        .context("cannot start xorriso")?;
    ensure!(
        output.status.success(),
        "xorriso failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
