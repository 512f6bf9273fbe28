//! Replicas of one shard on several nodes in one process. Each node has a simulated disk, a wall clock, and
//! connections over a [`Network`].
//!
//! A test does to a node what happens to machines: stop, crash, an older disk, a disk that no longer syncs, a wrong
//! clock. A real node's catalog is missing: the test says which replicas the group has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anabranch_catalog::Replica;
use anabranch_encryption::ShardKeys;
use anabranch_metrics::Registry;
use anabranch_replica::{Error, GroupSpec, ReplicaSettings, Replicas, ShardReplica, TableReplica};
use anabranch_shard::{Batch, BatchBuilder, Position, Producer, Run};
use anabranch_storage::{LogStore, SimSettings, SimStore, SimSync};
use anabranch_transport::{Clocks, ReplicaServer, Transport, TransportSettings};
use anabranch_types::{Clock, GroupId, ManualClock, NodeId, ReplicaId, Timestamp, limits};
use bytes::Bytes;
use futures::StreamExt;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::eventually::eventually;
use crate::network::Network;

/// The group of the cluster's one shard.
pub const GROUP: GroupId = GroupId(1);
/// The table group, if the cluster has one.
pub const TABLE_GROUP: GroupId = GroupId(2);

/// Makes the keys of a replica that opens.
type KeysOfReplica = Box<dyn Fn() -> Arc<ShardKeys> + Send + Sync>;

/// Nodes with a replica of one shard each.
pub struct Cluster {
    /// Network between the nodes.
    pub network: Network,
    /// The right time. The nodes' wall clocks show it, unless a test sets one of them wrong.
    pub clock: Arc<ManualClock>,
    clocks: BTreeMap<u64, Arc<NodeClock>>,
    settings: ReplicaSettings,
    stores: BTreeMap<u64, SimStore>,
    running: BTreeMap<u64, Running>,
    members: Vec<Replica>,
    /// `None` if the records are stored in plain text.
    keys: Option<KeysOfReplica>,
    has_table: bool,
    boots: u64,
}

/// A node's wall clock: the right time, or ahead of it, or behind.
struct NodeClock {
    right: Arc<ManualClock>,
    ahead_millis: AtomicI64,
}

impl NodeClock {
    fn new(right: &Arc<ManualClock>) -> Arc<Self> {
        Arc::new(Self { right: Arc::clone(right), ahead_millis: AtomicI64::new(0) })
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        self.right.now().shifted(self.ahead_millis.load(Ordering::Relaxed))
    }
}

struct Running {
    replicas: Replicas,
    transport: Transport,
    server: JoinHandle<()>,
    disk: JoinHandle<()>,
    registry: Registry,
    shard: Option<ShardReplica>,
    table: Option<TableReplica>,
}

/// Settings under which checkpoints and trims follow the clock within a second.
pub fn fast_settings() -> ReplicaSettings {
    ReplicaSettings {
        checkpoint_interval: Duration::from_secs(1),
        maintenance_interval: Duration::from_millis(200),
        append_deadline: Duration::from_secs(5),
        ..ReplicaSettings::default()
    }
}

impl Cluster {
    /// Nodes 1 to `nodes`; node n holds replica n.
    pub async fn start(nodes: u64, settings: ReplicaSettings) -> Self {
        Self::start_with(nodes, settings, None, false).await
    }

    /// As [`Self::start`]. Each node holds a replica of a table group, too.
    pub async fn start_with_table(nodes: u64, settings: ReplicaSettings) -> Self {
        Self::start_with(nodes, settings, None, true).await
    }

    /// As [`Self::start`]. Each replica encrypts with the keys that `keys` gives it when it opens.
    pub async fn start_encrypted(
        nodes: u64,
        settings: ReplicaSettings,
        keys: impl Fn() -> Arc<ShardKeys> + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(nodes, settings, Some(Box::new(keys)), false).await
    }

