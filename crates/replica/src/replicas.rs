use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anabranch_catalog::scaling::ShardLoad;
use anabranch_catalog::{Catalog, Recovered, Replica};
use anabranch_encryption::ShardKeys;
use anabranch_metrics::Registry;
use anabranch_shard::DuplicateWindow;
use anabranch_storage::{DiskState, GroupLog, LogStore, StateKey};
use anabranch_transport::{Handler, PeerEvent, RequestBody, ResponseBody, Transport, pb};
use anabranch_types::{Clock, GroupId, NodeId, ReplicaId, Timestamp};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::acknowledged::Reverted;
use crate::catalog_replica::CatalogReplica;
use crate::error::Error;
use crate::group::{Group, GroupReport, GroupSpec, Shared};
use crate::machine::{CatalogMachine, ShardMachine};
use crate::maintenance::Upkeep;
use crate::metrics::{self, Metrics, Sums};
use crate::network::Pace;
use crate::payload::Payload;
use crate::places;
use crate::raft_types::Member;
use crate::recovery;
use crate::settings::ReplicaSettings;
use crate::shard_replica::{ShardReplica, rebuild_window};

mod leading;

/// Every replica that this node holds. Cheap to clone.
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
    /// Whether the node is about to stop: then nobody here stands for election.
    leaving: AtomicBool,
    /// Whether every replica was stopped: then none is opened any more.
    stopped: AtomicBool,
    held: Mutex<BTreeMap<GroupId, Held>>,
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Clone)]
struct Held {
    group: Arc<Group>,
    shard: Option<ShardReplica>,
    catalog: Option<CatalogReplica>,
    wanted: Vec<Replica>,
    upkeep: Arc<Mutex<Upkeep>>,
}

impl Replicas {
    /// The replicas of a node, none yet. Their metrics are registered in `registry`.
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
        let (leaving, stopped) = (AtomicBool::new(false), AtomicBool::new(false));
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

