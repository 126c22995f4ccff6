// SPDX-License-Identifier: GPL-2.0-or-later

//! The report as a page for people: one file, which loads nothing.

use crate::map::MemoryMap;
use crate::report::{Finding, Report, What};
use std::fmt::{self, Write};

/// Cells in a row of a map.
const COLUMNS: usize = 64;
/// Edge of a cell, in units of the drawing.
const CELL: usize = 10;
/// Findings that are listed of each dump.
const LISTED: usize = 500;

/// An HTML page, well-formed as XML too, about dumps that were scanned, side by side: what was found in each, and where. Each has a
/// name and its report; for a map, the scan must have [drawn](crate::Options::map_cells) one. `notes` are
/// paragraphs that say what the dumps are. No key is on the page.
///
/// ```
/// let report = keyscan::scan_bytes(
///     &[0; 4096], &keyscan::Needles::new(), &keyscan::Options::default(), &|_| ());
/// let page = keyscan::page("Two dumps", &["Before & after."], &[("a".into(), &report)]);
/// assert!(page.contains("<h1>Two dumps</h1>") && page.contains("Before &amp; after."));
/// ```
pub fn page(title: &str, notes: &[&str], dumps: &[(String, &Report)]) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail, here and below.
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"/>\n<title>{0}</title>\n<style>\n{STYLE}</style>\n\
         </head>\n<body>\n<h1>{0}</h1>\n",
        Text(title)
    );
    for note in notes {
        let _ = writeln!(out, "<p>{}</p>", Text(note));
    }
    summary(&mut out, dumps);
    out.push_str(LEGEND);
    out.push_str("<div class=\"dumps\">\n");
    for (name, report) in dumps {
        section(&mut out, name, report);
    }
    let _ = write!(
        out,
        "</div>\n<footer>keyscan {}. Addresses and lengths are in bytes. A key is named by the first 8 bytes \
         of its SHA-256.</footer>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    );
    out
}

/// One line for each thing that was sought, one column for each dump.
fn summary(out: &mut String, dumps: &[(String, &Report)]) {
    out.push_str("<h2>What was found</h2>\n<div class=\"wide\"><table class=\"summary\">\n<tr><th>sought</th>");
    for (name, _) in dumps {
        let _ = write!(out, "<th>{}</th>", Text(name));
    }
    out.push_str("</tr>\n");
    let mut names: Vec<&str> = Vec::new();
    for needle in dumps.iter().flat_map(|(_, report)| &report.needles) {
        if !names.contains(&needle.name.as_str()) {
            names.push(&needle.name);
        }
    }
    let mut line = |what: &str, cell: &dyn Fn(&Report) -> (String, &'static str)| {
        let _ = write!(out, "<tr><th>{}</th>", Text(what));
        for (_, report) in dumps {
            let (text, class) = cell(report);
            let _ = write!(out, "<td class=\"{class}\">{}</td>", Text(&text));
        }
        out.push_str("</tr>\n");
    };
    line("AES key schedules", &|report| found(report.schedules));
    for name in names {
        line(name, &|report| found(report.found(name)));
    }
    line("all read and tried", &|report| {
        if report.is_complete() {
            ("yes".into(), "")
        } else {
            ("no".into(), "bad")
        }
    });
    out.push_str("</table></div>\n");
}

fn found(count: Option<u64>) -> (String, &'static str) {
    match count {
        None => ("not sought".into(), ""),
        Some(0) => ("none".into(), "none"),
        Some(1) => ("1 place".into(), "hit"),
        Some(n) => (format!("{n} places"), "hit"),
    }
}

