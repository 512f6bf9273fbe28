//! Rows, their keys and their versions.

use std::fmt;

use bytes::{Buf, Bytes};

/// Number of a space in its group. The group assigns it, from 1 on, and never assigns it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpaceId(pub u32);

impl fmt::Display for SpaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The place of a row. Keys are ordered by space, then byte by byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Number of the space.
    pub space: SpaceId,
    /// Key within the space: 1 byte to [`Limits::key_bytes`](crate::Limits::key_bytes).
    pub key: Bytes,
}

/// Id of a transaction. The proposer chooses it at random.
///
/// A row keeps the id of its last transaction. So a proposer that does not know the outcome of a transaction reads the
/// row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TransactionId(pub [u8; 16]);

/// Number of a change. It rises with each transaction that changes the group, and all rows that a transaction writes
/// have the same version.
///
/// Shape: the log index of the entry in the upper 56 bits, the place of the transaction in its entry in the lower 8.
/// So two transactions of one entry have different versions. Without the place, a transaction that expects a version
/// could not tell that an earlier transaction of its own entry has changed the row. And no two transactions ever have
/// the same version, even if the group begins again from a checkpoint, because log indexes rise for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// The version of a group that nothing has changed. Older than every change.
    pub const START: Self = Self(0);
    /// The last log index that fits into a version.
    pub const MAX_LOG_INDEX: u64 = (1 << 56) - 1;

    /// Version of the transaction at `place` in the entry at `log_index`, which is at most [`Self::MAX_LOG_INDEX`].
    pub const fn new(log_index: u64, place: u8) -> Self {
        Self(log_index << 8 | place as u64)
    }

    /// The version whose number [`Self::as_u64`] returned.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The version as a number, to send and to store it.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Log index of the entry. A replica that has applied this entry can show the version.
    pub const fn log_index(self) -> u64 {
        self.0 >> 8
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.log_index(), self.0 & 0xff)
    }
}

/// Contents of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Version of the last change.
    pub version: Version,
    /// Id of the transaction that made the last change.
    pub writer: TransactionId,
    /// The value: at most [`Limits::value_bytes`](crate::Limits::value_bytes).
    pub value: Bytes,
}

/// Bytes that a row counts for beside its key and its value. It is about the memory that a row takes: two allocations
/// in the tree (136 bytes), the two reference counts of key and value (48 bytes), and rounding by the allocator. So a
/// full group of small rows takes no more memory than a full group of large rows.
const ROW_OVERHEAD_BYTES: u64 = 200;

/// Bytes that a row counts for, in its space and in its group: key, value, and 200 bytes of overhead.
pub const fn row_bytes(key: &[u8], value: &[u8]) -> u64 {
    ROW_OVERHEAD_BYTES + key.len() as u64 + value.len() as u64
}

/// The epoch in a value that begins with one, as values of jobs do: the first 8 bytes, little endian. `None` if the
/// value is shorter.
pub fn epoch_of(value: &[u8]) -> Option<u64> {
    let mut value = value;
    value.try_get_u64_le().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_entry_and_then_by_place() {
        let ordered = [
            Version::START,
            Version::new(1, 0),
            Version::new(1, 255),
            Version::new(2, 0),
            Version::new(Version::MAX_LOG_INDEX, 255),
        ];
        assert!(ordered.is_sorted_by(|a, b| a < b));
        assert_eq!(Version::new(7, 3).log_index(), 7);
        assert_eq!(Version::new(7, 3).to_string(), "7.3");
        assert_eq!(Version::from_u64(Version::new(7, 3).as_u64()), Version::new(7, 3));
    }

    #[test]
    fn an_epoch_is_the_first_eight_bytes() {
        assert_eq!(epoch_of(b"\x02\x01\0\0\0\0\0\0rest"), Some(0x0102));
        assert_eq!(epoch_of(b"\x02\x01\0\0\0\0\0"), None);
    }
}
