// SPDX-License-Identifier: GPL-2.0-or-later

//! Stops the guest at chosen instructions, through QEMU's stub of gdb's remote serial protocol.
//!
//! Under emulation a breakpoint is an entry in QEMU's own list: it changes neither the guest's code
//! nor its debug registers. Under KVM it would, so that [`Debugger`] refuses to attach there.
//!
//! Protocol: <https://sourceware.org/gdb/current/onlinedocs/gdb.html/Remote-Protocol.html>

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};

use crate::{Accel, Vm};

/// How long QEMU may take to answer what does not depend on the guest.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// How long one instruction may take.
const STEP_LIMIT: Duration = Duration::from_secs(30);

/// General registers of a stopped CPU, and what an interrupt would push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers {
    /// `rax`, `rbx`, `rcx`, `rdx`, `rsi`, `rdi`, `rbp`, `rsp`, `r8` to `r15`, as gdb counts them.
    pub general: [u64; 16],
    /// The instruction that runs next.
    pub rip: u64,
    /// The low half of the flags: the other is zero.
    pub eflags: u32,
    /// Code segment.
    pub cs: u32,
    /// Stack segment.
    pub ss: u32,
}

impl Registers {
    /// Places in [`Registers::general`].
    pub const RAX: usize = 0;
    /// See [`Registers::RAX`].
    pub const RSI: usize = 4;
    /// See [`Registers::RAX`].
    pub const RSP: usize = 7;
    /// See [`Registers::RAX`].
    pub const R11: usize = 11;

    /// Reads the answer to the packet `g`.
    fn parse(bytes: &[u8]) -> Result<Self> {
        let take = |at: usize, len: usize| {
            let part = bytes.get(at..at + len);
            part.with_context(|| format!("QEMU shows only {} bytes of registers", bytes.len()))
        };
        let long = |at| Ok::<_, anyhow::Error>(u64::from_le_bytes(take(at, 8)?.try_into()?));
        let int = |at| Ok::<_, anyhow::Error>(u32::from_le_bytes(take(at, 4)?.try_into()?));
        let mut general = [0; 16];
        for (i, register) in general.iter_mut().enumerate() {
            *register = long(8 * i)?;
        }
        Ok(Self {
            general,
            rip: long(128)?,
            eflags: int(136)?,
            cs: int(140)?,
            ss: int(144)?,
        })
    }

    /// What the packet `G` wants: the general registers and `rip`; the others keep their values.
    fn to_bytes(&self) -> Vec<u8> {
        let words = self.general.iter().chain([&self.rip]);
        words.flat_map(|word| word.to_le_bytes()).collect()
    }
}

/// A debugger attached to a VM. CPUs are numbered from 0, addresses are the guest's virtual ones.
///
/// It begins with all CPUs stopped. Between [`resume`](Self::resume) and [`wait`](Self::wait) they
/// run; whatever else stops or continues the VM in that time confuses it.
pub struct Debugger<'a> {
    vm: &'a mut Vm,
    line: Line,
}

impl<'a> Debugger<'a> {
    pub(crate) fn attach(vm: &'a mut Vm, stream: UnixStream) -> Result<Self> {
        ensure!(
            vm.accel() == Accel::Tcg,
            "breakpoints under KVM use the debug registers: the VM must be emulated"
        );
        let said = vm.qmp().monitor("gdbserver chardev:gdb")?;
        vm.note_stopped(true);
        let mut debugger = Self {
            vm,
            line: Line::new(stream)?,
        };
        debugger
            .stop_reply("?", ANSWER_LIMIT)
            .with_context(|| format!("QEMU lets no debugger in: {}", said.trim()))?;
        Ok(debugger)
    }

    /// The machine, for everything else.
    pub fn vm(&mut self) -> &mut Vm {
        self.vm
    }

    /// Sets a breakpoint: a CPU stops before it runs the instruction at `address`, and with it all
    /// the others. On a CPU that stands there already, too.
    ///
    /// # Errors
    /// If QEMU refuses.
    pub fn insert(&mut self, address: u64) -> Result<()> {
        self.line.expect_ok(&format!("Z0,{address:x},1"))
    }

    /// Removes a breakpoint.
    ///
    /// # Errors
    /// If QEMU refuses.
    pub fn remove(&mut self, address: u64) -> Result<()> {
        self.line.expect_ok(&format!("z0,{address:x},1"))
    }

    /// Lets all CPUs run.
    ///
    /// # Errors
    /// If QEMU is gone.
    pub fn resume(&mut self) -> Result<()> {
        self.vm.note_stopped(false);
        self.line.send("c")
    }

