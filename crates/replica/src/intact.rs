//! Reads of a group's log that wait if an entry is damaged. Meanwhile the node fetches a copy of the entry from
//! another node and writes it in place (entry repair, ADR-0022).

use std::ops::Range;
use std::time::Duration;

use anabranch_storage::{Entry, Error, GroupLog};
use tokio::time::{Instant, timeout_at};

/// How long openraft's own reads wait. If the entry is still damaged then, openraft stops, and the replica is opened
/// again.
pub(crate) const GROUP_PATIENCE: Duration = Duration::from_secs(30);
/// How long a reader waits. It may ask another replica after that.
pub(crate) const READER_PATIENCE: Duration = Duration::from_secs(1);

/// As [`GroupLog::read`], but waits up to `patience` until damaged entries are repaired.
pub(crate) async fn read(
    log: &dyn GroupLog,
    range: Range<u64>,
    max_bytes: usize,
    patience: Duration,
) -> Result<Vec<Entry>, Error> {
    if let Some(entries) = log.read_cached(range.clone(), max_bytes) {
        return Ok(entries);
    }
    let deadline = Instant::now() + patience;
    loop {
        match log.read(range.clone(), max_bytes).await {
            damaged @ Err(Error::Damaged { .. }) => {
                if timeout_at(deadline, log.until_repaired()).await.is_err() {
                    return damaged;
                }
            }
            read => return read,
        }
    }
}
