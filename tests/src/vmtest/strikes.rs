// SPDX-License-Identifier: GPL-2.0-or-later

//! NMIs at chosen instructions of the engine's share windows.
//!
//! CPU 0 is stopped before an instruction, an NMI is made pending, and the CPU goes on: it takes the
//! NMI before it runs the instruction. It is stopped again at the first instruction of the NMI
//! guard, where the saved frame says what was interrupted and what of it has come to RAM; and behind
//! the return from the NMI, where RAM is searched.

use std::thread;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use tresor_qemu::{Debugger, Registers};

use super::secrets::{Found, Key, Look};
use super::share_windows::{Symbols, Window};

/// The CPU that NMIs from outside reach.
const CPU: usize = 0;

/// How long whatever was set going may take to come to a breakpoint.
const LIMIT: Duration = Duration::from_secs(60);

/// Offsets in `struct pt_regs` (`arch/x86/include/asm/ptrace.h`).
const FRAME_AX: u64 = 80;
const FRAME_IP: u64 = 128;
/// Behind it lies the frame that the return from the NMI uses: first its instruction pointer.
const FRAME_IRET: u64 = 168;

/// `xor %eax, %eax; ret`: a handler that does nothing and claims no NMI.
const NO_GUARD: [u8; 3] = [0x31, 0xc0, 0xc3];
const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// Of any instruction, in bytes. A window no longer than this holds one: it uses a word that is in rax
/// already, or zeroes it.
const LONGEST_INSTRUCTION: u64 = 15;

/// More instructions than from any place in a window through its end to its start again.
const ROUND: usize = 24;

/// What happens besides an NMI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// Nothing.
    Plain,
    /// Another NMI becomes pending at the guard's first instruction, and is taken as soon as the
    /// first one returns: at the same instruction.
    Again,
    /// Another NMI is taken at the guard's first instruction, as it happens after a fault inside the
    /// first, whose return lets NMIs in again.
    Nested,
    /// The guard has been taken out: the control.
    Unguarded,
}

/// What was done so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Instructions in windows that were struck with the guard in place.
    pub struck: usize,
    /// Those of them before which a share was in a general register.
    pub exposed: usize,
    /// Instructions behind windows that were struck.
    pub edges: usize,
    /// Windows whose every instruction was struck.
    pub windows: usize,
    /// NMIs within, or right after, another.
    pub doubles: usize,
    /// Strikes without the guard, each of which left a share in RAM.
    pub controls: usize,
    /// How often the guard must have asked for a window to run again.
    pub restarts: u64,
}

/// A debugger that strikes.
pub(super) struct Striker<'a> {
    /// Drives the machine.
    pub dbg: Debugger<'a>,
    /// What was done.
    pub tally: Tally,
    windows: Vec<Window>,
    guard: u64,
    iret: u64,
}

impl<'a> Striker<'a> {
    /// `symbols` is the guest's `/proc/kallsyms`. The machine is to be stopped.
    pub fn new(mut dbg: Debugger<'a>, symbols: &str) -> Result<Self> {
        let symbols = Symbols::parse(symbols)?;
        let windows = Window::all(&mut dbg, &symbols)?;
        Ok(Self {
            dbg,
            tally: Tally::default(),
            windows,
            guard: symbols.ending("3nmi6handle")?,
            iret: symbols.address("native_irq_return_iret")?,
        })
    }

    /// How many windows the module has.
    pub fn windows(&self) -> usize {
        self.windows.len()
    }

