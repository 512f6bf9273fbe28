//! Frames: after its header block, a segment contains only frames.
//!
//! ```text
//! | crc u32 | length u32 | kind u8 | group u64 | term u64 | index u64 | payload (length bytes) |
//! 0         4            8         9           17         25          33
//! ```
//! Integers are little-endian. The CRC-32C covers everything after it and starts from [`segment_seed`]. So a frame is
//! valid only in the life of the segment file in which it was written: frames of an earlier use of a recycled file
//! are never valid.

use anabranch_types::Incarnation;

/// Bytes of a frame before its payload.
pub(crate) const HEADER_BYTES: usize = 33;
/// First bytes of a round header's payload. The search for later rounds looks for them.
pub(crate) const ROUND_MAGIC: [u8; 8] = *b"\xABrndANA1";
/// Payload of a round header: the magic, then segment and offset of the end of the round before it.
pub(crate) const ROUND_PAYLOAD_BYTES: usize = ROUND_MAGIC.len() + 16;
/// Bytes of a round header.
pub(crate) const ROUND_BYTES: usize = HEADER_BYTES + ROUND_PAYLOAD_BYTES;
/// Bytes of a seal.
pub(crate) const SEAL_BYTES: usize = HEADER_BYTES;
/// Bytes at the start of a moved entry's payload: the segment from which it was copied.
pub(crate) const MOVED_PREFIX_BYTES: usize = 8;

/// Kind of a frame. Stored: append variants, never reuse a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A round begins, or continues in a new segment. `group` is the part, `term` the serial of the round before it
    /// in the log, `index` its own serial. The payload is [`round_payload`].
    Round = 1,
    /// An entry of a group's log.
    Entry = 2,
    /// A vote: `term` and replica (`index`). The one payload byte tells whether it is committed.
    Vote = 3,
    /// Entries from `index` on are truncated.
    Truncate = 4,
    /// Entries up to (`term`, `index`) are purged.
    Purge = 5,
    /// State rows, as [`crate::rows`] encodes them.
    State = 6,
    /// The group is removed.
    Remove = 7,
    /// An entry that was copied forward. Eight bytes with the segment from which it was copied precede its payload.
    Moved = 8,
    /// The log continues in the next segment.
    Seal = 9,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        let all = [
            Self::Round,
            Self::Entry,
            Self::Vote,
            Self::Truncate,
            Self::Purge,
            Self::State,
            Self::Remove,
            Self::Moved,
            Self::Seal,
        ];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Fields of a frame before its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) group: u64,
    pub(crate) term: u64,
    pub(crate) index: u64,
}

/// Seed of the checksums of all frames in one life of a segment file.
pub(crate) fn segment_seed(incarnation: Incarnation, segment: u64, life: u64) -> u32 {
    let crc = crc32c::crc32c(&incarnation.0.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &segment.to_le_bytes());
    crc32c::crc32c_append(crc, &life.to_le_bytes())
}

/// Payload of a round header. The round before it ended at (`segment`, `offset`).
pub(crate) fn round_payload(segment: u64, offset: u64) -> [u8; ROUND_PAYLOAD_BYTES] {
    let mut bytes = [0; ROUND_PAYLOAD_BYTES];
    bytes[..8].copy_from_slice(&ROUND_MAGIC);
    bytes[8..16].copy_from_slice(&segment.to_le_bytes());
    bytes[16..].copy_from_slice(&offset.to_le_bytes());
    bytes
}

/// Segment and offset in the payload of a round header.
pub(crate) fn decode_round_payload(payload: &[u8]) -> Option<(u64, u64)> {
    let payload: &[u8; ROUND_PAYLOAD_BYTES] = payload.try_into().ok()?;
    payload.starts_with(&ROUND_MAGIC).then(|| (u64_at(payload, 8), u64_at(payload, 16)))
}

/// Appends the header of a frame to `out`. The caller then appends the payload: first `prefix`, then `payload`.
///
/// Returns `None` if the payload is too long for the length field.
#[inline]
pub(crate) fn encode_header(
    out: &mut Vec<u8>,
    seed: u32,
    header: Header,
    prefix: &[u8],
    payload: &[u8],
) -> Option<()> {
    let length = u32::try_from(prefix.len() + payload.len()).ok()?;
    let mut bytes = [0; HEADER_BYTES];
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    bytes[8] = header.kind as u8;
    bytes[9..17].copy_from_slice(&header.group.to_le_bytes());
    bytes[17..25].copy_from_slice(&header.term.to_le_bytes());
    bytes[25..33].copy_from_slice(&header.index.to_le_bytes());
    let crc = crc32c::crc32c_append(seed, &bytes[4..]);
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, prefix), payload);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&bytes);
    Some(())
}

/// A header before its CRC is checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawHeader {
    crc: u32,
    pub(crate) payload_bytes: u32,
    kind: u8,
    header_crc_input: [u8; HEADER_BYTES - 4],
}

