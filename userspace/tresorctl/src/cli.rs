// SPDX-License-Identifier: GPL-2.0-or-later

//! The command line.

use crate::check::Expected;
use crate::derive::Cost;
use crate::description::DEFAULT_PATH;
use crate::terminal::CONTROLLING;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use std::path::PathBuf;
use std::str::FromStr;

const EXIT_CODES: &str = "\
Exit codes:
  0  done; `scan`: nothing found
  1  the answer is no; `scan`: something found; `status --armed`: not armed
  2  an error, which left everything as it was unless it says otherwise; bad usage
  3  the module is not loaded, or it was unloaded
  4  the wrong key or passphrase
  5  `scan`: nothing found, but not all could be read or tried: this proves nothing";

/// Keeps the disk encryption key in the CPU's debug registers: loads, locks and inspects the
/// master key of the tresor module, and scans memory dumps for keys
#[derive(Debug, Parser)]
#[command(name = "tresorctl", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// The module's device
    #[arg(long, global = true, hide = true, default_value = tresor_uapi::DEVICE)]
    pub device: PathBuf,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Load the master key: by passphrase unless told otherwise
    Load(Load),
    /// Erase the key from all CPUs; only the same key can be loaded again
    ///
    /// I/O of volumes that are open waits until the key is loaded again. Whatever waits for that I/O waits,
    /// too, and cannot be killed: programs, sync, umount.
    Lock,
    /// Forget the key altogether; any key can be loaded then
    Clear {
        /// Even while volumes are open: their I/O fails from then on, and what waits for the key fails now
        #[arg(long)]
        force: bool,
    },
    /// Show the state of the key, the CPUs and the volumes
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// End with exit code 1 unless the key is loaded and usable
        #[arg(long)]
        armed: bool,
    },
    /// Tell whether swap lies on a tresor volume, by exit code 1
    ///
    /// What is swapped there would wait for the key after a hibernation, which locks it. systemd can refuse
    /// to hibernate then: see the user guide.
    MayHibernate,
    /// Ask for the passphrase whenever the key is locked: after a suspend, for instance
    Agent(Agent),
    /// Write the 32 bytes that open a LUKS volume's keyslot, for `cryptsetup --key-file=-`
    ///
    /// Root may ask for them while the master key is loaded. They depend on the key and the volume's
    /// UUID alone.
    #[command(after_help = "\
Example:
  tresorctl slot-key 01234567-89ab-cdef-0123-456789abcdef |
      cryptsetup open --key-file=- /dev/sdx1 home")]
    SlotKey {
        /// The UUID of the LUKS header, as `cryptsetup luksUUID` prints it
        uuid: String,
        /// Write to this new file, mode 0600, instead of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Look for AES keys and known secrets in memory dumps
    Scan(Scan),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write those of all commands to a folder
    Man {
        /// The folder
        #[arg(long, value_name = "FOLDER")]
        output: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
By default the passphrase is asked for on the terminal. On first use, when the description file does \
not exist, it is asked for twice, and the file is written with a random salt. Later the file tells a \
wrong passphrase before anything changes.")]
pub struct Load {
    #[command(flatten)]
    pub source: Source,
    /// The key description file of the passphrase
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH, conflicts_with_all = RAW)]
    pub description: PathBuf,
    /// On first use: memory that Argon2id takes for each guess, in KiB
    #[arg(long, value_name = "KIB", default_value_t = Cost::DEFAULT.memory_kib, conflicts_with_all = RAW)]
    pub argon2_memory: u32,
    /// On first use: how often Argon2id passes over it
    #[arg(long, value_name = "N", default_value_t = Cost::DEFAULT.iterations, conflicts_with_all = RAW)]
    pub argon2_iterations: u32,
    /// On first use: lanes of Argon2id
    #[arg(long, value_name = "N", default_value_t = Cost::DEFAULT.lanes, conflicts_with_all = RAW)]
    pub argon2_lanes: u32,
    /// With --key-file or --stdin: refuse any key but this one, given by its key id or check value
    #[arg(long, value_name = "HEX", requires = "raw")]
    pub expect: Option<Expected>,
}

const RAW: [&str; 3] = ["key_file", "stdin", "random"];

/// Where the key comes from.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct Source {
    /// Take the key from a file of exactly 32 bytes
    #[arg(long, value_name = "FILE", group = "raw")]
    pub key_file: Option<PathBuf>,
    /// Take the key from standard input: exactly 32 bytes, or 64 hex digits and Enter, not echoed, if
    /// it is a terminal
    #[arg(long, group = "raw")]
    pub stdin: bool,
    /// Have the kernel draw a key that nobody else knows; it is gone with `lock`, `clear` or power
    #[arg(long)]
    pub random: bool,
    /// Read the passphrase from standard input, up to the end of the line, without asking
    #[arg(long)]
    pub passphrase_stdin: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Started before it is needed, it asks even if all volumes wait for the key, the one with tresorctl on it and \
