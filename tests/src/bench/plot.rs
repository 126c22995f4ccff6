// SPDX-License-Identifier: GPL-2.0-or-later

//! The plot: throughput against the length of the request, XTS-AES-256, as SVG.
//!
//! Colours follow the reader's light or dark mode. Each vector width has one; Linux's code of that
//! width has the same one, dashed.

use std::fmt::Write as _;

use super::host::LENGTHS;
use super::report::Report;

const MODE: &str = "xts-256";
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 470.0;
/// Top and bottom of both panels.
const TOP: f64 = 64.0;
const BOTTOM: f64 = 400.0;
/// Left and right of each panel, and what it shows.
const PANELS: [(f64, f64, &str, &str); 2] = [
    (64.0, 370.0, "encrypt", "Encryption"),
    (412.0, 718.0, "decrypt", "Decryption"),
];
const LEGEND: f64 = 742.0;

/// Code, colour in light mode, in dark mode, dashes. The hues are those of Okabe and Ito, which the
/// colour-blind can tell apart.
const LINES: [(&str, &str, &str, &str); 11] = [
    ("tresor/vaes_avx512", "#c24e00", "#ff9d5c", ""),
    ("linux/vaes_avx512", "#c24e00", "#ff9d5c", "7 4"),
    ("tresor/vaes_avx2", "#00805d", "#3fd6a8", ""),
    ("linux/vaes_avx2", "#00805d", "#3fd6a8", "7 4"),
    ("tresor/aesni_avx", "#0068a8", "#66b8f2", ""),
    ("linux/aesni_avx", "#0068a8", "#66b8f2", "7 4"),
    ("tresor/aesni", "#a8558a", "#e59ac9", ""),
    ("openssl", "#8a6a00", "#f0d050", "2 3"),
    ("rustcrypto", "#555555", "#bbbbbb", "2 3"),
    ("tresor2011", "#777777", "#8a8a8a", "1 5"),
    ("tresor/per_block", "#777777", "#8a8a8a", ""),
];

/// The drawing. It says so if the report has no figures.
pub(crate) fn svg(report: &Report) -> String {
    let values = || {
        let rows = report.rows.iter().filter(|row| row.mode == MODE);
        rows.map(|row| row.mb_per_s / 1000.0)
    };
    let scale = Scale::around(values());
    let mut out = head(report);
    for (left, right, direction, title) in PANELS {
        panel(&mut out, report, &scale, (left, right), direction, title);
    }
    legend(&mut out, report);
    out.push_str("</svg>\n");
    out
}

