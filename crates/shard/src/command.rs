use anabranch_types::Timestamp;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// One change to a shard. Replicated and stored: append variants, never reuse a tag.
///
/// Shape of the stored bytes, little endian: a tag byte; for `Append` (tag 1) the arrival in
/// milliseconds (8), the number of records (4), then the batch to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Records of one call.
    Append {
        /// The leader's clock when it took them; replicas have none.
        arrival: Timestamp,
        /// How many records the batch holds; at least 1.
        records: u32,
        /// The encoded batch.
        batch: Bytes,
    },
}

/// Why stored bytes are not a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// A tag that this version doesn't know.
    #[error("shard command: unknown tag {0}")]
    UnknownTag(u8),
    /// Fewer bytes than the command has.
    #[error("shard command: cut short")]
    Short,
}

const APPEND: u8 = 1;
const APPEND_HEAD_BYTES: usize = 12;

impl Command {
    /// Bytes that [`Self::encode`] writes.
    pub fn encoded_bytes(&self) -> usize {
        let Self::Append { batch, .. } = self;
        1 + APPEND_HEAD_BYTES + batch.len()
    }

    /// Writes the stored form.
    pub fn encode(&self, out: &mut BytesMut) {
        let Self::Append { arrival, records, batch } = self;
        out.put_u8(APPEND);
        out.put_u64_le(arrival.as_millis());
        out.put_u32_le(*records);
        out.put_slice(batch);
    }

    /// Reads the stored form; the batch is a slice of `bytes`.
    ///
    /// # Errors
    /// [`CommandError`] for an unknown tag or missing bytes.
    pub fn decode(mut bytes: Bytes) -> Result<Self, CommandError> {
        match bytes.try_get_u8().map_err(|_| CommandError::Short)? {
            APPEND if bytes.len() >= APPEND_HEAD_BYTES => {
                let arrival = Timestamp::from_millis(bytes.get_u64_le());
                let records = bytes.get_u32_le();
                Ok(Self::Append { arrival, records, batch: bytes })
            }
            APPEND => Err(CommandError::Short),
            tag => Err(CommandError::UnknownTag(tag)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_of_an_append() {
        let command = Command::Append {
            arrival: Timestamp::from_millis(0x0102),
            records: 3,
            batch: Bytes::from_static(b"batch"),
        };
        let mut bytes = BytesMut::new();
        command.encode(&mut bytes);
        assert_eq!(&bytes[..], b"\x01\x02\x01\0\0\0\0\0\0\x03\0\0\0batch");
        assert_eq!(bytes.len(), command.encoded_bytes());
        assert_eq!(Command::decode(bytes.freeze()), Ok(command));
    }

    #[test]
    fn unknown_and_short_commands_are_refused() {
        assert_eq!(Command::decode(Bytes::new()), Err(CommandError::Short));
        assert_eq!(Command::decode(Bytes::from_static(b"\x01\0")), Err(CommandError::Short));
        assert_eq!(
            Command::decode(Bytes::from_static(b"\xff")),
            Err(CommandError::UnknownTag(255))
        );
    }
}