    /// Waits until a CPU has come to a breakpoint, and says which.
    ///
    /// # Errors
    /// If none does within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<usize> {
        let cpu = self.line.stopped(limit)?;
        self.vm.note_stopped(true);
        Ok(cpu)
    }

    /// Lets all CPUs run until one comes to `address`, without a breakpoint there afterwards.
    ///
    /// # Errors
    /// See [`Debugger::wait`].
    pub fn run_to(&mut self, address: u64, limit: Duration) -> Result<usize> {
        self.insert(address)?;
        self.resume()?;
        let cpu = self
            .wait(limit)
            .with_context(|| format!("no CPU came to {address:#x}"))?;
        self.remove(address)?;
        Ok(cpu)
    }

    /// Stops all CPUs wherever they are.
    ///
    /// # Errors
    /// If QEMU does not answer.
    pub fn interrupt(&mut self) -> Result<()> {
        self.line.interrupt()?;
        self.wait(ANSWER_LIMIT).map(drop)
    }

    /// Lets one CPU run one instruction while the others stand still. No maskable interrupt is
    /// taken.
    ///
    /// # Errors
    /// If QEMU does not answer.
    pub fn step(&mut self, cpu: usize) -> Result<()> {
        self.vm.note_stopped(false);
        self.stop_reply(&format!("vCont;s:{:x}", cpu + 1), STEP_LIMIT)?;
        self.vm.note_stopped(true);
        Ok(())
    }

    /// The registers of a CPU.
    ///
    /// # Errors
    /// If QEMU does not answer.
    pub fn registers(&mut self, cpu: usize) -> Result<Registers> {
        self.select(cpu)?;
        let answer = self.line.ask("g")?;
        // Registers that are not there are shown as `x`; none of those read here is.
        let answer = answer.replace('x', "0");
        Registers::parse(&hex::decode(answer).context("QEMU shows no registers")?)
    }

    /// Changes the general registers and `rip` of a CPU.
    ///
    /// # Errors
    /// If QEMU refuses.
    pub fn set_registers(&mut self, cpu: usize, registers: &Registers) -> Result<()> {
        self.select(cpu)?;
        let bytes = hex::encode(registers.to_bytes());
        self.line.expect_ok(&format!("G{bytes}"))
    }

    /// Reads memory as the CPU selected last sees it.
    ///
    /// # Errors
    /// If nothing is mapped there.
    pub fn read(&mut self, address: u64, len: usize) -> Result<Vec<u8>> {
        let answer = self.line.ask(&format!("m{address:x},{len:x}"))?;
        let bytes = hex::decode(&answer).ok().filter(|bytes| bytes.len() == len);
        bytes.with_context(|| format!("QEMU cannot read {len} bytes at {address:#x}: {answer:?}"))
    }

    /// Reads one word.
    ///
    /// # Errors
    /// See [`Debugger::read`].
    pub fn read_word(&mut self, address: u64) -> Result<u64> {
        Ok(u64::from_le_bytes(self.read(address, 8)?[..].try_into()?))
    }

    /// Writes memory, also where the guest's own page tables do not allow it.
    ///
    /// # Errors
    /// If nothing is mapped there.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<()> {
        let (len, bytes) = (bytes.len(), hex::encode(bytes));
        self.line
            .expect_ok(&format!("M{address:x},{len:x}:{bytes}"))
    }

    /// Removes what is left of breakpoints, and lets the CPUs run. They must be stopped.
    ///
    /// # Errors
    /// If QEMU does not answer.
    pub fn detach(mut self) -> Result<()> {
        self.vm.note_stopped(false);
        self.line.expect_ok("D")
    }

    fn select(&mut self, cpu: usize) -> Result<()> {
        self.line.expect_ok(&format!("Hg{:x}", cpu + 1))
    }

    fn stop_reply(&mut self, packet: &str, limit: Duration) -> Result<usize> {
        self.line.send(packet)?;
        self.line.stopped(limit)
    }
}

/// Packets over a socket.
struct Line(BufReader<UnixStream>);