    async fn start_with(
        nodes: u64,
        settings: ReplicaSettings,
        keys: Option<KeysOfReplica>,
        has_table: bool,
    ) -> Self {
        let replica = |node| Replica { id: ReplicaId(node), node: NodeId(node) };
        let mut cluster = Self {
            network: Network::new(),
            clock: Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000))),
            clocks: BTreeMap::new(),
            settings,
            stores: BTreeMap::new(),
            running: BTreeMap::new(),
            members: (1..=nodes).map(replica).collect(),
            keys,
            has_table,
            boots: 0,
        };
        for node in 1..=nodes {
            cluster.stores.insert(node, empty_disk());
            cluster.boot(node, true).await;
        }
        cluster
    }

    /// Starts a node on its disk as it is.
    pub async fn restart(&mut self, node: u64) {
        self.boot(node, false).await;
    }

    /// Stops a node cleanly.
    pub async fn stop(&mut self, node: u64) {
        if let Some(running) = self.running.remove(&node) {
            running.replicas.shutdown().await;
            running.transport.shutdown();
            running.server.abort();
            running.disk.abort();
            self.network.disconnect(node);
        }
    }

    /// Cuts a node's power. Of what its disk had not synced, a prefix stays, which `seed` chooses.
    pub async fn crash(&mut self, node: u64, seed: u64) {
        let next = self.stores.get(&node).map(|store| store.crash(seed));
        self.stores.extend(next.map(|store| (node, store)));
        if let Some(running) = self.running.remove(&node) {
            running.disk.abort();
            self.network.disconnect(node);
            running.transport.shutdown();
            running.server.abort();
            running.replicas.shutdown().await;
        }
    }

    /// Gives a node that is down an empty disk.
    pub fn wipe(&mut self, node: u64) {
        self.stores.insert(node, empty_disk());
    }

    /// Gives a node that is down an older copy of its disk.
    pub fn put_back(&mut self, node: u64, copy: SimStore) {
        self.stores.insert(node, copy);
    }

    /// Lets the disk of a running node sync nothing more, until the node starts again.
    pub fn stop_syncing(&self, node: u64) {
        if let Some(running) = self.running.get(&node) {
            running.disk.abort();
        }
    }

    /// Sets the wall clock of a node this many milliseconds ahead of the right time; behind it if the number is
    /// negative. It stays so when the node starts again.
    pub fn set_clock_wrong(&self, node: u64, ahead_millis: i64) {
        if let Some(clock) = self.clocks.get(&node) {
            clock.ahead_millis.store(ahead_millis, Ordering::Relaxed);
        }
    }

    /// The time as `node` knows it, from the clocks of all nodes.
    pub fn clocks(&self, node: u64) -> Option<Arc<Clocks>> {
        self.running.get(&node).map(|running| running.transport.clocks().clone())
    }

    /// The disk of a node.
    pub fn store(&self, node: u64) -> &SimStore {
        &self.stores[&node]
    }

    /// Gives the group these replicas, `(id, node)`, as the catalog would, and opens new ones.
    pub async fn set_members(&mut self, members: &[(u64, u64)]) {
        self.members = members
            .iter()
            .map(|(id, node)| Replica { id: ReplicaId(*id), node: NodeId(*node) })
            .collect();
        for node in self.running.keys().copied().collect::<Vec<_>>() {
            self.open(node, false).await;
        }
    }

    /// Makes nodes that start from now on believe that the group has these replicas, `(id, node)`. Nodes that run are
    /// not told.
    pub fn let_starters_believe_in(&mut self, members: &[(u64, u64)]) {
        let member = |(id, node): &(u64, u64)| Replica { id: ReplicaId(*id), node: NodeId(*node) };
        self.members = members.iter().map(member).collect();
    }

    /// Opens the replica on `node` again if it stopped, as a node does.
    pub async fn reopen(&mut self, node: u64) {
        self.open(node, false).await;
    }

    /// Adds a node without a replica.
    pub async fn add_node(&mut self, node: u64) {
        self.stores.insert(node, empty_disk());
        self.boot(node, false).await;
    }

    async fn boot(&mut self, node: u64, is_new: bool) {
        self.boots += 1;
        let settings = TransportSettings::new(NodeId(node), self.boots, "test".into());
        let own = self.clocks.entry(node).or_insert_with(|| NodeClock::new(&self.clock));
        let registry = Registry::default();
        let connector = self.network.connector(node);
        let transport = Transport::new(settings, connector, own.clone(), &registry);
        let store: Arc<dyn LogStore> = Arc::new(self.stores[&node].clone());
        let clock = transport.clocks().clone();
        let settings = self.settings.clone();
        let replicas = Replicas::new(store, transport.clone(), clock, settings, &registry);
        let service = ReplicaServer::service(transport.clone(), Arc::new(replicas.clone()));
        let accepted =
            UnboundedReceiverStream::new(self.network.listen(node)).map(Ok::<_, std::io::Error>);
        let server = tokio::spawn(async move {
            let served = tonic::transport::Server::builder().add_service(service);
            drop(served.serve_with_incoming(accepted).await);
        });
        let known: Vec<u64> = self.stores.keys().copied().collect();
        for other in &known {
            transport.set_peer(NodeId(*other), &Network::address(*other));
            if let Some(running) = self.running.get(other) {
                running.transport.set_peer(NodeId(node), &Network::address(node));
            }
        }
        let nodes =
            || known.iter().copied().chain(self.members.iter().map(|m| m.node.0)).map(NodeId);
        transport.clocks().set_nodes(nodes());
        self.running.values().for_each(|running| running.transport.clocks().set_nodes(nodes()));
        let disk = tokio::spawn(sync_again_and_again(self.stores[&node].clone()));
        let running =
            Running { replicas, transport, server, disk, registry, shard: None, table: None };
        self.running.insert(node, running);
        self.open(node, is_new).await;
    }

    async fn open(&mut self, node: u64, is_new: bool) {
        let Some(running) = self.running.get_mut(&node) else { return };
        let Some(own) = self.members.iter().find(|member| member.node == NodeId(node)) else {
            running.replicas.close(GROUP).await;
            running.replicas.close(TABLE_GROUP).await;
            (running.shard, running.table) = (None, None);
            return;
        };
        let members = self.members.clone();
        let spec = GroupSpec { group: GROUP, replica: own.id, members, is_new, born: 0 };
        let keys = self.keys.as_ref().map(|keys| keys());
        if self.has_table {
            let spec = GroupSpec { group: TABLE_GROUP, ..spec.clone() };
            running.table = running.replicas.open_table(&spec).await.ok();
        }
        running.shard =
            running.replicas.open_shard(&spec, limits::DEFAULT_RETENTION_HOURS, keys).await.ok();
    }

    /// The replica on `node`, if it runs and is in service.
    pub fn shard(&self, node: u64) -> Option<&ShardReplica> {
        self.running.get(&node)?.shard.as_ref()
    }

    /// The replica of the table group on `node`, if it runs and is in service.
    pub fn table(&self, node: u64) -> Option<&TableReplica> {
        self.running.get(&node)?.table.as_ref()
    }

    /// Waits until a replica of the table group leads.
    pub async fn table_leader(&self) -> &TableReplica {
        let node = eventually("a leader of the table group", || async {
            for node in self.up() {
                if let Some(table) = self.table(node)
                    && table.leads_now().await
                {
                    return Some(node);
                }
            }
            None
        });
        let node = node.await;
        self.table(node).expect("it led a moment ago")
    }

    /// The replicas of a node, if it runs.
    pub fn replicas(&self, node: u64) -> Option<&Replicas> {
        self.running.get(&node).map(|running| &running.replicas)
    }

    /// Metrics of a running node, as text.
    pub fn metrics(&self, node: u64) -> Option<String> {
        self.running.get(&node).map(|running| running.registry.render())
    }

    /// The nodes that run.
    pub fn up(&self) -> Vec<u64> {
        self.running.keys().copied().collect()
    }

    /// Waits until a replica takes appends. Returns its node.
    pub async fn leader(&self) -> u64 {
        eventually("a leader", || async {
            for node in self.up() {
                if let Some(shard) = self.shard(node)
                    && shard.read(Position::default(), 1, 1, true).await.is_ok()
                {
                    return Some(node);
                }
            }
            None
        })
        .await
    }

    /// Appends one record: asks one replica after the other until one takes it. An unknown outcome ends the attempts.
    ///
    /// # Errors
    /// [`Error::Unknown`], from the last replica.
    pub async fn append(&self, text: &str) -> Result<Position, Error> {
        let appended = eventually("a leader that takes the record", || async {
            for node in self.up() {
                let Some(shard) = self.shard(node) else { continue };
                match shard.append(batch(text)).await {
                    Ok(runs) => return Some(Ok(runs[0].first)),
                    Err(error @ Error::Unknown(_)) => return Some(Err(error)),
                    Err(_) => {}
                }
            }
            None
        });
        appended.await
    }

    /// Appends at the replica on one node.
    ///
    /// # Errors
    /// The error of the replica; [`Error::NotFound`] without a replica.
    pub async fn append_at(&self, node: u64, batch: Batch) -> Result<Vec<Run>, Error> {
        match self.shard(node) {
            Some(shard) => shard.append(batch).await,
            None => Err(Error::NotFound),
        }
    }

    /// All records that the replica on `node` shows now, from the trim horizon on.
    ///
    /// # Errors
    /// The error of the replica; [`Error::NotFound`] without a replica.
    pub async fn read_all(&self, node: u64) -> Result<Vec<(Position, String)>, Error> {
        let shard = self.shard(node).ok_or(Error::NotFound)?;
        let (mut from, mut records) = (Position::default(), Vec::new());
        loop {
            let page = shard.read(from, 1000, 1 << 20, false).await?;
            records.extend(page.records().map(|(position, _, record)| {
                (position, String::from_utf8_lossy(&record.data).into_owned())
            }));
            if page.batches.is_empty() {
                return Ok(records);
            }
            from = page.next;
        }
    }

    /// Waits until every running replica has applied what the leader has and shows the same records. Returns them.
    pub async fn settled(&self) -> Vec<(Position, String)> {
        eventually("equal replicas", || async {
            let leader = self.leader().await;
            let target = self.shard(leader)?.status();
            let shown = self.read_all(leader).await.ok()?;
            for node in self.up() {
                let status = self.shard(node)?.status();
                let same = (status.applied, status.trim_horizon);
                if same != (target.applied, target.trim_horizon)
                    || self.read_all(node).await.ok()? != shown
                {
                    return None;
                }
            }
            Some(shown)
        })
        .await
    }

    /// Moves the wall clocks of all nodes on, and waits until every running node agrees on the new time.
    pub async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        eventually("nodes that go by the new time", || async {
            let now = Some(self.clock.now());
            let follows = |running: &Running| running.transport.clocks().agreed() == now;
            self.running.values().all(follows).then_some(())
        })
        .await;
    }

    /// Moves the wall clocks past the retention of all records, and waits until every running replica has purged up
    /// to `position`.
    pub async fn trim_past(&self, position: Position) {
        self.advance(Duration::from_secs(25 * 3600)).await;
        self.purged(position).await;
    }

    /// Waits until every running replica has purged up to `position`.
    pub async fn purged(&self, position: Position) {
        eventually("the trim to reach every replica", || async {
            let status = |node: u64| self.shard(node).map(ShardReplica::status);
            let purged = |node: u64| Some(status(node)?.purged?.index >= position.log_index);
            self.up().into_iter().all(|node| purged(node) == Some(true)).then_some(())
        })
        .await;
    }
}

fn empty_disk() -> SimStore {
    SimStore::new(SimSettings { sync: SimSync::OnDemand, ..SimSettings::default() })
}

/// Syncs a disk again and again, with a pause, so that a crash finds something that is not synced.
async fn sync_again_and_again(disk: SimStore) {
    const SYNC_TAKES: Duration = Duration::from_millis(1);
    loop {
        tokio::time::sleep(SYNC_TAKES).await;
        disk.sync();
    }
}

/// A batch of one record.
fn batch(text: &str) -> Batch {
    records(None, &[text])
}

/// A batch of these records. `producer` names the call.
fn records(producer: Option<Producer>, texts: &[&str]) -> Batch {
    let mut builder = BatchBuilder::new(producer);
    for (index, text) in (0..).zip(texts) {
        builder.push(index, b"key", text.as_bytes());
    }
    builder.finish().expect("at least one record")
}

impl Cluster {
    /// A call of `producer` with these records.
    pub fn call(producer: &str, texts: &[&str]) -> Batch {
        let id = Bytes::copy_from_slice(producer.as_bytes());
        records(Some(Producer { id, sequence: 0 }), texts)
    }
}
