//! The wall clocks of the simulation: one time of the world, and for each node how far its clock is off.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use anabranch_types::{Clock, Timestamp};

/// The wall-clock time at which every simulation begins.
const EPOCH: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Milliseconds since the simulation began. All clocks of one simulation share it.
#[derive(Clone, Debug, Default)]
pub struct WorldTime(Arc<Passed>);

#[derive(Debug, Default)]
struct Passed {
    /// Simulated, step by step.
    stepped: AtomicU64,
    /// Left out: no timer ran meanwhile.
    skipped: AtomicU64,
}

impl WorldTime {
    /// Sets the simulated milliseconds.
    pub fn set(&self, millis: u64) {
        self.0.stepped.store(millis, Ordering::Relaxed);
    }

    /// Moves all clocks this many milliseconds on.
    pub fn skip(&self, millis: u64) {
        self.0.skipped.fetch_add(millis, Ordering::Relaxed);
    }

    /// Milliseconds since the simulation began, with those that were left out.
    pub fn millis(&self) -> u64 {
        self.simulated_millis() + self.0.skipped.load(Ordering::Relaxed)
    }

    /// Milliseconds that were simulated.
    pub fn simulated_millis(&self) -> u64 {
        self.0.stepped.load(Ordering::Relaxed)
    }
}

/// The wall clock of one machine. Clones show the same time.
#[derive(Clone, Debug)]
pub struct WallClock {
    world: WorldTime,
    ahead_millis: Arc<AtomicI64>,
}

impl WallClock {
    /// A clock that is right.
    pub fn new(world: &WorldTime) -> Self {
        Self { world: world.clone(), ahead_millis: Arc::default() }
    }

    /// Sets the clock this many milliseconds ahead of the right time; behind it if the number is negative.
    pub fn set_ahead(&self, millis: i64) {
        self.ahead_millis.store(millis, Ordering::Relaxed);
    }
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let passed = EPOCH.as_millis() + self.world.millis();
        Timestamp::from_millis(passed).shifted(self.ahead_millis.load(Ordering::Relaxed))
    }
}