impl Line {
    fn new(stream: UnixStream) -> Result<Self> {
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn send(&mut self, packet: &str) -> Result<()> {
        let sum = packet.bytes().fold(0u8, u8::wrapping_add);
        write!(self.0.get_mut(), "${packet}#{sum:02x}").context("QEMU's debugger stub is gone")
    }

    fn interrupt(&mut self) -> Result<()> {
        let line = self.0.get_mut();
        line.write_all(&[3]).context("QEMU's debugger stub is gone")
    }

    /// The next packet; the acknowledgements before it are dropped, and it gets one.
    fn receive(&mut self, limit: Duration) -> Result<String> {
        self.0.get_mut().set_read_timeout(Some(limit))?;
        let late = || format!("QEMU's debugger stub said nothing for {limit:?}");
        let mut packet = Vec::new();
        self.0.read_until(b'$', &mut packet).with_context(late)?;
        packet.clear();
        self.0.read_until(b'#', &mut packet).with_context(late)?;
        ensure!(packet.pop() == Some(b'#'), "QEMU's debugger stub is gone");
        let mut sum = [0; 2];
        self.0.read_exact(&mut sum).with_context(late)?;
        let expected = packet.iter().copied().fold(0, u8::wrapping_add);
        ensure!(
            sum == *format!("{expected:02x}").as_bytes(),
            "a packet of QEMU's debugger stub came damaged"
        );
        self.0.get_mut().write_all(b"+")?;
        String::from_utf8(packet).context("a packet of QEMU's debugger stub is no text")
    }

    fn ask(&mut self, packet: &str) -> Result<String> {
        self.send(packet)?;
        self.receive(ANSWER_LIMIT)
    }

    fn expect_ok(&mut self, packet: &str) -> Result<()> {
        let answer = self.ask(packet)?;
        ensure!(
            answer == "OK",
            "QEMU's debugger stub answers {packet:?} with {answer:?}"
        );
        Ok(())
    }

    /// Waits for the report of a stop: the number of the CPU.
    fn stopped(&mut self, limit: Duration) -> Result<usize> {
        stopped_cpu(&self.receive(limit)?)
    }
}

/// The CPU that a stop reply such as `T05thread:02;` names. QEMU counts its threads from 1.
fn stopped_cpu(reply: &str) -> Result<usize> {
    let fields = reply.strip_prefix('T').and_then(|rest| rest.get(2..));
    let thread = fields.into_iter().flat_map(|fields| fields.split(';'));
    let thread = thread.filter_map(|field| field.strip_prefix("thread:"));
    match thread
        .map(|number| usize::from_str_radix(number, 16))
        .next()
    {
        Some(Ok(number)) if number > 0 => Ok(number - 1),
        _ => bail!("QEMU's debugger stub does not report a stop but says {reply:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Line, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Line::new(ours).unwrap(), theirs)
    }

    #[test]
    fn packets_carry_their_sum_and_are_acknowledged() {
        let (mut line, mut stub) = pair();
        stub.write_all(b"+$OK#9a").unwrap();
        line.expect_ok("m1000,8").unwrap();
        let mut sent = [0; 12];
        stub.read_exact(&mut sent).unwrap();
        assert_eq!(&sent, b"$m1000,8#92+");
    }

    #[test]
    fn damaged_packets_errors_and_silence_are_reported() {
        let (mut line, mut stub) = pair();
        stub.write_all(b"$OK#9b").unwrap();
        let error = line.expect_ok("D").unwrap_err();
        assert!(error.to_string().contains("came damaged"), "{error}");
        stub.write_all(b"$E22#a9").unwrap();
        let error = line.expect_ok("Z0,10,1").unwrap_err();
        assert!(error.to_string().contains("\"E22\""), "{error}");
        let error = line.receive(Duration::from_millis(50)).unwrap_err();
        assert!(
            error.to_string().contains("said nothing for 50ms"),
            "{error}"
        );
        drop(stub);
        assert!(line.receive(Duration::from_secs(1)).is_err());
    }

    #[test]
    fn a_stop_names_its_cpu() {
        assert_eq!(stopped_cpu("T05thread:01;").unwrap(), 0);
        assert_eq!(stopped_cpu("T05watch:10;thread:0b;").unwrap(), 10);
        for bad in ["OK", "W00", "T05", "T05thread:00;", "T05thread:zz;", ""] {
            assert!(stopped_cpu(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn registers_are_read_and_written_in_the_order_of_gdb() {
        let mut bytes: Vec<u8> = (1..=17u64).flat_map(u64::to_le_bytes).collect();
        let written = bytes.clone();
        bytes.extend([0x46u32, 0x10, 0x18].into_iter().flat_map(u32::to_le_bytes));
        let registers = Registers::parse(&bytes).unwrap();
        assert_eq!(registers.general[Registers::RAX], 1);
        assert_eq!(registers.general[Registers::R11], 12);
        assert_eq!(
            (registers.rip, registers.cs, registers.ss),
            (17, 0x10, 0x18)
        );
        assert_eq!(registers.to_bytes(), written);
        assert!(Registers::parse(&bytes[..147]).is_err());
    }
}
