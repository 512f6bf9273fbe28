//! PutRecord, and the functions that it shares with PutRecords: routing by key, size limit, name of the position.
//!
//! Order of events: find the hash key of the record, find the stream, check the size, check
//! `SequenceNumberForOrdering`, stop if it is a dry run, append (`append.rs`). A retry of an SDK makes no second
//! record, because the call has a name (`call_name.rs`).

use anabranch_aws::constraints::{Checks, Constrained, absent};
use anabranch_aws::wire::{Blob, Flag, Required, Text, Writer};
use anabranch_catalog::Distribution;
use anabranch_client::StreamView;
use anabranch_gateway::service::{Request, Response};
use anabranch_types::{HashKey, SequenceNumber, StreamName, partition_key_hash};
use serde::Deserialize;

use super::stream_encryption::write_if_encrypted;
use crate::append::{self, Entry, StoredRecord};
use crate::call_name::{Invocation, named_call};
use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::StreamTarget;

/// `PutRecordInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PutRecord<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow, default)]
    data: Required<Blob<'a>>,
    #[serde(borrow)]
    partition_key: Option<Text<'a>>,
    #[serde(borrow)]
    explicit_hash_key: Option<Text<'a>>,
    #[serde(borrow)]
    sequence_number_for_ordering: Option<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
    dry_run: Option<Flag>,
}

impl Constrained for PutRecord<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_stream(checks, &self.stream_name, &self.stream_arn, &self.stream_id);
        checks.blob("Data", &self.data, &rules::DATA);
        checks.text("PartitionKey", &self.partition_key, &rules::PARTITION_KEY);
        checks.text("ExplicitHashKey", &self.explicit_hash_key, &rules::HASH_KEY);
        let number = &self.sequence_number_for_ordering;
        checks.text("SequenceNumberForOrdering", number, &rules::SEQUENCE_NUMBER);
    }
}

/// `PutRecordOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct Put {
    stored: StoredRecord,
    encrypted: bool,
}

/// A sequence number counts as from the future only beyond this difference between the clocks of two machines.
const CLOCK_SKEW_SECONDS: u64 = 30;

impl Request<Kinesis> for PutRecord<'_> {
    type Target = StreamTarget;
    type Response = Put;

    fn target(&self, kinesis: &Kinesis) -> Result<StreamTarget, Error> {
        kinesis.stream_target(&self.stream_name, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>, target: &StreamTarget) -> Result<Put, Error> {
        let kinesis = cx.service;
        let name = &target.name;
        let keys = Keys {
            partition: self.partition_key.as_deref(),
            hash: self.explicit_hash_key.as_deref(),
        };
        let invocation = Invocation::of(&cx.parts.headers, cx.request_id);
        let routing = KeyRouting::of(kinesis, name, &invocation);
        let (key, hash) = keys.route(routing, 0).map_err(|error| match error {
            KeyError::Absent => absent("partitionKey").into(),
            KeyError::Invalid(error) => error,
        })?;
        {
            let view = kinesis.cluster.view();
            let found = kinesis.find_for_data(&view, name)?;
            check_size(kinesis, name, found, key.len() + self.data.len())?;
            self.check_ordering(kinesis, name)?;
        }
        if self.dry_run == Some(Flag(true)) {
            return Err(Error::DryRun);
        }
        let entries = [Entry { partition_key: key, hash, data: &self.data }];
        let call = named_call(cx, &invocation, &entries);
        let outcome = append::append(kinesis, name, &entries, &call).await.pop();
        let stored = outcome.unwrap_or(Err(Error::Internal))?;
        Ok(Put { stored, encrypted: kinesis.encrypts(name) })
    }
}

impl PutRecord<'_> {
    /// Checks that the number is not from the future. As in AWS, it may be of any shard, also of an earlier stream of
    /// the same name. The number is not used for anything else: each put gets a higher number than every acknowledged
    /// record of its shard anyway.
    fn check_ordering(&self, kinesis: &Kinesis, name: &StreamName) -> Result<(), Error> {
        let Some(text) = self.sequence_number_for_ordering.as_deref() else { return Ok(()) };
        let now = kinesis.clock.now().as_secs();
        let account = &kinesis.account;
        let invalid = || {
            Error::InvalidArgument(format!(
                "ExclusiveMinimumSequenceNumber {text} used in PutRecord on stream {name} under \
                 account {account} is invalid."
            ))
        };
        let number: SequenceNumber = text.parse().map_err(|_| invalid())?;
        let parts = number.parts();
        let is_past = parts.arrival_seconds <= now.saturating_add(CLOCK_SKEW_SECONDS);
        if is_past { Ok(()) } else { Err(invalid()) }
    }
}

/// How the records of a call are assigned to shards.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeyRouting<'a> {
    /// By partition key or explicit hash key.
    ByKey,
    /// To any shard. A retry of the call gets the same hash keys, so the leaders of the shards recognise it.
    Anywhere(&'a Invocation<'a>),
}

