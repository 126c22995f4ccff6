// SPDX-License-Identifier: GPL-2.0-or-later

//! The part of KVM's interface that one small guest needs: `Documentation/virt/kvm/api.rst` of Linux.

use std::fs::{File, OpenOptions};
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::mman::{mmap, mmap_anonymous, munmap, MapFlags, ProtFlags};

use crate::check;

/// `_IO`, `_IOW` and `_IOR` of KVM's ioctls: number, direction (1 to the kernel, 2 from it), size.
const fn ioc(nr: u64, direction: u64, size: usize) -> u64 {
    direction << 30 | (size as u64) << 16 | 0xae << 8 | nr
}

const CREATE_VM: u64 = ioc(0x01, 0, 0);
const GET_VCPU_MMAP_SIZE: u64 = ioc(0x04, 0, 0);
const CREATE_VCPU: u64 = ioc(0x41, 0, 0);
const SET_USER_MEMORY_REGION: u64 = ioc(0x46, 1, size_of::<Region>());
const RUN: u64 = ioc(0x80, 0, 0);
const GET_REGS: u64 = ioc(0x81, 2, size_of::<Registers>());
const SET_REGS: u64 = ioc(0x82, 1, size_of::<Registers>());
const GET_SREGS: u64 = ioc(0x83, 2, size_of::<SystemRegisters>());
const SET_SREGS: u64 = ioc(0x84, 1, size_of::<SystemRegisters>());
/// The size is that of `struct kvm_cpuid2` without entries.
const SET_CPUID2: u64 = ioc(0x90, 1, 8);
const SET_DEBUGREGS: u64 = ioc(0xa2, 1, size_of::<DebugRegisters>());

/// `exit_reason` of `struct kvm_run`, and where it lies there.
pub(crate) const EXIT_IO: u32 = 2;
pub(crate) const EXIT_HLT: u32 = 5;
const EXIT_REASON_AT: usize = 8;

/// `struct kvm_userspace_memory_region`
#[repr(C)]
struct Region {
    slot: u32,
    flags: u32,
    guest: u64,
    len: u64,
    address: u64,
}

/// `struct kvm_regs`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Registers {
    pub(crate) rax: u64,
    pub(crate) rbx: u64,
    pub(crate) rcx: u64,
    pub(crate) rdx: u64,
    pub(crate) rsi: u64,
    pub(crate) rdi: u64,
    pub(crate) rsp: u64,
    pub(crate) rbp: u64,
    /// R8 to R11.
    pub(crate) r8: [u64; 4],
    /// R12 to R15.
    pub(crate) r12: [u64; 4],
    pub(crate) rip: u64,
    pub(crate) rflags: u64,
}

/// `struct kvm_segment`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Segment {
    pub(crate) base: u64,
    pub(crate) limit: u32,
    pub(crate) selector: u16,
    pub(crate) kind: u8,
    pub(crate) present: u8,
    pub(crate) dpl: u8,
    pub(crate) db: u8,
    pub(crate) s: u8,
    pub(crate) l: u8,
    pub(crate) g: u8,
    pub(crate) avl: u8,
    pub(crate) unusable: u8,
    pub(crate) padding: u8,
}

/// `struct kvm_sregs`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SystemRegisters {
    pub(crate) cs: Segment,
    /// DS, ES, FS, GS, SS.
    pub(crate) data: [Segment; 5],
    pub(crate) tr: Segment,
    pub(crate) ldt: Segment,
    /// GDT and IDT.
    pub(crate) tables: [[u64; 2]; 2],
    pub(crate) cr0: u64,
    pub(crate) cr2: u64,
    pub(crate) cr3: u64,
    pub(crate) cr4: u64,
    pub(crate) cr8: u64,
    pub(crate) efer: u64,
    pub(crate) apic_base: u64,
    pub(crate) interrupts: [u64; 4],
}

/// `struct kvm_debugregs`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct DebugRegisters {
    db: [u64; 4],
    dr6: u64,
    dr7: u64,
    flags: u64,
    reserved: [u64; 9],
}

/// `struct kvm_cpuid_entry2`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct CpuidEntry {
    function: u32,
    index: u32,
    flags: u32,
    eax: u32,
    ebx: u32,
    ecx: u32,
    edx: u32,
    padding: [u32; 3],
}

/// `struct kvm_cpuid2` with two entries.
#[repr(C)]
struct Cpuid {
    len: u32,
    padding: u32,
    entries: [CpuidEntry; 2],
}

const _: () = assert!(
    size_of::<Cpuid>() == 88
        && size_of::<Registers>() == 144
        && size_of::<Segment>() == 24
        && size_of::<SystemRegisters>() == 312
        && size_of::<DebugRegisters>() == 128
);

fn call(fd: RawFd, nr: u64, arg: usize) -> nix::Result<i32> {
    // SAFETY: callers pass what the call takes: a number, or the address of a structure of its size.
    check(unsafe { libc::ioctl(fd, nr, arg) })
}

