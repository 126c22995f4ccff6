// SPDX-License-Identifier: GPL-2.0-or-later

//! The guest as tests see it: the module, its device, and looks from outside.

use std::mem::offset_of;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use tresor_guest::mask;
use tresor_qemu::Vm;
use tresor_uapi as uapi;

use super::secrets::{Key, Look};
use crate::kernel_log::complaints;

/// Where the tests' program is in the guest.
pub const PROGRAM: &str = "/usr/bin/tresor-guest";

/// What the STATUS ioctl reports.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of `tresor_uapi::Status`")]
pub struct Status {
    pub state: u32,
    pub check: [u8; uapi::CHECK_LEN],
    pub cpus_online: u32,
    pub cpus_armed: u32,
    pub volumes: u32,
    pub waiting: u32,
    pub armings: u64,
    pub refreshes: u64,
    pub losses: u64,
    pub nmi_restarts: u64,
    pub hopped: u64,
    pub parked: u64,
    pub engine: String,
    pub version: String,
}

/// A booted VM.
pub struct Guest {
    /// The machine.
    pub vm: Vm,
    /// Whether `--all` was given: loops are longer.
    pub all: bool,
    /// What the kernel said since the test began, as far as it was read.
    log: String,
    /// Whether the test provokes messages that are an error elsewhere.
    provokes: bool,
    /// Whether the machine is of no further use.
    spent: bool,
    /// What the test has to say of what it did.
    remark: String,
}

