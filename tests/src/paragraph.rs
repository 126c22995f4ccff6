// SPDX-License-Identifier: GPL-2.0-or-later

//! The form in which every program of ours says that a test failed.

/// `FAILED NAME: why`. Only the first line begins at the margin, where `scripts/test` looks for tests; it
/// takes the lines that follow with it.
pub fn failed(name: &str, why: &str) -> String {
    let why = why.trim_end().replace('\n', "\n    ");
    format!("FAILED {name}: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_line_begins_at_the_margin() {
        let said = failed("a test", "it hangs\nFAILED so: it seems\n\n");
        assert_eq!(said, "FAILED a test: it hangs\n    FAILED so: it seems");
    }
}