fn descriptor(number: i32) -> OwnedFd {
    // SAFETY: KVM has just opened it for us.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Memory that this process has mapped.
struct Mapping(NonNull<u8>, usize);

// SAFETY: it is plain memory; what is shared with the kernel or a guest is read and written as volatile.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(len: usize, fd: Option<BorrowedFd<'_>>) -> Result<Self> {
        let size = NonZeroUsize::new(len).context("nothing to map")?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let at = unsafe {
            match fd {
                Some(fd) => mmap(None, size, access, MapFlags::MAP_SHARED, fd, 0),
                None => mmap_anonymous(None, size, access, MapFlags::MAP_PRIVATE),
            }
        }?;
        Ok(Self(at.cast(), len))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new()`, and nothing points there any more. If it fails, it stays mapped.
        let _ = unsafe { munmap(self.0.cast(), self.1) };
    }
}

/// A virtual machine with RAM from address 0.
pub(crate) struct Machine {
    run_len: usize,
    vm: OwnedFd,
    ram: Mapping,
}

impl Machine {
    pub(crate) fn new(ram: &[u8]) -> Result<Self> {
        let kvm: File = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .context("cannot open /dev/kvm")?;
        let kvm = kvm.as_raw_fd();
        let run_len = call(kvm, GET_VCPU_MMAP_SIZE, 0).context("no size of a CPU")? as usize;
        let vm = descriptor(call(kvm, CREATE_VM, 0).context("cannot make a VM")?);
        let memory = Mapping::new(ram.len(), None)?;
        // SAFETY: the mapping is as long, and new.
        unsafe {
            memory
                .0
                .copy_from_nonoverlapping(NonNull::from(ram).cast(), ram.len())
        };
        let region = Region {
            slot: 0,
            flags: 0,
            guest: 0,
            len: ram.len() as u64,
            address: memory.0.as_ptr() as u64,
        };
        call(
            vm.as_raw_fd(),
            SET_USER_MEMORY_REGION,
            &raw const region as usize,
        )
        .context("cannot give the VM memory")?;
        Ok(Self {
            run_len,
            vm,
            ram: memory,
        })
    }

    /// Makes a CPU of it.
    pub(crate) fn cpu(&self, number: usize) -> Result<Cpu<'_>> {
        let fd = call(self.vm.as_raw_fd(), CREATE_VCPU, number).context("cannot make a CPU")?;
        let fd = descriptor(fd);
        let run = Mapping::new(
            self.run_len,
            // SAFETY: `fd` is open for longer than this.
            Some(unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) }),
        )?;
        Ok(Cpu {
            fd,
            run,
            _ram: &self.ram,
        })
    }
}

/// A virtual CPU.
pub(crate) struct Cpu<'a> {
    fd: OwnedFd,
    run: Mapping,
    _ram: &'a Mapping,
}

impl Cpu<'_> {
    fn get<T: Default>(&self, nr: u64) -> Result<T> {
        let mut value = T::default();
        call(self.fd.as_raw_fd(), nr, &raw mut value as usize)
            .with_context(|| format!("ioctl {nr:x} of the CPU"))?;
        Ok(value)
    }

    fn set<T>(&self, nr: u64, value: &T) -> Result<()> {
        call(self.fd.as_raw_fd(), nr, &raw const *value as usize)
            .with_context(|| format!("ioctl {nr:x} of the CPU"))?;
        Ok(())
    }

    pub(crate) fn registers(&self) -> Result<Registers> {
        self.get(GET_REGS)
    }

    pub(crate) fn set_registers(&self, registers: &Registers) -> Result<()> {
        self.set(SET_REGS, registers)
    }

    pub(crate) fn system_registers(&self) -> Result<SystemRegisters> {
        self.get(GET_SREGS)
    }

    pub(crate) fn set_system_registers(&self, registers: &SystemRegisters) -> Result<()> {
        self.set(SET_SREGS, registers)
    }

    /// Allows it 64-bit mode.
    pub(crate) fn set_cpuid(&self) -> Result<()> {
        let entry = |function, eax, edx| CpuidEntry {
            function,
            eax,
            edx,
            ..CpuidEntry::default()
        };
        let cpuid = Cpuid {
            len: 2,
            padding: 0,
            entries: [
                entry(0x8000_0000, 0x8000_0001, 0),
                // Long mode.
                entry(0x8000_0001, 0, 1 << 29),
            ],
        };
        self.set(SET_CPUID2, &cpuid)
    }

    /// Sets the guest's DR0 behind its back.
    pub(crate) fn set_dr0(&self, value: u64) -> Result<()> {
        let registers = DebugRegisters {
            db: [value, 0, 0, 0],
            dr6: 0xffff_0ff0,
            dr7: 0x400,
            ..DebugRegisters::default()
        };
        self.set(SET_DEBUGREGS, &registers)
    }

    /// Runs the guest until it wants something; why it stopped, `None` if for a signal.
    pub(crate) fn run(&self) -> Result<Option<u32>> {
        match call(self.fd.as_raw_fd(), RUN, 0) {
            Ok(_) => {}
            Err(Errno::EINTR | Errno::EAGAIN) => return Ok(None),
            Err(error) => return Err(error).context("the guest cannot run"),
        }
        // SAFETY: inside of the mapping, which begins on a page.
        let reason = unsafe { self.run.0.add(EXIT_REASON_AT).cast::<u32>().read_volatile() };
        Ok(Some(reason))
    }
}
