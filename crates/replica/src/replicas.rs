//! The registry of all replicas on a node, and the tasks that look after them.
//!
//! The node opens and closes replicas here and finds them by group. Requests of other nodes come in through
//! [`Handler`] and go to the replica that they name. Two tasks run as long as the registry exists:
//! - `look_after` does a round of upkeep over all groups once per maintenance interval.
//! - `follow_liveness` waits for nodes that fall silent or restart. Then replicas here start an election in the
//!   groups that such a node led.
//!
//! This never happens: a replica is opened after [`Replicas::shutdown`]. A request that names another replica id, or
//! a quarantined replica, never reaches openraft.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anabranch_catalog::scaling::ShardLoad;
use anabranch_catalog::{Catalog, Recovered, Replica};
use anabranch_encryption::ShardKeys;
use anabranch_metrics::Registry;
use anabranch_shard::DeduplicationWindow;
use anabranch_storage::{DiskState, GroupLog, LogStore, StateKey};
use anabranch_transport::{Handler, PeerEvent, RequestBody, ResponseBody, Transport, pb};
use anabranch_types::{Clock, GroupId, NodeId, ReplicaId};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::acknowledged::Reverted;
use crate::catalog_replica::CatalogReplica;
use crate::error::Error;
use crate::group::{Group, GroupReport, GroupSpec, Shared};
use crate::machine::{CatalogMachine, ShardMachine, TableMachine};
use crate::maintenance::{Kind, Upkeep};
use crate::metrics::{self, Metrics, Sums};
use crate::network::Pace;
use crate::payload::Payload;
use crate::places;
use crate::raft_types::Member;
use crate::recovery;
use crate::settings::ReplicaSettings;
use crate::shard_replica::{ShardReplica, rebuild_window};
use crate::table_replica::TableReplica;

mod leading;

/// All replicas that are open on this node. Cheap to clone.
#[derive(Clone)]
pub struct Replicas {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn LogStore>,
    transport: Transport,
    clock: Arc<dyn Clock>,
    settings: ReplicaSettings,
    metrics: Arc<Metrics>,
    pace: Arc<Pace>,
    reverted: Reverted,
    append_permits: Arc<Semaphore>,
    /// Whether the node is about to stop. Then no replica here starts an election.
    leaving: watch::Sender<bool>,
    /// Whether all replicas were stopped. Then no replica is opened any more.
    stopped: AtomicBool,
    held: Mutex<BTreeMap<GroupId, Held>>,
    /// The replica of each group that this process opened last, also if it is closed now.
    opened: Mutex<BTreeMap<GroupId, ReplicaId>>,
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Clone)]
struct Held {
    group: Arc<Group>,
    serves: Serves,
    wanted: Vec<Replica>,
    upkeep: Arc<Mutex<Upkeep>>,
}

/// A log with entries that are known to be damaged.
pub struct DamagedLog {
    /// The group.
    pub group: GroupId,
    /// The log.
    pub log: Arc<dyn GroupLog>,
    /// Whether it is a checkpoint log. No other node has a copy of its entries.
    pub is_local: bool,
}

/// What an open replica serves.
#[derive(Clone)]
enum Serves {
    Catalog(CatalogReplica),
    Shard(ShardReplica),
    Table(TableReplica),
}

impl Serves {
    fn shard(&self) -> Option<&ShardReplica> {
        match self {
            Self::Shard(shard) => Some(shard),
            Self::Catalog(_) | Self::Table(_) => None,
        }
    }

    fn table(&self) -> Option<&TableReplica> {
        match self {
            Self::Table(table) => Some(table),
            Self::Catalog(_) | Self::Shard(_) => None,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Catalog(_) => Kind::Catalog,
            Self::Shard(shard) => Kind::Shard { retained_from: shard.retained_from() },
            Self::Table(table) => table.kind(),
        }
    }
}

