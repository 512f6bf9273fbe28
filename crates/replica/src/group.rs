use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anabranch_catalog::Replica;
use anabranch_storage::{DiskState, GroupLog, Health, LogStore, StateKey};
use anabranch_transport::{RequestBody, ResponseBody, Transport, pb};
use anabranch_types::{GroupId, LogId, NodeId, ReplicaId};
use futures::stream::{BoxStream, StreamExt};
use openraft::async_runtime::Instant as _;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::raft::{
    AppendEntriesResponse, StreamAppendError, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::{Config, ReadPolicy, ServerState, SnapshotPolicy};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use crate::acknowledged::Reverted;
use crate::applier::{Applier, checkpoint_log_id};
use crate::convert::{
    log_id, log_id_message, membership_of, raft_log_id_of, raft_vote_of, vote_message,
};
use crate::error::Error;
use crate::log_adapter::LogAdapter;
use crate::machine::{Machine, Outcome};
use crate::metrics::Metrics;
use crate::network::{NetworkFactory, Pace, append_reply, append_request};
use crate::payload::Payload;
use crate::places;
use crate::progress::Progress;
use crate::raft_types::{
    Member, Raft, Snapshot, SnapshotMeta, Stored, StoredMembership, TypeConfig,
};
use crate::room::refuses;
use crate::settings::ReplicaSettings;

mod hand_over;
mod report;

pub use hand_over::HandOver;
pub(crate) use report::Standing;
pub use report::{GroupReport, MemberReport};

/// Which replica of which group a node is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSpec {
    /// The group.
    pub group: GroupId,
    /// This node's replica of it.
    pub replica: ReplicaId,
    /// All replicas.
    pub members: Vec<Replica>,
    /// Whether the group is new: only then may an empty log begin it.
    pub is_new: bool,
    /// The resharding job that made the shard; 0 for a stream's first shards and the catalog.
    pub born: u64,
}

/// What a replica says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// The replica.
    pub replica: ReplicaId,
    /// Node of the leader that it follows or is.
    pub leader: Option<NodeId>,
    /// Its term.
    pub term: u64,
    /// First log index that it hasn't applied.
    pub applied: u64,
    /// First log index that isn't trimmed.
    pub trim_horizon: u64,
    /// Log index of its newest checkpoint.
    pub checkpoint: Option<u64>,
    /// Its last purged and last entry.
    pub purged: Option<LogId>,
    /// Its last entry.
    pub last: Option<LogId>,
    /// Voters of the group.
    pub voters: Vec<ReplicaId>,
    /// Why it is out of service, if it is.
    pub quarantined: Option<String>,
}

/// How long a majority that hasn't been heard lately may take to say that nobody else leads. Some round trips: a leader
/// that is cut off says so soon, and the caller asks another node.
const MAJORITY_PATIENCE: Duration = Duration::from_secs(1);
/// Why the outcome of a write is unknown that waited for a stalled disk.
pub(crate) const DISK_STALLED: &str = "the disk of the leader is stalled";

/// One replica of a Raft group: the facade in front of openraft.
pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) replica: ReplicaId,
    pub(crate) node: NodeId,
    pub(crate) log: Arc<dyn GroupLog>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) raft: Raft,
    pub(crate) transport: Transport,
    pub(crate) metrics: Arc<Metrics>,
    settings: ReplicaSettings,
    /// Highest term in which this replica gave up to lead: whatever openraft says, it leads in no term up
    /// to this. 0 for none.
    given_up: AtomicU64,
    /// Held while an heir has its time to take over.
    telling_heir: Mutex<()>,
    /// Whether a majority of the voters' disks take no records. Found out by upkeep.
    pub(crate) is_crowded: Arc<AtomicBool>,
}

/// What the replicas of a node share.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a> {
    pub(crate) store: &'a Arc<dyn LogStore>,
    pub(crate) transport: &'a Transport,
    pub(crate) pace: &'a Arc<Pace>,
    pub(crate) settings: &'a ReplicaSettings,
    pub(crate) reverted: &'a Reverted,
    pub(crate) metrics: &'a Arc<Metrics>,
}

