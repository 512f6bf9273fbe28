//! A page of records, as responses of GetRecords and events of SubscribeToShard contain it.
//!
//! Both write the same members: the records, the distance from the tip, and after the last record of a closed shard
//! its children. A reader knows from the children that the shard has ended.

use anabranch_aws::wire::Writer;
use anabranch_catalog::{Shard, ShardStatus, Stream};
use anabranch_client::{Page, ShardRoute};
use anabranch_shard::Position;
use anabranch_types::{HashKeyRange, ShardId, StreamName};

use super::shards;
use super::stream_encryption::write_if_encrypted;
use crate::kinesis::Kinesis;
use crate::lineage::Lineage;

/// Memory of a response in thirds of the bytes of its records: the records themselves (3), their base64 (4), keys and
/// numbers (1).
pub(super) const COST_THIRDS: usize = 8;

/// `ChildShard` of the API reference.
#[derive(Debug)]
pub(crate) struct ChildShard {
    id: ShardId,
    parents: Vec<ShardId>,
    range: HashKeyRange,
}

/// Bytes of data and partition keys in a page.
pub(super) fn bytes(page: &Page) -> usize {
    page.records().map(|(_, _, record)| record.data.len() + record.partition_key.len()).sum()
}

/// Returns the children of the shard if the shard is closed and `page` was its last page. Looks at the view of this
/// moment, because the shard may have been closed after the read began.
pub(super) fn end(
    kinesis: &Kinesis,
    stream: &StreamName,
    shard: ShardId,
    page: &Page,
) -> Option<Vec<ChildShard>> {
    let view = kinesis.cluster.view();
    let stream = view.stream(stream)?.stream;
    let shard = stream.shards.get(&shard)?;
    is_drained(shard, page.next).then(|| children(stream, shard.id))
}

fn is_drained(shard: &Shard, next: Position) -> bool {
    match shard.status {
        ShardStatus::Open => false,
        ShardStatus::Closed { ending, .. } => next > Position::of(ending),
    }
}

fn children(stream: &Stream, shard: ShardId) -> Vec<ChildShard> {
    let lineage = Lineage::of(stream);
    let child = |id: &ShardId| {
        let child = stream.shards.get(id)?;
        Some(ChildShard { id: *id, parents: child.parents.clone(), range: child.range })
    };
    lineage.children(shard).iter().filter_map(child).collect()
}

/// `RecordList` of the API reference.
pub(super) fn write_records(w: &mut Writer, page: &Page, route: &ShardRoute) {
    for (position, arrival, record) in page.records() {
        let encrypted = page.is_encrypted(position);
        let number = position.sequence_number(route.shard, route.birth, arrival);
        w.structure(|w| {
            w.member("SequenceNumber").plain(number);
            w.member("ApproximateArrivalTimestamp").timestamp(arrival);
            w.member("Data").blob(&record.data);
            if !record.partition_key.is_empty() {
                let key = String::from_utf8_lossy(&record.partition_key);
                w.member("PartitionKey").text(&key);
            }
            write_if_encrypted(w, encrypted);
        });
    }
}

/// Writes the distance from the tip, and the children if this is the end of the shard.
pub(super) fn write_end(w: &mut Writer, page: &Page, children: &[ChildShard]) {
    // No record comes after the end of a closed shard. The replica that served the page may have been behind, but its
    // lag does not matter here.
    let behind = if children.is_empty() { page.behind.as_millis() } else { 0 };
    let behind = u64::try_from(behind).unwrap_or(u64::MAX);
    w.member("MillisBehindLatest").number(behind);
    if !children.is_empty() {
        w.member("ChildShards").list(|w| children.iter().for_each(|child| child.write(w)));
    }
}

impl ChildShard {
    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            w.member("ShardId").plain(self.id);
            w.member("ParentShards").list(|w| self.parents.iter().for_each(|id| w.plain(id)));
            shards::write_range(w.member("HashKeyRange"), self.range);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lineage::tests::stream;

    #[test]
    fn a_closed_shard_is_drained_after_its_last_record() {
        let mut stream =
            stream(&[(0, 8, &[], 1, Some(2)), (0, 4, &[0], 2, None), (4, 8, &[0], 2, None)]);
        let ending = Position { log_index: 9, offset: 4 };
        let shard = stream.shards.get_mut(&ShardId(0)).unwrap();
        let ending_number = ending.sequence_number(shard.id, shard.birth, shard.created);
        shard.status = ShardStatus::Closed { ending: ending_number, at: shard.created };
        assert!(!is_drained(shard, ending));
        assert!(is_drained(shard, ending.next()));
        let children = children(&stream, ShardId(0));
        assert_eq!(children.iter().map(|child| child.id.0).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(children[0].parents, [ShardId(0)]);
        assert!(!is_drained(&stream.shards[&ShardId(1)], Position::entry(u64::MAX)));
    }
}