    /// Stops the machine before the first window of this routine when CPU 0 next comes there, strikes
    /// every instruction of all its windows, and leaves the machine stopped behind the last one.
    /// `trigger` makes the CPU come there, unless something that runs does.
    pub fn strike_routine(
        &mut self,
        routine: &str,
        trigger: impl FnOnce(&mut Debugger<'a>) -> Result<()>,
    ) -> Result<()> {
        let of = self.windows.iter().filter(|w| w.routine == routine);
        let windows: Vec<Window> = of.cloned().collect();
        let first = windows.first();
        let first = first.with_context(|| format!("{routine} has no share window"))?;
        self.dbg.insert(first.start)?;
        self.dbg.resume()?;
        trigger(&mut self.dbg)?;
        self.wait_on_cpu(first.start)
            .with_context(|| format!("CPU {CPU} does not come to {routine}"))?;
        self.dbg.remove(first.start)?;
        let mut seen = Seen::default();
        for (i, window) in windows.iter().enumerate() {
            if i > 0 && windows[i - 1].end != window.start {
                let cpu = self.dbg.run_to(window.start, LIMIT)?;
                ensure!(cpu == CPU, "CPU {cpu} came to a window of {routine}");
            }
            let last = windows.get(i + 1).is_none_or(|w| w.start != window.end);
            self.strike_window(window, last, &mut seen)
                .with_context(|| format!("window {i} of {routine}"))?;
        }
        Ok(())
    }

    /// Goes on until CPU 0 stops at `address`, whoever else comes there.
    fn wait_on_cpu(&mut self, address: u64) -> Result<()> {
        loop {
            let cpu = self.dbg.wait(LIMIT)?;
            if cpu == CPU {
                return Ok(());
            }
            self.dbg.remove(address)?;
            self.dbg.step(cpu)?;
            self.dbg.insert(address)?;
            self.dbg.resume()?;
        }
    }

    /// Strikes every instruction of a window, at the first of which CPU 0 stands; and the one behind
    /// it, if no other window begins there.
    fn strike_window(&mut self, window: &Window, edge: bool, seen: &mut Seen) -> Result<()> {
        let long = window.end - window.start > LONGEST_INSTRUCTION;
        let public = self.dbg.registers(CPU)?.general[Registers::RAX];
        let mut at = window.start;
        let mut index = 0;
        while at != window.end {
            ensure!(
                (window.start..window.end).contains(&at),
                "the CPU left the window for {at:#x}"
            );
            // What a window of several instructions begins with runs before any share is read.
            let exposed = !long || index > 0;
            for &how in seen.ways(long, window.redo, index) {
                self.strike(at, Some(window), exposed, how)
                    .with_context(|| format!("instruction {index}, {how:?}"))?;
                if how != How::Unguarded && window.redo {
                    self.dbg.step(CPU)?;
                    self.step_to(window.start)
                        .context("the window did not run again")?;
                    self.step_to(at)?;
                }
            }
            self.tally.struck += 1;
            self.tally.exposed += usize::from(exposed);
            self.dbg.step(CPU)?;
            at = self.dbg.registers(CPU)?.rip;
            index += 1;
        }
        self.tally.windows += 1;
        // The share must not have been in rax before the window began.
        let shares = self.debug_words()?;
        ensure!(
            !long || shares.iter().all(|&(_, word)| word != public),
            "the window begins too late"
        );
        if edge {
            self.strike(at, None, false, How::Plain)
                .context("behind the end")?;
            self.tally.edges += 1;
        }
        Ok(())
    }

    /// Sends an NMI to CPU 0, which stands before the instruction at `at`, and looks what it leaves.
    /// The CPU stands there again afterwards.
    fn strike(&mut self, at: u64, window: Option<&Window>, exposed: bool, how: How) -> Result<()> {
        let before = self.dbg.registers(CPU)?;
        ensure!(before.rip == at, "CPU {CPU} stands at {:#x}", before.rip);
        let word = before.general[Registers::RAX];
        let mut words = self.debug_words()?;
        if exposed {
            ensure!(word != 0, "no share is in rax");
            words.push(("rax".to_owned(), word));
        }
        if window.is_none() {
            ensure!(word == 0, "rax is not zero");
        }
        let code = (how == How::Unguarded)
            .then(|| self.remove_guard())
            .transpose()?;
        self.dbg.insert(self.guard)?;
        self.dbg.vm().qmp().inject_nmi()?;
        let at_guard = self.come_to_guard(at, word)?;
        if how == How::Nested {
            self.nest(at, word, &at_guard)?;
        }
        if how == How::Again {
            self.dbg.vm().qmp().inject_nmi()?;
        }
        if matches!(how, How::Again | How::Nested) {
            self.leave_guard()?;
            self.come_to_guard(at, 0).context("the second NMI")?;
            self.tally.doubles += 1;
        }
        self.dbg.remove(self.guard)?;
        let cpu = self.dbg.run_to(at, LIMIT).context("after the NMI")?;
        ensure!(cpu == CPU, "CPU {cpu} came to a window, too");

        let found = self.search(&words)?;
        if let Some(code) = code {
            self.dbg.write(self.guard, &code)?;
            ensure!(
                found.iter().any(|place| place.contains("rax")),
                "without the guard RAM does not hold the share: {found:?}"
            );
            self.tally.controls += 1;
            return Ok(());
        }
        ensure!(found.is_empty(), "RAM holds {}", found.join(", "));
        let after = self.dbg.registers(CPU)?;
        let mut wanted = before;
        if let Some(window) = window {
            wanted.general[Registers::RAX] = 0;
            if window.redo {
                wanted.general[Registers::R11] = 1;
                self.tally.restarts += match how {
                    How::Again | How::Nested => 2,
                    How::Plain | How::Unguarded => 1,
                };
            }
        }
        ensure!(
            after.general == wanted.general,
            "other registers changed, or rax and r11 did not as they must"
        );
        Ok(())
    }

    /// Lets the CPUs run until CPU 0 is about to run the guard for an NMI at `at`, which has saved
    /// `word` as rax. The guard's breakpoint stays.
    fn come_to_guard(&mut self, at: u64, word: u64) -> Result<Registers> {
        self.dbg.resume()?;
        self.wait_on_cpu(self.guard)
            .context("the NMI does not come to the guard")?;
        let registers = self.dbg.registers(CPU)?;
        let frame = registers.general[Registers::RSI];
        let ip = self.dbg.read_word(frame + FRAME_IP)?;
        ensure!(ip == at, "the NMI came at {ip:#x} instead of {at:#x}");
        // This word is in RAM now.
        let ax = self.dbg.read_word(frame + FRAME_AX)?;
        ensure!(ax == word, "the saved frame does not hold what rax held");
        Ok(registers)
    }

    /// Runs the guard's first instruction, at which the CPU stands.
    fn leave_guard(&mut self) -> Result<()> {
        self.dbg.remove(self.guard)?;
        self.dbg.step(CPU)?;
        self.dbg.insert(self.guard)
    }

    /// Has CPU 0, which stands at the guard's first instruction, take another NMI there.
    ///
    /// The kernel's own IRET instruction returns to where the CPU stands, which lets NMIs in.
    fn nest(&mut self, at: u64, word: u64, at_guard: &Registers) -> Result<()> {
        let rsp = at_guard.general[Registers::RSP];
        let pushed = rsp - 0x100;
        let frame = [
            at_guard.rip,
            at_guard.cs.into(),
            at_guard.eflags.into(),
            rsp,
            at_guard.ss.into(),
        ];
        let bytes: Vec<u8> = frame.into_iter().flat_map(u64::to_le_bytes).collect();
        self.dbg.write(pushed, &bytes)?;
        let mut returning = at_guard.clone();
        returning.general[Registers::RSP] = pushed;
        returning.rip = self.iret;
        self.dbg.set_registers(CPU, &returning)?;
        self.dbg.step(CPU)?;
        let now = self.dbg.registers(CPU)?;
        ensure!(now == *at_guard, "the IRET returned to {:#x}", now.rip);
        self.dbg.vm().qmp().inject_nmi()?;
        let again = self.come_to_guard(at, word)?;
        // The inner NMI tells the outer one to begin once more instead of returning.
        let next = again.general[Registers::RSI] + FRAME_IRET;
        ensure!(
            self.dbg.read_word(next)? != at,
            "no NMI was taken at the guard's first instruction"
        );
        Ok(())
    }

    /// Overwrites the guard by a handler that does nothing; what was there.
    fn remove_guard(&mut self) -> Result<Vec<u8>> {
        let code = self.dbg.read(self.guard, ENDBR64.len() + NO_GUARD.len())?;
        let skip = if code.starts_with(&ENDBR64) {
            ENDBR64.len()
        } else {
            0
        };
        self.dbg.write(self.guard + skip as u64, &NO_GUARD)?;
        Ok(code)
    }

    /// Lets CPU 0 run, instruction by instruction, until it stands before the one at `address`.
    fn step_to(&mut self, address: u64) -> Result<()> {
        for _ in 0..ROUND {
            if self.dbg.registers(CPU)?.rip == address {
                return Ok(());
            }
            self.dbg.step(CPU)?;
        }
        bail!("CPU {CPU} does not come to {address:#x}")
    }

    /// The debug registers of all CPUs that are not zero, by name.
    fn debug_words(&mut self) -> Result<Vec<(String, u64)>> {
        let cpus = self.dbg.vm().debug_registers()?;
        let words = cpus.iter().flat_map(|cpu| {
            let words = cpu.dr.iter().enumerate();
            words.map(|(i, &word)| (format!("DR{i} of CPU {}", cpu.cpu), word))
        });
        Ok(words.filter(|&(_, word)| word != 0).collect())
    }

    /// Where in RAM these words are.
    fn search(&mut self, words: &[(String, u64)]) -> Result<Vec<String>> {
        let secrets: Vec<_> = words
            .iter()
            .map(|(name, word)| (name.clone(), word.to_le_bytes().to_vec()))
            .collect();
        Ok(Found::search(self.dbg.vm().ram()?, &secrets)?.any())
    }

    /// Stops the machine wherever it is, when every CPU holds the key.
    pub fn stop_armed(&mut self, key: &Key) -> Result<()> {
        for _ in 0..3 {
            self.dbg.interrupt()?;
            let cpus = self.dbg.vm().debug_registers()?;
            let look = Look::at(self.dbg.vm().ram()?, cpus, key)?;
            ensure!(look.master.is_empty(), "M itself is in RAM");
            if look.armed() {
                return Ok(());
            }
            // It may have been stopped between the two halves of a refresh.
            self.dbg.resume()?;
            thread::sleep(Duration::from_millis(300));
        }
        self.dbg.interrupt()?;
        bail!("M xor DR_c is not in RAM for every CPU")
    }
}

/// Windows of a routine seen so far, by what they are.
#[derive(Debug, Default)]
struct Seen {
    adding: usize,
    added: usize,
}

impl Seen {
    /// What to do at an instruction: each kind of window has each way at least once, and its every
    /// instruction a way that ends with the guard in place.
    fn ways(&mut self, long: bool, redo: bool, index: usize) -> &'static [How] {
        let place = match (long, redo) {
            (true, _) => index,
            (false, true) => {
                self.adding += 1;
                self.adding
            }
            (false, false) => {
                self.added += 1;
                self.added
            }
        };
        match place {
            // Without the guard the word stays in rax, so that the next strike finds it there.
            1 => &[How::Unguarded, How::Plain],
            2 => &[How::Again],
            3 => &[How::Nested],
            _ => &[How::Plain],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_is_struck_with_the_guard_in_place() {
        let mut seen = Seen::default();
        for index in 0..9 {
            assert!(seen.ways(true, true, index).last() != Some(&How::Unguarded));
        }
        for redo in [true, false] {
            let ways: Vec<_> = (0..4).map(|_| seen.ways(false, redo, 0)).collect();
            assert_eq!(ways[0], [How::Unguarded, How::Plain]);
            assert_eq!(ways[1..3], [[How::Again], [How::Nested]]);
            assert_eq!(ways[3], [How::Plain]);
        }
    }
}
