//! Reading of checkpoints, part by part.
//!
//! Order of events: the caller gives the parts in order to [`CheckpointReader::read`], and calls
//! [`CheckpointReader::finish`] after the last one. The checksum, the number and the applied index of a part are
//! checked before its body is read. So after an error about them the reader is unchanged, and the caller may go on with
//! a good copy of the part. After any other error the caller must give up the checkpoint.
//!
//! This never happens: a state comes out that is not the whole checkpoint.

use anabranch_types::Timestamp;
use bytes::Bytes;

use crate::checkpoint::{CRC_BYTES, FORMAT, HEAD_BYTES, ROW, SPACE};
use crate::fields::{Fields, Short};
use crate::limits::Limits;
use crate::ring::Ring;
use crate::row::{Row, SpaceId, TransactionId, Version, row_bytes};
use crate::state::{Contents, Space, TableState};

/// Why parts are not a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The part is too short, or its checksum is wrong.
    #[error("checkpoint: part {part} is damaged")]
    Damaged {
        /// Number that the part should have.
        part: u32,
    },
    /// A format that this version doesn't know.
    #[error("checkpoint: unknown format {0}")]
    UnknownFormat(u8),
    /// Another part comes next: this one was given before, or there is a part missing.
    #[error("checkpoint: part {found} in the place of part {expected}")]
    Order {
        /// Number of the next part.
        expected: u32,
        /// Number of the part.
        found: u32,
    },
    /// The part belongs to another checkpoint than the parts before.
    #[error(
        "checkpoint: part {part} is of index {found}, the parts before are of index {expected}"
    )]
    OtherCheckpoint {
        /// Number of the part.
        part: u32,
        /// Applied index of the parts before.
        expected: u64,
        /// Applied index of this part.
        found: u64,
    },
    /// The last part was given already.
    #[error("checkpoint: a part comes after the last part")]
    AfterLast,
    /// The last part was not given yet.
    #[error("checkpoint: part {next} is missing")]
    Missing {
        /// Number of the next part.
        next: u32,
    },
    /// A field of the body is cut short.
    #[error("checkpoint: part {part} is cut short at {field}")]
    Short {
        /// Number of the part.
        part: u32,
        /// Name of the field.
        field: &'static str,
    },
    /// The body breaks a rule, although its checksum is right.
    #[error("checkpoint: part {part}: {rule}")]
    Broken {
        /// Number of the part.
        part: u32,
        /// The rule.
        rule: &'static str,
    },
}

/// Makes the state of a checkpoint's parts.
#[derive(Debug)]
pub struct CheckpointReader {
    limits: Limits,
    contents: Contents,
    /// Number of the next part.
    next: u32,
    /// Spaces and rows that have not come yet.
    spaces_left: u32,
    rows_left: u64,
    /// The space whose rows are being read, and the number of its rows that have not come yet.
    open: Option<(SpaceId, Space, u64)>,
    is_complete: bool,
}

/// Why an item can't be read. The part is added later.
enum ItemError {
    Short(&'static str),
    Broken(&'static str),
}

impl From<Short> for ItemError {
    fn from(Short(field): Short) -> Self {
        Self::Short(field)
    }
}

/// Refuses an item that breaks `rule`.
fn require(holds: bool, rule: &'static str) -> Result<(), ItemError> {
    if holds { Ok(()) } else { Err(ItemError::Broken(rule)) }
}

impl CheckpointReader {
    /// A reader that expects the first part. `limits` are those of the state that comes out. Rows that a checkpoint
    /// has are kept even if they are over a limit.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            contents: Contents::new(),
            next: 0,
            spaces_left: 0,
            rows_left: 0,
            open: None,
            is_complete: false,
        }
    }

    /// Reads the next part. Copies what it keeps.
    ///
    /// # Errors
    /// [`CheckpointError`]. After `Damaged`, `Order`, `OtherCheckpoint` and `AfterLast` the reader is unchanged.
    pub fn read(&mut self, part: Bytes) -> Result<(), CheckpointError> {
        if self.is_complete {
            return Err(CheckpointError::AfterLast);
        }
        let number = self.next;
        let (is_last, applied, body) = self.open_part(part)?;
        self.contents.applied = applied;
        self.next += 1;
        self.read_body(&mut Fields(body), number == 0, is_last).map_err(|error| match error {
            ItemError::Short(field) => CheckpointError::Short { part: number, field },
            ItemError::Broken(rule) => CheckpointError::Broken { part: number, rule },
        })?;
        self.is_complete = is_last;
        Ok(())
    }

