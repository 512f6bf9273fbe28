use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anabranch_catalog::{Catalog, Command, Outcome, StreamId};
use anabranch_shard::{Batch, Page, Position, Run, Start};
use anabranch_transport::{Connector, Destination};
use anabranch_types::{GroupId, NodeId, StreamName};
use arc_swap::ArcSwap;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;

use crate::append_stream::AppendStream;
use crate::call::{self, CallError, LocalNode, NewDataKey, Read};
use crate::error::Error;
use crate::view::{ShardRoute, View};

/// A handle to a cluster. Cheap to clone; every clone shares connections and the catalog's copy, and
/// the last one ends them.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    _feed: Arc<Mutex<JoinSet<()>>>,
}

struct Inner {
    view: ArcSwap<View>,
    versions: watch::Sender<u64>,
    local: Option<Arc<dyn LocalNode>>,
    connector: Arc<dyn Connector>,
    seeds: Vec<String>,
    /// Each node with the address at which it was reached last.
    peers: Mutex<HashMap<NodeId, (String, Peer)>>,
    /// Whoever is at the addresses that were given.
    seeds_reached: Mutex<HashMap<String, Channel>>,
    leaders: RwLock<HashMap<GroupId, NodeId>>,
}

/// The connections to one node.
#[derive(Clone)]
struct Peer {
    channel: Channel,
    appends: AppendStream,
    tails: Channel,
}

