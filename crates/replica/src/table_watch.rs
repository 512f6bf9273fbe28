//! A watch of rows: the pages that one watcher gets from this replica, as they become due.
//!
//! Order of events: a new state is published after each entry. Then the watch asks `Watcher` (crate `table`) what there
//! is to tell. If there is nothing, it waits for the next state. So an idle watch costs a timer, and nothing per entry
//! is queued for a watcher that is slow.
//!
//! An empty page is a beat: the watcher learns that the connection works, and that it has seen everything up to a
//! version. The first page comes at once.
//!
//! The watch ends with an error that another replica may not have:
//! - the node is about to stop, or the replica has stopped;
//! - the replica has not applied, for some seconds, what the watcher has seen;
//! - the replica is cut off from its group. Then its rows become old, and another replica may have newer ones.

use std::sync::{Arc, Weak};
use std::time::Duration;

use anabranch_table::{Next, TableState, Version, WatchPage, Watched, WatchedRange, Watcher};
use futures::stream::{self, Stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::error::Error;
use crate::group::Group;
use crate::metrics::{Metrics, Watching};

/// How often a watcher that misses nothing gets an empty page.
const BEAT: Duration = Duration::from_secs(5);
/// The same after changes of other rows. The watcher then knows that it has seen their versions.
const NEWS_BEAT: Duration = Duration::from_secs(1);
/// How long a replica tries to reach the version that its watcher has seen.
const BEHIND_PATIENCE: Duration = Duration::from_secs(2);

/// The watch of one watcher. It keeps nothing of the replica alive.
struct Watch {
    watcher: Watcher,
    states: watch::Receiver<Arc<TableState>>,
    group: Weak<Group>,
    /// Whether the node is about to stop.
    leaving: watch::Receiver<bool>,
    /// The last page: when it was given out, and the version up to which the watcher has seen everything since then.
    told: Option<(Instant, Version)>,
    /// Since when this replica is behind the watcher.
    behind_since: Option<Instant>,
    has_ended: bool,
    metrics: Arc<Metrics>,
    _counted: Watching,
}

/// What a watcher is told, as it becomes due. After [`Watched::Dropped`] and after an error nothing more comes.
pub(crate) fn pages(
    range: WatchedRange,
    since: Version,
    states: watch::Receiver<Arc<TableState>>,
    group: Weak<Group>,
    leaving: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
) -> impl Stream<Item = Result<Watched, Error>> + Send + use<> {
    let watcher = Watcher::new(range, since);
    let (told, behind_since, has_ended) = (None, None, false);
    let _counted = metrics.tables.watching();
    let watch =
        Watch { watcher, states, group, leaving, told, behind_since, has_ended, metrics, _counted };
    stream::unfold(watch, |mut watch| async move {
        if watch.has_ended {
            return None;
        }
        let told = watch.next().await;
        watch.has_ended = matches!(told, Err(_) | Ok(Watched::Dropped { .. }));
        Some((told, watch))
    })
}

impl Watch {
    /// Waits until there is something to tell.
    async fn next(&mut self) -> Result<Watched, Error> {
        loop {
            if *self.leaving.borrow() {
                return Err(Error::OutOfService("the node is stopping".into()));
            }
            let next = {
                let state = Arc::clone(&self.states.borrow_and_update());
                self.watcher.next(&state, usize::MAX)
            };
            let due = match next {
                Next::Tell(watched) => {
                    self.behind_since = None;
                    if let Watched::Page(page) = &watched {
                        self.told = Some((Instant::now(), page.version));
                        self.metrics.tables.watch_resets.add(u64::from(page.is_reset));
                    }
                    return Ok(watched);
                }
                Next::Nothing(version) => {
                    self.behind_since = None;
                    let due = self.beat_due(version);
                    if due <= Instant::now() {
                        return self.beat(version);
                    }
                    due
                }
                Next::Behind => {
                    let due = *self.behind_since.get_or_insert_with(Instant::now) + BEHIND_PATIENCE;
                    if due <= Instant::now() {
                        let leader = self.group.upgrade().and_then(|group| group.leader());
                        return Err(Error::NotLeader { leader });
                    }
                    due
                }
            };
            self.wait(due).await?;
        }
    }

    /// When a watcher that has seen everything up to `version` is to get an empty page.
    fn beat_due(&self, version: Version) -> Instant {
        match self.told {
            None => Instant::now(),
            Some((at, told)) if told == version => at + BEAT,
            Some((at, _)) => at + NEWS_BEAT,
        }
    }

    fn beat(&mut self, version: Version) -> Result<Watched, Error> {
        // Not before the first page: while the whole group has no leader, watchers can still get a copy.
        if self.told.is_some() && self.group.upgrade().is_none_or(|group| group.is_cut_off()) {
            return Err(Error::NotLeader { leader: None });
        }
        self.told = Some((Instant::now(), version));
        let page = WatchPage { version, is_complete: true, ..WatchPage::default() };
        Ok(Watched::Page(page))
    }

    /// Waits for the next state, but not beyond `due`.
    async fn wait(&mut self, due: Instant) -> Result<(), Error> {
        tokio::select! {
            changed = self.states.changed() => {
                changed.map_err(|_| Error::OutOfService("the replica has stopped".into()))
            }
            // The next look sees it. An error means that the node has stopped.
            _either = self.leaving.wait_for(|leaving| *leaving) => Ok(()),
            () = sleep_until(due) => Ok(()),
        }
    }
}
