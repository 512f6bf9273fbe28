//! The bugs. Each is one mistake at the place where a developer would make it.
//!
//! The comment of each bug says: what is wrong and where; the promise that it breaks; and how the harness brings it
//! out (workload and faults, then what the history shows). A name is chosen by `ANABRANCH_PLANTED_BUG`.
//!
//! `scripts/planted_tests.sh` has for most bugs a test that passes without the bug and fails with it.

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    /// `ack-before-fsync`: the segment writer reports a round as durable although it has not synced it. It never
    /// syncs a round (`storage/src/segment/round.rs`).
    ///
    /// Promise: a put is acknowledged when a majority has synced it.
    ///
    /// Harness: append at any rate, then power loss of all nodes at the same moment, a few seconds after the start.
    /// SIGKILL does not show it, because the kernel still has the writes. Power loss of one node hardly shows it,
    /// because the others send the entries again. Seen: acknowledged records are missing at the end, and their
    /// sequence numbers may carry other records.
    AckBeforeFsync,
    /// `skip-freeze`: the controller takes the end of a parent as it is now, and commits without a FREEZE in its log,
    /// 300 ms later. The FREEZE follows 300 ms after that (`node/src/catalog_leader/reshard.rs`).
    ///
    /// Promise: no record is acknowledged behind the end of a closed shard.
    ///
    /// Harness: several writers that append without a pause while shards split and merge; no fault is needed. At the
    /// end, read each closed shard from TRIM_HORIZON with small pages (`Limit` 1 to 10): a page that passes the
    /// ending is the last one, so a large page may hide the loss. `EndingSequenceNumber` is rounded up and does not
    /// show it. Seen: acknowledged records of the parent are in no page. With packets from the catalog's leader to
    /// one gateway delayed by more than 300 ms, readers at the tip miss records too, and a record of a key is in the
    /// parent although an earlier acknowledged record of the key is in the child.
    SkipFreeze,
    /// `open-children-early`: the children of a split or merge take records from PREPARE on, and gateways send
    /// records to them (`shard/src/state.rs`, `client/src/view.rs`).
    ///
    /// Promise: a child has only records that came after the last record of its parents, and an aborted job leaves
    /// nothing behind.
    ///
    /// Harness: writers that send the records of one key through several gateways in turn, each after the last was
    /// acknowledged, while shards split and merge. Delay the packets from the catalog's leader to one gateway, so
    /// that its version of the catalog is older. Seen: a record of a key is in the parent although an earlier
    /// acknowledged record of the key is in the child. To see losses, let jobs abort: cut the catalog's leader off
    /// from the parent's leader for more than 5 s. Seen: acknowledged records are in no shard at the end.
    OpenChildrenEarly,
    /// `serve-uncommitted`: reads return entries that are in the replica's log, whether they are committed or not
    /// (`replica/src/reader.rs`).
    ///
    /// Promise: a reader sees only records that stay.
    ///
    /// Harness: append and poll at a high rate through every gateway, and cut the leader off from the other nodes,
    /// again and again. Seen: a reader saw a record that is not in the final log, or another record at the same
    /// sequence number.
    ServeUncommitted,
    /// `forget-window`: the deduplication window knows no call (`shard/src/window.rs`).
    ///
    /// Promise: a retry with the same invocation id writes no second record.
    ///
    /// Harness: SDK retries with the same invocation id. Kill or pause leaders, or drop packets from gateways to
    /// clients. A client that always sends each call twice, the second time after the response, needs no fault. Seen:
    /// two records of one call.
    ForgetWindow,
    /// `repropose-on-timeout`: after an append with an unknown outcome, the cluster's client sends the records again
    /// without the name of the call (`client/src/shard_call.rs`).
    ///
    /// Promise: without a retry of the client, one call writes one record.
    ///
    /// Harness: puts without a retry of the client, through gateways that are not on the leader's node. Pause the
    /// leader's node, or cut it off from one side only: requests arrive and responses do not. Seen: one write at two
    /// sequence numbers although the client sent it once.
    ReproposeOnTimeout,
    /// `drop-tail`: at the opening, the log ends at the first frame that is bad, whatever is behind it or in the tail
    /// file. The rest is overwritten. There is no quarantine and no entry repair
    /// (`storage/src/segment/recovery.rs`).
    ///
    /// Promise: a damaged log is never cut silently.
    ///
    /// Harness: append for some seconds, SIGKILL all nodes, overwrite 300 bytes in the middle of the written part of
    /// the newest segment on all of them, and start them again. The damage must be in the part that is not in the
    /// index: that is all since the last clean stop or full segment (128 MiB by default). The right server refuses to
    /// go on from these logs. If the undamaged node is elected, damage of two nodes of three shows nothing. With
    /// damage of one node: the schedule of [`Bug::KeepIdentity`], with the damage in the place of the wiped disk. A
    /// leader that goes on notices the loss (`replica/src/acknowledged.rs`). Seen: acknowledged records are missing
    /// at the end, although no node reported damage.
    DropTail,
    /// `lease-after-pause`: a leader counts each response of a majority as a lease that never ends
    /// (`replica/src/group.rs`).
    ///
    /// Promise: a read after an acknowledgement shows the record, and only the leader reports the tip.
    ///
    /// Harness: cut the leader off from the other nodes but not from its clients, for 5 s or longer, append through
    /// the other gateways, and poll through the gateway of the old leader. That shows it in every try. A pause of the
    /// leader's node of 3 s or longer shows it only for some milliseconds after the pause. In both cases set
    /// `tip-wait-ms = 0` or read through gRPC without a wait, because GetRecords at the tip waits and reads again.
    /// Seen: a read at the old leader says that it is at the tip while an acknowledged record is ahead.
    LeaseAfterPause,
    /// `follower-tip`: a replica that does not lead reports its own end as the tip of the shard
    /// (`replica/src/shard_replica.rs`).
    ///
    /// Promise: a read that says `MillisBehindLatest` = 0 has seen every record that was acknowledged before it.
    ///
    /// Harness: append through the majority and poll through a gateway that is cut off together with a replica that
    /// does not lead, for more than the half second after which reads go to any replica. Seen: `MillisBehindLatest`
    /// is 0 while an acknowledged record is ahead.
    FollowerTip,
    /// `keep-identity`: a node whose disk is empty or went back in time keeps the ids of its replicas
    /// (`catalog/src/nodes.rs`, `node/src/bootstrap.rs`, `node/src/went_back.rs`).
    ///
    /// Promise: a replica that may have forgotten votes and entries takes no part (ADR-0007).
    ///
    /// Harness, with three nodes: cut C off and append, so that A and B have the records. SIGKILL A and B. Wipe the
    /// disk of B, or restore an older copy of it. Heal C, and start B. Append through B and C for some seconds, then
    /// start A. The right server has no leader until A is back. Seen: acknowledged records are missing, new records
    /// have their sequence numbers, or the replicas differ at the end.
    KeepIdentity,
    /// `trim-by-wall-clock`: records expire by the own clock of a node (`transport/src/clocks.rs`).
    ///
    /// Promise: a wrong clock neither trims nor hides a record (ADR-0024).
    ///
    /// Harness: the workload of retention. Set the clock of one node, the leader's, ahead by more than the retention
    /// for some seconds; a checkpoint must be older than that (it comes each minute with new records). Seen: records
    /// within the retention are missing at the end, or a reader at that node skips them.
    TrimByWallClock,
    /// `stale-catalog`: a control operation runs on the catalog's version of its node, and does not ask the catalog's
    /// leader for the newest one (`gateway/src/newest.rs`).
    ///
    /// Promise: control operations are linearizable (ADR-0028).
    ///
    /// Harness: registers and sets in the catalog through several gateways. Cut one gateway's node off from the
    /// others while others change tags, or delay its packets. Seen: a read that began after an acknowledged change
    /// does not show the change.
    StaleCatalog,
    /// `keep-revoked`: a gateway authenticates with one version of the catalog for 20 s, whatever changes meanwhile
    /// (`gateway/src/auth.rs`). A key that this version does not know is still looked up in the newest one.
    ///
    /// Promise: once a removal is acknowledged and all gateways have it, nothing is allowed by what was removed.
    ///
    /// Harness: users, keys and policies of users, with calls through each gateway all the time, shortly before and
    /// after a removal; no fault is needed. Policies of streams are not kept. Seen: a call is allowed after its key
    /// was deleted or disabled, or after the policy that allowed it was removed.
    KeepRevoked,
    /// `forget-vote`: a replica answers a vote request at once and writes its vote five seconds later
    /// (`replica/src/log_adapter.rs`).
    ///
    /// Promise: a term has one leader.
    ///
    /// Harness: append all the time, and SIGKILL all nodes about one to four seconds after an election (so after a
    /// kill or pause of a leader), then start them again; repeat. Two leaders of one term write different entries
    /// with the same log id. Seen: replicas differ at the end, acknowledged records are missing or two records have
    /// one sequence number, or a replica finds its log inconsistent and stops.
    ForgetVote,
    /// `reorder-batch`: when a leader proposes two or more batches together, it swaps the first two of them, but not
    /// the callers that wait for them (`replica/src/proposer.rs`).
    ///
    /// Promise: the sequence number in a response is that of the caller's record.
    ///
    /// Harness: many writers to one shard at the same time; no fault is needed. Seen: the record at an acknowledged
    /// sequence number differs from the record that was put.
    ReorderBatch,
    /// `stale-table-read`: a replica of the table group that believes to lead answers reads from what it has applied,
    /// without asking the others (`replica/src/table_replica.rs`).
    ///
    /// Promise: a read of an item shows every write that was acknowledged before it.
    ///
    /// Harness: compare-and-set, puts and reads of some items through every gateway. Cut the leader of the table group
    /// off from the other nodes, but not from its clients, for some seconds. Seen: a read at the old leader shows an
    /// old value.
    StaleTableRead,
    /// `ignore-group-epoch`: the coordinator of a consumer group keeps the checkpoint of any member for any epoch
    /// (`consumers/src/group.rs`).
    ///
    /// Promise: a former owner of a shard stores no checkpoint.
    ///
    /// Harness: members that pause for longer than their session time, and members that join again and send checkpoints
    /// with former epochs; no fault is needed. Seen: a checkpoint with an old epoch succeeds after another owner acted.
    IgnoreGroupEpoch,
}