fn section(out: &mut String, name: &str, report: &Report) {
    let flattened = if report.flattened { ", flattened" } else { "" };
    let _ = writeln!(
        out,
        "<section>\n<h2>{}</h2>\n<p>{}{flattened}, {} scanned; {}</p>",
        Text(name),
        report.format,
        Size(report.bytes_scanned),
        report.addresses
    );
    if let Some(map) = &report.map {
        draw(out, map, &report.findings);
    }
    if !report.findings.is_empty() {
        out.push_str(
            "<div class=\"wide\"><table>\n<tr><th>address</th><th>length</th><th>what</th></tr>\n",
        );
        for finding in report.findings.iter().take(LISTED) {
            let _ = writeln!(
                out,
                "<tr class=\"{}\"><td><code>{:#x}</code></td><td>{}</td><td>{}</td></tr>",
                kind(finding),
                finding.offset,
                finding.length,
                Text(&finding.what.to_string())
            );
        }
        out.push_str("</table></div>\n");
    }
    let more = report.findings.len().saturating_sub(LISTED) as u64 + report.omitted;
    if more != 0 {
        let _ = writeln!(out, "<p>and {more} more</p>");
    }
    for pair in &report.xts_pairs {
        let _ = writeln!(
            out,
            "<p>The AES-{} keys {} at <code>{:#x}</code> and {} at <code>{:#x}</code> are an XTS pair.</p>",
            pair.bits,
            Text(&pair.first_key),
            pair.first,
            Text(&pair.second_key),
            pair.second
        );
    }
    if report.undecoded != 0 {
        let _ = writeln!(
            out,
            "<p class=\"bad\">{} places that may be damaged schedules were not tried.</p>",
            report.undecoded
        );
    }
    for problem in &report.problems {
        let _ = writeln!(
            out,
            "<p class=\"bad\">Not read {}</p>",
            Text(&problem.to_string())
        );
    }
    if report.more_problems {
        out.push_str("<p class=\"bad\">Not read in more places.</p>\n");
    }
    out.push_str("</section>\n");
}

/// Whether a finding is shown as a schedule or as a part of a known secret.
fn kind(finding: &Finding) -> &'static str {
    match finding.what {
        What::Schedule { .. } => "schedule",
        _ => "secret",
    }
}

/// A square of the drawing: the address, and how it is shown. Where the map has a gap there is one square.
struct Square {
    address: u64,
    class: &'static str,
}

fn squares(map: &MemoryMap) -> Vec<Square> {
    let mut squares: Vec<Square> = Vec::new();
    let mut end = None;
    for part in &map.parts {
        if let Some(address) = end {
            squares.push(Square {
                address,
                class: "gap",
            });
        }
        for (n, (read, used)) in part.read.iter().zip(&part.used).enumerate() {
            squares.push(Square {
                address: part.start + n as u64 * map.cell,
                class: match (*read, *used) {
                    (0, _) => "hole",
                    (_, 0) => "empty",
                    (read, used) if used < read / 2 => "some",
                    _ => "used",
                },
            });
        }
        end = Some(part.start + part.read.len() as u64 * map.cell);
    }
    squares
}

/// The map as a drawing: runs of equal squares in a row are one box; findings are dots over it.
fn draw(out: &mut String, map: &MemoryMap, findings: &[Finding]) {
    let squares = squares(map);
    let Some(last) = squares.last() else {
        return;
    };
    let end = last.address + (map.cell - 1);
    // The last address of a run that is followed by the square `next`.
    let until = |next: usize| squares.get(next).map_or(end, |square| square.address - 1);
    let (width, height) = (COLUMNS * CELL, squares.len().div_ceil(COLUMNS) * CELL);
    let _ = writeln!(
        out,
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"map of memory\">"
    );
    let mut at = 0;
    while at < squares.len() {
        let first = at;
        let class = squares[first].class;
        while at < squares.len() && squares[at].class == class && at / COLUMNS == first / COLUMNS {
            at += 1;
        }
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{CELL}\"><title>{:#x} to {:#x}\
             </title></rect>",
            first % COLUMNS * CELL,
            first / COLUMNS * CELL,
            (at - first) * CELL,
            squares[first].address,
            until(at)
        );
    }
    // One dot for each kind and square: many findings of one square would hide each other.
    let mut dots: Vec<(usize, &'static str, Vec<&Finding>)> = Vec::new();
    for finding in findings {
        let after = squares.partition_point(|square| square.address <= finding.offset);
        let square = after.saturating_sub(1);
        match dots
            .iter_mut()
            .rev()
            .find(|dot| (dot.0, dot.1) == (square, kind(finding)))
        {
            Some(dot) => dot.2.push(finding),
            None => dots.push((square, kind(finding), vec![finding])),
        }
    }
    // Known secrets over schedules.
    dots.sort_by_key(|dot| std::cmp::Reverse(dot.1 == "schedule"));
    for (square, kind, findings) in dots {
        let _ = write!(
            out,
            "<circle class=\"{kind}\" cx=\"{}\" cy=\"{}\" r=\"{}\"><title>",
            square % COLUMNS * CELL + CELL / 2,
            square / COLUMNS * CELL + CELL / 2,
            if kind == "schedule" { 9 } else { 5 }
        );
        for finding in findings.iter().take(8) {
            let _ = writeln!(
                out,
                "{:#x}: {}",
                finding.offset,
                Text(&finding.what.to_string())
            );
        }
        if findings.len() > 8 {
            let _ = writeln!(out, "and {} more", findings.len() - 8);
        }
        out.push_str("</title></circle>\n");
    }
    let _ = writeln!(
        out,
        "</svg>\n<p class=\"scale\"><code>{:#x}</code> to <code>{end:#x}</code>, a square is {}, a row {}</p>",
        squares[0].address,
        Size(map.cell),
        Size(map.cell.saturating_mul(COLUMNS as u64))
    );
}

