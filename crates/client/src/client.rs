//! The client's calls, its copy of the catalog, and its connections. [`crate::search`] finds who answers a call.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anabranch_catalog::{Catalog, Command, Outcome, StreamId};
use anabranch_shard::{Batch, Page, Position, Run, Start};
use anabranch_transport::{Connector, Destination};
use anabranch_types::{GroupId, NodeId, StreamName};
use arc_swap::ArcSwap;
use futures::stream::BoxStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;

use crate::append_stream::AppendStream;
use crate::call::{self, CallError, LocalNode, NewDataKey, Read};
use crate::error::Error;
use crate::feed::{Feed, Subscriber};
use crate::search::{DEADLINE, Effect, Search, result_hint};
use crate::view::{ShardRoute, View};

/// A handle to a cluster. Cheap to clone; every clone shares connections and the catalog's copy, and
/// the last one ends them.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
    _feed: Arc<Mutex<JoinSet<()>>>,
}

pub(crate) struct Inner {
    pub(crate) view: ArcSwap<View>,
    versions: watch::Sender<u64>,
    pub(crate) local: Option<Arc<dyn LocalNode>>,
    connector: Arc<dyn Connector>,
    seeds: Vec<String>,
    /// Each node with the address at which it was reached last.
    peers: Mutex<HashMap<NodeId, (String, Peer)>>,
    /// Whoever is at the addresses that were given.
    seeds_reached: Mutex<HashMap<String, Channel>>,
    /// The node that led each group when it was asked last.
    pub(crate) leaders: RwLock<HashMap<GroupId, NodeId>>,
    /// When the replicas of a group were last asked whether one of them leads.
    pub(crate) probed: Mutex<HashMap<GroupId, Instant>>,
}

/// The connections to one node.
#[derive(Clone)]
pub(crate) struct Peer {
    channel: Channel,
    appends: AppendStream,
    pub(crate) tails: Channel,
}

/// How long a read insists on the leader before any replica will do.
const LEADER_READ_PATIENCE: Duration = Duration::from_millis(500);
/// Before the nodes are asked again for the catalog, once none had it.
const FOLLOW_AGAIN: Duration = Duration::from_millis(25);

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("version", &self.view().catalog().version).finish()
    }
}

impl Client {
    /// A client of the cluster that `local` belongs to, in the same process.
    pub fn local(local: Arc<dyn LocalNode>, connector: Arc<dyn Connector>) -> Self {
        let client = Self::new(Some(Arc::clone(&local)), connector, Vec::new());
        let inner = Arc::clone(&client.inner);
        client.spawn(async move {
            let mut versions = local.catalog();
            loop {
                let catalog = Arc::clone(&versions.borrow_and_update());
                inner.publish(catalog.as_ref().clone());
                if versions.changed().await.is_err() {
                    return;
                }
            }
        });
        client
    }

    /// A client of the cluster of which `seeds` (`host:port` of gRPC ports) are nodes. Returns once
    /// one of them has told the catalog.
    ///
    /// # Errors
    /// [`Error::NoLeader`] if none does before the deadline.
    pub async fn connect(seeds: Vec<String>, connector: Arc<dyn Connector>) -> Result<Self, Error> {
        let client = Self::new(None, connector, seeds);
        client.spawn(follow_remote(Arc::clone(&client.inner)));
        let mut versions = client.inner.versions.subscribe();
        match timeout(DEADLINE, versions.wait_for(|version| *version > 0)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return Err(Error::NoLeader),
        }
        drop(versions);
        Ok(client)
    }

    pub(crate) fn new(
        local: Option<Arc<dyn LocalNode>>,
        connector: Arc<dyn Connector>,
        seeds: Vec<String>,
    ) -> Self {
        let inner = Inner {
            view: ArcSwap::from_pointee(View::default()),
            versions: watch::channel(0).0,
            local,
            connector,
            seeds,
            peers: Mutex::default(),
            seeds_reached: Mutex::default(),
            leaders: RwLock::default(),
            probed: Mutex::default(),
        };
        Self { inner: Arc::new(inner), _feed: Arc::default() }
    }

