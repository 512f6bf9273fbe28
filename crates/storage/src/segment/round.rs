//! One round: the frames of all writes that were queued, placed in one or more segments.
//!
//! ```text
//! segment 7   ... | header part 0 | frame | frame | seal |
//! segment 8   | header part 1 | frame | frame |
//! ```
//! Order: all parts are written, then each touched segment is synced. Payloads are not copied: a round is a list of
//! slices, with the headers in one buffer and the payloads in the memory of the callers. Only small payloads are
//! copied behind their headers, because a slice of their own would cost more.

use std::{
    io::{self, IoSlice},
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use anabranch_planted::{Bug, planted};

use crate::{
    Error,
    segment::{
        file::{BLOCK_BYTES, DATA_START, SegmentFile},
        frame::{self, HEADER_BYTES, Header, Kind, ROUND_BYTES, SEAL_BYTES},
    },
    space::is_short_of_space,
};

/// Payloads up to this size are copied behind their headers. Larger ones are written from the memory of the caller.
const COPIED_BYTES: usize = 512;
/// Bytes that stay free behind every frame, for an empty round and its seal.
const RESERVE_BYTES: u64 = (ROUND_BYTES + SEAL_BYTES) as u64;

/// Largest payload that a segment of this size can hold.
pub(crate) fn payload_limit(segment_bytes: u64) -> u64 {
    segment_bytes - DATA_START - (ROUND_BYTES + HEADER_BYTES) as u64 - RESERVE_BYTES
}

/// Location of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u32,
}

/// The position after a complete round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogEnd {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    /// Serial of the round that ends here.
    pub(crate) round: u64,
}

enum Piece<'a> {
    Head(Range<usize>),
    Payload(&'a [u8]),
}

/// The part of a round in one segment.
struct Extent {
    segment: Arc<SegmentFile>,
    start: u64,
    end: u64,
    pieces: Range<usize>,
}

/// A round that is being built.
pub(crate) struct Round<'a> {
    serial: u64,
    /// End of the round before it.
    previous: LogEnd,
    part: u64,
    heads: Vec<u8>,
    pieces: Vec<Piece<'a>>,
    extents: Vec<Extent>,
    segment: Arc<SegmentFile>,
    start: u64,
    offset: u64,
    first_piece: usize,
    /// Segments that ended in this round, with their lengths.
    pub(crate) sealed: Vec<(u64, u64)>,
}

impl<'a> Round<'a> {
    /// Begins round `serial` after `end` in `segment`. `bytes` is the approximate size of its frames.
    pub(crate) fn begin(
        heads: Vec<u8>,
        segment: Arc<SegmentFile>,
        end: LogEnd,
        serial: u64,
        bytes: u64,
    ) -> Result<Self, Error> {
        let start = aligned_start(end.offset, bytes + ROUND_BYTES as u64, segment.bytes);
        let mut round = Self {
            serial,
            previous: end,
            part: 0,
            heads,
            pieces: Vec::new(),
            extents: Vec::new(),
            segment,
            start,
            offset: start,
            first_piece: 0,
            sealed: Vec::new(),
        };
        round.heads.clear();
        round.header()?;
        Ok(round)
    }

    /// Adds a frame. If it does not fit into the segment, the round continues in the segment that `next` returns.
    pub(crate) fn frame(
        &mut self,
        header: Header,
        prefix: &[u8],
        payload: &'a [u8],
        next: impl FnOnce() -> Result<Arc<SegmentFile>, Error>,
    ) -> Result<Place, Error> {
        let bytes = (HEADER_BYTES + prefix.len() + payload.len()) as u64;
        if self.offset + bytes + RESERVE_BYTES > self.segment.bytes {
            self.roll(next()?)?;
        }
        let place = Place { segment: self.segment.serial, offset: self.offset32()? };
        self.put(header, prefix, payload)?;
        Ok(place)
    }

    /// Continues in the segment that `next` returns, if this segment has no space for another round and its seal.
    pub(crate) fn roll_if_tight(
        &mut self,
        next: impl FnOnce() -> Result<Arc<SegmentFile>, Error>,
    ) -> Result<(), Error> {
        if self.offset + RESERVE_BYTES > self.segment.bytes { self.roll(next()?) } else { Ok(()) }
    }

    /// Writes all parts and syncs every segment that the round touches. Before this returns `Ok`, no part of the
    /// round is guaranteed to be on the disk.
    ///
    /// If a write fails for lack of disk space, it is repeated after `wait` returns: the same bytes to the same
    /// places. Parts that are already on the disk stay correct. Only writes are repeated. After a failed sync nothing
    /// is repeated, whatever the reason, because the kernel may have dropped the pages and may report success the
    /// next time.
    pub(crate) fn write(
        mut self,
        mut wait: impl FnMut() -> Result<(), Error>,
    ) -> Result<Written, Error> {
        self.close_extent();
        for extent in &self.extents {
            while let Err(error) = self.write_extent(extent) {
                if !is_short_of_space(&error) {
                    return Err(failed("write", &extent.segment, &error));
                }
                wait()?;
            }
        }
        // All writes have succeeded before the first sync. From here on nothing of the round is written again.
        let began = Instant::now();
        for extent in &self.extents {
            if planted(Bug::AckBeforeFsync) {
                break;
            }
            let synced = extent.segment.sync_data();
            synced.map_err(|error| failed("fdatasync", &extent.segment, &error))?;
        }
        let blocks = |extent: &Extent| {
            extent.end.next_multiple_of(BLOCK_BYTES) - extent.start / BLOCK_BYTES * BLOCK_BYTES
        };
        Ok(Written {
            end: LogEnd { segment: self.segment.serial, offset: self.offset, round: self.serial },
            bytes: self.extents.iter().map(|extent| extent.end - extent.start).sum(),
            device_bytes: self.extents.iter().map(blocks).sum(),
            segments: self.extents.into_iter().map(|extent| extent.segment).collect(),
            sealed: self.sealed,
            sync: began.elapsed(),
            heads: self.heads,
        })
    }

