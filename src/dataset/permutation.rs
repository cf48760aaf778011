//! A seeded shuffle of `0..len` that is computed, not stored: a Feistel network on the index bits,
//! applied again while the result is out of range (cycle walking, Black & Rogaway 2002). Integers
//! only, so it is the same on every platform.

use crate::platform::mix;

const ROUNDS: u64 = 6;

/// A pseudo-random permutation of `0..len`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permutation {
    len: u64,
    half_bits: u32,
    key: u64,
}

impl Permutation {
    /// The permutation of `0..len` for `seed`; `len` is at least 1.
    #[must_use]
    pub fn new(len: u64, seed: u64) -> Self {
        let bits = 64 - len.saturating_sub(1).leading_zeros();
        Self { len, half_bits: bits.div_ceil(2).max(1), key: mix(seed ^ 0x9E37_79B9_7F4A_7C15) }
    }

    /// The image of `index`, which must be below `len`.
    #[must_use]
    pub fn get(&self, index: u64) -> u64 {
        debug_assert!(index < self.len, "{index} of {}", self.len);
        let mut value = self.encrypt(index);
        while value >= self.len {
            value = self.encrypt(value);
        }
        value
    }

    /// A balanced Feistel network (Luby & Rackoff 1988) on `2 · half_bits` bits: a bijection for
    /// any round function.
    fn encrypt(&self, value: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let mut left = value >> self.half_bits;
        let mut right = value & mask;
        for round in 0..ROUNDS {
            let next = left ^ (mix(self.key ^ (round << 56) ^ right) & mask);
            left = right;
            right = next;
        }
        (left << self.half_bits) | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_is_reached_once_for_any_length() {
        for len in [1u64, 2, 3, 7, 64, 1000, 4097] {
            let p = Permutation::new(len, 11);
            let mut seen: Vec<u64> = (0..len).map(|i| p.get(i)).collect();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..len), "length {len}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_two_neighbours_meet_and_none_leaves_the_range(
            len in 2u64..1_000_000_000,
            seed: u64,
            at: u64,
        ) {
            let (p, at) = (Permutation::new(len, seed), at % (len - 1));
            proptest::prop_assert!(p.get(at) < len && p.get(at) != p.get(at + 1));
        }
    }

    #[test]
    fn the_order_is_pinned_on_every_platform() {
        let p = Permutation::new(1_000_000, 42);
        let first: Vec<u64> = (0..4).map(|i| p.get(i)).collect();
        assert_eq!(first, PINNED);
    }

    const PINNED: [u64; 4] = [612_612, 99_491, 734_655, 958_298];

    #[test]
    fn a_prefix_is_spread_evenly() {
        let p = Permutation::new(7_000_000, 5);
        let mut counts = [0u32; 7];
        (0..7000).for_each(|i| counts[(p.get(i) / 1_000_000) as usize] += 1);
        assert!(counts.iter().all(|&n| (850..1150).contains(&n)), "{counts:?}");
    }
}
