// SPDX-License-Identifier: GPL-2.0-or-later

//! What a scenario works with: a VM with a tresor volume beside a stock one, whose secrets the host
//! knows, and the oracles.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use tresor_qemu::{target_dir, Cache, Drive, VmConfig};
use tresor_uapi::STATE_ARMED;

use super::cell::{Cell, Oracle};
use super::load::Load;
use super::Scenario;
use crate::evidence::Known;
use crate::kernel_log::complaints;
use crate::master::{create_with, derive, last_line, load};
use crate::reference::Master;
use crate::vmtest::guest::{Guest, PROGRAM};
use crate::vmtest::runner::MEMORY;
use crate::vmtest::secrets::{passphrase, random, Key};

/// The volume with our cipher, as `/dev/mapper/tresor` on `/dev/disk/tresor`.
pub const TRESOR: &str = "tresor";
/// The volume with the kernel's own AES, the control.
pub const STOCK: &str = "stock";
/// A disk without encryption.
pub const PLAIN: &str = "plain";
/// A large one without encryption, empty at first: for swap, core files and dumps.
pub const SPARE: &str = "spare";

/// The disks of every VM and their sizes in bytes. A LUKS2 header alone takes 16 MiB.
const DISKS: [(&str, u64); 4] = [
    (TRESOR, 24 << 20),
    (STOCK, 24 << 20),
    (PLAIN, 8 << 20),
    (SPARE, 768 << 20),
];

/// Argon2id as the bench asks for it: little, since an emulated CPU does it, twice a boot. What is
/// left in RAM does not depend on it.
const COST: &str = "--argon2-memory 64 --argon2-iterations 1";

/// One scenario's VM and what is known of it.
pub struct Bench {
    /// The guest.
    pub guest: Guest,
    /// The key, once [`Bench::arm`] has loaded it.
    pub key: Key,
    /// All that the oracles look for. Scenarios may add to `others`.
    pub known: Known,
    /// How often a look came between the two halves of a refresh.
    pub torn: u64,
    /// Whether the scenario makes the kernel complain, and looks at that itself.
    pub provokes: bool,
    /// The start of loops that need chance; printed so that a run can be repeated.
    pub seed: u64,
    /// Whether only the short part is asked for.
    pub short: bool,
    /// How often the end of the kernel's log was marked.
    pub(super) ends: u32,
    blob: [u8; 64],
    folder: PathBuf,
    cells: Vec<Cell>,
}

