// SPDX-License-Identifier: GPL-2.0-or-later

//! What the check says: rules, findings, and the report.

use std::fmt;

use serde::Serialize;

/// What every path of every routine is held to. The numbers are those of `docs/evidence.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Memory is written only where, and with what, the routine's contract says.
    Stores = 1,
    /// No stack, no call, no indirect branch; one way out.
    Flow = 2,
    /// No branch and no address depends on a secret.
    Timing = 3,
    /// Every instruction is one whose effect is known.
    Instructions = 4,
    /// At every exit, all that held a secret is overwritten.
    Wiped = 5,
    /// A secret is in a general register only within a window, and windows can run again.
    Windows = 6,
    /// The code lies where nothing gets into it, and nothing else touches debug registers.
    Placement = 7,
    /// The check value is compared before anything is given out.
    CheckFirst = 8,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Rule::Stores => "stores only as the contract says",
            Rule::Flow => "no stack, no call, one way out",
            Rule::Timing => "no branch or address depends on a secret",
            Rule::Instructions => "known instructions only",
            Rule::Wiped => "everything overwritten at every exit",
            Rule::Windows => "secrets in general registers only in windows",
            Rule::Placement => "nothing gets into the code, no debug register used elsewhere",
            Rule::CheckFirst => "check value compared first",
        };
        write!(f, "rule {} ({text})", *self as u8)
    }
}

/// One violation of a rule, at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// The routine, or the section if the place is in none.
    pub routine: String,
    /// Where, counted in bytes from the start of the section.
    pub address: u64,
    /// The instruction there; empty if the finding is not about one.
    pub instruction: String,
    /// What is wrong.
    pub what: String,
    /// A few instructions of a path that leads there, oldest first.
    pub path: Vec<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "refused: {}: {}", self.routine, self.rule)?;
        for line in &self.path {
            writeln!(f, "      {line}")?;
        }
        if self.instruction.is_empty() {
            write!(f, "  at {:#06x}: ", self.address)?;
        } else {
            writeln!(f, "  --> {:#06x}  {}", self.address, self.instruction)?;
            write!(f, "  ")?;
        }
        write!(f, "{}", self.what)
    }
}

/// What was walked of one routine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Walked {
    /// Its symbol.
    pub routine: String,
    /// Instructions that some path reaches.
    pub instructions: usize,
    /// Basic blocks of them.
    pub blocks: usize,
    /// Conditional branches.
    pub branches: usize,
    /// Instructions that load from memory.
    pub loads: usize,
    /// Instructions that store to memory.
    pub stores: usize,
    /// Instructions that read or write a debug register.
    pub debug_registers: usize,
    /// Windows of the table that lie in it.
    pub windows: usize,
    /// Most registers (vector and general) that hold secrets at one time.
    pub secrets_live: usize,
    /// Ways out.
    pub exits: usize,
}

/// The verdict on one file.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Whether everything is proved: nothing was found.
    pub proved: bool,
    /// One for each routine, in the order of their addresses.
    pub routines: Vec<Walked>,
    /// Instructions of the file's other code, looked through for uses of debug registers.
    pub other_instructions: usize,
    /// All that was found.
    pub findings: Vec<Finding>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .routines
            .iter()
            .map(|r| r.routine.len())
            .max()
            .unwrap_or(0);
        writeln!(
            f,
            "{:width$} {:>6} {:>6} {:>8} {:>5} {:>6} {:>3} {:>7} {:>7} {:>5}",
            "routine",
            "instr.",
            "blocks",
            "branches",
            "loads",
            "stores",
            "dr",
            "windows",
            "secrets",
            "exits"
        )?;
        for r in &self.routines {
            writeln!(
                f,
                "{:width$} {:>6} {:>6} {:>8} {:>5} {:>6} {:>3} {:>7} {:>7} {:>5}",
                r.routine,
                r.instructions,
                r.blocks,
                r.branches,
                r.loads,
                r.stores,
                r.debug_registers,
                r.windows,
                r.secrets_live,
                r.exits
            )?;
        }
        for finding in &self.findings {
            writeln!(f, "\n{finding}")?;
        }
        let all: usize = self.routines.iter().map(|r| r.instructions).sum();
        if self.proved {
            write!(
                f,
                "proved: rules 1 to 8 hold on every path of {} routines ({all} instructions); no \
                 debug register is used in the {} instructions around them",
                self.routines.len(),
                self.other_instructions
            )
        } else {
            write!(f, "refused: {} findings", self.findings.len())
        }
    }
}