impl Replicas {
    /// No replicas yet. Their metrics are registered in `registry`. Starts the tasks that look after the replicas.
    pub fn new(
        store: Arc<dyn LogStore>,
        transport: Transport,
        clock: Arc<dyn Clock>,
        settings: ReplicaSettings,
        registry: &Registry,
    ) -> Self {
        let pace = Arc::new(Pace::new(settings.catch_up_bytes_per_second));
        let append_permits = Arc::new(Semaphore::new(settings.append_bytes_in_flight));
        let (held, tasks) = (Mutex::default(), Mutex::default());
        let (leaving, stopped) = (watch::channel(false).0, AtomicBool::new(false));
        let inner = Inner {
            store,
            transport,
            clock,
            settings,
            metrics: Arc::new(Metrics::new(registry)),
            pace,
            reverted: Reverted::default(),
            append_permits,
            leaving,
            stopped,
            held,
            opened: Mutex::default(),
            tasks,
        };
        let replicas = Self { inner: Arc::new(inner) };
        metrics::show(registry, Arc::downgrade(&replicas.inner), Inner::sums);
        let mut tasks = replicas.tasks();
        tasks.spawn(look_after(Arc::downgrade(&replicas.inner)));
        tasks.spawn(follow_liveness(Arc::downgrade(&replicas.inner)));
        drop(tasks);
        replicas
    }

    /// Opens this node's replica of a shard. If that replica is open already and runs, returns it with the keys that
    /// it was opened with. `keys` encrypt the records if the stream is encrypted. Without `keys` the records are
    /// stored in plain text.
    ///
    /// # Errors
    /// [`Error::OutOfService`] with the reason if its log can't be trusted. [`Error::Unknown`] if its log can't be
    /// read at the moment. [`Error::NotFound`] after [`Self::shutdown`].
    pub async fn open_shard(
        &self,
        spec: &GroupSpec,
        retention_hours: u32,
        keys: Option<Arc<ShardKeys>>,
    ) -> Result<ShardReplica, Error> {
        let is_same = |shard: &ShardReplica| shard.group.replica == spec.replica;
        let open = self.shard(spec.group).filter(|shard| is_same(shard) && shard.group.runs());
        if let Some(shard) = open {
            self.want(spec.group, &spec.members);
            return Ok(shard);
        }
        let window = Arc::new(Mutex::new(DeduplicationWindow::default()));
        let machine = Box::new(ShardMachine::new(spec.born, Arc::clone(&window)));
        let group = self.open(spec, machine).await?;
        if let Err(error) = rebuild_window(&group, &window).await {
            group.stop().await;
            return Err(error);
        }
        let shard = ShardReplica::new(
            Arc::clone(&group),
            window,
            Arc::clone(&self.inner.append_permits),
            Arc::clone(&self.inner.clock),
            retention_hours,
            &self.inner.settings,
            keys,
        );
        self.hold(spec, group, Serves::Shard(shard.clone()));
        Ok(shard)
    }

    /// Opens this node's replica of a table group.
    ///
    /// # Errors
    /// As [`Self::open_shard`].
    pub async fn open_table(&self, spec: &GroupSpec) -> Result<TableReplica, Error> {
        if let Some(table) = self.table(spec.group)
            && table.group.replica == spec.replica
            && table.group.runs()
        {
            self.want(spec.group, &spec.members);
            return Ok(table);
        }
        let logged_bytes = Arc::default();
        let (machine, state) = TableMachine::new(Arc::clone(&logged_bytes));
        let group = self.open(spec, Box::new(machine)).await?;
        let table = TableReplica::new(
            Arc::clone(&group),
            state,
            logged_bytes,
            Arc::clone(&self.inner.append_permits),
            Arc::clone(&self.inner.clock),
            self.inner.settings.append_deadline,
            self.inner.leaving.subscribe(),
        );
        self.hold(spec, group, Serves::Table(table.clone()));
        Ok(table)
    }

