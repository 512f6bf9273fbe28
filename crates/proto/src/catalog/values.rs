//! Conversions of values that occur in several messages: names, hash keys, sequence numbers, modes, resources.

use anabranch_catalog::{Distribution, Resource, ShardMetrics, StreamId, StreamMode};
use anabranch_types::{ConsumerName, HashKey, HashKeyRange, SequenceNumber, StreamName};
use bytes::Bytes;

use crate::error::Error;
use crate::generated::pb_catalog as pb;

pub(super) fn stream_name(text: &str) -> Result<StreamName, Error> {
    text.parse().map_err(|error: anabranch_types::ParseError| Error::Invalid {
        field: "stream.name",
        rule: error.to_string(),
    })
}

pub(super) fn consumer_name(text: &str) -> Result<ConsumerName, Error> {
    text.parse().map_err(|error: anabranch_types::ParseError| Error::Invalid {
        field: "consumer.name",
        rule: error.to_string(),
    })
}

pub(super) fn stream_ref(name: &StreamName, id: StreamId) -> pb::StreamRef {
    pb::StreamRef { name: name.to_string(), id: id.0, with_consumers: false, newest_group: None }
}

pub(super) fn hash_key_bytes(key: HashKey) -> Bytes {
    Bytes::copy_from_slice(&key.0.to_be_bytes())
}

pub(super) fn hash_key(bytes: &Bytes, field: &'static str) -> Result<HashKey, Error> {
    let rule = || Error::Invalid { field, rule: "must have 16 bytes".into() };
    Ok(HashKey(u128::from_be_bytes(bytes[..].try_into().map_err(|_| rule())?)))
}

pub(super) fn hash_key_range(start: &Bytes, end: &Bytes) -> Result<HashKeyRange, Error> {
    let start = hash_key(start, "hash_key_start")?;
    let end = hash_key(end, "hash_key_end")?;
    HashKeyRange::new(start, end).ok_or_else(|| Error::Invalid {
        field: "hash_key_end",
        rule: "must not be below hash_key_start".into(),
    })
}

pub(super) fn sequence_number(text: &str, field: &'static str) -> Result<SequenceNumber, Error> {
    let rule =
        |error: anabranch_types::ParseError| Error::Invalid { field, rule: error.to_string() };
    text.parse().map_err(rule)
}

pub(super) fn mode_message(mode: StreamMode) -> pb::StreamMode {
    match mode {
        StreamMode::Provisioned => pb::StreamMode::Provisioned,
        StreamMode::OnDemand => pb::StreamMode::OnDemand,
    }
}

pub(super) fn stream_mode(mode: pb::StreamMode) -> Result<StreamMode, Error> {
    match mode {
        pb::StreamMode::Provisioned => Ok(StreamMode::Provisioned),
        pb::StreamMode::OnDemand => Ok(StreamMode::OnDemand),
        pb::StreamMode::Unspecified => Err(Error::Missing("stream.mode")),
    }
}

pub(super) fn distribution_message(distribution: Distribution) -> pb::Distribution {
    match distribution {
        Distribution::UserPartitionKey => pb::Distribution::UserPartitionKey,
        Distribution::Auto => pb::Distribution::Auto,
    }
}

pub(super) fn distribution(message: pb::Distribution) -> Distribution {
    match message {
        pb::Distribution::UserPartitionKey => Distribution::UserPartitionKey,
        pb::Distribution::Auto => Distribution::Auto,
    }
}

/// Bits of metrics that this release does not know are ignored.
pub(super) fn shard_metrics(bits: u32) -> ShardMetrics {
    ShardMetrics::from_bits(bits.to_le_bytes()[0])
}

pub(super) fn resource_message(resource: &Resource) -> pb::Resource {
    pb::Resource {
        stream: resource.stream.to_string(),
        consumer: resource.consumer.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

pub(super) fn resource(
    message: Option<pb::Resource>,
    field: &'static str,
) -> Result<Resource, Error> {
    let message = message.ok_or(Error::Missing(field))?;
    let consumer = (!message.consumer.is_empty()).then(|| consumer_name(&message.consumer));
    Ok(Resource { stream: stream_name(&message.stream)?, consumer: consumer.transpose()? })
}

/// Refuses 0, which the rules of the catalog do not expect.
pub(super) fn at_least_one(number: u32, field: &'static str) -> Result<u32, Error> {
    if number > 0 {
        Ok(number)
    } else {
        Err(Error::Invalid { field, rule: "must be at least 1".into() })
    }
}
