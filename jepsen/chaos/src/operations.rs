//! The calls of the Kinesis API as the workloads make them: each is recorded, and its result is typed.

use std::time::Duration;

use chaos_checkers::history::{
    Answer, Child, Create, Describe, Done, Drain, Drained, Entry, EntryResult, Get, GetApi,
    HashKey, HashRange, Iter, IterStart, ListShards, Merge, Millis, Page, Put, Puts, PutsResults,
    Record, Retention, Scale, Seq, Shard, ShardId, Shards, Split, Status, Stored, StreamName,
    StreamStatus,
};
use chaos_checkers::payload;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::kinesis::{Connection, Failure, Invocation};
use crate::session::Session;

/// Most records of one GetRecords.
const PAGE_RECORDS: u32 = 1000;
/// Time after which a shard that can't be read is given up.
const DRAIN: Duration = Duration::from_secs(40);

/// The token of an iterator, and the chain that it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Iterator {
    pub(crate) chain: u64,
    pub(crate) token: String,
}

impl Session {
    /// PutRecord. `length` is that of the payload in bytes.
    pub(crate) async fn put(&mut self, put: Put, length: usize) -> Result<Stored, Failure> {
        let body = put_body(&put, length);
        self.run(put, Answer::Put, async move |connection| {
            let answer = connection.call("PutRecord", &body, None).await?;
            stored(&answer, 1)
        })
        .await
    }

    /// PutRecord with retries, as an SDK makes them: up to `put.budget` attempts under one invocation id if
    /// `put.named`, else under new ones.
    pub(crate) async fn put_with_retries(
        &mut self,
        put: Put,
        length: usize,
    ) -> Result<Stored, Failure> {
        let body = put_body(&put, length);
        let (budget, named) = (put.budget, put.named);
        let id = format!("{}-{}", put.uid, self.scene.seed);
        let gateways = self.gateways_in_turn();
        let signer = self.signer();
        self.run(put, Answer::Put, async move |_connection| {
            let mut last = Failure::Refused("no attempt".into());
            let mut may_be_done = false;
            for attempt in 1..=budget {
                let id = if named { id.clone() } else { format!("{id}-{attempt}") };
                let index = attempt as usize % gateways.len();
                let mut connection = Connection::new(gateways[index], signer.clone());
                let invocation = Invocation { id, attempt };
                match connection.call("PutRecord", &body, Some(&invocation)).await {
                    Ok(answer) => return stored(&answer, attempt),
                    Err(failure) => {
                        may_be_done |= matches!(failure, Failure::Unknown(_));
                        last = failure;
                    }
                }
            }
            let reason = last.reason().to_owned();
            Err(if may_be_done { Failure::Unknown(reason) } else { Failure::Refused(reason) })
        })
        .await
    }

    /// PutRecords.
    pub(crate) async fn puts(&mut self, puts: Puts, length: usize) -> Result<PutsResults, Failure> {
        let records = puts.records.iter().map(|entry| entry_body(entry, length));
        let body = json!({ "StreamName": puts.stream.0, "Records": records.collect::<Vec<_>>() });
        self.run(puts, Answer::Puts, async move |connection| {
            let answer = connection.call("PutRecords", &body, None).await?;
            let results = answer["Records"].as_array().into_iter().flatten().map(entry_result);
            Ok(PutsResults { results: results.collect::<Result<_, _>>()?, attempts: 1 })
        })
        .await
    }

    /// GetShardIterator.
    pub(crate) async fn iter(
        &mut self,
        stream: &StreamName,
        shard: &ShardId,
        start: IterStart,
    ) -> Result<Iterator, Failure> {
        let chain = self.scene.recorder.new_chain();
        let iter = Iter { stream: stream.clone(), shard: shard.clone(), chain, start };
        let body = iterator_body(&iter);
        let mut token = String::new();
        self.run(iter, Answer::Iter, async |connection| {
            let answer = connection.call("GetShardIterator", &body, None).await?;
            token = text(&answer, "ShardIterator")?;
            Ok(Done {})
        })
        .await?;
        Ok(Iterator { chain, token })
    }

