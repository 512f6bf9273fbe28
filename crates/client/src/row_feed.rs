//! Pages of watched rows from one replica after the other, for as long as a handle of the copy is there.
//!
//! Order of events: the task asks a replica for everything since the version that the copy shows. When the stream ends
//! or breaks, it asks the next replica. The node of this process comes first, because its stream costs no network.
//!
//! This never happens: pages of two replicas are mixed. What came since the last complete page is forgotten first.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anabranch_proto::table as pb;
use anabranch_table::WatchedRange;
use anabranch_types::{GroupId, NodeId};
use tokio::time::{Instant, sleep, timeout};

use crate::call;
use crate::client::{Client, Inner};
use crate::error::Error;
use crate::search::SHORTEST_PAUSE;
use crate::watched_rows::{Shower, WatchedRows};

/// A stream without a page for this long is broken: a replica sends an empty page after 5 s.
const SILENCE: Duration = Duration::from_secs(12);
/// How long a node may take to begin a stream.
const OPEN_PATIENCE: Duration = Duration::from_secs(3);
/// How often a stream without a page looks whether its node is silent.
const LOOK: Duration = Duration::from_secs(1);
/// Pause after the first node that sent no page. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Client {
    /// A copy of the rows of `range` that follows the group. Returns at once; [`WatchedRows::reaches`] waits for the
    /// first copy. Handles for the same range share one copy and one stream, which ends with the last of them. The
    /// space may be one that is created later.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such group.
    pub fn watch_rows(&self, group: GroupId, range: WatchedRange) -> Result<WatchedRows, Error> {
        self.view().holders(group).ok_or(Error::NotFound)?;
        let mut watched = self.inner.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|_, shared| shared.strong_count() > 0);
        let key = (group, range);
        if let Some(shared) = watched.get(&key).and_then(std::sync::Weak::upgrade) {
            return Ok(WatchedRows::of(shared));
        }
        let (client, range) = (self.clone(), key.1.clone());
        let turn = usize::from(rand::random::<u16>());
        let shared = WatchedRows::share(move |shower| {
            RowFeed { client, group, range, shower, turn, pause: FIRST_PAUSE }.run()
        });
        watched.insert(key, Arc::downgrade(&shared));
        Ok(WatchedRows::of(shared))
    }
}

struct RowFeed {
    client: Client,
    group: GroupId,
    range: WatchedRange,
    shower: Shower,
    /// Which replica is next.
    turn: usize,
    /// Pause if the next node sends no page.
    pause: Duration,
}

/// How the stream of one node ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The space is gone: nothing more comes.
    Gone,
    /// The next node is to be asked.
    Broken { had_pages: bool },
}

impl RowFeed {
    async fn run(mut self) {
        let own = self.client.inner.local().map(|local| local.id());
        let mut node = own.filter(|own| self.holders().is_some_and(|nodes| nodes.contains(own)));
        loop {
            let Some(next) = node.take().or_else(|| self.next_node()) else {
                // The catalog does not list the group any more.
                let version = self.shower.version();
                self.shower.end(version);
                return;
            };
            let end = self.follow(next).await;
            self.shower.break_off();
            let pause = match end {
                End::Gone => return,
                End::Broken { had_pages: true } => {
                    self.pause = FIRST_PAUSE;
                    SHORTEST_PAUSE
                }
                End::Broken { had_pages: false } => {
                    let pause = self.pause;
                    self.pause = (pause * 2).min(LONGEST_PAUSE);
                    pause
                }
            };
            sleep(pause).await;
        }
    }

    fn holders(&self) -> Option<Vec<NodeId>> {
        self.client.inner.catalog.load().holders(self.group).map(<[NodeId]>::to_vec)
    }

    /// The next node with a replica, past nodes that are silent. `None` if the group is gone.
    fn next_node(&mut self) -> Option<NodeId> {
        let nodes = self.holders()?;
        let in_turn = |step: usize| nodes.get((self.turn + step) % nodes.len().max(1)).copied();
        let is_heard = |node: &NodeId| !self.client.inner.is_silent(*node);
        let step = (0..nodes.len()).find(|step| in_turn(*step).as_ref().is_some_and(is_heard));
        let node = in_turn(step.unwrap_or_default());
        self.turn = (self.turn + step.unwrap_or_default() + 1) % nodes.len().max(1);
        node.or_else(|| Some(NodeId::default()))
    }

    /// Takes the pages of one node until its stream ends.
    async fn follow(&mut self, node: NodeId) -> End {
        let mut had_pages = false;
        let Some(mut messages) = self.open(node).await else { return End::Broken { had_pages } };
        while let Some(message) = next(&self.client.inner, node, &mut messages).await {
            let taken = match anabranch_proto::watch_response(message) {
                Ok(watched) => self.shower.take(watched).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match taken {
                Ok(true) => had_pages = true,
                Ok(false) => return End::Gone,
                Err(error) => {
                    tracing::warn!(group = %self.group, %node, %error, "watched rows");
                    return End::Broken { had_pages: false };
                }
            }
        }
        End::Broken { had_pages }
    }

    async fn open(&self, node: NodeId) -> Option<tonic::Streaming<pb::WatchResponse>> {
        let channel = self.client.inner.peer(node).ok()?.channel;
        let since = self.shower.version();
        let opened = call::watch_rows(channel, self.group, &self.range, since);
        match timeout(OPEN_PATIENCE, opened).await {
            Ok(Ok(messages)) => Some(messages),
            Ok(Err(error)) => {
                tracing::debug!(group = %self.group, %node, %error, "no watch");
                None
            }
            Err(_elapsed) => None,
        }
    }
}

/// The next page; `None` when the stream has ended, the node is silent, or no page came for too long.
async fn next(
    inner: &Inner,
    node: NodeId,
    messages: &mut tonic::Streaming<pb::WatchResponse>,
) -> Option<pb::WatchResponse> {
    let began = Instant::now();
    while began.elapsed() < SILENCE && !inner.is_silent(node) {
        if let Ok(message) = timeout(LOOK, messages.message()).await {
            return message.ok().flatten();
        }
    }
    None
}
