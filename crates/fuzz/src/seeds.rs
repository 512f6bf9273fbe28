//! Seeds of the corpus: valid inputs in binary formats, which nobody can write by hand.
//!
//! `fuzz --write-seeds` writes them. Names are stable, so run it again after a change of a format. Numbered seeds get
//! their place in the list as their name: append new ones at the end. No random numbers and no clock are used, so the
//! same code writes the same bytes.

use std::fs;
use std::io::Write;

use anabranch_catalog::{
    AccountCommand, Catalog, Command, ConsumerCommand, EncryptionCommand, GroupCommand,
    NodeCommand, Outcome, Refusal, Resource, ResourceCommand, ShardChange, ShardsCommand,
    StreamCommand, StreamId, TableCommand,
};
use anabranch_proto::{encode_catalog, encode_command, encode_outcome, replica as pb, v1};
use anabranch_shard::{BatchBuilder, Producer, Step};
use anabranch_types::{
    GroupId, HashKey, HashKeyRange, NodeId, ReplicaId, SequenceNumber, ShardId, Timestamp,
};
use anyhow::Result;
use bytes::{Bytes, BytesMut};
use prost::Message;

use crate::driver::corpus_dir;
use crate::targets::catalog::{history, populated};

/// Writes all seeds into the corpus. Files of the same names are replaced.
///
/// # Errors
/// Errors of the file system.
pub fn write_seeds() -> Result<()> {
    write("catalog-command", numbered(commands().iter().map(encode_command).collect()))?;
    write("catalog-outcome", numbered(outcomes().iter().map(encode_outcome).collect()))?;
    let catalogs = [("empty", Catalog::default()), ("populated", populated()), ("job", with_job())];
    write("catalog", catalogs.map(|(name, catalog)| (name, encode_catalog(&catalog).to_vec())))?;
    write("batch", batches())?;
    write("shard-command", shard_commands())?;
    write("log-entry", log_entries())?;
    write("native-messages", native_messages())?;
    write("replica-messages", replica_messages())?;
    write("aggregate", aggregates())?;
    write("gateway-gzip", gzips()?)?;
    write("gateway-token", tokens())
}

fn numbered(seeds: Vec<Bytes>) -> impl Iterator<Item = (String, Vec<u8>)> {
    (0..).zip(seeds).map(|(place, bytes): (u32, _)| (format!("{place:02}"), bytes.to_vec()))
}

fn write<N: ToString>(target: &str, seeds: impl IntoIterator<Item = (N, Vec<u8>)>) -> Result<()> {
    let dir = corpus_dir(target);
    fs::create_dir_all(&dir)?;
    for (name, bytes) in seeds {
        fs::write(dir.join(name.to_string()), bytes)?;
    }
    Ok(())
}

