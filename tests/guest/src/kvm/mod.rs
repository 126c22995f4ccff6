// SPDX-License-Identifier: GPL-2.0-or-later

//! Guests of KVM that use the debug registers.

mod abi;
mod watch;

use std::arch::global_asm;
use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use tresor_guest::kvm_marks;

use self::abi::{Cpu, Machine, Registers, Segment, EXIT_HLT, EXIT_IO};
use crate::{pin, Args};

/// RAM of a guest: page tables and code.
const RAM: usize = 64 << 10;
const PAGE_TABLES: [u64; 3] = [0x1000, 0x2000, 0x3000];
const CODE: u64 = 0x4000;

/// DR7 without, and with all four breakpoints of instructions enabled.
const DR7_OFF: u64 = 0x400;
const DR7_ON: u64 = 0x4ff;

/// How often a guest reads the registers before it writes them.
const ONLY_READS: u64 = 200;

// What the guests run, in 64-bit mode on ring 0, without a stack. Each `out` or `hlt` goes back to the program.
global_asm!(
    ".pushsection .rodata.tresor_kvm, \"a\"",
    ".global tresor_kvm_clobber, tresor_kvm_boot, tresor_kvm_read, tresor_kvm_end",
    // Writes R8 to R11 into DR0 to DR3 and R12 into DR7, over and over.
    "tresor_kvm_clobber:",
    "   mov     dr0, r8",
    "   mov     dr1, r9",
    "   mov     dr2, r10",
    "   mov     dr3, r11",
    "   mov     dr7, r12",
    "   mov     ecx, 2000",
    "2: dec     ecx",
    "   jnz     2b",
    "   out     0x10, al",
    "   jmp     tresor_kvm_clobber",
    // As Linux does on each CPU that it boots (`initialize_debug_regs()`): DR7, then zeros. Then computes and
    // halts.
    "tresor_kvm_boot:",
    "   mov     dr7, r12",
    "   xor     eax, eax",
    "   mov     dr0, rax",
    "   mov     dr1, rax",
    "   mov     dr2, rax",
    "   mov     dr3, rax",
    "   mov     dr6, r13",
    "3: mov     ecx, 200000",
    "4: dec     ecx",
    "   jnz     4b",
    "   hlt",
    "   jmp     3b",
    // Reads DR0 to DR3 into R12 to R15, and writes R8 to R11 there once RAX is not zero any more.
    "tresor_kvm_read:",
    "   mov     r12, dr0",
    "   mov     r13, dr1",
    "   mov     r14, dr2",
    "   mov     r15, dr3",
    "   out     0x10, al",
    "   test    rax, rax",
    "   jz      tresor_kvm_read",
    "   mov     dr0, r8",
    "   mov     dr1, r9",
    "   mov     dr2, r10",
    "   mov     dr3, r11",
    "   jmp     tresor_kvm_read",
    "tresor_kvm_end:",
    ".popsection",
);

extern "C" {
    static tresor_kvm_clobber: u8;
    static tresor_kvm_boot: u8;
    static tresor_kvm_read: u8;
    static tresor_kvm_end: u8;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Clobber,
    Boot,
    Read,
}

impl Mode {
    /// Where its code lies in the guest.
    fn entry(self) -> u64 {
        let start = &raw const tresor_kvm_clobber as usize;
        let entry = match self {
            Self::Clobber => start,
            Self::Boot => &raw const tresor_kvm_boot as usize,
            Self::Read => &raw const tresor_kvm_read as usize,
        };
        CODE + (entry - start) as u64
    }
}

/// What the guests did.
#[derive(Default)]
struct Tally {
    guests: u64,
    exits: u64,
    reads: u64,
    /// Registers that held what the guest itself had written.
    own: u64,
    /// ... and that were not zero.
    written: u64,
    /// What else they held.
    foreign: BTreeSet<u64>,
    /// When the last of them ended.
    ended: Option<Instant>,
}

/// The `kvm` command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mode = match args.need("mode")? {
        "clobber" => Mode::Clobber,
        "boot" => Mode::Boot,
        "read" => Mode::Read,
        other => bail!("mode={other} is none"),
    };
    let cpus = args.numbers("cpus")?;
    ensure!(!cpus.is_empty(), "cpus= is missing");
    let guest = Guest {
        mode,
        pinned: args.number("pinned", 1)? != 0,
        dr7: match args.number("breakpoints", 0)? {
            0 => DR7_OFF,
            _ => DR7_ON,
        },
        length: Duration::from_millis(args.number("ms", 0)?),
        planted: match args.get("plant") {
            Some(hex) => Some(u64::from_str_radix(hex, 16).context("plant= is not hex")?),
            None => None,
        },
    };
    let guests = args.number("guests", 1)?;
    let mut sum = Tally::default();
    let seen = watch::during(&cpus, || {
        (0..guests).try_for_each(|_| guest.run(&cpus, &mut sum))
    })?;
    let foreign: Vec<_> = sum
        .foreign
        .iter()
        .map(|value| format!("{value:016x}"))
        .collect();
    // How long a CPU was without the key after that.
    let unarmed = match (sum.ended, seen.unarmed) {
        (Some(ended), Some(unarmed)) => unarmed.saturating_duration_since(ended),
        _ => Duration::ZERO,
    };
    println!(
        "guests={} exits={} reads={} own={} written={} foreign={} {seen} unarmed={}",
        sum.guests,
        sum.exits,
        sum.reads,
        sum.own,
        sum.written,
        foreign.join(","),
        unarmed.as_millis()
    );
    Ok(())
}

