//! Metrics of the log store: names, help texts and handles.
//!
//! The writer thread observes once for each round, never for each entry. Sizes and states are read from
//! [`crate::Stats`] at each scrape.

use std::sync::{Arc, Weak};

use anabranch_metrics::{
    Buckets, Counter, Family, Gauge, Histogram, Label, Metric, Registry, label,
};

use crate::{DiskState, Stats, core::Core};

const SYNC_DURATION: Metric = Metric::new(
    "anabranch_storage_sync_duration_seconds",
    "Time of the fdatasync calls of one round of the log.",
);
const QUEUE_WAIT: Metric = Metric::new(
    "anabranch_storage_queue_wait_duration_seconds",
    "Time that the oldest urgent write of a round waited for the writer thread.",
);
const ROUND_BYTES: Metric =
    Metric::new("anabranch_storage_round_bytes", "Bytes of one round of the log.");
const ROUND_ENTRIES: Metric = Metric::new(
    "anabranch_storage_round_entries",
    "Log entries that share one round, of all groups together.",
);
const SYNCS: Metric =
    Metric::new("anabranch_storage_syncs_total", "Calls of fdatasync on segments by the writer.");
const PAYLOAD_BYTES: Metric =
    Metric::new("anabranch_storage_payload_bytes_total", "Bytes of entry payloads written.");
const WRITTEN_BYTES: Metric = Metric::new(
    "anabranch_storage_written_bytes_total",
    "Bytes of frames written to segments: payloads with their headers, votes, rows and copies.",
);
const DEVICE_BYTES: Metric = Metric::new(
    "anabranch_storage_device_bytes_total",
    "Bytes of the blocks that rounds wrote, in whole blocks of the device.",
);
const ZEROED_BYTES: Metric = Metric::new(
    "anabranch_storage_zeroed_bytes_total",
    "Bytes of zeroes written to prepare segments.",
);
const COPIED_FORWARD_BYTES: Metric = Metric::new(
    "anabranch_storage_copied_forward_bytes_total",
    "Bytes of live entries copied out of sparse segments.",
);
const RECLAIMED_SEGMENTS: Metric = Metric::new(
    "anabranch_storage_reclaimed_segments_total",
    "Segments that were emptied, and then reused or deleted.",
);
const READS: Metric =
    Metric::new("anabranch_storage_reads_total", "Reads of a range of entries, by source.");
const DAMAGED_ENTRIES: Metric =
    Metric::new("anabranch_storage_damaged_entries_total", "Damaged log entries found.");
const REPAIRED_ENTRIES: Metric = Metric::new(
    "anabranch_storage_repaired_entries_total",
    "Damaged log entries that can be read again: repaired in place, or found whole.",
);
const UNREPAIRED_ENTRIES: Metric = Metric::new(
    "anabranch_storage_unrepaired_entries",
    "Log entries that are known to be damaged now.",
);
const QUARANTINED_REPLICAS: Metric = Metric::new(
    "anabranch_storage_quarantined_replicas",
    "Replicas of this node whose log may have lost something.",
);
const DISK_STATE: Metric = Metric::new(
    "anabranch_storage_disk_state",
    "1 for the state of the free space on the disk, 0 for the other states.",
);
const AVAILABLE_BYTES: Metric = Metric::new(
    "anabranch_storage_available_bytes",
    "Bytes that the file system has free for this process.",
);
const BALLAST_BYTES: Metric = Metric::new(
    "anabranch_storage_ballast_bytes",
    "Bytes of the ballast file, which is given back when the disk is full.",
);
const SEGMENTS: Metric = Metric::new("anabranch_storage_segments", "Segment files, by use.");
const LIVE_BYTES: Metric = Metric::new(
    "anabranch_storage_live_bytes",
    "Bytes of entries in sealed segments that are not purged.",
);
const CACHE_BYTES: Metric =
    Metric::new("anabranch_storage_cache_bytes", "Bytes in the cache of the newest entries.");
const QUEUED_BYTES: Metric =
    Metric::new("anabranch_storage_queued_bytes", "Bytes that wait for the writer thread.");
