//! What time it is, in a cluster in which a node's wall clock may be wrong.
//!
//! Each pong carries the wall clock of the node that answers, as it is. A reading is that clock less this process's
//! monotonic clock, in the middle of the round trip. So readings stay right while this node's own wall clock steps. The
//! agreed time is the median of the readings and the own clock, if a majority of all nodes is within the limit of it
//! (`agreement.rs`). Then:
//!
//! - [`Clock::now`] is the own clock while that is within the limit of the agreed time, else the agreed time. It stamps.
//! - [`Clock::agreed`] decides what has expired. It is `None` while no majority agrees and while the own clock is wrong:
//!   then nothing expires.
//! - [`Clocks::is_far`] says whose clock is wrong. Such a node leads nothing if another one can.
//!
//! When the majority is lost, the last agreed time goes on by the monotonic clock, for all but what expires.
//!
//! Never: a corrected time in a pong, or an error would feed itself; expiry by the own clock alone, but on the only node
//! of a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anabranch_types::{Clock, NodeId, Timestamp};
use tokio::time::Instant;

use crate::clocks::agreement::median_of_majority;

mod agreement;

/// How long a reading counts after the last pong of its node. Some pings, as one may be lost.
const LASTS: Duration = Duration::from_secs(2);
/// A pong that took longer says too little about the time.
const LONGEST_ROUND_TRIP: Duration = Duration::from_secs(1);
/// How long a clock must be wrong before its node gives up what it leads: all clocks may be set at about the same time.
const FAR_AFTER: Duration = Duration::from_secs(1);
/// How long a state must last before it is logged: at the start no other clock is known.
const SAID_AFTER: Duration = Duration::from_secs(3);
/// No majority has agreed yet.
const NONE: i64 = i64::MIN;
/// This is the only node.
const ALONE: i64 = i64::MAX;

/// The clocks of all nodes, as this one knows them.
pub struct Clocks {
    node: NodeId,
    own: Arc<dyn Clock>,
    /// How far a clock may be from the agreed time, in milliseconds.
    limit: u64,
    /// Where this process's monotonic clock began.
    origin: Instant,
    /// The last agreed time less the monotonic clock; or [`NONE`], [`ALONE`]. Read for every append.
    agreed: AtomicI64,
    /// Whether a majority agrees on it now.
    is_agreed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The other nodes of the cluster; `None` until they are known.
    others: Option<BTreeSet<NodeId>>,
    readings: BTreeMap<NodeId, Reading>,
    /// Since when the own clock is wrong.
    far_since: Option<Instant>,
    standing: Standing,
    /// Since when `standing` is so.
    since: Instant,
    said: Standing,
}

/// How the own clock stands to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Near,
    Far,
    NoMajority,
}

/// Another node's clock.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// Its wall clock less this process's monotonic clock, in milliseconds.
    ahead: i64,
    /// How far off that may be.
    error: u64,
    /// When it was found, or found to be right still.
    taken: Instant,
}

