// SPDX-License-Identifier: GPL-2.0-or-later

//! What a virtual machine shall be like, and how it starts.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{ensure, Context, Result};

use crate::console::Console;
use crate::instructions::Marks;
use crate::memory::Ram;
use crate::plugin::Plugin;
use crate::shell::Shell;
use crate::spawn::spawn;
use crate::store_watch::StoreWatch;
use crate::vm::{Process, Vm, WATCHED};
use crate::{symbols, target_dir, Accel, Cache, Initramfs, Qmp};

/// A virtio disk of the guest, backed by a raw image.
#[derive(Clone, Debug)]
pub struct Drive {
    serial: String,
    image: PathBuf,
    read_only: bool,
}

impl Drive {
    /// A disk that the guest finds as `/dev/disk/<serial>`; at most 20 characters.
    pub fn new(serial: &str, image: &Path) -> Self {
        Self {
            serial: serial.to_owned(),
            image: image.to_path_buf(),
            read_only: false,
        }
    }

    /// The same disk, which the guest cannot write.
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }
}

/// What a VM shall be like.
#[derive(Clone, Debug)]
pub struct VmConfig {
    name: String,
    cpus: String,
    cpu: String,
    machine: String,
    memory_mib: u64,
    append: Vec<String>,
    drives: Vec<Drive>,
    modules: Vec<String>,
    programs: Vec<String>,
    files: Vec<(String, u32, PathBuf)>,
    args: Vec<String>,
    accel: Option<Accel>,
    reboots: bool,
    watch_stores: bool,
    mark: Option<Vec<u8>>,
}

