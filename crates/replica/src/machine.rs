//! The state machines behind the logs of groups: one for shards, one for the catalog, one for tables.
//!
//! The applier calls [`Machine::apply`] for each committed command in log order, and [`Machine::publish`] after
//! several. A checkpoint stores [`Machine::encode`], and a restart gives the bytes to [`Machine::restore`]. A
//! machine reads no clock and does no I/O, so replicas that apply the same log have the same state.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_catalog::Catalog;
use anabranch_shard::{Batch, Command, DeduplicationWindow, Gate, ShardState, Voids};
use anabranch_table::{CheckpointReader, Limits, TableState};
use anabranch_types::Timestamp;
use bytes::Bytes;
use tokio::sync::watch;

/// Result of applying an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The entry was not a command.
    None,
    /// Outcome of a command of a shard.
    Shard(anabranch_shard::Outcome),
    /// Outcome of a command of the catalog.
    Catalog(anabranch_catalog::Outcome),
    /// Outcomes of a command of a table group: one for each transaction.
    Table(Vec<anabranch_table::Outcome>),
}

impl Outcome {
    /// Whether the command was a step of a resharding job. Only these can change the gate of a shard.
    pub(crate) fn may_have_moved_gate(&self) -> bool {
        use anabranch_shard::Outcome as Shard;
        match self {
            Self::Shard(Shard::Frozen(_) | Shard::Stale | Shard::Stepped) => true,
            Self::Shard(Shard::Appended { .. } | Shard::Refused(_))
            | Self::None
            | Self::Catalog(_)
            | Self::Table(_) => false,
        }
    }
}

/// Stored bytes that the machine can't read: another version wrote them, or they are damaged in a way that no
/// checksum detected. The replica stops and does not guess.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("state machine: {0}")]
pub(crate) struct MachineError(pub(crate) String);

/// What the entries of a group may hold of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Nothing: the catalog.
    Nothing,
    /// Records of a shard.
    Records,
    /// Rows of tables.
    Rows,
}

/// The state of a machine for a checkpoint.
pub(crate) enum Encoded {
    /// Small: it is part of the checkpoint's row.
    Row(Bytes),
    /// Large: it goes into the checkpoint log part by part (ADR-0032).
    Parts(anabranch_table::Checkpoint),
}

/// The state of a machine as a checkpoint has it.
pub(crate) enum Stored {
    /// The bytes of [`Encoded::Row`].
    Row(Bytes),
    /// The parts of [`Encoded::Parts`], in order.
    Parts(Vec<Bytes>),
}

/// A pure state machine behind a group's log.
pub(crate) trait Machine: Send + Sync + 'static {
    /// Applies the command at `log_index`.
    fn apply(&mut self, log_index: u64, command: Bytes) -> Result<Outcome, MachineError>;
    /// The state, to be stored in a checkpoint.
    fn encode(&self) -> Encoded;
    /// Replaces the state by `state`, which [`Self::encode`] returned.
    fn restore(&mut self, state: Stored) -> Result<(), MachineError>;
    /// Arrival time of the newest record. The epoch for machines without records.
    fn last_arrival(&self) -> Timestamp;
    /// Called after several commands were applied: notifies the tasks that follow the state.
    fn publish(&mut self);
    /// What entries may hold of users. A disk without free space refuses it.
    fn holds(&self) -> Holds {
        Holds::Nothing
    }
    /// Counts the bytes of the commands since the last checkpoint, if a checkpoint depends on that.
    fn logged_bytes(&self) -> Option<Arc<AtomicU64>> {
        None
    }
    /// Whether the state is stored in parts. Then the replica needs a checkpoint log.
    fn is_in_parts(&self) -> bool {
        false
    }
    /// Whether a shard takes records, and the ranges of its log in which appends do not count.
    fn gate(&self) -> (Gate, Voids) {
        Default::default()
    }
}

/// The bytes of a state that is in the checkpoint's row.
fn in_row(state: Stored) -> Result<Bytes, MachineError> {
    match state {
        Stored::Row(bytes) => Ok(bytes),
        Stored::Parts(_) => Err(MachineError("the checkpoint is in parts".into())),
    }
}

/// The state of a shard, and its deduplication window, which is shared with the proposer.
pub(crate) struct ShardMachine {
    state: ShardState,
    window: Arc<Mutex<DeduplicationWindow>>,
}

impl ShardMachine {
    /// The machine of a shard that resharding job `born` made. `born` is 0 for the first shards of a stream.
    pub(crate) fn new(born: u64, window: Arc<Mutex<DeduplicationWindow>>) -> Self {
        Self { state: ShardState::born(born), window }
    }
}

impl Machine for ShardMachine {
    fn apply(&mut self, log_index: u64, command: Bytes) -> Result<Outcome, MachineError> {
        let command = Command::decode(command).map_err(|e| MachineError(e.to_string()))?;
        let outcome = self.state.apply(log_index, &command);
        if let anabranch_shard::Outcome::Appended { arrival, .. } = outcome {
            remember(&self.window, command, log_index, arrival);
        }
        Ok(Outcome::Shard(outcome))
    }

