//! Appends the records of one call to their shards.
//!
//! Order of events, repeated until no record is pending or the deadline is reached:
//!
//! ```text
//! pending records
//!   | group_by_shard: one ShardBatch for each open shard
//!   |                 no open shard: unrouted, pending again
//!   v
//!   | recall_all: an earlier attempt stored the record in a closed shard: done
//!   v
//!   | append_all: the leader of the shard stores the batch: done
//!   |             the shard is closed or frozen: pending again
//!   v             any other error: failed
//! outcomes
//! ```
//!
//! A record is unrouted while no open shard covers its hash key, for example during a split. Pending records wait for
//! a newer version of the catalog. The outcomes have the order of the request. A record without a known outcome is
//! reported as an internal failure, so that the client sends it again.

use std::sync::Arc;
use std::time::Duration;

use anabranch_aws::wire::Blob;
use anabranch_client as client;
use anabranch_client::{ShardRoute, View};
use anabranch_shard::{Batch, BatchBuilder, DeduplicationWindow, Producer, Run};
use anabranch_types::{GroupId, HashKey, SequenceNumber, ShardId, StreamName, Timestamp};
use futures::future::join_all;
use tokio::time::Instant;

use crate::error::Error;
use crate::kinesis::Kinesis;
use crate::lineage;

/// One record of a call, before it has a position.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// Stored together with the data.
    pub partition_key: &'a str,
    /// Hash key that decides the shard.
    pub hash: HashKey,
    /// The user's bytes.
    pub data: &'a Blob<'a>,
}

/// Shard and sequence number of a stored record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredRecord {
    /// Its shard.
    pub shard: ShardId,
    /// Its number.
    pub number: SequenceNumber,
}

/// The name of a call. Leaders of shards recognise a retry of the call by it (`call_name.rs`).
#[derive(Clone, Debug)]
pub(crate) struct NamedCall {
    pub producer: Producer,
    /// Whether the client may send the call again with the same name.
    pub may_be_retried: bool,
}

/// The result for one record.
pub(crate) type Outcome = Result<StoredRecord, Error>;

/// The records of one call that go to one shard.
struct ShardBatch {
    route: Arc<ShardRoute>,
    /// Index of each record in the call, in the order of the batch.
    indexes: Vec<usize>,
    records: Batch,
}

/// First and longest wait for a catalog version with open shards for the pending records.
const FIRST_WAIT: Duration = Duration::from_millis(5);
const LONGEST_WAIT: Duration = Duration::from_millis(200);
/// How long after a shard was closed its leader is asked for records of earlier attempts. The deduplication window is
/// measured with the clocks of two machines, which may differ by half a minute.
const RECALLED_FOR: Duration = DeduplicationWindow::LENGTH.saturating_add(Duration::from_secs(30));