    /// Opens this node's replica of a shard; the one that is open if it is and takes part, with the keys that it has. `keys`
    /// encrypt its records where its stream wants that; without any they are stored as they are.
    ///
    /// # Errors
    /// [`Error::OutOfService`] if its log can't be trusted, with the reason; [`Error::NotFound`] after [`Self::shutdown`].
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
        let window = Arc::new(Mutex::new(DuplicateWindow::default()));
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
        self.hold(spec, group, Some(shard.clone()), None);
        Ok(shard)
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
            && let Some(catalog) = held.catalog.clone()
        {
            held.wanted.clone_from(&spec.members);
            return Ok(catalog);
        }
        // Kept beside the log: a restart may find no node that could tell what it began with.
        let founders = anabranch_proto::encode_catalog(&first);
        let (machine, watcher) = CatalogMachine::new(first);
        let group = self.open(spec, Box::new(machine)).await?;
        group.log.put_state(vec![(StateKey::Founders, Some(founders))], None);
        let catalog = CatalogReplica { group: Arc::clone(&group), catalog: watcher };
        self.hold(spec, group, None, Some(catalog.clone()));
        Ok(catalog)
    }

    /// Says who belongs to a group; its leader brings the membership there.
    pub fn want(&self, group: GroupId, members: &[Replica]) {
        if let Some(held) = self.held().get_mut(&group) {
            held.wanted = members.to_vec();
        }
    }

    /// The shard replica that is open for `group`.
    pub fn shard(&self, group: GroupId) -> Option<ShardReplica> {
        self.held().get(&group)?.shard.clone()
    }

    /// The shards here that take no records for now, but may again: a resharding job has to be decided.
    pub fn undecided_shards(&self) -> BTreeMap<GroupId, ShardReplica> {
        let held = self.held();
        let shards = held.iter().filter_map(|(group, held)| Some((*group, held.shard.as_ref()?)));
        let pending = shards.filter(|(_, shard)| shard.is_undecided());
        pending.map(|(group, shard)| (group, shard.clone())).collect()
    }

    /// The load on the measured shards that replicas here lead.
    pub fn loads(&self) -> BTreeMap<GroupId, ShardLoad> {
        let held = self.held();
        let load = |held: &Held| held.shard.as_ref()?.load();
        held.iter().filter_map(|(group, held)| Some((*group, load(held)?))).collect()
    }

    /// The shards that replicas here lead.
    pub fn led_shards(&self) -> Vec<ShardReplica> {
        let held = self.held();
        let shards = held.values().filter_map(|held| held.shard.clone());
        shards.filter(ShardReplica::leads).collect()
    }

    /// Groups that are open here.
    pub fn groups(&self) -> BTreeSet<GroupId> {
        self.held().keys().copied().collect()
    }

    /// Groups whose replicas are open here and take part.
    pub fn working(&self) -> BTreeSet<GroupId> {
        let held = self.held();
        let works = |held: &Held| held.group.runs() && quarantine(&held.group).is_none();
        held.iter().filter(|(_, held)| works(held)).map(|(group, _)| *group).collect()
    }

    /// Whether the replica of `group` is open here and takes part.
    pub fn works(&self, group: GroupId) -> bool {
        let held = self.held();
        held.get(&group).is_some_and(|held| held.group.runs() && quarantine(&held.group).is_none())
    }

    /// What the replica of `group` that is open here knows of it.
    pub fn report(&self, group: GroupId) -> Option<GroupReport> {
        let group = Arc::clone(&self.held().get(&group)?.group);
        Some(group.report())
    }

    /// Groups that the node's log store holds anything of.
    pub fn stored_groups(&self) -> BTreeSet<GroupId> {
        places::stored_groups(&*self.inner.store)
    }

    /// The logs of `group` that the node's log store holds: that of the replica here, and perhaps that of one before it.
    pub fn stored_logs(&self, group: GroupId) -> Vec<Arc<dyn GroupLog>> {
        places::logs(group, &*self.inner.store)
    }

    /// The replica of `group` whose log the node's log store holds, if that log is sound.
    pub fn stored_replica(&self, group: GroupId) -> Option<(ReplicaId, Arc<dyn GroupLog>)> {
        places::current(group, &*self.inner.store).ok()?
    }

    /// Groups here that have entries which are known to be damaged, each with the logs that they are in.
    pub fn damaged(&self) -> Vec<(GroupId, Arc<dyn GroupLog>)> {
        let places = self.inner.store.damaged_groups().into_iter();
        let log = |place| Some((places::group_in(place), self.inner.store.group(place).ok()?));
        places.filter_map(log).collect()
    }

    /// Lets `replica` begin with an empty log where a damaged one lies, because the catalog made it in that one's place. The old
    /// log stays until [`Self::remove_old_logs`].
    ///
    /// # Errors
    /// [`Error::OutOfService`] if the log store can't.
    pub async fn begin_anew(&self, group: GroupId, replica: ReplicaId) -> Result<(), Error> {
        self.close(group).await;
        places::begin_anew(group, replica, &self.inner.store).await?;
        Ok(())
    }

    /// Removes the old logs of replicas whose successors here vote by now; every old log if the disk is short of room.
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

    /// Replicas on other nodes that lost what they had acknowledged to leaders here: their disks went back in time. The
    /// leaders send them nothing any more. The catalog is to give their nodes others in their place.
    pub fn reverted(&self) -> Vec<(GroupId, ReplicaId)> {
        self.inner.reverted.all()
    }

    /// The catalog has replaced that replica.
    pub fn forget_reverted(&self, group: GroupId, replica: ReplicaId) {
        self.inner.reverted.forget(group, replica);
    }

    /// Stops a replica; what it has on disk stays. One that is quarantined and led has the others elect a
    /// leader at once: they hear this node and would wait for long.
    pub async fn close(&self, group: GroupId) {
        let held = self.held().remove(&group);
        if let Some(held) = held {
            if quarantine(&held.group).is_some() {
                let group = Arc::clone(&held.group);
                self.tasks().spawn(async move { group.call_successors().await });
            }
            held.group.stop().await;
        }
    }

    /// Has the log that `recovered.from` wrote here go on as that of `recovered.to`, the only voter of its group: what a
    /// group that lost its majority is recovered with. Does nothing if it does already.
    ///
    /// # Errors
    /// [`Error::OutOfService`] if another replica wrote the log, or it can't be trusted or written.
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

    /// Stops a replica and forgets what it has on disk.
    ///
    /// # Errors
    /// [`Error::OutOfService`] if the log store can't.
    pub async fn remove(&self, group: GroupId) -> Result<(), Error> {
        self.close(group).await;
        places::remove(group, &self.inner.store).await
    }

    /// Stops every replica. None is opened from now on: it would stand for election, with a vote that the log store, which
    /// is about to be closed, may refuse.
    pub async fn shutdown(&self) {
        self.inner.stopped.store(true, Ordering::SeqCst);
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
        self.close(spec.group).await; // a replica with another id
        let Inner { store, transport, pace, settings, reverted, metrics, .. } = &*self.inner;
        self.check_not_stopped()?;
        let shared = Shared { store, transport, pace, settings, reverted, metrics };
        let group = Group::open(spec, machine, shared).await?;
        if let Err(stopped) = self.check_not_stopped() {
            group.stop().await; // the shutdown came while it was opened, and didn't find it
            return Err(stopped);
        }
        Ok(Arc::new(group))
    }

    fn check_not_stopped(&self) -> Result<(), Error> {
        match self.inner.stopped.load(Ordering::SeqCst) {
            // Not out of service: such a replica would be replaced.
            true => Err(Error::NotFound),
            false => Ok(()),
        }
    }

    fn hold(
        &self,
        spec: &GroupSpec,
        group: Arc<Group>,
        shard: Option<ShardReplica>,
        catalog: Option<CatalogReplica>,
    ) {
        let upkeep = Arc::new(Mutex::new(Upkeep::new()));
        let wanted = spec.members.clone();
        self.held()
            .insert(spec.group, Held { group: Arc::clone(&group), shard, catalog, wanted, upkeep });
        let (replicas, spec) = (self.clone(), spec.clone());
        self.tasks().spawn(async move { replicas.settle(&group, &spec).await });
    }

    /// After a replica was opened: begins a new group, and finds a leader without waiting for the
    /// group's own long timers.
    async fn settle(&self, group: &Group, spec: &GroupSpec) {
        let place = spec.members.iter().filter(|member| member.id < spec.replica).count() as u64;
        // Rotated by the group, so that the nodes share the leaders of a new stream.
        let rank = (place + spec.group.0) % spec.members.len().max(1) as u64;
        let rank = u32::try_from(rank).unwrap_or(u32::MAX);
        if spec.is_new && !group.has_begun().await {
            tokio::time::sleep(self.inner.settings.election_stagger * 4 * rank).await;
            if !group.has_begun().await {
                group.begin(&spec.members).await; // which others miss that haven't opened it yet
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

    fn find(&self, group: GroupId, to: ReplicaId) -> Result<Arc<Group>, String> {
        if self.is_stalled() {
            return Err("the disk of this node is stalled".into());
        }
        let held = self.held();
        let held = held.get(&group).ok_or_else(|| format!("no replica of group {group} here"))?;
        if held.group.replica != to {
            return Err(format!("group {group}: this is replica {}, not {to}", held.group.replica));
        }
        if let Some(reason) = quarantine(&held.group) {
            return Err(format!("group {group}: quarantined: {reason}"));
        }
        Ok(Arc::clone(&held.group))
    }

    /// One round of upkeep over all groups.
    async fn upkeep(&self) {
        if self.is_stalled() {
            return; // nothing of it would come to an end, and more would gather each round
        }
        let held: Vec<Held> = self.held().values().cloned().collect();
        while self.tasks().try_join_next().is_some() {}
        for held in held {
            if quarantine(&held.group).is_some() {
                continue; // the node closes it
            }
            self.follow_leadership(&held);
            held.group.look_for_room();
            if held.group.leads_without_room() {
                let group = Arc::clone(&held.group);
                self.tasks().spawn(async move { group.leave_to_room().await });
            } else if held.group.leads_with_wrong_clock() {
                let group = Arc::clone(&held.group);
                self.tasks().spawn(async move { group.leave_to_right_clock().await });
            }
            let retained_from =
                held.shard.as_ref().map_or(Timestamp::default(), ShardReplica::retained_from);
            let due = held.upkeep.lock().unwrap_or_else(PoisonError::into_inner).due(
                &held.group,
                self.inner.settings.checkpoint_interval,
                retained_from,
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
        drop(held);
        let (limit, free) =
            (self.settings.append_bytes_in_flight, self.append_permits.available_permits());
        Sums {
            append_bytes_in_flight: limit.saturating_sub(free),
            standings: groups.iter().map(|group| group.standing()).collect(),
        }
    }
}

impl Held {
    /// Does what is due. Most rounds of most groups have nothing.
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

fn quarantine(group: &Group) -> Option<String> {
    match group.log.health() {
        anabranch_storage::Health::Healthy => None,
        anabranch_storage::Health::Quarantined { reason } => Some(reason),
    }
}

/// Looks after all groups at the settings' interval, for as long as there is somebody to.
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

/// When a node falls silent or restarts, the survivors take over what it led.
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
        let groups: Vec<_> = replicas.held().values().map(|held| Arc::clone(&held.group)).collect();
        for group in groups.into_iter().filter(|group| group.leader() == Some(lost)) {
            replicas.tasks().spawn(async move {
                group.stand_if_leaderless(|node: NodeId| node == lost).await;
            });
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
