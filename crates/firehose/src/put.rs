//! PutRecord and PutRecordBatch: one append to the internal stream of the delivery stream.
//!
//! A call is one entry of one shard, so either all its records are stored or none. SDKs send a failed call again with
//! the same invocation id. The append is named after the call, so a retry makes no second record.

use std::sync::Arc;

use anabranch_access::signature;
use anabranch_aws::constraints::{Checks, Constrained, Rule};
use anabranch_aws::wire::{Blob, List, Required, Structure, Text, Writer};
use anabranch_catalog::StreamStatus;
use anabranch_client::ShardRoute;
use anabranch_delivery::definition::internal_stream;
use anabranch_delivery::{Source, Status};
use anabranch_gateway::service::{Context, Request, Response};
use anabranch_shard::{BatchBuilder, Position, Producer};
use anabranch_types::HashKey;
use aws_lc_rs::digest::{Context as Digest, SHA256};
use base64_simd::STANDARD_NO_PAD;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use serde::Deserialize;

use crate::error::Error;
use crate::service::{DeliveryTarget, Firehose};

/// Source: the service model, `DeliveryStreamName`, `Data`, `PutRecordBatchRequestEntryList`.
const NAME: Rule = Rule::range(1, 64).pattern("[a-zA-Z0-9_.-]+", is_name);
const DATA: Rule = Rule::range(0, 1_024_000);
const RECORDS: Rule = Rule::range(1, 500);
/// Source: API reference, PutRecordBatch: 4 MiB.
const MAX_BATCH_BYTES: usize = 4 << 20;
/// Header with an id that is the same for each attempt of one call of an SDK.
const INVOCATION_ID: &str = "amz-sdk-invocation-id";
const MAX_INVOCATION_ID_BYTES: usize = 64;

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// `PutRecordInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PutRecord<'a> {
    #[serde(borrow, default)]
    delivery_stream_name: Required<Text<'a>>,
    #[serde(borrow, default)]
    record: Required<Structure<Record<'a>>>,
}

/// `PutRecordBatchInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PutRecordBatch<'a> {
    #[serde(borrow, default)]
    delivery_stream_name: Required<Text<'a>>,
    #[serde(borrow, default)]
    records: Required<List<Structure<Record<'a>>>>,
}

/// `Record` of the API reference.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record<'a> {
    #[serde(borrow, default)]
    data: Required<Blob<'a>>,
}

impl Constrained for Record<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.blob("Data", &self.data, &DATA);
    }
}

impl Constrained for PutRecord<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("DeliveryStreamName", &self.delivery_stream_name, &NAME);
        checks.structure("Record", &self.record);
    }
}

impl Constrained for PutRecordBatch<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("DeliveryStreamName", &self.delivery_stream_name, &NAME);
        checks.list("Records", &self.records, &RECORDS);
    }
}

impl Request<Firehose> for PutRecord<'_> {
    type Target = DeliveryTarget;
    type Response = PutOne;

    fn target(&self, _: &Firehose) -> Result<DeliveryTarget, Error> {
        Ok(DeliveryTarget::named(&self.delivery_stream_name))
    }

    async fn run(&self, cx: &Context<'_, Firehose>, _: &DeliveryTarget) -> Result<PutOne, Error> {
        let stored = append(cx, &self.delivery_stream_name, &[&self.record.0.data]).await?;
        Ok(PutOne(stored))
    }
}

impl Request<Firehose> for PutRecordBatch<'_> {
    type Target = DeliveryTarget;
    type Response = PutMany;

    fn target(&self, _: &Firehose) -> Result<DeliveryTarget, Error> {
        Ok(DeliveryTarget::named(&self.delivery_stream_name))
    }

    async fn run(&self, cx: &Context<'_, Firehose>, _: &DeliveryTarget) -> Result<PutMany, Error> {
        let records: Vec<&Blob<'_>> =
            self.records.members().iter().map(|Structure(record)| &*record.data).collect();
        if records.iter().map(|data| data.len()).sum::<usize>() > MAX_BATCH_BYTES {
            let text = "Records size exceeds 4 MB limit";
            return Err(Error::InvalidArgument(text.to_owned()));
        }
        let count = records.len();
        let stored = append(cx, &self.delivery_stream_name, &records).await?;
        Ok(PutMany { stored, count })
    }
}

/// Where the records of a call are.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Hash of the call's place, which nobody can make but the cluster.
    place: [u8; 24],
    /// Place of the first record in its entry.
    first: u16,
    is_encrypted: bool,
}

