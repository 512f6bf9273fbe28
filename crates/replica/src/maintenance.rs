//! What a node does for its groups again and again: checkpoints, trims, purges, membership, and
//! standing for election where nobody leads. Every step is idempotent.

use std::time::Duration;

use anabranch_storage::DiskState;
use anabranch_types::{GroupId, Timestamp};
use tokio::time::Instant;

use crate::group::Group;
use crate::payload::Payload;

/// Entries after which a checkpoint is due even if time isn't up: what a restart replays at most.
const CHECKPOINT_ENTRIES: u64 = 16_384;
/// Commands after which the catalog's log is cut.
const CATALOG_ENTRIES: u64 = 256;

/// What maintenance remembers of a group between two rounds.
pub(crate) struct Upkeep {
    checkpointed: Instant,
}

impl Upkeep {
    pub(crate) fn new() -> Self {
        Self { checkpointed: Instant::now() }
    }

    /// What the leader of `group` ought to propose now; nothing on other replicas.
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

/// Up to where the log may be trimmed now, if that is further than it is.
fn due_horizon(group: &Group, retained_from: Timestamp) -> Option<u64> {
    let checkpoints = group.progress.checkpoints();
    let newest_expired = if group.id == GroupId::CATALOG {
        checkpoints.newest() // its state is all there is to keep
    } else {
        checkpoints.around(retained_from).0
    };
    let horizon = newest_expired.map(|kept| kept.index + 1)?;
    (horizon > group.progress.trim_horizon()).then_some(horizon)
}
