// SPDX-License-Identifier: GPL-2.0-or-later

//! What the VM tests' program in the guest and its host agree on.

use tresor_uapi::KEY_LEN;

/// Public bytes that mask a master key on its way into the guest.
///
/// The serial line, its driver and a pipe would leave copies of the key in the guest's RAM. Masked,
/// it is put together only in the buffer that goes to the kernel, so that a scan of the RAM shows
/// what the module leaves there.
pub const MASK: [u8; KEY_LEN] = [
    0x1b, 0x96, 0xe5, 0x3a, 0x70, 0xcd, 0x42, 0x8f, 0xf4, 0x09, 0xd3, 0x6e, 0x5d, 0xb8, 0x21, 0xa7,
    0x34, 0xeb, 0x9c, 0x50, 0x0f, 0x62, 0xda, 0x85, 0xc6, 0x17, 0x78, 0xbf, 0x43, 0xae, 0x91, 0x2c,
];

/// Applies [`MASK`], which is its own inverse, byte by byte in place.
///
/// No copy is made, and no register holds more than a byte of the key.
pub fn mask(key: &mut [u8; KEY_LEN]) {
    for (byte, mask) in key.iter_mut().zip(MASK) {
        let byte: *mut u8 = byte;
        // SAFETY: the pointer comes from a reference; volatile, so that bytes are not put together.
        unsafe { byte.write_volatile(byte.read_volatile() ^ mask) };
    }
}

/// Bytes of each secret of the command `stores`.
pub const LEAK_LEN: usize = 32;

/// How the command `stores` copies its secrets, in their order.
pub const LEAKS: [&str; 6] = [
    "copied by rep movsb",
    "copied byte by byte in reverse",
    "stored as 16 bytes at an odd address",
    "stored as 4-byte words with gaps",
    "stored as 16 bytes across two pages",
    "copied byte by byte across two pages",
];

/// Fills `bytes` with what a volume called `seed` holds from `offset` on, both in bytes and
/// multiples of 8: every 8-byte word differs from every other one.
pub fn pattern(seed: u64, offset: u64, bytes: &mut [u8]) {
    for (i, word) in (0..).zip(bytes.chunks_exact_mut(8)) {
        word.copy_from_slice(&mixed(seed.rotate_left(40) ^ (offset + 8 * i)).to_le_bytes());
    }
}

/// The output function of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
/// generators", 2014, figure 17), a bijection.
pub fn mixed(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What a guest of KVM on this CPU writes into DR0 to DR3 in its round `round`.
pub fn kvm_marks(cpu: usize, round: u64) -> [u64; 4] {
    std::array::from_fn(|i| {
        0x6b76_6d00_0000_0000 | (round & 0xff_ffff) << 16 | (cpu as u64 & 0xff) << 8 | i as u64
    })
}

/// The instruction that has the guest's instructions counted: `nopl` with a displacement that no
/// compiler emits. A CPU that nobody counts for does nothing at it.
pub const MARK: [u8; 7] = [0x0f, 0x1f, 0x80, 0x31, 0x62, 0xc4, 0x57];

/// Executes [`MARK`].
pub fn mark() {
    // SAFETY: a NOP; its operand is an address that is not accessed.
    unsafe {
        std::arch::asm!(
            ".byte {}, {}, {}, {}, {}, {}, {}",
            const MARK[0], const MARK[1], const MARK[2], const MARK[3],
            const MARK[4], const MARK[5], const MARK[6],
            options(nostack, preserves_flags)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_masked_twice_is_the_key() {
        let key: [u8; KEY_LEN] = std::array::from_fn(|i| i as u8);
        let mut masked = key;
        mask(&mut masked);
        assert_ne!(masked[..8], key[..8]);
        mask(&mut masked);
        assert_eq!(masked, key);
    }

    #[test]
    fn a_pattern_is_the_same_however_it_is_cut() {
        let mut whole = [0; 64];
        pattern(3, 4096, &mut whole);
        let mut part = [0; 16];
        pattern(3, 4096 + 24, &mut part);
        assert_eq!(part, whole[24..40]);
        pattern(4, 4096 + 24, &mut part);
        assert_ne!(part, whole[24..40]);
    }
}