impl Group {
    /// Opens the replica that `spec` names, from what the node's log store holds of it.
    pub(crate) async fn open(
        spec: &GroupSpec,
        machine: Box<dyn Machine>,
        shared: Shared<'_>,
    ) -> Result<Self, Error> {
        let Shared { store, transport, pace, settings, reverted, metrics } = shared;
        let log = places::claim(spec.group, spec.replica, store).await?;
        if let Health::Quarantined { reason } = log.health() {
            return Err(Error::OutOfService(reason));
        }
        let progress = Arc::new(Progress::default());
        let out_of_service = |error: &dyn std::fmt::Display| Error::OutOfService(error.to_string());
        let applier =
            Applier::open(Arc::clone(&log), machine, Arc::clone(&progress), Arc::clone(metrics));
        let applier = applier.map_err(|error| out_of_service(&error))?;
        let is_crowded = Arc::new(AtomicBool::new(false));
        let network = NetworkFactory {
            group: spec.group,
            log: Arc::clone(&log),
            transport: transport.clone(),
            pace: Arc::clone(pace),
            metrics: Arc::clone(metrics),
            is_crowded: Arc::clone(&is_crowded),
            acknowledged: Arc::default(),
            reverted: reverted.clone(),
        };
        let adapter = LogAdapter::new(Arc::clone(&log));
        let config = raft_config(settings).map_err(|error| out_of_service(&error))?;
        let raft = Raft::new(spec.replica.0, config, network, adapter, applier).await;
        let raft = raft.map_err(|error| out_of_service(&error))?;
        Ok(Self {
            id: spec.group,
            replica: spec.replica,
            node: transport.settings().node,
            log,
            progress,
            raft,
            transport: transport.clone(),
            metrics: Arc::clone(metrics),
            settings: settings.clone(),
            given_up: AtomicU64::new(0),
            telling_heir: Mutex::default(),
            is_crowded,
        })
    }

    /// Whether the replica still takes part. It stops when its log fails, or refuses what the replica had
    /// counted on; it is then to be opened again.
    pub(crate) fn runs(&self) -> bool {
        self.raft.metrics().borrow_watched().running_state.is_ok()
    }

    /// Begins a new group with `members` as its voters. Harmless if it has begun.
    pub(crate) async fn begin(&self, members: &[Replica]) {
        let members: BTreeMap<_, _> =
            members.iter().map(|r| (r.id.0, Member { node: r.node })).collect();
        if let Err(error) = self.raft.initialize(members).await {
            tracing::info!(group = %self.id, %error, "group has begun already");
        }
    }

    pub(crate) async fn has_begun(&self) -> bool {
        self.raft.is_initialized().await.unwrap_or(true)
    }

    pub(crate) fn status(&self) -> GroupStatus {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let state = self.log.log_state();
        let quarantined = match self.log.health() {
            Health::Healthy => None,
            Health::Quarantined { reason } => Some(reason),
        };
        GroupStatus {
            replica: self.replica,
            leader: leader_node(metrics.current_leader, &metrics.membership_config),
            term: metrics.vote.leader_id.term,
            applied: self.progress.applied(),
            trim_horizon: self.progress.trim_horizon(),
            checkpoint: self.progress.checkpoints().newest().map(|kept| kept.index),
            purged: state.purged,
            last: state.last,
            voters: metrics.membership_config.voter_ids().map(ReplicaId).collect(),
            quarantined,
        }
    }

