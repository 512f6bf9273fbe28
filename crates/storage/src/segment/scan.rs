//! Reads the frames of a segment one after the other, and knows which frame may follow which.
//!
//! Recovery and the scrub use the same rules. They differ in their reaction to a break. Nothing here decides what is
//! damage.

use std::{io, sync::Arc};

use crate::segment::{
    file::{BLOCK_BYTES, DATA_START, SegmentFile, is_unreadable},
    frame::{self, HEADER_BYTES, Header, Kind, ROUND_BYTES, ROUND_MAGIC, RawHeader},
    round::LogEnd,
};

const WINDOW_BYTES: usize = 1 << 20;

/// Reads a segment through a window in memory.
pub(crate) struct Scanner {
    pub(crate) segment: Arc<SegmentFile>,
    window: Vec<u8>,
    start: u64,
}

/// A round header that was found in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoundHeader {
    pub(crate) serial: u64,
    pub(crate) part: u64,
    /// The end of the round before it, with that round's serial.
    pub(crate) previous: LogEnd,
}

/// Position up to which a chain of frames was followed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    /// Offset of the next frame. `round` is the round that the cursor is in, or the last one it passed.
    pub(crate) end: LogEnd,
    /// Whether the cursor has passed the header of this round in this segment.
    inside: bool,
    part: u64,
    /// The end of the round before this one.
    previous: LogEnd,
    /// Whether any round header is accepted as the first one.
    any: bool,
}

/// Result of a step: the item at the cursor.
pub(crate) enum Step {
    /// A frame other than a round header. Its payload has `payload_bytes` and follows the header at `offset`.
    Frame { header: Header, offset: u64, payload_bytes: usize },
    /// The end of the segment. The log continues in the next segment.
    Sealed,
    /// Neither a frame of the round nor the header of the next round.
    Broken,
}

impl RoundHeader {
    /// The content of a round header. `None` if the frame is of another kind.
    pub(crate) fn read(header: Header, payload: &[u8]) -> Option<Self> {
        let (segment, offset) = frame::decode_round_payload(payload)?;
        let previous = LogEnd { segment, offset, round: header.term };
        (header.kind == Kind::Round).then_some(Self {
            serial: header.index,
            part: header.group,
            previous,
        })
    }
}

impl Cursor {
    /// Expects the next round. The round before it ended at `end`.
    pub(crate) fn after(end: LogEnd) -> Self {
        Self { end, inside: false, part: 0, previous: end, any: false }
    }

    /// Expects any round at the start of a segment.
    pub(crate) fn at_start_of(segment: u64) -> Self {
        let end = LogEnd { segment, offset: DATA_START, round: 0 };
        Self { end, inside: false, part: 0, previous: end, any: true }
    }

    /// The cursor after a seal, at the start of the next segment.
    pub(crate) fn next_segment(self) -> Self {
        let end =
            LogEnd { segment: self.end.segment + 1, offset: DATA_START, round: self.end.round };
        Self { end, inside: false, ..self }
    }

    /// End of the round before the last one: the last round follows it.
    pub(crate) fn before_last(&self) -> LogEnd {
        self.previous
    }

    /// Whether the next frame may belong to the cursor's round.
    pub(crate) fn is_inside(&self) -> bool {
        self.inside
    }

    /// Moves past a frame of the round that cannot be read.
    pub(crate) fn pass(&mut self, frame_bytes: u64) {
        self.end.offset += frame_bytes;
    }

    pub(crate) fn follows(&self, found: &RoundHeader) -> bool {
        let fresh = found.part == 0 && found.serial > self.end.round && found.previous == self.end;
        let continues = !self.inside
            && found.serial == self.end.round
            && found.part == self.part + 1
            && found.previous == self.previous;
        self.any || fresh || continues
    }

    fn enter(&mut self, found: &RoundHeader, offset: u64) {
        self.end.round = found.serial;
        self.end.offset = offset + ROUND_BYTES as u64;
        self.part = found.part;
        self.previous = found.previous;
        self.inside = true;
        self.any = false;
    }
}

impl Scanner {
    pub(crate) fn new(segment: Arc<SegmentFile>) -> Self {
        Self { segment, window: Vec::new(), start: 0 }
    }

    /// Moves forward by one frame. Passes over round headers.
    pub(crate) fn step(&mut self, cursor: &mut Cursor) -> io::Result<Step> {
        loop {
            let offset = cursor.end.offset;
            if cursor.inside
                && let Some((header, payload_bytes)) = self.frame(offset)?
                && header.kind != Kind::Round
            {
                cursor.end.offset += (HEADER_BYTES + payload_bytes) as u64;
                if header.kind == Kind::Seal {
                    return Ok(Step::Sealed);
                }
                return Ok(Step::Frame { header, offset, payload_bytes });
            }
            let Some((found, at)) = self.next_round(cursor)? else {
                return Ok(Step::Broken);
            };
            cursor.enter(&found, at);
        }
    }

