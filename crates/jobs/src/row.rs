//! The row of a job: its owner. Rows are in the space [`SPACE`] of the services' table group.
//!
//! ```text
//! no row -- assigned --> owned -- dispatcher wants another owner --> leaving
//!                          |                                            |
//!                          +--- the owner gives the job up -----------> free -- assigned, with a new epoch --> owned
//! ```
//!
//! The value begins with the epoch, eight bytes, least significant first. The table group compares it
//! ([`Expect::Epoch`](anabranch_table::Expect::Epoch)), so a former owner can change nothing. JSON follows.

use anabranch_table::epoch_of;
use anabranch_types::{NodeId, Timestamp};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Name of the space with the rows of jobs. Stored: never change it.
pub(crate) const SPACE: &str = "jobs/owners";
const EPOCH_BYTES: usize = 8;

/// The row of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    /// Rises with each owner. It is above every epoch of every job that was ever in the space, also if the row of this
    /// job was deleted in between.
    pub epoch: u64,
    /// The owner.
    pub owner: Owner,
}

/// The owner of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// The node does the work.
    Owned {
        /// The node.
        #[serde(with = "number")]
        node: NodeId,
        /// When it became the owner.
        #[serde(with = "millis")]
        since: Timestamp,
        /// The node is to end its work and give the job up.
        leaving: bool,
    },
    /// No node does the work.
    Free {
        /// The node that gave the job up. Another one is preferred.
        #[serde(with = "some_number")]
        left_by: Option<NodeId>,
    },
}

/// Why a stored row could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the row of a job can't be read: {0}")]
pub struct RowError(String);

impl JobRow {
    /// The stored form.
    pub fn encode(&self) -> Bytes {
        let mut value = self.epoch.to_le_bytes().to_vec();
        // Writing to a Vec can't fail, and all values have a JSON form.
        let _always_written = serde_json::to_writer(&mut value, &self.owner);
        value.into()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// If the value is no row of a job.
    pub fn decode(value: &[u8]) -> Result<Self, RowError> {
        let epoch = epoch_of(value).ok_or_else(|| RowError("it has no epoch".to_owned()))?;
        let rest = value.get(EPOCH_BYTES..).unwrap_or_default();
        let owner = serde_json::from_slice(rest).map_err(|error| RowError(error.to_string()))?;
        Ok(Self { epoch, owner })
    }

    /// The node that does the work, also while it is to end it.
    pub fn node(&self) -> Option<NodeId> {
        match self.owner {
            Owner::Owned { node, .. } => Some(node),
            Owner::Free { .. } => None,
        }
    }
}

mod number {
    use anabranch_types::NodeId;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(node: &NodeId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(node.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<NodeId, D::Error> {
        u64::deserialize(from).map(NodeId)
    }
}

mod some_number {
    use anabranch_types::NodeId;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        node: &Option<NodeId>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        node.map(|node| node.0).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<NodeId>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(NodeId))
    }
}

mod millis {
    use anabranch_types::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(time.as_millis())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(from).map(Timestamp::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_rows_never_change() {
        let since = Timestamp::from_millis(1_700_000_000_000);
        let owned = Owner::Owned { node: NodeId(3), since, leaving: false };
        let free = Owner::Free { left_by: Some(NodeId(2)) };
        for (epoch, owner, golden) in [
            (
                258,
                owned,
                &b"\x02\x01\0\0\0\0\0\0{\"owned\":{\"node\":3,\"since\":1700000000000,\"leaving\":false}}"[..],
            ),
            (1, free, b"\x01\0\0\0\0\0\0\0{\"free\":{\"left_by\":2}}"),
        ] {
            let row = JobRow { epoch, owner };
            assert_eq!(row.encode(), golden);
            assert_eq!(JobRow::decode(golden), Ok(row));
        }
    }

    #[test]
    fn other_bytes_are_no_row() {
        for value in [
            &b""[..],
            b"\x01\0",
            b"\x01\0\0\0\0\0\0\0",
            b"\x01\0\0\0\0\0\0\0{}",
            b"12345678{\"owned\":{}}",
        ] {
            assert!(JobRow::decode(value).is_err(), "{value:?}");
        }
    }
}