/// How long a call looks for a leader. Longer than a fail-over takes, shorter than an SDK waits.
const DEADLINE: Duration = Duration::from_secs(15);
/// How long a read insists on the leader before any replica will do.
const LEADER_READ_PATIENCE: Duration = Duration::from_millis(500);
/// Shortest and longest pause of a search for a leader.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(25);
/// A pause is this part of what the search took so far: one that is handed over is there within milliseconds, and is
/// to be found about as soon.
const PAUSE_PART: u32 = 4;
/// A tail that says nothing for so long is broken: it would have sent an empty page long before.
const TAIL_SILENCE: Duration = Duration::from_secs(12);
/// How long a node may take to begin one.
const TAIL_PATIENCE: Duration = Duration::from_secs(2);
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

    fn new(
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

    /// A new data key for the stream, wrapped by the master key: what [`Command::StartEncryption`] wants. Over TLS both are
    /// for nodes alone, so for the gateways in them.
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
            let result = match self.inner.local_if(node) {
                Some(local) => local.append(shard.group, batch.clone()).await,
                None => match self.inner.peer(node) {
                    Some(peer) => peer.appends.append(shard.group, &batch).await,
                    None => Err(CallError::NotLeader(None)),
                },
            };
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
        let mut search = Search::new(&self.inner, shard);
        loop {
            let node = search.next();
            let result = match self.inner.local_if(node) {
                Some(local) => local.recall(shard.group, batch),
                None => match self.inner.channel_of(node) {
                    Some(channel) => call::recall(channel, shard.group, batch).await,
                    None => Err(CallError::NotLeader(None)),
                },
            };
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

    /// Finds where a reader that wants to start at `start` begins.
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
            let result = match self.inner.local_if(node) {
                Some(local) => local.seek(shard.group, start).await,
                None => match self.inner.channel_of(node) {
                    Some(channel) => call::seek(channel, shard.group, start).await,
                    None => Err(CallError::NotLeader(None)),
                },
            };
            match result {
                Ok(position) => return Ok(position),
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
            let result = match self.inner.local_if(node) {
                Some(local) => local.read(shard.group, read).await,
                None => match self.inner.channel_of(node) {
                    Some(channel) => call::read(channel, shard.group, read).await,
                    None => Err(CallError::NotLeader(None)),
                },
            };
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

/// Who subscribes.
struct Subscriber {
    consumer: String,
    id: u64,
    /// When it was let in; `None` before.
    began: Option<Instant>,
}

/// A tail of a shard and how to go on with it.
struct Feed {
    client: Client,
    shard: ShardRoute,
    from: Position,
    subscriber: Option<Subscriber>,
    pages: Option<tonic::Streaming<anabranch_proto::v1::ReadResponse>>,
    /// How often it was interrupted: each time another replica is asked first.
    interruptions: usize,
}

impl Feed {
    fn new(
        client: &Client,
        shard: &ShardRoute,
        from: Position,
        subscriber: Option<Subscriber>,
    ) -> Self {
        let (client, shard) = (client.clone(), shard.clone());
        Self { client, shard, from, subscriber, pages: None, interruptions: 0 }
    }

    fn run(self) -> BoxStream<'static, Result<Page, Error>> {
        let pages = stream::try_unfold(self, |mut feed| async move {
            let page = feed.next().await?;
            Ok(Some((page, feed)))
        });
        pages.boxed()
    }

    async fn next(&mut self) -> Result<Page, Error> {
        loop {
            match &mut self.pages {
                None => self.connect().await?,
                Some(pages) => match timeout(TAIL_SILENCE, pages.message()).await {
                    Ok(Ok(Some(message))) => {
                        let page = call::page(message)?;
                        self.from = page.next;
                        return Ok(page);
                    }
                    Ok(Err(status)) => {
                        let error = call::error_of(&status);
                        if matches!(error, CallError::InUse | CallError::Key { .. }) {
                            return Err(error.into());
                        }
                        self.interrupted().await;
                    }
                    Ok(Ok(None)) | Err(_) => self.interrupted().await,
                },
            }
        }
    }

    /// Goes on elsewhere, a moment later.
    async fn interrupted(&mut self) {
        self.pages = None;
        self.interruptions += 1;
        sleep(SHORTEST_PAUSE).await;
    }

    async fn connect(&mut self) -> Result<(), Error> {
        let inner = Arc::clone(&self.client.inner);
        let mut search = Search::new(&inner, &self.shard);
        search.turn = self.interruptions;
        loop {
            let node = search.next();
            let result = match inner.peer(node) {
                Some(Peer { tails, .. }) => {
                    let (group, from) = (self.shard.group, self.from);
                    let pages = call::tail(tails, group, from, self.subscription());
                    let pages = timeout(TAIL_PATIENCE, pages).await;
                    pages.unwrap_or(Err(CallError::NotLeader(None)))
                }
                None => Err(CallError::NotLeader(None)),
            };
            match result {
                Ok(pages) => {
                    if let Some(subscriber) = &mut self.subscriber {
                        search.found(node);
                        subscriber.began.get_or_insert_with(Instant::now);
                    }
                    self.pages = Some(pages);
                    return Ok(());
                }
                Err(CallError::InUse) => return Err(Error::InUse),
                Err(_) if !search.again(&result_hint(&result)).await => {
                    return Err(search.failure());
                }
                Err(_) => {}
            }
        }
    }

    fn subscription(&self) -> Option<anabranch_proto::v1::Subscription> {
        let Subscriber { consumer, id, began } = self.subscriber.as_ref()?;
        // Never 0 for one that goes on.
        let age = began.map_or(0, |began| began.elapsed().as_millis().max(1));
        Some(anabranch_proto::v1::Subscription {
            consumer: consumer.clone(),
            id: *id,
            age_millis: u64::try_from(age).unwrap_or(u64::MAX),
        })
    }
}

fn result_hint<T>(result: &Result<T, CallError>) -> Option<NodeId> {
    match result {
        Err(CallError::NotLeader(hint)) => *hint,
        _ => None,
    }
}

/// The search for the leader of one shard.
struct Search<'a> {
    inner: &'a Inner,
    shard: &'a ShardRoute,
    began: Instant,
    hint: Option<NodeId>,
    asked: Option<NodeId>,
    /// Hints that were followed at once since the last pause.
    followed: usize,
    turn: usize,
}

impl<'a> Search<'a> {
    fn new(inner: &'a Inner, shard: &'a ShardRoute) -> Self {
        let leaders = inner.leaders.read().unwrap_or_else(PoisonError::into_inner);
        let hint = leaders.get(&shard.group).copied();
        Self { inner, shard, began: Instant::now(), hint, asked: None, followed: 0, turn: 0 }
    }

    /// The node to ask now: who leads as far as is known, else one replica after the other.
    fn next(&mut self) -> NodeId {
        let node = self.hint.take().unwrap_or_else(|| {
            let node = self.nodes(|nodes| nodes.get(self.turn % nodes.len().max(1)).copied());
            self.turn += 1;
            node.unwrap_or_default()
        });
        self.asked = Some(node);
        node
    }

    /// Where replicas are: by the newest view, for they may have moved since the route was made.
    fn nodes<R>(&self, look: impl FnOnce(&[NodeId]) -> R) -> R {
        let view = self.inner.view.load();
        look(view.group(self.shard.group).map_or(&self.shard.nodes, |route| &route.nodes))
    }

    fn found(&self, node: NodeId) {
        let known = {
            let leaders = self.inner.leaders.read().unwrap_or_else(PoisonError::into_inner);
            leaders.get(&self.shard.group) == Some(&node)
        };
        if !known {
            let mut leaders = self.inner.leaders.write().unwrap_or_else(PoisonError::into_inner);
            leaders.insert(self.shard.group, node);
        }
    }

    /// Whether to try again. Pauses once every replica was asked, and after a hint that leads nowhere new: a
    /// leader that isn't ready yet names itself, and two nodes may name each other for a while. A node in
    /// this process answers without letting others run, so without the pause nothing would change.
    async fn again(&mut self, hint: &Option<NodeId>) -> bool {
        if self.began.elapsed() > DEADLINE || self.is_gone() {
            return false;
        }
        let nodes = self.nodes(<[NodeId]>::len).max(1);
        let is_new = hint.is_some() && *hint != self.asked && self.followed < nodes;
        self.hint = *hint;
        if is_new {
            self.followed += 1;
        } else if hint.is_some() || self.turn.is_multiple_of(nodes) {
            self.followed = 0;
            let pause = self.began.elapsed() / PAUSE_PART;
            sleep(pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)).await;
        }
        true
    }

    fn is_gone(&self) -> bool {
        self.inner.view.load().group(self.shard.group).is_none()
    }

    fn failure(&self) -> Error {
        if self.is_gone() { Error::NotFound } else { Error::NoLeader }
    }
}

impl Inner {
    fn publish(&self, catalog: Catalog) {
        let version = catalog.version;
        if version < self.view.load().catalog().version {
            return; // a node that is behind told
        }
        self.view.store(Arc::new(View::new(catalog)));
        self.versions.send_replace(version);
    }

    fn local_if(&self, node: NodeId) -> Option<&Arc<dyn LocalNode>> {
        self.local.as_ref().filter(|local| local.id() == node)
    }

    fn channel_of(&self, node: NodeId) -> Option<Channel> {
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

    fn peer(&self, node: NodeId) -> Option<Peer> {
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

#[cfg(test)]
mod tests;