    /// Opens this node's replica of the catalog. `first` is the catalog that a new cluster begins with.
    ///
    /// # Errors
    /// As [`Self::open_shard`].
    pub async fn open_catalog(
        &self,
        spec: &GroupSpec,
        first: Catalog,
    ) -> Result<CatalogReplica, Error> {
        if let Some(held) = self.held().get_mut(&spec.group)
            && held.group.replica == spec.replica
            && held.group.runs()
            && let Serves::Catalog(catalog) = held.serves.clone()
        {
            held.wanted.clone_from(&spec.members);
            return Ok(catalog);
        }
        // The first catalog is stored beside the log. After a restart there may be no other node that could tell it,
        // and a recovery replays the log on top of it (`recovery.rs`).
        let founders = anabranch_proto::encode_catalog(&first);
        let (machine, watcher) = CatalogMachine::new(first);
        let group = self.open(spec, Box::new(machine)).await?;
        group.log.put_state(vec![(StateKey::Founders, Some(founders))], None);
        let catalog = CatalogReplica { group: Arc::clone(&group), catalog: watcher };
        self.hold(spec, group, Serves::Catalog(catalog.clone()));
        Ok(catalog)
    }

    /// Sets the members that the catalog wants for a group. The group's leader changes the membership in its next
    /// round of upkeep.
    pub fn want(&self, group: GroupId, members: &[Replica]) {
        if let Some(held) = self.held().get_mut(&group) {
            held.wanted = members.to_vec();
        }
    }

    /// The open replica of the shard with the id `group`.
    pub fn shard(&self, group: GroupId) -> Option<ShardReplica> {
        self.held().get(&group)?.serves.shard().cloned()
    }

    /// The open replica of the table group with the id `group`.
    pub fn table(&self, group: GroupId) -> Option<TableReplica> {
        match &self.held().get(&group)?.serves {
            Serves::Table(table) => Some(table.clone()),
            Serves::Catalog(_) | Serves::Shard(_) => None,
        }
    }

    /// Shards here that take no records until a resharding job is committed or aborted.
    pub fn undecided_shards(&self) -> BTreeMap<GroupId, ShardReplica> {
        let held = self.held();
        let shards = held.iter().filter_map(|(group, held)| Some((*group, held.serves.shard()?)));
        let pending = shards.filter(|(_, shard)| shard.is_undecided());
        pending.map(|(group, shard)| (group, shard.clone())).collect()
    }

    /// Load on each shard that is measured and whose leader is here.
    pub fn loads(&self) -> BTreeMap<GroupId, ShardLoad> {
        let held = self.held();
        let load = |held: &Held| held.serves.shard()?.load();
        held.iter().filter_map(|(group, held)| Some((*group, load(held)?))).collect()
    }

    /// Replicas here that lead their shards.
    pub fn led_shards(&self) -> Vec<ShardReplica> {
        let held = self.held();
        let shards = held.values().filter_map(|held| held.serves.shard().cloned());
        shards.filter(ShardReplica::leads).collect()
    }

    /// Groups that have an open replica here.
    pub fn groups(&self) -> BTreeSet<GroupId> {
        self.held().keys().copied().collect()
    }

    /// Groups whose replica here is open, runs, and is not quarantined.
    pub fn working(&self) -> BTreeSet<GroupId> {
        let held = self.held();
        let works = |held: &Held| held.group.runs() && held.group.quarantine().is_none();
        held.iter().filter(|(_, held)| works(held)).map(|(group, _)| *group).collect()
    }

    /// Whether the replica of `group` here is open, runs, and is not quarantined.
    pub fn works(&self, group: GroupId) -> bool {
        let held = self.held();
        held.get(&group).is_some_and(|held| held.group.runs() && held.group.quarantine().is_none())
    }

