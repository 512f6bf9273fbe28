//! Messages of the catalog: commands, which any native client may propose, and the stored forms.
//!
//! A decoded value must encode to the same value again. A decoded command must never make the state machine panic.

use anabranch_catalog::{
    Catalog, Command, ConsumerCommand, NewStream, NodeCommand, NodeRegistration, Replica,
    ShardChange, ShardsCommand, StreamCommand, StreamMode, TableCommand, samples,
};
use anabranch_proto::{
    decode_catalog, decode_command, decode_outcome, encode_catalog, encode_command, encode_outcome,
};
use anabranch_types::{GroupId, NodeId, ReplicaId, SequenceNumber, ShardId, StreamName, Timestamp};
use bytes::Bytes;

/// Input: a command. If it decodes, it is applied twice to a catalog with streams and consumers. The catalog may
/// refuse it, but must keep its invariants. Afterwards all streams are split.
pub(super) fn command(input: &[u8]) {
    let Ok(command) = decode_command(Bytes::copy_from_slice(input)) else { return };
    let again = decode_command(encode_command(&command));
    assert_eq!(again.as_ref(), Ok(&command), "what is written is read as it was");
    let mut catalog = populated();
    for index in [1_000, 1_001] {
        catalog.apply(index, command.clone());
    }
    if catalog.streams.values().map(|stream| stream.shards.len()).sum::<usize>() < 100 {
        split_all(&mut catalog);
    }
}

/// Doubles the number of shards of every stream that can be changed.
fn split_all(catalog: &mut Catalog) {
    let streams = catalog.streams.iter();
    let streams: Vec<_> = streams.map(|(name, stream)| (name.clone(), stream.id)).collect();
    for (index, (name, id)) in (2_000..).step_by(3).zip(streams) {
        catalog.apply(
            index,
            Command::Stream(StreamCommand::Activate { name: name.clone(), id, newest_group: None }),
        );
        let (open, now) = match catalog.streams.get(&name) {
            Some(stream) => (stream.open_shards().count(), stream.created),
            None => continue,
        };
        let change = ShardChange::Count(u32::try_from(2 * open).expect("below 100"));
        catalog.apply(
            index + 1,
            Command::Shards(ShardsCommand::Reshard { name: name.clone(), change, now }),
        );
        let Some(job) = catalog.streams.get(&name).and_then(|stream| stream.job.as_ref()) else {
            continue;
        };
        let ending = |id: &ShardId| (*id, SequenceNumber::shard_start(*id, now, now));
        let (endings, job) = (job.parents.iter().map(ending).collect(), index + 1);
        catalog.apply(
            index + 2,
            Command::Shards(ShardsCommand::Commit {
                name,
                id,
                job,
                endings,
                newest_group: None,
                now,
            }),
        );
    }
}

/// Input: the outcome of a command.
pub(super) fn outcome(input: &[u8]) {
    if let Ok(outcome) = decode_outcome(Bytes::copy_from_slice(input)) {
        assert_eq!(decode_outcome(encode_outcome(&outcome)), Ok(outcome));
    }
}

/// Input: a whole catalog, as a node sends it and a checkpoint stores it.
pub(super) fn catalog(input: &[u8]) {
    if let Ok(catalog) = decode_catalog(Bytes::copy_from_slice(input)) {
        let again = decode_catalog(encode_catalog(&catalog)).expect("what is written is read");
        assert_eq!(again, catalog);
    }
}

/// A catalog with three nodes, a stream of each mode, and a table group of each status. One stream has a consumer.
pub(crate) fn populated() -> Catalog {
    let voters = [Replica { id: ReplicaId(1), node: NodeId(1) }];
    let mut catalog = Catalog::bootstrap(&voters);
    let tables = [
        TableCommand::CreateGroups { replicas: 1, at_least: 2 },
        TableCommand::Activate { group: GroupId(8) },
    ];
    let commands = history().into_iter().chain(tables.map(Command::Table));
    for (index, command) in (1..).zip(commands) {
        catalog.apply(index, command);
    }
    catalog
}

/// The commands that make the nodes and the streams of [`populated`].
pub(crate) fn history() -> Vec<Command> {
    let name = |text: &str| -> StreamName { text.parse().expect("a good name") };
    let now = Timestamp::from_millis(1_800_000_000_000);
    let node = |number| {
        let registration =
            NodeRegistration { starts: 1, boot: number, ..samples::registration(number) };
        Command::Node(NodeCommand::Register(registration))
    };
    let stream = |text: &str, shards, mode| {
        Command::Stream(StreamCommand::Create(NewStream {
            mode,
            tags: [("k".to_owned(), "v".to_owned())].into(),
            replicas: 1,
            now,
            ..samples::new_stream(text, shards)
        }))
    };
    let mut commands: Vec<_> = (1..=3).map(node).collect();
    commands.push(stream("s", 3, StreamMode::Provisioned));
    commands.push(stream("other", 4, StreamMode::OnDemand));
    // A stream's id is the log index of its creation.
    for (text, id) in [("s", 4), ("other", 5)] {
        let id = anabranch_catalog::StreamId(id);
        commands.push(Command::Stream(StreamCommand::Activate {
            name: name(text),
            id,
            newest_group: None,
        }));
    }
    let consumer = "app".parse().expect("a good name");
    let tags = [("k".to_owned(), "v".to_owned())].into();
    commands.push(Command::Consumer(ConsumerCommand::Register {
        name: name("s"),
        consumer,
        tags,
        now,
    }));
    let id = anabranch_catalog::StreamId(4);
    commands.push(Command::Consumer(ConsumerCommand::Settle { name: name("s"), id }));
    commands
}
