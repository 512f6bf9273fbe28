//! The time of the cluster, although the wall clock of any node may be wrong (ADR-0024).
//!
//! Each pong carries the wall clock of its node, uncorrected. A reading is that clock minus this process's monotonic
//! clock in the middle of the round trip. So readings stay right if this node's own wall clock is set. The agreed
//! time is the median of the readings and the own clock, if a majority of all nodes is within the limit of it
//! (`agreement.rs`). Then:
//!
//! - [`Clock::now`] is the own clock while that is within the limit of the agreed time, and otherwise the agreed
//!   time. It stamps records.
//! - [`Clock::agreed`] decides what has expired. It is `None` while no majority agrees and while the own clock is
//!   wrong. Then nothing expires.
//! - [`Clocks::is_far`] says whether a node's clock is wrong. Such a node leads no group that another node can lead.
//!
//! If the majority is lost, the last agreed time goes on by the monotonic clock, for everything except expiry.
//!
//! This never happens: a pong carries a corrected time, because an error would then confirm itself. And nothing
//! expires by the own clock alone, except on the only node of a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anabranch_planted::{Bug, planted};
use anabranch_types::{Clock, NodeId, Timestamp};
use tokio::time::Instant;

use crate::clocks::agreement::median_of_majority;

mod agreement;

/// How long a reading counts after the last pong of its node. Several ping intervals, because a ping may be lost.
const READING_LIFETIME: Duration = Duration::from_secs(2);
/// A pong with a longer round trip is ignored, because its reading would be too inexact.
const LONGEST_ROUND_TRIP: Duration = Duration::from_secs(1);
/// How long this node's clock must be wrong before the node gives its leadership to others. If all clocks are set at
/// about the same time, none of them is wrong for that long.
const FAR_AFTER: Duration = Duration::from_secs(1);
/// How long a state of the own clock must last before it is logged. At the start no other clock is known yet.
const LOGGED_AFTER: Duration = Duration::from_secs(3);
/// Value of `agreed` if no majority has agreed yet.
const NONE: i64 = i64::MIN;
/// Value of `agreed` if this is the only node.
const ALONE: i64 = i64::MAX;

/// The clocks of all nodes, as this node knows them.
pub struct Clocks {
    node: NodeId,
    own: Arc<dyn Clock>,
    /// Maximum difference of a clock from the agreed time, in milliseconds.
    limit: u64,
    /// Zero of this process's monotonic clock.
    origin: Instant,
    /// The last agreed time minus the monotonic clock, in milliseconds, or [`NONE`] or [`ALONE`]. Atomic, because
    /// every append reads it.
    agreed: AtomicI64,
    /// Whether a majority agrees on `agreed` now.
    is_agreed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The other nodes of the cluster. `None` until they are known.
    others: Option<BTreeSet<NodeId>>,
    readings: BTreeMap<NodeId, Reading>,
    /// Since when the own clock is wrong. `None` if it is right.
    far_since: Option<Instant>,
    own_clock: OwnClock,
    /// Since when `own_clock` has this value.
    since: Instant,
    /// The last value of `own_clock` that was logged.
    logged: OwnClock,
}

/// The own clock, compared with the agreed time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OwnClock {
    /// Within the limit.
    Near,
    /// Wrong: it was beyond the limit, and is not yet back within half of the limit.
    Far,
    /// No majority agrees on the time.
    NoMajority,
}

/// A reading of another node's clock.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// The node's wall clock minus this process's monotonic clock, in milliseconds.
    ahead: i64,
    /// Maximum error of `ahead`, in milliseconds.
    error: u64,
    /// When the reading was taken, or last confirmed by another pong.
    taken: Instant,
}

/// State of the clocks, for operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClockReport {
    /// Whether a majority agrees on the time.
    pub is_agreed: bool,
    /// For each node, by how many milliseconds its clock is ahead of the agreed time. If there was no agreed time
    /// yet, ahead of this node's clock. Holds only nodes that answered lately.
    pub ahead_millis: BTreeMap<NodeId, i64>,
    /// Nodes whose clocks are wrong.
    pub far: BTreeSet<NodeId>,
}