    fn spawn(&self, feed: impl Future<Output = ()> + Send + 'static) {
        self._feed.lock().unwrap_or_else(PoisonError::into_inner).spawn(feed);
    }

    /// The newest version of the catalog that has reached this client. Doesn't wait.
    pub fn view(&self) -> Arc<View> {
        self.inner.view.load_full()
    }

    /// A version of the catalog that every change acknowledged before this call is in.
    ///
    /// # Errors
    /// [`Error::NoLeader`]; [`Error::Unknown`] if the version doesn't reach this client in time.
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

    /// A new data key for the stream, wrapped by the master key: what [`anabranch_catalog::EncryptionCommand::Start`]
    /// wants. Over TLS both are for nodes alone, so for the gateways in them.
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
        let mut versions = self.inner.versions.subscribe();
        let seen = timeout(DEADLINE, versions.wait_for(|seen| *seen >= version)).await;
        if !matches!(seen, Ok(Ok(_))) {
            return Err(Error::Unknown("done, but not seen here in time".into()));
        }
        drop(seen);
        Ok(self.view())
    }

    /// Appends `batch` to a shard: durable on a majority when this returns. Says where the records
    /// stand, in the order of the batch. A batch whose producer sent it before is not written again;
    /// so a batch with a producer is sent again when an answer is lost, and one without isn't.
    ///
    /// # Errors
    /// Any of [`Error`]; only [`Error::Unknown`] leaves open whether the batch was written.
    pub async fn append(&self, shard: &ShardRoute, batch: Batch) -> Result<Vec<Run>, Error> {
        let mut search = Search::new(&self.inner, shard);
        let mut sent = false; // whether an earlier attempt may have been written
        loop {
            let node = search.next();
            let call = async {
                match self.inner.local_if(node) {
                    Some(local) => local.append(shard.group, batch.clone()).await,
                    None => match self.inner.peer(node) {
                        Some(peer) => peer.appends.append(shard.group, &batch).await,
                        None => Err(CallError::NotLeader(None)),
                    },
                }
            };
            let result = search.attempt(node, Effect::Writes, call).await;
            match result {
                Ok(runs) => {
                    search.found(node);
                    return Ok(runs);
                }
                Err(CallError::Unknown(reason)) if batch.producer().is_none() => {
                    return Err(Error::Unknown(reason));
                }
                Err(CallError::Unknown(_)) => sent = true,
                Err(CallError::NotLeader(_) | CallError::NotFound) => {}
                // The leader looked for the producer's earlier attempts before it said so.
                Err(CallError::Closed) => return Err(Error::Closed),
                Err(CallError::Frozen) => return Err(Error::Frozen),
                Err(error) if sent => return Err(Error::Unknown(error.to_string())),
                Err(error) => return Err(error.into()),
            }
            if !search.again(&result_hint(&result)).await {
                let unknown = || Error::Unknown("no answer before the deadline".into());
                return Err(if sent { unknown() } else { search.failure() });
            }
        }
    }

    /// For each record of `batch`, which may be a repeat, where it stands in `shard`, which is closed.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NoLeader`] if no replica could tell before the deadline.
    pub async fn recall(
        &self,
        shard: &ShardRoute,
        batch: &Batch,
    ) -> Result<Vec<Option<Run>>, Error> {
        // Any replica will do: one in this process costs nothing to ask.
        let local = self.inner.local.as_ref();
        if let Some(Ok(known)) = local.map(|local| local.recall(shard.group, batch)) {
            return Ok(known);
        }
        let mut search = Search::new(&self.inner, shard);
        loop {
            let node = search.next();
            let call = async {
                match self.inner.local_if(node) {
                    Some(local) => local.recall(shard.group, batch),
                    None => match self.inner.channel_of(node) {
                        Some(channel) => call::recall(channel, shard.group, batch).await,
                        None => Err(CallError::NotLeader(None)),
                    },
                }
            };
            let result = search.attempt(node, Effect::Reads, call).await;
            if let Ok(known) = result {
                return Ok(known);
            }
            if !search.again(&None).await {
                return Err(search.failure());
            }
        }
    }

    /// Waits until [`Self::view`] is newer than `version`, but no longer than `longest`.
    pub async fn newer_view(&self, version: u64, longest: Duration) {
        let mut versions = self.inner.versions.subscribe();
        let _either_way = timeout(longest, versions.wait_for(|seen| *seen > version)).await;
    }

    /// Finds where a reader that wants to start at `start` begins. Asks the leader, which has all that was acknowledged;
    /// while there is none, any replica that has enough to tell.
    ///
    /// # Errors
    /// Any of [`Error`] but `Closed` and `Unknown`.
    pub async fn seek(&self, shard: &ShardRoute, start: Start) -> Result<Position, Error> {
        if let Start::At(position) = start {
            return Ok(position);
        }
        let mut search = Search::new(&self.inner, shard);
        loop {
            let node = search.next();
            let leader_only = search.began.elapsed() < LEADER_READ_PATIENCE;
            let call = self.inner.seek_at(node, shard.group, start, leader_only);
            let result = search.attempt(node, Effect::Reads, call).await;
            match result {
                Ok(position) => {
                    if leader_only {
                        search.found(node);
                    }
                    return Ok(position);
                }
                Err(CallError::NotLeader(_) | CallError::NotFound | CallError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
            if !search.again(&result_hint(&result)).await {
                return Err(search.failure());
            }
        }
    }

    /// Reads from `from` on: at most `max_records` records of at most `max_bytes` bytes of data and
    /// partition keys together, but at least one record if there is any. A position below the
    /// horizon reads from the horizon. Asks the leader, which shows all that was acknowledged; while
    /// there is none, any replica. If there are no records, the replica waits for the first one as long as `wait`.
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
        let mut search = Search::new(&self.inner, shard);
        loop {
            let node = search.next();
            let leader_only = search.began.elapsed() < LEADER_READ_PATIENCE;
            let read = Read { from, max_records, max_bytes, leader_only, wait };
            let call = async {
                match self.inner.local_if(node) {
                    Some(local) => local.read(shard.group, read).await,
                    None => match self.inner.channel_of(node) {
                        Some(channel) => call::read(channel, shard.group, read).await,
                        None => Err(CallError::NotLeader(None)),
                    },
                }
            };
            let result = search.attempt(node, Effect::Reads, call).await;
            match result {
                Ok(page) => {
                    if leader_only {
                        search.found(node);
                    }
                    return Ok(page);
                }
                Err(CallError::NotLeader(_) | CallError::NotFound | CallError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
            if !search.again(&result_hint(&result)).await {
                return Err(search.failure());
            }
        }
    }

    /// Pages from `from` on, pushed by a replica as records are committed; an empty page every few
    /// seconds when there are none. Goes on at another replica when one fails.
    pub fn tail(
        &self,
        shard: &ShardRoute,
        from: Position,
    ) -> BoxStream<'static, Result<Page, Error>> {
        Feed::new(self, shard, from, None).run()
    }

    /// As [`Self::tail`], by the leader, for a consumer that has one such stream of a shard at a time. Returns once it
    /// has begun.
    ///
    /// # Errors
    /// [`Error::InUse`] if another one began less than five seconds ago, and as the stream's last item when a newer one
    /// takes over; [`Error::NotFound`]; [`Error::NoLeader`].
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
    pub(crate) fn publish(&self, catalog: Catalog) {
        let version = catalog.version;
        if version < self.view.load().catalog().version {
            return; // a node that is behind told
        }
        self.view.store(Arc::new(View::new(catalog)));
        self.versions.send_replace(version);
    }

    pub(crate) fn local_if(&self, node: NodeId) -> Option<&Arc<dyn LocalNode>> {
        self.local.as_ref().filter(|local| local.id() == node)
    }

    pub(crate) fn channel_of(&self, node: NodeId) -> Option<Channel> {
        Some(self.peer(node)?.channel)
    }

    /// To a node, or to whoever is at a seed.
    fn channel(&self, to: &Destination) -> Channel {
        match to.node {
            Some(node) => self.peer_at(node, &to.address).channel,
            None => {
                let mut seeds = self.seeds_reached.lock().unwrap_or_else(PoisonError::into_inner);
                let connected = || anabranch_transport::channel(&self.connector, to.clone());
                seeds.entry(to.address.clone()).or_insert_with(connected).clone()
            }
        }
    }

    pub(crate) fn peer(&self, node: NodeId) -> Option<Peer> {
        let view = self.view.load();
        Some(self.peer_at(node, &view.catalog().nodes.get(&node)?.grpc_address))
    }

    fn peer_at(&self, node: NodeId, address: &str) -> Peer {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, peer)) = peers.get(&node)
            && known == address
        {
            return peer.clone();
        }
        let to = Destination::node(node, address);
        let channel = anabranch_transport::channel(&self.connector, to.clone());
        // A connection of its own: reads of megabytes don't stand in the way of appends.
        let appends = anabranch_transport::channel(&self.connector, to.clone());
        // And tails stop where their reader does, which must be nobody else's business.
        let tails = anabranch_transport::channel_of_slow_readers(&self.connector, to);
        let peer = Peer { channel, appends: AppendStream::new(appends), tails };
        peers.insert(node, (address.to_owned(), peer.clone()));
        peer
    }

    async fn propose_remote(&self, command: &Command) -> Result<Outcome, CallError> {
        let mut last = CallError::NotLeader(None);
        for to in self.destinations() {
            match call::propose(self.channel(&to), command).await {
                Err(error @ (CallError::NotLeader(_) | CallError::NotFound)) => last = error,
                decided => return decided,
            }
        }
        Err(last)
    }

    async fn new_data_key_remote(&self, wanted: &NewDataKey) -> Result<Vec<u8>, CallError> {
        let mut last = CallError::NotLeader(None);
        for to in self.destinations() {
            match call::new_data_key(self.channel(&to), wanted).await {
                Err(error @ (CallError::NotLeader(_) | CallError::Unknown(_))) => last = error,
                decided => return decided,
            }
        }
        Err(last)
    }

    async fn newest_remote(&self) -> Result<u64, CallError> {
        let mut last = CallError::NotLeader(None);
        for to in self.destinations() {
            match call::newest_version(self.channel(&to)).await {
                Err(error) => last = error,
                Ok(version) => return Ok(version),
            }
        }
        Err(last)
    }

    /// Where nodes are: those of the catalog, then the seeds.
    fn destinations(&self) -> Vec<Destination> {
        let view = self.view.load();
        let nodes = view.catalog().nodes.iter();
        let nodes = nodes.map(|(id, node)| Destination::node(*id, &*node.grpc_address));
        nodes.chain(self.seeds.iter().map(Destination::any)).collect()
    }
}

