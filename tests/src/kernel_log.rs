// SPDX-License-Identifier: GPL-2.0-or-later

//! What a kernel's log says that nobody wants to read.

/// Parts of messages by which the kernel reports a bug of its own, or a hang.
const SIGNS: [&str; 14] = [
    "WARNING:",
    "BUG:",
    "Oops",
    "kernel BUG at",
    "general protection fault",
    "Call Trace:",
    "blocked for more than",
    "soft lockup",
    "hard LOCKUP",
    "self-detected stall",
    "detected stalls",
    "refcount_t:",
    "UBSAN:",
    "Bad page state",
];

/// The lines of a kernel's log that tell of a bug or a hang.
pub fn complaints(log: &str) -> Vec<String> {
    let telling = |line: &&str| SIGNS.iter().any(|sign| line.contains(sign));
    log.lines().filter(telling).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_a_complaint_and_an_ordinary_line_is_none() {
        let log = "tresor: engine aesni: known answers correct\nWARNING: at x.c:1\n";
        assert_eq!(complaints(log), ["WARNING: at x.c:1"]);
    }
}
