//! The checkpoint of one shard: where its work goes on after a restart.
//!
//! ```text
//! version 1 (1) | flags (1) | log index (8) | offset (2) | window, if flag 2 is set
//! window: start (8) | length (8) | records (8) | first | last | state, to the end
//! first, last: arrival (8) | bytes of the number (1) | number as decimal text
//! ```
//!
//! Numbers are big-endian; times are milliseconds since 1970. Flag 1 says that the shard is finished. Released bytes
//! are read for ever: a change is a new version.

use std::time::Duration;

use anabranch_shard::Position;
use anabranch_types::Timestamp;
use bytes::Bytes;

use crate::limits::STATE_BYTES;
use crate::on_failure::Mark;

const VERSION: u8 = 1;
const FINISHED: u8 = 1;
const WINDOW: u8 = 2;
/// Bytes of a checkpoint beside the state: two sequence numbers of 58 digits, and 53 bytes.
const MAX_BYTES: usize = STATE_BYTES + 256;

/// How far the work on a shard is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Every record before this position is finished: processed, skipped by a filter, or discarded.
    pub next: Position,
    /// Whether the shard has ended and all its records are finished. Its children may begin.
    pub is_finished: bool,
    /// The tumbling window that is open.
    pub window: Option<Window>,
}

/// A tumbling window that has records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Begin; a multiple of `length` since 1970.
    pub start: Timestamp,
    /// Length.
    pub length: Duration,
    /// State that the last call returned; a JSON object of at most [`STATE_BYTES`].
    pub state: Bytes,
    /// The first record that the function processed in the window.
    pub first: Mark,
    /// The last one.
    pub last: Mark,
    /// Number of records that the function processed in the window.
    pub records: u64,
}

/// Stored bytes are not a checkpoint that this version understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("checkpoint of a function mapping: {0}")]
pub struct Damaged(&'static str);

impl Window {
    /// The first moment after the window.
    pub fn end(&self) -> Timestamp {
        self.start.plus(self.length)
    }
}

impl Checkpoint {
    /// The checkpoint of a shard that is to be read from `next`.
    pub fn at(next: Position) -> Self {
        Self { next, ..Self::default() }
    }

    /// The bytes to store; below 400 KB.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, 0];
        bytes.extend_from_slice(&self.next.log_index.to_be_bytes());
        bytes.extend_from_slice(&self.next.offset.to_be_bytes());
        if self.is_finished {
            bytes[1] |= FINISHED;
        }
        if let Some(window) = &self.window {
            bytes[1] |= WINDOW;
            let length = u64::try_from(window.length.as_millis()).unwrap_or(u64::MAX);
            for number in [window.start.as_millis(), length, window.records] {
                bytes.extend_from_slice(&number.to_be_bytes());
            }
            write_mark(&mut bytes, window.first);
            write_mark(&mut bytes, window.last);
            bytes.extend_from_slice(&window.state);
        }
        bytes
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// [`Damaged`] if they are not a checkpoint of a known version.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        if bytes.len() > MAX_BYTES {
            return Err(Damaged("too many bytes"));
        }
        let mut rest = bytes;
        let [version, flags] = take(&mut rest)?;
        if version != VERSION || flags & !(FINISHED | WINDOW) != 0 {
            return Err(Damaged("unknown version"));
        }
        let (log_index, offset) = (number(&mut rest)?, u16::from_be_bytes(take(&mut rest)?));
        let window = if flags & WINDOW == 0 { None } else { Some(window(&mut rest)?) };
        if !rest.is_empty() {
            return Err(Damaged("bytes after the end"));
        }
        let next = Position { log_index, offset };
        Ok(Self { next, is_finished: flags & FINISHED != 0, window })
    }
}

fn window(rest: &mut &[u8]) -> Result<Window, Damaged> {
    let (start, length, records) = (number(rest)?, number(rest)?, number(rest)?);
    let (first, last) = (mark(rest)?, mark(rest)?);
    let state = Bytes::copy_from_slice(std::mem::take(rest));
    let is_object =
        state.starts_with(b"{") && serde_json::from_slice::<serde::de::IgnoredAny>(&state).is_ok();
    if length == 0 || !is_object || state.len() > STATE_BYTES {
        return Err(Damaged("invalid window"));
    }
    let (start, length) = (Timestamp::from_millis(start), Duration::from_millis(length));
    Ok(Window { start, length, state, first, last, records })
}

fn write_mark(bytes: &mut Vec<u8>, mark: Mark) {
    let number = mark.number.to_string();
    bytes.extend_from_slice(&mark.arrival.as_millis().to_be_bytes());
    bytes.push(u8::try_from(number.len()).expect("at most 58 digits"));
    bytes.extend_from_slice(number.as_bytes());
}