fn commands() -> Vec<Command> {
    let name = || "s".parse().expect("a good name");
    let (id, now) = (StreamId(4), Timestamp::from_millis(1_800_000_000_000));
    let number = SequenceNumber::shard_start(ShardId(0), now, now);
    let consumer = || "app".parse().expect("a good name");
    let of_stream = || Resource { stream: name(), consumer: None };
    let reshard = |change| Command::Shards(ShardsCommand::Reshard { name: name(), change, now });
    let mut commands = history();
    commands.extend([
        Command::Group(GroupCommand::ReplaceReplica { group: GroupId(1), lost: ReplicaId(2) }),
        Command::Group(GroupCommand::Recover { group: GroupId(1), from: ReplicaId(2) }),
        reshard(ShardChange::Split { shard: ShardId(0), at: HashKey(1 << 64) }),
        reshard(ShardChange::Merge { lower: ShardId(1), upper: ShardId(2) }),
        reshard(ShardChange::Count(5)),
        Command::Shards(ShardsCommand::Commit {
            name: name(),
            id,
            job: 9,
            endings: [(ShardId(0), number)].into(),
            newest_group: Some(GroupId(7)),
            now,
        }),
        Command::Shards(ShardsCommand::Abort { name: name(), id, job: 9 }),
        Command::Shards(ShardsCommand::Expire { name: name(), id, now }),
        Command::Stream(StreamCommand::SetRetention { name: name(), hours: 48, longer: true }),
        Command::Stream(StreamCommand::SetMode {
            name: name(),
            mode: anabranch_catalog::StreamMode::OnDemand,
            warm_throughput_mibps: Some(9),
        }),
        Command::Stream(StreamCommand::SetWarmThroughput {
            name: "other".parse().expect("a good name"),
            mibps: 9,
        }),
        Command::Shards(ShardsCommand::Scale {
            name: "other".parse().expect("a good name"),
            id: StreamId(5),
            change: ShardChange::Split { shard: ShardId(1), at: HashKey(3 << 125) },
            now,
        }),
        Command::Node(NodeCommand::SetState {
            node: NodeId(2),
            state: anabranch_catalog::NodeState::Draining,
        }),
        Command::Node(NodeCommand::Remove { node: NodeId(3) }),
        Command::Group(GroupCommand::MoveReplica {
            group: GroupId(1),
            from: Some(ReplicaId(2)),
            to: NodeId(3),
        }),
        Command::Group(GroupCommand::MoveReplica {
            group: GroupId::CATALOG,
            from: None,
            to: NodeId(2),
        }),
        Command::Group(GroupCommand::FinishMove { group: GroupId(1), replica: ReplicaId(2) }),
        Command::Group(GroupCommand::CancelMove { group: GroupId(1), replica: ReplicaId(2) }),
        Command::Group(GroupCommand::SetBalancing { paused: true }),
        Command::Group(GroupCommand::Rebalance),
        Command::Group(GroupCommand::FinishRebalance { rebalance: 1 }),
        Command::Consumer(ConsumerCommand::Deregister {
            name: name(),
            consumer: consumer(),
            created: now,
        }),
        Command::Resource(ResourceCommand::SetTags {
            resource: Resource { stream: name(), consumer: Some(consumer()) },
            set: [("a".to_owned(), "b".to_owned())].into(),
            removed: ["k".to_owned()].into(),
        }),
        Command::Resource(ResourceCommand::SetPolicy {
            resource: of_stream(),
            policy: Some("{}".into()),
        }),
        Command::Stream(StreamCommand::SetMaxRecordSize { name: name(), kib: 2048 }),
        Command::Stream(StreamCommand::SetShardMetrics {
            name: name(),
            on: anabranch_catalog::ShardMetrics::ALL,
            off: Default::default(),
        }),
        Command::Stream(StreamCommand::SetDistribution {
            name: "other".parse().expect("a good name"),
            distribution: anabranch_catalog::Distribution::Auto,
        }),
        Command::Account(AccountCommand::SetCommitment { enabled: true, now }),
        Command::Stream(StreamCommand::Delete { name: name(), with_consumers: true }),
        Command::Stream(StreamCommand::Drop { name: name(), id }),
        Command::Limited { command: Box::new(reshard(ShardChange::Count(6))), now },
    ]);
    // Append new commands at the end, because the names of the files are places in this list.
    let start = |id| {
        let (master_key, wrapped) = ("alias/k".to_owned(), vec![1, 2, 3]);
        Command::Encryption(EncryptionCommand::Start { name: name(), id, master_key, wrapped, now })
    };
    commands.extend([start(None), start(Some(id))]);
    commands.extend([
        Command::Table(TableCommand::CreateGroups { replicas: 3, at_least: 3 }),
        Command::Table(TableCommand::Activate { group: GroupId(9) }),
    ]);
    commands
}

fn outcomes() -> Vec<Outcome> {
    let name = || "s".parse().expect("a good name");
    let refusals = [
        Refusal::StreamExists { name: name() },
        Refusal::NoNodes,
        Refusal::Limit { what: "consumers", actual: 21, limit: 20 },
        Refusal::ShardClosed { shard: ShardId(1) },
        Refusal::CannotSplit { shard: ShardId(1), range: HashKeyRange::FULL, at: HashKey(7) },
        Refusal::NotAdjacent { lower: ShardId(1), upper: ShardId(2) },
        Refusal::ShardCount { current: 1, target: 9, lowest: 1, highest: 2 },
        Refusal::Retention { current: 24, asked: 12 },
        Refusal::JobOver { name: name(), job: 9 },
        Refusal::CannotMove { group: GroupId(1), to: NodeId(2) },
        Refusal::CannotRecover { group: GroupId(1) },
        Refusal::Limit { what: "table groups", actual: 17, limit: 16 },
    ];
    let refused = refusals.into_iter().map(Outcome::Refused);
    [Outcome::Done { version: 300 }].into_iter().chain(refused).collect()
}

/// A catalog with a stream that is being split.
fn with_job() -> Catalog {
    let mut catalog = populated();
    let change = ShardChange::Split { shard: ShardId(0), at: HashKey(1 << 64) };
    let (name, now) =
        ("s".parse().expect("a good name"), Timestamp::from_millis(1_800_000_000_001));
    catalog.apply(100, Command::Shards(ShardsCommand::Reshard { name, change, now }));
    catalog
}

