//! Pages of one shard, pushed by a replica, for as long as the reader wants them: goes on at another replica when one
//! fails, hangs or leads no more.
//!
//! Never: a record twice or left out; the next replica begins behind the last page that was given out.

use std::sync::Arc;
use std::time::Duration;

use anabranch_proto::v1;
use anabranch_shard::{Page, Position};
use anabranch_types::NodeId;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

use crate::call::{self, CallError};
use crate::client::{Client, Peer};
use crate::error::Error;
use crate::search::{Effect, SHORTEST_PAUSE, Search, result_hint};
use crate::view::ShardRoute;

/// A tail that says nothing for so long is broken: it would have sent an empty page long before.
const TAIL_SILENCE: Duration = Duration::from_secs(12);
/// How often a tail that says nothing looks whether its node is silent.
const LOOK: Duration = Duration::from_secs(1);

/// The consumer of a subscription.
pub(crate) struct Subscriber {
    pub(crate) consumer: String,
    pub(crate) id: u64,
    /// When it was let in; `None` before.
    pub(crate) began: Option<Instant>,
}

/// A tail of a shard and how to go on with it.
pub(crate) struct Feed {
    client: Client,
    shard: ShardRoute,
    from: Position,
    subscriber: Option<Subscriber>,
    pages: Option<Pages>,
    /// How often it was interrupted: each time another replica is asked first.
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

    /// Goes on elsewhere, a moment later.
    async fn interrupted(&mut self) {
        self.pages = None;
        self.interruptions += 1;
        sleep(SHORTEST_PAUSE).await;
    }

    pub(crate) async fn connect(&mut self) -> Result<(), Error> {
        let inner = Arc::clone(&self.client.inner);
        let mut search = Search::new(&inner, &self.shard).at_turn(self.interruptions);
        loop {
            let node = search.next();
            let result = match inner.peer(node) {
                Some(Peer { tails, .. }) => {
                    let (group, from) = (self.shard.group, self.from);
                    let pages = call::tail(tails, group, from, self.subscription());
                    search.attempt(node, Effect::Reads, pages).await
                }
                None => Err(CallError::NotLeader(None)),
            };
            match result {
                Ok(messages) => {
                    if let Some(subscriber) = &mut self.subscriber {
                        search.found(node);
                        subscriber.began.get_or_insert_with(Instant::now);
                    }
                    self.pages = Some(Pages { node, messages });
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

    fn subscription(&self) -> Option<v1::Subscription> {
        let Subscriber { consumer, id, began } = self.subscriber.as_ref()?;
        // Never 0 for one that goes on.
        let age = began.map_or(0, |began| began.elapsed().as_millis().max(1));
        Some(v1::Subscription {
            consumer: consumer.clone(),
            id: *id,
            age_millis: u64::try_from(age).unwrap_or(u64::MAX),
        })
    }
}

/// The pages that one node sends.
struct Pages {
    node: NodeId,
    messages: tonic::Streaming<v1::ReadResponse>,
}

impl Pages {
    /// The next page; `None` when the stream is over, the node is silent, or nothing came for too long.
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
