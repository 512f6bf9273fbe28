//! One replica of a Raft group: the facade in front of openraft.
//!
//! [`Group::open`] claims the log of the replica, restores its state (`applier.rs`) and starts openraft. After that
//! three things happen side by side:
//! - The leader proposes entries ([`Group::propose`], [`Group::propose_many`]). openraft writes them to the log,
//!   sends them to the followers, and applies them once a majority has them.
//! - Requests of other nodes come in through [`Group::receive_appends`] and [`Group::receive`].
//! - Upkeep calls the `follow_…` functions again and again. They purge the log up to the trim horizon and bring the
//!   membership to what the catalog wants.
//!
//! A replica serves as the leader only while all of this is true ([`Group::leading_term`], [`Group::leads_alone`]):
//!
//! ```text
//! openraft says "leader"      and  an entry of this term is applied  (so all entries of earlier terms are, too)
//! term > renounced_term       and  the disk is not stalled
//! for reads: the leader lease holds, or a majority confirms the leader now
//! ```
//!
//! This never happens: openraft makes no snapshot and purges nothing by itself, and a replica never leads in a term
//! that it has renounced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anabranch_catalog::Replica;
use anabranch_planted::{Bug, planted};
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
use tokio::time::{Instant, timeout};

use crate::acknowledged::Reverted;
use crate::applier::{Applier, checkpoint_log_id};
use crate::checkpoint_log::CheckpointLog;
use crate::convert::{
    log_id, log_id_message, membership_of, raft_log_id_of, raft_vote_of, vote_message,
};
use crate::error::Error;
use crate::log_adapter::LogAdapter;
use crate::machine::{Holds, Machine, Outcome};
use crate::metrics::Metrics;
use crate::network::{NetworkFactory, Pace, append_reply, append_request};
use crate::payload::Payload;
use crate::places;
use crate::progress::Progress;
use crate::raft_types::{
    Member, Raft, Snapshot, SnapshotMeta, Stored, StoredMembership, TypeConfig,
};
use crate::room::{NO_FREE_SPACE, refuses};
use crate::settings::ReplicaSettings;

mod leadership_transfer;
mod report;

pub use leadership_transfer::LeadershipTransfer;
pub(crate) use report::Standing;
pub use report::{GroupReport, MemberReport};

/// A replica that a node is to hold, and the group that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSpec {
    /// Id of the group.
    pub group: GroupId,
    /// Id of this node's replica of the group.
    pub replica: ReplicaId,
    /// All replicas of the group, this one included.
    pub members: Vec<Replica>,
    /// Whether the group is new. A replica with an empty log initialises the group only if this is set: in an older
    /// group the entries are on the other replicas.
    pub is_new: bool,
    /// Number of the resharding job that made the shard. 0 for the first shards of a stream and for the catalog.
    pub born: u64,
}

/// State of a replica, as the replica itself knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// Id of the replica.
    pub replica: ReplicaId,
    /// Node of the leader, if the replica knows one. It may be this node.
    pub leader: Option<NodeId>,
    /// Raft term of the replica.
    pub term: u64,
    /// First log index that the replica has not applied.
    pub applied: u64,
    /// First log index that is not trimmed.
    pub trim_horizon: u64,
    /// Log index of the replica's newest checkpoint.
    pub checkpoint: Option<u64>,
    /// Last entry that was purged from the log.
    pub purged: Option<LogId>,
    /// Last entry of the log, committed or not.
    pub last: Option<LogId>,
    /// Voters of the group, by the newest membership in the log.
    pub voters: Vec<ReplicaId>,
    /// Why the replica is quarantined, if it is.
    pub quarantined: Option<String>,
}

/// How long a leader without a lease waits for a majority to confirm that it still leads. This is several round
/// trips. A leader that is cut off reports an error after this time, and the caller asks another node.
const MAJORITY_PATIENCE: Duration = Duration::from_secs(1);
/// Reason in [`Error::Unknown`] for a write that was waiting for the disk when the disk stalled.
pub(crate) const DISK_STALLED: &str = "the disk of the leader is stalled";

