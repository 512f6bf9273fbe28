//! One lane: its records wait, become a batch, and are called until they are finished. At most one call or delivery
//! is in flight.
//!
//! ```text
//! Free -- call ----> Calling ---- processed --------------------> Free
//!   ^                   |-------- failed, not called -----------> Pausing -- delay over --> Free
//!   |                   +-------- failed for the last time --+
//!   |                                                        v
//!   +-- no destination, or delivered ------------------- discard -- deliver --> Delivering
//! ```
//!
//! Order: a discard comes first, then the end of a window whose state is too large, then the batches from the lowest,
//! then the end of a window, then a new batch.

use std::collections::VecDeque;

use anabranch_shard::Position;
use anabranch_types::{SequenceNumber, Timestamp};
use bytes::Bytes;
use uuid::Uuid;

use crate::checkpoint::Window;
use crate::event::{Item, WindowPart};
use crate::lanes::batch::{Batch, mark};
use crate::lanes::delay::Delay;
use crate::lanes::open_window::{OpenWindow, begin};
use crate::lanes::random::Random;
use crate::lanes::report::{Answer, Counts, Delivery};
use crate::lanes::rules::Rules;
use crate::limits::PAYLOAD_BYTES;
use crate::on_failure::{Condition, Discarded, ResponseContext};
use crate::response::{self, Reading, Verdict};

/// One lane.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Records that are in no batch yet.
    waiting: VecDeque<Item>,
    waiting_bytes: usize,
    /// Since when the next batch is gathered.
    gathering: Option<Timestamp>,
    /// Batches from the lowest; those behind the first were cut off.
    batches: VecDeque<Batch>,
    step: Step,
    discard: Option<Discard>,
    window: Option<OpenWindow>,
    /// Where a restart has to begin while the state of the window is too large to be stored.
    held: Option<Held>,
    /// Failures in a row.
    streak: u32,
}

#[derive(Clone, Copy, Debug, Default)]
enum Step {
    #[default]
    Free,
    Calling {
        serial: u64,
        /// Whether it is the last call of a window.
        is_final: bool,
    },
    Delivering {
        serial: u64,
    },
    Pausing(Delay),
}

/// Something lost, whose document is not delivered yet.
#[derive(Debug)]
struct Discard {
    lost: Lost,
    document: Bytes,
}

#[derive(Clone, Copy, Debug)]
enum Lost {
    /// The first records of the first batch.
    Records(usize),
    /// The last call of the window.
    Window,
}

#[derive(Debug)]
struct Held {
    next: Position,
    window: Option<Window>,
}

/// How many records of a batch the function processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Processed {
    All,
    /// The first ones.
    Some,
    None,
}

/// A call or delivery to start.
pub(super) enum Start {
    Call { request_id: Uuid, event: Bytes },
    Deliver(Bytes),
}

/// The surroundings of a lane.
pub(super) struct Context<'a> {
    pub(super) rules: &'a Rules,
    pub(super) now: Timestamp,
    pub(super) has_ended: bool,
    pub(super) random: &'a mut Random,
    pub(super) counts: &'a mut Counts,
}

impl Lane {
    pub(super) fn restore(&mut self, window: Option<Window>) {
        self.window = window.map(OpenWindow::restored);
    }

    pub(super) fn push(&mut self, item: Item) {
        self.waiting_bytes += item.json.len() + 1;
        self.waiting.push_back(item);
    }

    /// Bytes of the records that are not finished.
    pub(super) fn bytes(&self) -> usize {
        self.waiting_bytes + self.batches.iter().map(Batch::bytes).sum::<usize>()
    }

    /// Number of records that are not finished.
    pub(super) fn records(&self) -> usize {
        self.waiting.len() + self.batches.iter().map(|batch| batch.items.len()).sum::<usize>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.batches.is_empty() && self.window.is_none()
    }