the root file system included: it has all of itself and of what it needs in memory, and opens no file any \
more. It takes as much memory as Argon2id does. When the key is loaded by someone else, it stops asking. \
Ctrl-C and Ctrl-D at the question leave the key locked until Enter is pressed there or the key is locked the \
next time. After a change of the description start it anew.

It ends by SIGTERM with exit code 0, and with 3 if the module is unloaded. While it runs, the module is in use: \
`modprobe -r` works only after the agent has ended.

Example, as a service:
  tresorctl agent --verbose --terminal /dev/tty8")]
pub struct Agent {
    /// The terminal to ask on; unless told otherwise the one that it is started from
    #[arg(long, value_name = "PATH", default_value = CONTROLLING)]
    pub terminal: PathBuf,
    /// The key description file of the passphrase
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub description: PathBuf,
    /// Print a line for each state that the key comes into
    #[arg(long)]
    pub verbose: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The format is told by content: raw; ELF core (QEMU's dump-guest-memory, /proc/vmcore, makedumpfile -E); \
kdump-compressed with zlib, lzo, snappy or zstd; either of these flattened; LiME; AVML. Places are physical \
addresses where the format has them, else offsets in the file.

Key schedules of AES-128, -192 and -256 are always searched for, for encryption and decryption, at every \
byte offset, also with the bytes of each 32-bit word swapped. With --flips or --decay damaged ones are \
found, too, and corrected; a rate is a share (0.05) or has a percent sign (5%).

The file of secrets is a JSON list; \"expand\" also searches for the round keys of the AES key (16, 24 \
or 32 bytes) or XTS pair (64 bytes) that the secret is:
  [{\"name\": \"my key\", \"hex\": \"0011...\", \"expand\": true}]

Of a file that is truncated or corrupt, what can be read is scanned, and the rest is named. If nothing is \
found there, the exit code is 5 and not 0.")]
pub struct Scan {
    /// Memory dumps
    #[arg(required_unless_present = "self_test", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Also look for the secrets in this file, `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub secrets: Option<PathBuf>,
    /// Also look for each secret xored with that of the same name in this file: two shares of one key
    #[arg(long, value_name = "FILE", requires = "secrets")]
    pub xor: Option<PathBuf>,
    /// Also find schedules with up to this share of wrong bits, in either direction
    #[arg(long, value_name = "RATE")]
    pub flips: Option<Rate>,
    /// Also find schedules of which up to this share of the ones (or of the zeros) has decayed, as of DRAM
    /// without power
    #[arg(long, value_name = "RATE")]
    pub decay: Option<Rate>,
    /// With --flips or --decay: spend about so many seconds of one core on what turns out to be no
    /// schedule
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    pub effort: u64,
    /// Scan the bytes of the files as they are, whatever their format
    #[arg(long)]
    pub raw: bool,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
    /// Write a page with maps of the dumps, side by side, to this file (HTML)
    #[arg(long, value_name = "FILE", conflicts_with = "self_test")]
    pub report: Option<PathBuf>,
    /// Print the keys that were found, not only their fingerprints
    #[arg(long)]
    pub show_keys: bool,
    /// Plant schedules of every kind and damage in random data, and print how many a scan finds
    #[arg(long, conflicts_with_all = ["files", "secrets", "flips", "decay", "raw", "show_keys"])]
    pub self_test: bool,
    /// With --self-test: schedules of each kind and damage
    #[arg(long, value_name = "N", default_value_t = 20, requires = "self_test",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub count: u32,
    /// With --self-test: MiB of random data that is searched for false reports
    #[arg(long, value_name = "MIB", default_value_t = 256, requires = "self_test",
          value_parser = clap::value_parser!(u64).range(0..=1 << 24))]
    pub random: u64,
    /// With --self-test: gives other keys, places and damage
    #[arg(long, value_name = "N", default_value_t = 1, requires = "self_test")]
    pub seed: u64,
}

/// A share of bits: `0.05` or `5%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(pub f64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = match text.strip_suffix('%') {
            Some(number) => (number.trim_end(), 100.0),
            None => (text, 1.0),
        };
        let rate = number.parse::<f64>().map(|number| number / unit);
        match rate {
            Ok(rate) if rate > 0.0 && rate < 1.0 => Ok(Self(rate)),
            _ => Err("a rate is a share between 0 and 1, or has a percent sign: 0.05 or 5%".into()),
        }
    }
}