    /// Number of the part that [`Self::read`] expects next.
    pub fn next_part(&self) -> u32 {
        self.next
    }

    /// Whether the last part was read.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The state, once the last part was read. Its ring of changes is empty.
    ///
    /// # Errors
    /// [`CheckpointError::Missing`].
    pub fn finish(self) -> Result<TableState, CheckpointError> {
        if !self.is_complete {
            return Err(CheckpointError::Missing { next: self.next });
        }
        let ring = Ring::starting_at(self.contents.version);
        Ok(TableState { limits: self.limits, contents: self.contents, ring })
    }

    /// Checks the frame of a part. Returns whether it is the last one, its applied index, and its body.
    fn open_part(&self, part: Bytes) -> Result<(bool, u64, Bytes), CheckpointError> {
        let damaged = CheckpointError::Damaged { part: self.next };
        let Some(body_end) = part.len().checked_sub(CRC_BYTES) else { return Err(damaged) };
        let crc = crc32c::crc32c(&part[..body_end]).to_le_bytes();
        if body_end < HEAD_BYTES || part[body_end..] != crc {
            return Err(damaged);
        }
        let mut fields = Fields(part.slice(..body_end));
        let mut head = || {
            let (format, is_last) = (fields.u8("format")?, fields.u8("is last")?);
            Ok((format, is_last, fields.u32("number")?, fields.u64("applied")?))
        };
        let (format, is_last, found, applied) = head().map_err(|Short(_)| damaged.clone())?;
        if format != FORMAT {
            return Err(CheckpointError::UnknownFormat(format));
        }
        if found != self.next {
            return Err(CheckpointError::Order { expected: self.next, found });
        }
        let expected = self.contents.applied;
        if found > 0 && applied != expected {
            return Err(CheckpointError::OtherCheckpoint { part: found, expected, found: applied });
        }
        if is_last > 1 {
            return Err(damaged);
        }
        Ok((is_last == 1, applied, fields.0))
    }

    fn read_body(
        &mut self,
        fields: &mut Fields,
        is_first: bool,
        is_last: bool,
    ) -> Result<(), ItemError> {
        if is_first {
            self.read_header(fields)?;
        }
        while !fields.is_empty() {
            match fields.u8("tag")? {
                SPACE => self.read_space(fields)?,
                ROW => self.read_row(fields)?,
                _ => return Err(ItemError::Broken("an item has an unknown tag")),
            }
        }
        if is_last {
            self.close_space()?;
            require(self.spaces_left == 0, "spaces are missing")?;
            require(self.rows_left == 0, "the number of rows is wrong")?;
        }
        Ok(())
    }

    fn read_header(&mut self, fields: &mut Fields) -> Result<(), ItemError> {
        let contents = &mut self.contents;
        contents.version = Version::from_u64(fields.u64("version")?);
        contents.time = Timestamp::from_millis(fields.u64("time")?);
        contents.next_space = fields.u32("next space")?;
        self.spaces_left = fields.u32("number of spaces")?;
        self.rows_left = fields.u64("number of rows")?;
        require(contents.version.log_index() <= contents.applied, "the version is not applied")
    }

    fn read_space(&mut self, fields: &mut Fields) -> Result<(), ItemError> {
        self.close_space()?;
        let id = SpaceId(fields.u32("number of the space")?);
        let created = Version::from_u64(fields.u64("version of the creation")?);
        let creator = TransactionId(fields.id("creator")?);
        let name = fields.blob("name")?;
        let rows = fields.u64("number of rows of the space")?;
        let name = std::str::from_utf8(&name);
        let name = name.map_err(|_| ItemError::Broken("a name is not UTF-8"))?;
        let spaces = &self.contents.spaces;
        let before = spaces.last().map_or(SpaceId(0), |(before, _)| *before);
        require(id > before, "the spaces are not in order")?;
        require(id.0 < self.contents.next_space, "a space has a number that was not given")?;
        require(created <= self.contents.version, "a space is newer than the checkpoint")?;
        let is_known = spaces.values().any(|space| space.name() == name);
        require(!is_known, "two spaces have the same name")?;
        let left = self.spaces_left.checked_sub(1);
        self.spaces_left = left.ok_or(ItemError::Broken("there are too many spaces"))?;
        self.open = Some((id, Space::new(name, creator, created), rows));
        Ok(())
    }

