//! The shards that a member owns: their readers, and what is known to be stored of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anabranch_proto::{consumer as pb, v1};
use anabranch_shard::{Position, Start};
use anabranch_types::{ShardId, StreamName, Timestamp};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::group::position;
use crate::shard_page::ShardPage;
use crate::stream_reader::{ReadError, StreamReader};

/// Pause before a shard that could not be read is read again.
const AGAIN: Duration = Duration::from_secs(1);

/// From the reader of a shard.
pub(crate) struct Event {
    shard: ShardId,
    /// Number of the reader. Events of a reader that was dropped may still wait in the queue.
    reader: u64,
    /// The next page. `None`: the shard has no more records.
    page: Option<ShardPage>,
}

/// All shards that the member owns.
pub(crate) struct Shards {
    cluster: Arc<dyn Cluster>,
    stream: StreamName,
    pages: mpsc::Sender<Event>,
    held: BTreeMap<ShardId, Held>,
    /// Number of the next reader.
    next_reader: u64,
    /// Shards that were given back or finished, with their epochs, until the coordinator's list shows it.
    gone: BTreeMap<ShardId, u64>,
}

/// A shard that the member owns.
pub(crate) struct Held {
    pub(crate) epoch: u64,
    reader: u64,
    reading: AbortHandle,
    /// Another member waits for it.
    leaving: bool,
    /// Where the shard ends, once the coordinator knows it.
    end: Option<Position>,
    /// The reader has come to the end.
    has_ended: bool,
    /// The position after the last record that the program got.
    given: Option<Position>,
    /// The position that was stored last.
    stored: Option<Position>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Shards {
    pub(crate) fn new(
        cluster: Arc<dyn Cluster>,
        stream: StreamName,
        pages: mpsc::Sender<Event>,
    ) -> Self {
        let (held, gone) = (BTreeMap::new(), BTreeMap::new());
        Self { cluster, stream, pages, held, next_reader: 0, gone }
    }

    pub(crate) fn stream(&self) -> &StreamName {
        &self.stream
    }

    pub(crate) fn held(&self, shard: ShardId) -> Option<&Held> {
        self.held.get(&shard)
    }

    pub(crate) fn numbers(&self) -> Vec<ShardId> {
        self.held.keys().copied().collect()
    }

    /// Begins to read the shards that are new in the list, and forgets shards that are gone from it.
    pub(crate) fn follow(&mut self, listed: &[pb::OwnedShard]) {
        let epochs: BTreeMap<_, _> =
            listed.iter().map(|shard| (ShardId(shard.shard), shard.epoch)).collect();
        self.held.retain(|shard, held| epochs.get(shard) == Some(&held.epoch));
        self.gone.retain(|shard, epoch| epochs.get(shard) == Some(epoch));
        for owned in listed {
            let shard = ShardId(owned.shard);
            if self.gone.contains_key(&shard) {
                continue;
            }
            let end = owned.end.and_then(of_message);
            match self.held.get_mut(&shard) {
                Some(held) => {
                    // Pages of a shard that leaves are dropped, so it is given back whatever happens later.
                    held.leaving |= owned.leaving;
                    held.end = end;
                }
                None => {
                    let held = self.begin(shard, owned, end);
                    self.held.insert(shard, held);
                }
            }
        }
    }

    fn begin(&mut self, shard: ShardId, owned: &pb::OwnedShard, end: Option<Position>) -> Held {
        let stored = owned.next.and_then(of_message);
        let start = match (stored, owned.start) {
            (Some(next), _) => Start::At(next),
            (None, Some(pb::owned_shard::Start::AtMillis(millis))) => {
                Start::AtTimestamp(Timestamp::from_millis(millis))
            }
            (None, Some(pb::owned_shard::Start::TrimHorizon(_)) | None) => Start::TrimHorizon,
        };
        let reader = self.next_reader;
        self.next_reader += 1;
        let read = Read {
            cluster: Arc::clone(&self.cluster),
            stream: self.stream.clone(),
            shard,
            reader,
            events: self.pages.clone(),
        };
        Held {
            epoch: owned.epoch,
            reader,
            reading: tokio::spawn(read.run(start)).abort_handle(),
            leaving: owned.leaving,
            end,
            has_ended: false,
            given: None,
            stored,
        }
    }

    /// News for the coordinator while the program works on no batch: shards to give back, and finished shards.
    pub(crate) fn done(&self) -> Vec<pb::ShardCheckpoint> {
        let done = self.held.iter().filter_map(|(shard, held)| {
            let message = |next: Option<Position>, release| pb::ShardCheckpoint {
                shard: shard.0,
                epoch: held.epoch,
                next: next.map(position),
                release,
            };
            let everything_is_stored = held.given.is_none() || held.given <= held.stored;
            match held.end {
                Some(end) if held.has_ended && everything_is_stored => {
                    Some(message(held.stored.max(Some(end)), false))
                }
                _ if held.leaving => Some(message(None, true)),
                _ => None,
            }
        });
        done.take(100).collect()
    }

    /// The coordinator was told [`Self::done`].
    pub(crate) fn told(&mut self, done: &[pb::ShardCheckpoint]) {
        for told in done {
            self.lost(ShardId(told.shard), told.epoch);
        }
    }

    /// The member does not own the shard any more.
    pub(crate) fn lost(&mut self, shard: ShardId, epoch: u64) {
        if self.held.get(&shard).is_some_and(|held| held.epoch == epoch) {
            self.held.remove(&shard);
            self.gone.insert(shard, epoch);
        }
    }

    /// A checkpoint was stored.
    pub(crate) fn stored(&mut self, shard: ShardId, epoch: u64, next: Position) {
        if let Some(held) = self.held.get_mut(&shard).filter(|held| held.epoch == epoch) {
            held.stored = Some(next);
        }
    }

    /// The part of an event that the program gets: nothing if the shard is not the member's any more, or is about to
    /// leave. A shard that leaves has no end here, because pages before it may have been dropped.
    pub(crate) fn take(&mut self, event: Event) -> Option<(ShardPage, u64)> {
        let Event { shard, reader, page } = event;
        let held = self.held.get_mut(&shard)?;
        if held.reader != reader || held.leaving {
            return None;
        }
        match page {
            None => {
                held.has_ended = true;
                None
            }
            Some(page) => {
                held.given = Some(page.page().next);
                Some((page, held.epoch))
            }
        }
    }
}

fn of_message(position: v1::Position) -> Option<Position> {
    let offset = u16::try_from(position.offset).ok()?;
    Some(Position { log_index: position.log_index, offset })
}

/// The task that reads a shard to its end.
struct Read {
    cluster: Arc<dyn Cluster>,
    stream: StreamName,
    shard: ShardId,
    reader: u64,
    events: mpsc::Sender<Event>,
}

impl Read {
    async fn run(self, mut start: Start) {
        loop {
            let error = match self.read(&mut start).await {
                Ok(()) => return,
                Err(error) => error,
            };
            let Self { stream, shard, .. } = &self;
            tracing::warn!(%stream, %shard, %error, "the shard is read again");
            sleep(AGAIN).await;
        }
    }

    /// Reads from `start` on, which follows what was read.
    async fn read(&self, start: &mut Start) -> Result<(), ReadError> {
        let cluster = Arc::clone(&self.cluster);
        let mut reader =
            StreamReader::begin_shard(cluster, &self.stream, self.shard, *start).await?;
        loop {
            let page = reader.next().await?;
            let has_ended = page.is_none();
            if let Some(page) = &page {
                *start = Start::At(page.page().next);
            }
            let event = Event { shard: self.shard, reader: self.reader, page };
            if self.events.send(event).await.is_err() || has_ended {
                return Ok(()); // the consumer was dropped, or this is the end
            }
        }
    }
}