    /// GetRecords. Moves the iterator on; returns `None` for it at the end of a closed shard.
    pub(crate) async fn get(
        &mut self,
        iterator: Iterator,
    ) -> Result<(Page, Option<Iterator>), Failure> {
        let Iterator { chain, token } = iterator;
        let body = json!({ "ShardIterator": token, "Limit": PAGE_RECORDS });
        let mut next = None;
        let get = Get { chain, api: GetApi::GetRecords };
        let page = self
            .run(get, Answer::Get, async |connection| {
                let answer = connection.call("GetRecords", &body, None).await?;
                next = answer["NextShardIterator"].as_str().map(str::to_owned);
                page(&answer, next.is_some())
            })
            .await?;
        Ok((page, next.map(|token| Iterator { chain, token })))
    }

    /// All pages of ListShards.
    pub(crate) async fn shards(&mut self, stream: &StreamName) -> Result<Shards, Failure> {
        let list = ListShards { stream: stream.clone() };
        let name = stream.clone();
        self.run(list, Answer::Shards, async move |connection| list_shards(connection, &name).await)
            .await
    }

    /// SplitShard.
    pub(crate) async fn split(&mut self, split: Split) -> Result<Done, Failure> {
        let body = json!({
            "StreamName": split.stream.0,
            "ShardToSplit": split.shard.0,
            "NewStartingHashKey": split.at.to_string(),
        });
        self.change(split, Answer::Split, "SplitShard", body).await
    }

    /// MergeShards.
    pub(crate) async fn merge(&mut self, merge: Merge) -> Result<Done, Failure> {
        let body = json!({
            "StreamName": merge.stream.0,
            "ShardToMerge": merge.a.0,
            "AdjacentShardToMerge": merge.b.0,
        });
        self.change(merge, Answer::Merge, "MergeShards", body).await
    }

    /// UpdateShardCount.
    pub(crate) async fn scale(&mut self, scale: Scale) -> Result<Done, Failure> {
        let body = json!({
            "StreamName": scale.stream.0,
            "TargetShardCount": scale.count,
            "ScalingType": "UNIFORM_SCALING",
        });
        self.change(scale, Answer::Scale, "UpdateShardCount", body).await
    }

    /// CreateStream.
    pub(crate) async fn create(&mut self, create: Create) -> Result<Done, Failure> {
        let body = json!({ "StreamName": create.stream.0, "ShardCount": create.shards });
        self.change(create, Answer::Create, "CreateStream", body).await
    }

    /// IncreaseStreamRetentionPeriod or DecreaseStreamRetentionPeriod.
    pub(crate) async fn retention(&mut self, set: Retention, raise: bool) -> Result<Done, Failure> {
        let body = json!({ "StreamName": set.stream.0, "RetentionPeriodHours": set.hours });
        let operation =
            if raise { "IncreaseStreamRetentionPeriod" } else { "DecreaseStreamRetentionPeriod" };
        self.change(set, Answer::Retention, operation, body).await
    }

    async fn change(
        &mut self,
        call: impl Into<chaos_checkers::history::Call>,
        answer: fn(Done) -> Answer,
        operation: &str,
        body: Value,
    ) -> Result<Done, Failure> {
        self.run(call, answer, async |connection| {
            connection.call(operation, &body, None).await.map(|_nothing| Done {})
        })
        .await
    }

    /// DescribeStreamSummary.
    pub(crate) async fn describe(&mut self, stream: &StreamName) -> Result<StreamStatus, Failure> {
        let describe = Describe { stream: stream.clone() };
        let body = json!({ "StreamName": stream.0 });
        self.run(describe, Answer::Describe, async |connection| {
            let answer = connection.call("DescribeStreamSummary", &body, None).await?;
            stream_status(&answer["StreamDescriptionSummary"])
        })
        .await
    }

    /// Reads a whole shard through this session's gateway, and goes on after failures.
    pub(crate) async fn drain(
        &mut self,
        stream: &StreamName,
        shard: &ShardId,
    ) -> Result<Drained, Failure> {
        let drain = Drain { stream: stream.clone(), shard: shard.clone() };
        let (stream, shard) = (stream.clone(), shard.clone());
        self.run(drain, Answer::Drain, async move |connection| {
            let deadline = Instant::now() + DRAIN;
            loop {
                match drain_once(connection, &stream, &shard).await {
                    Ok(records) => return Ok(Drained { records }),
                    Err(failure) if Instant::now() > deadline => return Err(failure),
                    Err(_) => sleep(Duration::from_millis(500)).await,
                }
            }
        })
        .await
    }
}

