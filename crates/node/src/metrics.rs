//! Metrics of a node: its readiness, the replicas that the catalog wants here, and the contents of the catalog.
//!
//! All values are read at each scrape, from state that the node keeps anyway. The contents of the catalog come from
//! this node's copy. All nodes show the same numbers there, except while a new version is on its way to them.

use anabranch_catalog::{Catalog, GroupRef, NodeState, StreamStatus};
use anabranch_metrics::{Family, Gauge, Label as _, Metric, Registry, label};
use anabranch_types::{GroupId, NodeId};

use crate::disk_watch::DiskHealth;
use crate::node::Node;

const READY: Metric =
    Metric::new("anabranch_node_ready", "1 while GET /readyz answers 200, else 0.");
const DISK_HEALTH: Metric = Metric::new(
    "anabranch_node_disk_health",
    "1 for the health of the disk under the log store, 0 for the others.",
);
const LEADS_CATALOG: Metric =
    Metric::new("anabranch_node_leads_catalog", "1 on the node that leads the catalog, else 0.");
const CATALOG_VERSION: Metric = Metric::new(
    "anabranch_node_catalog_version",
    "Version of the catalog that this node knows: the log index of its last change.",
);
const RECONCILED_VERSION: Metric = Metric::new(
    "anabranch_node_reconciled_catalog_version",
    "Newest version of the catalog that the replicas on this node follow.",
);
const REPLICAS: Metric = Metric::new(
    "anabranch_node_replicas",
    "Replicas that the catalog wants on this node, and replicas that work on it.",
);
const SUBSCRIPTIONS: Metric = Metric::new(
    "anabranch_node_subscriptions",
    "Subscriptions of consumers that are pushed the records of shards led here.",
);
const NODES: Metric = Metric::new("anabranch_node_nodes", "Nodes in the catalog, by state.");
const STREAMS: Metric = Metric::new("anabranch_node_streams", "Streams in the catalog.");
const SHARDS: Metric = Metric::new("anabranch_node_shards", "Shards in the catalog, by state.");
const JOBS: Metric = Metric::new(
    "anabranch_node_jobs",
    "Reshardings and replica moves that are under way in the cluster.",
);

label! {
    /// The variants of [`DiskHealth`].
    enum Disk: "state" {
        Works = "works",
        Stalled = "stalled",
        Failed = "failed",
    }
}

label! {
    enum Replica: "state" {
        /// The catalog wants it here.
        Wanted = "wanted",
        /// It is open here and takes part in its group.
        Working = "working",
    }
}

label! {
    enum NodeIs: "state" {
        Active = "active",
        Draining = "draining",
    }
}

label! {
    enum ShardIs: "state" {
        Open = "open",
        /// It takes no records, because it was split or merged, or because a resharding has not ended.
        Closed = "closed",
    }
}

label! {
    enum Job: "kind" {
        Reshard = "reshard",
        ReplicaMove = "replica_move",
    }
}

struct Gauges {
    ready: Gauge,
    disk_health: Family<Disk, Gauge>,
    leads_catalog: Gauge,
    catalog_version: Gauge,
    reconciled_version: Gauge,
    replicas: Family<Replica, Gauge>,
    subscriptions: Gauge,
    nodes: Family<NodeIs, Gauge>,
    streams: Gauge,
    shards: Family<ShardIs, Gauge>,
    jobs: Family<Job, Gauge>,
}

/// Registers the metrics of `node`. They are refreshed as long as the node runs.
pub(crate) fn show(node: &Node, registry: &Registry) {
    let (node, gauges) = (node.weak(), Gauges::new(registry));
    registry.before_render(move || {
        if let Some(node) = node() {
            gauges.set(&node);
        }
    });
}

impl Gauges {
    fn new(registry: &Registry) -> Self {
        Self {
            ready: registry.gauge(READY),
            disk_health: registry.gauges(DISK_HEALTH),
            leads_catalog: registry.gauge(LEADS_CATALOG),
            catalog_version: registry.gauge(CATALOG_VERSION),
            reconciled_version: registry.gauge(RECONCILED_VERSION),
            replicas: registry.gauges(REPLICAS),
            subscriptions: registry.gauge(SUBSCRIPTIONS),
            nodes: registry.gauges(NODES),
            streams: registry.gauge(STREAMS),
            shards: registry.gauges(SHARDS),
            jobs: registry.gauges(JOBS),
        }
    }

    fn set(&self, node: &Node) {
        self.ready.set_flag(node.is_ready());
        let disk = match node.disk() {
            DiskHealth::Works => Disk::Works,
            DiskHealth::Stalled { .. } => Disk::Stalled,
            DiskHealth::Failed(_) => Disk::Failed,
        };
        for health in Disk::ALL {
            self.disk_health.of(*health).set_flag(*health == disk);
        }
        self.leads_catalog.set_flag(node.replicas().leads(GroupId::CATALOG));
        self.reconciled_version.set_count(node.catalog_view().reconciled());
        self.replicas.of(Replica::Working).set_count(node.replicas().working().len() as u64);
        self.subscriptions.set_count(node.subscriptions().count() as u64);
        self.set_catalog(&node.catalog_view().newest(), node.id());
    }

    fn set_catalog(&self, catalog: &Catalog, own: NodeId) {
        self.catalog_version.set_count(catalog.version);
        let draining = catalog.nodes.values().filter(|node| node.state == NodeState::Draining);
        let draining = draining.count();
        self.nodes.of(NodeIs::Draining).set_count(draining as u64);
        self.nodes.of(NodeIs::Active).set_count((catalog.nodes.len() - draining) as u64);
        self.streams.set_count(catalog.streams.len() as u64);
        let reshards = catalog.streams.values().filter(|stream| stream.job.is_some());
        self.jobs.of(Job::Reshard).set_count(reshards.count() as u64);
        let [mut wanted, mut moves, mut open, mut closed] = [0; 4];
        for group in catalog.groups() {
            wanted += u64::from(is_wanted(&group, own));
            moves += u64::from(group.moving.is_some());
            match group.shard() {
                Some(found) if found.shard.is_open() => open += 1,
                Some(_) => closed += 1,
                None => {}
            }
        }
        self.replicas.of(Replica::Wanted).set_count(wanted);
        self.jobs.of(Job::ReplicaMove).set_count(moves);
        self.shards.of(ShardIs::Open).set_count(open);
        self.shards.of(ShardIs::Closed).set_count(closed);
    }
}

/// Whether the catalog wants a replica of `group` on `node`.
fn is_wanted(group: &GroupRef<'_>, node: NodeId) -> bool {
    let deleted = group.shard().is_some_and(|found| found.stream.status == StreamStatus::Deleting);
    !deleted && group.holders().any(|replica| replica.node == node)
}
