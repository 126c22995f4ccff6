// SPDX-License-Identifier: GPL-2.0-or-later

//! The stock kernel as a guest of KVM, in the tree's own QEMU, beside open volumes.

use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use tresor_qemu::{Cache, VmConfig};
use tresor_uapi::STATE_ARMED;

use super::guest::Guest;
use super::kvm::{close_busy, load_kvm, open_busy};

/// Firmware that the inner QEMU needs.
const FIRMWARE: [&str; 3] = [
    "usr/share/seabios/bios-256k.bin",
    "usr/share/qemu/kvmvapic.bin",
    "usr/share/qemu/linuxboot_dma.bin",
];

/// The inner guest's first and only program.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox mount -t devtmpfs none /dev
/bin/busybox mount -t proc none /proc
echo CPUS $(/bin/busybox nproc) >/dev/ttyS0
/bin/busybox poweroff -f
";

/// Makes the inner guest's initramfs.
const PREPARE: &str = "\
    mkdir -p /run/inner/bin /run/inner/dev /run/inner/proc && cd /run/inner && \
    cp /usr/bin/busybox bin && cat >init && chmod 755 init && \
    busybox find . | busybox cpio -o -H newc >/run/inner.cpio";

/// Boots the inner guest, which ends by itself.
const BOOT: &str = "\
    timeout 500 qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
    -L /usr/share/qemu -L /usr/share/seabios -machine q35,accel=kvm -cpu max -smp 4 -m 256 \
    -serial file:/run/inner.log -kernel /boot/vmlinuz -initrd /run/inner.cpio \
    -append 'console=ttyS0 quiet panic=-1' 2>&1";

/// Has the VM's kernel note each exit of a guest at an access to a debug register: codes 0x20 to 0x3f of the
/// AMD64 Architecture Programmer's Manual volume 2, appendix C.
const TRACE: &str = "\
    cd /sys/kernel/tracing || exit 1; [ -e events ] || mount -t tracefs none .; \
    cd /sys/kernel/tracing && echo >trace && \
    echo 'exit_reason >= 32 && exit_reason <= 63' >events/kvm/kvm_exit/filter && \
    echo 1 >events/kvm/kvm_exit/enable";

pub(super) fn machine(usual: VmConfig) -> VmConfig {
    let mut machine = usual
        .smp("4")
        .memory_mib(1024)
        .modules(["kvm-amd"])
        .program("usr/bin/qemu-system-x86_64");
    // Without a cache no VM boots, and that says so.
    if let Ok(cache) = Cache::open() {
        machine = machine.file("boot/vmlinuz", 0o644, &cache.vmlinuz);
        for file in FIRMWARE {
            machine = machine.file(file, 0o644, &cache.tree.join(file));
        }
    }
    machine
}

pub(super) fn a_stock_kernel_that_boots_as_a_guest_takes_the_key_from_no_cpu(
    guest: &mut Guest,
) -> Result<()> {
    load_kvm(guest)?;
    let key = guest.insert_and_load()?;
    let output = guest.vm.run_with_input(PREPARE, INIT.as_bytes())?;
    ensure!(output.success(), "no initramfs: {}", output.text());
    guest.vm.check(TRACE)?;
    open_busy(guest)?;
    let before = guest.status()?;
    let start = Instant::now();
    let boots = 2;
    for _ in 0..boots {
        let said = guest.vm.run_for(BOOT, Duration::from_secs(520))?;
        let log = guest.vm.check("tail -n 20 /run/inner.log")?;
        ensure!(
            said.success() && log.contains("CPUS 4"),
            "it did not boot: {}; it said: {log}",
            said.text()
        );
    }
    let took = start.elapsed().as_secs() / boots;
    let after = guest.ensure_state(STATE_ARMED)?;
    ensure!(
        (after.losses, after.armings, after.hopped, after.parked)
            == (before.losses, before.armings, before.hopped, before.parked),
        "{before:?}, then {after:?}"
    );
    // Each of its CPUs writes DR0-DR3, DR6 and DR7 while it boots.
    let accesses = guest.vm.check(
        "cd /sys/kernel/tracing && echo 0 >events/kvm/kvm_exit/enable && grep -c kvm_exit: trace",
    )?;
    let accesses: u64 = accesses.parse().context("no count of exits")?;
    ensure!(
        accesses >= boots * 4 * 6,
        "the guests accessed debug registers {accesses} times only"
    );
    let requests = close_busy(guest, &key)?;
    guest.remark(&format!(
        "{boots} boots of {took} s with 4 CPUs and {accesses} accesses to debug registers, \
         {requests} requests, no loss"
    ));
    Ok(())
}
