//! Metrics of the replicas on a node: names, help texts and handles.
//!
//! A leader observes once for each batch, which is one call's records for one shard. An applier observes once for up
//! to 256 entries. Roles and lags are read at each scrape.

use std::sync::Weak;

use anabranch_metrics::{
    Buckets, Counter, Family, Gauge, Histogram, Label as _, Metric, Registry, label,
};

use crate::error::Error;
use crate::group::Standing;

mod tables;

use tables::TableGauges;
pub(crate) use tables::{TableMetrics, TableSize, TransactionOutcome, Watching};

const APPENDS: Metric = Metric::new(
    "anabranch_replica_appends_total",
    "Appends that callers asked replicas of this node for, by outcome.",
);
const APPEND_DURATION: Metric = Metric::new(
    "anabranch_replica_append_duration_seconds",
    "Time from proposing a batch on the leader until it is committed and applied.",
);
const PROPOSED_BATCHES: Metric = Metric::new(
    "anabranch_replica_proposed_batches",
    "Batches of one shard that a leader proposes together.",
);
const DEDUPLICATED_BATCHES: Metric = Metric::new(
    "anabranch_replica_deduplicated_batches_total",
    "Batches of retries of which the log had some or all records already.",
);
const APPEND_BYTES_IN_FLIGHT: Metric = Metric::new(
    "anabranch_replica_append_in_flight_bytes",
    "Bytes of appends that wait for their outcome on this node.",
);
const APPLY_DURATION: Metric = Metric::new(
    "anabranch_replica_apply_duration_seconds",
    "Time to apply committed entries and to acknowledge them, up to 256 entries at a time.",
);
const APPLIED_ENTRIES: Metric =
    Metric::new("anabranch_replica_applied_entries_total", "Log entries applied.");
const SENT_BYTES: Metric = Metric::new(
    "anabranch_replica_sent_bytes_total",
    "Bytes of entries sent to replicas on other nodes.",
);
const SENT_ENTRIES: Metric = Metric::new(
    "anabranch_replica_sent_entries_total",
    "Log entries sent to replicas on other nodes.",
);
const SENT_SNAPSHOTS: Metric = Metric::new(
    "anabranch_replica_sent_snapshots_total",
    "Snapshots sent to replicas that are behind the trim horizon.",
);
const ELECTIONS: Metric = Metric::new(
    "anabranch_replica_elections_total",
    "Elections that replicas of this node began because their group had no leader.",
);
const LEADERSHIP_TRANSFERS: Metric = Metric::new(
    "anabranch_replica_leadership_transfers_total",
    "Leaderships that this node gave to another replica, by outcome.",
);
const GROUPS: Metric = Metric::new(
    "anabranch_replica_groups",
    "Groups with a replica that is open on this node, by the role of that replica.",
);
const LEADERLESS_GROUPS: Metric = Metric::new(
    "anabranch_replica_leaderless_groups",
    "Groups with a replica here that knows no leader, or whose leader's node is silent.",
);
const UNAPPLIED_ENTRIES: Metric = Metric::new(
    "anabranch_replica_unapplied_entries",
    "Log entries that are committed and not yet applied, of all replicas here.",
);
const LARGEST_LAG: Metric = Metric::new(
    "anabranch_replica_largest_lag_entries",
    "Log entries that the slowest replica lacks, of all groups that this node leads.",
);
const LAGGING: Metric = Metric::new(
    "anabranch_replica_lagging_replicas",
    "Replicas of groups led here that lack more than 1,024 log entries: they catch up.",
);

label! {
    /// Outcome of an append.
    pub(crate) enum AppendOutcome: "outcome" {
        /// A majority has synced it.
        Acknowledged = "acknowledged",
        /// Memory, the disk or a limit of the service had no room for it.
        Throttled = "throttled",
        /// This replica does not lead.
        NotLeader = "not_leader",
        /// The shard is being split or merged, or has been.
        Resharded = "resharded",
        /// It was refused for another reason.
        Refused = "refused",
        /// It may have been written or not.
        Unknown = "unknown",
    }
}

label! {
    /// Purpose of sent entries.
    pub(crate) enum Sending: "purpose" {
        /// New entries.
        Live = "live",
        /// Old entries, for a replica that is far behind.
        CatchUp = "catch_up",
    }
}

label! {
    /// Outcome of a leadership transfer.
    pub(crate) enum Transfer: "outcome" {
        /// Another replica leads.
        TakenOver = "taken_over",
        /// No other replica led in time. The transfer is tried again.
        NotTakenOver = "not_taken_over",
    }
}

label! {
    /// Role of a replica in its group.
    pub(crate) enum Role: "role" {
        /// It leads.
        Leader = "leader",
        /// It votes and follows.
        Follower = "follower",
        /// It votes and asks for votes.
        Candidate = "candidate",
        /// It does not vote.
        Learner = "learner",
        /// It has stopped. The node will open it again.
        Stopped = "stopped",
    }
}

