// SPDX-License-Identifier: GPL-2.0-or-later

//! `tresorctl status`.

use super::cpus::{by_state, cpus, name_of, Cpu};
use super::print;
use crate::device::{key_id, text, Device};
use crate::error::{reason, Error, Exit};
use crate::volumes;
use serde::Serialize;
use std::path::Path;
use tresor_uapi as uapi;

/// What `--json` prints.
#[derive(Serialize)]
struct Status {
    module_loaded: bool,
    #[serde(flatten)]
    module: Option<Module>,
}

#[derive(Serialize)]
struct Module {
    version: String,
    abi: u32,
    state: &'static str,
    key_id: Option<String>,
    check: Option<String>,
    cpus_online: u32,
    cpus_armed: u32,
    cpus: Vec<Cpu>,
    engine: String,
    armings: u64,
    refreshes: u64,
    losses: u64,
    nmi_restarts: u64,
    volumes: u32,
    /// Null if device-mapper does not tell.
    volume_names: Option<Vec<String>>,
    waiting: u32,
    hopped: u64,
    parked: u64,
}

/// Shows the state; with `armed`, whether it is armed is the exit code.
pub fn run(device: &Path, json: bool, armed: bool) -> Result<Exit, Error> {
    let device = match Device::open(device) {
        Err(e) if e.exit == Exit::NoModule && json => {
            print_json(&Status {
                module_loaded: false,
                module: None,
            })?;
            return Ok(Exit::NoModule);
        }
        other => other?,
    };
    let status = device.status()?;
    let cpus = cpus(&device)?;
    let names = volumes::names();
    if json {
        print_json(&Status {
            module_loaded: true,
            module: Some(Module::new(&status, cpus, names.ok())),
        })?;
    } else {
        let unknown = match &names {
            Err(e) if status.volumes != 0 => format!(" (names unknown: {})", reason(e)),
            _ => String::new(),
        };
        print(&Module::new(&status, cpus, names.ok()).table(&unknown))?;
    }
    Ok(if armed && status.state != uapi::STATE_ARMED {
        Exit::No
    } else {
        Exit::Ok
    })
}

fn print_json(status: &Status) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(status)
        .map_err(|e| Error::new(format!("cannot write JSON: {e}")))?;
    print(&(text + "\n"))
}

impl Module {
    fn new(status: &uapi::Status, cpus: Vec<Cpu>, volume_names: Option<Vec<String>>) -> Self {
        let named = status.state != uapi::STATE_EMPTY;
        Self {
            version: text(&status.version),
            abi: status.abi,
            state: match status.state {
                uapi::STATE_EMPTY => "empty",
                uapi::STATE_ARMED => "armed",
                uapi::STATE_LOCKED => "locked",
                _ => "unknown",
            },
            key_id: named.then(|| key_id(&status.check)),
            check: named.then(|| hex::encode(status.check)),
            cpus_online: status.cpus_online,
            cpus_armed: status.cpus_armed,
            cpus,
            engine: text(&status.engine),
            armings: status.armings,
            refreshes: status.refreshes,
            losses: status.losses,
            nmi_restarts: status.nmi_restarts,
            volumes: status.volumes,
            volume_names,
            waiting: status.waiting,
            hopped: status.hopped,
            parked: status.parked,
        }
    }

