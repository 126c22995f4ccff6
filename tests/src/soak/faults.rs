// SPDX-License-Identifier: GPL-2.0-or-later

//! What is done to the machine.

use std::thread;
use std::time::Duration;

use anyhow::{ensure, Result};
use tresor_uapi::{STATE_ARMED, STATE_LOCKED};

use super::Soak;
use crate::vmtest::guest::Guest;
use crate::vmtest::hotplug::set_online;
use crate::vmtest::secrets::{Found, Key};
use crate::vmtest::sleep::{ensure_clear_asleep, sleep, WAYS};

/// A kind of fault.
pub(super) struct Fault {
    /// Its name in the report.
    pub(super) name: &'static str,
    /// Does it.
    pub(super) run: fn(&mut Soak) -> Result<()>,
}

/// The kinds that are drawn: all, or all but those with guests of KVM.
pub(super) fn kinds(kvm: bool) -> Vec<&'static Fault> {
    FAULTS.iter().chain(KVM.iter().filter(|_| kvm)).collect()
}

/// Guests of KVM, which in an emulated machine hang now and then, and have crashed its kernel.
const KVM: &[Fault] = &[
    Fault {
        name: "kvm-guests",
        run: kvm_guests,
    },
    Fault {
        name: "kvm-breakpoints",
        run: |soak| {
            let cpu = soak.below(4).to_string();
            kvm_breakpoints(soak, &cpu)
        },
    },
    Fault {
        name: "kvm-breakpoints-all",
        run: |soak| kvm_breakpoints(soak, "0,1,2,3"),
    },
];

const FAULTS: &[Fault] = &[
    Fault {
        name: "cpu-offline",
        run: cpu_offline,
    },
    Fault {
        name: "registers-of-one",
        run: registers_of_one,
    },
    Fault {
        name: "registers-of-all",
        run: registers_of_all,
    },
    Fault {
        name: "lock",
        run: lock,
    },
    Fault {
        name: "wrong-key",
        run: wrong_key,
    },
    Fault {
        name: "suspend-to-idle",
        run: |soak| suspend(soak, WAYS[0]),
    },
    Fault {
        name: "suspend-to-ram",
        run: |soak| suspend(soak, WAYS[1]),
    },
    Fault {
        name: "nmi",
        run: nmi,
    },
    Fault {
        name: "registers-printed",
        run: registers_printed,
    },
    Fault {
        name: "debugger",
        run: debugger,
    },
    Fault {
        name: "table-suspend",
        run: table_suspend,
    },
    Fault {
        name: "table-reload",
        run: table_reload,
    },
    Fault {
        name: "volume-key-wipe",
        run: volume_key_wipe,
    },
    Fault {
        name: "out-of-memory",
        run: out_of_memory,
    },
    Fault {
        name: "clear-and-unload",
        run: clear_and_unload,
    },
    Fault {
        name: "dump",
        run: dump,
    },
];

fn pause(soak: &mut Soak, most_ms: u64) {
    let ms = soak.below(most_ms);
    thread::sleep(Duration::from_millis(ms));
}

fn cpu_offline(soak: &mut Soak) -> Result<()> {
    let cpu = 1 + soak.below(3) as u32;
    set_online(&mut soak.guest, cpu, false)?;
    pause(soak, 500);
    set_online(&mut soak.guest, cpu, true)
}

fn clobber(soak: &mut Soak, cpu: u64) -> Result<()> {
    soak.guest
        .vm
        .check(&format!("echo clobber {cpu} >/proc/tresor_test"))
        .map(drop)
}

fn registers_of_one(soak: &mut Soak) -> Result<()> {
    let losses = soak.guest.status()?.losses;
    let cpu = soak.below(4);
    clobber(soak, cpu)?;
    soak.guest
        .wait(Duration::from_secs(20), "noticed loss", |guest| {
            Ok(guest.ensure_state(STATE_ARMED)?.losses > losses)
        })
}

