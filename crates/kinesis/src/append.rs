//! Records of one call on their way to their shards: grouped, appended side by side, and sent again
//! where a shard was closed under them.

use std::sync::Arc;
use std::time::Duration;

use anabranch_aws::wire::Blob;
use anabranch_client as client;
use anabranch_client::{ShardRoute, View};
use anabranch_shard::{Batch, BatchBuilder, DuplicateWindow, Producer, Run};
use anabranch_types::{GroupId, HashKey, SequenceNumber, ShardId, StreamName, Timestamp};
use futures::future::join_all;
use tokio::time::Instant;

use crate::error::Error;
use crate::kinesis::Kinesis;
use crate::lineage;

/// One record of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// Stored with the data.
    pub partition_key: &'a str,
    /// Decides the shard.
    pub hash: HashKey,
    /// What the user stores.
    pub data: &'a Blob<'a>,
}

/// Where a record stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Its shard.
    pub shard: ShardId,
    /// Its number.
    pub number: SequenceNumber,
}

/// The name of a call, by which leaders of shards recognise a retry of it (`call_name.rs`).
#[derive(Clone, Debug)]
pub(crate) struct NamedCall {
    pub producer: Producer,
    /// Whether the client may send the call again under the same name.
    pub may_be_retried: bool,
}

/// What came of one record.
pub(crate) type Outcome = Result<Placed, Error>;

/// The records of one call that go to one shard.
struct Group {
    route: Arc<ShardRoute>,
    /// Indexes in the call, in the order of the batch.
    places: Vec<usize>,
    batch: Batch,
}

/// First and longest wait for the catalog to show the shards that go on where one was closed.
const FIRST_WAIT: Duration = Duration::from_millis(5);
const LONGEST_WAIT: Duration = Duration::from_millis(200);
/// How long after a shard was closed its leader's memory of calls is asked for, by two machines' clocks, which may be half
/// a minute apart.
const RECALLED_FOR: Duration = DuplicateWindow::LENGTH.saturating_add(Duration::from_secs(30));

