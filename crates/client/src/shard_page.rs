//! The records of one shard as a reader of the stream gets them: as they are stored, or with aggregated records taken
//! apart.

use std::sync::Arc;

use anabranch_shard::Page;
use anabranch_types::{HashKey, HashKeyRange, SequenceNumber, ShardId, Timestamp};
use bytes::Bytes;

use crate::aggregate::{Aggregate, UserRecord};
use crate::error::Error;
use crate::stream_reader::ReadError;
use crate::view::{ShardRoute, StreamView};

/// A shard that is read. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ReadShard {
    route: Arc<ShardRoute>,
    range: HashKeyRange,
}

impl ReadShard {
    /// `None` if the stream has no such shard.
    pub(crate) fn new(found: StreamView<'_>, shard: ShardId) -> Option<Self> {
        let range = found.stream.shards.get(&shard)?.range;
        Some(Self { route: Arc::clone(found.shard(shard)?), range })
    }

    pub(crate) fn id(&self) -> ShardId {
        self.route.shard
    }

    pub(crate) fn route(&self) -> &ShardRoute {
        &self.route
    }

    pub(crate) fn failed(&self, error: Error) -> ReadError {
        ReadError::Shard { stream: self.route.stream.clone(), shard: self.route.shard, error }
    }
}

/// Neighbouring records of one shard, at least one.
#[derive(Clone, Debug)]
pub struct ShardPage {
    shard: ReadShard,
    page: Page,
}

/// One record, as its producer put it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRecord {
    /// Shard that stores the record.
    pub shard: ShardId,
    /// Sequence number. The user records of one aggregated record share it.
    pub number: SequenceNumber,
    /// Place in the aggregated record, from 0; `None` for a record that was put alone.
    pub place: Option<u32>,
    /// When the stored record arrived at the leader.
    pub arrival: Timestamp,
    /// Partition key, UTF-8.
    pub partition_key: Bytes,
    /// Hash key that the producer gave a user record. A record that was put alone does not tell it.
    pub explicit_hash_key: Option<HashKey>,
    /// Data of the user.
    pub data: Bytes,
}

impl ShardPage {
    pub(crate) fn new(shard: ReadShard, page: Page) -> Self {
        Self { shard, page }
    }

    /// Route to the shard that the records are from.
    pub fn route(&self) -> &ShardRoute {
        self.shard.route()
    }

    /// The page as the shard's replica sent it; its `next` is the position after the last record.
    pub fn page(&self) -> &Page {
        &self.page
    }

    /// The records as they are stored: an aggregated record is one record.
    pub fn stored_records(&self) -> impl Iterator<Item = StreamRecord> + '_ {
        let ShardRoute { shard, birth, .. } = *self.shard.route;
        self.page.records().map(move |(position, arrival, record)| StreamRecord {
            shard,
            number: position.sequence_number(shard, birth, arrival),
            place: None,
            arrival,
            partition_key: record.partition_key,
            explicit_hash_key: None,
            data: record.data,
        })
    }

    /// The records as producers put them: aggregated records are taken apart. A user record whose hash key is outside
    /// of the shard is left out, because its producer sends it again to the shard that it belongs to
    /// ([`UserRecord::hash_key`]).
    pub fn records(&self) -> impl Iterator<Item = StreamRecord> + '_ {
        self.stored_records().flat_map(|stored| {
            let users = Aggregate::parse(&stored.data).map(|all| self.user_records(&stored, &all));
            let alone = users.is_none().then_some(stored);
            users.into_iter().flatten().chain(alone)
        })
    }

    fn user_records(&self, stored: &StreamRecord, aggregate: &Aggregate) -> Vec<StreamRecord> {
        let is_here = |user: &UserRecord| self.shard.range.contains(user.hash_key());
        aggregate.records().filter(is_here).map(|user| stored.user_record(user)).collect()
    }
}

impl StreamRecord {
    /// A user record of this aggregated record.
    fn user_record(&self, user: UserRecord) -> Self {
        Self {
            place: Some(user.place),
            partition_key: user.partition_key,
            explicit_hash_key: user.explicit_hash_key,
            data: user.data,
            ..self.clone()
        }
    }
}
