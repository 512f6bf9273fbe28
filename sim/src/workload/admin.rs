//! A client that changes the catalog: it splits and merges shards, creates and deletes streams, writes and reads tags,
//! and lists shards.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anabranch_catalog::{
    Command, Distribution, NewStream, Resource, ResourceCommand, ShardChange, ShardStatus,
    ShardsCommand, Stream, StreamCommand, StreamMode, StreamStatus,
};
use anabranch_client::{Client, Error};
use anabranch_types::{Clock, HashKey, StreamName, limits};
use chaos_checkers::history::{
    self, Answer, Create, Delete, Describe, Done, ListShards, Merge, Read, ReadValue, Seq, Shard,
    Shards, Split, Status, Write,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

use super::reader::range_of;
use super::{Workload, pause, shard_id, stream_name, streams_with_records};
use crate::recorder::{Ended, Process};

/// Streams with records, and their number of shards.
const FIRST_STREAMS: [(&str, u32); 2] = [("data1", 2), ("data2", 1)];
/// The tag that serves as a register.
const REGISTER: &str = "register";

/// Creates the streams that records go to, and waits until all of them take records.
pub(super) async fn create_first_streams(workload: &Workload, client: &Client) {
    let mut process = workload.process();
    for (name, shards) in FIRST_STREAMS {
        while !create(workload, client, &mut process, name, shards).await {
            sleep(Duration::from_millis(20)).await;
        }
    }
    while streams_with_records(client).len() < FIRST_STREAMS.len() {
        sleep(Duration::from_millis(5)).await;
    }
}

/// Changes the catalog until the run stops.
pub(super) async fn change(workload: Workload, client: Client, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut process = workload.process();
    let mut created = 0;
    while workload.is_running() {
        pause(&mut rng, 50..500).await;
        workload.pass().await;
        match rng.random_range(0..10) {
            0..3 => reshard(&workload, &client, &mut process, &mut rng).await,
            3 => {
                created += 1;
                let name = format!("short{created}");
                create(&workload, &client, &mut process, &name, 1).await;
            }
            4 => delete(&client, &mut process).await,
            5..7 => write_tag(&client, &mut process, rng.random_range(0..1000)).await,
            7 => read_tag(&client, &mut process).await,
            8 => describe_any(&client, &mut process, &mut rng).await,
            _ => list(&client, &mut process, &mut rng).await,
        }
    }
}

/// Proposes a command and ends the open call of `process`. Returns whether the command was done.
async fn propose(
    client: &Client,
    process: &mut Process,
    function: chaos_checkers::history::Function,
    command: Command,
    answer: Answer,
) -> bool {
    let (ended, done) = match client.propose(command).await {
        Ok(_) => (Ended::Ok(answer), true),
        Err(Error::Unknown(reason)) => (Ended::Unknown(reason), false),
        Err(error) => (Ended::Failed(error.to_string()), false),
    };
    process.end(function, ended);
    done
}

async fn create(
    workload: &Workload,
    client: &Client,
    process: &mut Process,
    name: &str,
    shards: u32,
) -> bool {
    let function = process.invoke(Create { stream: name.into(), shards, retention_hours: None });
    let command = StreamCommand::Create(NewStream {
        name: name.parse().expect("the name is valid"),
        shards,
        mode: StreamMode::Provisioned,
        warm_throughput_mibps: 0,
        retention_hours: limits::DEFAULT_RETENTION_HOURS,
        max_record_size_kib: limits::DEFAULT_MAX_RECORD_SIZE_KIB,
        tags: BTreeMap::new(),
        distribution: Distribution::default(),
        replicas: 3,
        now: workload.clock.now(),
    });
    propose(client, process, function, command.into(), Answer::Create(Done {})).await
}

/// Deletes a stream without records.
async fn delete(client: &Client, process: &mut Process) {
    let view = client.view();
    let is_short = |(name, stream): &(&StreamName, &Stream)| {
        name.as_str().starts_with("short") && stream.status == StreamStatus::Active
    };
    let Some((name, _)) = view.catalog().streams.iter().find(is_short) else { return };
    let function = process.invoke(Delete { stream: stream_name(name) });
    let command = StreamCommand::Delete { name: name.clone(), with_consumers: true };
    propose(client, process, function, command.into(), Answer::Delete(Done {})).await;
}

/// Splits or merges a shard.
async fn reshard(workload: &Workload, client: &Client, process: &mut Process, rng: &mut StdRng) {
    let streams = streams_with_records(client);
    let Some(name) = streams.get(rng.random_range(0..streams.len().max(1))) else { return };
    let view = client.view();
    let Some(stream) = view.catalog().streams.get(name) else { return };
    let mut open: Vec<_> = stream.shards.values().filter(|shard| shard.is_open()).collect();
    open.sort_by_key(|shard| shard.range.start());
    let place = rng.random_range(0..open.len().max(1));
    let is_split = open.len() < 2 || (open.len() < 5 && rng.random_bool(0.5));
    let (function, change, answer) = match &open[place.min(open.len().saturating_sub(1))..] {
        [shard, ..] if is_split => {
            let (start, end) = (shard.range.start().0, shard.range.end().0);
            let at = HashKey(start + (end - start) / 2 + 1);
            let call = Split {
                stream: stream_name(name),
                shard: shard_id(shard.id),
                at: chaos_checkers::history::HashKey(at.0),
            };
            let change = ShardChange::Split { shard: shard.id, at };
            (process.invoke(call), change, Answer::Split(Done {}))
        }
        [lower, upper, ..] => {
            let (a, b) = (shard_id(lower.id), shard_id(upper.id));
            let call = Merge { stream: stream_name(name), a, b };
            let change = ShardChange::Merge { lower: lower.id, upper: upper.id };
            (process.invoke(call), change, Answer::Merge(Done {}))
        }
        _ => return,
    };
    let now = workload.clock.now();
    let command = ShardsCommand::Reshard { name: name.clone(), change, now };
    propose(client, process, function, command.into(), answer).await;
}

fn first_stream() -> StreamName {
    FIRST_STREAMS[0].0.parse().expect("the name is valid")
}

async fn write_tag(client: &Client, process: &mut Process, value: u32) {
    let value = value.to_string();
    let call = Write { register: REGISTER.into(), value: Some(value.clone()) };
    let function = process.invoke(call);
    let resource = Resource { stream: first_stream(), consumer: None };
    let set = BTreeMap::from([(REGISTER.to_owned(), value)]);
    let command = ResourceCommand::SetTags { resource, set, removed: BTreeSet::new() };
    propose(client, process, function, command.into(), Answer::Write(Done {})).await;
}

async fn read_tag(client: &Client, process: &mut Process) {
    let function = process.invoke(Read { register: REGISTER.into() });
    let ended = match client.newest_view().await {
        Ok(view) => {
            let stream = view.catalog().streams.get(&first_stream());
            let value = stream.and_then(|stream| stream.tags.get(REGISTER).cloned());
            Ended::Ok(Answer::Read(ReadValue { value }))
        }
        Err(error) => Ended::Failed(error.to_string()),
    };
    process.end(function, ended);
}

async fn list(client: &Client, process: &mut Process, rng: &mut StdRng) {
    let streams = streams_with_records(client);
    let Some(name) = streams.get(rng.random_range(0..streams.len().max(1))) else { return };
    list_shards(client, process, name).await;
}

async fn describe_any(client: &Client, process: &mut Process, rng: &mut StdRng) {
    let view = client.view();
    let names: Vec<&StreamName> = view.catalog().streams.keys().collect();
    if let Some(name) = names.get(rng.random_range(0..names.len().max(1))) {
        describe(client, process, name).await;
    }
}

/// Asks for the status of a stream, by the newest catalog. `false` if no node answers.
pub(super) async fn describe(client: &Client, process: &mut Process, name: &StreamName) -> bool {
    let function = process.invoke(Describe { stream: stream_name(name) });
    let ended = match client.newest_view().await {
        Ok(view) => match view.catalog().streams.get(name) {
            Some(stream) => Ended::Ok(Answer::Describe(status_of(stream))),
            None => Ended::Failed("ResourceNotFound".into()),
        },
        Err(error) => Ended::Failed(error.to_string()),
    };
    let done = matches!(ended, Ended::Ok(_));
    process.end(function, ended);
    done
}

fn status_of(stream: &Stream) -> history::StreamStatus {
    let open = stream.shards.values().filter(|shard| shard.is_open()).count();
    history::StreamStatus {
        status: match stream.status {
            StreamStatus::Creating => Status::Creating,
            StreamStatus::Active => Status::Active,
            StreamStatus::Updating => Status::Updating,
            StreamStatus::Deleting => Status::Deleting,
        },
        open_shards: u32::try_from(open).unwrap_or(u32::MAX),
        retention_hours: u64::from(stream.retention_hours),
    }
}

/// Lists the shards of a stream, by the newest catalog. `false` if no node answers.
pub(super) async fn list_shards(client: &Client, process: &mut Process, name: &StreamName) -> bool {
    let function = process.invoke(ListShards { stream: stream_name(name) });
    let ended = match client.newest_view().await {
        Ok(view) => match view.catalog().streams.get(name) {
            Some(stream) => Ended::Ok(Answer::Shards(shards_of(stream))),
            None => Ended::Failed("not found".into()),
        },
        Err(error) => Ended::Failed(error.to_string()),
    };
    let done = matches!(ended, Ended::Ok(_));
    process.end(function, ended);
    done
}

fn shards_of(stream: &Stream) -> Shards {
    let number = |number: anabranch_types::SequenceNumber| -> Seq {
        number.to_string().parse().expect("a sequence number is decimal and has 186 bits")
    };
    let shard = |shard: &anabranch_catalog::Shard| Shard {
        shard: shard_id(shard.id),
        parents: shard.parents.iter().copied().map(shard_id).collect(),
        range: range_of(shard),
        start: number(shard.starting_sequence_number()),
        end: match shard.status {
            ShardStatus::Open => None,
            ShardStatus::Closed { ending, .. } => Some(number(ending)),
        },
    };
    Shards { shards: stream.shards.values().map(shard).collect() }
}