/// Appends the records and says for each, in their order, where it stands or why it doesn't.
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
        let (groups, homeless) = group(&view, stream, entries, &pending, &call.producer);
        pending = homeless;
        let groups = if call.may_be_retried {
            recall_all(kinesis, &view, groups, &mut outcomes).await
        } else {
            groups
        };
        for (group, result) in append_all(kinesis, groups).await {
            match result {
                Ok(runs) => settle(&mut outcomes, &group, &runs),
                // Nothing of it stands there, whatever became of earlier attempts.
                Err(client::Error::Closed | client::Error::Frozen) => pending.extend(&group.places),
                Err(error) => {
                    let subject = || shard_subject(kinesis, &group.route);
                    fail(&mut outcomes, &group.places, &Error::from_client(error, subject));
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
    groups: Vec<Group>,
) -> Vec<(Group, Result<Vec<Run>, client::Error>)> {
    join_all(groups.into_iter().map(async |group| {
        let result = kinesis.cluster.append(&group.route, group.batch.clone()).await;
        (group, result)
    }))
    .await
}

/// Finds the records that another attempt of the call put into shards that were split or merged since, and gives what is
/// left to append. A shard's own leader knows of attempts there.
///
/// Any attempt may be the last to arrive: the first one may have been on its way while a later one was acknowledged and
/// the shard was closed. A closed shard takes no record any more, so what it doesn't know now it never will.
async fn recall_all(
    kinesis: &Kinesis,
    view: &View,
    groups: Vec<Group>,
    outcomes: &mut [Outcome],
) -> Vec<Group> {
    let oldest = kinesis.clock.now().minus(RECALLED_FOR);
    let recalled = groups.into_iter().map(async |group| {
        let closed = recently_closed(view, &group.route, oldest);
        recall(kinesis, &closed, group).await
    });
    let mut left = Vec::new();
    for Recalled { rest, decided } in join_all(recalled).await {
        left.extend(rest);
        decided.into_iter().for_each(|(place, outcome)| outcomes[place] = outcome);
    }
    left
}

/// The shards that `route` came from and that were closed after `oldest`.
fn recently_closed(view: &View, route: &ShardRoute, oldest: Timestamp) -> Vec<Arc<ShardRoute>> {
    let Some(stream) = view.stream(&route.stream) else { return Vec::new() };
    let closed = lineage::closed_since(stream.stream, route.shard, oldest);
    closed.into_iter().filter_map(|shard| stream.shard(shard.id).map(Arc::clone)).collect()
}

/// What became of a group whose records may stand in other shards.
struct Recalled {
    /// Those that stand in none.
    rest: Option<Group>,
    /// The others, by their index in the call.
    decided: Vec<(usize, Outcome)>,
}

/// Looks for the records of `group` in `shards`, which are closed.
async fn recall(kinesis: &Kinesis, shards: &[Arc<ShardRoute>], mut group: Group) -> Recalled {
    let mut decided = Vec::new();
    for route in shards {
        let known = match kinesis.cluster.recall(route, &group.batch).await {
            Ok(known) => known,
            Err(client::Error::NotFound) => continue,
            Err(error) => {
                let error = Error::from_client(error, || shard_subject(kinesis, route));
                decided.extend(group.places.iter().map(|place| (*place, Err(error.clone()))));
                return Recalled { rest: None, decided };
            }
        };
        for (place, run) in group.places.iter().zip(&known) {
            let Some(run) = run else { continue };
            let number = run.first.sequence_number(route.shard, route.birth, run.arrival);
            decided.push((*place, Ok(Placed { shard: route.shard, number })));
        }
        let is_new = |place: usize| known.get(place).is_none_or(Option::is_none);
        let places = (0..).zip(&group.places).filter(|(place, _)| is_new(*place));
        group.places = places.map(|(_, index)| *index).collect();
        let Some(batch) = group.batch.retain(is_new) else {
            return Recalled { rest: None, decided };
        };
        group.batch = batch;
    }
    Recalled { rest: Some(group), decided }
}

/// One batch per shard, and the records that no open shard takes at the moment.
fn group(
    view: &View,
    stream: &StreamName,
    entries: &[Entry<'_>],
    pending: &[usize],
    producer: &Producer,
) -> (Vec<Group>, Vec<usize>) {
    let mut homeless = Vec::new();
    let mut routed: Vec<(GroupId, usize, &Arc<ShardRoute>)> = Vec::with_capacity(pending.len());
    let found = view.stream(stream);
    for &place in pending {
        match found.and_then(|stream| stream.shard_for(entries[place].hash)) {
            Some(route) => routed.push((route.group, place, route)),
            None => homeless.push(place),
        }
    }
    routed.sort_unstable_by_key(|(group, place, _)| (*group, *place));
    let same_group = |a: &(GroupId, usize, _), b: &(GroupId, usize, _)| a.0 == b.0;
    let groups = routed.chunk_by(same_group).map(|chunk| {
        let members = || chunk.iter().map(|(_, place, _)| (*place, &entries[*place]));
        let bytes = members().map(|(_, entry)| entry.data.len() + entry.partition_key.len()).sum();
        let mut builder = BatchBuilder::with_room(Some(producer.clone()), chunk.len(), bytes);
        for (place, Entry { partition_key, data, .. }) in members() {
            let index = u32::try_from(place).expect("a call has at most 500 records");
            let write = |out: &mut Vec<u8>| data.append_to(out);
            builder.push_with(index, partition_key.as_bytes(), data.len(), write);
        }
        let mut batch = builder.finish().expect("a chunk has 1 to 500 records");
        let route = Arc::clone(chunk[0].2);
        if route.is_measured {
            let keys = members().flat_map(|(_, entry)| entry.hash.0.to_be_bytes());
            batch = batch.with_hash_keys(keys.collect());
        }
        Group { route, places: chunk.iter().map(|(_, place, _)| *place).collect(), batch }
    });
    (groups.collect(), homeless)
}

/// Records whose place the leader didn't name stay `Internal`: unknown.
fn settle(outcomes: &mut [Outcome], group: &Group, runs: &[Run]) {
    let ShardRoute { shard, birth, .. } = *group.route;
    let positions = runs.iter().flat_map(|run| {
        let successors = std::iter::successors(Some(run.first), |position| Some(position.next()));
        successors.take(run.records as usize).map(|position| (position, run.arrival))
    });
    for (place, (position, arrival)) in group.places.iter().zip(positions) {
        let number = position.sequence_number(shard, birth, arrival);
        outcomes[*place] = Ok(Placed { shard, number });
    }
}

fn fail(outcomes: &mut [Outcome], places: &[usize], error: &Error) {
    for place in places {
        outcomes[*place] = Err(error.clone());
    }
}

fn shard_subject(kinesis: &Kinesis, route: &ShardRoute) -> String {
    let account = &kinesis.account;
    format!("shard {} in stream {} under account {account}", route.shard, route.stream)
}

#[cfg(test)]
mod cost;
