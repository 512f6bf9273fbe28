use anabranch_aws::constraints::{Checks, Constrained, absent};
use anabranch_aws::wire::{Blob, Flag, Required, Text, Writer};
use anabranch_catalog::Distribution;
use anabranch_client::StreamView;
use anabranch_gateway::service::{Request, Response};
use anabranch_types::{HashKey, SequenceNumber, StreamName, partition_key_hash};
use serde::Deserialize;

use super::stream_encryption::write_if_encrypted;
use crate::append::{self, Entry, Placed};
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
    placed: Placed,
    encrypted: bool,
}

/// How far the clocks of two machines may be apart before a number is from the future.
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
        let invocation = Invocation::of(&cx.parts.headers);
        let placement = KeyRouting::of(kinesis, name, &invocation);
        let (key, hash) = keys.place(placement, 0).map_err(|error| match error {
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
        let placed = outcome.unwrap_or(Err(Error::Internal))?;
        Ok(Put { placed, encrypted: kinesis.encrypts(name) })
    }
}

impl PutRecord<'_> {
    /// The number must not be from the future. It may be of any shard, also of a former stream of this name, as the
    /// service takes it. Every put gets a later number than any record of its shard that was acknowledged before.
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

/// How the records of a call find their shards.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeyRouting<'a> {
    /// By their keys, as the user says.
    ByKey,
    /// Anywhere; where a call is repeated, at the same places again, so that the repeat is known there.
    Anywhere(&'a Invocation<'a>),
}

/// The members of a record that say where it is to go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys<'a> {
    pub partition: Option<&'a str>,
    pub hash: Option<&'a str>,
}

/// Why a record has no place.
#[derive(Debug)]
pub(super) enum KeyError {
    /// It has no partition key, in a stream that goes by them.
    Absent,
    /// Its explicit hash key is none.
    Invalid(Error),
}

impl<'a> KeyRouting<'a> {
    /// Of a call to a stream.
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
    /// The partition key that is stored, empty for none, and the hash key that decides the shard, of record `index` of
    /// a call.
    pub(super) fn place(
        self,
        placement: KeyRouting<'_>,
        index: usize,
    ) -> Result<(&'a str, HashKey), KeyError> {
        let hash = placement.hash_key(self, index)?;
        Ok((self.partition.unwrap_or_default(), hash))
    }
}

fn invalid_hash_key(text: &str) -> Error {
    Error::InvalidArgument(format!(
        "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified \
         value was {text}"
    ))
}

/// Data and partition key together against the stream's limit (API reference, `MaxRecordSizeInKiB`).
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
            write_placed(w, self.placed);
            write_if_encrypted(w, self.encrypted);
        });
    }
}

/// The two members that say where a record stands.
pub(super) fn write_placed(w: &mut Writer, placed: Placed) {
    w.member("ShardId").plain(placed.shard);
    w.member("SequenceNumber").plain(placed.number);
}

#[cfg(test)]
mod cost;

#[cfg(test)]
mod tests {
    use super::*;

    fn place(placement: KeyRouting<'_>, index: usize) -> Result<(&'static str, HashKey), KeyError> {
        Keys { partition: None, hash: None }.place(placement, index)
    }

    #[test]
    fn records_without_a_key_go_anywhere_and_repeats_to_the_same_places() {
        let call = Invocation::Named(b"call");
        let placement = KeyRouting::Anywhere(&call);
        let places: Vec<_> = (0..4).map(|index| place(placement, index).unwrap().1).collect();
        let again: Vec<_> = (0..4).map(|index| place(placement, index).unwrap().1).collect();
        assert_eq!(places, again);
        let other = Invocation::Named(b"other");
        assert_ne!(places[0], place(KeyRouting::Anywhere(&other), 0).unwrap().1);
        assert_ne!(places[0], places[1]);
        let keys = Keys { partition: Some("key"), hash: Some("0") };
        let (key, hash) = keys.place(placement, 2).unwrap();
        assert_eq!((key, hash), ("key", places[2]), "the key is kept, and decides nothing");
    }

    #[test]
    fn a_stream_that_goes_by_keys_wants_one() {
        assert!(matches!(place(KeyRouting::ByKey, 0), Err(KeyError::Absent)));
        let by_hash = Keys { partition: Some("key"), hash: Some("7") };
        assert_eq!(by_hash.place(KeyRouting::ByKey, 0).unwrap(), ("key", HashKey(7)));
        let wrong = Keys { partition: Some("key"), hash: Some("x") };
        assert!(matches!(wrong.place(KeyRouting::ByKey, 0), Err(KeyError::Invalid(_))));
    }
}
