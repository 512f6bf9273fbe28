//! Conversions of `anabranch.catalog.v1`, and the stored bytes of the catalog.

use std::collections::BTreeMap;

use anabranch_catalog::{
    Catalog, Command, NewStream, Node, NodeState, Outcome, Refusal, Replica, Shard, ShardStatus,
    Stream, StreamId, StreamMode, StreamStatus,
};
use anabranch_types::{
    GroupId, HashKey, HashKeyRange, Incarnation, NodeId, ReplicaId, ShardId, StreamName, Timestamp,
};
use bytes::Bytes;
use prost::Message;

use crate::{Error, pb_catalog as pb};

/// The catalog as it is stored and sent.
pub fn encode_catalog(catalog: &Catalog) -> Bytes {
    let message = pb::Catalog {
        version: catalog.version,
        nodes: catalog.nodes.iter().map(|(id, node)| node_message(*id, node)).collect(),
        replicas: catalog.replicas.iter().map(replica_message).collect(),
        streams: catalog
            .streams
            .iter()
            .map(|(name, stream)| stream_message(name, stream))
            .collect(),
        next_group: catalog.next_group,
        next_replica: catalog.next_replica,
    };
    message.encode_to_vec().into()
}

/// Reads what [`encode_catalog`] wrote.
///
/// # Errors
/// [`Error`] names the field.
pub fn decode_catalog(bytes: Bytes) -> Result<Catalog, Error> {
    let message = pb::Catalog::decode(bytes)?;
    let streams = message.streams.into_iter().map(stream).collect::<Result<_, _>>()?;
    Ok(Catalog {
        version: message.version,
        nodes: message.nodes.into_iter().map(node).collect(),
        replicas: message.replicas.iter().map(replica).collect(),
        streams,
        next_group: message.next_group,
        next_replica: message.next_replica,
    })
}

/// A command as it is stored and sent.
pub fn encode_command(command: &Command) -> Bytes {
    use pb::command::Command as Pb;
    let command = match command {
        Command::RegisterNode { node, incarnation, grpc_address, api_address, zone } => {
            Pb::RegisterNode(pb::Node {
                id: node.0,
                incarnation: incarnation.0,
                grpc_address: grpc_address.clone(),
                api_address: api_address.clone(),
                zone: zone.clone(),
            })
        }
        Command::CreateStream(new) => Pb::CreateStream(pb::CreateStream {
            name: new.name.to_string(),
            shards: new.shards,
            mode: mode_message(new.mode).into(),
            retention_hours: new.retention_hours,
            max_record_size_kib: new.max_record_size_kib,
            tags: new.tags.clone().into_iter().collect(),
            replicas: new.replicas,
            now_millis: new.now.as_millis(),
        }),
        Command::ActivateStream { name, id } => Pb::ActivateStream(stream_ref(name, *id)),
        Command::DeleteStream { name } => Pb::DeleteStream(stream_ref(name, StreamId(0))),
        Command::DropStream { name, id } => Pb::DropStream(stream_ref(name, *id)),
        Command::ReplaceReplica { group, lost } => {
            Pb::ReplaceReplica(pb::ReplaceReplica { group: group.0, lost: lost.0 })
        }
    };
    pb::Command { command: Some(command) }.encode_to_vec().into()
}

/// Reads what [`encode_command`] wrote.
///
/// # Errors
/// [`Error`] names the field.
pub fn decode_command(bytes: Bytes) -> Result<Command, Error> {
    use pb::command::Command as Pb;
    Ok(match pb::Command::decode(bytes)?.command.ok_or(Error::Missing("command"))? {
        Pb::RegisterNode(node) => Command::RegisterNode {
            node: NodeId(node.id),
            incarnation: Incarnation(node.incarnation),
            grpc_address: node.grpc_address,
            api_address: node.api_address,
            zone: node.zone,
        },
        Pb::CreateStream(new) => Command::CreateStream(NewStream {
            mode: stream_mode(new.mode())?,
            name: stream_name(&new.name)?,
            shards: new.shards,
            retention_hours: new.retention_hours,
            max_record_size_kib: new.max_record_size_kib,
            tags: new.tags.into_iter().collect(),
            replicas: new.replicas,
            now: Timestamp::from_millis(new.now_millis),
        }),
        Pb::ActivateStream(stream) => {
            Command::ActivateStream { name: stream_name(&stream.name)?, id: StreamId(stream.id) }
        }
        Pb::DeleteStream(stream) => Command::DeleteStream { name: stream_name(&stream.name)? },
        Pb::DropStream(stream) => {
            Command::DropStream { name: stream_name(&stream.name)?, id: StreamId(stream.id) }
        }
        Pb::ReplaceReplica(replace) => {
            Command::ReplaceReplica { group: GroupId(replace.group), lost: ReplicaId(replace.lost) }
        }
    })
}