impl RawHeader {
    /// Reads the first [`HEADER_BYTES`] bytes. `None` if there are fewer.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
        let mut header_crc_input = [0; HEADER_BYTES - 4];
        header_crc_input.copy_from_slice(&bytes[4..]);
        Some(Self {
            crc: u32_at(bytes, 0),
            payload_bytes: u32_at(bytes, 4),
            kind: bytes[8],
            header_crc_input,
        })
    }

    /// The fields as they are on the disk, not checked. `None` if the kind is unknown.
    pub(crate) fn claimed(&self) -> Option<Header> {
        let bytes = &self.header_crc_input;
        Some(Header {
            kind: Kind::from_byte(self.kind)?,
            group: u64_at(bytes, 5),
            term: u64_at(bytes, 13),
            index: u64_at(bytes, 21),
        })
    }

    /// The fields. `None` if the CRC over them and `payload` is wrong, or if the kind is unknown.
    pub(crate) fn validate(&self, seed: u32, payload: &[u8]) -> Option<Header> {
        let crc = crc32c::crc32c_append(seed, &self.header_crc_input);
        if crc32c::crc32c_append(crc, payload) != self.crc {
            return None;
        }
        self.claimed()
    }
}

/// Finds the one bit of `frame` whose flip makes the checksum right. The result is the bit's number, counted from the
/// lowest bit of the first byte. `None` if there is no such bit, or if the checksum is right already.
///
/// A CRC is linear: a flipped bit changes the CRC in a way that depends only on the distance of the bit from the end.
/// CRC-32C distinguishes all single bits of a frame, because its Hamming distance is at least 4 for up to 2^31 bits
/// (Koopman, "32-bit cyclic redundancy codes for Internet applications", 2002).
pub(crate) fn wrong_bit(seed: u32, frame: &[u8]) -> Option<usize> {
    const CRC_BYTES: usize = 4;
    let covered = frame.get(CRC_BYTES..)?;
    let difference = u32_at(frame, 0) ^ crc32c::crc32c_append(seed, covered);
    match difference.count_ones() {
        0 => return None,
        1 => return usize::try_from(difference.trailing_zeros()).ok(),
        _ => {}
    }
    // The CRC without its inversions before and after, so that equal bytes cancel out.
    let plain = |crc: u32, bytes: &[u8]| !crc32c::crc32c_append(!crc, bytes);
    let mut changes: [u32; 8] = std::array::from_fn(|bit| plain(0, &[1 << bit]));
    for byte in (CRC_BYTES..frame.len()).rev() {
        if let Some(bit) = changes.iter().position(|change| *change == difference) {
            return Some(byte * 8 + bit);
        }
        changes = changes.map(|change| plain(change, &[0]));
    }
    None
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(seed: u32, header: Header, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_header(&mut bytes, seed, header, &[], payload).unwrap();
        bytes.extend_from_slice(payload);
        bytes
    }

    fn decode(seed: u32, bytes: &[u8]) -> Option<(Header, &[u8])> {
        let raw = RawHeader::read(bytes)?;
        let payload = bytes.get(HEADER_BYTES..HEADER_BYTES + raw.payload_bytes as usize)?;
        Some((raw.validate(seed, payload)?, payload))
    }

    proptest! {
        #[test]
        fn frames_read_back_only_with_their_own_seed(
            seed: u32, other: u32, group: u64, term: u64, index: u64, kind in 1_u8..=9, payload: Vec<u8>
        ) {
            let header = Header { kind: Kind::from_byte(kind).unwrap(), group, term, index };
            let bytes = encode(seed, header, &payload);
            prop_assert_eq!(decode(seed, &bytes), Some((header, &payload[..])));
            prop_assert_eq!(decode(other, &bytes).is_some(), seed == other);
        }

        #[test]
        fn a_flipped_bit_is_detected(payload: Vec<u8>, at: prop::sample::Index, bit in 0_u8..8) {
            let header = Header { kind: Kind::Entry, group: 1, term: 2, index: 3 };
            let mut bytes = encode(7, header, &payload);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(decode(7, &bytes), None);
        }
    }

    proptest! {
        #[test]
        fn one_wrong_bit_is_located_and_several_are_not_mistaken_for_one(
            payload in prop::collection::vec(any::<u8>(), 0..300),
            at: prop::sample::Index,
            others in prop::collection::btree_set(0_usize..33 * 8, 2..4),
        ) {
            let header = Header { kind: Kind::Vote, group: 1, term: 2, index: 3 };
            let right = encode(7, header, &payload);
            prop_assert_eq!(wrong_bit(7, &right), None);
            let flip = |bytes: &mut Vec<u8>, bit: usize| bytes[bit / 8] ^= 1 << (bit % 8);
            let mut bytes = right.clone();
            let bit = at.index(bytes.len() * 8);
            flip(&mut bytes, bit);
            prop_assert_eq!(wrong_bit(7, &bytes), Some(bit));
            let mut bytes = right;
            others.iter().for_each(|bit| flip(&mut bytes, *bit));
            prop_assert_eq!(wrong_bit(7, &bytes), None);
        }
    }

    #[test]
    fn stored_bytes_of_version_1() {
        let header = Header { kind: Kind::Entry, group: 1, term: 2, index: 3 };
        let bytes = encode(0, header, b"hi");
        assert_eq!(bytes[4..9], [2, 0, 0, 0, 2]);
        assert_eq!(
            bytes[9..33],
            [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(bytes[33..], *b"hi");
        assert_eq!(bytes[..4], crc32c::crc32c(&bytes[4..]).to_le_bytes());
    }
}