impl Bench {
    /// Boots the scenario's VM. The module is not loaded yet.
    ///
    /// # Errors
    /// If it does not come up.
    pub(super) fn boot(
        cache: &Cache,
        programs: &[PathBuf; 2],
        scenario: &Scenario,
        short: bool,
        seed: u64,
    ) -> Result<Self> {
        let name = format!("leak-{}", scenario.name.replace([' ', ',', '/'], "-"));
        let folder = target_dir().join("vm").join(&name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let [program, tresorctl] = programs;
        let mut config = VmConfig::new(&name)
            .memory_mib(MEMORY)
            .file(PROGRAM, 0o755, program)
            .file("/usr/bin/tresorctl", 0o755, tresorctl);
        for (disk, size) in DISKS {
            let path = folder.join(format!("{disk}.img"));
            File::create(&path)
                .and_then(|file| file.set_len(size))
                .with_context(|| format!("cannot make {}", path.display()))?;
            config = config.drive(Drive::new(disk, &path));
        }
        if scenario.oracles.contains(&Oracle::Stores) {
            config = config.watch_stores();
        }
        let vm = (scenario.machine)(config)
            .boot(cache)
            .context("the VM does not come up")?;
        let control = random::<64>()?.to_vec();
        Ok(Self {
            guest: Guest::new(vm, !short)?,
            // Replaced when the guest has drawn the salt.
            key: Key::random()?,
            known: Known {
                passphrase: passphrase()?,
                m: [0; 32],
                effective: Vec::new(),
                control,
                others: Vec::new(),
            },
            torn: 0,
            provokes: false,
            seed,
            short,
            ends: 0,
            blob: random()?,
            folder,
            cells: scenario
                .oracles
                .iter()
                .map(|&oracle| Cell::new(scenario.name, oracle))
                .collect(),
        })
    }

    /// The image of a disk of the guest.
    pub fn image(&self, disk: &str) -> PathBuf {
        self.folder.join(format!("{disk}.img"))
    }

    /// The scenario's folder, for what it leaves.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Module and key loaded, both volumes open and filled: where most scenarios begin.
    ///
    /// # Errors
    /// If something is refused.
    pub fn begin(&mut self) -> Result<()> {
        self.arm()?;
        self.open()
    }

    /// Loads the module and, from a passphrase, the key: once to learn it, and once more when the
    /// oracles know it.
    ///
    /// # Errors
    /// If something is refused.
    pub fn arm(&mut self) -> Result<()> {
        self.arm_at_cost(COST)
    }

    /// [`Bench::arm`] with other costs of Argon2id, as arguments of `tresorctl load`.
    ///
    /// # Errors
    /// If something is refused.
    pub fn arm_at_cost(&mut self, cost: &str) -> Result<()> {
        self.guest.insert()?;
        let passphrase = self.known.passphrase.clone();
        let description = create_with(&mut self.guest.vm, &passphrase, cost)?;
        let m = derive(&description, passphrase.as_bytes())?;
        self.key = Key {
            m,
            master: Master::new(&m),
        };
        self.known.m = m;
        self.known.effective = self.key.master.xts_key(&self.blob)?;
        self.all_armed()?;
        let first = self.guest.look_armed(&self.key)?;
        ensure!(self.guest.clear(0)? == "ok", "the key cannot be cleared");
        self.tell_the_watch(&first)?;
        self.load_again()
    }

    /// Loads the known key by its passphrase.
    ///
    /// # Errors
    /// If `tresorctl` refuses.
    pub fn load_again(&mut self) -> Result<()> {
        let output = load(&mut self.guest.vm, &self.known.passphrase)?;
        ensure!(output.success(), "tresorctl load: {}", last_line(&output));
        self.all_armed()
    }

    /// Waits until every online CPU holds the key.
    ///
    /// # Errors
    /// If one does not within a minute.
    pub fn all_armed(&mut self) -> Result<()> {
        self.guest
            .wait(Duration::from_secs(60), "armed CPUs", |guest| {
                let status = guest.ensure_state(STATE_ARMED)?;
                Ok(status.cpus_armed == status.cpus_online)
            })
    }

    /// Opens and fills both volumes.
    ///
    /// # Errors
    /// If one cannot be opened or written.
    pub fn open(&mut self) -> Result<()> {
        self.open_tresor()?;
        self.open_stock()
    }

    /// Opens and fills the volume with our cipher.
    ///
    /// # Errors
    /// If it cannot be opened or written.
    pub fn open_tresor(&mut self) -> Result<()> {
        let blob = self.blob;
        self.guest
            .open_volume(TRESOR, &blob, "/dev/disk/tresor", &[])?;
        self.guest.fill("/dev/mapper/tresor", 1)
    }

    /// Opens and fills the control volume.
    ///
    /// # Errors
    /// If it cannot be opened or written.
    pub fn open_stock(&mut self) -> Result<()> {
        let key = self.known.control.clone();
        let opened =
            self.guest
                .try_open_volume(STOCK, "aes-xts-plain64", &key, "/dev/disk/stock", &[])?;
        if let Err(said) = opened {
            bail!("dmsetup could not open the control volume: {said}");
        }
        self.guest.fill("/dev/mapper/stock", 2)
    }

    /// Keeps both volumes busy.
    ///
    /// # Errors
    /// If there is no I/O within five minutes.
    pub fn work(&mut self) -> Result<Load> {
        Load::start(&mut self.guest, &[TRESOR, STOCK])
    }

    /// Whether the scenario has this oracle.
    pub fn has(&self, oracle: Oracle) -> bool {
        self.cells.iter().any(|cell| cell.column == oracle)
    }

    /// Notes what an oracle says: why it did not see its control, if it did not, and what it found.
    ///
    /// # Errors
    /// If the scenario does not list the oracle.
    pub fn answer(
        &mut self,
        oracle: Oracle,
        missing: Option<String>,
        findings: Vec<String>,
    ) -> Result<()> {
        self.cell(oracle)?.add(missing, findings);
        Ok(())
    }

    pub(super) fn cell(&mut self, oracle: Oracle) -> Result<&mut Cell> {
        self.cells
            .iter_mut()
            .find(|cell| cell.column == oracle)
            .with_context(|| format!("the scenario does not list the oracle {:?}", oracle.name()))
    }

    /// The module's version and engine.
    pub(super) fn module_version(&mut self) -> Result<String> {
        let status = self.guest.status()?;
        Ok(format!(
            "tresor {}, engine {}",
            status.version, status.engine
        ))
    }

    /// Ends the scenario: the kernel must not have complained. Returns the cells.
    pub(super) fn end(mut self, result: Result<()>) -> Vec<Cell> {
        let quiet = |bench: &mut Self| -> Result<()> {
            if bench.provokes {
                return Ok(());
            }
            // The guest may be gone, as the scenario wants it; its console is not.
            let complaints = complaints(&bench.guest.vm.console().text()?);
            ensure!(
                complaints.is_empty(),
                "the kernel complained: {}",
                complaints.join("; ")
            );
            Ok(())
        };
        if let Err(error) = result.and_then(|()| quiet(&mut self)) {
            for cell in &mut self.cells {
                cell.error = Some(format!("{error:#}").replace('\n', "\n    "));
            }
        }
        self.cells
    }
}