    /// State of `group` as the open replica here knows it.
    pub fn report(&self, group: GroupId) -> Option<GroupReport> {
        let group = Arc::clone(&self.held().get(&group)?.group);
        Some(group.report())
    }

    /// Groups that have a log in the node's log store.
    pub fn stored_groups(&self) -> BTreeSet<GroupId> {
        places::stored_groups(&*self.inner.store)
    }

    /// The logs of `group` in the node's log store: the log of the replica here, and perhaps the log of the replica
    /// before it.
    pub fn stored_logs(&self, group: GroupId) -> Vec<Arc<dyn GroupLog>> {
        places::logs(group, &*self.inner.store)
    }

    /// The replica of `group` that owns a healthy log in the node's log store, and that log.
    pub fn stored_replica(&self, group: GroupId) -> Option<(ReplicaId, Arc<dyn GroupLog>)> {
        places::current(group, &*self.inner.store).ok()?
    }

    /// Logs here with entries that are known to be damaged.
    pub fn damaged(&self) -> Vec<DamagedLog> {
        let places = self.inner.store.damaged_groups().into_iter();
        let log = |place| {
            let log = self.inner.store.group(place).ok()?;
            let is_local = places::is_checkpoint_log(place);
            Some(DamagedLog { group: places::group_in(place), log, is_local })
        };
        places.filter_map(log).collect()
    }

    /// Lets `replica` begin with an empty log although this node has a damaged log of the group. The catalog made
    /// `replica` to replace the damaged replica. The old log stays until [`Self::remove_old_logs`] removes it.
    ///
    /// # Errors
    /// [`Error::OutOfService`] if the log store can't write.
    pub async fn begin_anew(&self, group: GroupId, replica: ReplicaId) -> Result<(), Error> {
        self.close(group).await;
        places::begin_anew(group, replica, &self.inner.store).await?;
        Ok(())
    }

    /// Removes the old log of a replaced replica once the new replica votes. If the disk is short of free space, the
    /// old log is removed even before that. In both cases the group must have a leader that this node hears.
    pub async fn remove_old_logs(&self) {
        let is_short = self.inner.store.disk() != DiskState::Normal;
        let held: Vec<_> = self.held().values().map(|held| Arc::clone(&held.group)).collect();
        for group in held {
            if !places::is_doubled(group.id, &*self.inner.store) {
                continue;
            }
            let status = group.status();
            let votes = status.voters.contains(&group.replica);
            let liveness = self.inner.transport.liveness();
            let is_led = status.leader.is_some_and(|leader| !liveness.is_silent(leader));
            if !is_led || !(votes || is_short) {
                continue;
            }
            match places::remove_old(group.id, group.replica, &self.inner.store).await {
                Ok(false) => {}
                Ok(true) => tracing::info!(group = %group.id, "the old log is removed"),
                Err(error) => tracing::warn!(group = %group.id, %error, "the old log stays"),
            }
        }
    }

    /// Replicas on other nodes that lost entries which they had acknowledged to leaders here: their disks went back
    /// in time. The leaders send them nothing any more. The catalog has to replace them.
    pub fn reverted(&self) -> Vec<(GroupId, ReplicaId)> {
        self.inner.reverted.all()
    }

    /// Forgets a replica from [`Self::reverted`], because the catalog has replaced it.
    pub fn forget_reverted(&self, group: GroupId, replica: ReplicaId) {
        self.inner.reverted.forget(group, replica);
    }

    /// Stops a replica. Its log on disk stays. A quarantined replica that led its group tells the others to elect a
    /// leader at once. They still hear this node, so without that they would wait for the election timeout.
    pub async fn close(&self, group: GroupId) {
        let held = self.held().remove(&group);
        if let Some(held) = held {
            if held.group.quarantine().is_some() {
                let group = Arc::clone(&held.group);
                self.tasks().spawn(async move { group.call_successors().await });
            }
            held.group.stop().await;
        }
    }

