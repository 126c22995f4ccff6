// SPDX-License-Identifier: GPL-2.0-or-later

//! `tresorctl scan`.

use super::print;
use crate::cli;
use crate::error::{reason, Error, Exit};
use crate::process::no_memory;
use crate::secret::{on_own_stack, Secret};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use keyscan::{Expand, Finding, Needles, Options, Report, What};
use serde::Deserialize;
use serde_json::{json, Value};
use std::fmt::Write;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Most bytes in a file of secrets.
const MAX_SECRETS: usize = 1 << 20;

/// A file that was scanned.
struct Scanned<'a> {
    file: &'a Path,
    report: Report,
    time: Duration,
}

/// Scans all files. One that cannot be read does not keep the others from being scanned.
pub fn run(args: &cli::Scan) -> Result<Exit, Error> {
    let needles = match &args.secrets {
        Some(path) => on_own_stack(|| read_secrets(path)).map_err(|e| no_memory(&e))??,
        None => Needles::new(),
    };
    let mut exit = Exit::Ok;
    let mut all = Vec::new();
    for file in &args.files {
        let bar = progress_bar(file);
        let start = Instant::now();
        let result =
            keyscan::scan_file(file, &needles, &Options::default(), &|bytes| bar.inc(bytes));
        bar.finish_and_clear();
        let scanned = match result {
            Ok(report) => Scanned {
                file,
                report,
                time: start.elapsed(),
            },
            Err(e) => {
                eprintln!("error: {}", Error::from(e));
                exit = Exit::Error;
                continue;
            }
        };
        if exit == Exit::Ok && !scanned.report.is_clean() {
            exit = Exit::No;
        }
        if args.json {
            all.push(scanned.to_json(args.show_keys)?);
        } else {
            print(&scanned.to_text(args.show_keys))?;
        }
    }
    if args.json {
        let text = serde_json::to_string_pretty(&json!({ "files": all }))
            .map_err(|e| Error::new(format!("cannot write JSON: {e}")))?;
        print(&(text + "\n"))?;
    }
    Ok(exit)
}

/// On standard error, and only if that is a terminal.
fn progress_bar(file: &Path) -> ProgressBar {
    // The same size that the scan finds; if there is none, the scan will say why.
    let size = File::open(file).and_then(|mut f| io::Seek::seek(&mut f, io::SeekFrom::End(0)));
    let bar = ProgressBar::with_draw_target(size.ok(), ProgressDrawTarget::stderr());
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
    // A template that does not parse would only cost the looks.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(
        file.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
    );
    bar
}

impl Scanned<'_> {
    fn to_text(&self, show_keys: bool) -> String {
        let report = &self.report;
        let mut text = format!(
            "{}: {} scanned in {:.1} s\n",
            self.file.display(),
            indicatif::BinaryBytes(report.bytes_scanned),
            self.time.as_secs_f64()
        );
        if !report.findings.is_empty() {
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(
                text,
                "  {:<18} {:>6}  {:<14} WHAT",
                "OFFSET", "LENGTH", "ORDER"
            );
        }
        for Finding {
            offset,
            length,
            order,
            what,
        } in &report.findings
        {
            let _ = writeln!(text, "  {offset:#018x} {length:>6}  {order:<14} {what}");
            if let (true, What::Schedule { key, .. }) = (show_keys, what) {
                let hex = Zeroizing::new(hex::encode(key.expose()));
                let _ = writeln!(text, "  {:<41} key {}", "", *hex);
            }
        }
        if report.omitted != 0 {
            let _ = writeln!(text, "  and {} more", report.omitted);
        }
        let _ = writeln!(
            text,
            "  key schedules: {}",
            count(report.schedules.unwrap_or(0))
        );
        for needle in &report.needles {
            let _ = writeln!(
                text,
                "  {:?}: {} ({} patterns)",
                needle.name,
                count(needle.found),
                needle.patterns
            );
        }
        text
    }

    fn to_json(&self, show_keys: bool) -> Result<Value, Error> {
        let failed = |e| Error::new(format!("cannot write JSON: {e}"));
        let mut value = serde_json::to_value(&self.report).map_err(failed)?;
        value["file"] = json!(self.file.to_string_lossy());
        value["seconds"] = json!(self.time.as_secs_f64());
        if show_keys {
            for (i, finding) in self.report.findings.iter().enumerate() {
                if let What::Schedule { key, .. } = &finding.what {
                    value["findings"][i]["key"] = json!(hex::encode(key.expose()));
                }
            }
        }
        Ok(value)
    }
}

