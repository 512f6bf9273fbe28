//! Commands, as they are stored in the catalog's log, and sent to the leader of the catalog.
//!
//! Each family of commands has a file with both directions of its conversion. The message [`pb::Command`] knows no
//! families: all commands are fields of one oneof. To decode a message, each family in turn takes it, or hands it
//! back if the command belongs to another one. So a new command is added in the file of its family alone; a test
//! checks that every field of the oneof has golden bytes that decode.

mod account;
mod consumers;
mod decoded;
mod encryption;
mod groups;
mod nodes;
mod resources;
mod shards;
mod streams;
mod tables;
mod users;

use anabranch_catalog::Command;
use anabranch_types::Timestamp;
use bytes::Bytes;
use prost::Message;

use crate::error::Error;
use crate::generated::pb_catalog as pb;

use decoded::{Decoded, Pb};
pub(super) use shards::{job_of, job_ref, split_message};

const FAMILIES: [fn(Pb) -> Result<Decoded, Error>; 10] = [
    account::command,
    consumers::command,
    encryption::command,
    groups::command,
    nodes::command,
    resources::command,
    shards::command,
    streams::command,
    tables::command,
    users::command,
];

/// The bytes of a command.
pub fn encode_command(command: &Command) -> Bytes {
    command_message(command).encode_to_vec().into()
}

/// Decodes the bytes of [`encode_command`].
///
/// # Errors
/// [`Error`] names the field.
pub fn decode_command(bytes: Bytes) -> Result<Command, Error> {
    command(pb::Command::decode(bytes)?)
}

fn command_message(command: &Command) -> pb::Command {
    let command = match command {
        Command::Account(command) => account::message(command),
        Command::Consumer(command) => consumers::message(command),
        Command::Encryption(command) => encryption::message(command),
        Command::Group(command) => groups::message(command),
        Command::Node(command) => nodes::message(command),
        Command::Resource(command) => resources::message(command),
        Command::Shards(command) => shards::message(command),
        Command::Stream(command) => streams::message(command),
        Command::Table(command) => tables::message(command),
        Command::User(command) => users::message(command),
        Command::Limited { command, now } => Pb::Limited(Box::new(pb::Limited {
            command: Some(Box::new(command_message(command))),
            now_millis: now.as_millis(),
        })),
    };
    pb::Command { command: Some(command) }
}

fn command(message: pb::Command) -> Result<Command, Error> {
    let mut message = match message.command.ok_or(Error::Missing("command"))? {
        Pb::Limited(limited) => return limited_command(*limited),
        other => other,
    };
    for decode in FAMILIES {
        match decode(message)? {
            Decoded::Command(command) => return Ok(command),
            Decoded::Other(other) => message = other,
        }
    }
    Err(Error::Missing("command"))
}

fn limited_command(limited: pb::Limited) -> Result<Command, Error> {
    let inner = limited.command.ok_or(Error::Missing("limited.command"))?;
    if matches!(inner.command, Some(Pb::Limited(_))) {
        let rule = "must not be limited itself".into();
        return Err(Error::Invalid { field: "limited.command", rule });
    }
    let now = Timestamp::from_millis(limited.now_millis);
    Ok(Command::Limited { command: Box::new(command(*inner)?), now })
}
