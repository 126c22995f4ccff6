// SPDX-License-Identifier: GPL-2.0-or-later

//! Which CPUs hold the key, and why others do not.

use crate::device::Device;
use crate::error::Error;
use serde::Serialize;
use tresor_uapi as uapi;

/// Whether a CPU holds the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It has come online, and was not armed yet.
    NotYet,
    /// It does.
    Armed,
    /// Something overwrote its registers.
    Lost,
    /// The key was erased there.
    Erased,
    /// It is offline.
    Offline,
    /// Its breakpoint registers are somebody else's.
    Refused,
    /// A state of a newer module.
    Unknown,
}

impl State {
    /// The state, and its reason.
    pub fn words(self) -> &'static str {
        match self {
            Self::NotYet => "not armed yet",
            Self::Armed => "armed",
            Self::Lost => "lost: something overwrote its registers",
            Self::Erased => "erased: locked or cleared",
            Self::Offline => "offline",
            Self::Refused => "refused: somebody else has a hardware breakpoint there",
            Self::Unknown => "unknown to this tresorctl",
        }
    }
}

/// A CPU and its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cpu {
    cpu: u32,
    state: State,
}

impl Cpu {
    /// Of one of the module's `CPU_` constants.
    pub fn new(cpu: u32, state: u32) -> Self {
        let state = match state {
            uapi::CPU_NOT_YET => State::NotYet,
            uapi::CPU_ARMED => State::Armed,
            uapi::CPU_LOST => State::Lost,
            uapi::CPU_ERASED => State::Erased,
            uapi::CPU_OFFLINE => State::Offline,
            uapi::CPU_REFUSED => State::Refused,
            _ => State::Unknown,
        };
        Self { cpu, state }
    }
}

/// All CPUs that there may be, in order.
pub fn cpus(device: &Device) -> Result<Vec<Cpu>, Error> {
    let mut cpus = Vec::new();
    for cpu in 0.. {
        let Some(state) = device.cpu(cpu)? else {
            break;
        };
        cpus.push(Cpu::new(cpu, state));
    }
    Ok(cpus)
}

/// The states that there are, in the order of the first CPU in each, with all their CPUs.
pub fn by_state(cpus: &[Cpu]) -> impl Iterator<Item = (State, Vec<u32>)> {
    let mut states: Vec<(State, Vec<u32>)> = Vec::new();
    for Cpu { cpu, state } in cpus {
        match states.iter_mut().find(|(known, _)| known == state) {
            Some((_, cpus)) => cpus.push(*cpu),
            None => states.push((*state, vec![*cpu])),
        }
    }
    states.into_iter()
}

/// `CPU 4`, or `CPUs 0-3, 8`, of numbers in order.
pub fn name_of(cpus: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &cpu in cpus {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => runs.push((cpu, cpu)),
        }
    }
    let runs: Vec<String> = runs
        .into_iter()
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        })
        .collect();
    let noun = if cpus.len() == 1 { "CPU" } else { "CPUs" };
    format!("{noun} {}", runs.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_named_by_runs() {
        for (cpus, name) in [
            (&[4][..], "CPU 4"),
            (&[0, 1], "CPUs 0-1"),
            (&[0, 1, 2, 3], "CPUs 0-3"),
            (&[0, 1, 2, 5, 7, 8, 9], "CPUs 0-2, 5, 7-9"),
        ] {
            assert_eq!(name_of(cpus), name);
        }
    }

    #[test]
    fn cpus_are_gathered_by_state() {
        let states = [
            uapi::CPU_ARMED,
            uapi::CPU_LOST,
            uapi::CPU_ARMED,
            uapi::CPU_OFFLINE,
            uapi::CPU_OFFLINE,
            99,
        ];
        let cpus: Vec<Cpu> = states
            .into_iter()
            .zip(0..)
            .map(|(state, cpu)| Cpu::new(cpu, state))
            .collect();
        let gathered: Vec<_> = by_state(&cpus).collect();
        assert_eq!(
            gathered,
            [
                (State::Armed, vec![0, 2]),
                (State::Lost, vec![1]),
                (State::Offline, vec![3, 4]),
                (State::Unknown, vec![5]),
            ]
        );
    }

    #[test]
    fn each_state_of_the_module_has_words_of_its_own() {
        let words: std::collections::HashSet<&str> = (0..7)
            .map(|state| Cpu::new(0, state).state.words())
            .collect();
        assert_eq!(words.len(), 7);
    }
}
