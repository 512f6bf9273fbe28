//! The commands in a shard's log, and their stored form.
//!
//! The bytes are on disk and are sent between nodes. So a tag is never reused, and the tests hold golden bytes.
//! Decoding checks the head only. The batch stays a slice of the entry.

use anabranch_types::Timestamp;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// One change to a shard. It is replicated and stored: add variants at the end, never reuse a tag.
///
/// Shape of the stored bytes, little endian, with the bytes of each field in parentheses: a tag (1). After tag 1
/// (`Append`) the arrival time in milliseconds (8), the number of records (4), and the batch to the end. After tags
/// 2 to 5 (the steps of a resharding job) the number of the job (8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Records of one call.
    Append {
        /// Time on the leader's clock when it took the records. Other replicas use this time and no clock.
        arrival: Timestamp,
        /// Number of records in the batch, at least 1.
        records: u32,
        /// The encoded batch.
        batch: Bytes,
    },
    /// A step of a resharding job.
    Reshard(Step),
}

/// A step of a resharding job, in the log of one of its shards. Each step has the number of its job: the log index
/// in the catalog at which the job began. So a later job has a higher number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Tag 2: the shard takes no more records until the job is committed or aborted.
    Freeze(u64),
    /// Tag 3: the job was aborted. The shard takes records again.
    Unfreeze(u64),
    /// Tag 4: the job that made this shard was committed. The shard takes records from now on.
    Open(u64),
    /// Tag 5: the job that froze this shard was committed. The shard never takes records again.
    Close(u64),
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
const FREEZE: u8 = 2;
const UNFREEZE: u8 = 3;
const OPEN: u8 = 4;
const CLOSE: u8 = 5;
const APPEND_HEAD_BYTES: usize = 12;
const STEP_BYTES: usize = 8;

impl Command {
    /// Number of bytes that [`Self::encode`] writes.
    pub fn encoded_bytes(&self) -> usize {
        match self {
            Self::Append { batch, .. } => 1 + APPEND_HEAD_BYTES + batch.len(),
            Self::Reshard(_) => 1 + STEP_BYTES,
        }
    }

    /// Appends the stored form to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Append { arrival, records, batch } => {
                out.put_u8(APPEND);
                out.put_u64_le(arrival.as_millis());
                out.put_u32_le(*records);
                out.put_slice(batch);
            }
            Self::Reshard(step) => {
                let (tag, job) = match *step {
                    Step::Freeze(job) => (FREEZE, job),
                    Step::Unfreeze(job) => (UNFREEZE, job),
                    Step::Open(job) => (OPEN, job),
                    Step::Close(job) => (CLOSE, job),
                };
                out.put_u8(tag);
                out.put_u64_le(job);
            }
        }
    }

    /// Decodes the stored form. The batch is a slice of `bytes`.
    ///
    /// # Errors
    /// [`CommandError`] for an unknown tag or missing bytes.
    pub fn decode(mut bytes: Bytes) -> Result<Self, CommandError> {
        let tag = bytes.try_get_u8().map_err(|_| CommandError::Short)?;
        let step = match tag {
            APPEND if bytes.len() >= APPEND_HEAD_BYTES => {
                let arrival = Timestamp::from_millis(bytes.get_u64_le());
                let records = bytes.get_u32_le();
                return Ok(Self::Append { arrival, records, batch: bytes });
            }
            APPEND => return Err(CommandError::Short),
            FREEZE => Step::Freeze,
            UNFREEZE => Step::Unfreeze,
            OPEN => Step::Open,
            CLOSE => Step::Close,
            unknown => return Err(CommandError::UnknownTag(unknown)),
        };
        bytes.try_get_u64_le().map(step).map(Self::Reshard).map_err(|_| CommandError::Short)
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
    fn golden_bytes_of_the_steps() {
        let steps = [Step::Freeze(0x0102), Step::Unfreeze(1), Step::Open(2), Step::Close(3)];
        let golden: [&[u8]; 4] = [
            b"\x02\x02\x01\0\0\0\0\0\0",
            b"\x03\x01\0\0\0\0\0\0\0",
            b"\x04\x02\0\0\0\0\0\0\0",
            b"\x05\x03\0\0\0\0\0\0\0",
        ];
        for (step, golden) in steps.into_iter().zip(golden) {
            let mut bytes = BytesMut::new();
            Command::Reshard(step).encode(&mut bytes);
            assert_eq!(&bytes[..], golden);
            assert_eq!(bytes.len(), Command::Reshard(step).encoded_bytes());
            assert_eq!(Command::decode(bytes.freeze()), Ok(Command::Reshard(step)));
        }
    }

    #[test]
    fn unknown_and_short_commands_are_refused() {
        assert_eq!(Command::decode(Bytes::new()), Err(CommandError::Short));
        assert_eq!(Command::decode(Bytes::from_static(b"\x01\0")), Err(CommandError::Short));
        assert_eq!(Command::decode(Bytes::from_static(b"\x02\0")), Err(CommandError::Short));
        assert_eq!(
            Command::decode(Bytes::from_static(b"\xff")),
            Err(CommandError::UnknownTag(255))
        );
    }
}
