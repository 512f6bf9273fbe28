//! The family tree of the shards of a stream.
//!
//! The catalog stores the parents of each shard. [`Lineage`] is the other direction, from a shard to its children.
//! [`closed_since`] follows the parents.
//!
//! ```text
//!   split:  1 --> 2, 3        merge:  0, 2 --> 4
//! ```

use std::collections::BTreeMap;

use anabranch_catalog::{Shard, ShardStatus, Stream};
use anabranch_types::{ShardId, Timestamp};

/// The children of each shard in one version of a stream.
#[derive(Debug, Default)]
pub(crate) struct Lineage(BTreeMap<ShardId, Vec<ShardId>>);

impl Lineage {
    /// Collects the children from the parents that each shard names.
    pub(crate) fn of(stream: &Stream) -> Self {
        let mut lineage = Self::default();
        for shard in stream.shards.values() {
            for parent in &shard.parents {
                lineage.0.entry(*parent).or_default().push(shard.id);
            }
        }
        lineage
    }

    /// The shards that continue the closed `shard`, by number.
    pub(crate) fn children(&self, shard: ShardId) -> &[ShardId] {
        self.0.get(&shard).map(Vec::as_slice).unwrap_or_default()
    }
}

/// The ancestors of `shard` that were closed at `oldest` or later and that the catalog still has, parents before
/// grandparents. The search stops at a shard that was closed before `oldest`: its own ancestors were closed even
/// earlier, because a shard is created when its parents are closed.
pub(crate) fn closed_since<'a>(
    stream: &'a Stream,
    shard: ShardId,
    oldest: Timestamp,
) -> Vec<&'a Shard> {
    let mut found: Vec<&'a Shard> = Vec::new();
    let mut next = vec![shard];
    while let Some(shard) = next.pop() {
        let parents = stream.shards.get(&shard).map(|shard| shard.parents.as_slice());
        for parent in parents.unwrap_or_default() {
            if let Some(parent) = stream.shards.get(parent)
                && matches!(parent.status, ShardStatus::Closed { at, .. } if at >= oldest)
                && found.iter().all(|known| known.id != parent.id)
            {
                found.push(parent);
                next.push(parent.id);
            }
        }
    }
    found
}

#[cfg(test)]
pub(crate) mod tests {
    use anabranch_catalog::samples;
    use anabranch_types::{HashKey, HashKeyRange};

    use super::*;

    /// A shard for tests: first and last eighth of its hash key range, parents, creation second, closing second.
    pub(crate) type Row<'a> = (u32, u32, &'a [u32], u64, Option<u64>);

    /// A stream with these shards.
    pub(crate) fn stream(shards: &[Row<'_>]) -> Stream {
        const EIGHTH: u128 = 1 << 125;
        let shard = |(number, (from, to, parents, created, closed)): (u32, &Row<'_>)| {
            let start = HashKey(u128::from(*from) * EIGHTH);
            let end = HashKey(u128::from(*to).wrapping_mul(EIGHTH).wrapping_sub(1));
            let second = |second| Timestamp::from_millis(second * 1000);
            let created = second(*created);
            let shard = Shard {
                range: HashKeyRange::new(start, end).unwrap(),
                parents: parents.iter().copied().map(ShardId).collect(),
                created,
                birth: created,
                ..samples::shard(number)
            };
            match closed {
                Some(at) => samples::closed(shard, second(*at)),
                None => shard,
            }
        };
        samples::stream((0..).zip(shards).map(shard))
    }

    #[test]
    fn children_and_closed_ancestors_are_found() {
        // Shards 0 and 1 come first. 1 is split into 2 and 3. 0 and 2 are merged into 4. 4 is split into 5 and 6.
        let stream = stream(&[
            (0, 4, &[], 1, Some(3)),
            (4, 8, &[], 1, Some(2)),
            (4, 6, &[1], 2, Some(3)),
            (6, 8, &[1], 2, None),
            (0, 6, &[0, 2], 3, Some(4)),
            (0, 1, &[4], 4, None),
            (1, 6, &[4], 4, None),
        ]);
        let lineage = Lineage::of(&stream);
        let ids = |shards: &[ShardId]| shards.iter().map(|id| id.0).collect::<Vec<_>>();
        assert_eq!(ids(lineage.children(ShardId(1))), [2, 3]);
        assert_eq!(ids(lineage.children(ShardId(4))), [5, 6]);
        assert_eq!(ids(lineage.children(ShardId(6))), [0; 0]);
        let closed = |shard, second: u64| {
            let oldest = Timestamp::from_millis(second * 1000);
            let found = closed_since(&stream, ShardId(shard), oldest);
            found.iter().map(|shard| shard.id.0).collect::<Vec<_>>()
        };
        assert_eq!(closed(6, 0), [4, 0, 2, 1]);
        assert_eq!(closed(6, 3), [4, 0, 2]);
        assert_eq!(closed(6, 4), [4]);
        assert_eq!([closed(3, 2), closed(3, 3), closed(0, 0)], [vec![1], vec![], vec![]]);
    }
}
