//! What `anabranch-fuzz` feeds: doors to what reads stored bytes and messages of other nodes. For nobody else.

use anabranch_proto::replica as pb;
use bytes::Bytes;

use crate::convert::{membership_message, membership_of};
use crate::payload::Payload;

/// Reads an entry's payload; whether it is one.
///
/// # Panics
/// When one is read as something else than it is written.
pub fn payload(bytes: Bytes) -> bool {
    let Ok(payload) = Payload::decode(bytes) else { return false };
    assert_eq!(Payload::decode(payload.encode()).as_ref(), Ok(&payload));
    true
}

/// Reads the members of a group.
///
/// # Panics
/// When they are read as others than they are written.
pub fn membership(message: pb::Membership) {
    let membership = membership_of(message);
    assert_eq!(membership_of(membership_message(&membership)), membership);
}
