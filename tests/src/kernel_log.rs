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

/// How the kernel's race detector begins a report, which ends with a line of `=`.
const RACE: &str = "BUG: KCSAN:";

/// Part of the name of every module of ours, as stack traces have it.
const OURS: &str = "[tresor";

/// The lines of a kernel's log that tell of a bug or a hang.
///
/// Stock code races with itself at many places, mostly on purpose: of races, only those count that
/// have code of ours in their report.
pub fn complaints(log: &str) -> Vec<String> {
    let lines: Vec<&str> = log.lines().collect();
    let telling = |&(i, line): &(usize, &&str)| {
        if line.contains(RACE) {
            let mut report = lines[i..].iter().take_while(|line| !line.ends_with("===="));
            return report.any(|line| line.contains(OURS));
        }
        SIGNS.iter().any(|sign| line.contains(sign))
    };
    let complaints = lines.iter().enumerate().filter(telling);
    complaints.map(|(_, line)| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_a_complaint_and_an_ordinary_line_is_none() {
        let log = "tresor: engine aesni: known answers correct\nWARNING: at x.c:1\n";
        assert_eq!(complaints(log), ["WARNING: at x.c:1"]);
    }

    #[test]
    fn a_race_is_a_complaint_if_code_of_ours_is_in_its_report() {
        let report = |function: &str| {
            format!(
                "====\n[ 1.0] BUG: KCSAN: data-race in a / b\n\nread to 1 of 8 bytes:\n {function}\n====\n"
            )
        };
        let log = report("touch_atime+0x1/0x2") + &report("set_state+0x1/0x2 [tresor]");
        assert_eq!(complaints(&log).len(), 1);
        let log = report("touch_atime+0x1/0x2") + "[ 2.0] a line with [tresor]\n";
        assert!(complaints(&log).is_empty());
    }
}
