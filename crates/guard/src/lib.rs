//! What guarded tests share. `scripts/guard.py` runs every test of a module named `guard` under
//! callgrind, and compares the instructions and allocations inside [`guarded`] with those that
//! `scripts/guard.json` records.
//!
//! A guarded test makes its input, does the work once inside [`guarded`], and checks the result
//! after. What happens inside depends on no clock, no chance and no environment.

use std::hint::black_box;

/// Does the work that is counted. Once in a test; what it returns is dropped uncounted.
#[inline(never)]
pub fn guarded<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

/// Bytes that no compression makes smaller; the same for the same seed.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::from_fn(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(state)
    });
    words.flat_map(u64::to_le_bytes).take(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_the_same_again_and_differs_by_seed() {
        assert_eq!(noise(1, 100), noise(1, 100));
        assert_ne!(noise(1, 100), noise(2, 100));
        assert_eq!(noise(3, 7).len(), 7);
    }
}