/// The members of a record that decide its shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys<'a> {
    pub partition: Option<&'a str>,
    pub hash: Option<&'a str>,
}

/// The reason why a record has no hash key.
#[derive(Debug)]
pub(super) enum KeyError {
    /// The record has no partition key, and the stream routes by key.
    Absent,
    /// The explicit hash key is not a number below 2^128.
    Invalid(Error),
}

impl<'a> KeyRouting<'a> {
    /// The routing of a call to the stream.
    pub(super) fn of(
        kinesis: &Kinesis,
        stream: &StreamName,
        invocation: &'a Invocation<'a>,
    ) -> Self {
        let view = kinesis.cluster.view();
        match view.stream(stream).map(|found| found.stream.distribution) {
            Some(Distribution::Auto) => Self::Anywhere(invocation),
            Some(Distribution::UserPartitionKey) | None => Self::ByKey,
        }
    }

    fn hash_key(self, keys: Keys<'_>, index: usize) -> Result<HashKey, KeyError> {
        match (self, keys) {
            (Self::Anywhere(invocation), _) => {
                let id = String::from_utf8_lossy(invocation.id());
                Ok(partition_key_hash(&format!("{id} 0 {index}")))
            }
            (Self::ByKey, Keys { partition: None, .. }) => Err(KeyError::Absent),
            (Self::ByKey, Keys { hash: Some(text), .. }) => {
                text.parse().map_err(|_| KeyError::Invalid(invalid_hash_key(text)))
            }
            (Self::ByKey, Keys { partition: Some(key), .. }) => Ok(partition_key_hash(key)),
        }
    }
}

impl<'a> Keys<'a> {
    /// Returns the partition key to store, which is empty if the record has none, and the hash key that decides the
    /// shard. `index` is the index of the record in the call.
    pub(super) fn route(
        self,
        routing: KeyRouting<'_>,
        index: usize,
    ) -> Result<(&'a str, HashKey), KeyError> {
        let hash = routing.hash_key(self, index)?;
        Ok((self.partition.unwrap_or_default(), hash))
    }
}

fn invalid_hash_key(text: &str) -> Error {
    Error::InvalidArgument(format!(
        "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified \
         value was {text}"
    ))
}

/// Checks data and partition key together against the limit of the stream (API reference, `MaxRecordSizeInKiB`).
pub(super) fn check_size(
    kinesis: &Kinesis,
    name: &StreamName,
    found: StreamView<'_>,
    bytes: usize,
) -> Result<(), Error> {
    let limit_kib = found.stream.max_record_size_kib;
    if bytes as u64 <= u64::from(limit_kib) * 1024 {
        return Ok(());
    }
    Err(Error::InvalidArgument(format!(
        "Record of {bytes} bytes of data and partition key exceeds the maximum record size of \
         {limit_kib} KiB of stream {name} under account {}.",
        kinesis.account
    )))
}

impl Response for Put {
    fn expected_bytes(&self) -> usize {
        160
    }

    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            write_stored(w, self.stored);
            write_if_encrypted(w, self.encrypted);
        });
    }
}

/// Writes the two members that name the position of a record.
pub(super) fn write_stored(w: &mut Writer, stored: StoredRecord) {
    w.member("ShardId").plain(stored.shard);
    w.member("SequenceNumber").plain(stored.number);
}

#[cfg(test)]
mod cost;

#[cfg(test)]
mod tests {
    use super::*;

    fn route(routing: KeyRouting<'_>, index: usize) -> Result<(&'static str, HashKey), KeyError> {
        Keys { partition: None, hash: None }.route(routing, index)
    }

    #[test]
    fn records_without_a_key_go_to_any_shard_and_retries_to_the_same_one() {
        let call = Invocation::Named(b"call");
        let routing = KeyRouting::Anywhere(&call);
        let first: Vec<_> = (0..4).map(|index| route(routing, index).unwrap().1).collect();
        let again: Vec<_> = (0..4).map(|index| route(routing, index).unwrap().1).collect();
        assert_eq!(first, again);
        let other = Invocation::Named(b"other");
        assert_ne!(first[0], route(KeyRouting::Anywhere(&other), 0).unwrap().1);
        assert_ne!(first[0], first[1]);
        let keys = Keys { partition: Some("key"), hash: Some("0") };
        let (key, hash) = keys.route(routing, 2).unwrap();
        assert_eq!(
            (key, hash),
            ("key", first[2]),
            "the key is stored, but does not decide the shard"
        );
    }

    #[test]
    fn a_stream_that_routes_by_key_needs_a_key() {
        assert!(matches!(route(KeyRouting::ByKey, 0), Err(KeyError::Absent)));
        let by_hash = Keys { partition: Some("key"), hash: Some("7") };
        assert_eq!(by_hash.route(KeyRouting::ByKey, 0).unwrap(), ("key", HashKey(7)));
        let wrong = Keys { partition: Some("key"), hash: Some("x") };
        assert!(matches!(wrong.route(KeyRouting::ByKey, 0), Err(KeyError::Invalid(_))));
    }
}
