//! Which shards of a stream came from which.
//!
//! The catalog keeps no parents yet, but ranges and numbers say the same: a shard's parents are the
//! newest older shards that covered its range when it was created.

use std::collections::BTreeMap;

use anabranch_catalog::{Shard, ShardStatus, Stream};
use anabranch_types::{HashKey, HashKeyRange, ShardId, Timestamp};

/// Parents and children of the shards of one version of a stream.
#[derive(Debug, Default)]
pub(crate) struct Lineage {
    parents: BTreeMap<ShardId, Vec<ShardId>>,
    children: BTreeMap<ShardId, Vec<ShardId>>,
}

impl Lineage {
    /// Works it out. Costs nothing while no shard has been closed.
    pub(crate) fn of(stream: &Stream) -> Self {
        let mut lineage = Self::default();
        if stream.shards.values().all(|shard| shard.status == ShardStatus::Open) {
            return lineage;
        }
        for shard in stream.shards.values() {
            for parent in parents(stream, shard) {
                lineage.parents.entry(shard.id).or_default().push(parent);
                lineage.children.entry(parent).or_default().push(shard.id);
            }
        }
        lineage
    }

    /// The shards that `shard` was split or merged from, by range; empty for a first shard or when
    /// they have expired.
    pub(crate) fn parents(&self, shard: ShardId) -> &[ShardId] {
        self.parents.get(&shard).map(Vec::as_slice).unwrap_or_default()
    }

    /// The shards that go on where `shard` ended, by number.
    pub(crate) fn children(&self, shard: ShardId) -> &[ShardId] {
        self.children.get(&shard).map(Vec::as_slice).unwrap_or_default()
    }

    /// When a closed shard was closed: when its first child was created.
    pub(crate) fn closed_at(&self, stream: &Stream, shard: &Shard) -> Option<Timestamp> {
        let ShardStatus::Closed { ending } = shard.status else { return None };
        let children = self.children(shard.id).iter().filter_map(|id| stream.shards.get(id));
        let last_arrival = || Timestamp::from_millis(ending.parts().arrival_seconds * 1000);
        Some(children.map(|child| child.created).min().unwrap_or_else(last_arrival))
    }
}

/// Goes back from `shard` and takes every shard that covers what no newer one has covered.
fn parents(stream: &Stream, shard: &Shard) -> Vec<ShardId> {
    let (mut found, mut uncovered) = (Vec::new(), vec![shard.range]);
    for older in stream.shards.range(..shard.id).rev().map(|(_, older)| older) {
        let left: Vec<_> = uncovered.iter().flat_map(|part| minus(*part, older.range)).collect();
        if left != uncovered {
            // A sibling's range never overlaps, and an open shard is nobody's parent.
            found.push((older.range, older.id));
            uncovered = left;
        }
        if uncovered.is_empty() {
            break;
        }
    }
    found.sort();
    found.into_iter().map(|(_, id)| id).collect()
}

/// What is left of `range` without `taken`.
fn minus(range: HashKeyRange, taken: HashKeyRange) -> impl Iterator<Item = HashKeyRange> {
    let below = taken.start().0.checked_sub(1).map(HashKey);
    let above = taken.end().0.checked_add(1).map(HashKey);
    let lower = below.and_then(|end| HashKeyRange::new(range.start(), end.min(range.end())));
    let upper = above.and_then(|start| HashKeyRange::new(start.max(range.start()), range.end()));
    lower.into_iter().chain(upper)
}

#[cfg(test)]
pub(crate) mod tests {
    use anabranch_catalog::{StreamId, StreamMode, StreamStatus};
    use anabranch_types::{GroupId, SequenceNumber};

    use super::*;

    /// A stream whose shards have these ranges (in 1/8 of the space), creation seconds and states.
    pub(crate) fn stream(shards: &[(u32, u32, u64, bool)]) -> Stream {
        const EIGHTH: u128 = 1 << 125;
        let shard = |(number, (from, to, created, open)): (u32, &(u32, u32, u64, bool))| {
            let start = HashKey(u128::from(*from) * EIGHTH);
            let end = HashKey(u128::from(*to).wrapping_mul(EIGHTH).wrapping_sub(1));
            let (id, created) = (ShardId(number), Timestamp::from_millis(created * 1000));
            let ending = SequenceNumber::shard_start(id, created);
            let status = if *open { ShardStatus::Open } else { ShardStatus::Closed { ending } };
            let (range, group) =
                (HashKeyRange::new(start, end).unwrap(), GroupId(u64::from(number) + 1));
            (id, Shard { id, group, range, created, status, replicas: Vec::new() })
        };
        Stream {
            id: StreamId(1),
            created: Timestamp::from_millis(1_000),
            status: StreamStatus::Active,
            mode: StreamMode::Provisioned,
            retention_hours: 24,
            max_record_size_kib: 1024,
            tags: BTreeMap::new(),
            shards: (0..).zip(shards).map(shard).collect(),
        }
    }

    #[test]
    fn a_stream_without_closed_shards_has_no_lineage() {
        let stream = stream(&[(0, 4, 1, true), (4, 8, 1, true)]);
        let lineage = Lineage::of(&stream);
        assert!(lineage.parents(ShardId(1)).is_empty() && lineage.children(ShardId(0)).is_empty());
    }

    #[test]
    fn splits_and_merges_are_found() {
        // 0 and 1 first; 1 split into 2 and 3; 0 and 2 merged into 4; 4 split into 5 and 6.
        let stream = stream(&[
            (0, 4, 1, false),
            (4, 8, 1, false),
            (4, 6, 2, false),
            (6, 8, 2, true),
            (0, 6, 3, false),
            (0, 1, 4, true),
            (1, 6, 4, true),
        ]);
        let lineage = Lineage::of(&stream);
        let ids = |shards: &[ShardId]| shards.iter().map(|id| id.0).collect::<Vec<_>>();
        assert_eq!(ids(lineage.parents(ShardId(2))), [1]);
        assert_eq!(ids(lineage.parents(ShardId(3))), [1]);
        assert_eq!(ids(lineage.parents(ShardId(4))), [0, 2]);
        assert_eq!(ids(lineage.parents(ShardId(6))), [4]);
        assert_eq!(ids(lineage.children(ShardId(1))), [2, 3]);
        assert_eq!(ids(lineage.children(ShardId(4))), [5, 6]);
        assert_eq!(ids(lineage.parents(ShardId(0))), [0; 0]);
        let closed = lineage.closed_at(&stream, &stream.shards[&ShardId(1)]);
        assert_eq!(closed, Some(Timestamp::from_millis(2000)));
    }
}
