//! An intent: the row that says which records are about to be delivered, and as which objects.
//!
//! It is written before the first object is put, and deleted in the transaction that moves the positions of the shards.
//! So a later owner of the pipeline knows each object that may exist, and can make the others again.

use anabranch_shard::Position;
use anabranch_types::ShardId;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::definition::Destination;

/// A batch that is being delivered.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Intent {
    /// Number of the configuration that the objects are made with.
    pub version: u64,
    /// That configuration. It may have changed since then.
    pub destination: Destination,
    /// The records, in the order in which they are in the objects.
    pub runs: Vec<ReadRun>,
    /// The objects.
    pub objects: Vec<IntentObject>,
}

/// Neighbouring records of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ReadRun {
    /// The shard.
    pub shard: u32,
    /// Log index and offset of the first record.
    pub first: (u64, u16),
    /// Log index and offset of the position after the last record.
    pub next: (u64, u16),
    /// Whether the shard is closed and ends before `next`.
    #[serde(default)]
    pub ends: bool,
}

/// An object that is put, or was.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct IntentObject {
    /// Name of the bucket.
    pub bucket: String,
    /// Key.
    pub key: String,
    /// Number of records.
    pub records: u64,
    /// SHA-256 of the records, in order: shard, position, and the bytes before compression.
    pub digest: String,
}

impl ReadRun {
    /// The shard.
    pub fn shard(&self) -> ShardId {
        ShardId(self.shard)
    }

    /// Position of the first record.
    pub fn first(&self) -> Position {
        Position { log_index: self.first.0, offset: self.first.1 }
    }

    /// Position after the last record.
    pub fn next(&self) -> Position {
        Position { log_index: self.next.0, offset: self.next.1 }
    }
}

impl Intent {
    /// Reads a row.
    ///
    /// # Errors
    /// A text for operators.
    pub fn decode(row: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(row).map_err(|error| format!("an intent can't be read: {error}"))
    }

    /// The row.
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}