/// An outcome as it is sent.
pub fn encode_outcome(outcome: &Outcome) -> Bytes {
    use pb::outcome::Outcome as Pb;
    let outcome = match outcome {
        Outcome::Done { version } => Pb::DoneVersion(*version),
        Outcome::Refused(Refusal::StreamExists { name }) => Pb::StreamExists(name.to_string()),
        Outcome::Refused(Refusal::StreamNotFound { name }) => Pb::StreamNotFound(name.to_string()),
        Outcome::Refused(Refusal::StreamNotActive { name }) => {
            Pb::StreamNotActive(name.to_string())
        }
        Outcome::Refused(Refusal::NoNodes) => Pb::NoNodes(true),
        Outcome::Refused(Refusal::Limit { what, actual, limit }) => {
            Pb::Limit(pb::Limit { what: (*what).into(), actual: *actual, limit: *limit })
        }
        Outcome::Refused(Refusal::ReplicaNotFound { group, replica }) => {
            Pb::ReplicaNotFound(pb::ReplaceReplica { group: group.0, lost: replica.0 })
        }
    };
    pb::Outcome { outcome: Some(outcome) }.encode_to_vec().into()
}

/// Reads what [`encode_outcome`] wrote.
///
/// # Errors
/// [`Error`] names the field.
pub fn decode_outcome(bytes: Bytes) -> Result<Outcome, Error> {
    use pb::outcome::Outcome as Pb;
    let refused = Outcome::Refused;
    Ok(match pb::Outcome::decode(bytes)?.outcome.ok_or(Error::Missing("outcome"))? {
        Pb::DoneVersion(version) => Outcome::Done { version },
        Pb::StreamExists(name) => refused(Refusal::StreamExists { name: stream_name(&name)? }),
        Pb::StreamNotFound(name) => refused(Refusal::StreamNotFound { name: stream_name(&name)? }),
        Pb::StreamNotActive(name) => {
            refused(Refusal::StreamNotActive { name: stream_name(&name)? })
        }
        Pb::NoNodes(_) => refused(Refusal::NoNodes),
        Pb::Limit(limit) => refused(Refusal::Limit {
            what: if limit.what == "ShardCount" { "ShardCount" } else { "limit" },
            actual: limit.actual,
            limit: limit.limit,
        }),
        Pb::ReplicaNotFound(replica) => refused(Refusal::ReplicaNotFound {
            group: GroupId(replica.group),
            replica: ReplicaId(replica.lost),
        }),
    })
}

fn node_message(id: NodeId, node: &Node) -> pb::Node {
    pb::Node {
        id: id.0,
        incarnation: node.incarnation.0,
        grpc_address: node.grpc_address.clone(),
        api_address: node.api_address.clone(),
        zone: node.zone.clone(),
    }
}

fn node(message: pb::Node) -> (NodeId, Node) {
    let node = Node {
        incarnation: Incarnation(message.incarnation),
        grpc_address: message.grpc_address,
        api_address: message.api_address,
        zone: message.zone,
        state: NodeState::Active,
    };
    (NodeId(message.id), node)
}

fn replica_message(replica: &Replica) -> pb::Replica {
    pb::Replica { id: replica.id.0, node: replica.node.0 }
}

fn replica(message: &pb::Replica) -> Replica {
    Replica { id: ReplicaId(message.id), node: NodeId(message.node) }
}

fn stream_ref(name: &StreamName, id: StreamId) -> pb::StreamRef {
    pb::StreamRef { name: name.to_string(), id: id.0 }
}

fn stream_name(text: &str) -> Result<StreamName, Error> {
    text.parse().map_err(|error: anabranch_types::ParseError| Error::Invalid {
        field: "stream.name",
        rule: error.to_string(),
    })
}

fn mode_message(mode: StreamMode) -> pb::StreamMode {
    match mode {
        StreamMode::Provisioned => pb::StreamMode::Provisioned,
        StreamMode::OnDemand => pb::StreamMode::OnDemand,
    }
}

fn stream_mode(mode: pb::StreamMode) -> Result<StreamMode, Error> {
    match mode {
        pb::StreamMode::Provisioned => Ok(StreamMode::Provisioned),
        pb::StreamMode::OnDemand => Ok(StreamMode::OnDemand),
        pb::StreamMode::Unspecified => Err(Error::Missing("stream.mode")),
    }
}

fn stream_message(name: &StreamName, stream: &Stream) -> pb::Stream {
    let status = match stream.status {
        StreamStatus::Creating => pb::StreamStatus::Creating,
        StreamStatus::Active => pb::StreamStatus::Active,
        StreamStatus::Deleting => pb::StreamStatus::Deleting,
    };
    pb::Stream {
        name: name.to_string(),
        id: stream.id.0,
        created_millis: stream.created.as_millis(),
        status: status.into(),
        mode: mode_message(stream.mode).into(),
        retention_hours: stream.retention_hours,
        max_record_size_kib: stream.max_record_size_kib,
        tags: stream.tags.clone().into_iter().collect(),
        shards: stream.shards.values().map(shard_message).collect(),
    }
}