/// One replica of a Raft group: the facade in front of openraft.
pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) replica: ReplicaId,
    pub(crate) node: NodeId,
    pub(crate) log: Arc<dyn GroupLog>,
    /// The checkpoint log of a table group.
    pub(crate) checkpoint_log: Option<CheckpointLog>,
    holds: Holds,
    pub(crate) progress: Arc<Progress>,
    pub(crate) raft: Raft,
    pub(crate) transport: Transport,
    pub(crate) metrics: Arc<Metrics>,
    settings: ReplicaSettings,
    /// Highest term in which this replica renounced the leadership. The replica leads in no term up to this one,
    /// whatever openraft says. 0 if it never renounced a term.
    renounced_term: AtomicU64,
    /// Held while a leadership transfer is under way, so that only one target at a time is told to start an
    /// election. Number of transfers so far that failed.
    transferring: Mutex<u64>,
    /// Whether no majority of the voters is alive with a disk that takes records. Upkeep updates it.
    pub(crate) lacks_writable_majority: Arc<AtomicBool>,
    /// Whether a leader has sent anything since this replica was opened.
    heard_leader: Arc<AtomicBool>,
    opened: Instant,
    /// Before this time, this replica gives no vote and starts no election.
    votes_from: Instant,
}

/// Parts that all replicas of a node share.
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
    /// Opens the replica `spec.replica` from its log in the node's log store. A replica without a log there starts
    /// with an empty one. `is_again` says that this process has opened the replica before. Then it gives no vote and
    /// starts no election for the silence limit.
    pub(crate) async fn open(
        spec: &GroupSpec,
        machine: Box<dyn Machine>,
        shared: Shared<'_>,
        is_again: bool,
    ) -> Result<Self, Error> {
        let Shared { store, transport, pace, settings, reverted, metrics } = shared;
        let log = places::claim(spec.group, spec.replica, store).await?;
        if let Health::Quarantined { reason } = log.health() {
            return Err(Error::OutOfService(reason));
        }
        let progress = Arc::new(Progress::default());
        let out_of_service = |error: &dyn std::fmt::Display| Error::OutOfService(error.to_string());
        let holds = machine.holds();
        let parts = match machine.is_in_parts() {
            true => Some(places::checkpoint_log(spec.group, spec.replica, store)?),
            false => None,
        };
        let (own_log, metrics_of) = (Arc::clone(&log), Arc::clone(metrics));
        let applier =
            Applier::open(own_log, parts, machine, Arc::clone(&progress), metrics_of).await;
        let applier = applier.map_err(|error| out_of_service(&error))?;
        let checkpoint_log = applier.checkpoint_log();
        let lacks_writable_majority = Arc::new(AtomicBool::new(false));
        let network = NetworkFactory {
            group: spec.group,
            holds,
            log: Arc::clone(&log),
            checkpoint_log: checkpoint_log.clone(),
            transport: transport.clone(),
            pace: Arc::clone(pace),
            metrics: Arc::clone(metrics),
            lacks_writable_majority: Arc::clone(&lacks_writable_majority),
            acknowledged: Arc::default(),
            reverted: reverted.clone(),
        };
        let adapter = LogAdapter::new(Arc::clone(&log));
        let config = raft_config(settings).map_err(|error| out_of_service(&error))?;
        let raft = Raft::new(spec.replica.0, config, network, adapter, applier).await;
        let raft = raft.map_err(|error| out_of_service(&error))?;
        let opened = Instant::now();
        let silence = transport.liveness().silence();
        Ok(Self {
            id: spec.group,
            replica: spec.replica,
            node: transport.settings().node,
            log,
            checkpoint_log,
            holds,
            progress,
            raft,
            transport: transport.clone(),
            metrics: Arc::clone(metrics),
            settings: settings.clone(),
            renounced_term: AtomicU64::new(0),
            transferring: Mutex::default(),
            lacks_writable_majority,
            heard_leader: Arc::default(),
            opened,
            votes_from: if is_again { opened + silence } else { opened },
        })
    }

    /// Whether openraft still runs for this replica. openraft stops when the log fails, or when the log refuses an
    /// entry that openraft had counted on. The node then opens the replica again.
    pub(crate) fn runs(&self) -> bool {
        self.raft.metrics().borrow_watched().running_state.is_ok()
    }

    /// Initialises a new group with `members` as its voters. Does nothing if the group is initialised already.
    pub(crate) async fn begin(&self, members: &[Replica]) {
        let members: BTreeMap<_, _> =
            members.iter().map(|r| (r.id.0, Member { node: r.node })).collect();
        if let Err(error) = self.raft.initialize(members).await {
            tracing::info!(group = %self.id, %error, "the group is initialised already");
        }
    }

    /// Whether the group is initialised. If openraft has stopped, this is true as well, so that no caller
    /// initialises the group.
    pub(crate) async fn has_begun(&self) -> bool {
        self.raft.is_initialized().await.unwrap_or(true)
    }

    pub(crate) fn status(&self) -> GroupStatus {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let state = self.log.log_state();
        let quarantined = self.quarantine();
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

    /// Why this replica can't be trusted: its log is quarantined, or its checkpoint log. `None` if it can.
    pub(crate) fn quarantine(&self) -> Option<String> {
        let own = match self.log.health() {
            Health::Healthy => None,
            Health::Quarantined { reason } => Some(reason),
        };
        own.or_else(|| self.checkpoint_log.as_ref().and_then(CheckpointLog::quarantine))
    }

    /// Id of the leader, if this replica knows one. It is known even if the log of this replica is empty.
    pub(crate) fn leader_replica(&self) -> Option<ReplicaId> {
        self.raft.server_metrics().borrow_watched().current_leader.map(ReplicaId)
    }

    /// Node of the leader, if this replica knows one.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        leader_node(metrics.current_leader, &metrics.membership_config)
    }

    /// Whether there may be acknowledged records that this replica has not applied. That is so if its log holds
    /// entries that it has not applied, or if it hears no leader that would send it new ones.
    pub(crate) fn may_lack_records(&self) -> bool {
        let last = self.log.log_state().last.map_or(0, |last| last.index);
        let leader = self.leader();
        let is_led = leader.is_some_and(|leader| !self.transport.liveness().is_silent(leader));
        !is_led || last >= self.progress.applied()
    }

    /// The term that this replica leads in. An error until the replica has applied all entries of earlier terms,
    /// because until then it may lack acknowledged records.
    pub(crate) fn leading_term(&self) -> Result<u64, Error> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let term = metrics.vote.leader_id.term;
        // openraft may report a leader in a term that this replica has renounced, or while the disk is stalled.
        if self.has_renounced(term) || self.is_stalled(&metrics.membership_config) {
            return Err(Error::NotLeader { leader: None });
        }
        // A leader begins its term with a blank entry. If an entry of this term is applied, all entries before it
        // are, too.
        if metrics.state == ServerState::Leader && self.progress.applied_term() == term {
            return Ok(term);
        }
        let leader = leader_node(metrics.current_leader, &metrics.membership_config);
        Err(Error::NotLeader { leader })
    }

    /// Whether this replica has renounced the leadership in `term`, for a leadership transfer or because its disk
    /// stalled.
    fn has_renounced(&self, term: u64) -> bool {
        self.renounced_term.load(Ordering::Acquire) >= term
    }

    /// Whether this replica must not lead because this node's disk is stalled. The only voter of a group leads even
    /// then, because no other replica could take over.
    fn is_stalled(&self, membership: &StoredMembership) -> bool {
        self.transport.is_stalled() && !self.votes_alone(membership)
    }

    /// Returns when this node's disk is stalled and other replicas may lead. Then it is useless to wait for this
    /// replica any longer. Never returns for the only voter of a group.
    pub(crate) async fn until_stalled(&self) {
        let metrics = self.raft.server_metrics();
        let votes_alone = self.votes_alone(&metrics.borrow_watched().membership_config);
        if votes_alone {
            return std::future::pending().await;
        }
        self.transport.until_stalled().await;
    }

    /// Whether this replica is the only voter of the group.
    pub(crate) fn votes_alone(&self, membership: &StoredMembership) -> bool {
        membership.voter_ids().eq([self.replica.0])
    }

    pub(crate) fn not_leader(&self) -> Error {
        Error::NotLeader { leader: self.leader() }
    }

    /// Whether this replica leads and holds the leader lease. Then it has applied everything that was acknowledged
    /// before this call. Sends no request, so false only means that this is not known.
    pub(crate) fn leads_alone(&self) -> bool {
        let Ok(term) = self.leading_term() else { return false };
        let metrics = self.raft.server_metrics();
        let is_stalled = self.is_stalled(&metrics.borrow_watched().membership_config);
        // The lease counts only if this replica had not renounced its term by the time at which the lease was
        // checked. So this is checked last.
        self.holds_lease() && !self.has_renounced(term) && !is_stalled
    }

    /// Waits until this replica has applied everything that was acknowledged before this call. Returns the first
    /// index that is not applied. Works on the leader only.
    ///
    /// If the leader lease holds, no request is needed. Otherwise a majority must confirm that this replica still
    /// leads (Raft's ReadIndex).
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
        // `applied` counts only if this replica still led alone when it was read. So this is checked after reading
        // it.
        let metrics = self.raft.server_metrics();
        let is_stalled = self.is_stalled(&metrics.borrow_watched().membership_config);
        if self.has_renounced(term) || is_stalled { Err(self.not_leader()) } else { Ok(applied) }
    }

    /// Whether this replica leads and no other replica can lead now (the leader lease).
    ///
    /// A majority of the voters must each have given two proofs:
    /// - The voter acknowledged an append or a heartbeat of this leader which was sent less than the election timeout
    ///   ago. Until that timeout it starts no election by itself, and helps nobody else's.
    /// - Since then, its node has run the same process and has not declared this node silent: it answered a ping that
    ///   was sent within the leader lease, and the lease is shorter than the silence limit. An acknowledgement of an
    ///   earlier process counts for nothing, because a disk that was wiped since then has forgotten it.
    ///
    /// Then another replica takes over only if this replica told it to start an election. Before that, this replica
    /// renounced its term, and the callers check that.
    fn holds_lease(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let Some(acknowledged) = &metrics.heartbeat else { return false };
        if metrics.state != ServerState::Leader {
            return false;
        }
        if planted(Bug::LeaseAfterPause) {
            return metrics.last_quorum_acked.is_some();
        }
        let membership = &metrics.membership_config;
        // A margin below the election timeout.
        let recent = self.settings.election_timeout.mul_f64(0.8);
        let liveness = self.transport.liveness();
        let now = Instant::now();
        let follows = |voter: ReplicaId, node| {
            let sent = acknowledged.get(&voter.0).copied().flatten();
            let sent = sent.and_then(|sent| now.checked_sub(sent.elapsed()));
            sent.is_some_and(|sent| {
                now - sent < recent
                    && liveness.answered_within(node, self.settings.leader_lease, sent)
            })
        };
        self.votes_alone(membership) || self.is_majority(membership, true, follows)
    }

    /// Whether pings show that the nodes of a majority still follow this leader. This is weaker than the lease: a
    /// node counts as a follower also if it is known for less than the silence limit and has not answered yet.
    pub(crate) fn has_followers(&self) -> bool {
        let metrics = self.raft.server_metrics();
        let membership = Arc::clone(&metrics.borrow_watched().membership_config);
        let liveness = self.transport.liveness();
        let follows = |_, node| !liveness.may_have_left(node, self.settings.leader_lease);
        self.is_majority(&membership, true, follows)
    }

    /// Refuses new entries on a leader that may have lost its followers. A majority would never accept such an
    /// entry, but the entry would stay on this node's disk until a new leader truncates it. By then the new leader
    /// may encrypt the records of the shard, while this entry is in plain text (ADR-0020). If pings do not show a
    /// majority, the leader asks the majority.
    pub(crate) async fn check_followed(&self) -> Result<(), Error> {
        if self.has_followers() {
            return Ok(());
        }
        self.read_index().await.map(|_| ())
    }

    /// Whether the voters that count are a majority. `own` says whether this replica counts, and `counts` says it
    /// for each other voter and its node. During a change of the membership both sets of voters need a majority.
    pub(crate) fn is_majority(
        &self,
        membership: &StoredMembership,
        own: bool,
        counts: impl Fn(ReplicaId, NodeId) -> bool,
    ) -> bool {
        let is_counted = |voter: &&u64| match membership.get_node(voter) {
            _ if **voter == self.replica.0 => own,
            Some(member) => counts(ReplicaId(**voter), member.node),
            None => false,
        };
        let configs = membership.get_joint_config();
        configs.iter().all(|voters| voters.iter().filter(is_counted).count() > voters.len() / 2)
    }

    /// Proposes `payloads` in order. The outcomes come in the same order, each once its entry is applied.
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

    /// Refuses a payload of `bytes` bytes if one entry can't hold it. The log would refuse it too, but only after
    /// openraft counts on the entry. Then the leader's replica would stop, and the next leader's replica at the
    /// caller's next attempt.
    pub(crate) fn check_fits(&self, bytes: usize) -> Result<(), Error> {
        let limit = self.log.payload_limit();
        if bytes <= limit {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "{bytes} bytes do not fit into a segment of this node's log, which takes {limit} (segment-bytes)"
        )))
    }

    /// Proposes one payload and waits until its entry is applied.
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

    /// Whether this replica can purge entries below the trim horizon now.
    pub(crate) fn trim_is_behind(&self) -> bool {
        let purged = self.log.log_state().purged.map_or(0, |purged| purged.index + 1);
        purged < self.progress.trim_horizon()
            && self.purge_target().is_some_and(|target| purged <= target)
    }

    /// The last entry that this replica may purge: the newest checkpoint below the trim horizon, or the last entry
    /// of the snapshot. The state as of that entry must be stored, because it becomes the snapshot.
    fn purge_target(&self) -> Option<u64> {
        let last_trimmed = self.progress.trim_horizon().checked_sub(1)?;
        let kept = self.progress.checkpoints().newest_up_to(last_trimmed);
        kept.map(|kept| kept.index).or_else(|| Some(self.snapshot()?.index))
    }

    /// The last entry that the snapshot covers.
    fn snapshot(&self) -> Option<LogId> {
        self.log.state(StateKey::Snapshot).ok().flatten().and_then(checkpoint_log_id)
    }

    /// Makes the snapshot below the trim horizon, then purges the log up to the snapshot. Upkeep calls this again
    /// and again, because openraft may drop a trigger, and a crash may come between the two steps.
    pub(crate) async fn follow_trim_horizon(&self) {
        if !self.trim_is_behind() {
            return;
        }
        let Some(target) = self.purge_target() else { return };
        // The snapshot comes first: a follower that lacks purged entries gets the snapshot instead of them.
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

    /// Whether this replica leads and the membership of the group is not what the catalog wants.
    pub(crate) fn differs_from(&self, wanted: &[Replica]) -> bool {
        if self.leading_term().is_err() || wanted.is_empty() {
            return false;
        }
        let metrics = self.raft.server_metrics();
        let membership = Arc::clone(&metrics.borrow_watched().membership_config);
        let ids: BTreeSet<u64> = wanted.iter().map(|replica| replica.id.0).collect();
        membership.nodes().count() != ids.len() || *membership.get_joint_config() != [ids]
    }

    /// Changes the membership of the group to `wanted`, which the catalog wants. Works on the leader only.
    ///
    /// Order: new replicas become learners. Once they have caught up, the leadership moves to a replica that stays.
    /// Then the voters are changed. Upkeep calls this again until the membership is as wanted.
    pub(crate) async fn follow_membership(&self, wanted: &[Replica]) {
        if !self.differs_from(wanted) {
            return;
        }
        let metrics = self.raft.server_metrics();
        let membership = Arc::clone(&metrics.borrow_watched().membership_config);
        // A learner receives entries but does not vote. So it can catch up without making a majority harder to
        // reach.
        for replica in wanted.iter().filter(|r| membership.get_node(&r.id.0).is_none()) {
            let member = Member { node: replica.node };
            if let Err(error) = self.raft.add_learner(replica.id.0, member, false).await {
                tracing::warn!(group = %self.id, replica = %replica.id, %error, "add learner");
                return;
            }
        }
        let ids: BTreeSet<u64> = wanted.iter().map(|replica| replica.id.0).collect();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        // Only the new voters have to catch up. A voter that is away must not delay the change.
        if !self.have_caught_up(ids.difference(&voters)) {
            return;
        }
        // If this leader is to leave the group, a replica that stays takes over first and continues the change.
        // Otherwise the group would have no leader until the others notice.
        if !ids.contains(&self.replica.0) {
            let stays = |node| wanted.iter().any(|replica| replica.node == node);
            match self.transfer_leadership(stays).await {
                // No replica that stays can lead now. The change goes on all the same.
                LeadershipTransfer::NoTarget => {}
                LeadershipTransfer::Done | LeadershipTransfer::NotYet => return,
            }
        }
        match self.raft.change_membership(ids, false).await {
            Ok(_) => tracing::info!(group = %self.id, ?wanted, "membership changed"),
            Err(error) => tracing::warn!(group = %self.id, %error, "change membership"),
        }
    }

    /// Whether each of `replicas` lacks at most `NEAR` entries. It gets those soon.
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

    /// The voters of the group, if this replica leads and no change of them is under way: the newest membership has
    /// one set of voters, and it is applied.
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

    /// Stands for election if the group has no leader, or if the leader's node is `gone`. Waits before that. Each
    /// voter waits for a different time, so that the voters do not compete.
    pub(crate) async fn stand_if_leaderless(&self, gone: impl Fn(NodeId) -> bool) {
        let Some(rank) = self.election_rank(&gone) else { return };
        // This voter lets the others go first, and they need its vote. So it releases the lost leader before it
        // waits.
        if !self.suits_as_leader() {
            self.release_lost_leader().await;
        }
        tokio::time::sleep(self.settings.election_stagger * rank).await;
        if self.election_rank(&gone).is_none() {
            return;
        }
        self.release_lost_leader().await;
        self.metrics.elections.increment();
        let _stopping = self.raft.trigger().elect(true).await;
    }

    /// Ends the lease that the lost leader holds at this replica, so that this replica can vote at once. openraft
    /// does that when it handles a leadership transfer. This transfer names the lost leader itself, so no replica
    /// starts an election because of it.
    pub(crate) async fn release_lost_leader(&self) {
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

    /// Whether this node's disk takes records and its wall clock is right.
    fn suits_as_leader(&self) -> bool {
        self.log.disk().takes_records() && !self.has_wrong_clock()
    }

    /// Whether the group needs a new leader, and this replica could become it.
    pub(crate) fn is_leaderless(&self, gone: impl Fn(NodeId) -> bool) -> bool {
        self.election_rank(&gone).is_some()
    }

    /// Rank of this voter in the order in which the voters start an election. `None` if the group needs no new
    /// leader, or if this replica can't lead.
    fn election_rank(&self, gone: &impl Fn(NodeId) -> bool) -> Option<u32> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
        let leader = leader_node(metrics.current_leader, &metrics.membership_config);
        let own = voters.iter().position(|voter| *voter == self.replica.0)?;
        // After a restart the stored vote still names the leader from before the restart. If that is this replica,
        // it does not lead any more.
        let is_gone = leader
            .is_some_and(|leader| leader == self.node || gone(leader) || self.is_leader_unheard());
        // A new leader first writes an entry, and a full disk refuses it. A candidate whose disk is stalled can't
        // save its vote.
        let cannot = metrics.state == ServerState::Leader
            || Instant::now() < self.votes_from
            || self.log.disk() == DiskState::Full
            || self.transport.is_stalled();
        if cannot || !(leader.is_none() || is_gone) {
            return None;
        }
        // The order is rotated by the group id, so that the surviving nodes share the groups of a lost node.
        let turn = usize::try_from(self.id.0 % voters.len() as u64).unwrap_or(0);
        // A replica whose disk takes no records, or whose clock is wrong, comes after all others. It still takes
        // part, because it may be the only replica that has all committed entries.
        let last = if self.suits_as_leader() { 0 } else { voters.len() };
        u32::try_from((own + turn) % voters.len() + last).ok()
    }

    /// Whether the leader that the stored vote names has sent nothing since this replica was opened, although there was
    /// time for a heartbeat. The node of such a leader may be alive while its replica is gone, because its disk was
    /// wiped. If the leader is alive after all, the other voters hear it and refuse the pre-vote.
    fn is_leader_unheard(&self) -> bool {
        let longest = self.settings.heartbeat_interval + self.settings.heartbeat_interval / 3;
        !self.heard_leader.load(Ordering::Relaxed) && self.opened.elapsed() > longest
    }

    /// Receives a stream of appends from another node. Gives one response for each append, in order.
    ///
    /// If the disk has no free space for the records of an append, the append is refused here, before openraft sees
    /// it. openraft counts on every entry that it has seen. A refused append changes nothing: this replica has
    /// promised nothing and lost nothing, and the leader sends the append again.
    pub(crate) fn receive_appends(
        &self,
        requests: mpsc::UnboundedReceiver<pb::AppendEntries>,
    ) -> BoxStream<'static, ResponseBody> {
        let (group, log) = (self.id, Arc::clone(&self.log));
        let holds = self.holds;
        let lacks_writable_majority = Arc::clone(&self.lacks_writable_majority);
        let refused = Arc::new(AtomicBool::new(false));
        let (noticed, heard_leader) = (Arc::clone(&refused), Arc::clone(&self.heard_leader));
        let requests = futures::stream::unfold(requests, move |mut requests| {
            let (log, is_refused) = (Arc::clone(&log), Arc::clone(&noticed));
            let lacks_writable_majority = Arc::clone(&lacks_writable_majority);
            let heard_leader = Arc::clone(&heard_leader);
            async move {
                let message = requests.recv().await?;
                heard_leader.store(true, Ordering::Relaxed);
                let lacks_writable_majority = lacks_writable_majority.load(Ordering::Relaxed);
                let last = log.log_state().last;
                if refuses(log.disk(), lacks_writable_majority, holds, last, &message) {
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
            let reason = || ResponseBody::Failed(format!("group {group}: {NO_FREE_SPACE}"));
            refused.load(Ordering::Relaxed).then(reason)
        });
        answers.fuse().chain(refusal.filter_map(std::future::ready)).boxed()
    }

    /// Handles any other request of another node.
    pub(crate) async fn receive(&self, body: RequestBody) -> ResponseBody {
        let answer = match body {
            RequestBody::Vote(_) | RequestBody::PreVote(_) if Instant::now() < self.votes_from => {
                Err("the replica was opened again a moment ago, and gives no vote yet".into())
            }
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
            RequestBody::SnapshotPart(part) => self.receive_part(part).await,
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
        self.heard_leader.store(true, Ordering::Relaxed);
        let request = append_request(message).map_err(|e| e.to_string())?;
        let prev = request.prev_log_id;
        let answer = self.raft.append_entries(request).await.map_err(|e| e.to_string())?;
        Ok(append_reply(match answer {
            AppendEntriesResponse::Success => Ok(prev),
            AppendEntriesResponse::PartialSuccess(last) => Ok(last),
            AppendEntriesResponse::Conflict => {
                let prev = prev.ok_or("a conflict without an entry")?;
                Err(StreamAppendError::Conflict(prev))
            }
            AppendEntriesResponse::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote)),
        }))
    }

    async fn receive_part(&self, message: pb::SnapshotPart) -> Result<ResponseBody, String> {
        let last = message.last.map(|last| LogId { term: last.term, index: last.index });
        let (log, last) = self.checkpoint_log.as_ref().zip(last).ok_or("not a table group")?;
        let received = log.receive(last, message.number, message.part).await;
        received.map_err(|error| error.to_string())?;
        Ok(ResponseBody::PartStored(pb::Empty {}))
    }

    async fn receive_snapshot(&self, message: pb::InstallSnapshot) -> Result<ResponseBody, String> {
        let mut data = message.checkpoint;
        let mut checkpoint: pb::Checkpoint =
            prost::Message::decode(data.clone()).map_err(|e| e.to_string())?;
        if let Some(parts) = &mut checkpoint.parts {
            // The row of the leader names entries of the leader's checkpoint log.
            let last = message.last.map(|last| LogId { term: last.term, index: last.index });
            let (log, last) = self.checkpoint_log.as_ref().zip(last).ok_or("not a table group")?;
            *parts = log.received(last, parts.count).await.ok_or("parts are missing")?;
            data = prost::Message::encode_to_vec(&checkpoint).into();
        }
        let membership = StoredMembership::new(
            checkpoint.membership_log_id.map(raft_log_id_of),
            membership_of(checkpoint.membership.unwrap_or_default()),
        );
        let meta = SnapshotMeta {
            last_log_id: message.last.map(raft_log_id_of),
            last_membership: membership,
        };
        let vote = raft_vote_of(message.vote.unwrap_or_default());
        let snapshot = Snapshot { meta, snapshot: data };
        let installed = self.raft.install_full_snapshot(vote, snapshot).await;
        let installed = installed.map_err(|e| e.to_string())?;
        Ok(ResponseBody::Snapshot(vote_message(&installed.vote)))
    }

    /// Stops openraft for this replica. The log on disk stays.
    pub(crate) async fn stop(&self) {
        if let Some(log) = &self.checkpoint_log {
            // The replica may be opened again: a checkpoint that is being written must not go on beside it.
            log.give_up();
        }
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

/// Settings of openraft for a group. Settings that are not named here keep openraft's defaults.
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
        // After a restart the log of a leader may be shorter than what it had committed. Such a leader must not
        // continue in its term: new entries would get log ids that exist already, and the logs would diverge
        // silently.
        enable_leader_restore: Some(settings.unsafe_leader_restore),
        // The log is the data: only a replicated trim may remove an entry.
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
