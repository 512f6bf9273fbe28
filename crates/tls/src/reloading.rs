//! A value that is made from files, and made again when the files change.
//!
//! 1. Every `every`, look at inode, time and length of each file.
//! 2. If they differ from the files that were loaded, wait until two looks in a row are the same. Certificate and key
//!    are replaced one after the other, and must not be read in between.
//! 3. Load. If the files changed meanwhile, drop the result and look again.
//! 4. If loading fails, keep the old value. The same error is logged once, not at every look.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

use crate::error::Error;

/// Time between two looks at the files. New files are in use after at most two of these intervals.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// A value that is made from files, and made again when they change. Cheap to clone. The task that watches the files
/// ends with the last clone.
#[derive(Debug)]
pub struct Reloading<T> {
    current: Arc<ArcSwap<T>>,
    _watch: Arc<Watch>,
}

#[derive(Debug)]
struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Clone for Reloading<T> {
    fn clone(&self) -> Self {
        Self { current: Arc::clone(&self.current), _watch: Arc::clone(&self._watch) }
    }
}

impl<T: Send + Sync + 'static> Reloading<T> {
    /// Makes the value with `load` now, and again whenever the files at `paths` change. Looks at the files every
    /// `every`. Needs a tokio runtime.
    ///
    /// # Errors
    /// The error of `load` now. A later error is logged, and the old value stays.
    pub fn new(
        paths: Vec<PathBuf>,
        every: Duration,
        load: impl Fn() -> Result<T, Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let loaded = file_states(&paths);
        let current = Arc::new(ArcSwap::from_pointee(load()?));
        let watcher = Watcher {
            paths,
            load,
            current: Arc::clone(&current),
            loaded,
            changed: None,
            last_error: None,
        };
        let watch = tokio::spawn(watcher.run(every));
        Ok(Self { current, _watch: Arc::new(Watch(watch)) })
    }

    /// The value of the newest files that could be loaded.
    pub fn current(&self) -> Arc<T> {
        self.current.load_full()
    }
}

/// For each file its inode, modification time (seconds, nanoseconds) and length; `None` if it is missing. Two equal
/// values mean the files have not changed.
type FileStates = Vec<Option<(u64, i64, i64, u64)>>;

fn file_states(paths: &[PathBuf]) -> FileStates {
    use std::os::unix::fs::MetadataExt;
    let state = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
    };
    paths.iter().map(state).collect()
}

struct Watcher<T, F> {
    paths: Vec<PathBuf>,
    load: F,
    current: Arc<ArcSwap<T>>,
    /// State of the files that `current` was made from.
    loaded: FileStates,
    /// State of the files at the last look, if it differs from `loaded`.
    changed: Option<FileStates>,
    /// Last error that was logged.
    last_error: Option<String>,
}

impl<T, F> Watcher<T, F>
where
    T: Send + Sync + 'static,
    F: Fn() -> Result<T, Error> + Send + 'static,
{
    async fn run(mut self, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let looked = spawn_blocking(move || {
                self.look();
                self
            });
            match looked.await {
                Ok(watcher) => self = watcher,
                Err(error) => {
                    return tracing::error!(%error, "certificates are no longer watched");
                }
            }
        }
    }

    /// One look at the files. Loads them when they have looked the same twice, because certificate and key are
    /// replaced one after the other.
    fn look(&mut self) {
        let states = file_states(&self.paths);
        if states == self.loaded {
            (self.changed, self.last_error) = (None, None);
            return;
        }
        if self.changed.as_ref() != Some(&states) {
            self.changed = Some(states);
            return;
        }
        let loaded = (self.load)();
        if file_states(&self.paths) != states {
            return;
        }
        match loaded {
            Ok(fresh) => {
                self.current.store(Arc::new(fresh));
                self.loaded = states;
                (self.changed, self.last_error) = (None, None);
                tracing::info!(files = ?self.paths, "certificates reloaded");
            }
            Err(error) => {
                let text = error.to_string();
                if self.last_error.as_ref() != Some(&text) {
                    tracing::error!(%error, "certificates not reloaded, the old ones stay in use");
                    self.last_error = Some(text);
                }
            }
        }
    }
}