fn count(found: u64) -> String {
    match found {
        0 => "not found".to_owned(),
        1 => "found once".to_owned(),
        n => format!("found {n} times"),
    }
}

/// One entry of the file of secrets. The hex digits are borrowed from the locked buffer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry<'a> {
    name: String,
    #[serde(borrow)]
    hex: &'a str,
    #[serde(default)]
    expand: bool,
}

fn read_secrets(path: &Path) -> Result<Needles, Error> {
    let (name, mut file): (_, Box<dyn Read>) = if path == Path::new("-") {
        if io::stdin().is_terminal() {
            return Err(Error::new(
                "secrets would be echoed by the terminal: pipe them in, or give a file",
            ));
        }
        // Past the library's buffer, which nobody wipes.
        let stdin = std::os::fd::AsFd::as_fd(&io::stdin())
            .try_clone_to_owned()
            .map_err(|e| Error::new(format!("cannot read standard input: {}", reason(&e))))?;
        ("standard input".to_owned(), Box::new(File::from(stdin)))
    } else {
        let file = File::open(path)
            .map_err(|e| Error::new(format!("cannot open {}: {}", path.display(), reason(&e))))?;
        (path.display().to_string(), Box::new(file))
    };
    let mut buffer = Secret::<[u8; MAX_SECRETS]>::new().map_err(|e| no_memory(&e))?;
    let mut filled = 0;
    loop {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::new(format!("cannot read {name}: {}", reason(&e)))),
        }
    }
    if filled == buffer.len() {
        return Err(Error::new(format!(
            "{name} is larger than a list of secrets may be (1 MiB)"
        )));
    }
    needles(&buffer[..filled], &name)
}

fn needles(text: &[u8], name: &str) -> Result<Needles, Error> {
    let entries: Vec<Entry> = serde_json::from_slice(text).map_err(|e| {
        // Only the place: the message itself may quote what is there.
        Error::new(format!(
            "{name} is no list of secrets (line {}, column {}): it should be JSON like [{{\"name\": \
             \"my key\", \"hex\": \"0011...\", \"expand\": true}}]",
            e.line(),
            e.column()
        ))
    })?;
    let mut needles = Needles::new();
    for entry in entries {
        let secret = Zeroizing::new(hex::decode(entry.hex).map_err(|_| {
            Error::new(format!(
                "the hex of secret {:?} is not an even number of hex digits",
                entry.name
            ))
        })?);
        let expand = match (entry.expand, secret.len()) {
            (false, _) => Expand::None,
            (true, 64) => Expand::Xts,
            (true, _) => Expand::Aes,
        };
        needles.add_secret(&entry.name, &secret, expand)?;
    }
    Ok(needles)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_secrets_that_is_wrong_is_refused_without_quoting_it() {
        for (text, why) in [
            (
                r#"[{"name": "k", "hex": "c0ffee"}]"#,
                "secret \"k\" has 3 bytes; at least 8",
            ),
            (
                r#"[{"name": "k", "hex": "c0ffe"}]"#,
                "the hex of secret \"k\" is not an even number",
            ),
            (
                r#"[{"name": "k", "hex": 12648430}]"#,
                "list is no list of secrets (line 1, column 30)",
            ),
            (
                r#"{"k": "c0ffee"}"#,
                "list is no list of secrets (line 1, column",
            ),
            (
                r#"[{"name": "k", "hex": "00112233445566778899aabbccddeeff0123", "expand": true}]"#,
                "secret \"k\" has 18 bytes, which is no AES key length",
            ),
        ] {
            let error = needles(text.as_bytes(), "list").unwrap_err().to_string();
            assert!(error.starts_with(why), "{error}");
            assert!(!error.contains("c0ffe"), "{error}");
        }
    }

    #[test]
    fn a_64_byte_secret_is_expanded_as_a_pair() {
        let hex: String = (0..64u8)
            .map(|i| format!("{:02x}", i.wrapping_mul(37) ^ 0x5c))
            .collect();
        let text = format!(r#"[{{"name": "k", "hex": "{hex}", "expand": true}}]"#);
        // Whole in 4 orders, 8 words in 3, and 2 times 28 round keys in 4.
        assert_eq!(
            needles(text.as_bytes(), "list").unwrap().patterns(),
            4 + 24 + 224
        );
    }
}
