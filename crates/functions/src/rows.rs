//! The rows of functions and mappings in the services' table group.
//!
//! | space | key | value |
//! | --- | --- | --- |
//! | [`DEFINITIONS`] | `function/NAME` | [`FunctionSpec`] as JSON |
//! | | `mapping/UUID` | [`MappingSpec`] as JSON |
//! | | `mappings` | nothing: each change of a mapping writes it, so that a reader of all mappings notices |
//! | [`CHECKPOINTS`] | `UUID/STREAM/SHARD` | [`Checkpoint`](crate::Checkpoint) |
//!
//! STREAM is the number that tells a stream from a later one of the same name. All names are stored: never change them.

use anabranch_catalog::StreamId;
use anabranch_client::ShownRows;
use anabranch_types::{ShardId, StreamName};
use bytes::Bytes;
use uuid::Uuid;

use crate::checkpoint::Checkpoint;
use crate::function::{Function, FunctionSpec};
use crate::invalid::Invalid;
use crate::mapping::{Mapping, MappingSpec};

/// Name of the space with the definitions.
pub(crate) const DEFINITIONS: &str = "functions/definitions";
/// Name of the space with the checkpoints.
pub(crate) const CHECKPOINTS: &str = "functions/checkpoints";
/// Key of the row that each change of a mapping writes.
pub(crate) const MAPPINGS_CHANGED: &[u8] = b"mappings";
/// What the keys of functions begin with.
pub(crate) const FUNCTIONS: &[u8] = b"function/";
/// What the keys of mappings begin with.
pub(crate) const MAPPINGS: &[u8] = b"mapping/";

pub(crate) fn function_key(name: &str) -> Bytes {
    [FUNCTIONS, name.as_bytes()].concat().into()
}

pub(crate) fn mapping_key(id: Uuid) -> Bytes {
    [MAPPINGS, id.to_string().as_bytes()].concat().into()
}

/// What the keys of the checkpoints of a mapping begin with.
pub(crate) fn checkpoints_of(id: Uuid) -> Bytes {
    format!("{id}/").into()
}

pub(crate) fn checkpoint_key(id: Uuid, stream: StreamId, shard: ShardId) -> Bytes {
    format!("{id}/{}/{}", stream.0, shard.0).into()
}

/// The end of the keys that begin with `prefix`, which does not end with the highest byte.
pub(crate) fn end_of(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end.into()
}

/// The mapping in the value of a row.
pub(crate) fn mapping(value: &[u8]) -> Result<(MappingSpec, Mapping), Invalid> {
    let spec = MappingSpec::parse(value)?;
    let mapping = Mapping::check(&spec)?;
    Ok((spec, mapping))
}

/// The id of the mapping in the value of a row, and its stream if it is enabled. Checks nothing else, because the
/// dispatcher calls it often.
pub(crate) fn wanted_stream(value: &[u8]) -> Result<(Uuid, Option<StreamName>), Invalid> {
    let spec = MappingSpec::parse(value)?;
    let name = spec.stream_name.rsplit('/').next().unwrap_or_default();
    let stream = name.parse().map_err(|error| Invalid::new("StreamName", error))?;
    Ok((spec.uuid, spec.enabled.then_some(stream)))
}

/// The function in the value of a row.
pub(crate) fn function(value: &[u8]) -> Result<(FunctionSpec, Function), Invalid> {
    let spec = FunctionSpec::parse(value)?;
    let function = Function::check(&spec)?;
    Ok((spec, function))
}

/// The shards of a stream that a mapping has finished.
pub(crate) fn is_finished(
    checkpoints: &ShownRows,
    mapping: Uuid,
    stream: StreamId,
    shard: ShardId,
) -> bool {
    let row = checkpoints.get(&checkpoint_key(mapping, stream, shard));
    let checkpoint = row.and_then(|row| Checkpoint::decode(&row.value).ok());
    checkpoint.is_some_and(|checkpoint| checkpoint.is_finished)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_never_change() {
        let id = Uuid::from_u128(7);
        assert_eq!(function_key("f"), "function/f");
        assert_eq!(mapping_key(id), "mapping/00000000-0000-0000-0000-000000000007");
        assert_eq!(
            checkpoint_key(id, StreamId(3), ShardId(12)),
            "00000000-0000-0000-0000-000000000007/3/12"
        );
        assert_eq!(end_of(MAPPINGS), "mapping0");
    }
}
