//! Metrics of the streams between nodes: names, help texts and handles.
//!
//! Each ping is observed; there are five a second for each other node. Bytes are counted once for each message, which
//! carries the requests of many groups. The state of other nodes and of clocks is read at each scrape.

use std::sync::Arc;

use anabranch_metrics::{Buckets, Counter, Family, Histogram, Label, Metric, Registry, label};

use crate::clocks::Clocks;
use crate::liveness::Liveness;
use crate::peer::Purpose;

const PING_ROUND_TRIP: Metric = Metric::new(
    "anabranch_transport_ping_round_trip_duration_seconds",
    "Time from sending a ping to another node until its answer is here.",
);
const UNANSWERED_PINGS: Metric = Metric::new(
    "anabranch_transport_unanswered_pings_total",
    "Pings that got no answer in time, or that could not be sent.",
);
const SENT_BYTES: Metric = Metric::new(
    "anabranch_transport_sent_bytes_total",
    "Bytes of requests sent to other nodes, by the purpose of the stream.",
);
const FAILED_STREAMS: Metric = Metric::new(
    "anabranch_transport_failed_streams_total",
    "Streams to other nodes that broke or could not be opened. They are opened again and again.",
);
const PEERS: Metric = Metric::new(
    "anabranch_transport_peers",
    "Other nodes whose address this node knows, by state.",
);
const SILENCES: Metric = Metric::new(
    "anabranch_transport_silences_total",
    "How often this node has declared another node silent.",
);
const CLOCK_AHEAD: Metric = Metric::new(
    "anabranch_transport_clock_ahead_seconds",
    "By how much this node's wall clock is ahead of the agreed time; negative if it is behind.",
);
const CLOCK_AGREED: Metric = Metric::new(
    "anabranch_transport_clock_agreed",
    "1 if a majority of the nodes agrees on the time, else 0: then nothing expires.",
);
const WRONG_CLOCKS: Metric = Metric::new(
    "anabranch_transport_wrong_clocks",
    "Nodes whose wall clock is wrong by the agreed time, this node included.",
);

label! {
    /// State of another node.
    enum Heard: "state" {
        /// It answers.
        Heard = "heard",
        /// It has not answered for a second, or its disk is stalled.
        Silent = "silent",
    }
}

impl Label for Purpose {
    const NAME: &'static str = "purpose";
    const ALL: &'static [Self] = &[Self::Control, Self::Append, Self::CatchUp];

    fn value(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Append => "append",
            Self::CatchUp => "catch_up",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// Handles that the streams of a node share.
pub(crate) struct Metrics {
    pub(crate) ping_round_trip: Histogram,
    pub(crate) unanswered_pings: Counter,
    pub(crate) sent_bytes: Family<Purpose, Counter>,
    pub(crate) failed_streams: Counter,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            ping_round_trip: registry.histogram(PING_ROUND_TRIP, Buckets::Latency),
            unanswered_pings: registry.counter(UNANSWERED_PINGS),
            sent_bytes: registry.counters(SENT_BYTES),
            failed_streams: registry.counter(FAILED_STREAMS),
        }
    }
}

/// Registers gauges with the state of the other nodes and of the clocks.
pub(crate) fn show(registry: &Registry, liveness: &Arc<Liveness>, clocks: &Arc<Clocks>) {
    let (liveness, clocks) = (Arc::downgrade(liveness), Arc::downgrade(clocks));
    let (peers, silences) = (registry.gauges(PEERS), registry.counter(SILENCES));
    let (ahead, agreed) = (registry.gauge(CLOCK_AHEAD), registry.gauge(CLOCK_AGREED));
    let wrong = registry.gauge(WRONG_CLOCKS);
    registry.before_render(move || {
        let (Some(liveness), Some(clocks)) = (liveness.upgrade(), clocks.upgrade()) else { return };
        let counts = liveness.counts();
        peers.of(Heard::Heard).set_count(counts.heard);
        peers.of(Heard::Silent).set_count(counts.silent);
        silences.raise_to(counts.silences);
        let report = clocks.report();
        ahead.set(clocks.own_ahead_seconds(&report));
        agreed.set_flag(report.is_agreed);
        wrong.set_count(report.far.len() as u64);
    });
}