impl Guest {
    /// Wraps a VM that has just booted.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn new(vm: Vm, all: bool) -> Result<Self> {
        let mut guest = Self {
            vm,
            all,
            log: String::new(),
            provokes: false,
            spent: false,
            remark: String::new(),
        };
        // The kernel's own boot is not what is tested here.
        guest.vm.check("dmesg -c >/dev/null")?;
        Ok(guest)
    }

    /// Says that this test makes the kernel complain, and checks for that itself.
    pub fn provokes_complaints(&mut self) {
        self.provokes = true;
    }

    /// Has the summary say this of the test, if it passes.
    pub fn remark(&mut self, text: &str) {
        text.clone_into(&mut self.remark);
    }

    /// What [`Guest::remark`] was last told, once.
    pub fn take_remark(&mut self) -> String {
        std::mem::take(&mut self.remark)
    }

    /// Says that the machine cannot be used after this test.
    pub fn spend(&mut self) {
        self.spent = true;
    }

    /// Whether [`Guest::spend`] was called.
    pub fn is_spent(&self) -> bool {
        self.spent
    }

    /// Ends a test that went well: unloads what is loaded, and reads the kernel's complaints.
    ///
    /// # Errors
    /// If something is still in use, or the kernel complained.
    pub fn finish(&mut self) -> Result<()> {
        let log = if self.spent {
            self.vm.console().text()?
        } else {
            self.vm.check(
                "cd /sys/module; for m in tresor_test tresor; do [ ! -e $m ] || rmmod $m; done",
            )?;
            let left = self.vm.check("dmsetup ls")?;
            ensure!(
                left == "No devices found",
                "the test left volumes open: {left}"
            );
            self.read_log()?;
            std::mem::take(&mut self.log)
        };
        if !std::mem::take(&mut self.provokes) {
            let complaints = complaints(&log);
            ensure!(
                complaints.is_empty(),
                "the kernel complained: {}",
                complaints.join("; ")
            );
        }
        Ok(())
    }

    fn read_log(&mut self) -> Result<()> {
        let more = self.vm.check("dmesg -c")?;
        self.log.push_str(&more);
        self.log.push('\n');
        Ok(())
    }

    /// All that the kernel said since the test began.
    ///
    /// # Errors
    /// If the guest does not answer.
    pub fn log(&mut self) -> Result<&str> {
        self.read_log()?;
        Ok(&self.log)
    }

    /// Waits until the kernel has said `text` since the test began.
    ///
    /// # Errors
    /// If it does not within ten seconds.
    pub fn wait_for_log(&mut self, text: &str) -> Result<()> {
        self.wait(
            Duration::from_secs(10),
            &format!("{text:?} in the kernel's log"),
            |guest| Ok(guest.log()?.contains(text)),
        )
    }

    /// Polls until `done` says so; see [`Vm::limit`].
    ///
    /// # Errors
    /// Those of `done`, and when `limit` is over.
    pub fn wait(
        &mut self,
        limit: Duration,
        what: &str,
        mut done: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let limit = self.vm.limit(limit);
        let start = Instant::now();
        while !done(self)? {
            ensure!(start.elapsed() < limit, "no {what} within {limit:?}");
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// How many seconds a loop needs here to get as far as in `usual` seconds on a stock kernel.
    pub fn seconds(&self, usual: u64) -> u64 {
        self.vm.limit(Duration::from_secs(usual)).as_secs()
    }

    /// Runs a command that must end with this status and print exactly this.
    ///
    /// # Errors
    /// If it does something else.
    pub fn expect(&mut self, command: &str, status: i32, text: &str) -> Result<()> {
        let output = self.vm.run(command)?;
        ensure!(
            (output.status, output.text().as_str()) == (status, text),
            "`{command}` ended with {} and said {:?} instead of {status} and {text:?}",
            output.status,
            output.text()
        );
        Ok(())
    }

    /// Loads the module.
    ///
    /// # Errors
    /// If it refuses, with what the kernel said.
    pub fn insert(&mut self) -> Result<()> {
        let output = self.vm.run("modprobe tresor")?;
        if !output.success() {
            bail!(
                "modprobe: {}; the kernel said:\n{}",
                output.text(),
                self.log()?
            );
        }
        Ok(())
    }

    /// Unloads the module.
    ///
    /// # Errors
    /// If it is in use.
    pub fn remove(&mut self) -> Result<()> {
        self.vm.check("rmmod tresor").map(drop)
    }

    /// Runs the tests' program; its output.
    ///
    /// # Errors
    /// If it could not do what it was asked to.
    pub fn program(&mut self, arguments: &str) -> Result<String> {
        self.vm
            .check_for(&format!("{PROGRAM} {arguments}"), Duration::from_secs(120))
    }

    /// Runs the tests' program with the masked key as its input; its output.
    ///
    /// # Errors
    /// If it could not do what it was asked to.
    pub fn program_with_key(&mut self, arguments: &str, key: &Key) -> Result<String> {
        let mut masked = key.m;
        mask(&mut masked);
        let output = self
            .vm
            .run_with_input(&format!("{PROGRAM} {arguments}"), &masked)?;
        ensure!(output.success(), "{arguments}: {}", output.text());
        Ok(output.text())
    }

    /// LOAD, which must succeed.
    ///
    /// # Errors
    /// If it does not.
    pub fn load(&mut self, key: &Key) -> Result<()> {
        let result = self.program_with_key("load", key)?;
        ensure!(result == "ok", "loading the key: {result}");
        Ok(())
    }

    /// The module loaded, and a new key in it.
    ///
    /// # Errors
    /// If one of them fails, or a CPU stays without the key.
    pub fn insert_and_load(&mut self) -> Result<Key> {
        self.insert()?;
        self.load_new()
    }

    /// A new key in the module.
    ///
    /// # Errors
    /// If it cannot be loaded, or a CPU stays without it.
    pub fn load_new(&mut self) -> Result<Key> {
        let key = Key::random()?;
        self.load(&key)?;
        let status = self.status()?;
        ensure!(
            status.state == uapi::STATE_ARMED && status.cpus_armed == status.cpus_online,
            "not every CPU is armed: {status:?}"
        );
        Ok(key)
    }

    /// An ioctl on `arg`: `ok` and the buffer in hex, or the error's name.
    ///
    /// # Errors
    /// If the device cannot be opened.
    pub fn ioctl(&mut self, nr: u32, arg: &[u8]) -> Result<String> {
        let arg = if arg.is_empty() {
            String::new()
        } else {
            format!("arg={}", hex::encode(arg))
        };
        self.program(&format!("ioctl nr={nr:x} {arg}"))
    }

    /// LOCK.
    ///
    /// # Errors
    /// If the device cannot be opened.
    pub fn lock(&mut self) -> Result<String> {
        self.ioctl(uapi::LOCK, &[])
    }

    /// CLEAR with these flags.
    ///
    /// # Errors
    /// If the device cannot be opened.
    pub fn clear(&mut self, flags: u32) -> Result<String> {
        let mut arg = [0; size_of::<uapi::Clear>()];
        arg[..4].copy_from_slice(&flags.to_le_bytes());
        let answer = self.ioctl(uapi::CLEAR, &arg)?;
        Ok(answer.split(' ').next().unwrap_or_default().to_owned())
    }

    /// STATUS.
    ///
    /// # Errors
    /// If it fails.
    pub fn status(&mut self) -> Result<Status> {
        let answer = self.ioctl(uapi::STATUS, &[0; size_of::<uapi::Status>()])?;
        let bytes = answer
            .strip_prefix("ok ")
            .with_context(|| format!("STATUS: {answer}"))?;
        let bytes = hex::decode(bytes)?;
        let long =
            |at: usize| -> Result<u64> { Ok(u64::from_le_bytes(bytes[at..at + 8].try_into()?)) };
        let int =
            |at: usize| -> Result<u32> { Ok(u32::from_le_bytes(bytes[at..at + 4].try_into()?)) };
        let text = |at: usize| {
            let field = &bytes[at..at + 16];
            String::from_utf8_lossy(field)
                .trim_end_matches('\0')
                .to_owned()
        };
        let check = offset_of!(uapi::Status, check);
        ensure!(
            int(offset_of!(uapi::Status, abi))? == uapi::ABI,
            "STATUS is of another ABI"
        );
        Ok(Status {
            state: int(offset_of!(uapi::Status, state))?,
            check: bytes[check..check + uapi::CHECK_LEN].try_into()?,
            cpus_online: int(offset_of!(uapi::Status, cpus_online))?,
            cpus_armed: int(offset_of!(uapi::Status, cpus_armed))?,
            volumes: int(offset_of!(uapi::Status, volumes))?,
            waiting: int(offset_of!(uapi::Status, waiting))?,
            armings: long(offset_of!(uapi::Status, armings))?,
            refreshes: long(offset_of!(uapi::Status, refreshes))?,
            losses: long(offset_of!(uapi::Status, losses))?,
            nmi_restarts: long(offset_of!(uapi::Status, nmi_restarts))?,
            hopped: long(offset_of!(uapi::Status, hopped))?,
            parked: long(offset_of!(uapi::Status, parked))?,
            engine: text(offset_of!(uapi::Status, engine)),
            version: text(offset_of!(uapi::Status, version)),
        })
    }

    /// Fails unless the state is `state`.
    ///
    /// # Errors
    /// With the whole status.
    pub fn ensure_state(&mut self, state: u32) -> Result<Status> {
        let status = self.status()?;
        ensure!(
            status.state == state,
            "the state is not {state}: {status:?}"
        );
        Ok(status)
    }

    /// Stops the machine, looks at it, and lets it go on.
    ///
    /// # Errors
    /// If QEMU does not answer.
    pub fn look(&mut self, key: &Key) -> Result<Look> {
        self.while_stopped(|vm| {
            let cpus = vm.debug_registers()?;
            Look::at(vm.ram()?, cpus, key)
        })
    }

    /// [`Guest::look`] at a guest that must hold the key on every CPU.
    ///
    /// # Errors
    /// If it does not.
    pub fn look_armed(&mut self, key: &Key) -> Result<Look> {
        // The machine may have been stopped between the two halves of a refresh.
        for _ in 0..2 {
            let look = self.look(key)?;
            if look.armed() {
                return Ok(look);
            }
            // Stopped at once again, the CPU would stand there still.
            thread::sleep(Duration::from_millis(50));
        }
        let look = self.look(key)?;
        ensure!(
            look.armed(),
            "M xor DR_c is not in RAM for every CPU: {:?}, registers clear: {:?}",
            look.shares,
            look.cpus
                .iter()
                .map(|cpu| cpu.is_clear())
                .collect::<Vec<_>>()
        );
        Ok(look)
    }

    /// Stops the machine for as long as `action` takes.
    ///
    /// # Errors
    /// Those of `action`, and if QEMU does not answer.
    pub fn while_stopped<T>(&mut self, action: impl FnOnce(&mut Vm) -> Result<T>) -> Result<T> {
        self.vm.stop()?;
        let result = action(&mut self.vm);
        self.vm.cont()?;
        result
    }
}
