//! PutRecords: puts up to 500 records in one call. Each record succeeds or fails on its own.
//!
//! Order of events: find the hash key of each record, find the stream, check the sizes, stop if it is a dry run,
//! append (`append.rs`). The results have the order of the request.

use anabranch_aws::constraints::{Checks, Constrained, absent};
use anabranch_aws::wire::{Blob, Flag, List, Required, Structure, Text, Writer};
use anabranch_gateway::service::{Request, Response};
use anabranch_types::{StreamName, limits};
use serde::Deserialize;

use super::put_record::{KeyError, KeyRouting, Keys, check_size, write_stored};
use super::stream_encryption::write_if_encrypted;
use crate::append::{self, Entry, Outcome};
use crate::call_name::{Invocation, named_call};
use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::StreamTarget;

/// `PutRecordsInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PutRecords<'a> {
    #[serde(borrow, default)]
    records: Required<List<Structure<RequestEntry<'a>>>>,
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
    dry_run: Option<Flag>,
}

/// `PutRecordsRequestEntry` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RequestEntry<'a> {
    #[serde(borrow, default)]
    data: Required<Blob<'a>>,
    #[serde(borrow)]
    explicit_hash_key: Option<Text<'a>>,
    #[serde(borrow)]
    partition_key: Option<Text<'a>>,
}

impl Constrained for PutRecords<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.list("Records", &self.records, &rules::RECORDS);
        rules::check_stream(checks, &self.stream_name, &self.stream_arn, &self.stream_id);
    }
}

impl Constrained for RequestEntry<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.blob("Data", &self.data, &rules::DATA);
        checks.text("ExplicitHashKey", &self.explicit_hash_key, &rules::HASH_KEY);
        checks.text("PartitionKey", &self.partition_key, &rules::PARTITION_KEY);
    }
}

/// `PutRecordsOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct PutMany {
    outcomes: Vec<Outcome>,
    encrypted: bool,
}

impl Request<Kinesis> for PutRecords<'_> {
    type Target = StreamTarget;
    type Response = PutMany;

    fn target(&self, kinesis: &Kinesis) -> Result<StreamTarget, Error> {
        kinesis.stream_target(&self.stream_name, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>, target: &StreamTarget) -> Result<PutMany, Error> {
        let (kinesis, name) = (cx.service, &target.name);
        let invocation = Invocation::of(&cx.parts.headers, cx.request_id);
        let routing = KeyRouting::of(kinesis, name, &invocation);
        let entries = self.entries(routing)?;
        check_sizes(kinesis, name, &entries)?;
        if self.dry_run == Some(Flag(true)) {
            return Err(Error::DryRun);
        }
        let call = named_call(cx, &invocation, &entries);
        let outcomes = append::append(kinesis, name, &entries, &call).await;
        // If every record failed because the stream is gone or its master key cannot be used, then the whole call
        // fails with that error.
        match outcomes.first() {
            Some(Err(error @ (Error::NotFound(_) | Error::Key { .. })))
                if outcomes.iter().all(Result::is_err) =>
            {
                Err(error.clone())
            }
            _ => Ok(PutMany { outcomes, encrypted: kinesis.encrypts(name) }),
        }
    }
}

impl PutRecords<'_> {
    fn entries(&self, routing: KeyRouting<'_>) -> Result<Vec<Entry<'_>>, Error> {
        let members = self.records.members();
        let mut entries = Vec::with_capacity(members.len());
        for (index, Structure(member)) in members.iter().enumerate() {
            entries.push(member.entry(routing, index)?);
        }
        Ok(entries)
    }
}

impl RequestEntry<'_> {
    fn entry(&self, routing: KeyRouting<'_>, index: usize) -> Result<Entry<'_>, Error> {
        let keys = Keys {
            partition: self.partition_key.as_deref(),
            hash: self.explicit_hash_key.as_deref(),
        };
        let (partition_key, hash) = keys.route(routing, index).map_err(|error| match error {
            KeyError::Absent => {
                absent(&format!("records.{}.member.partitionKey", index + 1)).into()
            }
            KeyError::Invalid(error) => error,
        })?;
        Ok(Entry { partition_key, hash, data: &self.data })
    }
}

fn check_sizes(kinesis: &Kinesis, name: &StreamName, entries: &[Entry<'_>]) -> Result<(), Error> {
    let view = kinesis.cluster.view();
    let found = kinesis.find_for_data(&view, name)?;
    let mut total = 0;
    for entry in entries {
        let bytes = entry.partition_key.len() + entry.data.len();
        check_size(kinesis, name, found, bytes)?;
        total += bytes;
    }
    if total > limits::PUT_RECORDS_MAX_BYTES {
        let limit_mib = limits::PUT_RECORDS_MAX_BYTES / 1024 / 1024;
        let message = format!("Records size exceeds {limit_mib} MB limit");
        return Err(Error::InvalidArgument(message));
    }
    Ok(())
}

impl Response for PutMany {
    fn reports_change(&self) -> bool {
        true
    }

    fn expected_bytes(&self) -> usize {
        64 + self.outcomes.len() * 128
    }

    fn write(&self, writer: &mut Writer) {
        let failed = self.outcomes.iter().filter(|outcome| outcome.is_err()).count();
        writer.structure(|w| {
            w.member("FailedRecordCount").number(failed as u64);
            w.member("Records").list(|w| {
                for outcome in &self.outcomes {
                    w.structure(|w| write_outcome(w, outcome));
                }
            });
            write_if_encrypted(w, self.encrypted);
        });
    }
}

/// `PutRecordsResultEntry` of the API reference.
fn write_outcome(w: &mut Writer, outcome: &Outcome) {
    match outcome {
        Ok(stored) => write_stored(w, *stored),
        Err(error) => {
            let (code, message) = error.entry();
            w.member("ErrorCode").plain(code);
            w.member("ErrorMessage").text(message);
        }
    }
}

#[cfg(test)]
mod cost;

#[cfg(test)]
mod tests {
    use anabranch_types::{SequenceNumber, ShardId, Timestamp};

    use super::*;
    use crate::append::StoredRecord;
    use anabranch_aws::wire::Format;

    #[test]
    fn results_keep_the_order_and_have_one_of_two_codes() {
        let shard = ShardId(1);
        let second = Timestamp::from_millis(1_000);
        let number = SequenceNumber::shard_start(shard, second, second);
        let outcomes = vec![
            Ok(StoredRecord { shard, number }),
            Err(Error::Throughput("Rate exceeded".into())),
            Err(Error::NotFound("gone".into())),
        ];
        let mut writer = Writer::new(Format::Json, 0);
        PutMany { outcomes, encrypted: false }.write(&mut writer);
        let expected = format!(
            "{{\"FailedRecordCount\":2,\"Records\":[{{\"ShardId\":\"shardId-000000000001\",\
             \"SequenceNumber\":\"{number}\"}},{{\"ErrorCode\":\
             \"ProvisionedThroughputExceededException\",\"ErrorMessage\":\"Rate exceeded\"}},\
             {{\"ErrorCode\":\"InternalFailure\",\"ErrorMessage\":\"Internal Service Failure.\"}}]}}"
        );
        assert_eq!(String::from_utf8(writer.finish()).unwrap(), expected);
    }
}