impl Clocks {
    pub(crate) fn new(node: NodeId, own: Arc<dyn Clock>, limit: Duration) -> Self {
        let origin = Instant::now();
        let state = State {
            others: None,
            readings: BTreeMap::new(),
            far_since: None,
            own_clock: OwnClock::NoMajority,
            since: origin,
            logged: OwnClock::Near,
        };
        Self {
            node,
            own,
            limit: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
            origin,
            agreed: AtomicI64::new(NONE),
            is_agreed: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    /// Sets the nodes of the cluster. Before that no clock is trusted.
    pub fn set_nodes(&self, nodes: impl IntoIterator<Item = NodeId>) {
        let others = nodes.into_iter().filter(|node| *node != self.node).collect();
        let mut state = self.lock();
        state.others = Some(others);
        self.update(&mut state);
    }

    /// This node's own clock in milliseconds, uncorrected, for pongs.
    pub(crate) fn own_millis(&self) -> u64 {
        self.own.now().as_millis()
    }

    /// Takes the wall clock from a pong. Its ping was sent at `sent`. A node of an earlier version sends 0, which is
    /// ignored.
    pub(crate) fn read(&self, node: NodeId, sent: Instant, wall_millis: u64) {
        let round_trip = sent.elapsed();
        if wall_millis == 0 || round_trip > LONGEST_ROUND_TRIP {
            return;
        }
        let half = round_trip / 2;
        let wall = Timestamp::from_millis(wall_millis);
        let (ahead, taken) = (self.ahead(wall, sent + half), Instant::now());
        // Both clocks are rounded to whole milliseconds. That adds one to the error.
        let error = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        let new = Reading { ahead, error, taken };
        let mut state = self.lock();
        state.readings.entry(node).and_modify(|known| known.take(new)).or_insert(new);
        self.update(&mut state);
    }

    /// Finds the agreed time again. If the state of the own clock has changed for long enough, logs it.
    pub(crate) fn check(&self) {
        let mut state = self.lock();
        self.update(&mut state);
        if state.others.is_none()
            || state.logged == state.own_clock
            || state.since.elapsed() < LOGGED_AFTER
        {
            return;
        }
        state.logged = state.own_clock;
        let report = self.report_of(&state);
        let own = report.ahead_millis.get(&self.node).copied().unwrap_or_default();
        let ahead = &report.ahead_millis;
        match state.own_clock {
            OwnClock::Far => tracing::warn!(
                ahead_millis = own,
                limit_millis = self.limit,
                "this node's wall clock is wrong: set it right; until then it leads nothing that another node can lead, \
                 stamps records with the other nodes' time, and trims nothing"
            ),
            OwnClock::NoMajority => tracing::warn!(
                ?ahead,
                limit_millis = self.limit,
                "no majority of the nodes agrees on the time: nothing is trimmed until one does"
            ),
            OwnClock::Near => {
                tracing::warn!(ahead_millis = own, "this node's wall clock is right again")
            }
        }
    }

    /// Whether the clock of `node` is wrong: farther from the agreed time than the limit. This node's own clock must
    /// be wrong for a second first. It then counts as wrong until it is within half of the limit.
    pub fn is_far(&self, node: NodeId) -> bool {
        self.is_far_in(&self.lock(), node)
    }

    /// State of the clocks, for operators.
    pub fn report(&self) -> ClockReport {
        self.report_of(&self.lock())
    }

    /// Seconds by which this node's clock is ahead of the agreed time, according to `report`. Negative if it is behind.
    pub(crate) fn own_ahead_seconds(&self, report: &ClockReport) -> f64 {
        let ahead = report.ahead_millis.get(&self.node).copied().unwrap_or_default();
        ahead as f64 / 1000.0
    }

    fn report_of(&self, state: &State) -> ClockReport {
        let own = self.own_ahead();
        let agreed = self.agreed_ahead(own);
        let origin = agreed.unwrap_or(own);
        let others = state.others.iter().flatten();
        let others = others.filter_map(|node| Some((*node, state.fresh(*node)?)));
        let ahead = others.chain([(self.node, own)]);
        let ahead_millis: BTreeMap<_, _> =
            ahead.map(|(node, ahead)| (node, ahead.saturating_sub(origin))).collect();
        let is_far = |node: &NodeId| self.is_far_in(state, *node);
        let far = ahead_millis.keys().copied().filter(is_far).collect();
        let is_agreed = self.is_agreed.load(Ordering::Acquire);
        ClockReport { is_agreed, ahead_millis, far }
    }

    fn is_far_in(&self, state: &State, node: NodeId) -> bool {
        if node == self.node {
            return state.far_since.is_some_and(|since| since.elapsed() >= FAR_AFTER);
        }
        let agreed = self.agreed_ahead(self.own_ahead());
        let reading = state.fresh(node);
        agreed.zip(reading).is_some_and(|(agreed, ahead)| ahead.abs_diff(agreed) > self.limit)
    }

    /// Finds the agreed time, and compares the own clock with it.
    fn update(&self, state: &mut State) {
        let own = self.own_ahead();
        let agreed = state.others.as_ref().and_then(|others| {
            let known = others.iter().filter_map(|node| state.fresh(*node));
            let clocks = known.chain([own]).collect();
            let median = median_of_majority(clocks, others.len() + 1, self.limit)?;
            Some(if others.is_empty() { ALONE } else { median })
        });
        if let Some(agreed) = agreed {
            self.agreed.store(agreed, Ordering::Release);
        }
        self.is_agreed.store(agreed.is_some(), Ordering::Release);
        // Only while a majority agrees, the own clock is found wrong or right again. It is wrong above the limit,
        // and right again only below half of the limit. So a clock near the limit does not move leaders back and
        // forth.
        let off = self.agreed_ahead(own).filter(|_| agreed.is_some()).map(|at| own.abs_diff(at));
        match off {
            Some(off) if off > self.limit => {
                state.far_since.get_or_insert_with(Instant::now);
            }
            Some(off) if off <= self.limit / 2 => state.far_since = None,
            Some(_) | None => {}
        }
        let own_clock = match (off, state.far_since) {
            (None, _) => OwnClock::NoMajority,
            (Some(_), Some(_)) => OwnClock::Far,
            (Some(_), None) => OwnClock::Near,
        };
        if state.own_clock != own_clock {
            (state.own_clock, state.since) = (own_clock, Instant::now());
        }
    }

    /// `wall` minus the monotonic clock at `moment`, at which `wall` was read. In milliseconds.
    fn ahead(&self, wall: Timestamp, moment: Instant) -> i64 {
        let wall = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX - 1);
        wall.saturating_sub(self.monotonic_millis(moment))
    }

    fn own_ahead(&self) -> i64 {
        self.ahead(self.own.now(), Instant::now())
    }

    fn monotonic_millis(&self, moment: Instant) -> i64 {
        let elapsed = moment.saturating_duration_since(self.origin);
        i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
    }

    /// The last agreed time minus the monotonic clock, in milliseconds. `None` if there was no agreed time yet.
    fn agreed_ahead(&self, own: i64) -> Option<i64> {
        match self.agreed.load(Ordering::Acquire) {
            NONE => None,
            ALONE => Some(own),
            agreed => Some(agreed),
        }
    }

    /// The own clock. Also the last agreed time, if the own clock is not within the limit of it. `None` if there was
    /// no agreed time yet.
    fn own_and_correction(&self) -> Option<(Timestamp, Option<Timestamp>)> {
        let (own, moment) = (self.own.now(), Instant::now());
        let ahead = self.ahead(own, moment);
        let agreed = self.agreed_ahead(ahead)?;
        if ahead.abs_diff(agreed) <= self.limit {
            return Some((own, None));
        }
        let agreed = agreed.saturating_add(self.monotonic_millis(moment));
        let agreed = Timestamp::from_millis(u64::try_from(agreed).unwrap_or_default());
        Some((own, Some(agreed)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for Clocks {
    fn now(&self) -> Timestamp {
        match self.own_and_correction() {
            Some((own, correction)) => correction.unwrap_or(own),
            None => self.own.now(),
        }
    }

    fn agreed(&self) -> Option<Timestamp> {
        if planted(Bug::TrimByWallClock) {
            return Some(self.own.now());
        }
        let (own, correction) = self.own_and_correction()?;
        (self.is_agreed.load(Ordering::Acquire) && correction.is_none()).then_some(own)
    }
}

impl State {
    /// The reading of the clock of `node`, if the node answered lately.
    fn fresh(&self, node: NodeId) -> Option<i64> {
        let reading = self.readings.get(&node)?;
        (reading.taken.elapsed() <= READING_LIFETIME).then_some(reading.ahead)
    }
}

impl Reading {
    /// Takes a newer reading. The known reading stays if it is at least as exact and the two do not contradict each
    /// other. If they do, the clock was set, and only the new reading is right.
    fn take(&mut self, new: Self) {
        let agree = self.ahead.abs_diff(new.ahead) <= self.error.saturating_add(new.error);
        if agree && self.error <= new.error {
            self.taken = new.taken;
        } else {
            *self = new;
        }
    }
}

#[cfg(test)]
mod tests;
