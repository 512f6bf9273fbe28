//! Names of a group's state rows, and their stored form: one tag byte and a log index.
//!
//! The replica writes the rows and knows their values. The store only keeps them. A tag is never reused, because rows
//! of older releases stay on the disk.

/// Name of one state row of a group. Stored: append variants, never reuse a tag.
///
/// | tag | variant | value | lifetime |
/// | --- | --- | --- | --- |
/// | 1 | `Committed` | the replica's committed log id | until overwritten |
/// | 2 | `Snapshot` | the replica's current snapshot | until overwritten |
/// | 3 | `Checkpoint(log index)` | membership and machine state as of the index | until the log is trimmed past it |
/// | 4 | `Replica` | the replica's id and how it was made | as long as the replica |
/// | 5 | `Machine` | the machine state as of its last applied entry | until overwritten |
/// | 6 | `Founders` | the replicas that the catalog's group began with | as long as the replica |
///
/// Encoded as the tag byte and the log index (0 for variants without one) as eight big-endian bytes. So checkpoints
/// sort by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateKey {
    /// Last log id known to be committed.
    Committed,
    /// Current snapshot.
    Snapshot,
    /// Membership and machine state as of a log index.
    Checkpoint(u64),
    /// The replica's id and how it was made.
    Replica,
    /// Latest state of the machine.
    Machine,
    /// Replicas that the catalog's group began with.
    Founders,
}

impl StateKey {
    /// Length of an encoded key.
    pub const ENCODED_BYTES: usize = 9;

    /// Stored form of the key.
    #[must_use]
    pub fn encode(self) -> [u8; Self::ENCODED_BYTES] {
        let (tag, index) = match self {
            Self::Committed => (1, 0),
            Self::Snapshot => (2, 0),
            Self::Checkpoint(index) => (3, index),
            Self::Replica => (4, 0),
            Self::Machine => (5, 0),
            Self::Founders => (6, 0),
        };
        let mut bytes = [0; Self::ENCODED_BYTES];
        bytes[0] = tag;
        bytes[1..].copy_from_slice(&u64::to_be_bytes(index));
        bytes
    }

    /// Decodes the stored form. Returns `None` if the bytes are not exactly one key.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, index) = bytes.split_first()?;
        let index = u64::from_be_bytes(index.try_into().ok()?);
        match (tag, index) {
            (1, 0) => Some(Self::Committed),
            (2, 0) => Some(Self::Snapshot),
            (3, index) => Some(Self::Checkpoint(index)),
            (4, 0) => Some(Self::Replica),
            (5, 0) => Some(Self::Machine),
            (6, 0) => Some(Self::Founders),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::StateKey;

    pub(crate) fn any_key() -> impl Strategy<Value = StateKey> {
        prop_oneof![
            Just(StateKey::Committed),
            Just(StateKey::Snapshot),
            any::<u64>().prop_map(StateKey::Checkpoint),
            Just(StateKey::Replica),
            Just(StateKey::Machine),
            Just(StateKey::Founders),
        ]
    }

    proptest! {
        #[test]
        fn every_key_reads_back(key in any_key()) {
            prop_assert_eq!(StateKey::decode(&key.encode()), Some(key));
        }

        #[test]
        fn checkpoints_sort_by_index(a: u64, b: u64) {
            let (x, y) = (StateKey::Checkpoint(a).encode(), StateKey::Checkpoint(b).encode());
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
        }

        #[test]
        fn bytes_decode_only_if_they_are_the_encoding_of_a_key(bytes: Vec<u8>) {
            if let Some(key) = StateKey::decode(&bytes) {
                prop_assert_eq!(&key.encode()[..], &bytes[..]);
            }
        }
    }

    #[test]
    fn stored_bytes_of_version_1() {
        assert_eq!(StateKey::Committed.encode(), [1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(StateKey::Checkpoint(0x0102).encode(), [3, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(StateKey::Machine.encode(), [5, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(StateKey::Founders.encode(), [6, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