    /// Position of the first record that is not finished.
    pub(super) fn unfinished(&self) -> Option<Position> {
        let held = self.held.as_ref().map(|held| held.next);
        held.or_else(|| self.first().map(|item| Position::of(item.number)))
    }

    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.first().map(|item| item.arrival)
    }

    /// The window that belongs to [`Self::unfinished`].
    pub(super) fn safe_window(&self) -> Option<Window> {
        match &self.held {
            Some(held) => held.window.clone(),
            None => self.stored_window(),
        }
    }

    fn stored_window(&self) -> Option<Window> {
        let window = self.window.as_ref().map(|open| &open.window);
        window.filter(|window| window.records > 0).cloned()
    }

    fn first(&self) -> Option<&Item> {
        self.batches.front().and_then(|batch| batch.items.first()).or_else(|| self.waiting.front())
    }

    /// When [`Self::next`] may start something without a report or a record.
    pub(super) fn wake_at(&self, rules: &Rules) -> Option<Timestamp> {
        match self.step {
            Step::Calling { .. } | Step::Delivering { .. } => None,
            Step::Pausing(delay) => Some(delay.end()),
            Step::Free => {
                let gathered = |since: Timestamp| since.plus(rules.mapping.batching_window);
                let closed = self.window.as_ref().map(OpenWindow::closes_at);
                let around = |item, length| OpenWindow::around(item, length).closes_at();
                let head = self.waiting.front().zip(rules.mapping.tumbling_window);
                let head = head.map(|(item, length)| around(item, length));
                self.gathering.map(gathered).into_iter().chain(closed).chain(head).min()
            }
        }
    }

    /// The call or delivery to start at `context.now`, under `serial`.
    pub(super) fn next(&mut self, serial: u64, mut context: Context<'_>) -> Option<Start> {
        match self.step {
            Step::Calling { .. } | Step::Delivering { .. } => return None,
            Step::Pausing(delay) if !delay.is_over(context.now) => return None,
            Step::Pausing(_) | Step::Free => self.step = Step::Free,
        }
        loop {
            if let Some(discard) = &self.discard {
                self.step = Step::Delivering { serial };
                return Some(Start::Deliver(discard.document.clone()));
            }
            if self.closes_window(&context) {
                if let Some(start) = self.call_final(serial, &mut context) {
                    return Some(start);
                }
            } else if !self.batches.is_empty() || self.gather(&context) {
                if let Some(start) = self.call(serial, &mut context) {
                    return Some(start);
                }
            } else {
                return None;
            }
        }
    }

    /// Whether the open window has to end before anything else.
    fn closes_window(&self, context: &Context<'_>) -> bool {
        let Some(open) = &self.window else { return false };
        if open.ends_early {
            return true;
        }
        if !self.batches.is_empty() {
            return false;
        }
        let was_changed = context.rules.mapping.tumbling_window != Some(open.window.length);
        was_changed
            || match self.waiting.front() {
                Some(item) => !open.contains(item.arrival),
                None => context.has_ended || context.now >= open.closes_at(),
            }
    }

    /// Makes a batch of waiting records, if one is due.
    fn gather(&mut self, context: &Context<'_>) -> bool {
        if !self.is_due(context) {
            if !self.waiting.is_empty() {
                self.gathering.get_or_insert(context.now);
            }
            return false;
        }
        self.gathering = None;
        let mapping = &context.rules.mapping;
        let most = mapping.batch_size.min(self.waiting.len());
        let together = self.first_window(mapping.tumbling_window).min(most);
        let window = self.window.as_ref().map(|open| open.part(false));
        let items = &self.waiting.make_contiguous()[..together];
        // A record that is too large is a batch of its own. `call` discards it.
        let count = context.rules.source.fitting(items, window, PAYLOAD_BYTES).max(1);
        let items: Vec<Item> = self.waiting.drain(..count).collect();
        self.waiting_bytes -= items.iter().map(|item| item.json.len() + 1).sum::<usize>();
        self.batches.push_back(Batch::new(items));
        true
    }

    fn is_due(&self, context: &Context<'_>) -> bool {
        let mapping = &context.rules.mapping;
        let (Some(first), Some(last)) = (self.waiting.front(), self.waiting.back()) else {
            return false;
        };
        let is_full =
            self.waiting.len() >= mapping.batch_size || self.waiting_bytes >= PAYLOAD_BYTES;
        let length = mapping.batching_window;
        let is_late =
            || self.gathering.is_some_and(|since| Delay { since, length }.is_over(context.now));
        let window_is_over = mapping.tumbling_window.is_some_and(|length| {
            let end = OpenWindow::around(first, length);
            !end.contains(last.arrival) || context.now >= end.closes_at()
        });
        is_full || length.is_zero() || context.has_ended || window_is_over || is_late()
    }

    /// How many of the first waiting records are in one tumbling window.
    fn first_window(&self, length: Option<std::time::Duration>) -> usize {
        let Some(length) = length else { return self.waiting.len() };
        let begins = |item: &Item| begin(item.arrival, length);
        let first = self.waiting.front().map(begins);
        self.waiting.iter().take_while(|item| Some(begins(item)) == first).count()
    }

    /// Calls the function with the first batch; `None` if some of its records were discarded instead.
    fn call(&mut self, serial: u64, context: &mut Context<'_>) -> Option<Start> {
        let rules = context.rules;
        let batch = self.batches.front()?;
        let expired = batch.expired(rules.longest_age, context.now);
        if expired > 0 {
            self.discard_records(expired, Condition::RecordAgeExceeded, context);
            return None;
        }
        if self.window.is_none() {
            let open = |length| OpenWindow::around(&batch.items[0], length);
            self.window = rules.mapping.tumbling_window.map(open);
        }
        let window: Option<WindowPart<'_>> = self.window.as_ref().map(|open| open.part(false));
        let fitting = rules.source.fitting(&batch.items, window, PAYLOAD_BYTES);
        if fitting == 0 {
            self.discard_records(1, Condition::RecordSizeExceeded, context);
            return None;
        }
        let event = rules.source.event(&batch.items[..fitting], window);
        let batch = self.batches.front_mut()?;
        let request_id = context.random.uuid();
        batch.request_id = Some(request_id);
        if fitting < batch.items.len() {
            // The state of the window has grown since the batch was gathered.
            let rest = batch.split_off(fitting);
            self.batches.insert(1, rest);
        }
        self.step = Step::Calling { serial, is_final: false };
        Some(Start::Call { request_id, event })
    }

    /// Makes the last call of the window; `None` if the window ended without one.
    fn call_final(&mut self, serial: u64, context: &mut Context<'_>) -> Option<Start> {
        let rules = context.rules;
        let open = self.window.as_mut()?;
        if open.window.records == 0 {
            self.end_window(); // the function has seen nothing of it
            return None;
        }
        if context.now.since(open.window.last.arrival) > rules.longest_age {
            self.discard_window(Condition::RecordAgeExceeded, context);
            return None;
        }
        let request_id = context.random.uuid();
        open.request_id = Some(request_id);
        let event = rules.source.event(&[], Some(open.part(true)));
        self.step = Step::Calling { serial, is_final: true };
        Some(Start::Call { request_id, event })
    }

    fn end_window(&mut self) {
        (self.window, self.held) = (None, None);
    }

    pub(super) fn answered(&mut self, serial: u64, answer: Answer, mut context: Context<'_>) {
        let is_final = match self.step {
            Step::Calling { serial: own, is_final } if own == serial => is_final,
            Step::Calling { .. } | Step::Delivering { .. } | Step::Pausing(_) | Step::Free => {
                return;
            }
        };
        self.step = Step::Free;
        let (processed, response) = match answer {
            Answer::NotCalled => {
                context.counts.throttled += 1;
                return self.pause(&mut context);
            }
            Answer::Failed { status, error } => {
                (Processed::None, ResponseContext::new(status, Some(error)))
            }
            Answer::Returned { status, .. } if is_final => {
                self.end_window();
                (Processed::All, ResponseContext::new(status, None))
            }
            Answer::Returned { status, payload } => {
                (self.process(&payload, &mut context), ResponseContext::new(status, None))
            }
        };
        context.counts.calls += 1;
        if processed == Processed::All {
            self.streak = 0;
            return;
        }
        context.counts.failed_calls += 1;
        if processed == Processed::Some {
            self.streak = 0;
            if context.rules.mapping.bisect {
                return self.pause(&mut context); // the batch was cut, which does not use the retries
            }
        }
        self.failed(is_final, response, &mut context);
    }

    /// Removes the records that the function processed.
    fn process(&mut self, payload: &[u8], context: &mut Context<'_>) -> Processed {
        let mapping = &context.rules.mapping;
        let Some(batch) = self.batches.front_mut() else { return Processed::All };
        let numbers: Vec<SequenceNumber> = batch.items.iter().map(|item| item.number).collect();
        let reading = Reading {
            reports_failures: mapping.reports_failures,
            has_state: self.window.is_some(),
        };
        let Verdict::Processed { records, state } = response::read(payload, &numbers, reading)
        else {
            return Processed::None;
        };
        let before = self.held_here();
        let Some(batch) = self.batches.front_mut() else { return Processed::All };
        if let (Some(open), Some(state)) = (&mut self.window, state) {
            open.add(&batch.items[..records], state);
            if open.ends_early {
                self.held = before;
            }
        }
        context.counts.processed += records as u64;
        batch.items.drain(..records);
        if batch.items.is_empty() {
            self.batches.pop_front();
            return Processed::All;
        }
        if records == 0 {
            return Processed::None;
        }
        batch.failures = 0; // another record fails now than before
        Processed::Some
    }

    /// Where a restart has to begin if the answer to this call can't be stored.
    fn held_here(&self) -> Option<Held> {
        self.unfinished().map(|next| Held { next, window: self.safe_window() })
    }

    /// The call failed, and counts.
    fn failed(&mut self, is_final: bool, response: ResponseContext, context: &mut Context<'_>) {
        let mapping = &context.rules.mapping;
        let is_last = |failures: u32| mapping.maximum_retries.is_some_and(|most| failures > most);
        if is_final {
            let Some(open) = &mut self.window else { return };
            open.failures = open.failures.saturating_add(1);
            open.response = Some(response);
            if is_last(open.failures) {
                return self.discard_window(Condition::RetryAttemptsExhausted, context);
            }
        } else {
            let Some(batch) = self.batches.front_mut() else { return };
            batch.response = Some(response);
            let count = batch.items.len();
            if mapping.bisect && count > 1 {
                // A cut does not use the retries.
                let upper = batch.split_off(count.div_ceil(2));
                self.batches.insert(1, upper);
            } else {
                batch.failures = batch.failures.saturating_add(1);
                if is_last(batch.failures) {
                    let condition = Condition::RetryAttemptsExhausted;
                    return self.discard_records(count, condition, context);
                }
            }
        }
        self.pause(context);
    }

    fn pause(&mut self, context: &mut Context<'_>) {
        self.streak = self.streak.saturating_add(1);
        let delay = Delay::after_failure(self.streak, context.random, context.now);
        self.step = Step::Pausing(delay);
    }

    /// Discards the first `count` records of the first batch.
    fn discard_records(&mut self, count: usize, condition: Condition, context: &mut Context<'_>) {
        let Some(batch) = self.batches.front() else { return };
        let (Some(first), Some(last)) = (batch.items.first(), batch.items.get(count - 1)) else {
            return;
        };
        let discarded = Discarded {
            condition,
            request_id: batch.request_id.unwrap_or_else(|| context.random.uuid()),
            calls: batch.failures,
            response: response(condition, batch.response.as_ref()),
            first: mark(first),
            last: mark(last),
            records: count as u64,
        };
        self.discard(Lost::Records(count), &discarded, context);
    }

    fn discard_window(&mut self, condition: Condition, context: &mut Context<'_>) {
        let Some(open) = &self.window else { return };
        let discarded = Discarded {
            condition,
            request_id: open.request_id.unwrap_or_else(|| context.random.uuid()),
            calls: open.failures,
            response: response(condition, open.response.as_ref()),
            first: open.window.first,
            last: open.window.last,
            records: open.window.records,
        };
        self.discard(Lost::Window, &discarded, context);
    }

    fn discard(&mut self, lost: Lost, discarded: &Discarded, context: &mut Context<'_>) {
        if context.rules.mapping.on_failure.is_none() {
            return self.lose(lost, context);
        }
        let document = discarded.document(&context.rules.source, context.now);
        self.discard = Some(Discard { lost, document });
    }

    /// Removes what is lost. Its document, if there is to be one, has reached the destination.
    fn lose(&mut self, lost: Lost, context: &mut Context<'_>) {
        match lost {
            Lost::Window => self.end_window(),
            Lost::Records(count) => {
                context.counts.discarded += count as u64;
                let Some(batch) = self.batches.front_mut() else { return };
                batch.items.drain(..count);
                if batch.items.is_empty() {
                    self.batches.pop_front();
                }
            }
        }
    }

    pub(super) fn delivered(&mut self, serial: u64, delivery: Delivery, mut context: Context<'_>) {
        match self.step {
            Step::Delivering { serial: own } if own == serial => self.step = Step::Free,
            Step::Calling { .. } | Step::Delivering { .. } | Step::Pausing(_) | Step::Free => {
                return;
            }
        }
        match delivery {
            Delivery::Unavailable => return self.pause(&mut context),
            Delivery::Done => context.counts.delivered += 1,
            Delivery::Refused => context.counts.undelivered += 1,
        }
        self.streak = 0;
        if let Some(Discard { lost, .. }) = self.discard.take() {
            self.lose(lost, &mut context);
        }
    }
}

/// Records that were too old or too large have no response in their document.
fn response(condition: Condition, last: Option<&ResponseContext>) -> Option<ResponseContext> {
    match condition {
        Condition::RetryAttemptsExhausted => last.cloned(),
        Condition::RecordAgeExceeded | Condition::RecordSizeExceeded => None,
    }
}
