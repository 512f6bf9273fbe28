//! Shared code of the cost tests, which count instructions and allocations of the hot path.
//!
//! `make guard` (`scripts/guard.py`) runs each test in a module named `cost` under callgrind. It compares the
//! instructions and allocations inside [`counted`] with the values recorded in `scripts/guard.json`.
//!
//! A cost test makes its input, does the work once inside [`counted`], and checks the result afterwards. The work
//! never depends on a clock, on randomness or on the environment, so the counts repeat.

use std::hint::black_box;

/// Runs the work whose cost is counted. A test calls it once. The result is dropped outside, so its drop is not
/// counted.
#[inline(never)]
pub fn counted<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

/// Pseudo-random bytes that do not compress. The same seed gives the same bytes.
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