impl AppendOutcome {
    pub(crate) const fn of<T>(result: &Result<T, Error>) -> Self {
        match result {
            Ok(_) => Self::Acknowledged,
            Err(Error::Throttled(_)) => Self::Throttled,
            Err(Error::NotLeader { .. }) => Self::NotLeader,
            Err(Error::Frozen | Error::Closed) => Self::Resharded,
            Err(Error::Unknown(_)) => Self::Unknown,
            Err(Error::NotFound | Error::Invalid(_) | Error::Key(_) | Error::OutOfService(_)) => {
                Self::Refused
            }
        }
    }
}

/// Handles that the replicas of a node share.
pub(crate) struct Metrics {
    pub(crate) appends: Family<AppendOutcome, Counter>,
    pub(crate) append_duration: Histogram,
    pub(crate) proposed_batches: Histogram,
    pub(crate) deduplicated_batches: Counter,
    pub(crate) apply_duration: Histogram,
    pub(crate) applied_entries: Counter,
    pub(crate) sent_bytes: Family<Sending, Counter>,
    pub(crate) sent_entries: Family<Sending, Counter>,
    pub(crate) sent_snapshots: Counter,
    pub(crate) elections: Counter,
    pub(crate) leadership_transfers: Family<Transfer, Counter>,
    pub(crate) tables: TableMetrics,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            appends: registry.counters(APPENDS),
            append_duration: registry.histogram(APPEND_DURATION, Buckets::Latency),
            proposed_batches: registry.histogram(PROPOSED_BATCHES, Buckets::Count),
            deduplicated_batches: registry.counter(DEDUPLICATED_BATCHES),
            apply_duration: registry.histogram(APPLY_DURATION, Buckets::Latency),
            applied_entries: registry.counter(APPLIED_ENTRIES),
            sent_bytes: registry.counters(SENT_BYTES),
            sent_entries: registry.counters(SENT_ENTRIES),
            sent_snapshots: registry.counter(SENT_SNAPSHOTS),
            elections: registry.counter(ELECTIONS),
            leadership_transfers: registry.counters(LEADERSHIP_TRANSFERS),
            tables: TableMetrics::new(registry),
        }
    }
}

/// Gauges that are read at each scrape.
struct Gauges {
    append_bytes_in_flight: Gauge,
    groups: Family<Role, Gauge>,
    leaderless_groups: Gauge,
    unapplied_entries: Gauge,
    largest_lag: Gauge,
    lagging: Gauge,
    tables: TableGauges,
}

/// State of all replicas of a node at one moment.
pub(crate) struct Sums {
    /// Bytes of appends that wait for their outcome.
    pub(crate) append_bytes_in_flight: usize,
    /// State of each replica in its group.
    pub(crate) standings: Vec<Standing>,
    /// Size of each table group.
    pub(crate) tables: Vec<TableSize>,
}

/// Registers gauges that show what `look` returns for the owner of the replicas, as long as the owner exists.
pub(crate) fn show<T: Send + Sync + 'static>(
    registry: &Registry,
    owner: Weak<T>,
    look: impl Fn(&T) -> Sums + Send + Sync + 'static,
) {
    let gauges = Gauges {
        append_bytes_in_flight: registry.gauge(APPEND_BYTES_IN_FLIGHT),
        groups: registry.gauges(GROUPS),
        leaderless_groups: registry.gauge(LEADERLESS_GROUPS),
        unapplied_entries: registry.gauge(UNAPPLIED_ENTRIES),
        largest_lag: registry.gauge(LARGEST_LAG),
        lagging: registry.gauge(LAGGING),
        tables: TableGauges::new(registry),
    };
    registry.before_render(move || {
        if let Some(owner) = owner.upgrade() {
            gauges.set(&look(&owner));
        }
    });
}

impl Gauges {
    fn set(&self, Sums { append_bytes_in_flight, standings, tables }: &Sums) {
        self.tables.set(tables);
        self.append_bytes_in_flight.set_count(*append_bytes_in_flight as u64);
        for role in Role::ALL {
            let count = standings.iter().filter(|standing| standing.role == *role).count();
            self.groups.of(*role).set_count(count as u64);
        }
        let leaderless = standings.iter().filter(|standing| standing.is_leaderless).count();
        self.leaderless_groups.set_count(leaderless as u64);
        self.unapplied_entries.set_count(standings.iter().map(|standing| standing.unapplied).sum());
        let largest = standings.iter().map(|standing| standing.largest_lag).max();
        self.largest_lag.set_count(largest.unwrap_or_default());
        let lagging = standings.iter().map(|standing| standing.lagging).sum();
        self.lagging.set_count(lagging);
    }
}
