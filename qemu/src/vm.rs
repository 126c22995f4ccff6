// SPDX-License-Identifier: GPL-2.0-or-later

//! One virtual machine.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use base64::engine::general_purpose::STANDARD as BASE64;
use base64::Engine as _;

use crate::console::Console;
use crate::instructions::Marks;
use crate::memory::Ram;
use crate::shell::{Input, Shell};
use crate::store_watch::StoreWatch;
use crate::{symbols, Accel, DebugRegisters, Debugger, Hang, Output, Prompt, Qmp};

/// How long a command may take unless the caller says otherwise: an emulated CPU whose stores are
/// watched, on a host that does other things too, is slow.
const COMMAND_LIMIT: Duration = Duration::from_secs(240);

/// How long the guest may take to boot; under emulation on a loaded host it takes some seconds.
const BOOT_LIMIT: Duration = Duration::from_secs(300);

/// How much longer everything may take while every store is checked, on a loaded host.
pub(crate) const WATCHED: u32 = 5;

/// A process that ends with its owner.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running VM; QEMU is killed when it is dropped.
pub struct Vm {
    pub(crate) shell: Shell,
    pub(crate) qmp: Qmp,
    /// Where a debugger attaches, until one has.
    pub(crate) gdb: Option<UnixStream>,
    pub(crate) child: Process,
    pub(crate) console: Console,
    pub(crate) ram: Ram,
    pub(crate) accel: Accel,
    pub(crate) stopped: bool,
    /// How many times as long as usual everything may take.
    pub(crate) patience: u32,
    pub(crate) watch: Option<StoreWatch>,
    pub(crate) marks: Option<Marks>,
}

impl Vm {
    /// What executes the guest's instructions.
    pub fn accel(&self) -> Accel {
        self.accel
    }

    /// The kernel's log.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// The machine's control channel. To stop and continue use [`Vm::stop`] and [`Vm::cont`].
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// Waits for the shell: after a reboot, or after [`crate::VmConfig::start`].
    ///
    /// # Errors
    /// If the shell does not come up within five minutes.
    pub fn wait_ready(&mut self) -> Result<()> {
        self.shell.wait_ready(self.limit(BOOT_LIMIT))
    }

    /// Runs a shell command as root and waits for its end, at most four minutes.
    ///
    /// The command is seen by `ps` and stays in the guest's memory: no secret belongs into it.
    ///
    /// # Errors
    /// If the guest hangs or ends ([`Hang`]); a command that fails is no error.
    pub fn run(&mut self, command: &str) -> Result<Output> {
        self.run_for(command, COMMAND_LIMIT)
    }

    /// [`Vm::run`] with another time limit.
    ///
    /// # Errors
    /// See [`Vm::run`].
    pub fn run_for(&mut self, command: &str, limit: Duration) -> Result<Output> {
        self.talk(command, Input::None, limit)
    }

    fn talk(&mut self, command: &str, input: Input<'_>, limit: Duration) -> Result<Output> {
        let limit = self.limit(limit);
        self.shell.run(command, input, limit).map_err(|mut error| {
            if let Some(hang) = error.downcast_mut::<Hang>() {
                let places = self.qmp.places();
                hang.cpus = places.unwrap_or_else(|e| format!("{e:#}"));
            }
            error
        })
    }

    /// How long this VM may take for what usually takes no longer than `usual`: a kernel that looks for
    /// bugs is slow, and so is a CPU whose stores are watched.
    pub fn limit(&self, usual: Duration) -> Duration {
        usual * self.patience
    }

    /// Runs a command that must succeed, and returns its output as text.
    ///
    /// # Errors
    /// See [`Vm::run`], and if the command fails.
    pub fn check(&mut self, command: &str) -> Result<String> {
        self.check_for(command, COMMAND_LIMIT)
    }

    /// [`Vm::check`] with another time limit.
    ///
    /// # Errors
    /// See [`Vm::check`].
    pub fn check_for(&mut self, command: &str, limit: Duration) -> Result<String> {
        let output = self.run_for(command, limit)?;
        succeeded(command, &output)?;
        Ok(output.text())
    }

