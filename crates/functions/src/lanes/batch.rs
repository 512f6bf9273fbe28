use anabranch_types::Timestamp;
use std::time::Duration;
use uuid::Uuid;

use crate::event::Item;
use crate::on_failure::{Mark, ResponseContext};

/// Records that go to the function together. Never empty.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) items: Vec<Item>,
    /// Calls that failed and count.
    pub(super) failures: u32,
    /// Id of the last call.
    pub(super) request_id: Option<Uuid>,
    /// Response to the last call that failed.
    pub(super) response: Option<ResponseContext>,
}

impl Batch {
    pub(super) fn new(items: Vec<Item>) -> Self {
        Self { items, failures: 0, request_id: None, response: None }
    }

    pub(super) fn bytes(&self) -> usize {
        self.items.iter().map(|item| item.json.len()).sum()
    }

    /// Cuts off the records from `at` on.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let items = self.items.split_off(at);
        let Self { failures, request_id, ref response, .. } = *self;
        Self { items, failures, request_id, response: response.clone() }
    }

    /// How many of the first records are older than `longest`. Arrival times rise in a shard.
    pub(super) fn expired(&self, longest: Duration, now: Timestamp) -> usize {
        let is_expired = |item: &&Item| now.since(item.arrival) > longest;
        self.items.iter().take_while(is_expired).count()
    }
}

/// Place and time of a record.
pub(super) fn mark(item: &Item) -> Mark {
    Mark { number: item.number, arrival: item.arrival }
}
