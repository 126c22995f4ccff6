// SPDX-License-Identifier: GPL-2.0-or-later

//! The watch against a plain model of it: RAM in a file, stores made by the tests.

use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::sys::memfd::{memfd_create, MFdFlags};
use proptest::prelude::*;
use tresor_storewatch::filter::SAMPLE;
use tresor_storewatch::ram::Ram;
use tresor_storewatch::wire::{By, Forms, RawHit, ShareLine};
use tresor_storewatch::{Store, Watch};

const RAM: u64 = 1 << 20;

struct Machine {
    file: File,
    watch: Watch,
}

impl Machine {
    fn new() -> Self {
        let file = File::from(memfd_create(c"ram", MFdFlags::MFD_CLOEXEC).unwrap());
        file.set_len(RAM).unwrap();
        let watch = Watch::new(Ram::map(&file).unwrap());
        Self { file, watch }
    }

    /// Writes as a device would.
    fn dma(&self, address: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, address).unwrap();
    }

    fn store_as(&self, cpu: usize, pc: u64, address: u64, bytes: &[u8]) {
        self.dma(address, bytes);
        let mut value = [0; 16];
        value[..bytes.len()].copy_from_slice(bytes);
        if self.watch.count(cpu) {
            let store = Store {
                address,
                size: bytes.len(),
                value: u128::from_le_bytes(value),
                pc,
            };
            self.watch.store(cpu, store, &|| format!("process {cpu}"));
            self.watch.count_checked(cpu);
        }
    }

    fn store(&self, pc: u64, address: u64, bytes: &[u8]) {
        self.store_as(0, pc, address, bytes);
    }

    fn hits(&self) -> Vec<RawHit> {
        self.watch.state().hits
    }

    fn add(&self, name: &str, bytes: &[u8], forms: Forms) {
        self.watch.add_secret(name, bytes, forms).unwrap();
    }
}

/// Bytes of which no two runs are alike.
fn secret(seed: u32, len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|i| ((i + 1000 * seed).wrapping_mul(0x9e37_79b1) >> 13) as u8)
        .collect()
}

/// One way of writing a secret: where, the sizes of the stores, and their order.
#[derive(Debug, Clone)]
struct Way {
    address: u64,
    sizes: Vec<usize>,
    order: Vec<usize>,
}

fn way(len: usize) -> impl Strategy<Value = Way> {
    let size = prop::sample::select(vec![1usize, 2, 4, 8, 16]);
    (64..RAM - 4096, prop::collection::vec(size, len)).prop_flat_map(move |(address, sizes)| {
        let mut kept = Vec::new();
        let mut sum = 0;
        for size in sizes {
            if sum < len {
                // The last one is cut into sizes that exist.
                let size = size.min(1 << (len - sum).ilog2());
                kept.push(size);
                sum += size;
            }
        }
        while sum < len {
            kept.push(1);
            sum += 1;
        }
        let order: Vec<usize> = (0..kept.len()).collect();
        (Just(address), Just(kept), Just(order).prop_shuffle()).prop_map(
            |(address, sizes, order)| Way {
                address,
                sizes,
                order,
            },
        )
    })
}

/// Whether memory has 8 bytes in a row of the secret of which at least one is in `from..to`.
fn naive(memory: &[u8], secret: &[u8], from: usize, to: usize) -> bool {
    (from.saturating_sub(7)..to).any(|at| {
        memory
            .get(at..at + 8)
            .is_some_and(|run| secret.windows(8).any(|part| part == run))
    })
}

proptest! {
    #[test]
    fn a_secret_is_seen_at_exactly_the_stores_that_complete_eight_bytes_of_it(
        way in way(32),
        part in 0usize..=24,
    ) {
        let machine = Machine::new();
        let secret = secret(1, 32);
        machine.add("K", &secret, Forms::Plain);
        // The end of the secret is replaced, so that shorter runs are tried too.
        let mut written = secret.clone();
        let end = 8 + part;
        written[end..].iter_mut().for_each(|byte| *byte ^= 0x55);
        let mut memory = vec![0; 64];
        let mut expected = 0;
        for &index in &way.order {
            let at: usize = way.sizes[..index].iter().sum();
            let size = way.sizes[index];
            machine.store(0x1000, way.address + at as u64, &written[at..at + size]);
            memory[16 + at..16 + at + size].copy_from_slice(&written[at..at + size]);
            expected += u64::from(naive(&memory, &secret, 16 + at, 16 + at + size));
        }
        let hits = machine.hits();
        let seen: u64 = hits.iter().filter(|hit| hit.by == By::Store).map(|hit| hit.count).sum();
        prop_assert!(seen >= expected && expected > 0, "{seen} of {expected}: {hits:?}");
        let longest = hits.iter().map(|hit| hit.bytes).max().unwrap_or_default();
        prop_assert_eq!(longest, end);
        prop_assert!(hits.iter().all(|hit| hit.by != By::Unseen), "{:?}", hits);
        prop_assert!(hits.iter().any(|hit| hit.resident && hit.process == "process 0"));
    }

    #[test]
    fn random_stores_raise_no_alarm(stores in prop::collection::vec(
        (64..RAM - 64, prop::array::uniform16(any::<u8>()), 0u32..=4), 1..400)
    ) {
        let machine = Machine::new();
        machine.add("K", &secret(1, 64), Forms::Xts);
        for (address, bytes, shift) in stores {
            machine.store(0x1000, address, &bytes[..1 << shift]);
        }
        prop_assert_eq!(machine.hits(), []);
    }
}

