//! The calls of clients and their results.
//!
//! In a file the name of the call is the member `f`, and the struct below is the member `value`: the first struct of
//! a row in the invocation, the second one in the event `ok`.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::numbers::{HashKey, HashRange, Millis, NotADecimal, Seq};
use super::text::{ShardId, StreamName, Uid, serde_as_text};

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident: $call:ident => $answer:ident;)*) => {
        /// The name of a call.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Function { $($(#[$doc])* $name,)* }

        impl Function {
            /// All calls.
            pub const ALL: &[Self] = &[$(Self::$name),*];
        }

        /// A call with its arguments.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "f", content = "value", rename_all = "kebab-case")]
        pub enum Call { $($(#[$doc])* $name($call),)* }

        /// The result of a call that succeeded.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "f", content = "value", rename_all = "kebab-case")]
        pub enum Answer { $($(#[$doc])* $name($answer),)* }

        impl Call {
            /// The name of the call.
            pub fn function(&self) -> Function {
                match self { $(Self::$name(_) => Function::$name,)* }
            }
        }

        impl Answer {
            /// The name of the call that has this result.
            pub fn function(&self) -> Function {
                match self { $(Self::$name(_) => Function::$name,)* }
            }
        }

        $(impl From<$call> for Call { fn from(call: $call) -> Self { Self::$name(call) } })*
    };
}

calls! {
    /// Puts one record.
    Put: Put => Stored;
    /// Puts several records in one call. Each of them is stored or refused on its own.
    Puts: Puts => PutsResults;
    /// Begins a chain of reads at a position of a shard.
    Iter: Iter => Done;
    /// Reads the next page of a chain. An event of SubscribeToShard and a page of gRPC are recorded as such a read.
    Get: Get => Page;
    /// Lists the shards of a stream.
    Shards: ListShards => Shards;
    /// Splits a shard in two.
    Split: Split => Done;
    /// Merges two adjacent shards.
    Merge: Merge => Done;
    /// Changes the number of shards.
    Scale: Scale => Done;
    /// Creates a stream. A history should not use the name of a stream again: then its records are not checked.
    Create: Create => Done;
    /// Deletes a stream.
    Delete: Delete => Done;
    /// Asks for the status of a stream.
    Describe: Describe => StreamStatus;
    /// Sets the retention of a stream.
    Retention: Retention => Done;
    /// Writes a register of the catalog.
    Write: Write => Done;
    /// Reads a register of the catalog.
    Read: Read => ReadValue;
    /// Writes a register if it has the expected value.
    Cas: CompareAndSet => Swapped;
    /// Reads all items that hold one register, after the last heal. A transaction writes all of them.
    Copies: ReadCopies => Copies;
    /// Adds a member to a set of the catalog. The call fails with `exists` if the member is there.
    Add: AddMember => Done;
    /// Removes a member from a set of the catalog. The call fails with `absent` if the member is not there.
    Remove: RemoveMember => Done;
    /// Lists the members of a set of the catalog.
    List: ListSet => Members;
    /// Allows an action to a user.
    Grant: Grant => Done;
    /// Takes the right to an action from a user.
    Revoke: Revoke => Done;
    /// Tries an action as a user.
    Attempt: Attempt => Attempted;
    /// Takes the lease of a shard for a consumer application.
    LeaseTake: LeaseTake => LeaseTaken;
    /// Stores how far the owner of a lease has read.
    Checkpoint: Checkpoint => Done;
    /// Says that the owner of a lease processed a record.
    Process: Process => Done;
    /// The owner of a lease keeps it.
    Renew: Renew => Done;
    /// Reads all leases of a consumer application.
    Leases: ListLeases => Leases;
    /// Joins a consumer group, tells it that the member is alive, or leaves it.
    Membership: Membership => Done;
    /// Waits for the shards that a consumer group gives to a member.
    Assigned: WatchShards => Assigned;
    /// The first checkpoint of a lease after the last heal.
    RecoverLease: RecoverLease => Recovered;
    /// Reads a shard from its oldest record to its end through one gateway, after the last heal.
    Drain: Drain => Drained;
    /// Asks one node for the state of its replica of a shard.
    Dump: Dump => Dumped;
    /// The first put and read of a shard through one gateway after the last heal.
    Recover: Recover => Recovered;
}

/// A result without content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}

/// Puts one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// The stream.
    pub stream: StreamName,
    /// The identity in the payload.
    pub uid: Uid,
    /// The partition key.
    pub pk: String,
    /// The explicit hash key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ehk: Option<HashKey>,
    /// `SequenceNumberForOrdering`: the record must come after this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ord: Option<Seq>,
    /// The API that takes the record.
    #[serde(default)]
    pub api: Api,
    /// The largest number of attempts. Most workloads make one.
    pub budget: u32,
    /// Whether all attempts share one invocation id. Then the server promises at most one copy.
    #[serde(default)]
    pub named: bool,
}

/// The API of a put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Api {
    /// The Kinesis API.
    #[default]
    PutRecord,
    /// The native API.
    Grpc,
}

/// Where a record was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The shard.
    pub shard: ShardId,
    /// The position in the shard.
    pub seq: Seq,
    /// How many attempts the client made.
    pub attempts: u32,
}

/// Puts several records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Puts {
    /// The stream.
    pub stream: StreamName,
    /// The records, in the order of the request.
    pub records: Vec<Entry>,
    /// The largest number of attempts.
    pub budget: u32,
    /// Whether all attempts share one invocation id.
    #[serde(default)]
    pub named: bool,
}

/// One record of a [`Puts`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The identity in the payload.
    pub uid: Uid,
    /// The partition key.
    pub pk: String,
    /// The explicit hash key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ehk: Option<HashKey>,
}

