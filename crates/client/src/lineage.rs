//! The order in which the shards of a stream are read: a child after all of its parents.
//!
//! ```text
//! 0 ─┬─ merged ── 2 ─┬─ 3      0 and 1 can be read at once. 2 follows when both have been read to their ends,
//! 1 ─┘               └─ 4      3 and 4 when 2 has.
//! ```
//!
//! A parent that the catalog lists no more has expired: its children need not wait for it. Records of one partition
//! key are read in the order in which they were acknowledged, because a split or a merge sends all later records to
//! the children. Pure: no clock, no I/O.

use std::collections::BTreeSet;

use anabranch_catalog::{Shard, ShardStatus, Stream};
use anabranch_shard::Position;
use anabranch_types::ShardId;

/// Which shards of a stream a reader has begun to read, and which it has read to their ends.
#[derive(Debug, Default)]
pub(crate) struct Lineage {
    begun: BTreeSet<ShardId>,
    ended: BTreeSet<ShardId>,
}

impl Lineage {
    /// For a reader that skips the shards that are closed in this version of the stream.
    pub(crate) fn from_open(stream: &Stream) -> Self {
        let closed = stream.shards.values().filter(|shard| !shard.is_open());
        let closed: BTreeSet<_> = closed.map(|shard| shard.id).collect();
        Self { begun: closed.clone(), ended: closed }
    }

    /// The shards that can be read from now on: all their parents have been read or have expired. Each shard is
    /// returned once.
    pub(crate) fn begin(&mut self, stream: &Stream) -> Vec<ShardId> {
        let has_ended = |shard: ShardId| self.ended.contains(&shard);
        let can_begin = |shard: &&Shard| {
            !self.begun.contains(&shard.id) && parents_have_ended(stream, shard, has_ended)
        };
        let shards: Vec<_> =
            stream.shards.values().filter(can_begin).map(|shard| shard.id).collect();
        self.begun.extend(&shards);
        shards
    }

    /// The reader has come to the end of `shard`.
    pub(crate) fn end(&mut self, shard: ShardId) {
        self.ended.insert(shard);
    }
}

/// Whether a reader may begin with the shard: it has come to the end of all parents that the stream still lists.
pub fn parents_have_ended(
    stream: &Stream,
    shard: &Shard,
    has_ended: impl Fn(ShardId) -> bool,
) -> bool {
    let mut parents = shard.parents.iter();
    parents.all(|parent| has_ended(*parent) || !stream.shards.contains_key(parent))
}

/// Whether a reader that reads on at `next` has come to the end of the shard: it is closed, and its last record is
/// before `next`.
pub(crate) fn is_over(shard: &Shard, next: Position) -> bool {
    end_of_shard(shard).is_some_and(|end| next >= end)
}

/// The position after the last record of a closed shard. `None` for an open one.
pub fn end_of_shard(shard: &Shard) -> Option<Position> {
    match shard.status {
        ShardStatus::Open => None,
        ShardStatus::Closed { ending, .. } => Some(Position::of(ending).next()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use anabranch_catalog::{
        Distribution, Encryption, RecentChanges, ShardMetrics, StreamId, StreamMode, StreamStatus,
    };
    use anabranch_types::{GroupId, HashKeyRange, SequenceNumber, Timestamp};

    use super::*;

    /// Shards by number: their parents, and whether they are closed.
    fn stream(shards: &[(u32, &[u32], bool)]) -> Stream {
        let created = Timestamp::from_millis(1_000);
        let shard = |(number, parents, is_closed): &(u32, &[u32], bool)| {
            let id = ShardId(*number);
            let ending = SequenceNumber::shard_start(id, created, created);
            let closed = ShardStatus::Closed { ending, at: created };
            let shard = Shard {
                id,
                group: GroupId(u64::from(*number) + 1),
                born: 0,
                parents: parents.iter().copied().map(ShardId).collect(),
                range: HashKeyRange::FULL,
                created,
                birth: created,
                status: if *is_closed { closed } else { ShardStatus::Open },
                replicas: Vec::new(),
                moving: None,
            };
            (id, shard)
        };
        Stream {
            id: StreamId(1),
            created,
            status: StreamStatus::Active,
            mode: StreamMode::Provisioned,
            warm_throughput_mibps: 0,
            retention_hours: 24,
            max_record_size_kib: 1024,
            tags: BTreeMap::new(),
            replicas: 3,
            shards: shards.iter().map(shard).collect(),
            next_shard: 9,
            job: None,
            target_shards: None,
            consumers: BTreeMap::new(),
            policy: None,
            shard_metrics: ShardMetrics::default(),
            distribution: Distribution::default(),
            encryption: Encryption::default(),
            recent_changes: RecentChanges::default(),
            newest_gone: created,
        }
    }

    fn ids(shards: &[ShardId]) -> Vec<u32> {
        shards.iter().map(|shard| shard.0).collect()
    }

    #[test]
    fn children_begin_when_all_their_parents_have_been_read() {
        // 0 and 1 merged into 2, which was split into 3 and 4.
        let stream = stream(&[
            (0, &[], true),
            (1, &[], true),
            (2, &[0, 1], true),
            (3, &[2], false),
            (4, &[2], false),
        ]);
        let mut lineage = Lineage::default();
        assert_eq!(ids(&lineage.begin(&stream)), [0, 1]);
        lineage.end(ShardId(1));
        assert_eq!(ids(&lineage.begin(&stream)), [0; 0]);
        lineage.end(ShardId(0));
        assert_eq!(ids(&lineage.begin(&stream)), [2]);
        lineage.end(ShardId(2));
        assert_eq!(ids(&lineage.begin(&stream)), [3, 4]);
        assert_eq!(ids(&lineage.begin(&stream)), [0; 0]);
    }

    #[test]
    fn a_shard_whose_parents_have_expired_can_be_read_at_once() {
        let stream = stream(&[(3, &[2], true), (5, &[3, 4], false)]);
        let mut lineage = Lineage::default();
        assert_eq!(ids(&lineage.begin(&stream)), [3]);
        lineage.end(ShardId(3));
        assert_eq!(ids(&lineage.begin(&stream)), [5]);
    }

    #[test]
    fn a_reader_of_new_records_begins_with_the_open_shards() {
        let stream = stream(&[(0, &[], true), (1, &[0], false), (2, &[0], false)]);
        let mut lineage = Lineage::from_open(&stream);
        assert_eq!(ids(&lineage.begin(&stream)), [1, 2]);
    }

    #[test]
    fn a_shard_is_over_after_its_last_record() {
        let stream = stream(&[(0, &[], true), (1, &[0], false)]);
        let shard = &stream.shards[&ShardId(0)];
        assert!(!is_over(shard, Position::default()));
        assert!(is_over(shard, Position::default().next()));
        assert!(!is_over(&stream.shards[&ShardId(1)], Position::entry(9)));
    }
}
