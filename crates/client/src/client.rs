//! The client: its calls, each in a few lines, and the state that all of its clones share.
//!
//! A call to a shard is a `ShardCall` (`shard_call.rs`) that a `Search` (`search.rs`) sends to one node after the
//! other. A call to the catalog goes to the node in this process, which knows how to find the catalog's leader, or to
//! any node over gRPC, which does the same for the client.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anabranch_catalog::{Command, Outcome, StreamId};
use anabranch_shard::{Batch, Page, Position, Run, Start};
use anabranch_table::{Request, Response, WatchedRange};
use anabranch_transport::{Connector, Destination};
use anabranch_types::{GroupId, NodeId, StreamName};
use futures::stream::BoxStream;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::call::{self, CallError, LocalNode, NewDataKey};
use crate::catalog_copy::{self, CatalogCopy};
use crate::connections::{Connections, Peer};
use crate::error::Error;
use crate::feed::{Feed, Subscriber};
use crate::known_leaders::KnownLeaders;
use crate::search::{DEADLINE, Kind, Search};
use crate::shard_call::{Append, ReadPage, Recall, Seek, TableCall};
use crate::view::{ShardRoute, View};
use crate::watched_rows::Shared;

/// A handle to a cluster. Cheap to clone. All clones share connections and the copy of the catalog; both end with the
/// last clone.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
    /// The task that follows the catalog. It ends when the last clone is dropped.
    feed: Arc<Mutex<JoinSet<()>>>,
}

pub(crate) struct Inner {
    pub(crate) catalog: CatalogCopy,
    pub(crate) leaders: KnownLeaders,
    local: Option<Arc<dyn LocalNode>>,
    connections: Connections,
    /// Addresses that the client was given.
    seeds: Vec<String>,
    /// The copies of rows that handles are open for.
    pub(crate) watched: Mutex<HashMap<(GroupId, WatchedRange), Weak<Shared>>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("version", &self.view().catalog().version).finish()
    }
}

impl Client {
    /// A client of the cluster that `local` belongs to, in the same process.
    pub fn local(local: Arc<dyn LocalNode>, connector: Arc<dyn Connector>) -> Self {
        let client = Self::new(Some(Arc::clone(&local)), connector, Vec::new());
        client.spawn(catalog_copy::follow_local(Arc::clone(&client.inner), local));
        client
    }

    /// A client of the cluster that has nodes at `seeds`, `host:port` of their gRPC ports. Returns once one of them
    /// has sent the catalog.
    ///
    /// # Errors
    /// [`Error::NoLeader`] if none does within 15 s.
    pub async fn connect(seeds: Vec<String>, connector: Arc<dyn Connector>) -> Result<Self, Error> {
        let client = Self::new(None, connector, seeds);
        client.spawn(catalog_copy::follow_remote(Arc::clone(&client.inner)));
        if !client.inner.catalog.reaches(1, DEADLINE).await {
            return Err(Error::NoLeader);
        }
        Ok(client)
    }

    pub(crate) fn new(
        local: Option<Arc<dyn LocalNode>>,
        connector: Arc<dyn Connector>,
        seeds: Vec<String>,
    ) -> Self {
        let inner = Inner {
            catalog: CatalogCopy::new(),
            leaders: KnownLeaders::default(),
            local,
            connections: Connections::new(connector),
            seeds,
            watched: Mutex::default(),
        };
        Self { inner: Arc::new(inner), feed: Arc::default() }
    }

    fn spawn(&self, feed: impl Future<Output = ()> + Send + 'static) {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner).spawn(feed);
    }

    /// The newest version of the catalog that has reached this client. Does not wait.
    pub fn view(&self) -> Arc<View> {
        self.inner.catalog.view()
    }

    /// A version of the catalog that has every change acknowledged before this call.
    ///
    /// # Errors
    /// [`Error::NoLeader`]; [`Error::Unknown`] if the version does not reach this client in time.
    pub async fn newest_view(&self) -> Result<Arc<View>, Error> {
        let version = match &self.inner.local {
            Some(local) => local.newest_version().await?,
            None => self.inner.newest_remote().await?,
        };
        self.view_of(version).await
    }

