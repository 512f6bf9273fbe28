//! The stored payload of a log entry: one tag byte, then the content.
//!
//! A payload is written to disk and sent to followers in this form. So a tag is never reused. The tests hold golden
//! bytes.

use anabranch_proto::replica as pb;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use crate::convert::{membership_message, membership_of};
use crate::raft_types::{Membership, Stored};

/// The payload of an entry. It is stored: add variants at the end, never reuse a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// Tag 0: empty. The first entry of a new leader.
    Blank,
    /// Tag 1: a protobuf `Membership`.
    Membership(Membership),
    /// Tag 2: a command of the group's machine.
    Command(Bytes),
    /// Tag 3: every replica stores its state as of this entry.
    Checkpoint,
    /// Tag 4: everything below this log index (8 bytes, little endian) is trimmed.
    Trim { horizon: u64 },
}

const BLANK: u8 = 0;
const MEMBERSHIP: u8 = 1;
pub(crate) const COMMAND: u8 = 2;
const CHECKPOINT: u8 = 3;
const TRIM: u8 = 4;

/// The bytes are not a payload that this version can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log entry: payload with tag {tag:?} can't be read")]
pub(crate) struct PayloadError {
    tag: Option<u8>,
}

impl Payload {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Blank => out.put_u8(BLANK),
            Self::Membership(membership) => {
                out.put_u8(MEMBERSHIP);
                out.put_slice(&membership_message(membership).encode_to_vec());
            }
            Self::Command(command) => {
                out.put_u8(COMMAND);
                out.put_slice(command);
            }
            Self::Checkpoint => out.put_u8(CHECKPOINT),
            Self::Trim { horizon } => {
                out.put_u8(TRIM);
                out.put_u64_le(*horizon);
            }
        }
        out.freeze()
    }

    pub(crate) fn stored(&self) -> Stored {
        Stored(self.encode())
    }

    pub(crate) fn decode(mut bytes: Bytes) -> Result<Self, PayloadError> {
        let tag = bytes.try_get_u8().ok();
        let error = PayloadError { tag };
        match tag {
            Some(BLANK) => Ok(Self::Blank),
            Some(MEMBERSHIP) => {
                let message = pb::Membership::decode(bytes).map_err(|_| error)?;
                Ok(Self::Membership(membership_of(message)))
            }
            Some(COMMAND) => Ok(Self::Command(bytes)),
            Some(CHECKPOINT) => Ok(Self::Checkpoint),
            Some(TRIM) => {
                let horizon = bytes.try_get_u64_le().map_err(|_| error)?;
                Ok(Self::Trim { horizon })
            }
            _ => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use anabranch_types::NodeId;

    use super::*;
    use crate::raft_types::Member;

    #[test]
    fn encoded_payloads_decode_to_themselves() {
        let members = BTreeMap::from([(7, Member { node: NodeId(1) })]);
        let membership = Membership::new(vec![BTreeSet::from([7])], members).unwrap();
        for payload in [
            Payload::Blank,
            Payload::Membership(membership),
            Payload::Command(Bytes::from_static(b"command")),
            Payload::Checkpoint,
            Payload::Trim { horizon: 9 },
        ] {
            assert_eq!(Payload::decode(payload.encode()), Ok(payload));
        }
    }

    #[test]
    fn golden_bytes_of_the_first_version() {
        assert_eq!(&Payload::Trim { horizon: 0x0102 }.encode()[..], b"\x04\x02\x01\0\0\0\0\0\0");
        assert_eq!(&Payload::Command(Bytes::from_static(b"c")).encode()[..], b"\x02c");
    }

    #[test]
    fn unknown_and_short_payloads_are_refused() {
        for bad in [&b""[..], b"\xff", b"\x04\x01", b"\x01\xff"] {
            assert!(Payload::decode(Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
        }
    }
}