const WRITING_FOR: Metric = Metric::new(
    "anabranch_storage_current_round_seconds",
    "For how long the current round has been written; 0 if none is. Shows a disk that hangs.",
);
const SCRUB_PASSES: Metric = Metric::new(
    "anabranch_storage_scrub_passes_total",
    "Passes of the scrub over all sealed segments that have ended.",
);
const SCRUB_VERIFIED_BYTES: Metric = Metric::new(
    "anabranch_storage_scrub_verified_bytes",
    "Bytes of sealed segments that this pass of the scrub has verified.",
);
const SCRUB_PASS_BYTES: Metric = Metric::new(
    "anabranch_storage_scrub_pass_bytes",
    "Bytes of sealed segments that this pass of the scrub verifies in all.",
);

label! {
    /// Source of the entries of a read.
    pub(crate) enum Source: "source" {
        /// The cache of the newest entries.
        Cache = "cache",
        /// Segments, or segments and the cache.
        Disk = "disk",
    }
}

label! {
    /// Use of a segment file.
    enum SegmentUse: "use" {
        /// It holds live entries, or is being written.
        Live = "live",
        /// It is prepared for new entries.
        Free = "free",
    }
}

impl Label for DiskState {
    const NAME: &'static str = "state";
    const ALL: &'static [Self] = &[Self::Normal, Self::AlmostFull, Self::Full];

    fn value(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::AlmostFull => "almost_full",
            Self::Full => "full",
        }
    }

    fn index(self) -> usize {
        usize::from(u8::from(self))
    }
}

/// Handles that the threads of a store share.
pub(crate) struct Metrics {
    pub(crate) sync_duration: Histogram,
    pub(crate) queue_wait: Histogram,
    pub(crate) round_bytes: Histogram,
    pub(crate) round_entries: Histogram,
    pub(crate) syncs: Counter,
    pub(crate) payload_bytes: Counter,
    pub(crate) written_bytes: Counter,
    pub(crate) device_bytes: Counter,
    pub(crate) zeroed_bytes: Counter,
    pub(crate) copied_forward_bytes: Counter,
    pub(crate) reclaimed_segments: Counter,
    pub(crate) reads: Family<Source, Counter>,
    pub(crate) damaged_entries: Counter,
    pub(crate) repaired_entries: Counter,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            sync_duration: registry.histogram(SYNC_DURATION, Buckets::Latency),
            queue_wait: registry.histogram(QUEUE_WAIT, Buckets::Latency),
            round_bytes: registry.histogram(ROUND_BYTES, Buckets::Bytes),
            round_entries: registry.histogram(ROUND_ENTRIES, Buckets::Count),
            syncs: registry.counter(SYNCS),
            payload_bytes: registry.counter(PAYLOAD_BYTES),
            written_bytes: registry.counter(WRITTEN_BYTES),
            device_bytes: registry.counter(DEVICE_BYTES),
            zeroed_bytes: registry.counter(ZEROED_BYTES),
            copied_forward_bytes: registry.counter(COPIED_FORWARD_BYTES),
            reclaimed_segments: registry.counter(RECLAIMED_SEGMENTS),
            reads: registry.counters(READS),
            damaged_entries: registry.counter(DAMAGED_ENTRIES),
            repaired_entries: registry.counter(REPAIRED_ENTRIES),
        }
    }
}

/// Gauges that are read at each scrape.
struct Gauges {
    unrepaired_entries: Gauge,
    quarantined_replicas: Gauge,
    disk_state: Family<DiskState, Gauge>,
    available_bytes: Gauge,
    ballast_bytes: Gauge,
    segments: Family<SegmentUse, Gauge>,
    live_bytes: Gauge,
    cache_bytes: Gauge,
    queued_bytes: Gauge,
    writing_for: Gauge,
    scrub_passes: Counter,
    scrub_verified_bytes: Gauge,
    scrub_pass_bytes: Gauge,
}

/// Registers gauges with the sizes and states of an open store. They are refreshed as long as the store exists.
pub(crate) fn show(core: &Arc<Core>, registry: &Registry) {
    let (core, gauges): (Weak<Core>, _) = (Arc::downgrade(core), Gauges::new(registry));
    registry.before_render(move || {
        if let Some(core) = core.upgrade() {
            gauges.set(&core.stats(), core.unrepaired_entries());
        }
    });
}

