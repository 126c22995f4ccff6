// SPDX-License-Identifier: GPL-2.0-or-later

//! Answers the harness, on a thread of its own.

use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use tresor_storewatch::wire::{receive, send, Answer, Request, State};
use tresor_storewatch::Watch;

use crate::task::Tasks;

/// Answers requests on `stream` until the other end closes.
///
/// # Errors
/// If no thread can be started.
pub fn serve(stream: UnixStream, watch: Arc<Watch>, tasks: Arc<Tasks>) -> Result<()> {
    let mut out = stream.try_clone().context("cannot use control=")?;
    thread::Builder::new()
        .name("storewatch".into())
        .spawn(move || {
            let mut requests = BufReader::new(stream);
            let result = (|| -> Result<()> {
                while let Some(request) = receive(&mut requests)? {
                    let answer: Answer =
                        answer(&watch, &tasks, request).map_err(|error| format!("{error:#}"));
                    send(&mut out, &answer)?;
                }
                Ok(())
            })();
            // The harness sees the end of the stream; QEMU goes on.
            if let Err(error) = result {
                eprintln!("storewatch: {error:#}");
            }
        })
        .context("cannot start a thread")?;
    Ok(())
}

fn answer(watch: &Watch, tasks: &Tasks, request: Request) -> Result<State> {
    match request {
        Request::Secret { name, bytes, forms } => watch.add_secret(&name, &bytes, forms)?,
        Request::Shares { m, lines } => watch.follow_shares(m, lines)?,
        Request::Kernel(kernel) => tasks.set_kernel(kernel),
        Request::State => return Ok(watch.state()),
    }
    Ok(State::default())
}
