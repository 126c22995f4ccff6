// SPDX-License-Identifier: GPL-2.0-or-later

//! Another kernel starts in the machine whose RAM still holds all of the last one: a crash kernel
//! after a panic, and an ordinary one by kexec.

use std::fs::OpenOptions;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use tresor_qemu::{Cache, Initramfs, VmConfig};

use super::bench::{Bench, SPARE, STOCK};
use super::cell::Oracle::{self, Log, Schedules, Secrets, Stores, Vmcore};
use super::prints::{oops, print_marks};
use super::ram::Holders;
use super::{Body, Scenario};
use crate::evidence::Evidence;
use crate::vmtest::logs::print_registers;
use crate::vmtest::secrets::Look;

const ORACLES: &[Oracle] = &[Secrets, Schedules, Stores, Log, Vmcore];

/// What this file has.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "crash kernel after a panic",
        short: false,
        machine,
        oracles: ORACLES,
        body: Body::Run(panic),
    },
    Scenario {
        name: "crash kernel after an oops",
        short: false,
        machine,
        oracles: ORACLES,
        body: Body::Run(oops_to_crash),
    },
    Scenario {
        name: "kexec into a new kernel",
        short: false,
        machine: |usual| usual.memory_mib(384).program("usr/sbin/kexec"),
        oracles: &[Secrets, Schedules, Stores],
        body: Body::Run(kexec),
    },
];

/// Room for a crash kernel, which unpacks the same initramfs, and the usual RAM: so much that a piece for it
/// is left wherever the kernel has put itself, and that the rest fits the disk for the vmcore.
fn machine(usual: VmConfig) -> VmConfig {
    usual
        .memory_mib(736)
        .append("crashkernel=256M")
        .program("usr/sbin/kexec")
}

/// A crash kernel's command line: one CPU, and devices that the last kernel did not shut down.
const CRASH: &str = "console=ttyS0 nr_cpus=1 irqpoll reset_devices panic=-1";

/// Loads the kernel that the guest runs, with an initramfs, as the next one.
fn load_kernel(bench: &mut Bench, way: &str, append: &str) -> Result<()> {
    let cache = Cache::open()?;
    let initramfs = Initramfs::new(&cache).build()?;
    // The guest reads them from a disk: they are too large for its shell's line.
    let image = bench.image(SPARE);
    let mut tar = tar::Builder::new(
        OpenOptions::new()
            .write(true)
            .open(&image)
            .with_context(|| format!("cannot open {}", image.display()))?,
    );
    tar.append_path_with_name(&cache.vmlinuz, "vmlinuz")?;
    tar.append_path_with_name(&initramfs, "initramfs")?;
    tar.into_inner()?;
    let vm = &mut bench.guest.vm;
    vm.check("mkdir /run/next && tar -xf /dev/disk/spare -C /run/next")?;
    vm.check(&format!(
        "kexec -s {way} /run/next/vmlinuz --initrd=/run/next/initramfs --append='{append}'"
    ))?;
    vm.check("rm -r /run/next").map(drop)
}

/// Starts, by a command that does not return, the kernel that is loaded, and waits for its shell.
fn leave(bench: &mut Bench, command: &str) -> Result<()> {
    let before = bench
        .guest
        .vm
        .check("cat /proc/sys/kernel/random/boot_id")?;
    bench.guest.vm.start_later(command)?;
    bench.guest.vm.wait_ready()?;
    let after = bench
        .guest
        .vm
        .check("cat /proc/sys/kernel/random/boot_id")?;
    ensure!(before != after, "the same kernel still runs");
    Ok(())
}

fn panic(bench: &mut Bench) -> Result<()> {
    crash(bench, print, "echo c >/proc/sysrq-trigger")
}

fn print(bench: &mut Bench) -> Result<()> {
    print_registers(&mut bench.guest).map(drop)
}

/// An oops goes to the crash kernel without a panic.
fn oops_to_crash(bench: &mut Bench) -> Result<()> {
    crash(
        bench,
        oops,
        "echo 1 >/proc/sys/kernel/panic_on_oops; echo oops >/proc/tresor_test",
    )
}

