//! The runs of a segment: one empty row for each run, written and deleted together with it.

use anabranch_types::GroupId;

use super::{Key, PLACED_TAG, prefix, words};

pub(super) fn key(segment: u64, group: GroupId, first: u64) -> Vec<u8> {
    prefix(PLACED_TAG, &[segment, group.0, first])
}

pub(super) fn decode_key(rest: &[u8]) -> Option<Key> {
    let [segment, group, first] = words(rest)?;
    Some(Key::Placed { segment, group: GroupId(group), first })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_read_back_and_sort(a: (u64, u64, u64), b: (u64, u64, u64)) {
            let key = |(segment, group, first)| Key::Placed { segment, group: GroupId(group), first };
            prop_assert_eq!(Key::decode(&key(a).encode()), Some(key(a)));
            prop_assert_eq!(key(a).encode().cmp(&key(b).encode()), a.cmp(&b));
        }
    }
}
