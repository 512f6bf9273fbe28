//! Messages of `NodeService` and the types that they stand for, in both directions.
//!
//! `node_service.rs` encodes responses and `remote.rs` decodes them. A message of another node that breaks a rule is
//! an error of the call, never a panic.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_catalog::scaling::{BUCKETS, BucketLoad, KeyLoad, ShardLoad};
use anabranch_proto::node as pb;
use anabranch_shard::{Ending, Position};
use anabranch_storage::{Entry, ScrubProgress};
use anabranch_types::{GroupId, HashKey, LogId, NodeId, Timestamp};
use tonic::Status;

use crate::node_health::NodeHealth;

/// The load on shards, by their groups.
pub(crate) type Loads = BTreeMap<GroupId, ShardLoad>;

pub(crate) fn freeze_response(ending: Option<Ending>) -> pb::FreezeResponse {
    let last = ending.and_then(|ending| ending.last_record);
    pb::FreezeResponse {
        frozen: ending.is_some(),
        has_record: last.is_some(),
        log_index: last.unwrap_or_default().log_index,
        offset: last.unwrap_or_default().offset.into(),
        arrival_millis: ending.unwrap_or_default().last_arrival.as_millis(),
    }
}

pub(crate) fn load_message((group, load): (GroupId, ShardLoad)) -> pb::ShardLoad {
    let key = load.candidate();
    pb::ShardLoad {
        group: group.0,
        measured_millis: u64::try_from(load.measured().as_millis()).unwrap_or(u64::MAX),
        bytes_per_minute: load.buckets().iter().map(|part| part.bytes_per_minute).collect(),
        records_per_minute: load.buckets().iter().map(|part| part.records_per_minute).collect(),
        key: key.map(|key| key.key.0.to_be_bytes().to_vec().into()).unwrap_or_default(),
        key_weight_per_minute: key.map_or(0, |key| key.weight_per_minute),
    }
}

/// The loads in a response.
///
/// # Errors
/// A load with another number of parts than it must have.
pub(crate) fn loads_of(message: pb::LoadsResponse) -> Result<Loads, Status> {
    message.loads.iter().map(|load| Ok((GroupId(load.group), load_of(load)?))).collect()
}

fn load_of(message: &pb::ShardLoad) -> Result<ShardLoad, Status> {
    let counts = message.bytes_per_minute.iter().zip(&message.records_per_minute);
    let parts = counts.map(|(bytes, records)| BucketLoad {
        bytes_per_minute: *bytes,
        records_per_minute: *records,
    });
    let parts: Box<[BucketLoad; BUCKETS]> = parts
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| Status::internal("load: has not 64 parts"))?;
    let key = <[u8; 16]>::try_from(&message.key[..]).ok().map(u128::from_be_bytes);
    let weight_per_minute = message.key_weight_per_minute;
    let key = key.map(|key| KeyLoad { key: HashKey(key), weight_per_minute });
    Ok(ShardLoad::new(Duration::from_millis(message.measured_millis), parts, key))
}

/// Where a shard ends; `None` if it did not accept the freeze.
///
/// # Errors
/// An offset that is larger than an entry can have.
pub(crate) fn ending_of(message: &pb::FreezeResponse) -> Result<Option<Ending>, Status> {
    let offset = u16::try_from(message.offset).map_err(|e| Status::internal(e.to_string()))?;
    let last_record = Position { log_index: message.log_index, offset };
    Ok(message.frozen.then(|| Ending {
        last_record: message.has_record.then_some(last_record),
        last_arrival: Timestamp::from_millis(message.arrival_millis),
    }))
}

impl From<NodeHealth> for pb::LeadingResponse {
    fn from(health: NodeHealth) -> Self {
        let round_trip = |(node, took): (NodeId, Duration)| pb::RoundTrip {
            node: node.0,
            micros: whole(took.as_micros()),
        };
        Self {
            groups: health.groups.into_iter().map(|group| group.0).collect(),
            ready_millis: whole(health.ready.as_millis()),
            sync_micros: health.sync.map(|sync| whole(sync.as_micros())),
            round_trips: health.round_trips.into_iter().map(round_trip).collect(),
            stalled_millis: health.stalled.map(|stalled| whole(stalled.as_millis())),
            scrub: Some(pb::Scrub {
                passes: health.scrub.passes,
                done_bytes: health.scrub.done_bytes,
                total_bytes: health.scrub.total_bytes,
                since_pass_millis: health.scrub.since_pass.map(|time| whole(time.as_millis())),
            }),
        }
    }
}

impl From<pb::LeadingResponse> for NodeHealth {
    fn from(message: pb::LeadingResponse) -> Self {
        let round_trip = |one: pb::RoundTrip| (NodeId(one.node), Duration::from_micros(one.micros));
        Self {
            groups: message.groups.into_iter().map(GroupId).collect(),
            ready: Duration::from_millis(message.ready_millis),
            sync: message.sync_micros.map(Duration::from_micros),
            round_trips: message
                .round_trips
                .into_iter()
                .map(round_trip)
                .collect::<BTreeMap<_, _>>(),
            stalled: message.stalled_millis.map(Duration::from_millis),
            scrub: message.scrub.map(scrub_of).unwrap_or_default(),
        }
    }
}

fn scrub_of(message: pb::Scrub) -> ScrubProgress {
    ScrubProgress {
        passes: message.passes,
        done_bytes: message.done_bytes,
        total_bytes: message.total_bytes,
        since_pass: message.since_pass_millis.map(Duration::from_millis),
    }
}

fn whole(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// The entries in a response, and the ids of the entries that the node lacks.
pub(crate) fn copies_of(answer: pb::CopyEntriesResponse) -> (Vec<Entry>, Vec<LogId>) {
    let log_id = |id: pb::EntryId| LogId { term: id.term, index: id.index };
    let entry =
        |copy: pb::EntryCopy| Some(Entry { log_id: log_id(copy.id?), payload: copy.payload });
    let entries = answer.copies.into_iter().filter_map(entry).collect();
    (entries, answer.missing.into_iter().map(log_id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_was_encoded_is_decoded_again() {
        let mut parts = Box::new([BucketLoad::default(); BUCKETS]);
        parts[63] = BucketLoad { bytes_per_minute: 70, records_per_minute: 7 };
        let key = KeyLoad { key: HashKey(u128::MAX - 1), weight_per_minute: 9 };
        for key in [None, Some(key)] {
            let load = ShardLoad::new(Duration::from_millis(1234), parts.clone(), key);
            let message = load_message((GroupId(5), load.clone()));
            let answer = pb::LoadsResponse { loads: vec![message] };
            assert_eq!(loads_of(answer).unwrap(), Loads::from([(GroupId(5), load)]));
        }
    }

    #[test]
    fn a_load_with_too_few_parts_is_refused() {
        let short = pb::ShardLoad { bytes_per_minute: vec![1; 63], ..Default::default() };
        assert!(loads_of(pb::LoadsResponse { loads: vec![short] }).is_err());
    }
}