#[cfg(feature = "planted-bugs")]
impl Bug {
    /// All bugs.
    pub const ALL: &'static [Self] = &[
        Self::AckBeforeFsync,
        Self::SkipFreeze,
        Self::OpenChildrenEarly,
        Self::ServeUncommitted,
        Self::ForgetWindow,
        Self::ReproposeOnTimeout,
        Self::DropTail,
        Self::LeaseAfterPause,
        Self::FollowerTip,
        Self::KeepIdentity,
        Self::TrimByWallClock,
        Self::StaleCatalog,
        Self::KeepRevoked,
        Self::ForgetVote,
        Self::ReorderBatch,
        Self::StaleTableRead,
        Self::IgnoreGroupEpoch,
    ];

    /// The name of the bug in `ANABRANCH_PLANTED_BUG`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AckBeforeFsync => "ack-before-fsync",
            Self::SkipFreeze => "skip-freeze",
            Self::OpenChildrenEarly => "open-children-early",
            Self::ServeUncommitted => "serve-uncommitted",
            Self::ForgetWindow => "forget-window",
            Self::ReproposeOnTimeout => "repropose-on-timeout",
            Self::DropTail => "drop-tail",
            Self::LeaseAfterPause => "lease-after-pause",
            Self::FollowerTip => "follower-tip",
            Self::KeepIdentity => "keep-identity",
            Self::TrimByWallClock => "trim-by-wall-clock",
            Self::StaleCatalog => "stale-catalog",
            Self::KeepRevoked => "keep-revoked",
            Self::ForgetVote => "forget-vote",
            Self::ReorderBatch => "reorder-batch",
            Self::StaleTableRead => "stale-table-read",
            Self::IgnoreGroupEpoch => "ignore-group-epoch",
        }
    }

    /// The bug of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}
