//! A local copy of a range of rows of a table group, which follows the group.
//!
//! ```text
//! replica -> pages -> Shower (RowCopy) -> watch channel -> WatchedRows: get, range, changed, reaches
//! ```
//!
//! A copy shows whole versions only, and never an older one after a newer one. Any replica may send the pages
//! (`row_feed.rs`). Clones of a handle share one copy and one stream. The stream ends with the last handle.

use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anabranch_table::{Row, RowCopy, RowsByKey, Version, Watched, WentBack};
use bytes::Bytes;
use futures::stream::{Stream, StreamExt};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::error::Error;

/// A copy of a range of rows that follows the group. Cheap to clone; a clone has its own place in [`Self::changed`].
#[derive(Clone)]
pub struct WatchedRows {
    shared: Arc<Shared>,
    shown: watch::Receiver<Arc<ShownRows>>,
    /// The round that [`Self::changed`] told last.
    seen: u64,
}

/// What the handles of one copy share.
pub(crate) struct Shared {
    shown: watch::Receiver<Arc<ShownRows>>,
    /// The task that follows the group. It ends when this is dropped.
    _task: Mutex<JoinSet<()>>,
}

/// The rows of one version.
#[derive(Clone, Debug, Default)]
pub struct ShownRows {
    rows: RowsByKey,
    version: Version,
    is_gone: bool,
    /// When a page last showed that its replica hears the group.
    heard: Option<Instant>,
    /// Rises whenever rows may have changed.
    round: u64,
}

impl ShownRows {
    /// The row of that key.
    pub fn get(&self, key: &[u8]) -> Option<&Row> {
        self.rows.get(key)
    }

    /// The rows with keys from `start` on, and below `end` if there is one, in the order of their keys.
    pub fn range<'a>(
        &'a self,
        start: &'a [u8],
        end: Option<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a Bytes, &'a Row)> {
        let from = self.rows.range::<[u8], _>((Bound::Included(start), Bound::Unbounded));
        from.take_while(move |(key, _)| end.is_none_or(|end| &key[..] < end))
    }

    /// All rows in the order of their keys.
    pub fn all(&self) -> impl Iterator<Item = (&Bytes, &Row)> {
        self.rows.iter()
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.size()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The version of the group that the rows show. [`Version::START`] until the first copy is there.
    pub fn version(&self) -> Version {
        self.version
    }

    /// How long the group was not heard. Replicas tell their version now and then, also if no row changes. A replica
    /// that is cut off from its group ends its streams, so the first page of a stream proves nothing.
    pub fn unheard(&self) -> Duration {
        self.heard.map_or(Duration::MAX, |heard| heard.elapsed())
    }

    /// Whether the space was dropped, or the group is gone. Then there are no rows, and nothing more comes.
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }
}

impl WatchedRows {
    /// A copy that follows `pages`. It shows what it has when they end.
    pub fn following(pages: impl Stream<Item = Watched> + Send + 'static) -> Self {
        Self::of(Self::share(|mut shower| async move {
            let mut pages = std::pin::pin!(pages);
            while let Some(watched) = pages.next().await {
                match shower.take(watched) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => tracing::error!(%error, "watched rows"),
                }
            }
        }))
    }

    /// Starts the task that `follow` makes, which shows the rows through the [`Shower`].
    pub(crate) fn share<F: Future<Output = ()> + Send + 'static>(
        follow: impl FnOnce(Shower) -> F,
    ) -> Arc<Shared> {
        let (sender, shown) = watch::channel(Arc::<ShownRows>::default());
        let mut task = JoinSet::new();
        task.spawn(follow(Shower::new(sender)));
        Arc::new(Shared { shown, _task: Mutex::new(task) })
    }

    /// A handle of the copy.
    pub(crate) fn of(shared: Arc<Shared>) -> Self {
        let shown = shared.shown.clone();
        Self { shared, shown, seen: 0 }
    }

    /// The newest rows. They do not change while the caller looks at them.
    pub fn newest(&self) -> Arc<ShownRows> {
        Arc::clone(&self.shown.borrow())
    }

    /// The newest row of that key.
    pub fn get(&self, key: &[u8]) -> Option<Row> {
        self.shown.borrow().get(key).cloned()
    }

    /// The version that the copy shows. [`Version::START`] until the first copy is there.
    pub fn version(&self) -> Version {
        self.shown.borrow().version
    }

    /// Waits until rows may have changed since this handle last returned from this call, or since it was made.
    ///
    /// # Errors
    /// [`Error::NotFound`] if nothing more comes: the space was dropped, or the group is gone.
    pub async fn changed(&mut self) -> Result<(), Error> {
        let seen = self.seen;
        let shown = self.shown.wait_for(|shown| shown.round != seen).await;
        self.seen = shown.map_err(|_| Error::NotFound)?.round;
        Ok(())
    }

    /// Waits until the copy shows `version` or a later one, but no longer than `longest`. Says whether it does. A
    /// caller that has made a transaction sees it in the copy after this. With the lowest version above
    /// [`Version::START`] it waits for the first copy.
    pub async fn reaches(&self, version: Version, longest: Duration) -> bool {
        let mut shown = self.shown.clone();
        let reached = shown.wait_for(|shown| shown.version >= version);
        matches!(timeout(longest, reached).await, Ok(Ok(_)))
    }
}