fn crash(bench: &mut Bench, print: fn(&mut Bench) -> Result<()>, how: &str) -> Result<()> {
    let missing = print_marks(bench, print)?;
    bench.begin()?;
    load_kernel(bench, "-p", CRASH)?;
    // The volumes stay busy into the crash.
    let _load = bench.work()?;
    let before = bench.guest.look_armed(&bench.key)?;
    bench.look(Holders::Every)?;
    bench.remember_shares("before the crash")?;
    let from = bench.log_length()?;
    leave(bench, how)?;
    let remaining = look_at_crashed(bench, &before)?;
    bench.ask_log(from, &before.cpus, missing)?;

    bench.guest.vm.check_for(
        "dd if=/proc/vmcore of=/dev/disk/spare bs=1M conv=fsync 2>&1",
        Duration::from_secs(180),
    )?;
    let image = bench.image(SPARE);
    let evidence = Evidence::gather(&image, &remaining, &bench.known)?;
    let missing = evidence
        .control_schedules
        .contains(&0)
        .then(|| "no schedule of a key of the stock volume".to_owned());
    let mut findings = evidence.findings;
    findings.extend(whole_shares(&evidence.shares));
    bench.answer(Vmcore, missing, findings)?;
    bench.ask_stores()
}

/// Shares that fit the registers are as good as M.
fn whole_shares(shares: &std::collections::BTreeMap<u32, Vec<u64>>) -> Vec<String> {
    let found = shares.iter().filter(|(_, places)| !places.is_empty());
    found
        .map(|(cpu, _)| format!("M xor DR of CPU {cpu}"))
        .collect()
}

/// Asks the RAM oracles while the crash kernel runs. A CPU that was stopped for it keeps its DR share
/// for ever; what makes M of it must be gone. Returns the registers that are not zero.
fn look_at_crashed(bench: &mut Bench, before: &Look) -> Result<Vec<tresor_qemu::DebugRegisters>> {
    let known = &bench.known;
    let (held, evidence, lines) = bench.guest.while_stopped(|vm| {
        let cpus = vm.debug_registers()?;
        let held: Vec<_> = cpus.into_iter().filter(|cpu| !cpu.is_clear()).collect();
        let ram = vm.ram()?;
        let evidence = Evidence::in_ram(ram, &held, known, true)?;
        let mut lines = Vec::new();
        for (cpu, at) in before.shares.iter().enumerate() {
            let at = at.unwrap_or_default() as usize;
            if ram.get(at..at + 32) != Some(&[0; 32]) {
                lines.push(format!("S of CPU {cpu} is not zero"));
            }
        }
        Ok((held, evidence, lines))
    })?;
    let mut findings = evidence.findings;
    findings.retain(|finding| !evidence.schedules.contains(finding));
    findings.extend(lines);
    findings.extend(whole_shares(&evidence.shares));
    let words =
        (evidence.control_words == 0).then(|| "no word of the stock volume's keys".to_owned());
    bench.answer(Secrets, words, findings)?;
    let schedules = evidence
        .control_schedules
        .contains(&0)
        .then(|| "no schedule of a key of the stock volume".to_owned());
    bench.answer(Schedules, schedules, evidence.schedules)?;
    Ok(held)
}

/// The new kernel uses most pages that the last one used while it booted. What it leaves alone must
/// have something: so memory is taken first, and the control's key is in more than one volume.
fn kexec(bench: &mut Bench) -> Result<()> {
    bench.arm()?;
    bench
        .guest
        .vm
        .check("dd if=/dev/zero of=/run/ballast bs=1M count=150 2>/dev/null")?;
    bench.open()?;
    let key = bench.known.control.clone();
    for number in 0..32 {
        let opened = bench.guest.try_open_volume(
            &format!("{STOCK}{number}"),
            "aes-xts-plain64",
            &key,
            "/dev/disk/plain",
            &[],
        )?;
        if let Err(said) = opened {
            bail!("dmsetup could not open a control volume: {said}");
        }
    }
    bench.guest.vm.check("rm /run/ballast")?;
    load_kernel(bench, "-l", "console=ttyS0 panic=-1")?;
    let _load = bench.work()?;
    bench.look(Holders::Every)?;
    bench.remember_shares("before kexec")?;
    leave(bench, "kexec -e")?;
    bench.look(Holders::Nobody)?;
    bench.ask_stores()
}
