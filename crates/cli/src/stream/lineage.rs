//! The order in which the shards of a stream are read: a child comes after all its parents.
//!
//! So the records of one partition key are printed in the order of their puts, also through splits and merges.

use std::collections::BTreeSet;

use anabranch_catalog::{Shard, ShardStatus, Stream};
use anabranch_shard::Position;
use anabranch_types::ShardId;

/// The shards of a stream that a reader has begun, and the shards that it has read to the end.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    begun: BTreeSet<ShardId>,
    ended: BTreeSet<ShardId>,
}

impl Lineage {
    /// For a reader that starts at the tip: shards that are closed in this version of the stream count as read.
    pub(super) fn from_open(stream: &Stream) -> Self {
        let closed = stream.shards.values().filter(|shard| !shard.is_open());
        let closed: BTreeSet<_> = closed.map(|shard| shard.id).collect();
        Self { begun: closed.clone(), ended: closed }
    }

    /// Begins the shards that can be read now and were not begun before: all their parents have been read to the end,
    /// or have expired.
    pub(super) fn begin(&mut self, stream: &Stream) -> Vec<ShardId> {
        let is_read =
            |parent: &ShardId| self.ended.contains(parent) || !stream.shards.contains_key(parent);
        let can_begin =
            |shard: &&Shard| !self.begun.contains(&shard.id) && shard.parents.iter().all(is_read);
        let shards: Vec<_> =
            stream.shards.values().filter(can_begin).map(|shard| shard.id).collect();
        self.begun.extend(&shards);
        shards
    }

    /// Notes that a shard was read to its end.
    pub(super) fn end(&mut self, shard: ShardId) {
        self.ended.insert(shard);
    }
}

/// Whether no record can be at `next` or later: the shard is closed, and its last record is before `next`.
pub(super) fn is_over(shard: &Shard, next: Position) -> bool {
    match shard.status {
        ShardStatus::Open => false,
        ShardStatus::Closed { ending, .. } => next > Position::of(ending),
    }
}

#[cfg(test)]
mod tests {
    use anabranch_catalog::samples;

    use super::*;

    /// A stream with these shards: number, parents, and whether the shard is closed.
    fn stream(shards: &[(u32, &[u32], bool)]) -> Stream {
        let shard = |(number, parents, is_closed): &(u32, &[u32], bool)| {
            let parents = parents.iter().copied().map(ShardId).collect();
            let shard = Shard { parents, ..samples::shard(*number) };
            if *is_closed { samples::closed(shard, samples::CREATED) } else { shard }
        };
        samples::stream(shards.iter().map(shard))
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
    fn a_shard_with_expired_parents_can_begin_at_once() {
        let stream = stream(&[(3, &[2], true), (5, &[3, 4], false)]);
        let mut lineage = Lineage::default();
        assert_eq!(ids(&lineage.begin(&stream)), [3]);
        lineage.end(ShardId(3));
        assert_eq!(ids(&lineage.begin(&stream)), [5]);
    }

    #[test]
    fn a_reader_from_the_tip_begins_with_the_open_shards() {
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