    fn encode(&self) -> Encoded {
        Encoded::Row(self.state.encode())
    }

    fn restore(&mut self, state: Stored) -> Result<(), MachineError> {
        let state = ShardState::decode(&in_row(state)?);
        self.state = state.map_err(|e| MachineError(e.to_string()))?;
        Ok(())
    }

    fn last_arrival(&self) -> Timestamp {
        self.state.last_arrival()
    }

    fn publish(&mut self) {}

    fn holds(&self) -> Holds {
        Holds::Records
    }

    fn gate(&self) -> (Gate, Voids) {
        (self.state.gate(), self.state.voids().clone())
    }
}

/// Adds an append to the deduplication window, if its batch names its producer.
pub(crate) fn remember(
    window: &Mutex<DeduplicationWindow>,
    command: Command,
    log_index: u64,
    arrival: Timestamp,
) {
    let Command::Append { batch, records, .. } = command else { return };
    if let Some((producer, call_indexes)) = Batch::call_of(&batch) {
        let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
        window.insert(producer, call_indexes, records, log_index, arrival);
    }
}

/// The catalog, and the channel on which its versions are published.
pub(crate) struct CatalogMachine {
    catalog: Catalog,
    published: watch::Sender<Arc<Catalog>>,
}

impl CatalogMachine {
    pub(crate) fn new(first: Catalog) -> (Self, watch::Receiver<Arc<Catalog>>) {
        let (published, watcher) = watch::channel(Arc::new(first.clone()));
        (Self { catalog: first, published }, watcher)
    }
}

impl Machine for CatalogMachine {
    fn apply(&mut self, log_index: u64, command: Bytes) -> Result<Outcome, MachineError> {
        let command = anabranch_proto::decode_command(command);
        let command = command.map_err(|e| MachineError(e.to_string()))?;
        Ok(Outcome::Catalog(self.catalog.apply(log_index, command)))
    }

    fn encode(&self) -> Encoded {
        Encoded::Row(anabranch_proto::encode_catalog(&self.catalog))
    }

    fn restore(&mut self, state: Stored) -> Result<(), MachineError> {
        let catalog = anabranch_proto::decode_catalog(in_row(state)?);
        self.catalog = catalog.map_err(|e| MachineError(e.to_string()))?;
        Ok(())
    }

    fn last_arrival(&self) -> Timestamp {
        Timestamp::default()
    }

    fn publish(&mut self) {
        if self.published.borrow().version != self.catalog.version {
            self.published.send_replace(Arc::new(self.catalog.clone()));
        }
    }
}

/// The rows of a table group, and the channel on which each new state is published.
pub(crate) struct TableMachine {
    state: TableState,
    published: watch::Sender<Arc<TableState>>,
    /// Bytes of the commands since the last checkpoint. Upkeep reads it.
    logged_bytes: Arc<AtomicU64>,
}

impl TableMachine {
    pub(crate) fn new(logged_bytes: Arc<AtomicU64>) -> (Self, watch::Receiver<Arc<TableState>>) {
        let state = TableState::new(Limits::default());
        let (published, watcher) = watch::channel(Arc::new(state.clone()));
        (Self { state, published, logged_bytes }, watcher)
    }
}

impl Machine for TableMachine {
    fn apply(&mut self, log_index: u64, command: Bytes) -> Result<Outcome, MachineError> {
        self.logged_bytes.fetch_add(command.len() as u64, Ordering::Relaxed);
        let command = anabranch_table::Command::decode(command);
        let command = command.map_err(|e| MachineError(e.to_string()))?;
        Ok(Outcome::Table(self.state.apply(log_index, command)))
    }

    fn encode(&self) -> Encoded {
        Encoded::Parts(self.state.checkpoint())
    }

    fn logged_bytes(&self) -> Option<Arc<AtomicU64>> {
        Some(Arc::clone(&self.logged_bytes))
    }

    fn restore(&mut self, state: Stored) -> Result<(), MachineError> {
        let Stored::Parts(parts) = state else {
            return Err(MachineError("the checkpoint is not in parts".into()));
        };
        let mut reader = CheckpointReader::new(*self.state.limits());
        for part in parts {
            reader.read(part).map_err(|e| MachineError(e.to_string()))?;
        }
        self.state = reader.finish().map_err(|e| MachineError(e.to_string()))?;
        Ok(())
    }

    fn last_arrival(&self) -> Timestamp {
        Timestamp::default()
    }

    fn is_in_parts(&self) -> bool {
        true
    }

    fn holds(&self) -> Holds {
        Holds::Rows
    }

    fn publish(&mut self) {
        self.published.send_replace(Arc::new(self.state.clone()));
    }
}
