//! Handling of one bad frame before the synced end of the log, at the opening. If one bit is wrong, the frame is
//! corrected on the disk. If only the payload of an entry is bad, the replay passes over it, and the node fetches the
//! payload from another replica (ADR-0022).
//!
//! A frame is passed over only if everything except its payload is proven. The bytes that follow prove its length.
//! The group's log before it proves its group, term and index. Frames of other kinds are never passed over: they hold
//! votes and rows, which no other replica has.

use std::io;

use anabranch_types::{GroupId, LogId};
use bytes::Bytes;

use crate::{
    segment::{
        file::BLOCK_BYTES,
        frame::{self, HEADER_BYTES, Header, Kind, RawHeader},
        recovery::Replay,
        round::LogEnd,
        scan::{Cursor, RoundHeader, Scanner},
    },
    tail::Hint,
};

/// Longest frame in which a wrong bit is corrected anywhere except in an entry's payload. In longer frames, a wrong
/// bit is corrected only in the header. A frame with other damage may look like a frame with one wrong bit. The
/// probability of that is its number of bits divided by 2^32: less than 1 in 100,000 for this length.
const LONGEST_BYTES: usize = 4096;
/// Longest frame that is searched for a wrong bit. The search takes time for each byte.
const LONGEST_SEARCHED_BYTES: usize = 16 << 20;

/// Result for a bad frame.
pub(crate) enum Salvaged {
    /// The frame is corrected on the disk and can be read at the cursor.
    Corrected,
    /// The frame of an entry. The cursor may pass over it.
    Entry { header: Header, payload_bytes: usize },
}

/// Examines the bad frame at the cursor. `None` if too little about it is proven.
pub(crate) fn salvage(
    scanner: &mut Scanner,
    cursor: &Cursor,
    hint: Hint,
    replay: &Replay,
) -> io::Result<Option<Salvaged>> {
    let here = cursor.end.offset;
    let block = here.next_multiple_of(BLOCK_BYTES);
    for offset in [here, block] {
        if let Some(right) = corrected(scanner, cursor, offset)? {
            scanner.segment.repair(&right, offset)?;
            scanner.forget();
            return Ok(Some(Salvaged::Corrected));
        }
    }
    let Some(raw) = scanner.bytes(here, HEADER_BYTES)?.and_then(RawHeader::read) else {
        return Ok(None);
    };
    let payload_bytes = raw.payload_bytes as usize;
    let Some(header) = raw.claimed().filter(|_| cursor.is_inside()) else { return Ok(None) };
    let ends_there = ends_at(scanner, cursor, here + (HEADER_BYTES + payload_bytes) as u64, hint)?;
    let proven = ends_there && continues_log(header, replay);
    Ok(proven.then_some(Salvaged::Entry { header, payload_bytes }))
}

/// The frame at `offset` with its one wrong bit corrected. `None` if it does not have exactly one wrong bit, or may
/// not be at this place.
fn corrected(scanner: &mut Scanner, cursor: &Cursor, offset: u64) -> io::Result<Option<Bytes>> {
    let Some(raw) = scanner.bytes(offset, HEADER_BYTES)?.and_then(RawHeader::read) else {
        return Ok(None);
    };
    let seed = scanner.segment.seed;
    let lengths =
        std::iter::once(raw.payload_bytes).chain((0..32).map(|bit| raw.payload_bytes ^ (1 << bit)));
    for length in lengths {
        let bytes = HEADER_BYTES + length as usize;
        if bytes > LONGEST_SEARCHED_BYTES {
            continue;
        }
        let Some(found) = scanner.bytes(offset, bytes)? else { continue };
        let mut right = found.to_vec();
        if length == raw.payload_bytes {
            let Some(bit) = frame::wrong_bit(seed, &right) else { continue };
            if bytes > LONGEST_BYTES && bit >= HEADER_BYTES * 8 {
                continue;
            }
            right[bit / 8] ^= 1 << (bit % 8);
            let is_entry = matches!(kind_of(&right), Some(Kind::Entry | Kind::Moved));
            if is_entry && bit >= HEADER_BYTES * 8 {
                continue; // a copy from another replica is certain, a corrected bit is only probable
            }
        } else {
            right[4..8].copy_from_slice(&length.to_le_bytes());
        }
        if may_stand(cursor, offset, seed, &right) {
            return Ok(Some(right.into()));
        }
    }
    Ok(None)
}

fn kind_of(frame: &[u8]) -> Option<Kind> {
    Some(RawHeader::read(frame)?.claimed()?.kind)
}

/// Whether a frame is valid and may follow at the cursor.
fn may_stand(cursor: &Cursor, offset: u64, seed: u32, frame: &[u8]) -> bool {
    let Some(raw) = RawHeader::read(frame) else { return false };
    let payload = &frame[HEADER_BYTES..];
    let Some(header) = raw.validate(seed, payload) else { return false };
    match RoundHeader::read(header, payload) {
        Some(round) => cursor.follows(&round),
        None => header.kind != Kind::Round && cursor.is_inside() && offset == cursor.end.offset,
    }
}

/// Whether valid data proves that a frame of the cursor's round ends at `offset`: the tail file, a valid frame, or
/// the header of the next round.
fn ends_at(scanner: &mut Scanner, cursor: &Cursor, offset: u64, hint: Hint) -> io::Result<bool> {
    let end = LogEnd { offset, ..cursor.end };
    if hint.end == end {
        return Ok(true);
    }
    if scanner.frame(offset)?.is_some_and(|(next, _)| next.kind != Kind::Round) {
        return Ok(true);
    }
    let mut behind = *cursor;
    behind.pass(offset - cursor.end.offset);
    let next = scanner.next_round(&behind)?;
    Ok(next.is_some_and(|(round, _)| round.previous == end))
}

/// Whether a header belongs to the next entry of its group's log, or to an entry of the log that was copied forward.
fn continues_log(header: Header, replay: &Replay) -> bool {
    let Some(group) = replay.groups.get(&GroupId(header.group)) else { return false };
    let bounds = &group.synced.bounds;
    match header.kind {
        Kind::Entry => {
            let id = LogId { term: header.term, index: header.index };
            let last = bounds.terms().last().map(|(_, term)| *term);
            bounds.next() == id.index && last <= Some(id.term)
        }
        Kind::Moved => bounds.term_of(header.index) == Some(header.term),
        Kind::Round
        | Kind::Vote
        | Kind::Truncate
        | Kind::Purge
        | Kind::State
        | Kind::Remove
        | Kind::Seal => false,
    }
}
