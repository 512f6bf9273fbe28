//! An on-demand stream in simulated time. A step is one second, the only clock is the count of steps, and all random
//! numbers come from a seed. Shards refuse records above their limits, as real ones do, so the scaler never sees the
//! refused load.

use std::collections::BTreeMap;

use anabranch_catalog::scaling::limits::SHARD_BYTES_PER_SECOND;
use anabranch_catalog::scaling::{Action, Bounds, LoadHistogram, OpenShard, Reason, Scaler};
use anabranch_types::{HashKey, HashKeyRange, ShardId, Timestamp};

use crate::scenario::{Offered, Scenario};

/// Number of lumps in which the load of a second arrives. Each has a random hash key.
const LUMPS: u64 = 128;
/// Time between two reports of the leaders to the controller.
const REPORT_EVERY_SECONDS: u64 = 5;
/// Time from a decision until the split or merge is done.
const JOB_SECONDS: u64 = 1;
const RECORD_BYTES: u64 = 1024;

/// Totals of one minute of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Minute {
    /// Bytes that producers offered.
    pub(crate) offered_bytes: u64,
    /// Bytes that the shards accepted.
    pub(crate) accepted_bytes: u64,
    /// Offered bytes without those of the hot key.
    pub(crate) offered_other_bytes: u64,
    /// Accepted bytes without those of the hot key.
    pub(crate) accepted_other_bytes: u64,
    /// Open shards at the end of the minute.
    pub(crate) shards: u32,
    /// Range of the shard that has the hot key, while there is a hot key.
    pub(crate) hot_key_range: Option<HashKeyRange>,
}

/// An action that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) second: u64,
    pub(crate) action: Action,
    /// Number of the shard that the action made. A split also made the next one.
    pub(crate) child: ShardId,
}

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) minutes: Vec<Minute>,
    pub(crate) actions: Vec<Done>,
    /// Whether a decision reported a hot key.
    pub(crate) hot_key_seen: bool,
}

struct Simulation {
    chance: Chance,
    second: u64,
    shards: BTreeMap<HashKey, Shard>,
    /// The last reports that the controller got.
    reported: Vec<OpenShard>,
    scaler: Scaler,
    job: Option<(u64, Action)>,
    next_shard: u32,
    run: Run,
}

struct Shard {
    id: ShardId,
    range: HashKeyRange,
    histogram: LoadHistogram,
    arriving: Vec<Lump>,
}

#[derive(Clone, Copy)]
struct Lump {
    key: HashKey,
    bytes: u64,
    of_hot_key: bool,
}