/// Text in HTML, where some characters mean something.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                // A file's name may hold anything.
                c if c.is_control() => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A number of bytes in a unit that fits.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let unit = (self.0.max(1).ilog2() / 10) as usize;
        let value = self.0 as f64 / (1u64 << (10 * unit)) as f64;
        if value.fract() == 0.0 {
            write!(f, "{value} {}", units[unit])
        } else {
            write!(f, "{value:.1} {}", units[unit])
        }
    }
}

const LEGEND: &str = "<p class=\"legend\"><span><svg viewBox=\"0 0 20 20\"><circle class=\"schedule\" cx=\"10\" \
    cy=\"10\" r=\"9\"/></svg>key schedule</span> <span><svg viewBox=\"0 0 20 20\"><circle class=\"secret\" \
    cx=\"10\" cy=\"10\" r=\"6\"/></svg>part of a known secret</span> <span><svg viewBox=\"0 0 20 20\"><rect \
    class=\"used\" width=\"20\" height=\"20\"/></svg>in use</span> <span><svg viewBox=\"0 0 20 20\"><rect \
    class=\"some\" width=\"20\" height=\"20\"/></svg>less than half</span> <span><svg viewBox=\"0 0 20 20\">\
    <rect class=\"empty\" width=\"20\" height=\"20\"/></svg>zeros</span> <span><svg viewBox=\"0 0 20 20\"><rect \
    class=\"hole\" width=\"20\" height=\"20\"/></svg>not in the dump</span> <span><svg viewBox=\"0 0 20 20\"><rect class=\"gap\" width=\"20\" \
    height=\"20\"/></svg>addresses left out</span></p>\n";

const STYLE: &str = ":root { color-scheme: light dark; --back: #fff; --text: #1b1b1f; --line: #c8c8d0; \
--used: #8fa3bf; --some: #c3cfdf; --empty: #eceef2; --hit: #c21807; --secret: #7a3db8; --good: #17692b; }
@media (prefers-color-scheme: dark) { :root { --back: #16171b; --text: #e6e6ea; --line: #44464f; \
--used: #54688a; --some: #36435a; --empty: #24262d; --hit: #ff6a55; --secret: #c79bff; --good: #74cf8b; } }
body { margin: 0 auto; max-width: 110rem; padding: 1rem; background: var(--back); color: var(--text); \
font: 1rem/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; overflow-wrap: anywhere; }
.dumps { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); }
section { min-width: 0; border-top: 1px solid var(--line); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top; \
border-bottom: 1px solid var(--line); }
.summary th:first-child { font-weight: normal; }
td.hit, .bad { color: var(--hit); font-weight: bold; } td.none { color: var(--good); }
section > svg { display: block; width: 100%; height: auto; border: 1px solid var(--line); overflow: visible; }
rect { shape-rendering: crispEdges; }
.used { fill: var(--used); } .some { fill: var(--some); } .empty { fill: var(--empty); } \
.hole, .gap { fill: var(--back); } .gap { stroke: var(--line); stroke-dasharray: 2; }
circle.schedule { fill: var(--hit); stroke: var(--back); stroke-width: 2; } \
circle.secret { fill: var(--secret); stroke: var(--back); stroke-width: 1; }
.legend span { margin-right: 1rem; white-space: nowrap; } \
.legend svg { border: 1px solid var(--line); width: 1rem; height: 1rem; vertical-align: -.15rem; margin-right: .35rem; }
.scale, footer { font-size: .85rem; } footer { margin-top: 2rem; border-top: 1px solid var(--line); \
padding-top: .5rem; }
";
