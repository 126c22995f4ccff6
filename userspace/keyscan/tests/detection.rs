// SPDX-License-Identifier: GPL-2.0-or-later

//! Finds schedules of every form and damage, and says what share.

use keyscan::{self_test, Harm};

/// The whole table at the given number of schedules: `KEYSCAN_COUNT=100 cargo test --release -p
/// keyscan --test detection -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes"]
fn the_detection_table_is_shown() {
    let count = std::env::var("KEYSCAN_COUNT").map_or(50, |n| n.parse().unwrap());
    for harm in Harm::ALL {
        for line in self_test(&[harm], count, 1) {
            println!(
                "{harm:22} AES-{} {:40} {:4}/{} wrong {} false {} {:.2?}",
                line.bits,
                line.layout.to_string(),
                line.found,
                line.planted,
                line.wrong_key,
                line.false_reports,
                line.time
            );
        }
    }
}