async fn drain_once(
    connection: &mut Connection,
    stream: &StreamName,
    shard: &ShardId,
) -> Result<Vec<Record>, Failure> {
    let start = IterStart::TrimHorizon;
    let iter = Iter { stream: stream.clone(), shard: shard.clone(), chain: 0, start };
    let answer = connection.call("GetShardIterator", &iterator_body(&iter), None).await?;
    let mut token = text(&answer, "ShardIterator")?;
    let mut records = Vec::new();
    loop {
        let body = json!({ "ShardIterator": token });
        let answer = connection.call("GetRecords", &body, None).await?;
        let next = answer["NextShardIterator"].as_str();
        let page = page(&answer, next.is_some())?;
        let is_over = page.records.is_empty() && page.behind_ms == 0;
        records.extend(page.records);
        match next {
            Some(next) if !is_over => next.clone_into(&mut token),
            _ => return Ok(records),
        }
    }
}

async fn list_shards(connection: &mut Connection, stream: &StreamName) -> Result<Shards, Failure> {
    let mut shards = Vec::new();
    let mut body = json!({ "StreamName": stream.0 });
    loop {
        let answer = connection.call("ListShards", &body, None).await?;
        for shard in answer["Shards"].as_array().into_iter().flatten() {
            shards.push(listed_shard(shard)?);
        }
        match answer["NextToken"].as_str() {
            Some(token) => body = json!({ "NextToken": token }),
            None => return Ok(Shards { shards }),
        }
    }
}

fn put_body(put: &Put, length: usize) -> Value {
    let data = payload::payload(put.uid, &put.pk, length);
    let mut body = json!({
        "StreamName": put.stream.0,
        "PartitionKey": put.pk,
        "Data": base64(&data),
    });
    if let Some(key) = put.ehk {
        body["ExplicitHashKey"] = key.to_string().into();
    }
    if let Some(seq) = put.ord {
        body["SequenceNumberForOrdering"] = seq.to_string().into();
    }
    body
}

fn entry_body(entry: &Entry, length: usize) -> Value {
    let data = payload::payload(entry.uid, &entry.pk, length);
    let mut body = json!({ "PartitionKey": entry.pk, "Data": base64(&data) });
    if let Some(key) = entry.ehk {
        body["ExplicitHashKey"] = key.to_string().into();
    }
    body
}

fn iterator_body(iter: &Iter) -> Value {
    let mut body = json!({ "StreamName": iter.stream.0, "ShardId": iter.shard.0 });
    let kind = match iter.start {
        IterStart::TrimHorizon => "TRIM_HORIZON",
        IterStart::Latest => "LATEST",
        IterStart::AtSequenceNumber(seq) => {
            body["StartingSequenceNumber"] = seq.to_string().into();
            "AT_SEQUENCE_NUMBER"
        }
        IterStart::AfterSequenceNumber(seq) => {
            body["StartingSequenceNumber"] = seq.to_string().into();
            "AFTER_SEQUENCE_NUMBER"
        }
        IterStart::AtTimestamp(time) => {
            body["Timestamp"] = json!(seconds(time));
            "AT_TIMESTAMP"
        }
    };
    body["ShardIteratorType"] = kind.into();
    body
}

/// A time as AWS JSON has it: seconds with three decimal places, exactly.
fn seconds(time: Millis) -> serde_json::Number {
    let text = format!("{}.{:03}", time.0 / 1000, time.0 % 1000);
    text.parse().unwrap_or_else(|_| serde_json::Number::from(time.0 / 1000))
}

fn base64(bytes: &[u8]) -> String {
    base64_simd::STANDARD.encode_to_string(bytes)
}

/// A response that lacks a member, or has a member of the wrong form. The call may have been done all the same.
fn malformed(member: &str) -> Failure {
    Failure::Unknown(format!("the response has no valid {member}"))
}

fn text(answer: &Value, member: &str) -> Result<String, Failure> {
    answer[member].as_str().map(str::to_owned).ok_or_else(|| malformed(member))
}

fn parsed<T: std::str::FromStr>(answer: &Value, member: &str) -> Result<T, Failure> {
    answer[member].as_str().and_then(|text| text.parse().ok()).ok_or_else(|| malformed(member))
}