fn registers_of_all(soak: &mut Soak) -> Result<()> {
    let losses = soak.guest.status()?.losses;
    // At once, as far as a shell can.
    soak.guest
        .vm
        .check("for cpu in 0 1 2 3; do echo clobber $cpu >/proc/tresor_test & done; wait")?;
    soak.guest
        .wait(Duration::from_secs(20), "look of the keeper", |guest| {
            let status = guest.status()?;
            let over = status.state == STATE_LOCKED || status.cpus_armed == status.cpus_online;
            Ok(over && status.losses > losses)
        })?;
    pause(soak, 500);
    Ok(())
}

fn lock(soak: &mut Soak) -> Result<()> {
    ensure!(soak.guest.lock()? == "ok", "it cannot be locked");
    soak.guest
        .wait(Duration::from_secs(10), "parked request", |guest| {
            Ok(guest.ensure_state(STATE_LOCKED)?.waiting != 0)
        })?;
    soak.guest.look(&soak.key)?.ensure_clear()?;
    pause(soak, 1000);
    Ok(())
}

fn wrong_key(soak: &mut Soak) -> Result<()> {
    lock(soak)?;
    let said = soak.guest.program_with_key("load", &Key::random()?)?;
    ensure!(said == "EKEYREJECTED", "another key: {said}");
    soak.guest.ensure_state(STATE_LOCKED).map(drop)
}

fn suspend(soak: &mut Soak, way: (&str, &str)) -> Result<()> {
    sleep(&mut soak.guest, way, ensure_clear_asleep)?;
    soak.guest.ensure_state(STATE_LOCKED).map(drop)
}

/// Guests that do what each does while it boots. The key stays on every CPU.
fn kvm_guests(soak: &mut Soak) -> Result<()> {
    let losses = soak.guest.status()?.losses;
    soak.guest
        .program("kvm mode=boot cpus=0,1,2,3 ms=300 guests=2")?;
    let status = soak.guest.ensure_state(STATE_ARMED)?;
    ensure!(status.losses == losses, "a guest took the key: {status:?}");
    Ok(())
}

/// A guest that has breakpoints of its own takes the registers where it runs.
fn kvm_breakpoints(soak: &mut Soak, cpus: &str) -> Result<()> {
    let losses = soak.guest.status()?.losses;
    soak.guest.program(&format!(
        "kvm mode=clobber cpus={cpus} ms=500 breakpoints=1"
    ))?;
    soak.guest
        .wait(Duration::from_secs(20), "noticed loss", |guest| {
            Ok(guest.status()?.losses > losses)
        })
}

fn nmi(soak: &mut Soak) -> Result<()> {
    let count = |guest: &mut Guest| -> Result<u64> {
        let text = guest.vm.check("awk '/NMI:/ {print $2}' /proc/interrupts")?;
        Ok(text.parse()?)
    };
    let before = count(&mut soak.guest)?;
    // Those that come while one is pending are one with it.
    soak.guest.wait(Duration::from_secs(20), "NMIs", |guest| {
        for _ in 0..50 {
            guest.vm.qmp().inject_nmi()?;
        }
        Ok(count(guest)? >= before + 10)
    })?;
    soak.guest.ensure_state(STATE_ARMED).map(drop)
}

fn registers_printed(soak: &mut Soak) -> Result<()> {
    let printed = soak.guest.vm.check(
        "dmesg -c >/dev/null; echo warn >/proc/tresor_test; echo l >/proc/sysrq-trigger; dmesg",
    )?;
    ensure!(
        printed.contains("tresor_test: asked for") && printed.contains("RIP: 0010:"),
        "the kernel printed no registers: {printed}"
    );
    ensure!(
        !printed.contains("DR0:"),
        "debug registers were printed: {printed}"
    );
    soak.guest.ensure_state(STATE_ARMED).map(drop)
}

