//! Checkpoints: the state as a sequence of parts, which are stored and sent one by one.
//!
//! A [`Checkpoint`] is a cheap clone of the state, so a group goes on while its checkpoint is encoded. Each part has
//! about 1 MiB. A row is never divided between two parts, so the part of a row that is larger is larger too. The parts
//! do not depend on anything but the contents: replicas with the same contents write the same bytes.
//!
//! Shape, little endian, with the bytes of each field in parentheses; a blob is its length (4) and its bytes:
//!
//! ```text
//! part     format 1 (1), is last 0 or 1 (1), number of the part from 0 (4), applied index (8), body, CRC32C (4)
//! bodies   of all parts together: header, then for each space its head and its rows, in the order of their keys
//! header   version (8), time in milliseconds (8), next space (4), number of spaces (4), number of rows (8)
//! space    1 (1), number (4), version of the creation (8), creator (16), name: blob, number of rows (8)
//! row      2 (1), version (8), writer (16), key: blob, value: blob
//! ```
//!
//! The checksum is over the whole part before it. Each part names the applied index, so parts of different checkpoints
//! are not mixed. The ring of changes and the limits are not in a checkpoint.

mod reader;

use std::iter::once;

use bytes::{BufMut, Bytes, BytesMut};

use crate::fields::{LENGTH_BYTES, put_blob};
use crate::row::{Row, SpaceId};
use crate::state::{Contents, Space, TableState};

pub use reader::{CheckpointError, CheckpointReader};

const FORMAT: u8 = 1;
const SPACE: u8 = 1;
const ROW: u8 = 2;

/// Bytes of a part before its body.
const HEAD_BYTES: usize = 14;
/// Bytes of the checksum behind the body.
const CRC_BYTES: usize = 4;
/// Bytes of the header of a checkpoint, which is in the first part.
const HEADER_BYTES: usize = 32;
/// Size of a part that is not the last and has no larger row.
const PART_BYTES: usize = 1 << 20;

/// The contents of a table group after one command. Keeps the rows of that moment in memory.
#[derive(Clone, Debug)]
pub struct Checkpoint(Contents);

impl TableState {
    /// The present contents. Costs the same however many rows there are.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint(self.contents.clone())
    }
}

impl Checkpoint {
    /// Log index of the last command that the checkpoint includes.
    pub fn applied(&self) -> u64 {
        self.0.applied
    }

    /// The parts, in order: at least one. Each is encoded when the iterator reaches it.
    pub fn parts(&self) -> impl Iterator<Item = Bytes> {
        self.parts_of(PART_BYTES)
    }

    /// The parts, with at most `part_bytes` each, unless a part is a single item.
    pub fn parts_of(&self, part_bytes: usize) -> impl Iterator<Item = Bytes> {
        let Contents { version, time, next_space, spaces, rows, .. } = &self.0;
        let header = Item::Header {
            version: version.as_u64(),
            time: time.as_millis(),
            next_space: *next_space,
            spaces: u32::try_from(spaces.size()).expect("their numbers are u32"),
            rows: *rows,
        };
        let spaces = spaces.iter().flat_map(|(id, space)| {
            let rows = space.rows.iter().map(|(key, row)| Item::Row(key, row));
            once(Item::Space(*id, space)).chain(rows)
        });
        let mut items = once(header).chain(spaces).peekable();
        let mut numbers = 0..;
        std::iter::from_fn(move || {
            let mut part = BytesMut::new();
            while let Some(item) = items.peek() {
                let bytes = item.encoded_bytes();
                if part.is_empty() {
                    part.reserve(part_bytes.max(HEAD_BYTES + bytes + CRC_BYTES));
                    part.put_bytes(0, HEAD_BYTES);
                } else if part.len() + bytes + CRC_BYTES > part_bytes {
                    break;
                }
                item.encode(&mut part);
                items.next();
            }
            let has_item = !part.is_empty();
            let is_last = items.peek().is_none();
            has_item
                .then(|| seal(part, is_last, numbers.next().unwrap_or(u32::MAX), self.0.applied))
        })
    }
}

/// Writes the head and the checksum of a part whose body is written.
fn seal(mut part: BytesMut, is_last: bool, number: u32, applied: u64) -> Bytes {
    let mut head = &mut part[..HEAD_BYTES];
    head.put_u8(FORMAT);
    head.put_u8(u8::from(is_last));
    head.put_u32_le(number);
    head.put_u64_le(applied);
    let crc = crc32c::crc32c(&part);
    part.put_u32_le(crc);
    part.freeze()
}

/// An item of a part. It is never divided.
enum Item<'a> {
    Header { version: u64, time: u64, next_space: u32, spaces: u32, rows: u64 },
    Space(SpaceId, &'a Space),
    Row(&'a Bytes, &'a Row),
}

