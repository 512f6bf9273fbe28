//! Which checkpoints and trims the leader of a group proposes in a round of upkeep.
//!
//! A checkpoint is due after some time with new records, or after a number of entries. A trim is due when all
//! records below some checkpoint have expired: it moves the trim horizon to just above that checkpoint. The catalog
//! is trimmed to its newest checkpoint. The rest of upkeep is in `replicas.rs` and `group.rs`: purge, membership,
//! elections. Every step is idempotent.

use std::time::Duration;

use anabranch_storage::DiskState;
use anabranch_types::{GroupId, Timestamp};
use tokio::time::Instant;

use crate::group::Group;
use crate::payload::Payload;

/// A checkpoint is due after this number of entries even if the interval has not passed. A restart replays at most
/// these.
const CHECKPOINT_ENTRIES: u64 = 16_384;
/// A checkpoint of the catalog is due after this number of entries. A trim follows it.
const CATALOG_ENTRIES: u64 = 256;

/// State of a group that upkeep keeps between two rounds.
pub(crate) struct Upkeep {
    checkpointed: Instant,
}

impl Upkeep {
    pub(crate) fn new() -> Self {
        Self { checkpointed: Instant::now() }
    }

    /// The payload that the leader of `group` should propose now. `None` on other replicas, and while the disk is
    /// full.
    pub(crate) fn due(
        &mut self,
        group: &Group,
        interval: Duration,
        retained_from: Timestamp,
    ) -> Option<Payload> {
        group.leading_term().ok().filter(|_| group.log.disk() != DiskState::Full)?;
        if self.checkpoint_is_due(group, interval) {
            self.checkpointed = Instant::now();
            return Some(Payload::Checkpoint);
        }
        due_horizon(group, retained_from).map(|horizon| Payload::Trim { horizon })
    }

    fn checkpoint_is_due(&self, group: &Group, interval: Duration) -> bool {
        let newest = group.progress.checkpoints().newest();
        let since =
            group.progress.applied().saturating_sub(newest.map_or(0, |kept| kept.index + 1));
        if group.id == GroupId::CATALOG {
            return since >= CATALOG_ENTRIES;
        }
        let has_new_records = newest.map_or(Timestamp::default(), |kept| kept.arrival)
            < group.progress.last_arrival()
            || (since > 1 && group.progress.last_arrival() > Timestamp::default());
        since >= CHECKPOINT_ENTRIES || (has_new_records && self.checkpointed.elapsed() >= interval)
    }
}

/// The new trim horizon, if it is above the present one.
fn due_horizon(group: &Group, retained_from: Timestamp) -> Option<u64> {
    let checkpoints = group.progress.checkpoints();
    let newest_expired = if group.id == GroupId::CATALOG {
        checkpoints.newest() // its state replaces all entries before it
    } else {
        checkpoints.around(retained_from).0
    };
    let horizon = newest_expired.map(|kept| kept.index + 1)?;
    (horizon > group.progress.trim_horizon()).then_some(horizon)
}