/// The results of a [`Puts`], in the order of its records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutsResults {
    /// One result for each record.
    pub results: Vec<EntryResult>,
    /// How many attempts the client made.
    pub attempts: u32,
}

/// The result of one record of a [`Puts`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryResult {
    /// The record is stored.
    Stored {
        /// The shard.
        shard: ShardId,
        /// The position in the shard.
        seq: Seq,
    },
    /// No attempt stored the record. If an earlier attempt has an unknown outcome, the result is [`Self::Unknown`].
    Refused {
        /// The error of the service.
        err: String,
    },
    /// The record may be stored.
    Unknown {
        /// The error of the service.
        err: String,
    },
}

/// Begins a chain of reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Iter {
    /// The stream.
    pub stream: StreamName,
    /// The shard.
    pub shard: ShardId,
    /// The number that the harness gives the chain. No other chain of the history has it.
    pub chain: u64,
    /// The position. In a file the members `type` and `at`.
    #[serde(flatten)]
    pub start: IterStart,
}

/// The start of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "at", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum IterStart {
    /// The oldest record.
    TrimHorizon,
    /// Behind the newest record.
    Latest,
    /// At this record.
    AtSequenceNumber(Seq),
    /// Behind this record.
    AfterSequenceNumber(Seq),
    /// At the first record that arrived at this time or later.
    AtTimestamp(Millis),
}

/// Reads the next page of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Get {
    /// The chain.
    pub chain: u64,
    /// The API of the read.
    #[serde(default)]
    pub api: GetApi,
}

/// The API of a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GetApi {
    /// GetRecords.
    #[default]
    GetRecords,
    /// An event of SubscribeToShard.
    Push,
    /// The native API.
    Grpc,
}

/// The result of a read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The records, in the order of the response.
    pub records: Vec<Record>,
    /// Whether the response has a next iterator. There is none behind the last record of a closed shard.
    pub next: bool,
    /// How far the reader is behind the tip, as the server says it.
    pub behind_ms: u64,
    /// The shards that follow, at the end of a closed shard.
    #[serde(default)]
    pub children: Vec<Child>,
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The position in the shard.
    pub seq: Seq,
    /// The identity in the payload, or `None` if the payload is damaged.
    pub uid: Option<Uid>,
    /// The partition key in the response.
    pub pk: String,
    /// The arrival time in the response.
    pub ts: Millis,
}

/// A child of a closed shard, as a read returned it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// The child.
    pub shard: ShardId,
    /// All parents of the child.
    pub parents: Vec<ShardId>,
    /// The hash keys of the child.
    pub range: HashRange,
}

/// Lists the shards of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListShards {
    /// The stream.
    pub stream: StreamName,
}

/// The shards of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shards {
    /// All pages of the list.
    pub shards: Vec<Shard>,
}