#[test]
fn seven_bytes_are_no_hit_and_eight_are() {
    let machine = Machine::new();
    let secret = secret(1, 32);
    machine.add("K", &secret, Forms::Plain);
    for i in 0..7 {
        machine.store(1, 0x2003 + i, &secret[i as usize..][..1]);
    }
    assert_eq!(machine.hits(), []);
    machine.store(2, 0x200a, &secret[7..8]);
    let hits = machine.hits();
    assert_eq!((hits.len(), hits[0].pc, hits[0].bytes), (1, 2, 8));
    assert_eq!(hits[0].address, 0x2003);
}

#[test]
fn round_keys_of_both_directions_are_named() {
    let machine = Machine::new();
    let key = secret(1, 64);
    machine.add("K", &key, Forms::Xts);
    let schedule = keyscan::aes::Schedule::expand(&key[32..]).unwrap();
    let inverse = schedule.equivalent_inverse();
    machine.store(1, 0x3000, schedule.round_keys().nth(9).unwrap());
    machine.store(2, 0x3100, inverse.round_keys().nth(9).unwrap());
    let names: Vec<String> = machine.hits().into_iter().map(|hit| hit.secret).collect();
    assert_eq!(
        names,
        [
            "K, key 2, round key 9, for encryption",
            "K, key 2, round key 9, for decryption"
        ]
    );
}

#[test]
fn words_with_gaps_are_a_hit_and_one_word_alone_is_not() {
    let machine = Machine::new();
    let secret = secret(1, 32);
    machine.add("K", &secret, Forms::Plain);
    machine.store(1, 0x4000, &secret[4..8]);
    machine.store(1, 0x4020, &secret[4..8]);
    assert_eq!(machine.hits(), []);
    // As it is pushed: a word and four zero bytes.
    let mut pushed = [0; 8];
    pushed[..4].copy_from_slice(&secret[12..16]);
    machine.store(2, 0x4010, &pushed);
    let hits = machine.hits();
    assert_eq!((hits.len(), hits[0].by, hits[0].pc), (1, By::Words, 2));
    assert!(hits[0].resident);
    machine.store(3, 0x4010, &[0; 8]);
    let hits = machine.hits();
    assert_eq!(
        (hits[0].resident, hits[0].overwritten.as_ref().unwrap().pc),
        (false, 3)
    );
}

#[test]
fn words_of_two_cpus_are_no_pair() {
    let machine = Machine::new();
    let secret = secret(1, 32);
    machine.add("K", &secret, Forms::Plain);
    machine.store_as(0, 1, 0x4000, &secret[4..8]);
    machine.store_as(1, 1, 0x4010, &secret[12..16]);
    assert_eq!(machine.hits(), []);
}

#[test]
fn who_overwrites_is_told_once_fewer_than_eight_bytes_are_left() {
    let machine = Machine::new();
    let secret = secret(1, 32);
    machine.add("K", &secret, Forms::Plain);
    machine.store(1, 0x5000, &secret[..16]);
    machine.store(1, 0x5010, &secret[16..]);
    for (at, pc) in [(0, 2), (8, 3), (16, 4)] {
        machine.store(pc, 0x5000 + at, &[0; 8]);
        assert!(machine.hits()[0].resident, "after {pc}");
    }
    machine.store(5, 0x5018, &[0]);
    let hits = machine.hits();
    assert_eq!(hits.len(), 1);
    assert!(!hits[0].resident);
    assert_eq!(hits[0].overwritten.as_ref().unwrap().pc, 5);
}

