use std::time::Duration;

use uuid::Uuid;

/// Pseudorandom numbers from a seed (SplitMix64). For jitter and ids of calls, not for secrets.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A UUID of version 4.
    pub(super) fn uuid(&mut self) -> Uuid {
        let bytes = u128::from(self.next()) << 64 | u128::from(self.next());
        uuid::Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid()
    }

    /// Between half of `delay` and `delay`, in milliseconds.
    pub(super) fn jitter(&mut self, delay: Duration) -> Duration {
        let half = u64::try_from(delay.as_millis() / 2).unwrap_or(u64::MAX);
        Duration::from_millis(half + self.next() % half.max(1))
    }
}
