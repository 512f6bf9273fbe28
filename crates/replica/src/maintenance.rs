//! Which checkpoints and trims the leader of a group proposes in a round of upkeep.
//!
//! A checkpoint is due after some time with new records, or after a number of entries. A trim is due when all
//! records below some checkpoint have expired: it moves the trim horizon to just above that checkpoint. The catalog
//! and table groups are trimmed to their newest checkpoint. The rest of upkeep is in `replicas.rs` and `group.rs`:
//! purge, membership, elections. Every step is idempotent.

use std::time::Duration;

use anabranch_storage::DiskState;
use anabranch_types::Timestamp;
use tokio::time::Instant;

use crate::group::Group;
use crate::payload::Payload;

/// A checkpoint is due after this number of entries even if the interval has not passed. A restart replays at most
/// these.
const CHECKPOINT_ENTRIES: u64 = 16_384;
/// A checkpoint of the catalog is due after this number of entries. A trim follows it.
const CATALOG_ENTRIES: u64 = 256;

/// A checkpoint of a table group is due after this many bytes of log, or after twice the bytes of the rows if that is
/// more. So checkpoints add at most half of what the log has.
const TABLE_LOG_BYTES: u64 = 8 << 20;

/// What upkeep has to know of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// The catalog.
    Catalog,
    /// A shard. Records that arrived before `retained_from` are not kept.
    Shard { retained_from: Timestamp },
    /// A table group.
    Table {
        /// Bytes of the commands since the last checkpoint.
        logged_bytes: u64,
        /// Bytes of all rows.
        state_bytes: u64,
    },
}

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
    pub(crate) fn due(&mut self, group: &Group, interval: Duration, kind: Kind) -> Option<Payload> {
        group.leading_term().ok().filter(|_| group.log.disk() != DiskState::Full)?;
        if self.checkpoint_is_due(group, interval, kind) {
            self.checkpointed = Instant::now();
            return Some(Payload::Checkpoint);
        }
        due_horizon(group, kind).map(|horizon| Payload::Trim { horizon })
    }

    fn checkpoint_is_due(&self, group: &Group, interval: Duration, kind: Kind) -> bool {
        let newest = group.progress.checkpoints().newest();
        let since =
            group.progress.applied().saturating_sub(newest.map_or(0, |kept| kept.index + 1));
        match kind {
            Kind::Catalog => return since >= CATALOG_ENTRIES,
            Kind::Table { logged_bytes, state_bytes } => {
                let Some(parts) = &group.checkpoint_log else { return false };
                let much = logged_bytes >= (2 * state_bytes).max(TABLE_LOG_BYTES);
                let old = logged_bytes > 0 && self.checkpointed.elapsed() >= interval;
                // While the parts of a checkpoint are being written, the next one has no effect.
                return !parts.is_writing() && (much || old || (parts.is_damaged() && since > 0));
            }
            Kind::Shard { .. } => {}
        }
        let has_new_records = newest.map_or(Timestamp::default(), |kept| kept.arrival)
            < group.progress.last_arrival()
            || (since > 1 && group.progress.last_arrival() > Timestamp::default());
        since >= CHECKPOINT_ENTRIES || (has_new_records && self.checkpointed.elapsed() >= interval)
    }
}

/// The new trim horizon, if it is above the present one.
fn due_horizon(group: &Group, kind: Kind) -> Option<u64> {
    let checkpoints = group.progress.checkpoints();
    let newest_expired = match kind {
        // The state replaces all entries before it.
        Kind::Catalog | Kind::Table { .. } => checkpoints.newest(),
        Kind::Shard { retained_from } => checkpoints.around(retained_from).0,
    };
    let horizon = newest_expired.map(|kept| kept.index + 1)?;
    (horizon > group.progress.trim_horizon()).then_some(horizon)
}
