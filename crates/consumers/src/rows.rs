//! The rows of groups in the services' table group.
//!
//! | space | key | value, as JSON |
//! | --- | --- | --- |
//! | [`DEFINITIONS`] | `STREAM/GROUP` | [`Definition`] |
//! | [`STATE`] | `STREAM/GROUP/ID/m/MEMBER` | [`StoredMember`] |
//! | | `STREAM/GROUP/ID/s/STREAM-ID/SHARD` | [`StoredShard`] |
//! | | `STREAM/GROUP/ID/turn` | nothing: each transaction of the coordinator expects and writes it |
//!
//! ID tells a group from others of its name, STREAM-ID a stream from others of its name. So the remains of a group that
//! was deleted, or never made, never belong to a later one: the coordinator deletes them. Every node keeps a copy of
//! the definitions, which decide about jobs. Rows of the other space are written by the coordinator, and once before it
//! by the Join that makes a group at the newest records. All names are stored: never change them.

use anabranch_catalog::StreamId;
use anabranch_shard::{Position, Start};
use anabranch_types::ShardId;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::name::{GroupKey, MemberId};

/// Name of the space with the definitions.
pub(crate) const DEFINITIONS: &str = "consumers/groups";
/// Name of the space with members and shards.
pub(crate) const STATE: &str = "consumers/state";

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Definition {
    /// Tells the group from others of its name: 16 random bytes.
    pub(crate) id: GroupId,
    /// Creation, in milliseconds since 1970.
    pub(crate) created_millis: u64,
    /// Where the group reads shards that it has no checkpoint of.
    pub(crate) start: GroupStart,
    /// The member whose Join made the group.
    pub(crate) creator: String,
}

/// Where a group begins to read a shard that it has no checkpoint of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum GroupStart {
    /// At the oldest retained record. Also if the group began at the newest records: then it has a checkpoint of each
    /// shard of that time.
    TrimHorizon,
    /// At the first record that arrived then or later, in milliseconds since 1970.
    AtMillis(u64),
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredMember {
    /// Text of the member about itself.
    pub(crate) description: String,
    /// How long it may be silent, in milliseconds.
    pub(crate) session_millis: u32,
    /// When it joined, in milliseconds since 1970.
    pub(crate) joined_millis: u64,
}

/// A shard, as the group knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredShard {
    /// Where the next owner begins: log index and offset. `None` without a checkpoint.
    pub(crate) next: Option<(u64, u16)>,
    /// The shard has ended, and all its records are processed.
    pub(crate) finished: bool,
    /// The member that reads the shard.
    pub(crate) owner: Option<String>,
    /// Number of that ownership. It rises with each owner.
    pub(crate) epoch: u64,
}

/// Id of a group, 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupId(String);

impl GroupId {
    pub(crate) fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }
}

/// Part of the state space that a key names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StateKey {
    Turn,
    Member(MemberId),
    Shard(StreamId, ShardId),
}

impl StoredShard {
    pub(crate) fn position(&self) -> Option<Position> {
        self.next.map(|(log_index, offset)| Position { log_index, offset })
    }

    pub(crate) fn at(next: Position) -> Self {
        Self { next: Some((next.log_index, next.offset)), ..Self::default() }
    }
}

impl GroupStart {
    pub(crate) fn of(start: Start) -> Self {
        match start {
            Start::AtTimestamp(time) => Self::AtMillis(time.as_millis()),
            Start::TrimHorizon | Start::Latest | Start::At(_) => Self::TrimHorizon,
        }
    }
}

pub(crate) fn definition_key(group: &GroupKey) -> Bytes {
    group.to_string().into()
}

/// Prefix of the keys of members and shards of all groups of this name.
pub(crate) fn state_of(group: &GroupKey) -> Bytes {
    format!("{group}/").into()
}

/// The end of the keys that begin with [`state_of`]: the slash is the last byte before it.
pub(crate) fn state_end(group: &GroupKey) -> Bytes {
    format!("{group}0").into()
}

pub(crate) fn turn_key(group: &GroupKey, id: &GroupId) -> Bytes {
    format!("{group}/{}/turn", id.0).into()
}