fn stored(answer: &Value, attempts: u32) -> Result<Stored, Failure> {
    let shard = ShardId(text(answer, "ShardId")?);
    Ok(Stored { shard, seq: parsed(answer, "SequenceNumber")?, attempts })
}

fn entry_result(answer: &Value) -> Result<EntryResult, Failure> {
    match answer["ErrorCode"].as_str() {
        None => {
            let Stored { shard, seq, .. } = stored(answer, 1)?;
            Ok(EntryResult::Stored { shard, seq })
        }
        Some("InternalFailure") => Ok(EntryResult::Unknown { err: "InternalFailure".into() }),
        Some(code) => Ok(EntryResult::Refused { err: code.to_owned() }),
    }
}

/// A page, from the members that GetRecords and an event of SubscribeToShard share.
pub(crate) fn page(answer: &Value, next: bool) -> Result<Page, Failure> {
    let records = answer["Records"].as_array().ok_or_else(|| malformed("Records"))?;
    let children = answer["ChildShards"].as_array().into_iter().flatten().map(child);
    Ok(Page {
        records: records.iter().map(record).collect::<Result<_, _>>()?,
        next,
        behind_ms: answer["MillisBehindLatest"]
            .as_u64()
            .ok_or_else(|| malformed("MillisBehindLatest"))?,
        children: children.collect::<Result<_, _>>()?,
    })
}

fn record(answer: &Value) -> Result<Record, Failure> {
    let data = base64_simd::STANDARD
        .decode_to_vec(text(answer, "Data")?)
        .map_err(|_| malformed("Data"))?;
    let pk = text(answer, "PartitionKey")?;
    let uid = payload::parse(&data).ok().filter(|(_, key)| *key == pk).map(|(uid, _)| uid);
    let ts = millis(&answer["ApproximateArrivalTimestamp"])?;
    Ok(Record { seq: parsed(answer, "SequenceNumber")?, uid, pk, ts })
}

/// Milliseconds of a time in seconds.
fn millis(seconds: &Value) -> Result<Millis, Failure> {
    let seconds = seconds.as_f64().ok_or_else(|| malformed("ApproximateArrivalTimestamp"))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time after 1970, far below 2^53 milliseconds"
    )]
    Ok(Millis((seconds * 1000.0).round() as u64))
}

fn range(answer: &Value) -> Result<HashRange, Failure> {
    let range = &answer["HashKeyRange"];
    let (start, end): (HashKey, HashKey) =
        (parsed(range, "StartingHashKey")?, parsed(range, "EndingHashKey")?);
    Ok(HashRange { start, end })
}

fn child(answer: &Value) -> Result<Child, Failure> {
    let parents = answer["ParentShards"].as_array().into_iter().flatten();
    let parents = parents.filter_map(Value::as_str).map(|id| ShardId(id.to_owned()));
    Ok(Child {
        shard: ShardId(text(answer, "ShardId")?),
        parents: parents.collect(),
        range: range(answer)?,
    })
}

fn listed_shard(answer: &Value) -> Result<Shard, Failure> {
    let parents = ["ParentShardId", "AdjacentParentShardId"].into_iter();
    let parents = parents.filter_map(|name| answer[name].as_str()).map(|id| ShardId(id.to_owned()));
    let numbers = &answer["SequenceNumberRange"];
    let end = numbers["EndingSequenceNumber"].as_str();
    Ok(Shard {
        shard: ShardId(text(answer, "ShardId")?),
        parents: parents.collect(),
        range: range(answer)?,
        start: parsed(numbers, "StartingSequenceNumber")?,
        end: end
            .map(str::parse::<Seq>)
            .transpose()
            .map_err(|_| malformed("EndingSequenceNumber"))?,
    })
}

fn stream_status(summary: &Value) -> Result<StreamStatus, Failure> {
    let status = match summary["StreamStatus"].as_str() {
        Some("CREATING") => Status::Creating,
        Some("DELETING") => Status::Deleting,
        Some("ACTIVE") => Status::Active,
        Some("UPDATING") => Status::Updating,
        _ => return Err(malformed("StreamStatus")),
    };
    let number = |member: &str| summary[member].as_u64().ok_or_else(|| malformed(member));
    Ok(StreamStatus {
        status,
        open_shards: u32::try_from(number("OpenShardCount")?)
            .map_err(|_| malformed("OpenShardCount"))?,
        retention_hours: number("RetentionPeriodHours")?,
    })
}