    /// Node of the leader, as far as this replica knows.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        leader_node(metrics.current_leader, &metrics.membership_config)
    }

    /// Whether records may have been acknowledged that this replica hasn't applied: its log goes on, or nobody leads
    /// who would tell it.
    pub(crate) fn may_lack_records(&self) -> bool {
        let last = self.log.log_state().last.map_or(0, |last| last.index);
        let leader = self.leader();
        let is_led = leader.is_some_and(|leader| !self.transport.liveness().is_silent(leader));
        !is_led || last >= self.progress.applied()
    }

    /// The term that this replica leads in, once it has applied everything of earlier terms.
    pub(crate) fn leading_term(&self) -> Result<u64, Error> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let term = metrics.vote.leader_id.term;
        if self.has_given_up(term) || self.is_stalled(&metrics.membership_config) {
            return Err(Error::NotLeader { leader: None });
        }
        if metrics.state == ServerState::Leader && self.progress.applied_term() == term {
            return Ok(term);
        }
        let leader = leader_node(metrics.current_leader, &metrics.membership_config);
        Err(Error::NotLeader { leader })
    }

    /// Whether this replica leads no more in `term`, as it is handing over or has.
    fn has_given_up(&self, term: u64) -> bool {
        self.given_up.load(Ordering::Acquire) >= term
    }

    /// Whether this node's disk is stalled and another replica could lead: no other replica can where this one votes alone.
    fn is_stalled(&self, membership: &StoredMembership) -> bool {
        self.transport.is_stalled() && !self.votes_alone(membership)
    }

    /// Returns when this node's disk is stalled and others may lead: what waits for this replica waits in vain.
    pub(crate) async fn until_stalled(&self) {
        let metrics = self.raft.server_metrics();
        let votes_alone = self.votes_alone(&metrics.borrow_watched().membership_config);
        if votes_alone {
            return std::future::pending().await;
        }
        self.transport.until_stalled().await;
    }

    pub(crate) fn votes_alone(&self, membership: &StoredMembership) -> bool {
        membership.voter_ids().eq([self.replica.0])
    }

    pub(crate) fn not_leader(&self) -> Error {
        Error::NotLeader { leader: self.leader() }
    }

    /// Whether everything that was acknowledged before this call is applied here, as far as that is known without asking
    /// anybody.
    pub(crate) fn leads_alone(&self) -> bool {
        let Ok(term) = self.leading_term() else { return false };
        let metrics = self.raft.server_metrics();
        let is_stalled = self.is_stalled(&metrics.borrow_watched().membership_config);
        // Only who had not given up by now led alone.
        self.holds_lease() && !self.has_given_up(term) && !is_stalled
    }

    /// Waits until everything that was acknowledged before this call is applied here; on the leader only.
    ///
    /// By lease if a majority of nodes proved to live just now, else by asking a majority.
    pub(crate) async fn read_index(&self) -> Result<u64, Error> {
        let term = self.leading_term()?;
        if !self.holds_lease() {
            let read = self.raft.ensure_linearizable(ReadPolicy::ReadIndex);
            let read = timeout(MAJORITY_PATIENCE, read).await;
            let read = read.map_err(|_elapsed| Error::NotLeader { leader: None })?;
            read.map_err(|error| {
                tracing::info!(group = %self.id, %error, "read index");
                self.not_leader()
            })?;
            return Ok(self.progress.applied());
        }
        let applied = self.progress.applied();
        // Only who had not given up by now led alone when that was read.
        let metrics = self.raft.server_metrics();
        let is_stalled = self.is_stalled(&metrics.borrow_watched().membership_config);
        if self.has_given_up(term) || is_stalled { Err(self.not_leader()) } else { Ok(applied) }
    }

    /// Whether no other replica can lead now.
    ///
    /// A survivor takes over in three ways only: it heard nothing of this node for the silence limit,
    /// and a voter that answered a ping less than the lease ago can't have; or nothing of this group
    /// for the election timeout, and a majority heard this leader more recently; or this replica told it
    /// to, and has given up its term before.
    fn holds_lease(&self) -> bool {
        let Ok(leader) = self.raft.as_leader() else { return false };
        let recent = self.settings.election_timeout.mul_f64(0.8);
        let metrics = self.raft.server_metrics();
        let membership = Arc::clone(&metrics.borrow_watched().membership_config);
        let alone = self.votes_alone(&membership);
        let heard = leader.last_quorum_acked().is_some_and(|acked| acked.elapsed() < recent);
        let liveness = self.transport.liveness();
        let lives = |node| liveness.answered_within(node, self.settings.leader_lease);
        alone || (heard && self.is_majority(&membership, true, lives))
    }

    /// Whether the nodes of a majority can't have left this leader for another, as far as pings tell.
    pub(crate) fn has_followers(&self) -> bool {
        let metrics = self.raft.server_metrics();
        let membership = Arc::clone(&metrics.borrow_watched().membership_config);
        let liveness = self.transport.liveness();
        let follows = |node| !liveness.may_have_left(node, self.settings.leader_lease);
        self.is_majority(&membership, true, follows)
    }

    /// Refuses what a leader without followers would let into its log. A majority would never take it, but it would lie on
    /// this node's disk until a successor has it cut off, perhaps in plain where the successor seals (ADR-0020). A
    /// leader that has heard no majority lately asks one first.
    pub(crate) async fn check_followed(&self) -> Result<(), Error> {
        if self.has_followers() {
            return Ok(());
        }
        self.read_index().await.map(|_| ())
    }

    /// Whether those voters are a majority whose nodes `counts` says yes to, and this replica if `own`.
    pub(crate) fn is_majority(
        &self,
        membership: &StoredMembership,
        own: bool,
        counts: impl Fn(NodeId) -> bool,
    ) -> bool {
        let is_counted = |voter: &&u64| match membership.get_node(voter) {
            _ if **voter == self.replica.0 => own,
            Some(member) => counts(member.node),
            None => false,
        };
        let configs = membership.get_joint_config();
        configs.iter().all(|voters| voters.iter().filter(is_counted).count() > voters.len() / 2)
    }

    /// Proposes payloads in order; their outcomes come in the same order.
    pub(crate) async fn propose_many(
        &self,
        payloads: Vec<Stored>,
    ) -> Result<BoxStream<'static, Result<(LogId, Outcome), Error>>, Error> {
        let results = self.raft.client_write_many(payloads).await;
        let results = results.map_err(|fatal| Error::OutOfService(fatal.to_string()))?;
        Ok(results
            .map(|result| match result {
                Ok(Ok(written)) => Ok((log_id(&written.log_id), written.response)),
                Ok(Err(error)) => Err(write_error(error)),
                Err(fatal) => Err(Error::Unknown(fatal.to_string())),
            })
            .fuse()
            .boxed())
    }

    /// Refuses what no entry can hold. The log would refuse it too, but only once openraft counts on it: the leader would
    /// end, and the next one with the next attempt.
    pub(crate) fn check_fits(&self, bytes: usize) -> Result<(), Error> {
        let limit = self.log.payload_limit();
        if bytes <= limit {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "{bytes} bytes do not fit into a segment of this node's log, which takes {limit} (segment-bytes)"
        )))
    }

    pub(crate) async fn propose(&self, payload: Payload) -> Result<(LogId, Outcome), Error> {
        let stored = payload.stored();
        self.check_fits(stored.0.len())?;
        let written = tokio::select! {
            biased;
            written = self.raft.client_write(stored) => written,
            () = self.until_stalled() => return Err(Error::Unknown(DISK_STALLED.into())),
        };
        match written {
            Ok(written) => Ok((log_id(&written.log_id), written.data)),
            Err(RaftError::APIError(error)) => Err(write_error(error)),
            Err(RaftError::Fatal(fatal)) => Err(Error::Unknown(fatal.to_string())),
        }
    }

    /// Whether the log is to be purged further than it is.
    pub(crate) fn trim_is_behind(&self) -> bool {
        let purged = self.log.log_state().purged.map_or(0, |purged| purged.index + 1);
        purged < self.progress.trim_horizon()
            && self.purge_target().is_some_and(|target| purged <= target)
    }

    /// Up to which entry the trim horizon lets this replica purge: one of which it has the state.
    fn purge_target(&self) -> Option<u64> {
        let last_trimmed = self.progress.trim_horizon().checked_sub(1)?;
        let kept = self.progress.checkpoints().newest_up_to(last_trimmed);
        kept.map(|kept| kept.index).or_else(|| Some(self.snapshot()?.index))
    }

    /// The last entry that the snapshot covers.
    fn snapshot(&self) -> Option<LogId> {
        self.log.state(StateKey::Snapshot).ok().flatten().and_then(checkpoint_log_id)
    }

    /// Brings snapshot and purge to where the trim horizon is. A trigger may be dropped and a crash
    /// may come between the two, so this is called again and again.
    pub(crate) async fn follow_trim_horizon(&self) {
        if !self.trim_is_behind() {
            return;
        }
        let Some(target) = self.purge_target() else { return };
        let result = match self.snapshot() {
            Some(snapshot) if snapshot.index >= target => {
                self.raft.trigger().purge_log(snapshot.index).await
            }
            _ => self.raft.trigger().snapshot().await,
        };
        if let Err(error) = result {
            tracing::info!(group = %self.id, %error, "trim");
        }
    }

    /// Whether this replica leads and the group's membership isn't what the catalog wants.
    pub(crate) fn differs_from(&self, wanted: &[Replica]) -> bool {
        if self.leading_term().is_err() || wanted.is_empty() {
            return false;
        }
        let metrics = self.raft.server_metrics();
        let membership = Arc::clone(&metrics.borrow_watched().membership_config);
        let ids: BTreeSet<u64> = wanted.iter().map(|replica| replica.id.0).collect();
        membership.nodes().count() != ids.len() || *membership.get_joint_config() != [ids]
    }

    /// Brings the group's membership to what the catalog wants; on the leader only.
    pub(crate) async fn follow_membership(&self, wanted: &[Replica]) {
        if !self.differs_from(wanted) {
            return;
        }
        let metrics = self.raft.server_metrics();
        let membership = Arc::clone(&metrics.borrow_watched().membership_config);
        for replica in wanted.iter().filter(|r| membership.get_node(&r.id.0).is_none()) {
            let member = Member { node: replica.node };
            if let Err(error) = self.raft.add_learner(replica.id.0, member, false).await {
                tracing::warn!(group = %self.id, replica = %replica.id, %error, "add learner");
                return;
            }
        }
        let ids: BTreeSet<u64> = wanted.iter().map(|replica| replica.id.0).collect();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        // One that votes already and is away doesn't hold up those that come.
        if !self.have_caught_up(ids.difference(&voters)) {
            return;
        }
        // A leader that is to leave would be missed until the others notice: one that stays leads first, and goes on here.
        if !ids.contains(&self.replica.0) {
            let stays = |node| wanted.iter().any(|replica| replica.node == node);
            match self.hand_over(stays).await {
                HandOver::NoHeir => {}
                HandOver::Done | HandOver::NotYet => return,
            }
        }
        match self.raft.change_membership(ids, false).await {
            Ok(_) => tracing::info!(group = %self.id, ?wanted, "membership changed"),
            Err(error) => tracing::warn!(group = %self.id, %error, "change membership"),
        }
    }

    fn have_caught_up<'a>(&self, mut replicas: impl Iterator<Item = &'a u64>) -> bool {
        const NEAR: u64 = 256;
        let last = self.log.log_state().last.map_or(0, |last| last.index);
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let Some(replication) = &metrics.replication else { return false };
        replicas.all(|replica| {
            let matched = replication.get(replica).and_then(|matched| matched.as_ref());
            *replica == self.replica.0
                || matched.is_some_and(|matched| matched.index() + NEAR >= last)
        })
    }

    /// The group's voters, on its leader, once a change of them is over and applied.
    pub(crate) fn settled_voters(&self) -> Option<BTreeSet<ReplicaId>> {
        self.leading_term().ok()?;
        let metrics = self.raft.server_metrics();
        let membership = Arc::clone(&metrics.borrow_watched().membership_config);
        let applied = self.progress.applied();
        let is_applied = membership.log_id().as_ref().is_some_and(|id| id.index() < applied);
        match &membership.get_joint_config()[..] {
            [voters] if is_applied => Some(voters.iter().copied().map(ReplicaId).collect()),
            _ => None,
        }
    }

    /// Stands for election if nobody leads, or who leads is on a node that is gone. Waits first, each
    /// voter for another time, so that they don't stand against each other.
    pub(crate) async fn stand_if_leaderless(&self, gone: impl Fn(NodeId) -> bool) {
        let Some(rank) = self.leaderless(&gone) else { return };
        // A voter that lets the others stand first lets the lost leader go before: they need its vote.
        if !self.suits_as_leader() {
            self.release_lost_leader().await;
        }
        tokio::time::sleep(self.settings.election_stagger * rank).await;
        if self.leaderless(&gone).is_none() {
            return;
        }
        self.release_lost_leader().await;
        self.metrics.elections.increment();
        let _stopping = self.raft.trigger().elect(true).await;
    }

    /// Gives up the lease that the lost leader had from this replica; nobody is to lead by it.
    async fn release_lost_leader(&self) {
        let metrics = self.raft.server_metrics();
        let (vote, leader) = {
            let metrics = metrics.borrow_watched();
            (metrics.vote, metrics.vote.leader_id.voted_for)
        };
        if leader != self.replica.0 {
            let release = TransferLeaderRequest::new(vote, leader, None);
            let _stopping = self.raft.handle_transfer_leader(release).await;
        }
    }

    /// Whether this replica could take records as the leader, and its clock is right.
    fn suits_as_leader(&self) -> bool {
        self.log.disk().takes_records() && !self.has_wrong_clock()
    }

    /// Whether somebody ought to take over, and this replica could.
    pub(crate) fn is_leaderless(&self, gone: impl Fn(NodeId) -> bool) -> bool {
        self.leaderless(&gone).is_some()
    }

    /// This voter's place among those who could take over, if somebody must.
    fn leaderless(&self, gone: &impl Fn(NodeId) -> bool) -> Option<u32> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
        let leader = leader_node(metrics.current_leader, &metrics.membership_config);
        let own = voters.iter().position(|voter| *voter == self.replica.0)?;
        // After a restart the stored vote still names the leader of before; if that is this replica,
        // it leads no more.
        let is_gone = leader.is_some_and(|leader| leader == self.node || gone(leader));
        // A leader begins with an entry, which a full disk refuses.
        // Neither can a candidate whose disk is stalled save its vote.
        let cannot = metrics.state == ServerState::Leader
            || self.log.disk() == DiskState::Full
            || self.transport.is_stalled();
        if cannot || !(leader.is_none() || is_gone) {
            return None;
        }
        // Rotated by the group, so that survivors share the groups of a lost node.
        let turn = usize::try_from(self.id.0 % voters.len() as u64).unwrap_or(0);
        // A replica that couldn't take records as the leader, or whose clock is wrong, lets the others stand first. It
        // stands after them, as it may be the only one that has all committed entries.
        let last = if self.suits_as_leader() { 0 } else { voters.len() };
        u32::try_from((own + turn) % voters.len() + last).ok()
    }

    /// Receives appends of another node: one answer for each.
    ///
    /// Records for which the disk has no room are refused here, before openraft knows of them: it counts on
    /// every entry that it has seen. The leader tries again, and the replica has lost and promised nothing.
    pub(crate) fn receive_appends(
        &self,
        requests: mpsc::UnboundedReceiver<pb::AppendEntries>,
    ) -> BoxStream<'static, ResponseBody> {
        let (group, log) = (self.id, Arc::clone(&self.log));
        let is_crowded = Arc::clone(&self.is_crowded);
        let refused = Arc::new(AtomicBool::new(false));
        let noticed = Arc::clone(&refused);
        let requests = futures::stream::unfold(requests, move |mut requests| {
            let (log, is_refused) = (Arc::clone(&log), Arc::clone(&noticed));
            let is_crowded = Arc::clone(&is_crowded);
            async move {
                let message = requests.recv().await?;
                let is_crowded = is_crowded.load(Ordering::Relaxed);
                let last = log.log_state().last;
                if refuses(log.disk(), is_crowded, group, last, &message) {
                    is_refused.store(true, Ordering::Relaxed);
                    return None;
                }
                match append_request(message) {
                    Ok(request) => Some((request, requests)),
                    Err(error) => {
                        tracing::error!(%error, "append can't be read");
                        None
                    }
                }
            }
        });
        let answers = self.raft.stream_append(requests.fuse());
        let answers = answers.map(move |answer| match answer {
            Ok(result) => append_reply(result),
            Err(fatal) => ResponseBody::Failed(format!("group {group}: {fatal}")),
        });
        let refusal = futures::stream::once(async move {
            let reason = || ResponseBody::Failed(format!("group {group}: no room on the disk"));
            refused.load(Ordering::Relaxed).then(reason)
        });
        answers.fuse().chain(refusal.filter_map(std::future::ready)).boxed()
    }

    /// Receives any other request of another node.
    pub(crate) async fn receive(&self, body: RequestBody) -> ResponseBody {
        let answer = match body {
            RequestBody::Vote(request) => self
                .raft
                .vote(vote_request(request))
                .await
                .map(vote_reply)
                .map_err(|e| e.to_string()),
            RequestBody::PreVote(request) => {
                let reply = self.raft.pre_vote(vote_request(request)).await;
                reply.map(vote_reply).map_err(|e| e.to_string())
            }
            RequestBody::Snapshot(snapshot) => self.receive_snapshot(snapshot).await,
            RequestBody::Transfer(transfer) => {
                let from = raft_vote_of(transfer.from.unwrap_or_default());
                let last = transfer.last.map(raft_log_id_of);
                let request = TransferLeaderRequest::new(from, transfer.to_replica, last);
                let taken = self.raft.handle_transfer_leader(request).await;
                taken.map(|_| ResponseBody::Transferred(pb::Empty {})).map_err(|e| e.to_string())
            }
            RequestBody::Heartbeat(heartbeat) => self.receive_heartbeat(heartbeat).await,
            RequestBody::Append(_) | RequestBody::Close(_) | RequestBody::Ping(_) => {
                Err("not a call".into())
            }
        };
        answer.unwrap_or_else(|error| ResponseBody::Failed(format!("group {}: {error}", self.id)))
    }

    async fn receive_heartbeat(&self, message: pb::AppendEntries) -> Result<ResponseBody, String> {
        let request = append_request(message).map_err(|e| e.to_string())?;
        let prev = request.prev_log_id;
        let answer = self.raft.append_entries(request).await.map_err(|e| e.to_string())?;
        Ok(append_reply(match answer {
            AppendEntriesResponse::Success => Ok(prev),
            AppendEntriesResponse::PartialSuccess(last) => Ok(last),
            AppendEntriesResponse::Conflict => {
                let prev = prev.ok_or("a conflict about no entry")?;
                Err(StreamAppendError::Conflict(prev))
            }
            AppendEntriesResponse::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote)),
        }))
    }

    async fn receive_snapshot(&self, message: pb::InstallSnapshot) -> Result<ResponseBody, String> {
        let checkpoint: pb::Checkpoint =
            prost::Message::decode(message.checkpoint.clone()).map_err(|e| e.to_string())?;
        let membership = StoredMembership::new(
            checkpoint.membership_log_id.map(raft_log_id_of),
            membership_of(checkpoint.membership.unwrap_or_default()),
        );
        let meta = SnapshotMeta {
            last_log_id: message.last.map(raft_log_id_of),
            last_membership: membership,
        };
        let vote = raft_vote_of(message.vote.unwrap_or_default());
        let snapshot = Snapshot { meta, snapshot: message.checkpoint };
        let installed = self.raft.install_full_snapshot(vote, snapshot).await;
        let installed = installed.map_err(|e| e.to_string())?;
        Ok(ResponseBody::Snapshot(vote_message(&installed.vote)))
    }

    /// Stops taking part. What is on disk stays.
    pub(crate) async fn stop(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(group = %self.id, %error, "stop");
        }
    }
}

