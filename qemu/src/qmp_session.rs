// SPDX-License-Identifier: GPL-2.0-or-later

//! The machine's own control channel.

use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result};
use qapi::{qmp, Command, Stream};

use crate::registers::places;
use crate::DebugRegisters;

/// How long QEMU may take to answer. The answer does not depend on the guest.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A QMP session.
pub struct Qmp {
    inner: qapi::Qmp<Stream<BufReader<UnixStream>, UnixStream>>,
}

impl Qmp {
    /// Greets QEMU at the other end of `stream`.
    pub(crate) fn connect(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        let reader = BufReader::new(stream.try_clone()?);
        let mut inner = qapi::Qmp::new(Stream::new(reader, stream));
        inner
            .handshake()
            .context("QEMU does not greet on its control channel")?;
        Ok(Self { inner })
    }

    /// Executes any QMP command of [`crate::qmp`].
    ///
    /// # Errors
    /// If QEMU refuses it, does not answer, or is gone.
    pub fn execute<C: Command>(&mut self, command: C) -> Result<C::Ok> {
        let answer = self.inner.execute(&command);
        // Events pile up otherwise; nobody here waits for one.
        self.inner.events().for_each(drop);
        answer.with_context(|| format!("QEMU did not execute {}", C::NAME))
    }

    /// Executes a command of the human monitor and returns what it prints.
    ///
    /// # Errors
    /// See [`Qmp::execute`].
    pub fn monitor(&mut self, line: &str) -> Result<String> {
        self.execute(qmp::human_monitor_command {
            command_line: line.to_owned(),
            cpu_index: None,
        })
    }

    /// Stops all CPUs.
    ///
    /// # Errors
    /// See [`Qmp::execute`].
    pub fn stop(&mut self) -> Result<()> {
        self.execute(qmp::stop {}).map(drop)
    }

    /// Lets the CPUs run again.
    ///
    /// # Errors
    /// See [`Qmp::execute`].
    pub fn cont(&mut self) -> Result<()> {
        self.execute(qmp::cont {}).map(drop)
    }

    /// Debug registers of every CPU, by number.
    ///
    /// # Errors
    /// See [`Qmp::execute`], and if the answer is not understood.
    pub fn debug_registers(&mut self) -> Result<Vec<DebugRegisters>> {
        DebugRegisters::parse_all(&self.monitor("info registers -a")?)
    }

    /// Where each CPU is, in words.
    ///
    /// # Errors
    /// See [`Qmp::debug_registers`].
    pub(crate) fn places(&mut self) -> Result<String> {
        places(&self.monitor("info registers -a")?)
    }

    /// Sends a non-maskable interrupt; it reaches CPU 0 only.
    ///
    /// # Errors
    /// See [`Qmp::execute`].
    pub fn inject_nmi(&mut self) -> Result<()> {
        self.execute(qmp::inject_nmi {}).map(drop)
    }

    /// Presses the power button.
    ///
    /// # Errors
    /// See [`Qmp::execute`].
    pub fn power_button(&mut self) -> Result<()> {
        self.execute(qmp::system_powerdown {}).map(drop)
    }

    /// Resets the machine as its reset button would: RAM keeps its contents.
    ///
    /// # Errors
    /// See [`Qmp::execute`].
    pub fn reset(&mut self) -> Result<()> {
        self.execute(qmp::system_reset {}).map(drop)
    }

    /// Wakes the machine from suspend to RAM.
    ///
    /// # Errors
    /// See [`Qmp::execute`].
    pub fn wake(&mut self) -> Result<()> {
        self.execute(qmp::system_wakeup {}).map(drop)
    }

    /// Ends QEMU at once.
    ///
    /// # Errors
    /// See [`Qmp::execute`].
    pub fn quit(&mut self) -> Result<()> {
        self.execute(qmp::quit {}).map(drop)
    }
}
