//! Conversions of `anabranch.catalog.v1`: the catalog, its commands and its outcomes.
//!
//! The catalog is stored in checkpoints and sent to every node that follows it. Users are a large part of it and change
//! seldom, so a receiver that has the users of the same version gets the catalog without them.
//!
//! Golden bytes of every message are in `catalog/tests/golden/`.

use anabranch_catalog::{Catalog, Commitment, FormerNames, Users};
use anabranch_types::{StreamName, Timestamp};
use bytes::Bytes;
use prost::Message;

use crate::error::Error;
use crate::generated::pb_catalog as pb;

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a family of commands hands messages of all other families back"
)]
mod commands;
mod nodes;
mod outcomes;
mod streams;
mod tables;
#[cfg(test)]
mod tests;
mod users;
mod values;

pub use commands::{decode_command, encode_command};
pub use outcomes::{decode_outcome, encode_outcome};

use nodes::{
    move_message, moving, node, node_message, recovered, recovered_message, replica,
    replica_message,
};
use streams::{stream, stream_message};
use tables::{table_group, table_group_message};
use values::stream_name;

/// The whole catalog, as it is stored, and sent to a receiver that has no version of it.
pub fn encode_catalog(catalog: &Catalog) -> Bytes {
    let users = catalog.users.iter().map(|(name, user)| users::message(name, user)).collect();
    pb::Catalog { users, ..message_without_users(catalog) }.encode_to_vec().into()
}

/// The catalog without its users, for a receiver that has users of the same version.
pub fn encode_catalog_without_users(catalog: &Catalog) -> Bytes {
    let message = pb::Catalog { users_left_out: true, ..message_without_users(catalog) };
    message.encode_to_vec().into()
}

fn message_without_users(catalog: &Catalog) -> pb::Catalog {
    pb::Catalog {
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
        founders: catalog.founders.iter().map(replica_message).collect(),
        moving: catalog.moving.as_ref().map(move_message),
        balancing_paused: catalog.balancing_paused,
        rebalance: catalog.rebalance.unwrap_or_default(),
        commitment: catalog.commitment.map(|commitment| pb::Commitment {
            started_millis: commitment.started.as_millis(),
            ends_millis: commitment.ends.map(Timestamp::as_millis),
        }),
        users: Vec::new(),
        users_version: catalog.users.version(),
        users_left_out: false,
        former_names: catalog.former_names.names().iter().map(former_name_message).collect(),
        other_births_millis: catalog.former_names.others().as_millis(),
        recovered: catalog.recovered.iter().map(recovered_message).collect(),
        table_groups: catalog.table_groups.iter().map(table_group_message).collect(),
    }
}

/// Decodes the bytes of [`encode_catalog`].
///
/// # Errors
/// [`Error`] names the field.
pub fn decode_catalog(bytes: Bytes) -> Result<Catalog, Error> {
    decode_catalog_after(bytes, &Users::default())
}

/// Decodes the bytes of [`encode_catalog`] or [`encode_catalog_without_users`]. In the second case the users are
/// `known`.
///
/// # Errors [`Error`] names the field. It is `catalog.users` if the bytes have no users and those in `known` are of
/// another version.
pub fn decode_catalog_after(bytes: Bytes, known: &Users) -> Result<Catalog, Error> {
    let message = pb::Catalog::decode(bytes)?;
    let users = match message.users_left_out {
        true if message.users_version == known.version() => known.clone(),
        true => return Err(Error::Missing("catalog.users")),
        false => users::users(message.users_version, message.users)?,
    };
    let streams = message.streams.into_iter().map(stream).collect::<Result<_, _>>()?;
    let table_groups =
        message.table_groups.into_iter().map(table_group).collect::<Result<_, _>>()?;
    Ok(Catalog {
        version: message.version,
        nodes: message.nodes.into_iter().map(node).collect(),
        replicas: message.replicas.iter().map(replica).collect(),
        streams,
        table_groups,
        next_group: message.next_group,
        next_replica: message.next_replica,
        founders: message.founders.iter().map(replica).collect(),
        moving: message.moving.map(moving).transpose()?,
        balancing_paused: message.balancing_paused,
        rebalance: (message.rebalance != 0).then_some(message.rebalance),
        commitment: message.commitment.map(|commitment| Commitment {
            started: Timestamp::from_millis(commitment.started_millis),
            ends: commitment.ends_millis.map(Timestamp::from_millis),
        }),
        users,
        former_names: former_names(message.former_names, message.other_births_millis)?,
        recovered: message.recovered.iter().map(recovered).collect(),
    })
}

fn former_name_message((name, birth): (&StreamName, &Timestamp)) -> pb::FormerName {
    pb::FormerName { name: name.to_string(), newest_birth_millis: birth.as_millis() }
}

fn former_names(names: Vec<pb::FormerName>, others_millis: u64) -> Result<FormerNames, Error> {
    let read = |former: pb::FormerName| {
        let birth = Timestamp::from_millis(former.newest_birth_millis);
        Ok::<_, Error>((stream_name(&former.name)?, birth))
    };
    let newest = names.into_iter().map(read).collect::<Result<_, _>>()?;
    Ok(FormerNames::new(newest, Timestamp::from_millis(others_millis)))
}
