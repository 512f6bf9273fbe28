//! The rows of delivery streams in the services' table group.
//!
//! | space | key | value |
//! | --- | --- | --- |
//! | [`STREAMS`] | name | [`Definition`] as JSON |
//! | [`POSITIONS`] | `ID/at/STREAM/SHARD` | [`At`] as JSON: how far a shard is delivered |
//! | | `ID/intent/NUMBER` | [`Intent`](crate::intent::Intent) as JSON: a batch that is being delivered |
//!
//! ID is the delivery stream's, STREAM the number of the source stream. NUMBER has twenty digits. All names are stored:
//! never change them.

use anabranch_catalog::StreamId;
use anabranch_client::ShownRows;
use anabranch_shard::Position;
use anabranch_types::ShardId;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::definition::Definition;

/// Name of the space with the definitions.
pub const STREAMS: &str = "delivery/streams";
/// Name of the space with positions and intents.
pub const POSITIONS: &str = "delivery/positions";

/// How far a shard is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct At {
    /// Log index of the first record that is not delivered.
    pub log_index: u64,
    /// Offset of that record in its log entry.
    pub offset: u16,
    /// Whether the shard is closed and all of it is delivered.
    #[serde(default)]
    pub finished: bool,
}

impl At {
    /// At a position.
    pub fn position(position: Position) -> Self {
        Self { log_index: position.log_index, offset: position.offset, finished: false }
    }

    /// The position of the first record that is not delivered.
    pub fn next(self) -> Position {
        Position { log_index: self.log_index, offset: self.offset }
    }

    /// Reads a row. A row that can't be read is no row.
    pub fn decode(row: &[u8]) -> Option<Self> {
        serde_json::from_slice(row).ok()
    }

    /// The row.
    pub fn encode(self) -> Bytes {
        serde_json::to_vec(&self).unwrap_or_default().into()
    }
}

/// The beginning of the keys of the positions of a delivery stream's shards.
pub fn positions_of(id: Uuid, stream: StreamId) -> Bytes {
    format!("{id}/at/{}/", stream.0).into()
}

/// The key of the position of a shard.
pub fn position_key(id: Uuid, stream: StreamId, shard: ShardId) -> Bytes {
    format!("{id}/at/{}/{}", stream.0, shard.0).into()
}

/// The beginning of the keys of the intents of a delivery stream.
pub fn intents_of(id: Uuid) -> Bytes {
    format!("{id}/intent/").into()
}

/// The key of an intent.
pub fn intent_key(id: Uuid, number: u64) -> Bytes {
    format!("{id}/intent/{number:020}").into()
}

/// The beginning of all keys of a delivery stream in [`POSITIONS`].
pub fn all_of(id: Uuid) -> Bytes {
    format!("{id}/").into()
}

/// The end of the keys that begin with `prefix`, which does not end with the highest byte.
pub fn end_of(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end.into()
}

/// The definition of this name in a copy of [`STREAMS`]. `None` also if it is of a later release.
pub fn definition(rows: &ShownRows, name: &str) -> Option<Definition> {
    Definition::decode(&rows.get(name.as_bytes())?.value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_positions_never_change() {
        let id = Uuid::from_u128(7);
        let text = "00000000-0000-0000-0000-000000000007";
        assert_eq!(position_key(id, StreamId(3), ShardId(12)), format!("{text}/at/3/12"));
        assert_eq!(intent_key(id, 5), format!("{text}/intent/00000000000000000005"));
        assert_eq!(end_of(&intents_of(id)), format!("{text}/intent0"));
        let at = At { log_index: 9, offset: 2, finished: false };
        assert_eq!(at.encode(), r#"{"log_index":9,"offset":2,"finished":false}"#);
        assert_eq!(At::decode(&at.encode()), Some(at));
    }
}