impl fmt::Debug for WatchedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.newest();
        let handles = Arc::strong_count(&self.shared);
        f.debug_struct("WatchedRows")
            .field("version", &shown.version)
            .field("rows", &shown.len())
            .field("handles", &handles)
            .finish()
    }
}

/// Takes pages and shows whole versions to the handles.
pub(crate) struct Shower {
    copy: RowCopy,
    sender: watch::Sender<Arc<ShownRows>>,
    /// Whether pages since the last complete one have rows.
    has_news: bool,
    /// Whether the stream has shown a version before.
    is_proven: bool,
}

impl Shower {
    fn new(sender: watch::Sender<Arc<ShownRows>>) -> Self {
        Self { copy: RowCopy::default(), sender, has_news: false, is_proven: false }
    }

    /// Takes the next page. Says whether more come.
    ///
    /// # Errors
    /// [`WentBack`], if the page is older than what is shown.
    pub(crate) fn take(&mut self, watched: Watched) -> Result<bool, WentBack> {
        match watched {
            Watched::Page(page) => {
                self.has_news |= page.is_reset || !page.changes.is_empty();
                if self.copy.take(page)? {
                    self.show(false);
                }
                Ok(true)
            }
            Watched::Dropped { version } => {
                self.end(version);
                Ok(false)
            }
        }
    }

    /// The connection broke: forgets the pages since the last complete one.
    pub(crate) fn break_off(&mut self) {
        self.copy.break_off();
        (self.has_news, self.is_proven) = (false, false);
    }

    /// The space or the group is gone as of `version`.
    pub(crate) fn end(&mut self, version: Version) {
        self.copy.drop_rows(version);
        self.has_news = true;
        self.show(true);
    }

    /// The version up to which the copy is exact.
    pub(crate) fn version(&self) -> Version {
        self.copy.version()
    }

    fn show(&mut self, is_gone: bool) {
        let news = u64::from(std::mem::take(&mut self.has_news));
        let (round, before, heard) = {
            let shown = self.sender.borrow();
            (shown.round + news, shown.version, shown.heard)
        };
        let (rows, version) = (self.copy.rows().clone(), self.copy.version());
        let proves = std::mem::replace(&mut self.is_proven, true) || version > before;
        let heard = if proves { Some(Instant::now()) } else { heard };
        self.sender.send_replace(Arc::new(ShownRows { rows, version, is_gone, heard, round }));
    }
}

#[cfg(test)]
mod tests {
    use anabranch_table::{Change, TransactionId, WatchPage};
    use futures::channel::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn page(is_reset: bool, keys: &[&'static str], version: u64, is_complete: bool) -> Watched {
        let version = Version::new(version, 0);
        let row = || Row { version, writer: TransactionId::default(), value: Bytes::new() };
        let change = |key: &&'static str| Change {
            key: Bytes::from_static(key.as_bytes()),
            version,
            row: Some(row()),
        };
        let changes = keys.iter().map(change).collect();
        Watched::Page(WatchPage { is_reset, changes, version, is_complete })
    }

    fn keys(rows: &WatchedRows) -> Vec<Bytes> {
        rows.newest().all().map(|(key, _)| key.clone()).collect()
    }

    #[tokio::test]
    async fn readers_see_whole_versions_and_hear_of_changed_rows_only() {
        let (send, pages) = mpsc::unbounded();
        let mut rows = WatchedRows::following(pages);
        assert_eq!(rows.version(), Version::START);
        send.unbounded_send(page(false, &["a", "b", "c"], 3, true)).unwrap();
        rows.changed().await.unwrap();
        let old = rows.newest();
        // A version without changes is no news. Half of a reset is not shown.
        send.unbounded_send(page(false, &[], 4, true)).unwrap();
        assert!(rows.reaches(Version::new(4, 0), PATIENCE).await);
        send.unbounded_send(page(true, &["d"], 5, false)).unwrap();
        send.unbounded_send(page(false, &["e"], 6, true)).unwrap();
        rows.changed().await.unwrap();
        assert_eq!(
            (keys(&rows), rows.version()),
            (vec!["d".into(), "e".into()], Version::new(6, 0))
        );
        assert_eq!(old.len(), 3);
        let between = old.range(b"a", Some(b"c")).map(|(key, _)| key.clone());
        assert_eq!(between.collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(old.range(b"b", None).count(), 2);
        assert!(rows.get(b"d").is_some() && rows.get(b"a").is_none());
    }

    #[tokio::test]
    async fn after_the_drop_of_the_space_there_are_no_rows_and_no_more_changes() {
        let (send, pages) = mpsc::unbounded();
        let mut rows = WatchedRows::following(pages);
        send.unbounded_send(page(false, &["a"], 3, true)).unwrap();
        send.unbounded_send(Watched::Dropped { version: Version::new(4, 0) }).unwrap();
        drop(send);
        assert!(rows.reaches(Version::new(4, 0), PATIENCE).await);
        rows.changed().await.unwrap();
        assert!(rows.newest().is_empty() && rows.newest().is_gone());
        assert_eq!(rows.changed().await, Err(Error::NotFound));
    }
}