fn leader_node(leader: Option<u64>, membership: &StoredMembership) -> Option<NodeId> {
    membership.get_node(&leader?).map(|member| member.node)
}

fn write_error(error: ClientWriteError<TypeConfig>) -> Error {
    match error {
        ClientWriteError::ForwardToLeader(forward) => {
            Error::NotLeader { leader: forward.leader_node.map(|member| member.node) }
        }
        other @ (ClientWriteError::LogEntryDiscarded(_)
        | ClientWriteError::ChangeMembershipError(_)
        | ClientWriteError::PreconditionFailed(_)) => Error::Unknown(other.to_string()),
    }
}

fn vote_request(message: pb::VoteRequest) -> VoteRequest<TypeConfig> {
    let vote = raft_vote_of(message.vote.unwrap_or_default());
    let mut request = VoteRequest::new(vote, message.last.map(raft_log_id_of));
    request.leadership_transfer = message.transfer;
    request
}

fn vote_reply(response: VoteResponse<TypeConfig>) -> ResponseBody {
    ResponseBody::Vote(pb::VoteReply {
        vote: Some(vote_message(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(log_id_message),
    })
}

/// openraft's settings for a group. What is not set here keeps openraft's default.
pub(crate) fn raft_config(
    settings: &ReplicaSettings,
) -> Result<Arc<Config>, openraft::ConfigError> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: "anabranch".into(),
        heartbeat_interval: millis(settings.heartbeat_interval),
        election_timeout_min: millis(settings.election_timeout),
        election_timeout_max: millis(settings.election_timeout) * 3 / 2,
        enable_pre_vote: Some(true),
        // A restarted leader whose log is shorter than what it had committed must not go on in its
        // term: new entries would get log ids that exist, and logs would part silently.
        enable_leader_restore: Some(settings.unsafe_leader_restore),
        // The log is the data: nothing but a replicated trim may remove an entry.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        purge_batch_size: 1,
        max_payload_entries: 1024,
        api_channel_size: Some(1024),
        notification_channel_size: Some(1024),
        state_machine_channel_size: Some(256),
        ..Config::default()
    };
    Ok(Arc::new(config.validate()?))
}