    /// Starts a command that freezes or ends the guest. It begins half a second after this call's own
    /// command is over, so that the shell can still say that; nobody waits for its end.
    ///
    /// # Errors
    /// See [`Vm::run`].
    pub fn start_later(&mut self, command: &str) -> Result<()> {
        self.check(&format!(
            "(while kill -0 $$; do usleep 20000; done; sleep 0.5; {command}) \
             </dev/null >/dev/null 2>&1 &"
        ))
        .map(drop)
    }

    /// Runs a command with these bytes, and then the end, as its standard input.
    ///
    /// They go over the serial line and through a pipe: into no argument, variable or file.
    ///
    /// # Errors
    /// See [`Vm::run`].
    pub fn run_with_input(&mut self, command: &str, input: &[u8]) -> Result<Output> {
        self.talk(command, Input::Bytes(input), COMMAND_LIMIT)
    }

    /// Runs a command on the terminal and types the answers to its prompts, each once it appears.
    ///
    /// The terminal does not echo, and the kernel wipes its buffers for it. If the command ends
    /// before it asked, what it wrote comes back.
    ///
    /// # Errors
    /// See [`Vm::run`].
    pub fn run_with_prompts(&mut self, command: &str, prompts: &[Prompt<'_>]) -> Result<Output> {
        self.talk(command, Input::Prompts(prompts), COMMAND_LIMIT)
    }

    /// Runs a command as the unprivileged user 1000, without capabilities.
    ///
    /// # Errors
    /// See [`Vm::run`].
    pub fn run_as_user(&mut self, command: &str) -> Result<Output> {
        let quoted = command.replace('\'', r"'\''");
        self.run(&format!(
            "setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=-all sh -c '{quoted}'"
        ))
    }

    /// Reads a small file of the guest.
    ///
    /// # Errors
    /// If it cannot be read, or the guest hangs.
    pub fn read_file(&mut self, path: &str) -> Result<Vec<u8>> {
        let text = self.check(&format!("base64 -w 0 '{path}'"))?;
        BASE64
            .decode(text.trim())
            .with_context(|| format!("{path} came back damaged"))
    }

    /// Writes a small file that is no secret into the guest.
    ///
    /// # Errors
    /// If it cannot be written, or the guest hangs.
    pub fn write_file(&mut self, path: &str, contents: &[u8]) -> Result<()> {
        let command = format!("cat >'{path}'");
        let output = self.run_with_input(&command, contents)?;
        succeeded(&command, &output)
    }

    /// DR0 to DR7 of every CPU, as the machine holds them: the guest takes no part in this.
    ///
    /// # Errors
    /// If QEMU does not answer.
    pub fn debug_registers(&mut self) -> Result<Vec<DebugRegisters>> {
        self.qmp.debug_registers()
    }

    /// The watch over every store, for a VM that [`crate::VmConfig::watch_stores`] was asked for.
    ///
    /// Each call first asks the running guest for its symbols, if its modules have changed. What
    /// a module did that came and went between two calls has addresses instead of names.
    ///
    /// # Errors
    /// If the VM was started without it, or the guest does not answer.
    pub fn store_watch(&mut self) -> Result<&mut StoreWatch> {
        let watch = self.watch.as_mut().context(
            "nobody watches the stores of this VM: start it with VmConfig::watch_stores",
        )?;
        if !self.stopped && self.child.0.try_wait()?.is_none() {
            read_symbols(&mut self.shell, watch, BOOT_LIMIT * self.patience)?;
        }
        Ok(watch)
    }

    /// How many instructions all CPUs had begun, since power-on, whenever a program executed the mark
    /// since the last call; for a VM that [`crate::VmConfig::count_instructions`] was asked for.
    ///
    /// With one CPU the counts are exact; with several, what the others do at that moment may be in
    /// it or not. An instruction that a page fault makes run again is counted again.
    ///
    /// # Errors
    /// If the VM was started without it.
    pub fn take_marks(&mut self) -> Result<Vec<u64>> {
        let marks = self.marks.as_mut().context(
            "nobody counts the instructions of this VM: start it with VmConfig::count_instructions",
        )?;
        marks.take()
    }

    /// Stops all CPUs.
    ///
    /// # Errors
    /// If QEMU does not answer.
    pub fn stop(&mut self) -> Result<()> {
        self.qmp.stop()?;
        self.stopped = true;
        Ok(())
    }

    /// Lets the CPUs run again.
    ///
    /// # Errors
    /// If QEMU does not answer.
    pub fn cont(&mut self) -> Result<()> {
        // Even a failed attempt may have set the CPUs going.
        self.stopped = false;
        self.qmp.cont()
    }

    /// Stops all CPUs, for a debugger to drive them; once in the life of a VM.
    ///
    /// # Errors
    /// If a debugger was attached before, the VM is not emulated, or QEMU does not answer.
    pub fn debugger(&mut self) -> Result<Debugger<'_>> {
        let line = self.gdb.take();
        let line = line.context("a debugger was attached to this VM before: boot another")?;
        Debugger::attach(self, line)
    }