    /// Writes half of the first part, as a write that runs out of space does.
    #[cfg(test)]
    pub(crate) fn write_half(&self) {
        let bytes: Vec<u8> = self.pieces[self.first_piece..]
            .iter()
            .flat_map(|piece| match piece {
                Piece::Head(range) => &self.heads[range.clone()],
                Piece::Payload(payload) => payload,
            })
            .copied()
            .collect();
        let mut half = [IoSlice::new(&bytes[..bytes.len() / 2])];
        let written = self.segment.write_all_vectored_at(&mut half, self.start);
        written.expect("the disk of the test has room");
    }

    fn write_extent(&self, extent: &Extent) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = self.pieces[extent.pieces.clone()]
            .iter()
            .map(|piece| match piece {
                Piece::Head(range) => IoSlice::new(&self.heads[range.clone()]),
                Piece::Payload(payload) => IoSlice::new(payload),
            })
            .collect();
        extent.segment.write_all_vectored_at(&mut slices, extent.start)
    }

    fn header(&mut self) -> Result<(), Error> {
        let LogEnd { segment, offset, round } = self.previous;
        let header =
            Header { kind: Kind::Round, group: self.part, term: round, index: self.serial };
        self.put(header, &frame::round_payload(segment, offset), &[])
    }

    fn roll(&mut self, next: Arc<SegmentFile>) -> Result<(), Error> {
        let seal = Header { kind: Kind::Seal, group: 0, term: 0, index: next.serial };
        self.put(seal, &[], &[])?;
        self.sealed.push((self.segment.serial, self.offset));
        self.close_extent();
        self.part += 1;
        self.segment = next;
        self.start = DATA_START;
        self.offset = DATA_START;
        self.header()
    }

    fn put(&mut self, header: Header, prefix: &[u8], payload: &'a [u8]) -> Result<(), Error> {
        let from = self.heads.len();
        let encoded =
            frame::encode_header(&mut self.heads, self.segment.seed, header, prefix, payload);
        encoded.ok_or(Error::TooLarge { bytes: payload.len(), limit: u32::MAX as usize })?;
        self.heads.extend_from_slice(prefix);
        let copied = payload.len() <= COPIED_BYTES;
        if copied {
            self.heads.extend_from_slice(payload);
        }
        self.push_head(from);
        if !copied {
            self.pieces.push(Piece::Payload(payload));
        }
        self.offset += (HEADER_BYTES + prefix.len() + payload.len()) as u64;
        Ok(())
    }

    /// Adds the bytes of `heads` from `from` on. Joins them with the piece before, if that is also a head of the same
    /// extent.
    fn push_head(&mut self, from: usize) {
        let to = self.heads.len();
        let joins = self.pieces.len() > self.first_piece;
        match self.pieces.last_mut() {
            Some(Piece::Head(range)) if joins && range.end == from => range.end = to,
            _ => self.pieces.push(Piece::Head(from..to)),
        }
    }

    fn close_extent(&mut self) {
        self.extents.push(Extent {
            segment: Arc::clone(&self.segment),
            start: self.start,
            end: self.offset,
            pieces: self.first_piece..self.pieces.len(),
        });
        self.first_piece = self.pieces.len();
    }

    fn offset32(&self) -> Result<u32, Error> {
        u32::try_from(self.offset).map_err(|_| Error::Failed {
            detail: format!("offset {} in a segment is out of range", self.offset),
        })
    }
}

/// A round that is on the disk.
pub(crate) struct Written {
    pub(crate) end: LogEnd,
    /// Segments that the round touches, in order.
    pub(crate) segments: Vec<Arc<SegmentFile>>,
    pub(crate) sealed: Vec<(u64, u64)>,
    pub(crate) bytes: u64,
    pub(crate) device_bytes: u64,
    /// Duration of its syncs.
    pub(crate) sync: Duration,
    /// Buffer for the next round.
    pub(crate) heads: Vec<u8>,
}

/// Start of a round of `bytes`: at `offset`, or at the next block if the round then touches fewer blocks.
fn aligned_start(offset: u64, bytes: u64, segment_bytes: u64) -> u64 {
    let within = offset % BLOCK_BYTES;
    let aligned = offset.next_multiple_of(BLOCK_BYTES);
    let fewer = (within + bytes).div_ceil(BLOCK_BYTES) > bytes.div_ceil(BLOCK_BYTES);
    if fewer && aligned + bytes + RESERVE_BYTES <= segment_bytes { aligned } else { offset }
}

fn failed(what: &str, segment: &SegmentFile, error: &std::io::Error) -> Error {
    Error::Failed { detail: format!("{what} {}: {error}", segment.path.display()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_begins_at_a_block_only_if_it_then_touches_fewer_blocks() {
        let at = |offset, bytes| aligned_start(offset, bytes, 1 << 20);
        assert_eq!(at(4096, 1100), 4096);
        assert_eq!(at(5196, 1100), 5196);
        assert_eq!(at(7396, 1100), 8192, "would touch two blocks");
        assert_eq!(at(7396, 65_536), 8192, "sixteen blocks instead of seventeen");
        assert_eq!(at(4196, 65_700), 4196, "seventeen blocks either way");
        assert_eq!(at((1 << 20) - 1000, 1100), (1 << 20) - 1000, "no space for padding");
    }
}
