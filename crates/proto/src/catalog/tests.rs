//! Everything that is encoded can be decoded, and messages of earlier releases still can.

use anabranch_catalog::{
    Command, EncryptionCommand, NodeCommand, NodeRegistration, NodeState, StreamId,
    TableGroupStatus,
};
use anabranch_types::{NodeId, ShardId};
use bytes::Bytes;
use prost::Message;

use super::*;

mod golden;
mod samples;

use samples::{catalog, commands, outcomes};

#[test]
fn a_catalog_survives_encoding_and_decoding() {
    let catalog = catalog();
    let stream = catalog.streams.values().next().unwrap();
    assert!(
        catalog.moving.is_some()
            && catalog.nodes.values().any(|node| node.state == NodeState::Draining)
    );
    assert!(stream.shards.values().any(|shard| shard.moving.is_some()));
    assert!(catalog.balancing_paused && catalog.rebalance.is_some());
    assert!(catalog.commitment.is_some());
    assert!(!catalog.former_names.names().is_empty());
    let statuses: Vec<_> = catalog.table_groups.values().map(|group| group.status).collect();
    assert_eq!(statuses, [TableGroupStatus::Ready, TableGroupStatus::Creating]);
    assert!(catalog.table_groups.values().any(|group| group.moving.is_some()));
    assert!(stream.job.is_some() && stream.shards.values().any(|shard| !shard.is_open()));
    let ann = catalog.users.get(&"ann".parse().unwrap()).unwrap();
    assert_eq!((catalog.users.len(), ann.keys.len(), ann.policies.len()), (2, 1, 1));
    assert_eq!(decode_catalog(encode_catalog(&catalog)), Ok(catalog));
}

#[test]
fn a_catalog_without_users_gets_the_known_users_of_the_same_version() {
    let catalog = catalog();
    let (whole, rest) = (encode_catalog(&catalog), encode_catalog_without_users(&catalog));
    assert!(rest.len() < whole.len());
    assert_eq!(decode_catalog_after(rest.clone(), &catalog.users).as_ref(), Ok(&catalog));
    assert_eq!(decode_catalog_after(whole, &Users::default()).as_ref(), Ok(&catalog));
    let missing = Err(Error::Missing("catalog.users"));
    assert_eq!(decode_catalog_after(rest, &Users::default()), missing);
}

#[test]
fn users_that_share_an_access_key_are_refused() {
    let key = pb::AccessKey { id: "AKIA1".into(), ..pb::AccessKey::default() };
    let user = |name: &str| pb::User {
        name: name.into(),
        account: "123456789012".into(),
        keys: vec![key.clone()],
        ..pb::User::default()
    };
    let message = pb::Catalog { users: vec![user("a"), user("b")], ..pb::Catalog::default() };
    let decoded = decode_catalog(message.encode_to_vec().into());
    assert!(matches!(decoded, Err(Error::Invalid { field: "user.keys", .. })), "{decoded:?}");
}

#[test]
fn a_catalog_without_the_fields_of_balancing_has_it_on() {
    let before = pb::Catalog { version: 7, ..pb::Catalog::default() };
    let catalog = decode_catalog(before.encode_to_vec().into()).unwrap();
    assert!(catalog.balances());
    assert_eq!((catalog.balancing_paused, catalog.rebalance), (false, None));
}

#[test]
fn a_catalog_of_an_earlier_release_has_no_table_groups_and_one_without_a_status_is_refused() {
    let before = pb::Catalog { version: 7, ..pb::Catalog::default() };
    let catalog = decode_catalog(before.encode_to_vec().into()).unwrap();
    assert!(catalog.table_groups.is_empty());
    let table_groups = vec![pb::TableGroup { group: 4, ..pb::TableGroup::default() }];
    let message = pb::Catalog { table_groups, ..pb::Catalog::default() };
    let missing = Err(Error::Missing("table_group.status"));
    assert_eq!(decode_catalog(message.encode_to_vec().into()), missing);
}

#[test]
fn table_groups_without_replicas_are_rejected() {
    let create = pb::CreateTableGroups { replicas: 0, at_least: 1 };
    let command = pb::Command { command: Some(pb::command::Command::CreateTableGroups(create)) };
    let rule = "must be at least 1".to_owned();
    let expected = Error::Invalid { field: "create_table_groups.replicas", rule };
    assert_eq!(decode_command(command.encode_to_vec().into()), Err(expected));
}

