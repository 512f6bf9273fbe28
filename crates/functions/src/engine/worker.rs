//! The worker of one mapping on one shard: its parts, its times, and its ends.

use std::sync::Arc;
use std::time::Duration;

use anabranch_types::Clock;
use tokio::sync::watch;

use crate::engine::parts::{Checkpoints, Destination, Invoker, Progress, Source};
use crate::event::EventSource;
use crate::function::Function;
use crate::mapping::Mapping;

/// Pause after an error of the source or the table.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// The work of one mapping on one shard.
pub struct Worker {
    /// The mapping.
    pub mapping: Arc<Mapping>,
    /// Its function.
    pub function: Arc<Function>,
    /// Names in events.
    pub names: EventSource,
    /// The records.
    pub source: Arc<dyn Source>,
    /// Calls the function.
    pub invoker: Arc<dyn Invoker>,
    /// The checkpoint.
    pub checkpoints: Arc<dyn Checkpoints>,
    /// Takes documents; not used if the mapping has no destination.
    pub destination: Arc<dyn Destination>,
    /// Time of day. It decides what is too old.
    pub clock: Arc<dyn Clock>,
    /// Times.
    pub settings: EngineSettings,
    /// For jitter and ids of calls. Different for each worker.
    pub seed: u64,
    /// Gets the progress after each event.
    pub progress: watch::Sender<Progress>,
}

/// Times of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// The shortest time between two commits. Records that were processed since the last one are repeated after a
    /// crash. Default: 1 s.
    pub checkpoint_every: Duration,
    /// How long a stop waits for calls in flight, and again for the last commit. Default: 5 s.
    pub stop_within: Duration,
    /// How long commits may fail before nothing new begins. Default: 10 s.
    pub patience: Duration,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            checkpoint_every: Duration::from_secs(1),
            stop_within: Duration::from_secs(5),
            patience: Duration::from_secs(10),
        }
    }
}

/// How the work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The shard has ended, all its records are finished, and the checkpoint says so.
    Finished,
    /// The worker was told to stop.
    Stopped,
    /// Another worker has the shard.
    Fenced,
    /// The stream is gone.
    Gone,
}