/// Appends the records of one call.
async fn append(
    cx: &Context<'_, Firehose>,
    name: &str,
    records: &[&Blob<'_>],
) -> Result<Stored, Error> {
    let firehose = cx.service;
    let route = route(firehose, name).await?;
    let bytes = records.iter().map(|data| data.len()).sum();
    let producer = Producer { id: call_name(cx, name, records), sequence: 0 };
    let mut batch = BatchBuilder::with_room(Some(producer), records.len(), bytes);
    for (index, data) in (0..).zip(records) {
        batch.push_with(index, b"", data.len(), |out: &mut Vec<u8>| data.append_to(out));
    }
    let batch = batch.finish().ok_or_else(|| Error::unavailable(&"an empty call"))?;
    let runs = firehose.cluster.append(&route, batch).await?;
    let first = runs.first().map(|run| run.first).unwrap_or_default();
    let view = firehose.cluster.view();
    let found = view.stream(&route.stream);
    let is_encrypted = found.is_some_and(|found| found.stream.encryption.master_key.is_some());
    Ok(Stored { place: place(firehose, &route, first), first: first.offset, is_encrypted })
}

/// The shard that takes the records of a delivery stream.
async fn route(firehose: &Firehose, name: &str) -> Result<Arc<ShardRoute>, Error> {
    let stream = internal_stream(name).ok_or_else(|| firehose.not_found(name))?;
    let view = firehose.cluster.view();
    let found = view.stream(&stream);
    let takes = |status| matches!(status, StreamStatus::Active | StreamStatus::Updating);
    if let Some(found) = found.filter(|found| takes(found.stream.status)) {
        let route = found.shard_for(HashKey(0)).cloned();
        return route.ok_or_else(|| Error::unavailable(&"the shard is being split"));
    }
    // The row says why there is no stream to put into.
    let definition = firehose.definition(name).await?;
    match (&definition.source, definition.status) {
        (Source::Stream { .. }, _) => Err(Error::InvalidArgument(format!(
            "This operation is not permitted on KinesisStreamAsSource delivery stream type: {name}"
        ))),
        (Source::DirectPut { .. }, Status::Active) => {
            Err(Error::unavailable(&"the internal stream is not known here yet"))
        }
        (
            Source::DirectPut { .. },
            Status::Creating | Status::CreatingFailed | Status::Deleting,
        ) => Err(firehose.not_found(name)),
    }
}

/// The name of a call: the same for each attempt of it, and for no other call.
fn call_name(cx: &Context<'_, Firehose>, name: &str, records: &[&Blob<'_>]) -> Bytes {
    let invocation = cx.parts.headers.get(INVOCATION_ID).map(|value| value.as_bytes());
    let invocation = invocation.filter(|id| (1..=MAX_INVOCATION_ID_BYTES).contains(&id.len()));
    let Some(invocation) = invocation else { return Bytes::copy_from_slice(&cx.request_id) };
    let authorization = cx.parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let query = cx.parts.uri.query().unwrap_or_default();
    let caller = match cx.identity {
        Some(identity) => identity.caller().arn.to_owned(),
        None => signature::claimed_key_id(authorization.unwrap_or_default(), query).into_owned(),
    };
    let mut digest = Digest::new(&SHA256);
    let mut part = |bytes: &[u8]| {
        digest.update(&(bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    part(&*cx.service.secret);
    part(invocation);
    part(caller.as_bytes());
    part(name.as_bytes());
    for data in records {
        let (form, data) = data.as_sent();
        part(&[u8::from(form)]);
        part(data);
    }
    Bytes::copy_from_slice(&digest.finish().as_ref()[..16])
}

fn place(firehose: &Firehose, route: &ShardRoute, first: Position) -> [u8; 24] {
    let mut digest = Digest::new(&SHA256);
    digest.update(&*firehose.secret);
    digest.update(&route.stream_id.0.to_be_bytes());
    digest.update(&route.shard.0.to_be_bytes());
    digest.update(&first.log_index.to_be_bytes());
    let mut place = [0; 24];
    place.copy_from_slice(&digest.finish().as_ref()[..24]);
    place
}

impl Stored {
    /// The id of a record of the call, which tells nothing.
    fn record_id(&self, index: usize) -> String {
        let mut bytes = [0; 26];
        bytes[..24].copy_from_slice(&self.place);
        let offset = u16::try_from(index).map_or(u16::MAX, |index| self.first.wrapping_add(index));
        let hidden = u16::from_be_bytes([self.place[0], self.place[1]]) ^ offset;
        bytes[24..].copy_from_slice(&hidden.to_be_bytes());
        STANDARD_NO_PAD.encode_to_string(bytes)
    }
}

/// `PutRecordOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct PutOne(Stored);

impl Response for PutOne {
    fn expected_bytes(&self) -> usize {
        96
    }

    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            w.member("RecordId").plain(self.0.record_id(0));
            w.member("Encrypted").flag(self.0.is_encrypted);
        });
    }

    fn reports_change(&self) -> bool {
        true
    }
}

/// `PutRecordBatchOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct PutMany {
    stored: Stored,
    count: usize,
}

impl Response for PutMany {
    fn expected_bytes(&self) -> usize {
        80 + self.count * 56
    }

    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            w.member("FailedPutCount").number(0);
            w.member("Encrypted").flag(self.stored.is_encrypted);
            w.member("RequestResponses").list(|w| {
                for index in 0..self.count {
                    w.structure(|w| w.member("RecordId").plain(self.stored.record_id(index)));
                }
            });
        });
    }

    fn reports_change(&self) -> bool {
        true
    }
}