fn mark(rest: &mut &[u8]) -> Result<Mark, Damaged> {
    let arrival = Timestamp::from_millis(number(rest)?);
    let [digits] = take(rest)?;
    let (text, after) = rest.split_at_checked(digits.into()).ok_or(Damaged("too short"))?;
    *rest = after;
    let text = std::str::from_utf8(text).map_err(|_| Damaged("invalid sequence number"))?;
    let number = text.parse().map_err(|_| Damaged("invalid sequence number"))?;
    Ok(Mark { number, arrival })
}

fn number(rest: &mut &[u8]) -> Result<u64, Damaged> {
    take(rest).map(u64::from_be_bytes)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Damaged> {
    let (taken, after) = rest.split_first_chunk().ok_or(Damaged("too short"))?;
    *rest = after;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    use anabranch_types::{SequenceNumber, SequenceNumberParts, ShardId};
    use proptest::prelude::*;

    use super::*;

    fn mark(log_index: u64, arrival: u64) -> Mark {
        let parts = SequenceNumberParts {
            shard_born_seconds: 1_700_000_000,
            shard: ShardId(2),
            log_index,
            offset: 3,
            arrival_seconds: arrival / 1000,
        };
        Mark { number: SequenceNumber::new(parts), arrival: Timestamp::from_millis(arrival) }
    }

    fn with_window() -> Checkpoint {
        let window = Window {
            start: Timestamp::from_millis(60_000),
            length: Duration::from_secs(60),
            state: Bytes::from_static(br#"{"a":1}"#),
            first: mark(1, 61_000),
            last: mark(2, 62_000),
            records: 2,
        };
        Checkpoint {
            next: Position { log_index: 3, offset: 4 },
            is_finished: false,
            window: Some(window),
        }
    }

    #[test]
    fn version_1_has_these_bytes() {
        let finished = Checkpoint { is_finished: true, ..Checkpoint::at(Position::entry(258)) };
        assert_eq!(finished.encode(), [1, 1, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0]);
        let checkpoint = with_window();
        let window = checkpoint.window.as_ref().unwrap();
        let [first, last] = [window.first, window.last].map(|mark| mark.number.to_string());
        let mut golden = vec![1, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 4];
        golden.extend([0, 0, 0, 0, 0, 0, 0xea, 0x60, 0, 0, 0, 0, 0, 0, 0xea, 0x60]);
        golden.extend([0, 0, 0, 0, 0, 0, 0, 2]);
        golden.extend([0, 0, 0, 0, 0, 0, 0xee, 0x48, 56]);
        golden.extend(first.as_bytes());
        golden.extend([0, 0, 0, 0, 0, 0, 0xf2, 0x30, 56]);
        golden.extend(last.as_bytes());
        golden.extend(br#"{"a":1}"#);
        assert_eq!(checkpoint.encode(), golden);
        assert_eq!(Checkpoint::decode(&golden), Ok(checkpoint));
    }

    #[test]
    fn other_bytes_are_refused() {
        let bytes = with_window().encode();
        for end in 0..bytes.len() {
            assert!(Checkpoint::decode(&bytes[..end]).is_err(), "{end}");
        }
        let refused = |bytes: &[u8]| Checkpoint::decode(bytes).unwrap_err().to_string();
        let unknown = "checkpoint of a function mapping: unknown version";
        assert_eq!(refused(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), unknown);
        assert_eq!(refused(&[1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), unknown);
        let long = [&Checkpoint::default().encode()[..], b"x"].concat();
        assert_eq!(refused(&long), "checkpoint of a function mapping: bytes after the end");
        let huge = vec![b' '; MAX_BYTES + 1];
        assert_eq!(refused(&huge), "checkpoint of a function mapping: too many bytes");
    }

    #[test]
    fn the_largest_state_fits_a_row_of_a_table() {
        let mut checkpoint = with_window();
        let state = format!(r#"{{"a":"{}"}}"#, "x".repeat(STATE_BYTES - 8));
        checkpoint.window.as_mut().unwrap().state = state.into();
        let bytes = checkpoint.encode();
        assert!(bytes.len() < 400_000, "{}", bytes.len());
        assert_eq!(Checkpoint::decode(&bytes), Ok(checkpoint));
    }

    proptest! {
        #[test]
        fn a_checkpoint_is_read_as_it_was_written(
            log_index: u64, offset: u16, is_finished: bool, times: [u32; 3], length in 1..u64::MAX,
            records: u64, has_window: bool,
        ) {
            let window = Window {
                start: Timestamp::from_millis(times[0].into()),
                length: Duration::from_millis(length),
                state: Bytes::from_static(b"{}"),
                first: mark(5, times[1].into()),
                last: mark(6, times[2].into()),
                records,
            };
            let next = Position { log_index, offset };
            let checkpoint = Checkpoint { next, is_finished, window: has_window.then_some(window) };
            prop_assert_eq!(Checkpoint::decode(&checkpoint.encode()), Ok(checkpoint));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Checkpoint::decode(&bytes);
        }
    }
}