/// Appends the records. Returns the outcome of each record, in the order of `entries`.
pub(crate) async fn append(
    kinesis: &Kinesis,
    stream: &StreamName,
    entries: &[Entry<'_>],
    call: &NamedCall,
) -> Vec<Outcome> {
    let deadline = Instant::now() + kinesis.settings.reroute_timeout;
    let mut outcomes: Vec<Outcome> = entries.iter().map(|_| Err(Error::Internal)).collect();
    let mut pending: Vec<usize> = (0..entries.len()).collect();
    let mut wait = FIRST_WAIT;
    loop {
        let view = kinesis.cluster.view();
        if let Err(error) = kinesis.find_for_data(&view, stream) {
            fail(&mut outcomes, &pending, &error);
            return outcomes;
        }
        let (batches, unrouted) = group_by_shard(&view, stream, entries, &pending, &call.producer);
        pending = unrouted;
        let batches = if call.may_be_retried {
            recall_all(kinesis, &view, batches, &mut outcomes).await
        } else {
            batches
        };
        for (batch, result) in append_all(kinesis, batches).await {
            match result {
                Ok(runs) => settle(&mut outcomes, &batch, &runs),
                // The shard refused the whole batch, so no record of it is stored there. This holds whatever happened
                // to earlier attempts.
                Err(client::Error::Closed | client::Error::Frozen) => {
                    pending.extend(&batch.indexes)
                }
                Err(error) => {
                    let subject = || shard_subject(kinesis, &batch.route);
                    fail(&mut outcomes, &batch.indexes, &Error::from_client(error, subject));
                }
            }
        }
        if pending.is_empty() || Instant::now() + wait > deadline {
            return outcomes;
        }
        pending.sort_unstable();
        kinesis.cluster.newer_view(view.catalog().version, wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

async fn append_all(
    kinesis: &Kinesis,
    batches: Vec<ShardBatch>,
) -> Vec<(ShardBatch, Result<Vec<Run>, client::Error>)> {
    join_all(batches.into_iter().map(async |batch| {
        let result = kinesis.cluster.append(&batch.route, batch.records.clone()).await;
        (batch, result)
    }))
    .await
}

/// Finds the records that an earlier attempt of the call put into shards that were split or merged since then.
/// Returns the records that are still to be appended. A shard that is still open needs no question, because its
/// leader recognises retries when it appends.
///
/// Attempts may arrive in any order. The first attempt may have been delayed in the network until a later attempt was
/// acknowledged and the shard was closed. A closed shard never takes a record again, so its response is final.
async fn recall_all(
    kinesis: &Kinesis,
    view: &View,
    batches: Vec<ShardBatch>,
    outcomes: &mut [Outcome],
) -> Vec<ShardBatch> {
    let oldest = kinesis.clock.now().minus(RECALLED_FOR);
    let recalled = batches.into_iter().map(async |batch| {
        let closed = recently_closed(view, &batch.route, oldest);
        recall(kinesis, &closed, batch).await
    });
    let mut left = Vec::new();
    for Recalled { rest, decided } in join_all(recalled).await {
        left.extend(rest);
        decided.into_iter().for_each(|(index, outcome)| outcomes[index] = outcome);
    }
    left
}

/// The closed shards from which the shard of `route` descends, if they were closed at `oldest` or later.
fn recently_closed(view: &View, route: &ShardRoute, oldest: Timestamp) -> Vec<Arc<ShardRoute>> {
    let Some(stream) = view.stream(&route.stream) else { return Vec::new() };
    let closed = lineage::closed_since(stream.stream, route.shard, oldest);
    closed.into_iter().filter_map(|shard| stream.shard(shard.id).map(Arc::clone)).collect()
}

/// The result of a search for the records of a batch in closed shards.
struct Recalled {
    /// The records that no closed shard has. `None` if none is left.
    rest: Option<ShardBatch>,
    /// The outcomes of the other records, by index in the call.
    decided: Vec<(usize, Outcome)>,
}

/// Searches the records of `batch` in `shards`, which are closed.
async fn recall(kinesis: &Kinesis, shards: &[Arc<ShardRoute>], mut batch: ShardBatch) -> Recalled {
    let mut decided = Vec::new();
    for route in shards {
        let known = match kinesis.cluster.recall(route, &batch.records).await {
            Ok(known) => known,
            Err(client::Error::NotFound) => continue,
            Err(error) => {
                let error = Error::from_client(error, || shard_subject(kinesis, route));
                decided.extend(batch.indexes.iter().map(|index| (*index, Err(error.clone()))));
                return Recalled { rest: None, decided };
            }
        };
        for (index, run) in batch.indexes.iter().zip(&known) {
            let Some(run) = run else { continue };
            let number = run.first.sequence_number(route.shard, route.birth, run.arrival);
            decided.push((*index, Ok(StoredRecord { shard: route.shard, number })));
        }
        let is_new = |nth: usize| known.get(nth).is_none_or(Option::is_none);
        let indexes = (0..).zip(&batch.indexes).filter(|(nth, _)| is_new(*nth));
        batch.indexes = indexes.map(|(_, index)| *index).collect();
        let Some(records) = batch.records.retain(is_new) else {
            return Recalled { rest: None, decided };
        };
        batch.records = records;
    }
    Recalled { rest: Some(batch), decided }
}

/// Makes one batch for each open shard. Also returns the records that no open shard covers at the moment.
fn group_by_shard(
    view: &View,
    stream: &StreamName,
    entries: &[Entry<'_>],
    pending: &[usize],
    producer: &Producer,
) -> (Vec<ShardBatch>, Vec<usize>) {
    let mut unrouted = Vec::new();
    let mut routed: Vec<(GroupId, usize, &Arc<ShardRoute>)> = Vec::with_capacity(pending.len());
    let found = view.stream(stream);
    for &index in pending {
        match found.and_then(|stream| stream.shard_for(entries[index].hash)) {
            Some(route) => routed.push((route.group, index, route)),
            None => unrouted.push(index),
        }
    }
    routed.sort_unstable_by_key(|(group, index, _)| (*group, *index));
    let same_group = |a: &(GroupId, usize, _), b: &(GroupId, usize, _)| a.0 == b.0;
    let batches = routed.chunk_by(same_group).map(|chunk| {
        let members = || chunk.iter().map(|(_, index, _)| (*index, &entries[*index]));
        let bytes = members().map(|(_, entry)| entry.data.len() + entry.partition_key.len()).sum();
        let mut builder = BatchBuilder::with_room(Some(producer.clone()), chunk.len(), bytes);
        for (index, Entry { partition_key, data, .. }) in members() {
            let index = u32::try_from(index).expect("a call has at most 500 records");
            let write = |out: &mut Vec<u8>| data.append_to(out);
            builder.push_with(index, partition_key.as_bytes(), data.len(), write);
        }
        let mut records = builder.finish().expect("a chunk has 1 to 500 records");
        let route = Arc::clone(chunk[0].2);
        if route.is_measured {
            let keys = members().flat_map(|(_, entry)| entry.hash.0.to_be_bytes());
            records = records.with_hash_keys(keys.collect());
        }
        let indexes = chunk.iter().map(|(_, index, _)| *index).collect();
        ShardBatch { route, indexes, records }
    });
    (batches.collect(), unrouted)
}

/// Writes the outcomes of an appended batch. A record for which the leader named no position keeps `Internal`: its
/// outcome is unknown.
fn settle(outcomes: &mut [Outcome], batch: &ShardBatch, runs: &[Run]) {
    let ShardRoute { shard, birth, .. } = *batch.route;
    let positions = runs.iter().flat_map(|run| {
        let successors = std::iter::successors(Some(run.first), |position| Some(position.next()));
        successors.take(run.records as usize).map(|position| (position, run.arrival))
    });
    for (index, (position, arrival)) in batch.indexes.iter().zip(positions) {
        let number = position.sequence_number(shard, birth, arrival);
        outcomes[*index] = Ok(StoredRecord { shard, number });
    }
}

fn fail(outcomes: &mut [Outcome], indexes: &[usize], error: &Error) {
    for index in indexes {
        outcomes[*index] = Err(error.clone());
    }
}

fn shard_subject(kinesis: &Kinesis, route: &ShardRoute) -> String {
    let account = &kinesis.account;
    format!("shard {} in stream {} under account {account}", route.shard, route.stream)
}

#[cfg(test)]
mod cost;
