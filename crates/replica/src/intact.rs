//! Reads of a group's log that wait where an entry is damaged, while the node fetches a copy of it from another node.

use std::ops::Range;
use std::time::Duration;

use anabranch_storage::{Entry, Error, GroupLog};
use tokio::time::{Instant, timeout_at};

/// For the group itself, which stops without an answer and is then opened again.
pub(crate) const GROUP_PATIENCE: Duration = Duration::from_secs(30);
/// For a reader, who may ask another replica.
pub(crate) const READER_PATIENCE: Duration = Duration::from_secs(1);

/// As [`GroupLog::read`], but waits so long for damaged entries to be mended.
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
                if timeout_at(deadline, log.until_mended()).await.is_err() {
                    return damaged;
                }
            }
            read => return read,
        }
    }
}
