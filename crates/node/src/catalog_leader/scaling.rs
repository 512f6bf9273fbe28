//! Has the shards of on-demand streams follow their load (`docs/on-demand.md`).
//!
//! Order of events: every 5 s the nodes are asked for the load on the shards that they lead. Every 2 s each stream's
//! `Scaler` decides about at most one split or merge, and the catalog begins a job. A load that no split can help is
//! logged once.
//!
//! Never: two jobs of one stream at a time. The catalog refuses the second one.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_catalog::scaling::{Action, Bounds, Decision, OpenShard, Reason, Scaler, ShardLoad};
use anabranch_catalog::{
    Catalog, Command, ShardChange, ShardsCommand, Stream, StreamId, StreamMode, StreamStatus,
};
use anabranch_types::{GroupId, NodeId, StreamName, Timestamp};
use futures::future::join_all;
use tokio::time::Instant;
use tonic::Status;

use crate::catalog_leader::Duty;
use crate::catalog_requests::step;
use crate::node::Node;
use crate::node_messages::Loads;
use crate::node_request::NodeRequest;
use crate::remote::Remotes;

/// Time between two decisions about a stream. Each is about at most one job.
const ROUND: Duration = Duration::from_secs(2);
/// How often the nodes are asked for loads.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// A load that no node has repeated for this long is forgotten.
const LOADS_LAST: Duration = Duration::from_secs(15);

/// Asks a node for the load on the measured shards that it leads.
pub(crate) struct ReportLoads;

impl NodeRequest for ReportLoads {
    type Response = Loads;
    type Error = Status;

    async fn here(&self, node: &Node) -> Result<Loads, Status> {
        Ok(node.replicas().loads())
    }

    async fn there(&self, remotes: &Remotes, to: NodeId) -> Result<Loads, Status> {
        remotes.loads(to).await
    }
}

/// Memory of one term as leader of the catalog.
#[derive(Default)]
pub(super) struct Scaling {
    scalers: BTreeMap<StreamId, Scaler>,
    /// For each stream that needs a change but gets none, why.
    blocked: BTreeMap<StreamId, Reason>,
    loads: BTreeMap<GroupId, (Instant, ShardLoad)>,
    asked: Option<Instant>,
}

impl Duty for Scaling {
    const IDLE: Duration = ROUND;
    const FOLLOWS_CATALOG: bool = false;

    async fn round(&mut self, node: &Node, catalog: &Catalog) -> Duration {
        self.follow_loads(node, catalog).await;
        ROUND
    }
}

fn follows_load(stream: &Stream) -> bool {
    stream.mode == StreamMode::OnDemand
        && matches!(stream.status, StreamStatus::Active | StreamStatus::Updating)
}

impl Scaling {
    async fn follow_loads(&mut self, node: &Node, catalog: &Catalog) {
        let streams = || catalog.streams.iter().filter(|(_, stream)| follows_load(stream));
        if streams().next().is_none() {
            *self = Self::default();
            return;
        }
        if self.asked.is_none_or(|asked| asked.elapsed() >= ASK_EVERY) {
            self.asked = Some(Instant::now());
            self.record(ask_all(node, catalog).await);
        }
        let now = node.clock().now();
        let commands: Vec<_> =
            streams().filter_map(|(name, stream)| self.decide(name, stream, now)).collect();
        let current: Vec<_> = streams().map(|(_, stream)| stream.id).collect();
        self.scalers.retain(|stream, _| current.contains(stream));
        self.blocked.retain(|stream, _| current.contains(stream));
        join_all(commands.into_iter().map(|command| step(node, command))).await;
    }

    fn record(&mut self, loads: Loads) {
        let now = Instant::now();
        self.loads.retain(|_, (noted, _)| noted.elapsed() < LOADS_LAST);
        self.loads.extend(loads.into_iter().map(|(group, load)| (group, (now, load))));
    }

    /// The command for a stream, if its shards are to change.
    fn decide(&mut self, name: &StreamName, stream: &Stream, now: Timestamp) -> Option<Command> {
        let load = |group| self.loads.get(group).map(|(_, load)| load.clone());
        let shards: Vec<_> = stream
            .open_shards()
            .map(|shard| OpenShard { id: shard.id, range: shard.range, load: load(&shard.group) })
            .collect();
        let scaler = self.scalers.entry(stream.id).or_default();
        if stream.status != StreamStatus::Active {
            scaler.observe(now, &shards);
            return None;
        }
        let bounds = Bounds::for_warm_throughput(stream.warm_throughput_mibps);
        let Decision { action, reason } = scaler.decide(now, &shards, bounds);
        let Some(action) = action else {
            self.log_once(name, stream.id, reason);
            return None;
        };
        self.blocked.remove(&stream.id);
        tracing::info!(stream = %name, ?action, %reason, "shards follow the load");
        let change = match action {
            Action::Split { shard, at } => ShardChange::Split { shard, at },
            Action::Merge { lower, upper } => ShardChange::Merge { lower, upper },
        };
        Some(Command::Shards(ShardsCommand::Scale {
            name: name.clone(),
            id: stream.id,
            change,
            now,
        }))
    }

    /// Warns once about a load that no split can help: only an operator can.
    fn log_once(&mut self, name: &StreamName, id: StreamId, reason: Reason) {
        if self.blocked.insert(id, reason) == Some(reason) {
            return;
        }
        let is_stuck = matches!(
            reason,
            Reason::HotKey { .. } | Reason::TooNarrow { .. } | Reason::AtCeiling { .. }
        );
        if is_stuck {
            tracing::warn!(stream = %name, %reason, "shards can't follow the load");
        }
    }
}

/// The loads that the nodes report. Nodes that do not answer are left out.
async fn ask_all(node: &Node, catalog: &Catalog) -> Loads {
    let requests = catalog.nodes.keys().map(|other| (*other, ReportLoads));
    node.ask_each(requests).await.into_values().flatten().collect()
}
