// SPDX-License-Identifier: GPL-2.0-or-later

//! What happened when, told while it happens.

use std::io::Write as _;
use std::time::{Duration, Instant};

use serde::Serialize;

/// One step that is over.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// What was done.
    pub what: String,
    /// Seconds from the start of the timeline to the start of the step.
    pub start: f64,
    /// Seconds that it took.
    pub seconds: f64,
}

/// Prints each step with its start and its duration, and remembers them.
pub struct Timeline {
    start: Instant,
    steps: Vec<Step>,
}

impl Timeline {
    /// Starts the clock.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
            steps: Vec::new(),
        }
    }

    /// Does one step; a failing one is an error that names it.
    ///
    /// # Errors
    /// Those of the step.
    pub fn step<T>(
        &mut self,
        what: &str,
        action: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let begin = self.start.elapsed();
        print!("[{:6.1} s] {what} ...", begin.as_secs_f64());
        // A pipe that nobody reads any more shows itself at the next line.
        let _ = std::io::stdout().flush();
        let result = action();
        let took = self.start.elapsed() - begin;
        println!(
            " {}{:.1} s",
            if result.is_err() { "failed after " } else { "" },
            took.as_secs_f64()
        );
        self.steps.push(Step {
            what: what.to_owned(),
            start: rounded(begin),
            seconds: rounded(took),
        });
        result.map_err(|error| error.context(format!("while this was done: {what}")))
    }

    /// Prints a line that belongs to the step before.
    pub fn note(&self, text: &str) {
        for line in text.lines() {
            println!("           | {line}");
        }
    }

    /// The steps so far.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        rounded(self.start.elapsed())
    }
}

/// Seconds to a hundredth.
fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100.0).round() / 100.0
}