impl Item<'_> {
    fn encoded_bytes(&self) -> usize {
        match self {
            Self::Header { .. } => HEADER_BYTES,
            Self::Space(_, space) => 1 + 4 + 8 + 16 + LENGTH_BYTES + space.name.len() + 8,
            Self::Row(key, row) => {
                1 + 8 + 16 + LENGTH_BYTES + key.len() + LENGTH_BYTES + row.value.len()
            }
        }
    }

    fn encode(&self, out: &mut BytesMut) {
        match *self {
            Self::Header { version, time, next_space, spaces, rows } => {
                out.put_u64_le(version);
                out.put_u64_le(time);
                out.put_u32_le(next_space);
                out.put_u32_le(spaces);
                out.put_u64_le(rows);
            }
            Self::Space(id, space) => {
                out.put_u8(SPACE);
                out.put_u32_le(id.0);
                out.put_u64_le(space.created.as_u64());
                out.put_slice(&space.creator.0);
                put_blob(out, space.name.as_bytes());
                out.put_u64_le(space.rows.size() as u64);
            }
            Self::Row(key, row) => {
                out.put_u8(ROW);
                out.put_u64_le(row.version.as_u64());
                out.put_slice(&row.writer.0);
                put_blob(out, key);
                put_blob(out, &row.value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use anabranch_types::Timestamp;

    use super::*;
    use crate::command::{Command, Transaction};
    use crate::limits::Limits;
    use crate::row::{Key, TransactionId};

    /// A group with space 2, which has `rows` rows with values of `value_bytes` bytes. Space 1 was dropped.
    pub(super) fn group(rows: u8, value_bytes: usize) -> TableState {
        let mut table = TableState::new(Limits::default());
        let id = TransactionId(*b"transaction-id-1");
        for name in ["gone", "ab"] {
            table.apply(table.applied() + 1, Command::CreateSpace { id, name: name.into() });
        }
        table.apply(3, Command::DropSpace { space: SpaceId(1) });
        for row in 0..rows {
            let key = Key { space: SpaceId(2), key: vec![b'k', row].into() };
            let puts = vec![(key, vec![row; value_bytes].into())];
            let transactions = vec![Transaction { id, puts, ..Transaction::default() }];
            let now = Timestamp::from_millis(0x0809);
            table.apply(table.applied() + 1, Command::Transact { transactions, now });
        }
        table
    }

    #[test]
    fn golden_bytes_of_a_checkpoint() {
        let parts: Vec<_> = group(2, 3).checkpoint().parts().collect();
        let golden: &[&[u8]] = &[
            b"\x01\x01\0\0\0\0\x05\0\0\0\0\0\0\0",
            b"\0\x05\0\0\0\0\0\0\x09\x08\0\0\0\0\0\0\x03\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0",
            b"\x01\x02\0\0\0\0\x02\0\0\0\0\0\0transaction-id-1\x02\0\0\0ab\x02\0\0\0\0\0\0\0",
            b"\x02\0\x04\0\0\0\0\0\0transaction-id-1\x02\0\0\0k\0\x03\0\0\0\0\0\0",
            b"\x02\0\x05\0\0\0\0\0\0transaction-id-1\x02\0\0\0k\x01\x03\0\0\0\x01\x01\x01",
        ];
        let golden = golden.concat();
        let crc = crc32c::crc32c(&golden).to_le_bytes();
        assert_eq!(parts, [[&golden[..], &crc].concat()]);
        assert_eq!(crc, CRC_OF_GOLDEN_BYTES);
    }

    const CRC_OF_GOLDEN_BYTES: [u8; 4] = [70, 50, 74, 61];

    #[test]
    fn parts_have_a_mebibyte_and_whole_rows() {
        let table = group(9, 300_000);
        let parts: Vec<_> = table.checkpoint().parts().map(|part| part.len()).collect();
        // Three rows fit into a part.
        let rows = 3 * (33 + 2 + 300_000);
        let first = HEAD_BYTES + HEADER_BYTES + 43 + rows + CRC_BYTES;
        assert_eq!(parts, [first, HEAD_BYTES + rows + CRC_BYTES, HEAD_BYTES + rows + CRC_BYTES]);
    }

    #[test]
    fn a_row_that_is_larger_than_a_part_has_a_part_of_its_own() {
        let table = group(2, 300);
        let parts: Vec<_> = table.checkpoint().parts_of(64).map(|part| part.len()).collect();
        let row = HEAD_BYTES + 335 + CRC_BYTES;
        let [header, space] = [HEADER_BYTES, 43].map(|item| HEAD_BYTES + item + CRC_BYTES);
        assert_eq!(parts, [header, space, row, row]);
    }

    #[test]
    fn an_empty_group_has_one_part() {
        let parts = TableState::new(Limits::default()).checkpoint().parts().count();
        assert_eq!(parts, 1);
    }
}
