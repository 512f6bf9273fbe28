//! Encoding of state rows as the payload of a [`Kind::State`](crate::segment::frame::Kind::State) frame.
//!
//! Each row is: the encoded key, one byte (1: a value follows, 0: the row is deleted), and for a value its length
//! (u32, little-endian) and its bytes. Both functions are pure.

use bytes::Bytes;

use crate::StateKey;

pub(crate) fn encode(rows: &[(StateKey, Option<Bytes>)]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for (key, value) in rows {
        out.extend_from_slice(&key.encode());
        out.push(u8::from(value.is_some()));
        if let Some(value) = value {
            out.extend_from_slice(&u32::try_from(value.len()).ok()?.to_le_bytes());
            out.extend_from_slice(value);
        }
    }
    Some(out)
}

pub(crate) fn decode(mut bytes: &[u8]) -> Option<Vec<(StateKey, Option<Bytes>)>> {
    let mut rows = Vec::new();
    while !bytes.is_empty() {
        let key = StateKey::decode(take(&mut bytes, StateKey::ENCODED_BYTES)?)?;
        let value = match take(&mut bytes, 1)? {
            [0] => None,
            [1] => {
                let length = u32::from_le_bytes(take(&mut bytes, 4)?.try_into().ok()?);
                Some(Bytes::copy_from_slice(take(&mut bytes, length as usize)?))
            }
            _ => return None,
        };
        rows.push((key, value));
    }
    Some(rows)
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(count)?;
    *bytes = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_read_back(rows: Vec<(u64, Option<Vec<u8>>)>) {
            let rows: Vec<_> = rows
                .into_iter()
                .map(|(index, value)| (StateKey::Checkpoint(index), value.map(Bytes::from)))
                .collect();
            prop_assert_eq!(decode(&encode(&rows).unwrap()), Some(rows));
        }

        #[test]
        fn garbage_does_not_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
