use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

use crate::error::Error;

/// How often files are looked at. What replaces them is in force within two of these.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// A value that is made of files, and anew when they change. Cheap to clone; the last clone ends the watch.
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
    /// Has `load` make the value of the files at `paths`, now and whenever they changed, looking at them each `every`.
    /// Needs a tokio runtime.
    ///
    /// # Errors
    /// What `load` says now; what it says later is logged, and the value stays.
    pub fn new(
        paths: Vec<PathBuf>,
        every: Duration,
        load: impl Fn() -> Result<T, Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let loaded = look(&paths);
        let current = Arc::new(ArcSwap::from_pointee(load()?));
        let watcher = Watcher {
            paths,
            load,
            current: Arc::clone(&current),
            loaded,
            changed: None,
            complaint: None,
        };
        let watch = tokio::spawn(watcher.run(every));
        Ok(Self { current, _watch: Arc::new(Watch(watch)) })
    }

    /// The value as of now.
    pub fn current(&self) -> Arc<T> {
        self.current.load_full()
    }
}

/// What tells whether files are the same as before: of each its inode, time and length, as far as it is there.
type Looks = Vec<Option<(u64, i64, i64, u64)>>;

fn look(paths: &[PathBuf]) -> Looks {
    use std::os::unix::fs::MetadataExt;
    let looks = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
    };
    paths.iter().map(looks).collect()
}

struct Watcher<T, F> {
    paths: Vec<PathBuf>,
    load: F,
    current: Arc<ArcSwap<T>>,
    /// Of what `current` was made.
    loaded: Looks,
    /// How the files looked last, if not so.
    changed: Option<Looks>,
    /// What was logged last of files that can't be used.
    complaint: Option<String>,
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
                    return tracing::error!(%error, "certificates are watched no more");
                }
            }
        }
    }

    /// Certificate and key are replaced one after the other, so they are read once they have looked the same twice.
    fn look(&mut self) {
        let looks = look(&self.paths);
        if looks == self.loaded {
            (self.changed, self.complaint) = (None, None);
            return;
        }
        if self.changed.as_ref() != Some(&looks) {
            self.changed = Some(looks);
            return;
        }
        let loaded = (self.load)();
        if look(&self.paths) != looks {
            return;
        }
        match loaded {
            Ok(fresh) => {
                self.current.store(Arc::new(fresh));
                self.loaded = looks;
                (self.changed, self.complaint) = (None, None);
                tracing::info!(files = ?self.paths, "certificates reloaded");
            }
            Err(error) => {
                let complaint = error.to_string();
                if self.complaint.as_ref() != Some(&complaint) {
                    tracing::error!(%error, "certificates not reloaded, those of before stay in force");
                    self.complaint = Some(complaint);
                }
            }
        }
    }
}