/// The vertical axis: GB/s, logarithmic, from one tick to another.
struct Scale {
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Scale {
    fn around(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((1.0f64, 1.0f64), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let all = (-3..=3).flat_map(|power| [1.0, 2.0, 5.0].map(|n| n * 10f64.powi(power)));
        let all: Vec<f64> = all.collect();
        let first = all.iter().rposition(|tick| *tick <= low).unwrap_or(0);
        let last = all.iter().position(|tick| *tick >= high);
        let ticks = all[first..=last.unwrap_or(all.len() - 1)].to_vec();
        Self {
            low: ticks[0],
            high: ticks[ticks.len() - 1],
            ticks,
        }
    }

    fn y(&self, value: f64) -> f64 {
        let share = (value / self.low).ln() / (self.high / self.low).ln();
        BOTTOM - share * (BOTTOM - TOP)
    }
}

fn x(bytes: usize, (left, right): (f64, f64)) -> f64 {
    let (first, last) = (LENGTHS[0] as f64, LENGTHS[LENGTHS.len() - 1] as f64);
    left + (bytes as f64 / first).ln() / (last / first).ln() * (right - left)
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

fn class(code: &str) -> String {
    code.replace('/', "-")
}

fn head(report: &Report) -> String {
    let mut light = String::new();
    let mut dark = String::new();
    for (code, on_light, on_dark, dashes) in LINES {
        let class = class(code);
        let _ = writeln!(
            light,
            ".{class}{{stroke:{on_light};stroke-dasharray:{}}}",
            if dashes.is_empty() { "none" } else { dashes }
        );
        let _ = writeln!(light, "circle.{class}{{fill:{on_light}}}");
        let _ = writeln!(
            dark,
            ".{class}{{stroke:{on_dark}}} circle.{class}{{fill:{on_dark}}}"
        );
    }
    let caption = format!(
        "{}, {}. Medians; an lfence after each request; shares in memory instead of debug registers.",
        report.cpu.name,
        report.date.get(..10).unwrap_or_default()
    );
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"Throughput of XTS-AES-256 against request length\">\n<style>\n\
         .page{{fill:#ffffff}} text{{font:12px sans-serif;fill:#222222}} .title{{font-size:15px;\
         font-weight:bold}} .grid{{stroke:#dddddd}} .line{{fill:none;stroke-width:2}} \
         circle{{stroke:none}}\n{light}\
         @media (prefers-color-scheme: dark){{\n.page{{fill:#15181c}} text{{fill:#e2e2e2}} \
         .grid{{stroke:#3a3f45}}\n{dark}}}\n</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
         <text class=\"title\" x=\"64\" y=\"24\">XTS-AES-256, one core: throughput against request \
         length</text>\n<text x=\"64\" y=\"458\">{}</text>\n",
        escaped(&caption)
    )
}

fn panel(
    out: &mut String,
    report: &Report,
    scale: &Scale,
    sides: (f64, f64),
    direction: &str,
    title: &str,
) {
    let (left, right) = sides;
    let middle = (left + right) / 2.0;
    let _ = writeln!(
        out,
        "<text x=\"{middle}\" y=\"50\" text-anchor=\"middle\">{title}</text>\n\
         <text x=\"{middle}\" y=\"436\" text-anchor=\"middle\">request length, bytes</text>"
    );
    for tick in &scale.ticks {
        let y = scale.y(*tick);
        let _ = writeln!(
            out,
            "<path class=\"grid\" d=\"M{left} {y:.1}H{right}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
            left - 6.0,
            y + 4.0
        );
    }
    for bytes in LENGTHS {
        let x = x(bytes, sides);
        let _ = writeln!(
            out,
            "<path class=\"grid\" d=\"M{x:.1} {TOP}V{BOTTOM}\"/>\
             <text x=\"{x:.1}\" y=\"418\" text-anchor=\"middle\">{bytes}</text>"
        );
    }
    if direction == PANELS[0].2 {
        let y = (TOP + BOTTOM) / 2.0;
        let _ = writeln!(
            out,
            "<text x=\"16\" y=\"{y}\" text-anchor=\"middle\" transform=\"rotate(-90 16 {y})\">\
             throughput, GB/s (10⁹ bytes per second)</text>"
        );
    }
    // The most important ones are drawn last, over the others.
    for (code, ..) in LINES.iter().rev() {
        let rows = LENGTHS
            .iter()
            .filter_map(|&bytes| report.row(code, MODE, direction, bytes));
        let points: Vec<(f64, f64)> = rows
            .map(|row| (x(row.bytes, sides), scale.y(row.mb_per_s / 1000.0)))
            .collect();
        if points.is_empty() {
            continue;
        }
        let class = class(code);
        let path: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1} {y:.1}"))
            .collect();
        let _ = writeln!(
            out,
            "<path class=\"line {class}\" d=\"M{}\"/>",
            path.join("L")
        );
        for (x, y) in points {
            let _ = writeln!(
                out,
                "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\"/>"
            );
        }
    }
}

/// Names, in the order of the curves' right ends.
fn legend(out: &mut String, report: &Report) {
    let last = LENGTHS[LENGTHS.len() - 1];
    let mut lines: Vec<(f64, &str)> = LINES
        .iter()
        .filter_map(|(code, ..)| {
            let row = report.row(code, MODE, PANELS[1].2, last)?;
            Some((row.mb_per_s, *code))
        })
        .collect();
    lines.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (i, (_, code)) in lines.iter().enumerate() {
        let y = TOP + 12.0 + 24.0 * i as f64;
        let _ = writeln!(
            out,
            "<path class=\"line {}\" d=\"M{LEGEND} {y}h34\"/><text x=\"{}\" y=\"{}\">{}</text>",
            class(code),
            LEGEND + 42.0,
            y + 4.0,
            escaped(code)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Row;
    use super::*;

    #[test]
    fn each_code_is_a_curve_and_a_name_and_nothing_else_is() {
        let mut report = Report::default();
        for (direction, bytes) in [("encrypt", 512), ("encrypt", 16384), ("decrypt", 16384)] {
            report.rows.push(Row {
                code: "openssl".into(),
                mode: MODE.into(),
                direction: direction.into(),
                bytes,
                mb_per_s: 2000.0,
                ns_per_request: 1.0,
            });
        }
        let svg = svg(&report);
        assert_eq!(svg.matches("class=\"line openssl\"").count(), 3);
        assert_eq!(svg.matches("<circle").count(), 3);
        assert_eq!(svg.matches(">openssl</text>").count(), 1);
        assert!(!svg.contains("class=\"line rustcrypto\""));
    }

    #[test]
    fn the_axis_holds_all_values() {
        let scale = Scale::around([0.07, 23.0].into_iter());
        assert_eq!((scale.low, scale.high), (0.05, 50.0));
        assert_eq!(scale.y(0.05), BOTTOM);
        assert_eq!(scale.y(50.0), TOP);
    }
}
