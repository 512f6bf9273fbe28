//! Commands of consumers.

use anabranch_catalog::{ConsumerCommand, StreamId};
use anabranch_types::Timestamp;

use super::decoded::{Decoded, Pb};
use crate::catalog::values::{consumer_name, stream_name, stream_ref};
use crate::error::Error;
use crate::generated::pb_catalog as pb;

pub(super) fn message(command: &ConsumerCommand) -> Pb {
    match command {
        ConsumerCommand::Register { name, consumer, tags, now } => {
            Pb::RegisterConsumer(pb::RegisterConsumer {
                stream: name.to_string(),
                consumer: consumer.to_string(),
                tags: tags.clone().into_iter().collect(),
                now_millis: now.as_millis(),
            })
        }
        ConsumerCommand::Deregister { name, consumer, created } => {
            Pb::DeregisterConsumer(pb::ConsumerRef {
                stream: name.to_string(),
                consumer: consumer.to_string(),
                created_millis: created.as_millis(),
            })
        }
        ConsumerCommand::Settle { name, id } => Pb::SettleConsumers(stream_ref(name, *id)),
    }
}

pub(super) fn command(message: Pb) -> Result<Decoded, Error> {
    let command = match message {
        Pb::RegisterConsumer(register) => ConsumerCommand::Register {
            name: stream_name(&register.stream)?,
            consumer: consumer_name(&register.consumer)?,
            tags: register.tags.into_iter().collect(),
            now: Timestamp::from_millis(register.now_millis),
        },
        Pb::DeregisterConsumer(consumer) => ConsumerCommand::Deregister {
            name: stream_name(&consumer.stream)?,
            consumer: consumer_name(&consumer.consumer)?,
            created: Timestamp::from_millis(consumer.created_millis),
        },
        Pb::SettleConsumers(stream) => {
            ConsumerCommand::Settle { name: stream_name(&stream.name)?, id: StreamId(stream.id) }
        }
        other => return Ok(Decoded::Other(other)),
    };
    Ok(Decoded::Command(command.into()))
}