#[test]
fn what_was_there_before_and_what_a_device_left_are_found_too() {
    let machine = Machine::new();
    let (old, new) = (secret(1, 32), secret(2, 32));
    // Also where pieces of the search meet.
    machine.store(1, 0x1_0000 - 5, &old[..16]);
    machine.add("old", &old, Forms::Plain);
    machine.add("new", &new, Forms::Plain);
    machine.dma(0x6001, &new);
    let hits = machine.hits();
    let told: Vec<_> = hits
        .iter()
        .map(|hit| (hit.secret.as_str(), hit.by, hit.address, hit.bytes))
        .collect();
    assert_eq!(
        told,
        [
            ("old", By::Before, 0x1_0000 - 5, 16),
            ("new", By::Unseen, 0x6001, 32)
        ]
    );
    machine.dma(0x6001, &[0; 32]);
    machine.store(7, 0x1_0000 - 8, &[0; 16]);
    let hits = machine.hits();
    assert_eq!(hits.len(), 1, "{hits:?}");
    assert_eq!(hits[0].overwritten.as_ref().unwrap().pc, 7);
}

#[test]
fn a_value_that_another_cpu_has_overwritten_since_is_still_a_hit() {
    let machine = Machine::new();
    let secret = secret(1, 32);
    machine.add("K", &secret, Forms::Plain);
    // The store has been executed, and its memory is another's again.
    let store = Store {
        address: 0x7000,
        size: 16,
        value: u128::from_le_bytes(secret[..16].try_into().unwrap()),
        pc: 9,
    };
    assert!(machine.watch.count(0));
    machine.watch.store(0, store, &String::new);
    let hits = machine.hits();
    assert_eq!((hits.len(), hits[0].pc, hits[0].resident), (1, 9, false));
}

#[test]
fn the_share_in_the_registers_is_followed_through_refreshes() {
    let machine = Machine::new();
    let m: [u8; 32] = secret(1, 32).try_into().unwrap();
    let line = 0x8000;
    let mut s = secret(2, 32);
    machine.dma(line, &s);
    let places = vec![ShareLine {
        cpu: 1,
        address: line,
    }];
    machine.watch.follow_shares(m, places).unwrap();
    let share = |s: &[u8]| -> Vec<u8> { m.iter().zip(s).map(|(a, b)| a ^ b).collect() };
    machine.store(1, 0x9000, &share(&s)[8..24]);
    // S_c itself in its own line is none.
    for round in 3..20 {
        let early = secret(round, 32);
        // The new share is stored before S_c is changed, and gone when it is.
        machine.store(2, 0x9100, &share(&early)[..16]);
        machine.store(3, 0x9100, &[0; 16]);
        for word in 0..4 {
            s[8 * word..][..8].copy_from_slice(&early[8 * word..][..8]);
            machine.store(4, line + 8 * word as u64, &s[8 * word..][..8]);
        }
        machine.store(5, 0x9200, &share(&s)[16..]);
    }
    let hits = machine.hits();
    let count = |pc| -> u64 {
        hits.iter()
            .filter(|hit| hit.pc == pc && hit.secret == "DR share of CPU 1")
            .map(|hit| hit.count)
            .sum()
    };
    assert_eq!((count(1), count(5)), (1, 17));
    assert!(count(2) >= 17, "{hits:?}");
    assert_eq!(count(3) + count(4), 0, "{hits:?}");
}

#[test]
fn a_share_that_is_being_set_up_byte_by_byte_is_none() {
    let machine = Machine::new();
    let m: [u8; 32] = secret(1, 32).try_into().unwrap();
    let (line, s) = (0x8000, secret(2, 32));
    machine.dma(line, &[0; 32]);
    let places = vec![ShareLine {
        cpu: 1,
        address: line,
    }];
    machine.watch.follow_shares(m, places).unwrap();
    for (i, byte) in s.iter().enumerate() {
        machine.store(1, line + i as u64, &[*byte]);
    }
    // What M's last word looks like while it is wiped, if its first byte turns to what S_c's has made of it.
    let mut last = m[24..].to_vec();
    last[0] ^= s[24];
    machine.store(2, 0x9000, &last);
    let share: Vec<u8> = m.iter().zip(&s).map(|(a, b)| a ^ b).collect();
    machine.store(3, 0x9100, &share[24..]);
    let pcs: Vec<u64> = machine.hits().iter().map(|hit| hit.pc).collect();
    assert_eq!(pcs, [3]);
}

#[test]
fn stores_count_as_checked_only_once_there_is_a_secret() {
    let machine = Machine::new();
    machine.store(1, 0x1000, &[1; SAMPLE][..4]);
    machine.add("K", &secret(1, 32), Forms::Plain);
    machine.store(1, 0x1000, &[2; 4]);
    let state = machine.watch.state();
    assert_eq!((state.stores_seen, state.stores_checked), (2, 1));
}

#[test]
fn stores_at_the_ends_of_ram_are_checked() {
    let machine = Machine::new();
    let secret = secret(1, 32);
    machine.add("K", &secret, Forms::Plain);
    machine.store(1, 0, &secret[..8]);
    machine.store(2, RAM - 8, &secret[..8]);
    let pcs: Vec<u64> = machine.hits().iter().map(|hit| hit.pc).collect();
    assert_eq!(pcs, [1, 2]);
}
