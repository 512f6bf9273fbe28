//! The scaler: it watches the loads of one stream's shards and decides on splits and merges.
//!
//! For each shard it remembers since when the shard has been hot, and since when the shard and its upper neighbour
//! have been quiet. An observation that does not fit ends the window. Order of a decision: the hottest shard is
//! split; else a stream below its floor is split where it is widest; else the quietest pair of neighbours is merged.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_types::{HashKey, HashKeyRange, ShardId, Timestamp};

use super::allowance::Allowance;
use super::decision::{Action, Bounds, Decision, OpenShard, Reason};
use super::limits::{
    MERGE_AFTER, MERGE_BELOW_PERMILLE, MERGE_COOLDOWN, MERGE_TOGETHER_BELOW_PERMILLE,
    MERGES_PER_MINUTE, MERGES_SHARDS_DIVISOR, OBSERVATION_GAP_MAX, REPORT_AFTER,
    SPLIT_ABOVE_PERMILLE, SPLIT_AFTER, SPLITS_PER_MINUTE, SPLITS_SHARDS_DIVISOR,
};
use super::load::{ShardLoad, SplitPoint, may_split_at};

/// Decides on the splits and merges of one on-demand stream.
///
/// The controller calls [`decide`](Self::decide) every few seconds. While it carries out an action, which is one job
/// of the stream, it calls [`observe`](Self::observe) instead. Nobody confirms an action: the shards of the next call
/// show whether it happened. If it did not, the scaler decides the same again only after a whole window.
///
/// A new scaler has no history. It needs a whole window of its own before it acts: a minute before the first split,
/// and twenty minutes before the first merge. Only a stream below its floor is split at once, because that needs no
/// history. So a scaler is kept in memory only, and each new controller begins with a new one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scaler {
    /// Invariant: the keys are exactly the shards of the last observation.
    watches: BTreeMap<ShardId, Watch>,
    observed: Option<Timestamp>,
    last_split: Option<Timestamp>,
    splits: Allowance,
    merges: Allowance,
}

/// The windows of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Watch {
    /// Time since which every observation was above the threshold for splits.
    hot_since: Option<Timestamp>,
    /// Time since which the shard and its upper neighbour were below the thresholds for merges at every observation.
    quiet: Option<Quiet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Quiet {
    upper: ShardId,
    since: Timestamp,
}

/// An action and its reason, or the reason why a wanted action has to wait, or `None` if no action is wanted.
type Choice = Result<(Action, Reason), Option<Reason>>;

impl Scaler {
    /// A scaler without a history.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes the loads at `now` without a decision, while a job is under way. `shards` are all open shards of the
    /// stream, in any order.
    pub fn observe(&mut self, now: Timestamp, shards: &[OpenShard]) {
        self.watch(now, &by_range(shards));
    }

    /// Notes the loads at `now` and decides. `shards` are all open shards of the stream, in any order.
    ///
    /// Splits come before merges, and the hottest shard comes first. If a split has to wait, a merge may still
    /// happen. Merges wait for [`MERGE_COOLDOWN`] after a split; splits never wait for merges.
    pub fn decide(&mut self, now: Timestamp, shards: &[OpenShard], bounds: Bounds) -> Decision {
        let shards = by_range(shards);
        self.watch(now, &shards);
        let choice = self.choose_split(now, &shards, bounds).or_else(|held_split| {
            let merge = self.choose_merge(now, &shards, bounds);
            merge.map_err(|held_merge| held_split.or(held_merge))
        });
        match choice {
            Ok((action, reason)) => {
                self.note(now, action);
                Decision { action: Some(action), reason }
            }
            Err(held) => Decision { action: None, reason: held.unwrap_or(Reason::Steady) },
        }
    }

    fn watch(&mut self, now: Timestamp, shards: &[&OpenShard]) {
        // After a long gap, or if the clock stepped back, nothing is known about the time between.
        let goes_on =
            self.observed.is_some_and(|last| last <= now && now.since(last) <= OBSERVATION_GAP_MAX);
        let before = std::mem::take(&mut self.watches);
        self.observed = Some(now);
        for (index, shard) in shards.iter().enumerate() {
            let upper = shards.get(index + 1).filter(|upper| adjoins(shard.range, upper.range));
            let last = before.get(&shard.id).copied().filter(|_| goes_on).unwrap_or_default();
            self.watches.insert(shard.id, last.next(now, shard, upper.copied()));
        }
    }

    fn choose_split(&mut self, now: Timestamp, shards: &[&OpenShard], bounds: Bounds) -> Choice {
        let (action, reason) = match self.hottest(now, shards) {
            Err(None) => widest_if_below_floor(shards, bounds)?,
            Err(Some(unsplittable)) => {
                widest_if_below_floor(shards, bounds).map_err(|_| Some(unsplittable))?
            }
            Ok(found) => found,
        };
        if count(shards) >= bounds.ceiling() {
            return Err(Some(Reason::AtCeiling { ceiling: bounds.ceiling() }));
        }
        let per_minute = SPLITS_PER_MINUTE.max(count(shards) / SPLITS_SHARDS_DIVISOR);
        if !self.splits.take(now, per_minute) {
            return Err(Some(Reason::SplitsSpent { per_minute }));
        }
        Ok((action, reason))
    }

