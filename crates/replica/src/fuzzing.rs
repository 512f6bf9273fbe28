//! Entry points for `anabranch-fuzz` to the decoders of stored bytes and of messages from other nodes. Nothing else
//! uses them.

use anabranch_proto::replica as pb;
use bytes::Bytes;

use crate::convert::{membership_message, membership_of};
use crate::payload::Payload;

/// Decodes the payload of an entry. Returns whether `bytes` are one.
///
/// # Panics
/// If the payload is another one after it was encoded and decoded again.
pub fn payload(bytes: Bytes) -> bool {
    let Ok(payload) = Payload::decode(bytes) else { return false };
    assert_eq!(Payload::decode(payload.encode()).as_ref(), Ok(&payload));
    true
}

/// Decodes the membership of a group.
///
/// # Panics
/// If the membership is another one after it was encoded and decoded again.
pub fn membership(message: pb::Membership) {
    let membership = membership_of(message);
    assert_eq!(membership_of(membership_message(&membership)), membership);
}