    fn table(&self, unknown: &str) -> String {
        let volumes = match self.volume_names.as_deref() {
            Some([]) | None => format!("{}{unknown}", self.volumes),
            Some(names) => format!("{} ({})", self.volumes, names.join(", ")),
        };
        let waiting = match (self.state, self.waiting) {
            (_, 0) => "",
            ("locked", _) => " (requests, for the key: `tresorctl load`)",
            _ => " (requests, for a CPU that has the key)",
        };
        let head = [
            (
                "module",
                format!("{}, engine {}", self.version, self.engine),
            ),
            ("state", self.state.to_owned()),
            (
                "key id",
                self.key_id.clone().unwrap_or_else(|| "none".to_owned()),
            ),
            (
                "CPUs",
                format!("{} of {} armed", self.cpus_armed, self.cpus_online),
            ),
        ];
        let tail = [
            ("volumes", volumes),
            ("waiting", format!("{}{waiting}", self.waiting)),
            (
                "hopped",
                format!(
                    "{} (requests that went to another CPU for the key)",
                    self.hopped
                ),
            ),
            (
                "parked",
                format!("{} (requests that waited for the key)", self.parked),
            ),
            (
                "armings",
                format!(
                    "{} (times the key crossed RAM from CPU to CPU)",
                    self.armings
                ),
            ),
            ("refreshes", self.refreshes.to_string()),
            (
                "losses",
                format!("{} (times a CPU was found without the key)", self.losses),
            ),
            ("NMI restarts", self.nmi_restarts.to_string()),
        ];
        let line = |name: &str, value: &str| format!("{name:<13} {value}\n");
        let head = head.iter().map(|(name, value)| line(name, value));
        let cpus = by_state(&self.cpus)
            .map(|(state, cpus)| line(&format!("  {}", name_of(&cpus)), state.words()));
        let tail = tail.iter().map(|(name, value)| line(name, value));
        head.chain(cpus).chain(tail).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: u32) -> uapi::Status {
        let mut status = uapi::Status {
            abi: uapi::ABI,
            state,
            check: if state == uapi::STATE_EMPTY {
                [0; 16]
            } else {
                *b"0123456789abcdef"
            },
            cpus_online: 4,
            cpus_armed: 3,
            volumes: 2,
            waiting: 3,
            hopped: 9,
            parked: 10,
            armings: 5,
            refreshes: 6,
            losses: 7,
            nmi_restarts: 8,
            ..uapi::Status::default()
        };
        status.engine[..5].copy_from_slice(b"aesni");
        status.version[..5].copy_from_slice(b"0.1.0");
        status
    }

    fn four() -> Vec<Cpu> {
        [
            uapi::CPU_ARMED,
            uapi::CPU_ARMED,
            uapi::CPU_LOST,
            uapi::CPU_ARMED,
        ]
        .into_iter()
        .zip(0..)
        .map(|(state, cpu)| Cpu::new(cpu, state))
        .collect()
    }

    fn module(state: u32) -> Module {
        Module::new(&status(state), four(), None)
    }

    #[test]
    fn the_table_has_every_field_and_the_volumes_names() {
        let names = Some(vec!["home".to_owned(), "swap".to_owned()]);
        assert_eq!(
            Module::new(&status(uapi::STATE_ARMED), four(), names).table(""),
            "module        0.1.0, engine aesni\n\
             state         armed\n\
             key id        3031323334353637\n\
             CPUs          3 of 4 armed\n\
             \x20 CPUs 0-1, 3 armed\n\
             \x20 CPU 2       lost: something overwrote its registers\n\
             volumes       2 (home, swap)\n\
             waiting       3 (requests, for a CPU that has the key)\n\
             hopped        9 (requests that went to another CPU for the key)\n\
             parked        10 (requests that waited for the key)\n\
             armings       5 (times the key crossed RAM from CPU to CPU)\n\
             refreshes     6\n\
             losses        7 (times a CPU was found without the key)\n\
             NMI restarts  8\n"
        );
    }

    #[test]
    fn an_empty_state_has_no_key_id_and_a_locked_one_does() {
        assert_eq!(module(uapi::STATE_EMPTY).key_id, None);
        let locked = module(uapi::STATE_LOCKED);
        assert_eq!(
            (locked.state, locked.key_id.as_deref()),
            ("locked", Some("3031323334353637"))
        );
        let waiting = "waiting       3 (requests, for the key: `tresorctl load`)\n";
        assert!(locked.table("").contains(waiting));
    }

    #[test]
    fn json_says_in_one_object_whether_the_module_is_loaded_and_how_it_is() {
        let module = Some(module(uapi::STATE_ARMED));
        let json = serde_json::to_value(Status {
            module_loaded: true,
            module,
        })
        .unwrap();
        assert_eq!(json["module_loaded"], true);
        assert_eq!(json["key_id"], "3031323334353637");
        assert_eq!(json["cpus_armed"], 3);
        assert_eq!(json["volume_names"], serde_json::Value::Null);
        assert_eq!(
            json["cpus"][2],
            serde_json::json!({"cpu": 2, "state": "lost"})
        );
        assert_eq!(
            (&json["waiting"], &json["hopped"], &json["parked"]),
            (&3.into(), &9.into(), &10.into())
        );
    }
}
