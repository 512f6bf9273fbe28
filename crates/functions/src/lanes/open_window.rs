//! A tumbling window while it is open. Its edges are multiples of its length since 1970.

use std::time::Duration;

use anabranch_types::Timestamp;
use bytes::Bytes;
use uuid::Uuid;

use crate::checkpoint::Window;
use crate::event::{Item, WindowPart};
use crate::lanes::batch::mark;
use crate::limits::{STATE_BYTES, WINDOW_GRACE};
use crate::on_failure::ResponseContext;

/// A tumbling window that is open, with the progress of its last call.
#[derive(Debug)]
pub(super) struct OpenWindow {
    pub(super) window: Window,
    /// The state is too large: the next call is the last one of this window.
    pub(super) ends_early: bool,
    /// Last calls that failed and count.
    pub(super) failures: u32,
    pub(super) request_id: Option<Uuid>,
    pub(super) response: Option<ResponseContext>,
}

impl OpenWindow {
    /// The window of length `length` that contains `first`. It has no record yet.
    pub(super) fn around(first: &Item, length: Duration) -> Self {
        let start = begin(first.arrival, length);
        let (first, state) = (mark(first), Bytes::from_static(b"{}"));
        Self::restored(Window { start, length, state, first, last: first, records: 0 })
    }

    pub(super) fn restored(window: Window) -> Self {
        Self { window, ends_early: false, failures: 0, request_id: None, response: None }
    }

    pub(super) fn contains(&self, arrival: Timestamp) -> bool {
        (self.window.start..self.window.end()).contains(&arrival)
    }

    /// When the window closes if no record comes.
    pub(super) fn closes_at(&self) -> Timestamp {
        self.window.end().plus(WINDOW_GRACE)
    }

    /// The function processed `items` and returned `state`.
    pub(super) fn add(&mut self, items: &[Item], state: Bytes) {
        self.ends_early = state.len() > STATE_BYTES;
        self.window.state = state;
        if let (Some(first), Some(last)) = (items.first(), items.last()) {
            if self.window.records == 0 {
                self.window.first = mark(first);
            }
            self.window.last = mark(last);
            self.window.records += items.len() as u64;
        }
    }

    /// The members for an event.
    pub(super) fn part(&self, is_final: bool) -> WindowPart<'_> {
        WindowPart {
            start: self.window.start,
            end: self.window.end(),
            state: &self.window.state,
            is_final,
            ends_early: self.ends_early,
        }
    }
}

/// Begin of the window around `arrival`: a multiple of `length` since 1970.
pub(super) fn begin(arrival: Timestamp, length: Duration) -> Timestamp {
    let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX).max(1);
    Timestamp::from_millis(arrival.as_millis() / length * length)
}