    /// Recovers a group that has lost its majority for good. The log that replica `recovered.from` wrote here
    /// becomes the log of replica `recovered.to`, the only voter of the group. Does nothing if that is done already.
    ///
    /// # Errors
    /// [`Error::OutOfService`] if another replica wrote the log, or if the log can't be trusted or written.
    pub async fn take_over(&self, group: GroupId, recovered: Recovered) -> Result<(), Error> {
        self.check_not_stopped()?;
        let is_open =
            self.held().get(&group).is_some_and(|held| held.group.replica == recovered.to);
        if is_open {
            return Ok(());
        }
        self.close(group).await;
        let member = Member { node: self.inner.transport.settings().node };
        recovery::take_over_log(&self.inner.store, group, recovered, member).await
    }

    /// Stops a replica and deletes its logs.
    ///
    /// # Errors
    /// [`Error::OutOfService`] if the log store can't delete them.
    pub async fn remove(&self, group: GroupId) -> Result<(), Error> {
        self.close(group).await;
        places::remove(group, &self.inner.store).await
    }

    /// Stops every replica. From now on no replica is opened: it would start an election, and the log store, which
    /// is about to be closed, may refuse its vote.
    pub async fn shutdown(&self) {
        self.inner.stopped.store(true, Ordering::SeqCst);
        self.inner.leaving.send_replace(true);
        self.tasks().abort_all();
        let held = std::mem::take(&mut *self.held());
        let stops = held.values().map(|held| held.group.stop());
        futures::future::join_all(stops).await;
    }

    async fn open(
        &self,
        spec: &GroupSpec,
        machine: Box<dyn crate::machine::Machine>,
    ) -> Result<Arc<Group>, Error> {
        // The replica that is open has another id, or openraft has stopped for it.
        self.close(spec.group).await;
        let Inner { store, transport, pace, settings, reverted, metrics, .. } = &*self.inner;
        self.check_not_stopped()?;
        let shared = Shared { store, transport, pace, settings, reverted, metrics };
        // This replica has forgotten which leader it heard last, but that leader may still count on it. So the pongs
        // tell the leader, and this replica helps no other leader before that counts.
        let is_again = self.note_opened(spec);
        if is_again {
            transport.liveness().disown();
        }
        let group = Group::open(spec, machine, shared, is_again).await?;
        if let Err(stopped) = self.check_not_stopped() {
            // The shutdown came while this replica was being opened, and did not see it.
            group.stop().await;
            return Err(stopped);
        }
        Ok(Arc::new(group))
    }

    /// Notes that the replica of `spec` is being opened. Returns whether this process has opened it before.
    fn note_opened(&self, spec: &GroupSpec) -> bool {
        let mut opened = self.inner.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.insert(spec.group, spec.replica) == Some(spec.replica)
    }

    fn check_not_stopped(&self) -> Result<(), Error> {
        match self.inner.stopped.load(Ordering::SeqCst) {
            // `NotFound` and not `OutOfService`, because the catalog replaces a replica that is out of service.
            true => Err(Error::NotFound),
            false => Ok(()),
        }
    }

    fn hold(&self, spec: &GroupSpec, group: Arc<Group>, serves: Serves) {
        let upkeep = Arc::new(Mutex::new(Upkeep::new()));
        let wanted = spec.members.clone();
        self.held().insert(spec.group, Held { group: Arc::clone(&group), serves, wanted, upkeep });
        let (replicas, spec) = (self.clone(), spec.clone());
        self.tasks().spawn(async move { replicas.settle(&group, &spec).await });
    }