    /// The shard with the highest load of all that were hot for long enough and can be split.
    fn hottest(&self, now: Timestamp, shards: &[&OpenShard]) -> Choice {
        let mut hot: Vec<_> = shards
            .iter()
            .filter_map(|shard| {
                let (load, watch) = (known_load(shard)?, self.watches.get(&shard.id)?);
                let long_enough = lasting(now, watch.hot_since?, load) >= SPLIT_AFTER;
                long_enough.then(|| (Reverse(load.permille()), shard.id, shard.range, load))
            })
            .collect();
        hot.sort_by_key(|(permille, id, ..)| (*permille, *id));
        let mut unsplittable = None;
        for (Reverse(permille), shard, range, load) in hot {
            let reason = match load.split_point(range) {
                SplitPoint::At(at) => {
                    return Ok((Action::Split { shard, at }, Reason::Hot { shard, permille }));
                }
                SplitPoint::OneKey(key) => Reason::HotKey { shard, key },
                SplitPoint::TooNarrow => Reason::TooNarrow { shard },
            };
            unsplittable = unsplittable.or(Some(reason));
        }
        Err(unsplittable)
    }

    fn choose_merge(&mut self, now: Timestamp, shards: &[&OpenShard], bounds: Bounds) -> Choice {
        let Some((lower, upper, permille)) = self.quietest_pair(now, shards) else {
            return Err(None);
        };
        if count(shards) <= bounds.floor() {
            return Err(None);
        }
        if self.last_split.is_some_and(|split| now.since(split) < MERGE_COOLDOWN) {
            return Err(Some(Reason::SplitLately));
        }
        let per_minute = MERGES_PER_MINUTE.max(count(shards) / MERGES_SHARDS_DIVISOR);
        if !self.merges.take(now, per_minute) {
            return Err(Some(Reason::MergesSpent { per_minute }));
        }
        Ok((Action::Merge { lower, upper }, Reason::Quiet { lower, upper, permille }))
    }

    /// The neighbours with the lowest common load of all that were quiet for long enough.
    fn quietest_pair(
        &self,
        now: Timestamp,
        shards: &[&OpenShard],
    ) -> Option<(ShardId, ShardId, u64)> {
        let quiet_long_enough = |pair: &[&OpenShard]| {
            let [lower, upper] = pair else { return None };
            let loads = [known_load(lower)?, known_load(upper)?];
            let quiet = self.watches.get(&lower.id)?.quiet?;
            let long_enough =
                loads.iter().all(|load| lasting(now, quiet.since, load) >= MERGE_AFTER);
            let permille = loads.iter().map(|load| load.permille()).sum();
            long_enough.then_some((lower.id, upper.id, permille))
        };
        shards.windows(2).filter_map(quiet_long_enough).min_by_key(|(.., permille)| *permille)
    }

    /// Ends the windows of the shards of an action. If the action is not carried out, they need whole windows again.
    fn note(&mut self, now: Timestamp, action: Action) {
        match action {
            Action::Split { shard, .. } => {
                self.last_split = Some(now);
                self.watches.insert(shard, Watch::default());
            }
            Action::Merge { lower, upper } => {
                self.watches.insert(lower, Watch::default());
                self.watches.insert(upper, Watch::default());
            }
        }
    }
}

impl Watch {
    fn next(self, now: Timestamp, shard: &OpenShard, upper: Option<&OpenShard>) -> Self {
        let permille = known_load(shard).map(ShardLoad::permille);
        let hot = permille.is_some_and(|permille| permille > SPLIT_ABOVE_PERMILLE);
        let quiet = upper.and_then(|upper| {
            let loads = [permille?, known_load(upper)?.permille()];
            let quiet = loads.iter().all(|permille| *permille < MERGE_BELOW_PERMILLE)
                && loads.iter().sum::<u64>() < MERGE_TOGETHER_BELOW_PERMILLE;
            let before = self.quiet.filter(|before| before.upper == upper.id);
            quiet.then(|| before.unwrap_or(Quiet { upper: upper.id, since: now }))
        });
        Self { hot_since: hot.then(|| self.hot_since.unwrap_or(now)), quiet }
    }
}

/// The shards in the order of their hash keys.
fn by_range(shards: &[OpenShard]) -> Vec<&OpenShard> {
    let mut shards: Vec<_> = shards.iter().collect();
    shards.sort_by_key(|shard| shard.range);
    shards
}

fn adjoins(lower: HashKeyRange, upper: HashKeyRange) -> bool {
    lower.end().0.checked_add(1) == Some(upper.start().0)
}

/// The load of a shard, if its leader has measured for long enough.
fn known_load(shard: &OpenShard) -> Option<&ShardLoad> {
    shard.load.as_ref().filter(|load| load.measured() >= REPORT_AFTER)
}

/// The length of a window that began at `since`, but not longer than the time for which the leader has measured.
fn lasting(now: Timestamp, since: Timestamp, load: &ShardLoad) -> Duration {
    now.since(since).min(load.measured())
}

/// Splits the widest shard in the middle, if the stream has too few shards. Of several, the one with the lowest keys.
fn widest_if_below_floor(shards: &[&OpenShard], bounds: Bounds) -> Choice {
    let reason = Reason::BelowFloor { open_shards: count(shards), floor: bounds.floor() };
    if count(shards) >= bounds.floor() {
        return Err(None);
    }
    let keys = |range: HashKeyRange| range.end().0 - range.start().0;
    let widest = shards.iter().min_by_key(|shard| Reverse(keys(shard.range))).ok_or(None)?;
    let (shard, range) = (widest.id, widest.range);
    let at = HashKey(range.start().0 + keys(range) / 2 + 1);
    let action = may_split_at(range, at).then_some(Action::Split { shard, at });
    action.map(|action| (action, reason)).ok_or(Some(Reason::TooNarrow { shard }))
}

fn count(shards: &[&OpenShard]) -> u32 {
    u32::try_from(shards.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