pub(crate) fn member_key(group: &GroupKey, id: &GroupId, member: &MemberId) -> Bytes {
    format!("{group}/{}/m/{member}", id.0).into()
}

pub(crate) fn shard_key(group: &GroupKey, id: &GroupId, stream: StreamId, shard: ShardId) -> Bytes {
    format!("{group}/{}/s/{}/{}", id.0, stream.0, shard.0).into()
}

/// Reads the end of a key of the state space, after [`state_of`]: the id of the group, and what the row is of.
pub(crate) fn parse_state_key(rest: &[u8]) -> Option<(GroupId, StateKey)> {
    let (id, rest) = std::str::from_utf8(rest).ok()?.split_once('/')?;
    let key = if rest == "turn" {
        StateKey::Turn
    } else if let Some(member) = rest.strip_prefix("m/") {
        StateKey::Member(member.parse().ok()?)
    } else {
        let (stream, shard) = rest.strip_prefix("s/")?.split_once('/')?;
        StateKey::Shard(StreamId(stream.parse().ok()?), ShardId(shard.parse().ok()?))
    };
    Some((GroupId(id.to_owned()), key))
}

pub(crate) fn encode(row: &impl Serialize) -> Bytes {
    // Writing to memory can't fail, and all rows have a JSON form.
    serde_json::to_vec(row).unwrap_or_default().into()
}

/// Reads a stored row.
///
/// # Errors
/// A text for operators, if it is a row of a later release or damaged.
pub(crate) fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, String> {
    serde_json::from_slice(value).map_err(|error| {
        format!("the stored row {} can't be read: {error}", String::from_utf8_lossy(key))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_never_change_and_read_back() {
        let group: GroupKey = "orders/bill-ing".parse().unwrap();
        let member: MemberId = "a.b".parse().unwrap();
        let id = GroupId("1f".to_owned());
        assert_eq!(definition_key(&group), "orders/bill-ing");
        let keys = [
            (turn_key(&group, &id), "orders/bill-ing/1f/turn", StateKey::Turn),
            (
                member_key(&group, &id, &member),
                "orders/bill-ing/1f/m/a.b",
                StateKey::Member(member),
            ),
            (
                shard_key(&group, &id, StreamId(7), ShardId(12)),
                "orders/bill-ing/1f/s/7/12",
                StateKey::Shard(StreamId(7), ShardId(12)),
            ),
        ];
        for (key, golden, parsed) in keys {
            assert_eq!(key, golden);
            let prefix = state_of(&group);
            assert!(key > prefix && key < state_end(&group));
            assert_eq!(parse_state_key(&key[prefix.len()..]), Some((id.clone(), parsed)));
        }
        for other in
            ["", "i", "i/x/1", "i/m/", "i/m/a/b", "i/s/1", "i/s/a/1", "i/s/1/2/3", "i/turns"]
        {
            assert_eq!(parse_state_key(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn stored_rows_never_change() {
        let definition = Definition {
            id: GroupId("1f".to_owned()),
            created_millis: 5,
            start: GroupStart::AtMillis(9),
            creator: "a".to_owned(),
        };
        let golden = r#"{"id":"1f","created_millis":5,"start":{"at-millis":9},"creator":"a"}"#;
        assert_eq!(encode(&definition), golden);
        assert_eq!(decode(b"", golden.as_bytes()), Ok(definition));
        let member = StoredMember {
            description: "host".to_owned(),
            session_millis: 10_000,
            joined_millis: 6,
        };
        let golden = r#"{"description":"host","session_millis":10000,"joined_millis":6}"#;
        assert_eq!(encode(&member), golden);
        assert_eq!(decode(b"", golden.as_bytes()), Ok(member));
        let shard = StoredShard {
            owner: Some("a".to_owned()),
            epoch: 3,
            ..StoredShard::at(Position { log_index: 4, offset: 2 })
        };
        let golden = r#"{"next":[4,2],"finished":false,"owner":"a","epoch":3}"#;
        assert_eq!(encode(&shard), golden);
        assert_eq!(decode(b"", golden.as_bytes()), Ok(shard));
        assert!(decode::<StoredShard>(b"k", b"{}").is_err());
    }
}
