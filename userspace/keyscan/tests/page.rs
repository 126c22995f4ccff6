// SPDX-License-Identifier: GPL-2.0-or-later

//! The page is read back as a browser would, and has what the reports have.

mod common;

use common::{lime, random, Runs, PAGE};
use keyscan::aes::Schedule;
use keyscan::{page, scan_file, Expand, Needles, Options, Report};
use roxmltree::{Document, Node, ParsingOptions};
use std::io::Write;

/// Two runs of memory with a hole between; in the first a schedule and a word of a secret.
fn report(planted: bool, cut: usize) -> Report {
    let mut first = random(1, 64 * PAGE);
    first[32 * PAGE..48 * PAGE].fill(0);
    if planted {
        first[1000..1240].copy_from_slice(Schedule::expand(&random(2, 32)).unwrap().as_bytes());
        first[50 * PAGE..50 * PAGE + 8].copy_from_slice(&random(3, 8));
    }
    let runs: Runs = vec![(0x10_0000, first), (0x10_0000_0000, vec![0; 16 * PAGE])];
    let dump = lime(&runs);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&dump[..dump.len() - cut]).unwrap();
    let mut needles = Needles::new();
    needles
        .add_secret("a <secret> & \"more\"", &random(3, 8), Expand::None)
        .unwrap();
    let options = Options {
        map_cells: 256,
        ..Options::default()
    };
    scan_file(file.path(), &needles, &options, &|_| ()).unwrap()
}

fn with<'a>(node: Node<'a, 'a>, tag: &str, class: &str) -> Vec<Node<'a, 'a>> {
    let is_it =
        |n: &Node| n.has_tag_name(tag) && (class.is_empty() || n.attribute("class") == Some(class));
    node.descendants().filter(is_it).collect()
}

fn text(node: Node) -> String {
    node.descendants()
        .filter_map(|n| n.text().filter(|_| n.is_text()))
        .collect()
}

#[test]
fn the_page_is_well_formed_loads_nothing_and_has_every_finding_where_it_is() {
    let (dirty, clean) = (report(true, 0), report(false, 5 * PAGE));
    assert_eq!(dirty.findings.len(), 2);
    let dumps = [
        ("dirty & <dump>".to_owned(), &dirty),
        ("clean\u{7}".to_owned(), &clean),
    ];
    let html = page("Keys < memory", &["A note."], &dumps);
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(&html, options).unwrap();
    let root = document.root_element();
    for node in root.descendants().filter(Node::is_element) {
        for attribute in ["src", "href", "xlink:href", "onload", "action"] {
            assert!(node.attribute(attribute).is_none(), "{attribute}");
        }
        assert!(!["script", "link", "iframe", "img"].contains(&node.tag_name().name()));
    }
    assert!(!html.contains("url(") && !html.contains("@import") && !html.contains("//"));
    assert_eq!(text(with(root, "title", "")[0]), "Keys < memory");
    assert_eq!(text(with(root, "p", "")[0]), "A note.");

    // The table of what was sought: a line for schedules, one for the secret, one for completeness.
    let rows: Vec<Vec<String>> = with(with(root, "table", "summary")[0], "tr", "")
        .into_iter()
        .map(|row| row.children().map(text).collect())
        .collect();
    assert_eq!(
        rows,
        [
            ["sought", "dirty & <dump>", "clean\u{fffd}"],
            ["AES key schedules", "1 place", "none"],
            ["a <secret> & \"more\"", "1 place", "none"],
            ["all read and tried", "yes", "no"],
        ]
    );

    let sections = with(root, "section", "");
    assert_eq!(sections.len(), 2);
    let (dirty_part, clean_part) = (sections[0], sections[1]);
    assert_eq!(with(dirty_part, "circle", "schedule").len(), 1);
    assert_eq!(with(dirty_part, "circle", "secret").len(), 1);
    assert!(with(clean_part, "circle", "").is_empty());
    assert_eq!(with(clean_part, "p", "bad").len(), 1);
    // The dot is on the square of its address; boxes tell their addresses.
    let map = dirty.map.as_ref().unwrap();
    assert_eq!(map.parts.len(), 2);
    let number = |node: &Node, name: &str| node.attribute(name).unwrap().parse::<usize>().unwrap();
    for (class, finding) in [
        ("schedule", &dirty.findings[0]),
        ("secret", &dirty.findings[1]),
    ] {
        let dot = with(dirty_part, "circle", class)[0];
        let square = number(&dot, "cy") / 10 * 64 + number(&dot, "cx") / 10;
        assert_eq!(square as u64, (finding.offset - 0x10_0000) / map.cell);
        assert!(text(dot).contains(&format!("{:#x}: {}", finding.offset, finding.what)));
    }
    // Boxes cover all squares, and say what the map says.
    let mut squares = Vec::new();
    for node in with(dirty_part, "rect", "") {
        assert_eq!(
            number(&node, "y") / 10 * 64 + number(&node, "x") / 10,
            squares.len()
        );
        for _ in 0..number(&node, "width") / 10 {
            squares.push(node.attribute("class").unwrap());
        }
    }
    let shown = |part: &keyscan::MapPart| {
        let cells: Vec<(u64, u64)> = part
            .read
            .iter()
            .copied()
            .zip(part.used.iter().copied())
            .collect();
        cells.into_iter().map(|cell| match cell {
            (0, _) => "hole",
            (_, 0) => "empty",
            (read, used) if 2 * used < read => "some",
            _ => "used",
        })
    };
    let expected: Vec<&str> = shown(&map.parts[0])
        .chain(["gap"])
        .chain(shown(&map.parts[1]))
        .collect();
    assert_eq!(squares, expected);
    assert!(["gap", "empty", "used"]
        .iter()
        .all(|class| squares.contains(class)));
    let last = with(dirty_part, "rect", "").pop().map(text);
    assert_eq!(last.unwrap(), "0x1000000000 to 0x100000ffff");
}

#[test]
fn many_findings_make_no_endless_page() {
    let mut memory = Vec::new();
    for seed in 0..2000 {
        memory.extend_from_slice(Schedule::expand(&random(seed, 16)).unwrap().as_bytes());
    }
    let report = keyscan::scan_bytes(&memory, &Needles::new(), &Options::default(), &|_| ());
    let html = page("Many", &[], &[("d".into(), &report)]);
    assert!(html.contains("and 1500 more") && html.len() < 200_000);
}