    /// Has the catalog apply `command`, and waits until [`Self::view`] shows it.
    ///
    /// # Errors
    /// [`Error::Refused`] with the catalog's reason; [`Error::NoLeader`]; [`Error::Unknown`].
    pub async fn propose(&self, command: Command) -> Result<Arc<View>, Error> {
        let outcome = match &self.inner.local {
            Some(local) => local.propose(command).await,
            None => self.inner.propose_remote(&command).await,
        };
        let version = match outcome {
            Ok(Outcome::Done { version }) => version,
            Ok(Outcome::Refused(refusal)) => return Err(refusal.into()),
            Err(CallError::NotLeader(_)) => return Err(Error::NoLeader),
            Err(error) => return Err(error.into()),
        };
        self.view_of(version).await
    }

    /// A new data key for the stream, wrapped by the master key, for an encryption command of the catalog. Over TLS
    /// only nodes, and so the gateways in them, may make this call and propose that command.
    ///
    /// # Errors
    /// [`Error::Key`] says what is wrong with the master key; [`Error::NoLeader`] if no node answers.
    pub async fn new_data_key(
        &self,
        stream: StreamName,
        id: StreamId,
        master_key: String,
    ) -> Result<Vec<u8>, Error> {
        let wanted = NewDataKey { stream, id, master_key };
        let made = match &self.inner.local {
            Some(local) => local.new_data_key(wanted).await,
            None => self.inner.new_data_key_remote(&wanted).await,
        };
        Ok(made?)
    }

    /// Waits until [`Self::view`] shows `version`.
    async fn view_of(&self, version: u64) -> Result<Arc<View>, Error> {
        if !self.inner.catalog.reaches(version, DEADLINE).await {
            return Err(Error::Unknown("done, but not seen here in time".into()));
        }
        Ok(self.view())
    }

    /// Appends `batch` to a shard. When this returns, a majority has synced the batch. Returns where the records are,
    /// in the order of the batch.
    ///
    /// A batch that its producer sent before is not written again. So a batch with a producer is sent again after a
    /// response was lost, and a batch without one is not.
    ///
    /// # Errors
    /// Any of [`Error`]. Only after [`Error::Unknown`] may the batch have been written.
    pub async fn append(&self, shard: &ShardRoute, batch: Batch) -> Result<Vec<Run>, Error> {
        Search::new(&self.inner, shard).run(Append::new(shard.group, batch)).await
    }

    /// For each record of `batch`, where it is in `shard`, which is closed. Finds the records of a call that was sent
    /// again after the shard was split or merged.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NoLeader`] if no replica could tell before the deadline.
    pub async fn recall(
        &self,
        shard: &ShardRoute,
        batch: &Batch,
    ) -> Result<Vec<Option<Run>>, Error> {
        // Any replica can answer, and to ask one in this process costs nothing.
        let local = self.inner.local.as_ref();
        if let Some(Ok(known)) = local.map(|local| local.recall(shard.group, batch)) {
            return Ok(known);
        }
        Search::new(&self.inner, shard).run(Recall { group: shard.group, batch }).await
    }

    /// Waits until [`Self::view`] is newer than `version`, but no longer than `longest`.
    pub async fn newer_view(&self, version: u64, longest: Duration) {
        let _either_way = self.inner.catalog.reaches(version.saturating_add(1), longest).await;
    }

    /// Finds where a reader that wants to start at `start` begins. Asks the leader, which has every acknowledged
    /// record. After half a second without a leader, any replica that has enough of the log may answer.
    ///
    /// # Errors
    /// Any of [`Error`] but `Closed` and `Unknown`.
    pub async fn seek(&self, shard: &ShardRoute, start: Start) -> Result<Position, Error> {
        if let Start::At(position) = start {
            return Ok(position);
        }
        Search::new(&self.inner, shard).run(Seek { group: shard.group, start }).await
    }

    /// Reads from `from` on: at most `max_records` records of at most `max_bytes` bytes of data and partition keys
    /// together, but at least one record if there is any. A position below the horizon reads from the horizon. Asks
    /// the leader, which shows every acknowledged record. After half a second without a leader, any replica may
    /// answer. If there are no records, the replica waits up to `wait` for the first one.
    ///
    /// # Errors
    /// Any of [`Error`] but `Closed` and `Unknown`.
    pub async fn read(
        &self,
        shard: &ShardRoute,
        from: Position,
        max_records: u32,
        max_bytes: usize,
        wait: Duration,
    ) -> Result<Page, Error> {
        let read = ReadPage { group: shard.group, from, max_records, max_bytes, wait };
        Search::new(&self.inner, shard).run(read).await
    }

