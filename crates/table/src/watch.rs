//! A watch: how a replica tells a watcher the changes of a range of rows, one page at a time.
//!
//! ```text
//! replica   Watcher::next(state) -> Page, Page, ...  -> connection ->  RowCopy::take   watcher
//! ```
//!
//! Order of events for a watcher that has seen `since`:
//! 1. A replica that has not applied `since` is behind. It tells nothing until it has.
//! 2. If the ring has all changes after `since`, they come in pages in the order of their versions.
//! 3. Otherwise all rows come, page by page, and the first page says `is_reset`. Then the changes since the version
//!    of that first page come: so a row that changed during the reading comes again.
//! 4. A page that `is_complete` makes the copy exact. Between two complete pages the copy may show no single version,
//!    so the watcher shows it only then (`row_copy.rs`).
//!
//! A watcher holds a version and a key, and no rows. So a slow watcher costs no memory on the replica: it falls out of
//! the ring and is reset.
//!
//! This never happens: a complete page has a version below `since`, or below that of an earlier complete page.

use bytes::Bytes;

use crate::reads::{Change, Changes, UnknownSpace};
use crate::row::{Row, SpaceId, Version};
use crate::state::TableState;

/// The rows of a space whose keys begin with `prefix`. An empty prefix means all rows of the space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchedRange {
    /// Number of the space.
    pub space: SpaceId,
    /// What the keys begin with.
    pub prefix: Bytes,
}

/// What a replica tells a watcher next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Rows that changed, or all rows.
    Page(WatchPage),
    /// The space was dropped, so its rows are gone. No more comes.
    Dropped {
        /// A version without the space.
        version: Version,
    },
}

/// Some rows of a watched range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchPage {
    /// Whether the copy begins anew with this page: rows that the watcher has from before count no longer.
    pub is_reset: bool,
    /// The rows that changed. After a reset also the rows that are there.
    pub changes: Vec<Change>,
    /// The version that the copy shows with this page, if the page is complete.
    pub version: Version,
    /// Whether the copy is exact with this page.
    pub is_complete: bool,
}

/// What a watcher can be told from one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// This.
    Tell(Watched),
    /// The watcher has seen all changes of its rows up to this version.
    Nothing(Version),
    /// This replica has not applied what the watcher has seen, or has not created the space yet.
    Behind,
}

/// One watcher, as the replica that serves it knows it.
#[derive(Clone, Debug)]
pub struct Watcher {
    range: WatchedRange,
    since: Version,
    /// While all rows are being read: the last key that was told.
    reading: Option<Bytes>,
    /// Whether the last page was complete.
    is_settled: bool,
}

impl Watcher {
    /// A watcher of `range` that has an exact copy as of `since`, or nothing if `since` is [`Version::START`].
    pub fn new(range: WatchedRange, since: Version) -> Self {
        Self { range, since, reading: None, is_settled: true }
    }

    /// The next news for the watcher. `state` is at least as new as that of the call before. The next call goes on
    /// from there. A page has at most `max_bytes` or [`Limits::page_bytes`](crate::Limits::page_bytes) of rows, unless
    /// it has only one row or the changes of one transaction.
    pub fn next(&mut self, state: &TableState, max_bytes: usize) -> Next {
        match self.page(state, max_bytes) {
            Err(UnknownSpace(_)) if state.is_unborn(self.range.space) => Next::Behind,
            Err(UnknownSpace(_)) => {
                Next::Tell(Watched::Dropped { version: state.version().max(self.since) })
            }
            Ok(None) => Next::Behind,
            Ok(Some(page)) => {
                let has_news = page.is_reset || !page.changes.is_empty() || !self.is_settled;
                self.is_settled = page.is_complete;
                match has_news || !page.is_complete {
                    true => Next::Tell(Watched::Page(page)),
                    false => Next::Nothing(page.version),
                }
            }
        }
    }

    /// The next page. `None` if the state is behind the watcher.
    fn page(
        &mut self,
        state: &TableState,
        max_bytes: usize,
    ) -> Result<Option<WatchPage>, UnknownSpace> {
        if let Some(after) = self.reading.take() {
            return self.rows(state, Some(after), max_bytes).map(Some);
        }
        let WatchedRange { space, prefix } = &self.range;
        match state.changes(*space, prefix, self.since, max_bytes)? {
            Changes::Ahead { .. } => Ok(None),
            Changes::Reset => self.rows(state, None, max_bytes).map(Some),
            Changes::Page { changes, up_to, is_complete } => {
                self.since = up_to;
                Ok(Some(WatchPage { is_reset: false, changes, version: up_to, is_complete }))
            }
        }
    }

    /// The rows behind `after`; from the first row on if it is `None`.
    fn rows(
        &mut self,
        state: &TableState,
        after: Option<Bytes>,
        max_bytes: usize,
    ) -> Result<WatchPage, UnknownSpace> {
        let WatchedRange { space, prefix } = &self.range;
        let page = state.range(*space, prefix, after.as_deref(), max_bytes)?;
        let is_reset = after.is_none();
        if is_reset {
            self.since = page.version;
        }
        if page.more {
            self.reading = page.rows.last().map(|(key, _)| key.clone());
        }
        let change =
            |(key, row): (Bytes, Row)| Change { key, version: row.version, row: Some(row) };
        Ok(WatchPage {
            is_reset,
            changes: page.rows.into_iter().map(change).collect(),
            version: self.since,
            // If the group changed during the reading, the changes make the copy exact.
            is_complete: !page.more && page.version == self.since,
        })
    }
}