    fn read_row(&mut self, fields: &mut Fields) -> Result<(), ItemError> {
        let version = Version::from_u64(fields.u64("version of the row")?);
        let writer = TransactionId(fields.id("writer")?);
        let (key, value) = (fields.blob("key")?, fields.blob("value")?);
        let open = self.open.as_mut();
        let (_, space, left) = open.ok_or(ItemError::Broken("a row has no space"))?;
        let before: &[u8] = space.rows.last().map_or(&[], |(key, _)| key);
        require(before < &key[..], "the rows are not in order")?;
        require(version <= self.contents.version, "a row is newer than the checkpoint")?;
        let one_less =
            |left: u64| left.checked_sub(1).ok_or(ItemError::Broken("there are too many rows"));
        *left = one_less(*left)?;
        self.rows_left = one_less(self.rows_left)?;
        let bytes = row_bytes(&key, &value);
        space.bytes += bytes;
        self.contents.bytes += bytes;
        self.contents.rows += 1;
        // Copies, because a slice would keep the whole part in memory.
        let value = Bytes::copy_from_slice(&value);
        space.rows.insert_mut(Bytes::copy_from_slice(&key), Row { version, writer, value });
        Ok(())
    }

    /// Ends the space whose rows were being read.
    fn close_space(&mut self) -> Result<(), ItemError> {
        let Some((id, space, rows_left)) = self.open.take() else { return Ok(()) };
        require(rows_left == 0, "rows of a space are missing")?;
        self.contents.spaces.insert_mut(id, space);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::checkpoint::tests::group;

    fn read(parts: impl IntoIterator<Item = Bytes>) -> Result<TableState, CheckpointError> {
        let mut reader = CheckpointReader::new(Limits::default());
        for part in parts {
            reader.read(part)?;
        }
        reader.finish()
    }

    fn parts() -> Vec<Bytes> {
        let parts: Vec<_> = group(9, 30).checkpoint().parts_of(250).collect();
        assert_eq!(parts.len(), 4);
        parts
    }

    /// The part with a right checksum, after `change`.
    fn forged(part: &Bytes, change: impl FnOnce(&mut BytesMut)) -> Bytes {
        let mut part = BytesMut::from(&part[..part.len() - CRC_BYTES]);
        change(&mut part);
        let crc = crc32c::crc32c(&part);
        part.put_u32_le(crc);
        part.freeze()
    }

    #[test]
    fn a_checkpoint_is_read_back() {
        for (rows, value_bytes, part_bytes) in [(0, 0, 1), (1, 0, 1), (9, 30, 200), (99, 9, 500)] {
            let table = group(rows, value_bytes);
            let restored = read(table.checkpoint().parts_of(part_bytes)).unwrap();
            assert_eq!(restored.contents, table.contents);
            restored.contents.assert_invariants();
        }
    }

    #[test]
    fn parts_are_read_in_order_and_none_may_be_missing() {
        use CheckpointError::{AfterLast, Missing, Order, OtherCheckpoint};
        let [a, b, c, d] = <[Bytes; 4]>::try_from(parts()).unwrap();
        let error = |parts: &[&Bytes]| read(parts.iter().map(|part| (*part).clone())).unwrap_err();
        assert_eq!(error(&[]), Missing { next: 0 });
        assert_eq!(error(&[&a, &b, &c]), Missing { next: 3 });
        assert_eq!(error(&[&b]), Order { expected: 0, found: 1 });
        assert_eq!(error(&[&a, &c]), Order { expected: 1, found: 2 });
        assert_eq!(error(&[&a, &a]), Order { expected: 1, found: 0 });
        assert_eq!(error(&[&a, &b, &c, &d, &d]), AfterLast);
        let other: Vec<_> = group(8, 30).checkpoint().parts_of(250).collect();
        let mixed = OtherCheckpoint { part: 1, expected: 12, found: 11 };
        assert_eq!(error(&[&a, &other[1]]), mixed);
        assert_eq!(
            mixed.to_string(),
            "checkpoint: part 1 is of index 11, the parts before are of index 12"
        );
    }

    #[test]
    fn a_damaged_part_is_refused_and_may_be_given_again() {
        let parts = parts();
        let mut reader = CheckpointReader::new(Limits::default());
        for (number, part) in (0..).zip(&parts) {
            let damaged = Err(CheckpointError::Damaged { part: number });
            for end in 0..part.len() {
                assert_eq!(reader.read(part.slice(..end)), damaged, "cut to {end}");
            }
            let longer = [&part[..], b"\0"].concat();
            assert_eq!(reader.read(longer.into()), damaged);
            for place in 0..part.len() {
                let mut bytes = BytesMut::from(&part[..]);
                bytes[place] ^= 0x10;
                assert_eq!(reader.read(bytes.freeze()), damaged, "changed at {place}");
            }
            assert_eq!(reader.next_part(), number);
            reader.read(part.clone()).unwrap();
        }
        assert!(reader.is_complete());
        assert_eq!(reader.finish().unwrap().contents, group(9, 30).contents);
    }

    #[test]
    fn a_body_that_breaks_a_rule_is_refused_although_its_checksum_is_right() {
        let good = group(2, 3).checkpoint().parts().next().unwrap();
        let error =
            |change: &dyn Fn(&mut BytesMut)| read([forged(&good, change)]).unwrap_err().to_string();
        // Places in the golden bytes: head 0..14, header 14..46, space 46..89, rows 89..127 and 127..165.
        let at = |place: usize, byte: u8| error(&|part: &mut BytesMut| part[place] = byte);
        assert_eq!(at(0, 2), "checkpoint: unknown format 2");
        assert_eq!(at(1, 0), "checkpoint: part 1 is missing");
        assert_eq!(at(1, 2), "checkpoint: part 0 is damaged");
        assert_eq!(at(15, 6), "checkpoint: part 0: the version is not applied");
        assert_eq!(at(30, 2), "checkpoint: part 0: a space has a number that was not given");
        assert_eq!(at(34, 0), "checkpoint: part 0: there are too many spaces");
        assert_eq!(at(34, 2), "checkpoint: part 0: spaces are missing");
        assert_eq!(at(38, 1), "checkpoint: part 0: there are too many rows");
        assert_eq!(at(38, 3), "checkpoint: part 0: the number of rows is wrong");
        assert_eq!(at(46, 9), "checkpoint: part 0: an item has an unknown tag");
        assert_eq!(at(46, 2), "checkpoint: part 0 is cut short at key");
        assert_eq!(at(47, 0), "checkpoint: part 0: the spaces are not in order");
        assert_eq!(at(52, 9), "checkpoint: part 0: a space is newer than the checkpoint");
        assert_eq!(at(79, 0xff), "checkpoint: part 0: a name is not UTF-8");
        assert_eq!(at(81, 1), "checkpoint: part 0: there are too many rows");
        assert_eq!(at(81, 3), "checkpoint: part 0: rows of a space are missing");
        assert_eq!(at(91, 9), "checkpoint: part 0: a row is newer than the checkpoint");
        assert_eq!(at(119, 2), "checkpoint: part 0: the rows are not in order");
        let longer = error(&|part: &mut BytesMut| part.put_u8(2));
        assert_eq!(longer, "checkpoint: part 0 is cut short at version of the row");
    }

    proptest! {
        /// A state that comes out of forged parts keeps the invariants, except of the space that is not closed.
        #[test]
        fn forged_parts_never_panic(
            changes in vec((0usize..4, any::<prop::sample::Index>(), any::<u8>()), 1..5),
        ) {
            let mut parts = parts();
            for (part, place, byte) in changes {
                parts[part] = forged(&parts[part], |part| {
                    let place = place.index(part.len());
                    part[place] = byte;
                });
            }
            if let Ok(table) = read(parts) {
                table.contents.assert_invariants();
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
            let framed = forged(&[&parts()[0][..HEAD_BYTES], &bytes, &[0; 4]].concat().into(), |_| {});
            let _ = read([framed]);
            prop_assert!(read([bytes.into()]).is_err());
        }
    }
}
