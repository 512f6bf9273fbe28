//! Metrics of table groups: transactions, rows, checkpoints and watchers.

use anabranch_metrics::{Buckets, Counter, Family, Gauge, Histogram, Metric, Registry, label};
use anabranch_table::{Outcome, Refusal};

use crate::error::Error;

const TRANSACTIONS: Metric = Metric::new(
    "anabranch_table_transactions_total",
    "Transactions on rows that callers asked replicas of this node for, by outcome.",
);
const ENTRY_TRANSACTIONS: Metric = Metric::new(
    "anabranch_table_entry_transactions",
    "Transactions that a leader proposes in one log entry.",
);
const ROWS: Metric =
    Metric::new("anabranch_table_rows", "Rows in the table groups with a replica on this node.");
const ROW_BYTES: Metric = Metric::new(
    "anabranch_table_row_bytes",
    "Bytes of these rows, where each row counts 200 bytes more than its key and its value.",
);
const FULLEST: Metric = Metric::new(
    "anabranch_table_fullest_group_bytes",
    "Bytes of the rows of the largest of these groups. A group has at most 64 MiB.",
);
const CHECKPOINT_DURATION: Metric = Metric::new(
    "anabranch_table_checkpoint_duration_seconds",
    "Time to encode a checkpoint of a table group and to write it.",
);
const CHECKPOINT_BYTES: Metric =
    Metric::new("anabranch_table_checkpoint_bytes", "Bytes of a checkpoint of a table group.");
const WATCHERS: Metric =
    Metric::new("anabranch_table_watchers", "Watchers of rows that this node serves.");
const WATCH_RESETS: Metric = Metric::new(
    "anabranch_table_watch_resets_total",
    "Times that a watcher got all rows, because the changes since its version were not known.",
);

label! {
    /// Outcome of a transaction.
    pub(crate) enum TransactionOutcome: "outcome" {
        /// A majority has synced it.
        Done = "done",
        /// A check failed.
        CheckFailed = "check_failed",
        /// The group has no room for more rows.
        Full = "full",
        /// Memory, the disk or the queue of the group had no room for it.
        Throttled = "throttled",
        /// This replica does not lead.
        NotLeader = "not_leader",
        /// It was refused for another reason.
        Refused = "refused",
        /// It may have been made or not.
        Unknown = "unknown",
    }
}

impl TransactionOutcome {
    pub(crate) const fn of(result: &Result<Outcome, Error>) -> Self {
        match result {
            Ok(Outcome::Done { .. } | Outcome::Created { .. }) => Self::Done,
            Ok(Outcome::Failed { .. }) => Self::CheckFailed,
            Ok(Outcome::Refused(Refusal::Full { .. })) => Self::Full,
            Ok(Outcome::Refused(_)) => Self::Refused,
            Err(Error::Throttled(_)) => Self::Throttled,
            Err(Error::NotLeader { .. }) => Self::NotLeader,
            Err(Error::Unknown(_)) => Self::Unknown,
            Err(
                Error::NotFound
                | Error::Frozen
                | Error::Closed
                | Error::Invalid(_)
                | Error::Key(_)
                | Error::OutOfService(_),
            ) => Self::Refused,
        }
    }
}

/// Handles that the replicas of table groups on a node share.
pub(crate) struct TableMetrics {
    pub(crate) transactions: Family<TransactionOutcome, Counter>,
    pub(crate) entry_transactions: Histogram,
    pub(crate) checkpoint_duration: Histogram,
    pub(crate) checkpoint_bytes: Histogram,
    pub(crate) watch_resets: Counter,
    watchers: Gauge,
}

impl TableMetrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            transactions: registry.counters(TRANSACTIONS),
            entry_transactions: registry.histogram(ENTRY_TRANSACTIONS, Buckets::Count),
            checkpoint_duration: registry.histogram(CHECKPOINT_DURATION, Buckets::Latency),
            checkpoint_bytes: registry.histogram(CHECKPOINT_BYTES, Buckets::Bytes),
            watch_resets: registry.counter(WATCH_RESETS),
            watchers: registry.gauge(WATCHERS),
        }
    }

    /// Counts a watcher until the value is dropped.
    pub(crate) fn watching(&self) -> Watching {
        self.watchers.increment();
        Watching(self.watchers.clone())
    }
}

/// A watcher that is counted.
pub(crate) struct Watching(Gauge);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.decrement();
    }
}

/// Gauges that are read at each scrape.
pub(crate) struct TableGauges {
    rows: Gauge,
    row_bytes: Gauge,
    fullest: Gauge,
}

/// Size of a table group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableSize {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl TableGauges {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            rows: registry.gauge(ROWS),
            row_bytes: registry.gauge(ROW_BYTES),
            fullest: registry.gauge(FULLEST),
        }
    }

    pub(crate) fn set(&self, groups: &[TableSize]) {
        self.rows.set_count(groups.iter().map(|group| group.rows).sum());
        self.row_bytes.set_count(groups.iter().map(|group| group.bytes).sum());
        let fullest = groups.iter().map(|group| group.bytes).max();
        self.fullest.set_count(fullest.unwrap_or_default());
    }
}