fn stream(message: pb::Stream) -> Result<(StreamName, Stream), Error> {
    let status = match message.status() {
        pb::StreamStatus::Creating => StreamStatus::Creating,
        pb::StreamStatus::Active => StreamStatus::Active,
        pb::StreamStatus::Deleting => StreamStatus::Deleting,
        pb::StreamStatus::Unspecified => return Err(Error::Missing("stream.status")),
    };
    let shards: Result<BTreeMap<_, _>, _> =
        message.shards.iter().map(|m| shard(m).map(|shard| (shard.id, shard))).collect();
    let stream = Stream {
        mode: stream_mode(message.mode())?,
        id: StreamId(message.id),
        created: Timestamp::from_millis(message.created_millis),
        status,
        retention_hours: message.retention_hours,
        max_record_size_kib: message.max_record_size_kib,
        tags: message.tags.into_iter().collect(),
        shards: shards?,
    };
    Ok((stream_name(&message.name)?, stream))
}

fn shard_message(shard: &Shard) -> pb::Shard {
    let ending = match shard.status {
        ShardStatus::Open => String::new(),
        ShardStatus::Closed { ending } => ending.to_string(),
    };
    pb::Shard {
        id: shard.id.0,
        group: shard.group.0,
        hash_key_start: Bytes::copy_from_slice(&shard.range.start().0.to_be_bytes()),
        hash_key_end: Bytes::copy_from_slice(&shard.range.end().0.to_be_bytes()),
        created_millis: shard.created.as_millis(),
        ending_sequence_number: ending,
        replicas: shard.replicas.iter().map(replica_message).collect(),
    }
}

fn shard(message: &pb::Shard) -> Result<Shard, Error> {
    let key = |bytes: &Bytes, field| {
        let rule = || Error::Invalid { field, rule: "must have 16 bytes".into() };
        Ok::<_, Error>(HashKey(u128::from_be_bytes(bytes[..].try_into().map_err(|_| rule())?)))
    };
    let start = key(&message.hash_key_start, "shard.hash_key_start")?;
    let end = key(&message.hash_key_end, "shard.hash_key_end")?;
    let range = HashKeyRange::new(start, end).ok_or_else(|| Error::Invalid {
        field: "shard.hash_key_end",
        rule: "must not be below hash_key_start".into(),
    })?;
    let status = if message.ending_sequence_number.is_empty() {
        ShardStatus::Open
    } else {
        let ending = message.ending_sequence_number.parse();
        let rule = |error: anabranch_types::ParseError| Error::Invalid {
            field: "shard.ending_sequence_number",
            rule: error.to_string(),
        };
        ShardStatus::Closed { ending: ending.map_err(rule)? }
    };
    Ok(Shard {
        id: ShardId(message.id),
        group: GroupId(message.group),
        range,
        created: Timestamp::from_millis(message.created_millis),
        status,
        replicas: message.replicas.iter().map(replica).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        let voters = [Replica { id: ReplicaId(1), node: NodeId(1) }];
        let mut catalog = Catalog::bootstrap(&voters);
        for (index, command) in (1..).zip(commands()) {
            catalog.apply(index, command);
        }
        catalog
    }

    fn commands() -> Vec<Command> {
        let name: StreamName = "s".parse().unwrap();
        vec![
            Command::RegisterNode {
                node: NodeId(1),
                incarnation: Incarnation(9),
                grpc_address: "127.0.0.1:1".into(),
                api_address: "127.0.0.1:2".into(),
                zone: "z".into(),
            },
            Command::CreateStream(NewStream {
                name: name.clone(),
                shards: 3,
                mode: StreamMode::OnDemand,
                retention_hours: 24,
                max_record_size_kib: 1024,
                tags: BTreeMap::from([("k".into(), "v".into())]),
                replicas: 3,
                now: Timestamp::from_millis(5),
            }),
            Command::ActivateStream { name: name.clone(), id: StreamId(2) },
            Command::ReplaceReplica { group: GroupId(1), lost: ReplicaId(2) },
            Command::DeleteStream { name: name.clone() },
            Command::DropStream { name, id: StreamId(7) },
        ]
    }

    #[test]
    fn catalogs_read_what_they_wrote() {
        let catalog = catalog();
        assert_eq!(decode_catalog(encode_catalog(&catalog)), Ok(catalog));
    }

    #[test]
    fn commands_read_what_they_wrote() {
        for command in commands() {
            assert_eq!(decode_command(encode_command(&command)), Ok(command));
        }
    }

    #[test]
    fn outcomes_read_what_they_wrote() {
        let name: StreamName = "s".parse().unwrap();
        let refusals = [
            Refusal::StreamExists { name: name.clone() },
            Refusal::StreamNotFound { name: name.clone() },
            Refusal::StreamNotActive { name },
            Refusal::NoNodes,
            Refusal::Limit { what: "ShardCount", actual: 2, limit: 1 },
            Refusal::ReplicaNotFound { group: GroupId(1), replica: ReplicaId(2) },
        ];
        let outcomes = refusals.map(Outcome::Refused).into_iter();
        for outcome in outcomes.chain([Outcome::Done { version: 4 }]) {
            assert_eq!(decode_outcome(encode_outcome(&outcome)), Ok(outcome));
        }
    }
}
