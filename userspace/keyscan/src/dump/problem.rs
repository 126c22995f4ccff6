// SPDX-License-Identifier: GPL-2.0-or-later

//! What of a file could not be read, and where.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Problems that are kept; of more only those at the lowest offsets are.
const MAX: usize = 100;

/// A part of a dump that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// What was wrong there.
    pub what: String,
}

impl Problem {
    pub(crate) fn new(offset: u64, what: impl Into<String>) -> Self {
        Self {
            offset,
            what: what.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at offset {:#x}: {}", self.offset, self.what)
    }
}

/// Collects problems of all threads. The same place counts once: windows overlap.
#[derive(Default)]
pub(crate) struct Problems(Mutex<Listed>);

#[derive(Default)]
struct Listed {
    by_offset: BTreeMap<u64, String>,
    omitted: bool,
}

impl Problems {
    pub fn add(&self, problem: Problem) {
        // What a panicking thread left is whole: nothing below can fail half-way.
        let mut listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listed
            .by_offset
            .entry(problem.offset)
            .or_insert(problem.what);
        if listed.by_offset.len() > MAX {
            listed.by_offset.pop_last();
            listed.omitted = true;
        }
    }

    /// Those kept, by offset, and whether there were more.
    pub fn list(&self) -> (Vec<Problem>, bool) {
        let listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let list = listed
            .by_offset
            .iter()
            .map(|(&offset, what)| Problem::new(offset, what.as_str()));
        (list.collect(), listed.omitted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_problems_the_first_are_kept_and_none_twice() {
        let problems = Problems::default();
        for offset in (0..500).rev().chain(0..500) {
            problems.add(Problem::new(offset, "bad"));
        }
        let (list, omitted) = problems.list();
        assert!(list.iter().map(|p| p.offset).eq(0..MAX as u64) && omitted);
    }
}