impl VmConfig {
    /// Two CPUs of the model `max` and 512 MiB of RAM on the machine type `q35`.
    ///
    /// `name` names the folder `target/vm/<name>` for the logs; VMs that run at once need different
    /// names.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            cpus: "2".into(),
            cpu: "max".into(),
            machine: "q35".into(),
            memory_mib: 512,
            append: Vec::new(),
            drives: Vec::new(),
            modules: Vec::new(),
            programs: Vec::new(),
            files: Vec::new(),
            args: Vec::new(),
            accel: None,
            reboots: false,
            watch_stores: false,
            mark: None,
        }
    }

    /// Number of CPUs.
    pub fn cpus(self, cpus: u32) -> Self {
        self.smp(&cpus.to_string())
    }

    /// The whole value of QEMU's option `-smp`, for CPUs that come later.
    pub fn smp(mut self, value: &str) -> Self {
        self.cpus = value.to_owned();
        self
    }

    /// CPU model with features, as QEMU's option `-cpu` takes it: `max,-aes`.
    pub fn cpu(mut self, model: &str) -> Self {
        self.cpu = model.to_owned();
        self
    }

    /// Machine type with its options, as QEMU's option `-machine` takes it.
    pub fn machine(mut self, machine: &str) -> Self {
        self.machine = machine.to_owned();
        self
    }

    /// RAM in MiB, at most [`MAX_MIB`](crate::MAX_MIB).
    pub fn memory_mib(mut self, mib: u64) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Adds to the kernel's command line.
    pub fn append(mut self, words: &str) -> Self {
        self.append.push(words.to_owned());
        self
    }

    /// Adds a disk.
    pub fn drive(mut self, drive: Drive) -> Self {
        self.drives.push(drive);
        self
    }

    /// Adds kernel modules to the initramfs; nothing loads them by itself.
    pub fn modules<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.modules.extend(names.into_iter().map(str::to_owned));
        self
    }

    /// Adds a program of the tree to the initramfs, with its libraries.
    pub fn program(mut self, path: &str) -> Self {
        self.programs.push(path.to_owned());
        self
    }

    /// Adds a file of the host to the initramfs under the path `guest`.
    pub fn file(mut self, guest: &str, mode: u32, host: &Path) -> Self {
        self.files
            .push((guest.to_owned(), mode, host.to_path_buf()));
        self
    }

    /// Adds arguments to QEMU's command line.
    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(str::to_owned));
        self
    }

    /// Uses this accelerator instead of the one that [`Accel::choose`] finds.
    pub fn accel(mut self, accel: Accel) -> Self {
        self.accel = Some(accel);
        self
    }

    /// Lets a reboot of the guest boot it again; otherwise it ends QEMU. See [`Vm::wait_ready`].
    pub fn reboots(mut self) -> Self {
        self.reboots = true;
        self
    }

    /// Has every store of every CPU checked, from power-on; see [`Vm::store_watch`]. This needs
    /// QEMU's translator, whatever accelerator is chosen otherwise.
    pub fn watch_stores(mut self) -> Self {
        self.watch_stores = true;
        self
    }

    /// Has the guest's instructions counted; see [`Vm::take_marks`]. `mark` is the instruction that a
    /// program executes to have the count written down: a long NOP that nothing else has. This needs
    /// QEMU's translator, whatever accelerator is chosen otherwise.
    pub fn count_instructions(mut self, mark: &[u8]) -> Self {
        self.mark = Some(mark.to_vec());
        self
    }

    /// Starts the VM and waits for its shell.
    ///
    /// # Errors
    /// If something is missing, QEMU does not start, or the guest does not come up: then with the
    /// end of its kernel's log.
    ///
    /// Once in some hundred boots the threads of an emulating QEMU trip over each other while the guest
    /// sets up PCI, and QEMU ends with a failed assertion of its own. It is then started once more.
    pub fn boot(self, cache: &Cache) -> Result<Vm> {
        let again = self.clone();
        let complaints = self.folder().join("qemu.log");
        let first = self.boot_once(cache);
        let said = fs::read_to_string(complaints).unwrap_or_default();
        if first.is_err() && said.contains("iotlb_to_section: Assertion") {
            eprintln!(
                "QEMU crashed while the guest booted, and is started again: {}",
                said.trim()
            );
            return again.boot_once(cache);
        }
        first
    }

    /// Where the VM's files are kept.
    fn folder(&self) -> PathBuf {
        target_dir().join("vm").join(&self.name)
    }

    fn boot_once(self, cache: &Cache) -> Result<Vm> {
        let mut vm = self.start(cache)?;
        vm.wait_ready()?;
        Ok(vm)
    }

    /// Starts the VM without waiting for anything, for guests that are not expected to come up.
    ///
    /// # Errors
    /// If something is missing or QEMU does not start.
    pub fn start(self, cache: &Cache) -> Result<Vm> {
        let accel = match self.accel {
            _ if self.watch_stores || self.mark.is_some() => Accel::Tcg,
            Some(accel) => accel,
            None => Accel::choose(cache)?,
        };
        let mut initramfs = Initramfs::new(cache);
        for module in &self.modules {
            initramfs.module(module);
        }
        for program in &self.programs {
            initramfs.program(program);
        }
        for (guest, mode, host) in &self.files {
            initramfs.host_file(guest, *mode, host);
        }
        let initramfs = initramfs.build()?;

        let folder = self.folder();
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let patience = cache.slowness * if self.watch_stores { WATCHED } else { 1 };
        let console = Console::new(folder.join("console.log"), patience);
        let complaints = folder.join("qemu.log");
        File::create(console.path()).context("cannot make the file of the kernel's log")?;

        let symbols_file = folder.join("symbols.img");
        let mut drives = self.drives;
        if self.watch_stores {
            File::create(&symbols_file)
                .and_then(|file| file.set_len(symbols::DRIVE_SIZE))
                .with_context(|| format!("cannot make {}", symbols_file.display()))?;
            drives.push(Drive::new(symbols::DRIVE, &symbols_file));
        }

        let ram = Ram::new(self.memory_mib)?;
        let (shell, shell_end) = UnixStream::pair()?;
        let (control, control_end) = UnixStream::pair()?;
        let (gdb, gdb_end) = UnixStream::pair()?;
        let (shell_fd, control_fd) = (shell_end.as_raw_fd(), control_end.as_raw_fd());
        let gdb_fd = gdb_end.as_raw_fd();

        let mut qemu = cache.qemu();
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none"])
            .arg("-name")
            .arg(format!("tresor-{}", self.name))
            .arg("-machine")
            .arg(format!("{},memory-backend=ram", self.machine))
            .args([
                "-accel",
                accel.option(),
                "-cpu",
                &self.cpu,
                "-smp",
                &self.cpus,
            ])
            .arg("-m")
            .arg(format!("{}M", self.memory_mib))
            .arg("-object")
            .arg(format!(
                "memory-backend-file,id=ram,size={}M,share=on,mem-path=/proc/self/fd/{}",
                self.memory_mib,
                ram.raw_fd()
            ))
            .arg("-chardev")
            .arg(format!(
                "file,id=log,append=on,path={}",
                escaped(console.path())?
            ))
            .arg("-chardev")
            .arg(format!("socket,id=shell,fd={shell_fd}"))
            .args(["-serial", "chardev:log", "-serial", "chardev:shell"])
            .arg("-chardev")
            .arg(format!("socket,id=control,fd={control_fd}"))
            .args(["-mon", "chardev=control,mode=control"])
            .arg("-chardev")
            .arg(format!("socket,id=gdb,fd={gdb_fd}"))
            .arg("-kernel")
            .arg(&cache.vmlinuz)
            .arg("-initrd")
            .arg(&initramfs)
            .arg("-append")
            .arg(format!("console=ttyS0 panic=-1 {}", self.append.join(" ")));
        if !self.reboots {
            qemu.arg("-no-reboot");
        }
        for (i, drive) in drives.iter().enumerate() {
            ensure!(
                drive.serial.len() <= 20,
                "the serial {:?} is too long",
                drive.serial
            );
            // Images are thrown away when the host fails, so no write waits for the host's disk.
            qemu.arg("-drive").arg(format!(
                "if=none,id=drive{i},format=raw,cache=unsafe,read-only={},file={}",
                if drive.read_only { "on" } else { "off" },
                escaped(&drive.image)?
            ));
            qemu.arg("-device").arg(format!(
                "virtio-blk-pci,drive=drive{i},serial={}",
                drive.serial
            ));
        }
        let watch = match self.watch_stores {
            true => Some(UnixStream::pair()?),
            false => None,
        };
        let mut inherited = vec![ram.raw_fd(), shell_fd, control_fd, gdb_fd];
        if let Some((_, end)) = &watch {
            qemu.arg("-plugin").arg(format!(
                "{},ram={},control={}",
                escaped(&Plugin::StoreWatch.file()?)?,
                ram.raw_fd(),
                end.as_raw_fd()
            ));
            inherited.push(end.as_raw_fd());
        }
        let marks = self.mark.as_ref().map(|_| Marks::new()).transpose()?;
        if let (Some(mark), Some(marks)) = (&self.mark, &marks) {
            qemu.arg("-plugin").arg(format!(
                "{},mark={},marks={}",
                escaped(&Plugin::Counter.file()?)?,
                hex::encode(mark),
                marks.raw_fd()
            ));
            inherited.push(marks.raw_fd());
        }
        qemu.args(&self.args);
        qemu.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&complaints).context("cannot make the file of QEMU's messages")?);
        let child = Process(spawn(qemu, inherited)?);
        // QEMU holds the other ends alone from here on, so that its end closes the lines.
        drop((shell_end, control_end, gdb_end));
        let watch = watch
            .map(|(ours, _)| StoreWatch::new(ours, symbols_file))
            .transpose()?;
        let qmp = Qmp::connect(control).with_context(|| {
            let said = fs::read_to_string(&complaints).unwrap_or_default();
            format!("QEMU did not start: {}", said.trim())
        })?;
        let shell = Shell::new(shell, console.clone());
        Ok(Vm {
            shell,
            qmp,
            gdb: Some(gdb),
            child,
            console,
            ram,
            accel,
            stopped: false,
            patience,
            watch,
            marks,
        })
    }
}

/// A path as a value in QEMU's option lists, where a comma must be doubled.
fn escaped(path: &Path) -> Result<String> {
    let text = path
        .to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(text.replace(',', ",,"))
}