/// Runs `scenario` from beginning to end on a stream that has four shards at first.
pub(crate) fn run(scenario: &Scenario, seed: u64) -> Run {
    let mut simulation = Simulation::new(seed);
    let mut load = scenario.load(Chance(seed ^ 0x10ad));
    for _ in 0..scenario.hours * 60 {
        let mut minute = Minute::default();
        for _ in 0..60 {
            let offered = load.at(simulation.second);
            simulation.arrive(offered, &mut minute);
            simulation.control();
            simulation.second += 1;
        }
        minute.shards = u32::try_from(simulation.shards.len()).expect("thousands at most");
        simulation.run.minutes.push(minute);
    }
    simulation.run
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let run = Run { minutes: Vec::new(), actions: Vec::new(), hot_key_seen: false };
        let mut new = Self {
            chance: Chance(seed),
            second: 0,
            shards: BTreeMap::new(),
            reported: Vec::new(),
            scaler: Scaler::new(),
            job: None,
            next_shard: 0,
            run,
        };
        HashKeyRange::split_evenly(4).into_iter().for_each(|range| new.open(range));
        new
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_000_000_000 + self.second * 1000)
    }

    fn open(&mut self, range: HashKeyRange) {
        let histogram = LoadHistogram::new(range, self.now());
        let id = ShardId(self.next_shard);
        self.next_shard += 1;
        let shard = Shard { id, range, histogram, arriving: Vec::new() };
        self.reported.push(OpenShard { id, range, load: None });
        self.shards.insert(range.start(), shard);
    }

    /// The load of one second. Every shard accepts as much of it as its limit allows.
    fn arrive(&mut self, offered: Offered, minute: &mut Minute) {
        for _ in 0..LUMPS {
            // Between 0.5 and 1.5 times the mean.
            let bytes = offered.even_bytes / LUMPS * (512 + self.chance.below(1025)) / 1024;
            let key = HashKey(self.chance.key());
            self.arrive_at(Lump { key, bytes, of_hot_key: false });
        }
        if offered.hot_key_bytes > 0 {
            let (key, bytes) = (offered.hot_key, offered.hot_key_bytes);
            minute.hot_key_range = self.shards.range(..=key).next_back().map(|(_, s)| s.range);
            self.arrive_at(Lump { key, bytes, of_hot_key: true });
        }
        let now = self.now();
        for shard in self.shards.values_mut() {
            shard.take(now, minute);
        }
    }

    fn arrive_at(&mut self, lump: Lump) {
        let (_, shard) = self.shards.range_mut(..=lump.key).next_back().expect("keys are covered");
        shard.arriving.push(lump);
    }

    /// One second of the controller: it gets reports, ends a job, or asks the scaler.
    fn control(&mut self) {
        let now = self.now();
        if self.second.is_multiple_of(REPORT_EVERY_SECONDS) {
            self.report(now);
        }
        match self.job {
            Some((due, action)) if due <= self.second => {
                self.job = None;
                self.carry_out(action);
            }
            Some(_) => self.scaler.observe(now, &self.reported),
            None => {
                let bounds = Bounds::for_warm_throughput(0);
                let decision = self.scaler.decide(now, &self.reported, bounds);
                self.run.hot_key_seen |= matches!(decision.reason, Reason::HotKey { .. });
                self.job = decision.action.map(|action| (self.second + JOB_SECONDS, action));
            }
        }
    }

    fn report(&mut self, now: Timestamp) {
        let report = |shard: &mut Shard| OpenShard {
            id: shard.id,
            range: shard.range,
            load: Some(shard.histogram.load(now)),
        };
        self.reported = self.shards.values_mut().map(report).collect();
    }

    fn carry_out(&mut self, action: Action) {
        let child = ShardId(self.next_shard);
        self.run.actions.push(Done { second: self.second, action, child });
        match action {
            Action::Split { shard, at } => {
                let range = self.close(shard);
                let below = HashKeyRange::new(range.start(), HashKey(at.0 - 1));
                let above = HashKeyRange::new(at, range.end());
                self.open(below.expect("a key stays below"));
                self.open(above.expect("a key stays above"));
            }
            Action::Merge { lower, upper } => {
                let (lower, upper) = (self.close(lower), self.close(upper));
                self.open(HashKeyRange::new(lower.start(), upper.end()).expect("in order"));
            }
        }
        self.assert_covered();
    }

    fn close(&mut self, id: ShardId) -> HashKeyRange {
        let open = self.shards.values().find(|shard| shard.id == id);
        let range = open.expect("the scaler names open shards").range;
        self.shards.remove(&range.start());
        self.reported.retain(|shard| shard.id != id);
        range
    }

    fn assert_covered(&self) {
        let ranges: Vec<_> = self.shards.values().map(|shard| shard.range).collect();
        assert_eq!(ranges[0].start(), HashKey(0));
        assert_eq!(ranges[ranges.len() - 1].end(), HashKey(u128::MAX));
        for pair in ranges.windows(2) {
            assert_eq!(pair[0].end().0 + 1, pair[1].start().0, "at second {}", self.second);
        }
    }
}

impl Shard {
    fn take(&mut self, now: Timestamp, minute: &mut Minute) {
        self.histogram.advance(now);
        let offered: u64 = self.arriving.iter().map(|lump| lump.bytes).sum();
        let taken = offered.min(SHARD_BYTES_PER_SECOND);
        for lump in self.arriving.drain(..) {
            let accepted = lump.bytes * taken / offered.max(1);
            self.histogram.add(lump.key, accepted / RECORD_BYTES, accepted);
            minute.offered_bytes += lump.bytes;
            minute.accepted_bytes += accepted;
            if !lump.of_hot_key {
                minute.offered_other_bytes += lump.bytes;
                minute.accepted_other_bytes += accepted;
            }
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn key(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}