    /// Sends a request to a table group. A refusal of the group is a response.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such group; [`Error::NoLeader`]; [`Error::Throttled`]. After
    /// [`Error::Unknown`] a write may have been made: the row's writer tells.
    pub async fn table(&self, group: GroupId, request: Request) -> Result<Response, Error> {
        let view = self.view();
        let holders = view.holders(group).ok_or(Error::NotFound)?;
        let search = Search::of_group(&self.inner, group, Kind::Table, holders);
        match request.is_write() {
            true => search.run(TableCall::<true> { group, request }).await,
            false => search.run(TableCall::<false> { group, request }).await,
        }
    }

    /// Pages from `from` on, pushed by a replica as records are committed. Without records an empty page comes every
    /// few seconds. Goes on at another replica when one fails.
    pub fn tail(
        &self,
        shard: &ShardRoute,
        from: Position,
    ) -> BoxStream<'static, Result<Page, Error>> {
        Feed::new(self, shard, from, None).run()
    }

    /// As [`Self::tail`], by the leader, for a consumer, which has at most one such stream of a shard at a time.
    /// Returns once the stream has begun.
    ///
    /// # Errors
    /// [`Error::InUse`] if another stream of the consumer began less than five seconds ago, and as the stream's last
    /// item when a newer one takes over; [`Error::NotFound`]; [`Error::NoLeader`].
    pub async fn subscribe(
        &self,
        shard: &ShardRoute,
        from: Position,
        consumer: String,
    ) -> Result<BoxStream<'static, Result<Page, Error>>, Error> {
        let subscriber = Subscriber { consumer, id: rand::random(), began: None };
        let mut feed = Feed::new(self, shard, from, Some(subscriber));
        feed.connect().await?;
        Ok(feed.run())
    }
}

impl Inner {
    pub(crate) fn local(&self) -> Option<&Arc<dyn LocalNode>> {
        self.local.as_ref()
    }

    /// Whether this process's own node has heard nothing of `node` for too long.
    pub(crate) fn is_silent(&self, node: NodeId) -> bool {
        self.local.as_ref().is_some_and(|local| local.id() != node && local.is_silent(node))
    }

    pub(crate) fn channel(&self, to: &Destination) -> Channel {
        self.connections.channel(to)
    }

    /// The connections to a node, at the address that the catalog has of it.
    ///
    /// # Errors
    /// [`CallError::NotLeader`] if the catalog does not know the node.
    pub(crate) fn peer(&self, node: NodeId) -> Result<Peer, CallError> {
        let view = self.catalog.load();
        let known = view.catalog().nodes.get(&node).ok_or(CallError::NotLeader(None))?;
        Ok(self.connections.peer(node, &known.grpc_address))
    }

    /// Where nodes are: the nodes of the catalog, then the seeds.
    pub(crate) fn destinations(&self) -> Vec<Destination> {
        let view = self.catalog.load();
        let nodes = view.catalog().nodes.iter();
        let nodes = nodes.map(|(id, node)| Destination::node(*id, &*node.grpc_address));
        nodes.chain(self.seeds.iter().map(Destination::any)).collect()
    }

    async fn propose_remote(&self, command: &Command) -> Result<Outcome, CallError> {
        // After an unknown outcome the command may have been applied, so no other node is asked.
        let was_not_done =
            |error: &CallError| matches!(error, CallError::NotLeader(_) | CallError::NotFound);
        self.ask_in_turn(|channel| call::propose(channel, command), was_not_done).await
    }

    async fn new_data_key_remote(&self, wanted: &NewDataKey) -> Result<Vec<u8>, CallError> {
        // A data key that nobody hears of does no harm. Faults of the master key are the same on every node.
        let may_differ =
            |error: &CallError| matches!(error, CallError::NotLeader(_) | CallError::Unknown(_));
        self.ask_in_turn(|channel| call::new_data_key(channel, wanted), may_differ).await
    }

    async fn newest_remote(&self) -> Result<u64, CallError> {
        self.ask_in_turn(call::newest_version, |_| true).await
    }

    /// Asks the nodes in turn, for as long as `may_ask_next` allows it after an error. Returns the last error if no
    /// node gives a response.
    async fn ask_in_turn<T, F: Future<Output = Result<T, CallError>>>(
        &self,
        ask: impl Fn(Channel) -> F,
        may_ask_next: impl Fn(&CallError) -> bool,
    ) -> Result<T, CallError> {
        let mut last = CallError::NotLeader(None);
        for to in self.destinations() {
            match ask(self.channel(&to)).await {
                Err(error) if may_ask_next(&error) => last = error,
                decided => return decided,
            }
        }
        Err(last)
    }
}