#[test]
fn a_node_without_the_fields_of_its_starts_has_no_count() {
    let node = pb::Node { id: 3, incarnation: 4, ..pb::Node::default() };
    let before = pb::Catalog { nodes: vec![node.clone()], ..pb::Catalog::default() };
    let catalog = decode_catalog(before.encode_to_vec().into()).unwrap();
    let known = &catalog.nodes[&NodeId(3)];
    assert_eq!((known.starts, known.boot, known.went_back), (0, 0, false));
    let register = pb::Command { command: Some(pb::command::Command::RegisterNode(node)) };
    let register = decode_command(register.encode_to_vec().into());
    assert!(
        matches!(
            register,
            Ok(Command::Node(NodeCommand::Register(NodeRegistration { starts: 0, boot: 0, .. })))
        ),
        "{register:?}"
    );
}

#[test]
fn a_shard_without_a_birth_was_born_when_it_was_created() {
    let shard = pb::Shard {
        created_millis: 5_000,
        hash_key_start: vec![0; 16].into(),
        hash_key_end: vec![255; 16].into(),
        ..pb::Shard::default()
    };
    let (status, mode) = (pb::StreamStatus::Active.into(), pb::StreamMode::Provisioned.into());
    let stream =
        pb::Stream { name: "s".into(), status, mode, shards: vec![shard], ..pb::Stream::default() };
    let before = pb::Catalog { streams: vec![stream], ..pb::Catalog::default() };
    let catalog = decode_catalog(before.encode_to_vec().into()).unwrap();
    let stream = catalog.streams.values().next().unwrap();
    assert_eq!(stream.shards[&ShardId(0)].birth, Timestamp::from_millis(5_000));
    assert_eq!(stream.newest_gone, Timestamp::default());
    assert_eq!(catalog.former_names, FormerNames::default());
}

#[test]
fn every_command_survives_encoding_and_decoding() {
    for command in commands() {
        assert_eq!(decode_command(encode_command(&command)), Ok(command));
    }
}

#[test]
fn a_limited_command_is_stored_as_these_bytes() {
    let stop = Command::Encryption(EncryptionCommand::Stop { name: "s".parse().unwrap() });
    let limited = |command| {
        let now = Timestamp::from_millis(7);
        Command::Limited { command: Box::new(command), now }
    };
    let golden = b"\x82\x04\x08\x0a\x04\xaa\x03\x01s\x10\x07";
    assert_eq!(encode_command(&limited(stop.clone()))[..], golden[..]);
    let rule = "must not be limited itself".to_owned();
    let expected = Error::Invalid { field: "limited.command", rule };
    let twice = encode_command(&limited(limited(stop)));
    assert_eq!(decode_command(twice), Err(expected));
}

#[test]
fn a_start_of_encryption_without_the_id_of_the_stream_keeps_its_bytes() {
    let golden = b"\xa2\x03\x12\x0a\x01s\x12\x07alias/k\x1a\x02\x01\x02\x20\x05";
    let of = |id| {
        Command::Encryption(EncryptionCommand::Start {
            name: "s".parse().unwrap(),
            id,
            master_key: "alias/k".into(),
            wrapped: vec![1, 2],
            now: Timestamp::from_millis(5),
        })
    };
    assert_eq!(decode_command(Bytes::from_static(golden)), Ok(of(None)));
    assert_eq!(&encode_command(&of(None))[..], golden);
    let longer = [&[0xa2, 3, 20], &golden[3..], &[0x28, 4]].concat();
    assert_eq!(&encode_command(&of(Some(StreamId(4))))[..], longer);
}

#[test]
fn a_new_stream_without_shards_is_rejected() {
    let create = pb::CreateStream {
        name: "s".into(),
        mode: pb::StreamMode::Provisioned.into(),
        ..Default::default()
    };
    let command = pb::Command { command: Some(pb::command::Command::CreateStream(create)) };
    let rule = "must be at least 1".to_owned();
    let expected = Error::Invalid { field: "create_stream.shards", rule };
    assert_eq!(decode_command(command.encode_to_vec().into()), Err(expected));
}

#[test]
fn every_outcome_survives_encoding_and_decoding() {
    for outcome in outcomes() {
        assert_eq!(decode_outcome(encode_outcome(&outcome)), Ok(outcome));
    }
}
