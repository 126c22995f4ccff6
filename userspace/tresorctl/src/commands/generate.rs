// SPDX-License-Identifier: GPL-2.0-or-later

//! What is made from the definition of the command line: completions and manual pages.

use super::print;
use crate::cli::Cli;
use crate::error::{reason, Error, Exit};
use clap::CommandFactory;
use clap_complete::Shell;
use std::path::Path;

/// Prints a completion script.
pub fn completions(shell: Shell) -> Result<Exit, Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tresorctl", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}

/// Prints the manual page, or writes those of all commands to a folder.
pub fn man(output: Option<&Path>) -> Result<Exit, Error> {
    match output {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut page)
                .map_err(|e| Error::new(format!("cannot make the manual page: {}", reason(&e))))?;
            print(&String::from_utf8_lossy(&page))?;
        }
        Some(folder) => clap_mangen::generate_to(Cli::command(), folder).map_err(|e| {
            Error::new(format!(
                "cannot write manual pages to {}: {}",
                folder.display(),
                reason(&e)
            ))
        })?,
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