struct Guest {
    mode: Mode,
    /// Whether each CPU of the guest stays on one of the host's.
    pinned: bool,
    dr7: u64,
    length: Duration,
    planted: Option<u64>,
}

impl Guest {
    /// Runs one, with a CPU on each of `cpus`.
    fn run(&self, cpus: &[usize], sum: &mut Tally) -> Result<()> {
        let machine = Machine::new(&ram())?;
        // Before any of them runs: the last of them is to write its registers soon after the first.
        let virtual_cpus = (0..cpus.len())
            .map(|number| machine.cpu(number))
            .collect::<Result<Vec<_>>>()?;
        let tallies = thread::scope(|scope| {
            let threads: Vec<_> = cpus
                .iter()
                .zip(&virtual_cpus)
                .map(|(&cpu, virtual_cpu)| scope.spawn(move || self.run_cpu(cpu, virtual_cpu)))
                .collect();
            let ended = threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")));
            ended.collect::<Result<Vec<_>>>()
        })?;
        sum.guests += 1;
        for tally in tallies {
            sum.exits += tally.exits;
            sum.reads += tally.reads;
            sum.own += tally.own;
            sum.written += tally.written;
            sum.foreign.extend(tally.foreign);
            sum.ended = sum.ended.max(tally.ended);
        }
        Ok(())
    }

    fn run_cpu(&self, host_cpu: usize, cpu: &Cpu<'_>) -> Result<Tally> {
        if self.pinned {
            pin(host_cpu)?;
        }
        enter_64_bit_mode(cpu)?;
        let mut expected = [0; 4];
        let registers = Registers {
            r8: kvm_marks(host_cpu, 0),
            r12: [self.dr7, 0xffff_0ff0, 0, 0],
            rip: self.mode.entry(),
            rflags: 2,
            ..Registers::default()
        };
        cpu.set_registers(&registers)?;
        if let Some(value) = self.planted {
            cpu.set_dr0(value)?;
        }
        let mut tally = Tally::default();
        let end = Instant::now() + self.length;
        loop {
            match cpu.run()? {
                None => continue,
                Some(EXIT_IO | EXIT_HLT) => tally.exits += 1,
                Some(other) => bail!(
                    "the guest stopped for reason {other}: {:?}",
                    cpu.registers()?
                ),
            }
            if self.mode == Mode::Read {
                let mut registers = cpu.registers()?;
                tally.reads += 1;
                for (found, expected) in registers.r12.into_iter().zip(expected) {
                    if found == expected {
                        tally.own += 1;
                        tally.written += u64::from(found != 0);
                    } else {
                        tally.foreign.insert(found);
                    }
                }
                if tally.reads >= ONLY_READS {
                    registers.rax = 1;
                    registers.r8 = kvm_marks(host_cpu, tally.reads);
                    expected = registers.r8;
                    cpu.set_registers(&registers)?;
                }
            }
            if Instant::now() >= end && (self.mode != Mode::Read || tally.reads > 2 * ONLY_READS) {
                tally.ended = Some(Instant::now());
                return Ok(tally);
            }
        }
    }
}

/// The guest's memory: the first 2 MiB mapped to themselves, and the code.
fn ram() -> Vec<u8> {
    let mut ram = vec![0; RAM];
    // Present and writable; the last one is a page of 2 MiB.
    // With "accessed" and "dirty" set already the CPU has nothing to write there.
    let entries = [PAGE_TABLES[1] | 0x23, PAGE_TABLES[2] | 0x23, 0xe3];
    for (table, entry) in PAGE_TABLES.into_iter().zip(entries) {
        ram[table as usize..][..8].copy_from_slice(&entry.to_le_bytes());
    }
    let start = &raw const tresor_kvm_clobber;
    let len = &raw const tresor_kvm_end as usize - start as usize;
    // SAFETY: both labels are of the one piece of code above, which nothing changes.
    let code = unsafe { std::slice::from_raw_parts(start, len) };
    ram[CODE as usize..][..len].copy_from_slice(code);
    ram
}

fn enter_64_bit_mode(cpu: &Cpu<'_>) -> Result<()> {
    cpu.set_cpuid()?;
    let mut registers = cpu.system_registers()?;
    let flat = Segment {
        limit: u32::MAX,
        present: 1,
        s: 1,
        g: 1,
        ..Segment::default()
    };
    registers.cs = Segment {
        selector: 8,
        kind: 11,
        l: 1,
        ..flat
    };
    registers.data = [Segment {
        selector: 16,
        kind: 3,
        db: 1,
        ..flat
    }; 5];
    registers.cr3 = PAGE_TABLES[0];
    registers.cr4 = 1 << 5; // PAE
    registers.cr0 = 1 << 31 | 1 << 4 | 1; // PG, ET, PE
    registers.efer = 1 << 10 | 1 << 8; // LMA, LME
    cpu.set_system_registers(&registers)
}