/// A shard as it was listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// The shard.
    pub shard: ShardId,
    /// Its parents: none, one, or two.
    pub parents: Vec<ShardId>,
    /// Its hash keys.
    pub range: HashRange,
    /// `StartingSequenceNumber`.
    pub start: Seq,
    /// `EndingSequenceNumber`. An open shard has none.
    pub end: Option<Seq>,
}

/// Splits a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The stream.
    pub stream: StreamName,
    /// The shard.
    pub shard: ShardId,
    /// The first hash key of the second child.
    pub at: HashKey,
}

/// Merges two shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    /// The stream.
    pub stream: StreamName,
    /// The first shard.
    pub a: ShardId,
    /// The shard that is merged with it.
    pub b: ShardId,
}

/// Changes the number of shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// The stream.
    pub stream: StreamName,
    /// The wanted number of open shards.
    pub count: u32,
}

/// Creates a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// The stream.
    pub stream: StreamName,
    /// How many shards it begins with.
    pub shards: u32,
    /// Its retention. Without it, the default of the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_hours: Option<u64>,
}

/// Deletes a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delete {
    /// The stream.
    pub stream: StreamName,
}

/// Asks for the status of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Describe {
    /// The stream.
    pub stream: StreamName,
}

/// The status of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamStatus {
    /// `StreamStatus`.
    pub status: Status,
    /// `OpenShardCount`.
    pub open_shards: u32,
    /// `RetentionPeriodHours`.
    pub retention_hours: u64,
}

/// The life cycle of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// The stream is being created.
    Creating,
    /// The stream is being deleted.
    Deleting,
    /// The stream can be used and changed.
    Active,
    /// The stream can be used, and a change is under way.
    Updating,
}

/// Sets the retention of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// The stream.
    pub stream: StreamName,
    /// The new retention.
    pub hours: u64,
}

/// Writes a register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The register, for example one tag of a stream.
    pub register: String,
    /// The new value. `None` deletes the register.
    pub value: Option<String>,
}

/// Reads a register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// The register.
    pub register: String,
}

/// The value of a register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadValue {
    /// The value, or `None` if the register is not there.
    pub value: Option<String>,
}

/// Writes a register if it has the expected value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompareAndSet {
    /// The register, for example one item of a table.
    pub register: String,
    /// The expected value. `None` expects that the register is not there.
    pub expected: Option<String>,
    /// The new value.
    pub value: String,
}

/// Whether a register had the expected value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swapped {
    /// Whether the new value is written.
    pub swapped: bool,
    /// What the register has instead of the expected value, if the response says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<ReadValue>,
}

/// Reads all items that hold one register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadCopies {
    /// The register.
    pub register: String,
}

/// The value of each item. `None` for an item that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copies {
    /// The values, always in the same order of the items.
    pub values: Vec<Option<String>>,
}

/// Adds a member to a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddMember {
    /// The set.
    pub set: String,
    /// The member.
    pub member: String,
}

/// Removes a member from a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveMember {
    /// The set.
    pub set: String,
    /// The member.
    pub member: String,
}

/// Lists a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListSet {
    /// The set.
    pub set: String,
}

/// The members of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// The members, in any order.
    pub members: Vec<String>,
}

/// Allows an action to a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The user.
    pub user: String,
    /// The action.
    pub action: String,
}

/// Takes the right to an action from a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoke {
    /// The user.
    pub user: String,
    /// The action.
    pub action: String,
}

/// Tries an action as a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The user.
    pub user: String,
    /// The action.
    pub action: String,
}

/// Whether an action was allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempted {
    /// Whether the action was allowed.
    pub allowed: bool,
}

/// Takes the lease of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseTake {
    /// The consumer application.
    pub app: String,
    /// The stream.
    pub stream: StreamName,
    /// The shard.
    pub shard: ShardId,
    /// The number of the ownership. Each owner has a higher one than the owner before it.
    pub epoch: u64,
    /// The new owner.
    pub owner: String,
}

/// The state of a lease that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseTaken {
    /// The checkpoint that the new owner goes on from. `None` means the oldest record.
    pub checkpoint: Option<CheckpointAt>,
}