/// Follows the catalog on one node after the other.
async fn follow_remote(inner: Arc<Inner>) {
    loop {
        for to in inner.destinations() {
            let view = inner.view.load_full();
            let (known, mut users) = (view.catalog().version, view.catalog().users.clone());
            let watched = call::watch(inner.channel(&to), known, users.version()).await;
            let Ok(mut versions) = watched else { continue };
            while let Ok(Some(version)) = versions.message().await {
                match anabranch_proto::decode_catalog_after(version.catalog, &users) {
                    Ok(catalog) => {
                        users = catalog.users.clone();
                        inner.publish(catalog);
                    }
                    Err(error) => {
                        tracing::error!(%error, "catalog can't be read");
                        break;
                    }
                }
            }
        }
        sleep(FOLLOW_AGAIN).await;
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NotLeader(_) => Self::NoLeader,
            CallError::NotFound => Self::NotFound,
            CallError::Closed => Self::Closed,
            CallError::Frozen => Self::Frozen,
            CallError::InUse => Self::InUse,
            CallError::Throttled(reason) => Self::Throttled(reason),
            CallError::Invalid(reason) => Self::Invalid(reason),
            CallError::Key { fault, message } => Self::Key { fault, message },
            CallError::Unknown(reason) => Self::Unknown(reason),
        }
    }
}
