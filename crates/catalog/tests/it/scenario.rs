//! Scenarios: the load that producers offer in each second, for the tests and the example `on_demand`.

use anabranch_types::HashKey;

use crate::simulation::Chance;

const MIB: u64 = 1 << 20;
const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

/// A load of some hours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) hours: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Diurnal,
    Spike,
    HotKey,
    Flapping { longest_minutes: u64 },
}

/// Two days: 1 MiB/s at midnight, 12 at noon.
pub(crate) const DIURNAL: Scenario = Scenario { name: "diurnal", hours: 48, kind: Kind::Diurnal };
/// 1 MiB/s; from [`SPIKE_BEGINS_SECOND`] it rises within a minute to twenty times that, and falls back after an hour.
pub(crate) const SPIKE: Scenario = Scenario { name: "spike", hours: 5, kind: Kind::Spike };
/// 1.2 MiB/s; from [`HOT_KEY_BEGINS_SECOND`] to [`HOT_KEY_ENDS_SECOND`] one key adds 2 MiB/s.
pub(crate) const HOT_KEY: Scenario = Scenario { name: "hot key", hours: 4, kind: Kind::HotKey };
/// Back and forth between a seventh and six tenths of the limits of four shards, every few minutes.
pub(crate) const FLAPPING: Scenario = Scenario::flapping("flapping", 6, 8);

pub(crate) const SPIKE_BEGINS_SECOND: u64 = 30 * MINUTE;
pub(crate) const SPIKE_ENDS_SECOND: u64 = 90 * MINUTE;
pub(crate) const HOT_KEY_BEGINS_SECOND: u64 = 20 * MINUTE;
pub(crate) const HOT_KEY_ENDS_SECOND: u64 = 2 * HOUR;

/// The load that producers offer in one second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Offered {
    /// Bytes that are spread evenly over the hash keys.
    pub(crate) even_bytes: u64,
    /// More bytes, all of one key.
    pub(crate) hot_key_bytes: u64,
    pub(crate) hot_key: HashKey,
}

/// A scenario in progress.
pub(crate) struct Load {
    kind: Kind,
    chance: Chance,
    hot_key: HashKey,
    high: bool,
    flips_at: u64,
}

impl Scenario {
    /// As [`FLAPPING`], where each level lasts up to `longest_minutes`.
    pub(crate) const fn flapping(name: &'static str, hours: u64, longest_minutes: u64) -> Self {
        Self { name, hours, kind: Kind::Flapping { longest_minutes } }
    }

    pub(crate) fn load(&self, mut chance: Chance) -> Load {
        let hot_key = HashKey(chance.key());
        Load { kind: self.kind, chance, hot_key, high: false, flips_at: 0 }
    }
}

impl Load {
    /// The load in this second. Call it once for each second, in order.
    pub(crate) fn at(&mut self, second: u64) -> Offered {
        let even_bytes = match self.kind {
            Kind::Diurnal => MIB + 11 * MIB * noon_permille(second) / 1000,
            Kind::Spike => spike(second),
            Kind::HotKey => 12 * MIB / 10,
            Kind::Flapping { longest_minutes } => self.flapping(second, longest_minutes),
        };
        let hot = matches!(self.kind, Kind::HotKey)
            && (HOT_KEY_BEGINS_SECOND..HOT_KEY_ENDS_SECOND).contains(&second);
        let hot_key_bytes = if hot { 2 * MIB } else { 0 };
        Offered { even_bytes, hot_key_bytes, hot_key: self.hot_key }
    }

    fn flapping(&mut self, second: u64, longest_minutes: u64) -> u64 {
        if second >= self.flips_at {
            self.high = !self.high;
            self.flips_at = second + 30 + self.chance.below(longest_minutes * MINUTE);
        }
        if self.high { 24 * MIB / 10 } else { 6 * MIB / 10 }
    }
}

fn spike(second: u64) -> u64 {
    let into = |begins: u64| second.saturating_sub(begins).min(MINUTE);
    let risen = into(SPIKE_BEGINS_SECOND) - into(SPIKE_ENDS_SECOND);
    MIB + 19 * MIB * risen / MINUTE
}

/// 0 at midnight, 1,000 at noon, and a parabola for each half between: nearly a sine, without floating point.
fn noon_permille(second: u64) -> u64 {
    let from_noon = (second % (24 * HOUR)).abs_diff(12 * HOUR) * 1000 / (12 * HOUR);
    if from_noon < 500 {
        1000 - from_noon * from_noon / 500
    } else {
        (1000 - from_noon) * (1000 - from_noon) / 500
    }
}
