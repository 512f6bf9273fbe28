//! State rows of a group. The value is the row's bytes as the caller gave them.

use anabranch_types::GroupId;

use super::{Key, STATE_TAG, prefix};
use crate::StateKey;

pub(super) fn key(group: GroupId, key: StateKey) -> Vec<u8> {
    let mut bytes = prefix(STATE_TAG, &[group.0]);
    bytes.extend_from_slice(&key.encode());
    bytes
}

pub(super) fn decode_key(rest: &[u8]) -> Option<Key> {
    let (group, key) = rest.split_at_checked(8)?;
    let group = GroupId(u64::from_be_bytes(group.try_into().ok()?));
    Some(Key::State { group, key: StateKey::decode(key)? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_read_back(group: u64, index: u64) {
            for key in [StateKey::Committed, StateKey::Replica, StateKey::Checkpoint(index)] {
                let key = Key::State { group: GroupId(group), key };
                prop_assert_eq!(Key::decode(&key.encode()), Some(key));
            }
        }
    }
}