    /// Runs after a replica was opened. Initialises the group if it is new. Then starts an election if there is no
    /// leader, without waiting for the election timeout.
    async fn settle(&self, group: &Group, spec: &GroupSpec) {
        let place = spec.members.iter().filter(|member| member.id < spec.replica).count() as u64;
        // The order is rotated by the group id, so that the nodes share the leaders of a new stream.
        let rank = (place + spec.group.0) % spec.members.len().max(1) as u64;
        let rank = u32::try_from(rank).unwrap_or(u32::MAX);
        // One replica initialises the group first. The others wait long enough to find it initialised.
        if spec.is_new && !group.has_begun().await {
            tokio::time::sleep(self.inner.settings.election_stagger * 4 * rank).await;
            if !group.has_begun().await {
                // Replicas that are not open yet miss this election. `stand_if_leaderless` below makes up for it.
                group.begin(&spec.members).await;
            }
        }
        tokio::time::sleep(self.inner.settings.election_stagger * 2).await;
        group.stand_if_leaderless(|node| self.inner.transport.liveness().is_silent(node)).await;
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<GroupId, Held>> {
        self.inner.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The replica that a request of another node names. The error text goes back to the sender.
    fn find(&self, group: GroupId, to: ReplicaId) -> Result<Arc<Group>, String> {
        if self.is_stalled() {
            return Err("the disk of this node is stalled".into());
        }
        let held = self.held();
        let held = held.get(&group).ok_or_else(|| format!("no replica of group {group} here"))?;
        if held.group.replica != to {
            return Err(format!("group {group}: this is replica {}, not {to}", held.group.replica));
        }
        if let Some(reason) = held.group.quarantine() {
            return Err(format!("group {group}: quarantined: {reason}"));
        }
        Ok(Arc::clone(&held.group))
    }

    /// One round of upkeep over all groups. Work that may wait runs in tasks of its own.
    async fn upkeep(&self) {
        if self.is_stalled() {
            return; // no write would complete, and tasks would pile up
        }
        let held: Vec<Held> = self.held().values().cloned().collect();
        while self.tasks().try_join_next().is_some() {}
        for held in held {
            if held.group.quarantine().is_some() {
                continue; // the node closes this replica
            }
            self.follow_leadership(&held);
            held.group.check_voters_disks();
            if held.group.leads_on_full_disk() {
                let group = Arc::clone(&held.group);
                self.tasks().spawn(async move { group.transfer_to_free_disk().await });
            } else if held.group.leads_with_wrong_clock() {
                let group = Arc::clone(&held.group);
                self.tasks().spawn(async move { group.transfer_to_right_clock().await });
            }
            let due = held.upkeep.lock().unwrap_or_else(PoisonError::into_inner).due(
                &held.group,
                self.inner.settings.checkpoint_interval,
                held.serves.kind(),
            );
            if due.is_some() || held.group.trim_is_behind() || held.group.differs_from(&held.wanted)
            {
                self.tasks().spawn(held.work(due));
            }
        }
    }
}

impl Inner {
    fn sums(&self) -> Sums {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let groups: Vec<_> = held.values().map(|held| Arc::clone(&held.group)).collect();
        let tables = held.values().filter_map(|held| held.serves.table());
        let tables = tables.map(TableReplica::size).collect();
        drop(held);
        let (limit, free) =
            (self.settings.append_bytes_in_flight, self.append_permits.available_permits());
        Sums {
            append_bytes_in_flight: limit.saturating_sub(free),
            standings: groups.iter().map(|group| group.standing()).collect(),
            tables,
        }
    }
}

impl Held {
    /// Whether the leader is gone, and the replica here does not know where its node is, because its log has no
    /// membership yet. Such a replica can't stand for election, but the others need its vote.
    fn has_lost_unseen_leader(&self, gone: impl Fn(NodeId) -> bool) -> bool {
        let Some(leader) = self.group.leader_replica() else { return false };
        let place = self.wanted.iter().find(|member| member.id == leader);
        let is_gone = place.map_or_else(|| self.is_leader_replaced(), |place| gone(place.node));
        self.group.leader().is_none() && is_gone
    }

    /// Whether the catalog has put another replica in the place of the leader's. Its node may be alive: its disk was
    /// wiped.
    fn is_leader_replaced(&self) -> bool {
        self.group.leader_replica().is_some_and(|leader| is_replaced(leader, &self.wanted))
    }

    /// Proposes `due`, purges the log and changes the membership, where needed. Most groups need nothing in most
    /// rounds.
    async fn work(self, due: Option<Payload>) {
        if let Some(payload) = due
            && let Err(error) = self.group.propose(payload).await
        {
            tracing::info!(group = %self.group.id, %error, "upkeep");
        }
        self.group.follow_trim_horizon().await;
        self.group.follow_membership(&self.wanted).await;
    }
}

/// Whether the catalog has removed a replica from its group. Ids of replicas rise, so a replica that the catalog here
/// does not know yet is above all that it knows.
fn is_replaced(replica: ReplicaId, wanted: &[Replica]) -> bool {
    let ids = || wanted.iter().map(|member| member.id);
    ids().all(|id| id != replica) && ids().any(|id| id > replica)
}

/// Does rounds of upkeep at the maintenance interval, as long as the registry exists.
async fn look_after(replicas: std::sync::Weak<Inner>) {
    let Some(every) = replicas.upgrade().map(|inner| inner.settings.maintenance_interval) else {
        return;
    };
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = replicas.upgrade() else { return };
        Replicas { inner }.upkeep().await;
    }
}

/// When a node falls silent or restarts, replicas here start an election in the groups that it led. A replica whose log
/// is still empty only lets the others have its vote.
async fn follow_liveness(replicas: std::sync::Weak<Inner>) {
    let Some(mut events) = replicas.upgrade().map(|inner| inner.transport.liveness().events())
    else {
        return;
    };
    loop {
        let lost = match events.recv().await {
            Ok(PeerEvent::Silent(node) | PeerEvent::Restarted(node)) => node,
            Ok(PeerEvent::Heard(_)) | Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let Some(inner) = replicas.upgrade() else { return };
        let replicas = Replicas { inner };
        if replicas.is_leaving() || replicas.is_stalled() {
            continue;
        }
        let held: Vec<Held> = replicas.held().values().cloned().collect();
        for held in held {
            let group = Arc::clone(&held.group);
            if group.leader() == Some(lost) {
                replicas.tasks().spawn(async move {
                    group.stand_if_leaderless(|node: NodeId| node == lost).await;
                });
            } else if held.has_lost_unseen_leader(|node| node == lost) {
                replicas.tasks().spawn(async move { group.release_lost_leader().await });
            }
        }
    }
}

impl Handler for Replicas {
    fn refuses_records(&self) -> bool {
        !self.inner.store.disk().takes_records()
    }

    fn append(
        &self,
        group: GroupId,
        to: ReplicaId,
        requests: mpsc::UnboundedReceiver<pb::AppendEntries>,
    ) -> BoxStream<'static, ResponseBody> {
        match self.find(group, to) {
            Ok(group) => group.receive_appends(requests),
            Err(reason) => stream::once(async { ResponseBody::Failed(reason) }).boxed(),
        }
    }

    fn call(
        &self,
        group: GroupId,
        to: ReplicaId,
        body: RequestBody,
    ) -> BoxFuture<'static, ResponseBody> {
        let group = self.find(group, to);
        Box::pin(async move {
            match group {
                Ok(group) => group.receive(body).await,
                Err(reason) => ResponseBody::Failed(reason),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_replaced_if_a_later_one_has_its_place_and_not_if_the_catalog_here_is_old() {
        let wanted = [25, 39, 27].map(|id| Replica { id: ReplicaId(id), node: NodeId(id % 3) });
        assert!(is_replaced(ReplicaId(26), &wanted));
        assert!(!is_replaced(ReplicaId(27), &wanted));
        assert!(!is_replaced(ReplicaId(40), &wanted), "a replica that is not known here yet");
        assert!(!is_replaced(ReplicaId(26), &[]));
    }
}