fn debugger(soak: &mut Soak) -> Result<()> {
    let said = soak.guest.program("perf")?;
    ensure!(said == "task ENOSPC\ncpu ENOSPC", "perf: {said}");
    soak.guest.ensure_state(STATE_ARMED).map(drop)
}

fn table_suspend(soak: &mut Soak) -> Result<()> {
    let volume = soak.below(2);
    soak.guest
        .vm
        .check(&format!("dmsetup suspend busy{volume}"))?;
    pause(soak, 300);
    soak.guest
        .vm
        .check(&format!("dmsetup resume busy{volume}"))
        .map(drop)
}

fn table_reload(soak: &mut Soak) -> Result<()> {
    let volume = soak.below(2);
    soak.guest
        .vm
        .check(&format!(
            "dmsetup table --showkeys busy{volume} | dmsetup reload busy{volume} && \
             dmsetup resume busy{volume}"
        ))
        .map(drop)
}

/// What `luksSuspend` and `luksResume` do, the key locked meanwhile or not.
fn volume_key_wipe(soak: &mut Soak) -> Result<()> {
    let volume = soak.below(2);
    let blob = hex::encode(soak.busy.blobs()[volume as usize]);
    soak.guest.vm.check(&format!(
        "dmsetup suspend busy{volume} && dmsetup message busy{volume} 0 key wipe"
    ))?;
    if soak.below(2) == 0 {
        ensure!(soak.guest.lock()? == "ok", "it cannot be locked");
        pause(soak, 300);
    }
    soak.guest
        .vm
        .check(&format!(
            "dmsetup message busy{volume} 0 key set {blob} && dmsetup resume busy{volume}"
        ))
        .map(drop)
}

fn out_of_memory(soak: &mut Soak) -> Result<()> {
    let locked = soak.below(2) == 0;
    if locked {
        ensure!(soak.guest.lock()? == "ok", "it cannot be locked");
    }
    // More than there is: the kernel kills it, having tried all else.
    let output = soak.guest.vm.run_for(
        "echo 1000 >/proc/self/oom_score_adj; tail -c 1000m /dev/zero >/dev/null; echo $?",
        Duration::from_secs(60),
    )?;
    ensure!(
        output.text().contains("137"),
        "memory did not run out: {}",
        output.text()
    );
    Ok(())
}

fn clear_and_unload(soak: &mut Soak) -> Result<()> {
    ensure!(soak.guest.clear(0)? == "EBUSY", "it was cleared");
    ensure!(
        !soak.guest.vm.run("rmmod tresor")?.success(),
        "the module was unloaded"
    );
    soak.guest.ensure_state(STATE_ARMED).map(drop)
}

/// Looks for M, for what the registers hold, and for the keys of both volumes in all of RAM. The control
/// is what dm-crypt keeps of each, which must be there.
fn dump(soak: &mut Soak) -> Result<()> {
    let mut secrets = vec![("M".to_owned(), soak.key.m.to_vec())];
    let mut controls = Vec::new();
    for (n, blob) in soak.busy.blobs().iter().enumerate() {
        secrets.push((
            format!("key of volume {n}"),
            soak.key.master.xts_key(blob)?.to_vec(),
        ));
        controls.push((format!("blob of volume {n}"), blob.to_vec()));
    }
    let (controls_found, findings) = soak.guest.while_stopped(|vm| {
        for cpu in vm.debug_registers()? {
            ensure!(!cpu.is_clear(), "CPU {} has empty registers", cpu.cpu);
            secrets.push((format!("DR of CPU {}", cpu.cpu), cpu.bytes().to_vec()));
        }
        let ram = vm.ram()?;
        let found = Found::search(ram, &controls)?;
        let all = controls.iter().all(|(name, _)| found.whole(name).is_some());
        Ok((all, Found::search(ram, &secrets)?.any()))
    })?;
    ensure!(controls_found, "a dump does not show the blobs");
    soak.findings += findings.len() as u64;
    ensure!(findings.is_empty(), "RAM holds {}", findings.join(", "));
    Ok(())
}
