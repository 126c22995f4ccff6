// SPDX-License-Identifier: GPL-2.0-or-later

//! What debuggers get while the module has all breakpoints.

use anyhow::{ensure, Result};

use super::guest::Guest;

const NOTHING: &str = "peek-dr1 zero\npeek-dr2 zero\npeek-dr3 zero";

pub(super) fn debuggers_get_no_breakpoint_and_see_nothing_while_the_module_is_loaded(
    guest: &mut Guest,
) -> Result<()> {
    let free = |guest: &mut Guest| -> Result<()> {
        let said = guest.program("watch")?;
        let wanted = format!("poke-dr0 ok\npoke-dr7 ok\npeek-dr0 address\n{NOTHING}");
        ensure!(
            said == wanted,
            "without the module ptrace does not work: {said}"
        );
        let said = guest.program("perf")?;
        ensure!(
            said == "task ok\ncpu ok",
            "without the module perf does not work: {said}"
        );
        Ok(())
    };
    free(guest)?;
    guest.insert_and_load()?;
    let said = guest.program("watch")?;
    let wanted = format!("poke-dr0 ENOSPC\npoke-dr7 ENOSPC\npeek-dr0 zero\n{NOTHING}");
    ensure!(said == wanted, "with the module ptrace says: {said}");
    let said = guest.program("perf")?;
    ensure!(
        said == "task ENOSPC\ncpu ENOSPC",
        "with the module perf says: {said}"
    );
    guest.remove()?;
    free(guest)
}