/// The clocks, for operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClockReport {
    /// Whether a majority agrees on the time.
    pub is_agreed: bool,
    /// By how many milliseconds each node's clock is ahead of the agreed time, or of this node's clock if there has been
    /// no agreed time yet. Only nodes that answered lately.
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
            standing: Standing::NoMajority,
            since: origin,
            said: Standing::Near,
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

    /// Says which nodes the cluster has. Until then nobody's clock is trusted.
    pub fn set_nodes(&self, nodes: impl IntoIterator<Item = NodeId>) {
        let others = nodes.into_iter().filter(|node| *node != self.node).collect();
        let mut state = self.lock();
        state.others = Some(others);
        self.judge(&mut state);
    }

    /// This node's own clock, as it is: what pongs carry.
    pub(crate) fn own_millis(&self) -> u64 {
        self.own.now().as_millis()
    }

    /// Takes the clock in a pong to the ping that was sent at `sent`; 0 from a node that doesn't say it.
    pub(crate) fn read(&self, node: NodeId, sent: Instant, wall_millis: u64) {
        let round_trip = sent.elapsed();
        if wall_millis == 0 || round_trip > LONGEST_ROUND_TRIP {
            return;
        }
        let half = round_trip / 2;
        let wall = Timestamp::from_millis(wall_millis);
        let (ahead, taken) = (self.ahead(wall, sent + half), Instant::now());
        // Both clocks are in whole milliseconds.
        let error = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        let new = Reading { ahead, error, taken };
        let mut state = self.lock();
        state.readings.entry(node).and_modify(|known| known.take(new)).or_insert(new);
        self.judge(&mut state);
    }

    /// Looks at all clocks again, and logs what has changed for long enough.
    pub(crate) fn check(&self) {
        let mut state = self.lock();
        self.judge(&mut state);
        if state.others.is_none()
            || state.said == state.standing
            || state.since.elapsed() < SAID_AFTER
        {
            return;
        }
        state.said = state.standing;
        let report = self.report_of(&state);
        let own = report.ahead_millis.get(&self.node).copied().unwrap_or_default();
        let ahead = &report.ahead_millis;
        match state.standing {
            Standing::Far => tracing::warn!(
                ahead_millis = own,
                limit_millis = self.limit,
                "this node's wall clock is wrong: set it right; until then it leads nothing that another node can lead, \
                 stamps records with the other nodes' time, and trims nothing"
            ),
            Standing::NoMajority => tracing::warn!(
                ?ahead,
                limit_millis = self.limit,
                "no majority of the nodes agrees on the time: nothing is trimmed until one does"
            ),
            Standing::Near => {
                tracing::warn!(ahead_millis = own, "this node's wall clock is right again")
            }
        }
    }

    /// Whether the clock of `node` is wrong by the agreed time.
    pub fn is_far(&self, node: NodeId) -> bool {
        self.is_far_in(&self.lock(), node)
    }

    /// The clocks, for operators.
    pub fn report(&self) -> ClockReport {
        self.report_of(&self.lock())
    }

    /// By how many seconds this node's clock is ahead in `report`, which it made.
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

    /// Finds the agreed time, and how the own clock stands to it.
    fn judge(&self, state: &mut State) {
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
        // Only a majority finds a clock wrong, or right again. Far is above the limit, near is below half of it: a clock
        // at the limit doesn't move leaders to and fro.
        let off = self.agreed_ahead(own).filter(|_| agreed.is_some()).map(|at| own.abs_diff(at));
        match off {
            Some(off) if off > self.limit => {
                state.far_since.get_or_insert_with(Instant::now);
            }
            Some(off) if off <= self.limit / 2 => state.far_since = None,
            Some(_) | None => {}
        }
        let standing = match (off, state.far_since) {
            (None, _) => Standing::NoMajority,
            (Some(_), Some(_)) => Standing::Far,
            (Some(_), None) => Standing::Near,
        };
        if state.standing != standing {
            (state.standing, state.since) = (standing, Instant::now());
        }
    }

    /// `wall`, which was read at `moment`, less the monotonic clock.
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

    /// The last agreed time less the monotonic clock.
    fn agreed_ahead(&self, own: i64) -> Option<i64> {
        match self.agreed.load(Ordering::Acquire) {
            NONE => None,
            ALONE => Some(own),
            agreed => Some(agreed),
        }
    }

    /// The own clock, and the last agreed time where the own clock is not within the limit of it.
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
        let (own, correction) = self.own_and_correction()?;
        (self.is_agreed.load(Ordering::Acquire) && correction.is_none()).then_some(own)
    }
}

impl State {
    /// What is known of the clock of `node`, if it answered lately.
    fn fresh(&self, node: NodeId) -> Option<i64> {
        let reading = self.readings.get(&node)?;
        (reading.taken.elapsed() <= LASTS).then_some(reading.ahead)
    }
}

impl Reading {
    /// Takes a newer reading. The known one stays if it is as exact, unless they contradict each other: then the clock was set.
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
