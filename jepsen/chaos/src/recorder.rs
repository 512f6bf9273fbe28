//! Writes the history while the run goes on. All processes share one recorder and one clock.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use chaos_checkers::history::{self, Nanos};
use chaos_checkers::history::{Kind, Nemesis, Note, Observation};
use chaos_checkers::{Event, Header};

/// A handle to the history. Clones write to the same one.
#[derive(Clone)]
pub(crate) struct Recorder {
    inner: Arc<Mutex<Inner>>,
    began: Instant,
    processes: Arc<AtomicU64>,
    chains: Arc<AtomicU64>,
}

struct Inner {
    /// `None` for a run without a history.
    file: Option<BufWriter<File>>,
    events: Vec<Event>,
    /// The first error of the file. It is reported at the end.
    failed: Option<std::io::Error>,
}

impl Recorder {
    /// A history in a new file, which begins with `header`. Without a file, nothing is kept.
    pub(crate) fn create(path: Option<&Path>, header: &Header) -> Result<Self> {
        let mut file = None;
        if let Some(path) = path {
            let created = File::create(path).with_context(|| path.display().to_string())?;
            let created = file.insert(BufWriter::new(created));
            history::write_header(created, header)?;
        }
        let inner = Inner { file, events: Vec::new(), failed: None };
        Ok(Self {
            inner: Arc::new(Mutex::new(inner)),
            began: Instant::now(),
            processes: Arc::default(),
            chains: Arc::default(),
        })
    }

    /// Time since the run began.
    pub(crate) fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// A process number that no process had.
    pub(crate) fn new_process(&self) -> u64 {
        self.processes.fetch_add(1, Ordering::Relaxed)
    }

    /// A number for a chain of reads.
    pub(crate) fn new_chain(&self) -> u64 {
        self.chains.fetch_add(1, Ordering::Relaxed)
    }

    /// Appends an event. Its time is taken under the lock, so times never go back.
    pub(crate) fn record(&self, kind: Kind) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let event = Event { index: inner.events.len() as u64, time: self.now(), kind };
        let Some(file) = &mut inner.file else { return };
        if let Err(error) = history::write_event(file, &event) {
            inner.failed.get_or_insert(error);
        }
        inner.events.push(event);
    }

    /// Records an event of the nemesis.
    pub(crate) fn nemesis(&self, event: Nemesis) {
        self.record(Kind::Nemesis(event));
    }

    /// Records an observation.
    pub(crate) fn observe(&self, observation: Observation) {
        self.record(Kind::Observation(observation));
    }

    /// Records a remark for the reader of the report.
    pub(crate) fn note(&self, text: impl Into<String>) {
        self.observe(Observation::Note(Note { text: text.into() }));
    }

    /// All events. The file is complete afterwards.
    ///
    /// # Errors
    /// If a line of the file could not be written.
    pub(crate) fn finish(&self) -> Result<Vec<Event>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.file.as_mut().map_or(Ok(()), BufWriter::flush)?;
        match inner.failed.take() {
            Some(error) => Err(error).context("the history could not be written"),
            None => Ok(std::mem::take(&mut inner.events)),
        }
    }
}