fn batch(producer: Option<Producer>, records: &[(u32, &str, &str)]) -> Bytes {
    let mut builder = BatchBuilder::new(producer);
    for (index, key, data) in records {
        builder.push(*index, key.as_bytes(), data.as_bytes());
    }
    builder.finish().expect("it has records").bytes().clone()
}

fn batches() -> [(&'static str, Vec<u8>); 3] {
    let producer = Producer { id: Bytes::from_static(b"id"), sequence: 3 };
    let records = [(0, "a", "one"), (7, "b", "two"), (9, "", "")];
    [
        ("one", batch(None, &records[..1]).to_vec()),
        ("many", batch(None, &records).to_vec()),
        ("producer", batch(Some(producer), &records).to_vec()),
    ]
}

fn shard_commands() -> Vec<(&'static str, Vec<u8>)> {
    use anabranch_shard::Command;
    let batch = batch(None, &[(0, "a", "one")]);
    let arrival = Timestamp::from_millis(1_800_000_000_000);
    let commands = [
        ("append", Command::Append { arrival, records: 1, batch }),
        ("freeze", Command::Reshard(Step::Freeze(9))),
        ("close", Command::Reshard(Step::Close(9))),
    ];
    let encoded = commands.map(|(name, command)| {
        let mut bytes = BytesMut::new();
        command.encode(&mut bytes);
        (name, bytes.to_vec())
    });
    encoded.into()
}

fn log_entries() -> [(&'static str, Vec<u8>); 4] {
    let members = membership().encode_to_vec();
    [
        ("blank", vec![0]),
        ("membership", [&[1], &members[..]].concat()),
        ("checkpoint", vec![3]),
        ("trim", vec![4, 2, 1, 0, 0, 0, 0, 0, 0]),
    ]
}

fn membership() -> pb::Membership {
    let members = (1..=3).map(|id| pb::Member { replica: id, node: id }).collect();
    pb::Membership { configs: vec![pb::Voters { replicas: vec![1, 2, 3] }], members }
}

fn native_messages() -> [(&'static str, Vec<u8>); 2] {
    let first = v1::Position { log_index: 7, offset: 3 };
    let run = v1::Run { first: Some(first), records: 2, arrival_millis: 9 };
    [("position", first.encode_to_vec()), ("run", run.encode_to_vec())]
}

fn replica_messages() -> [(&'static str, Vec<u8>); 3] {
    let hello = pb::Hello { node: 1, boot: 2, cluster: "c".into(), to_node: 3 };
    let vote = pb::VoteRequest::default();
    let frame = pb::RequestFrame {
        channel: 1,
        group: 2,
        to_replica: 3,
        body: Some(pb::request_frame::Body::Vote(vote)),
    };
    let request = pb::ExchangeRequest { hello: Some(hello), frames: vec![frame] };
    [
        ("request", request.encode_to_vec()),
        ("membership", membership().encode_to_vec()),
        ("response", pb::ExchangeResponse::default().encode_to_vec()),
    ]
}

/// Aggregated records without magic bytes and checksum: the target adds them.
fn aggregates() -> [(&'static str, Vec<u8>); 3] {
    [
        ("one", b"\x0a\x01k\x1a\x05\x08\x00\x1a\x01d".to_vec()),
        ("hash-key", b"\x0a\x01k\x12\x02\x34\x32\x1a\x07\x08\x00\x10\x00\x1a\x01d".to_vec()),
        (
            "tags",
            b"\x0a\x01k\x0a\x01l\x1a\x0a\x08\x01\x1a\x01d\x22\x03\x0a\x01t\x1a\x05\x08\x00\x1a\x01e".to_vec(),
        ),
    ]
}

fn gzips() -> Result<Vec<(&'static str, Vec<u8>)>> {
    let gzip = |bytes: &[u8]| -> Result<Vec<u8>> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes)?;
        Ok(encoder.finish()?)
    };
    let two = [gzip(b"{\"StreamName\":")?, gzip(b"\"s\"}")?].concat();
    let bomb = gzip(&vec![b' '; 1 << 20])?;
    Ok(vec![("one", gzip(b"{\"StreamName\":\"s\"}")?), ("two", two), ("bomb", bomb)])
}

/// Plain contents of each kind of token.
fn tokens() -> [(&'static str, Vec<u8>); 3] {
    let number = 4u64.to_be_bytes();
    let iterator = [&number[..], &[0, 0, 0, 1], &number, &[0, 3], b"s"].concat();
    let shards = [&number[..], &[0, 0, 0, 1], &[1], &number, b"s"].concat();
    [("iterator", iterator), ("shards", shards), ("consumers", [&number[..], b"app"].concat())]
}
