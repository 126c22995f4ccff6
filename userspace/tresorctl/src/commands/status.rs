// SPDX-License-Identifier: GPL-2.0-or-later

//! `tresorctl status`.

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
    engine: String,
    armings: u64,
    refreshes: u64,
    losses: u64,
    nmi_restarts: u64,
    volumes: u32,
    /// Null if device-mapper does not tell.
    volume_names: Option<Vec<String>>,
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
    let names = volumes::names();
    if json {
        print_json(&Status {
            module_loaded: true,
            module: Some(Module::new(&status, names.ok())),
        })?;
    } else {
        let unknown = match &names {
            Err(e) if status.volumes != 0 => format!(" (names unknown: {})", reason(e)),
            _ => String::new(),
        };
        print(&Module::new(&status, names.ok()).table(&unknown))?;
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
    fn new(status: &uapi::Status, volume_names: Option<Vec<String>>) -> Self {
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
            engine: text(&status.engine),
            armings: status.armings,
            refreshes: status.refreshes,
            losses: status.losses,
            nmi_restarts: status.nmi_restarts,
            volumes: status.volumes,
            volume_names,
        }
    }

    fn table(&self, unknown: &str) -> String {
        let volumes = match self.volume_names.as_deref() {
            Some([]) | None => format!("{}{unknown}", self.volumes),
            Some(names) => format!("{} ({})", self.volumes, names.join(", ")),
        };
        [
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
            ("volumes", volumes),
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
        ]
        .iter()
        .map(|(name, value)| format!("{name:<14}{value}\n"))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: u32) -> uapi::Status {
        let mut status = uapi::Status {
            abi: 1,
            state,
            check: if state == uapi::STATE_EMPTY {
                [0; 16]
            } else {
                *b"0123456789abcdef"
            },
            cpus_online: 4,
            cpus_armed: 3,
            volumes: 2,
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

    #[test]
    fn the_table_has_every_field_and_the_volumes_names() {
        let names = Some(vec!["home".to_owned(), "swap".to_owned()]);
        assert_eq!(
            Module::new(&status(uapi::STATE_ARMED), names).table(""),
            "module        0.1.0, engine aesni\n\
             state         armed\n\
             key id        3031323334353637\n\
             CPUs          3 of 4 armed\n\
             volumes       2 (home, swap)\n\
             armings       5 (times the key crossed RAM from CPU to CPU)\n\
             refreshes     6\n\
             losses        7 (times a CPU was found without the key)\n\
             NMI restarts  8\n"
        );
    }

    #[test]
    fn an_empty_state_has_no_key_id_and_a_locked_one_does() {
        assert_eq!(Module::new(&status(uapi::STATE_EMPTY), None).key_id, None);
        let locked = Module::new(&status(uapi::STATE_LOCKED), None);
        assert_eq!(
            (locked.state, locked.key_id.as_deref()),
            ("locked", Some("3031323334353637"))
        );
    }

    #[test]
    fn json_says_in_one_object_whether_the_module_is_loaded_and_how_it_is() {
        let module = Some(Module::new(&status(uapi::STATE_ARMED), None));
        let json = serde_json::to_value(Status {
            module_loaded: true,
            module,
        })
        .unwrap();
        assert_eq!(json["module_loaded"], true);
        assert_eq!(json["key_id"], "3031323334353637");
        assert_eq!(json["cpus_armed"], 3);
        assert_eq!(json["volume_names"], serde_json::Value::Null);
    }
}
