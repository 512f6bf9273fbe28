//! Pieces: the hash keys and parents of the shards that a change makes.
//!
//! A split makes two pieces of one shard, and a merge makes one piece of two. A change to `n` equal shards may need
//! several jobs, because a shard has at most two parents. [`pieces_towards`] computes the next job from the current
//! shards alone:
//!
//! ```text
//! now     |     0     |     1     |     2     |     three shards
//! wanted  |   a    |   b    |   c    |   d    |     four: b is made of 0 and 1, c of 1 and 2
//! ```

use anabranch_types::{HashKey, HashKeyRange, ShardId, limits};

use crate::model::{Shard, ShardStatus, Stream};
use crate::outcome::Refusal;

/// A shard that a job is to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) range: HashKeyRange,
    /// Shards whose hash keys it takes over, by hash key: one or two; none for the first shards of a stream.
    pub(crate) parents: Vec<ShardId>,
}

fn open_shard(stream: &Stream, id: ShardId) -> Result<&Shard, Refusal> {
    let shard = stream.shards.get(&id).ok_or(Refusal::ShardNotFound { shard: id })?;
    match shard.status {
        ShardStatus::Open => Ok(shard),
        ShardStatus::Closed { .. } => Err(Refusal::ShardClosed { shard: id }),
    }
}

/// Two halves of a shard.
///
/// The service wants `at` at least two above the first hash key of the shard, and below the last one.
pub(super) fn split(stream: &Stream, id: ShardId, at: HashKey) -> Result<Vec<Piece>, Refusal> {
    let range = open_shard(stream, id)?.range;
    let (start, end) = (range.start(), range.end());
    let cannot = || Refusal::CannotSplit { shard: id, range, at };
    if at.0.saturating_sub(1) <= start.0 || at >= end {
        return Err(cannot());
    }
    let halves = [(start, HashKey(at.0 - 1)), (at, end)];
    let halves = halves.map(|(start, end)| HashKeyRange::new(start, end).ok_or_else(cannot));
    let piece = |range| Ok(Piece { range: range?, parents: vec![id] });
    halves.into_iter().map(piece).collect()
}

pub(super) fn merge(
    stream: &Stream,
    lower: ShardId,
    upper: ShardId,
) -> Result<Vec<Piece>, Refusal> {
    let (low, high) = (open_shard(stream, lower)?.range, open_shard(stream, upper)?.range);
    let touches = low.end().0.checked_add(1) == Some(high.start().0);
    let range = HashKeyRange::new(low.start(), high.end()).filter(|_| touches);
    let range = range.ok_or(Refusal::NotAdjacent { lower, upper })?;
    Ok(vec![Piece { range, parents: vec![lower, upper] }])
}

/// Refuses more than double and less than half of the current number (documentation of UpdateShardCount).
pub(super) fn check_count(stream: &Stream, target: u32) -> Result<(), Refusal> {
    let current = u32::try_from(stream.open_shards().count()).unwrap_or(u32::MAX);
    let lowest = current.div_ceil(2);
    let highest = current.saturating_mul(2).min(limits::STREAM_MAX_SHARDS);
    if !(lowest..=highest).contains(&target) {
        return Err(Refusal::ShardCount { current, target, lowest, highest });
    }
    Ok(())
}

/// Pieces of the next job on the way to `target` equal shards; empty if the open shards are these.
///
/// A wanted shard that overlaps one or two open shards is made at once. A wanted shard that overlaps more is made in
/// several jobs: this one joins its parts in pairs, and later jobs join the results.
pub(super) fn pieces_towards(stream: &Stream, target: u32) -> Vec<Piece> {
    let mut open: Vec<&Shard> = stream.open_shards().collect();
    open.sort_unstable_by_key(|shard| shard.range);
    let mut pieces = Vec::new();
    for goal in HashKeyRange::split_evenly(target) {
        let first = open.partition_point(|shard| shard.range.end() < goal.start());
        let end = open.partition_point(|shard| shard.range.start() <= goal.end());
        for pair in open[first..end].chunks(2) {
            // The hash keys that the wanted shard and this pair share. If these are all of one open shard, it stays
            // as it is.
            let (Some(low), Some(high)) = (pair.first(), pair.last()) else { continue };
            let start = low.range.start().max(goal.start());
            let Some(range) = HashKeyRange::new(start, high.range.end().min(goal.end())) else {
                continue;
            };
            let parents = pair.iter().map(|shard| shard.id).collect();
            pieces.push((Piece { range, parents }, pair == [*low] && low.range == range));
        }
    }
    pieces.retain(|(_, exists)| !exists);
    pieces.into_iter().map(|(piece, _)| piece).collect()
}
