//! Commands of encryption.

use anabranch_catalog::{EncryptionCommand, StreamId};
use anabranch_types::Timestamp;

use super::decoded::{Decoded, Pb};
use crate::catalog::values::{stream_name, stream_ref};
use crate::error::Error;
use crate::generated::pb_catalog as pb;

pub(super) fn message(command: &EncryptionCommand) -> Pb {
    match command {
        EncryptionCommand::Start { name, id, master_key, wrapped, now } => {
            Pb::StartEncryption(pb::StartEncryption {
                stream: name.to_string(),
                stream_id: id.map(|id| id.0),
                master_key: master_key.clone(),
                wrapped: wrapped.clone().into(),
                now_millis: now.as_millis(),
            })
        }
        EncryptionCommand::Stop { name } => Pb::StopEncryption(name.to_string()),
        EncryptionCommand::RotateDataKey { name, id, used, wrapped, now } => {
            Pb::RotateDataKey(pb::RotateDataKey {
                stream: Some(stream_ref(name, *id)),
                used: *used,
                wrapped: wrapped.clone().into(),
                now_millis: now.as_millis(),
            })
        }
        EncryptionCommand::Settle { name, id, change } => Pb::SettleEncryption(pb::EncryptionRef {
            stream: Some(stream_ref(name, *id)),
            change: *change,
        }),
    }
}

pub(super) fn command(message: Pb) -> Result<Decoded, Error> {
    let command = match message {
        Pb::StartEncryption(start) => EncryptionCommand::Start {
            name: stream_name(&start.stream)?,
            id: start.stream_id.map(StreamId),
            master_key: start.master_key,
            wrapped: start.wrapped.into(),
            now: Timestamp::from_millis(start.now_millis),
        },
        Pb::StopEncryption(name) => EncryptionCommand::Stop { name: stream_name(&name)? },
        Pb::RotateDataKey(rotate) => {
            let stream = rotate.stream.ok_or(Error::Missing("rotate_data_key.stream"))?;
            EncryptionCommand::RotateDataKey {
                name: stream_name(&stream.name)?,
                id: StreamId(stream.id),
                used: rotate.used,
                wrapped: rotate.wrapped.into(),
                now: Timestamp::from_millis(rotate.now_millis),
            }
        }
        Pb::SettleEncryption(settle) => {
            let stream = settle.stream.ok_or(Error::Missing("settle_encryption.stream"))?;
            let (name, id) = (stream_name(&stream.name)?, StreamId(stream.id));
            EncryptionCommand::Settle { name, id, change: settle.change }
        }
        other => return Ok(Decoded::Other(other)),
    };
    Ok(Decoded::Command(command.into()))
}
