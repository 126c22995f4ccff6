// SPDX-License-Identifier: GPL-2.0-or-later

//! The list of stores of a secret that are justified, as long as the secret does not stay.

use anyhow::{ensure, Context, Result};
use serde::Deserialize;

/// The one list, kept as a file of the project.
const LIST: &str = include_str!("../allowed.toml");

/// Stores that are justified.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    entry: Vec<Entry>,
}

/// One of them. In patterns `*` stands for any text, and nothing else is special.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Pattern of the symbol.
    pub symbol: String,
    /// Pattern of the name of the process.
    pub process: String,
    /// Pattern of the secret.
    pub secret: String,
    /// Why it must be so, and why it does not stay.
    pub reason: String,
    /// Whether it takes a coincidence, so that a run may well go without.
    #[serde(default)]
    pub rare: bool,
}

impl Allowed {
    /// The project's list.
    ///
    /// # Errors
    /// If it is not understood.
    pub fn list() -> Result<Self> {
        Self::parse(LIST)
    }

    /// Reads a list.
    ///
    /// # Errors
    /// If it is not understood, an entry has no reason, or one allows everything.
    pub fn parse(text: &str) -> Result<Self> {
        let list: Self = toml::from_str(text).context("allowed.toml is not understood")?;
        for entry in &list.entry {
            ensure!(
                entry.reason.trim().len() >= 20,
                "allowed.toml: {} has no reason",
                entry.symbol
            );
            ensure!(
                !entry.symbol.trim_matches('*').is_empty()
                    && !entry.secret.trim_matches('*').is_empty(),
                "allowed.toml: an entry allows every symbol or every secret"
            );
        }
        Ok(list)
    }

    /// All entries.
    pub fn entries(&self) -> &[Entry] {
        &self.entry
    }

    /// The reason of the first entry that covers a hit.
    pub fn reason(&self, symbol: &str, process: &str, secret: &str) -> Option<&str> {
        let covers = |entry: &&Entry| {
            matches(&entry.symbol, symbol)
                && matches(&entry.process, process)
                && matches(&entry.secret, secret)
        };
        Some(self.entry.iter().find(covers)?.reason.as_str())
    }
}

/// Whether all of `text` is as the pattern says.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut left) = text.strip_prefix(head) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.len() >= tail.len() && left.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, same) in [
            ("memcpy", "memcpy", true),
            ("memcpy", "memcpy+0x1", false),
            ("memcpy+*", "memcpy+0x1 (vmlinux)", true),
            ("*(user)*", "tresorctl (user) 0x1", true),
            ("a*bc", "abc", true),
            ("a*bc*bc", "abc", false),
            ("ab*ba", "aba", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, text), same, "{pattern} {text}");
        }
    }

    #[test]
    fn the_projects_list_is_understood() {
        assert!(!Allowed::list().unwrap().entries().is_empty());
    }

    #[test]
    fn an_entry_without_a_reason_or_a_limit_is_refused() {
        let entry = |symbol: &str, reason: &str| {
            format!(
                "[[entry]]\nsymbol = \"{symbol}\"\nprocess = \"*\"\nsecret = \"M\"\n\
                 reason = \"{reason}\"\n"
            )
        };
        Allowed::parse(&entry("memcpy*", "a reason long enough to be one")).unwrap();
        Allowed::parse(&entry("memcpy*", "")).unwrap_err();
        Allowed::parse(&entry("*", "a reason long enough to be one")).unwrap_err();
    }
}