/// Stores a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The consumer application.
    pub app: String,
    /// The stream.
    pub stream: StreamName,
    /// The shard.
    pub shard: ShardId,
    /// The epoch of the owner.
    pub epoch: u64,
    /// The last record that was processed.
    pub at: CheckpointAt,
    /// The owner. Empty if the epoch alone identifies it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// Whether the owner goes back on purpose.
    #[serde(default, skip_serializing_if = "is_false")]
    pub back: bool,
    /// Whether the owner gives the lease back with this checkpoint.
    #[serde(default, skip_serializing_if = "is_false")]
    pub release: bool,
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// A checkpoint. The end of the shard is above each sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckpointAt {
    /// The last record that was processed.
    Seq(Seq),
    /// All records of a closed shard were processed. In files `SHARD_END`.
    ShardEnd,
}

const SHARD_END: &str = "SHARD_END";

impl Display for CheckpointAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seq(seq) => seq.fmt(f),
            Self::ShardEnd => f.write_str(SHARD_END),
        }
    }
}

impl FromStr for CheckpointAt {
    type Err = NotADecimal;

    fn from_str(text: &str) -> Result<Self, NotADecimal> {
        if text == SHARD_END { Ok(Self::ShardEnd) } else { text.parse().map(Self::Seq) }
    }
}

serde_as_text!(CheckpointAt);

/// The owner of a lease processed a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The consumer application.
    pub app: String,
    /// The stream.
    pub stream: StreamName,
    /// The shard.
    pub shard: ShardId,
    /// The epoch of the owner.
    pub epoch: u64,
    /// The record.
    pub uid: Uid,
    /// The position of the record.
    pub seq: Seq,
}

/// Keeps a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// The consumer application.
    pub app: String,
    /// The stream.
    pub stream: StreamName,
    /// The shard.
    pub shard: ShardId,
    /// The epoch of the owner.
    pub epoch: u64,
    /// The owner.
    pub owner: String,
}

/// Reads all leases of an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListLeases {
    /// The consumer application.
    pub app: String,
    /// The stream.
    pub stream: StreamName,
}

/// The leases of an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leases {
    /// All leases, as of one moment between the two events of the call.
    pub leases: Vec<Lease>,
}

/// A lease as it was listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The shard.
    pub shard: ShardId,
    /// The owner.
    pub owner: Option<String>,
    /// The checkpoint. `None` means the oldest record.
    pub checkpoint: Option<CheckpointAt>,
}

/// A call of a member of a consumer group about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The consumer application.
    pub app: String,
    /// The stream.
    pub stream: StreamName,
    /// The member.
    pub member: String,
    /// The action of the member.
    pub action: MemberAction,
}

/// What a member of a consumer group does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberAction {
    /// Joins the group.
    Join,
    /// Says that it is alive.
    Heartbeat,
    /// Leaves the group.
    Leave,
}

/// Waits for the shards of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchShards {
    /// The consumer application.
    pub app: String,
    /// The stream.
    pub stream: StreamName,
    /// The member.
    pub member: String,
    /// The number that the harness gives the watch. A response may be as old as the first call with this number.
    pub chain: u64,
}

/// The shards of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// The shards, in the order of the response.
    pub shards: Vec<AssignedShard>,
}

/// A shard that a consumer group gives to a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedShard {
    /// The shard.
    pub shard: ShardId,
    /// The number of the ownership.
    pub epoch: u64,
    /// The checkpoint that the member goes on from. `None` means the beginning.
    pub checkpoint: Option<CheckpointAt>,
}

/// The first checkpoint of a lease after the last heal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoverLease {
    /// The consumer application.
    pub app: String,
    /// The stream.
    pub stream: StreamName,
    /// The shard.
    pub shard: ShardId,
}

/// Reads a whole shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// The stream.
    pub stream: StreamName,
    /// The shard.
    pub shard: ShardId,
}

/// All records of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// The records, in the order of the responses.
    pub records: Vec<Record>,
}

/// Asks for the state of one replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dump {
    /// The stream.
    pub stream: StreamName,
    /// The shard.
    pub shard: ShardId,
    /// The node of the replica.
    pub node: u64,
}

/// The state of one replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dumped {
    /// The last applied log index.
    pub applied: u64,
    /// The first log index that is not trimmed.
    pub first: u64,
    /// How many records are between them.
    pub count: u64,
    /// The chained hash of these records.
    pub hash: String,
}

/// The first put and read after the last heal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recover {
    /// The stream.
    pub stream: StreamName,
    /// The shard.
    pub shard: ShardId,
}

/// How long the recovery took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// Time from the last heal until a put and a read had succeeded.
    pub ms: u64,
}
