//! Pages of one shard, pushed by a replica, for as long as the reader wants them. Goes on at another replica when one
//! fails, hangs or no longer leads.
//!
//! Never: a record is pushed twice or left out. The next replica begins behind the last page that was given
//! out.

use std::time::Duration;

use anabranch_proto::v1;
use anabranch_shard::{Page, Position};
use anabranch_types::{GroupId, NodeId};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

use crate::call::{self, CallError};
use crate::client::{Client, Inner};
use crate::connections::Peer;
use crate::error::Error;
use crate::search::{SHORTEST_PAUSE, Search};
use crate::shard_call::{Attempt, Effect, ShardCall};
use crate::view::ShardRoute;

/// A tail without a page for this long is broken: a replica sends an empty page after 5 s.
const TAIL_SILENCE: Duration = Duration::from_secs(12);
/// How often a tail without a page looks whether its node is silent.
const LOOK: Duration = Duration::from_secs(1);

/// The consumer of a subscription.
pub(crate) struct Subscriber {
    pub(crate) consumer: String,
    pub(crate) id: u64,
    /// When a leader first accepted the subscription.
    pub(crate) began: Option<Instant>,
}

/// A tail of a shard and how to go on with it.
pub(crate) struct Feed {
    client: Client,
    shard: ShardRoute,
    from: Position,
    subscriber: Option<Subscriber>,
    pages: Option<NodePages>,
    /// How often the tail was interrupted. Each time another replica is asked first.
    interruptions: usize,
}

impl Feed {
    pub(crate) fn new(
        client: &Client,
        shard: &ShardRoute,
        from: Position,
        subscriber: Option<Subscriber>,
    ) -> Self {
        let (client, shard) = (client.clone(), shard.clone());
        Self { client, shard, from, subscriber, pages: None, interruptions: 0 }
    }

    pub(crate) fn run(self) -> BoxStream<'static, Result<Page, Error>> {
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
                Some(pages) => match pages.next(&self.client).await {
                    Ok(Some(message)) => {
                        let page = call::page(message)?;
                        self.from = page.next;
                        return Ok(page);
                    }
                    Err(status) => {
                        let error = call::error_of(&status);
                        if matches!(error, CallError::InUse | CallError::Key { .. }) {
                            return Err(error.into());
                        }
                        self.interrupted().await;
                    }
                    Ok(None) => self.interrupted().await,
                },
            }
        }
    }

    /// Gives up the current replica. The next one is asked a moment later.
    async fn interrupted(&mut self) {
        self.pages = None;
        self.interruptions += 1;
        sleep(SHORTEST_PAUSE).await;
    }

    /// Opens the tail at the next replica, behind the last page that was given out.
    pub(crate) async fn connect(&mut self) -> Result<(), Error> {
        let (group, from) = (self.shard.group, self.from);
        let open = OpenTail { group, from, subscriber: self.subscriber.as_ref() };
        let search = Search::new(&self.client.inner, &self.shard).at_turn(self.interruptions);
        self.pages = Some(search.run(open).await?);
        if let Some(subscriber) = &mut self.subscriber {
            subscriber.began.get_or_insert_with(Instant::now);
        }
        Ok(())
    }
}

/// Opens a tail at one node.
struct OpenTail<'a> {
    group: GroupId,
    from: Position,
    subscriber: Option<&'a Subscriber>,
}

impl ShardCall for OpenTail<'_> {
    type Response = NodePages;

    const EFFECT: Effect = Effect::Reads;
    const ANY_REPLICA_LATER: bool = false;

    async fn send(&self, inner: &Inner, attempt: Attempt) -> Result<NodePages, CallError> {
        // Over gRPC also to the node in this process: the window of the stream bounds what is sent ahead of a slow
        // reader.
        let Peer { tails, .. } = inner.peer(attempt.node)?;
        let subscription = self.subscriber.map(Subscriber::message);
        let messages = call::tail(tails, self.group, self.from, subscription).await?;
        Ok(NodePages { node: attempt.node, messages })
    }

    /// Only the leader accepts a subscription. Any replica serves a tail without one.
    fn proves_leader(&self, _: Attempt) -> bool {
        self.subscriber.is_some()
    }

    fn failed(&mut self, error: CallError) -> Result<Option<NodeId>, Error> {
        match error {
            CallError::InUse => Err(Error::InUse),
            CallError::NotLeader(hint) => Ok(hint),
            CallError::NotFound
            | CallError::Closed
            | CallError::Frozen
            | CallError::Throttled(_)
            | CallError::Invalid(_)
            | CallError::Key { .. }
            | CallError::Unknown(_) => Ok(None),
        }
    }
}

impl Subscriber {
    fn message(&self) -> v1::Subscription {
        // Never 0 for a subscription that has begun: 0 says that it is new.
        let age = self.began.map_or(0, |began| began.elapsed().as_millis().max(1));
        v1::Subscription {
            consumer: self.consumer.clone(),
            id: self.id,
            age_millis: u64::try_from(age).unwrap_or(u64::MAX),
        }
    }
}

/// The pages that one node sends.
struct NodePages {
    node: NodeId,
    messages: tonic::Streaming<v1::ReadResponse>,
}

impl NodePages {
    /// The next page; `None` when the stream has ended, the node is silent, or no page came for too long.
    async fn next(&mut self, client: &Client) -> Result<Option<v1::ReadResponse>, Status> {
        let began = Instant::now();
        while began.elapsed() < TAIL_SILENCE && !client.inner.is_silent(self.node) {
            if let Ok(message) = timeout(LOOK, self.messages.message()).await {
                return message;
            }
        }
        Ok(None)
    }
}