    /// Takes note that the CPUs were stopped, or are about to run, otherwise than by
    /// [`Vm::stop`] and [`Vm::cont`].
    pub(crate) fn note_stopped(&mut self, stopped: bool) {
        self.stopped = stopped;
    }

    /// All of the stopped guest's RAM; the index is the guest-physical address.
    ///
    /// # Errors
    /// If the guest is running.
    pub fn ram(&self) -> Result<&[u8]> {
        ensure!(
            self.stopped,
            "the guest is running and its RAM changes: stop it first"
        );
        Ok(self.ram.bytes())
    }

    /// Writes the stopped guest's RAM to a raw file; pages of zeros become holes.
    ///
    /// # Errors
    /// If the guest is running, or the file cannot be written.
    pub fn dump_to(&self, path: &Path) -> Result<()> {
        self.ram()?;
        self.ram.dump_to(path)
    }

    /// Ends QEMU and returns all of the guest's RAM as it was then.
    ///
    /// # Errors
    /// If QEMU cannot be waited for.
    pub fn kill(mut self) -> Result<DeadRam> {
        self.child.0.kill().context("cannot kill QEMU")?;
        self.child.0.wait().context("cannot wait for QEMU")?;
        Ok(DeadRam(self.ram))
    }

    /// Waits until QEMU ends by itself: after a power-off, or a panic of the guest.
    ///
    /// # Errors
    /// If it still runs after `limit`, with the end of the kernel's log.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<ExitStatus> {
        let limit = self.limit(limit);
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.0.try_wait().context("cannot wait for QEMU")? {
                return Ok(status);
            }
            if start.elapsed() > limit {
                bail!(
                    "the guest still runs after {limit:?}; its kernel's log ends:\n{}",
                    self.console.tail(30)
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Powers the guest off as its own `poweroff -f` does, and waits for the end of QEMU.
    ///
    /// # Errors
    /// If that takes more than half a minute.
    pub fn power_off(mut self) -> Result<()> {
        // The line closes before the command's end is reported, which is what we want here.
        match self.run_for("sync; poweroff -f", Duration::from_secs(30)) {
            Err(error) if error.downcast_ref::<Hang>().is_some_and(|h| h.gone) => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        self.wait_exit(Duration::from_secs(30)).map(drop)
    }
}

/// RAM of a VM that has ended.
pub struct DeadRam(Ram);

impl DeadRam {
    /// All bytes; the index is the guest-physical address.
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

fn read_symbols(shell: &mut Shell, watch: &mut StoreWatch, limit: Duration) -> Result<()> {
    let mut ask = |command: &str| {
        let output = shell.run(command, Input::None, limit)?;
        succeeded(command, &output)?;
        Ok::<_, anyhow::Error>(output.text())
    };
    let modules = ask(symbols::MODULES)?;
    if watch.symbols.are_current(&modules) {
        return Ok(());
    }
    ask(symbols::KALLSYMS)?;
    let lines = fs::read(&watch.symbols_file).with_context(|| {
        format!(
            "cannot read the guest's symbols in {}",
            watch.symbols_file.display()
        )
    })?;
    if let Some(kernel) = watch.symbols.read(&modules, &lines)? {
        watch.set_kernel(kernel)?;
    }
    Ok(())
}

fn succeeded(command: &str, output: &Output) -> Result<()> {
    ensure!(
        output.success(),
        "in the guest, `{command}` ended with status {}: {}",
        output.status,
        output.text()
    );
    Ok(())
}