impl Gauges {
    fn new(registry: &Registry) -> Self {
        Self {
            unrepaired_entries: registry.gauge(UNREPAIRED_ENTRIES),
            quarantined_replicas: registry.gauge(QUARANTINED_REPLICAS),
            disk_state: registry.gauges(DISK_STATE),
            available_bytes: registry.gauge(AVAILABLE_BYTES),
            ballast_bytes: registry.gauge(BALLAST_BYTES),
            segments: registry.gauges(SEGMENTS),
            live_bytes: registry.gauge(LIVE_BYTES),
            cache_bytes: registry.gauge(CACHE_BYTES),
            queued_bytes: registry.gauge(QUEUED_BYTES),
            writing_for: registry.gauge(WRITING_FOR),
            scrub_passes: registry.counter(SCRUB_PASSES),
            scrub_verified_bytes: registry.gauge(SCRUB_VERIFIED_BYTES),
            scrub_pass_bytes: registry.gauge(SCRUB_PASS_BYTES),
        }
    }

    fn set(&self, stats: &Stats, unrepaired_entries: u64) {
        self.unrepaired_entries.set_count(unrepaired_entries);
        self.quarantined_replicas.set_count(stats.quarantined_groups);
        for state in DiskState::ALL {
            self.disk_state.of(*state).set_flag(stats.disk == *state);
        }
        self.available_bytes.set_count(stats.available_bytes);
        self.ballast_bytes.set_count(stats.ballast_bytes);
        self.segments.of(SegmentUse::Live).set_count(stats.segments_live);
        self.segments.of(SegmentUse::Free).set_count(stats.segments_free);
        self.live_bytes.set_count(stats.live_bytes);
        self.cache_bytes.set_count(stats.cache_bytes);
        self.queued_bytes.set_count(stats.queued_bytes);
        self.writing_for.set_duration(stats.writing_for);
        self.scrub_passes.raise_to(stats.scrub.passes);
        self.scrub_verified_bytes.set_count(stats.scrub.done_bytes);
        self.scrub_pass_bytes.set_count(stats.scrub.total_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        SegmentStore, StorageSettings,
        contract::{entries, open, read, wait},
    };

    fn value(registry: &Registry, series: &str) -> f64 {
        let text = registry.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
    }

    #[test]
    fn a_store_counts_what_it_writes_and_reads() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::default();
        let settings = StorageSettings::default();
        let store = SegmentStore::open_measured(dir.path(), settings, &registry).unwrap();
        let (syncs, entries_written) = (
            "anabranch_storage_sync_duration_seconds_count",
            "anabranch_storage_round_entries_sum",
        );
        let before = value(&registry, syncs);
        let log = open(&*store, 1);
        wait(|done| log.append(entries(1, 0..3, 1000), done)).unwrap();
        assert!((value(&registry, syncs) - before - 1.0).abs() < f64::EPSILON);
        assert!((value(&registry, entries_written) - 3.0).abs() < f64::EPSILON);
        assert!(
            (value(&registry, "anabranch_storage_payload_bytes_total") - 3000.0).abs()
                < f64::EPSILON
        );
        assert_eq!(read(&*log, 0..3), Ok(entries(1, 0..3, 1000)));
        let reads = |source| {
            value(&registry, &format!("anabranch_storage_reads_total{{source=\"{source}\"}}"))
        };
        assert!((reads("cache") + reads("disk") - 1.0).abs() < f64::EPSILON);
        assert!(value(&registry, "anabranch_storage_available_bytes") > 0.0);
        let normal = value(&registry, "anabranch_storage_disk_state{state=\"normal\"}");
        assert!((normal - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_store_that_is_gone_keeps_neither_its_directory_nor_the_registry_busy() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::default();
        let open_store = |registry: &Registry| {
            SegmentStore::open_measured(dir.path(), StorageSettings::default(), registry)
        };
        drop(open_store(&registry).unwrap());
        assert!(registry.render().contains("anabranch_storage_syncs_total"));
        drop(open_store(&Registry::default()).unwrap());
    }
}