    /// Bytes of the segment. `None` if they reach beyond its end.
    pub(crate) fn bytes(&mut self, offset: u64, count: usize) -> io::Result<Option<&[u8]>> {
        let Some(end) = offset.checked_add(count as u64).filter(|end| *end <= self.segment.bytes)
        else {
            return Ok(None);
        };
        if offset < self.start || end > self.start + self.window.len() as u64 {
            self.fill(offset, count)?;
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(self.window.get(from..from + count))
    }

    /// All valid round headers of this life of the segment from `offset` on, at any place.
    pub(crate) fn rounds_from(&mut self, offset: u64) -> io::Result<Vec<RoundHeader>> {
        let mut found = Vec::new();
        let mut at = offset;
        while at < self.segment.bytes {
            let left = usize::try_from(self.segment.bytes - at).unwrap_or(usize::MAX);
            let Some(bytes) = self.bytes(at, left.min(WINDOW_BYTES))? else { break };
            let starts: Vec<u64> = positions_of_magic(bytes)
                .filter_map(|position| (at + position as u64).checked_sub(HEADER_BYTES as u64))
                .filter(|start| *start >= offset)
                .collect();
            for start in starts {
                found.extend(self.round(start)?);
            }
            at += (WINDOW_BYTES - (ROUND_MAGIC.len() - 1)) as u64;
        }
        Ok(found)
    }

    /// Drops the window, because the file was changed.
    pub(crate) fn forget(&mut self) {
        self.window.clear();
        self.start = 0;
    }

    /// The round header that follows at the cursor: at its offset, or at the next block.
    pub(crate) fn next_round(&mut self, cursor: &Cursor) -> io::Result<Option<(RoundHeader, u64)>> {
        let here = cursor.end.offset;
        let block = here.next_multiple_of(BLOCK_BYTES);
        for at in [here, block] {
            if let Some(found) = self.round(at)?
                && cursor.follows(&found)
            {
                return Ok(Some((found, at)));
            }
        }
        Ok(None)
    }

    fn round(&mut self, offset: u64) -> io::Result<Option<RoundHeader>> {
        let Some((header, payload_bytes)) = self.frame(offset)? else { return Ok(None) };
        let payload = self.bytes(offset + HEADER_BYTES as u64, payload_bytes)?;
        Ok(payload.and_then(|payload| RoundHeader::read(header, payload)))
    }

    /// The valid frame at `offset`, with the number of its payload bytes.
    pub(crate) fn frame(&mut self, offset: u64) -> io::Result<Option<(Header, usize)>> {
        let Some(raw) = self.bytes(offset, HEADER_BYTES)?.and_then(RawHeader::read) else {
            return Ok(None);
        };
        let payload_bytes = raw.payload_bytes as usize;
        let seed = self.segment.seed;
        let payload = self.bytes(offset + HEADER_BYTES as u64, payload_bytes)?;
        let header = payload.and_then(|payload| raw.validate(seed, payload));
        Ok(header.map(|header| (header, payload_bytes)))
    }

    fn fill(&mut self, offset: u64, count: usize) -> io::Result<()> {
        let left = usize::try_from(self.segment.bytes - offset).unwrap_or(usize::MAX);
        self.window.clear();
        self.window.resize(count.max(WINDOW_BYTES).min(left), 0);
        self.start = offset;
        match self.segment.read_exact_at(&mut self.window, offset) {
            Err(error) if is_unreadable(&error) => self.fill_by_blocks(offset),
            read => read,
        }
    }

    /// Reads block by block. Blocks that the device cannot read count as zeroes, and zeroes are never a valid frame.
    fn fill_by_blocks(&mut self, offset: u64) -> io::Result<()> {
        let segment = Arc::clone(&self.segment);
        let mut at = offset;
        let mut rest = &mut self.window[..];
        while !rest.is_empty() {
            let in_block = BLOCK_BYTES - at % BLOCK_BYTES;
            let count = usize::try_from(in_block).unwrap_or(usize::MAX).min(rest.len());
            let (block, later) = rest.split_at_mut(count);
            match segment.read_exact_at(block, at) {
                Err(error) if is_unreadable(&error) => block.fill(0),
                read => read?,
            }
            at += count as u64;
            rest = later;
        }
        Ok(())
    }
}

fn positions_of_magic(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let first = ROUND_MAGIC[0];
    bytes
        .windows(ROUND_MAGIC.len())
        .enumerate()
        .filter(move |(_, window)| window[0] == first && *window == ROUND_MAGIC)
        .map(|(position, _)| position)
}
