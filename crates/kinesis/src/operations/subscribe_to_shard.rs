//! SubscribeToShard: pushes the records of a shard to a registered consumer, as an event stream over HTTP/2.
//!
//! Order of events: find consumer and shard, find the first position, take the subscription slot on the leader of the
//! shard. The stream begins with an initial response. Then each page of records becomes an event. The subscription
//! ends after five minutes, at the end of a closed shard, with an error, or when the consumer is removed.
//!
//! The gateway makes an event only when the connection can take it, and it counts the event against the budget for
//! pushed events. So a slow subscriber delays only itself.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::protocol::Protocol;
use anabranch_aws::wire::{Flag, Moment, Required, Structure, Text, Writer};
use anabranch_catalog::{Consumer, ConsumerStatus};
use anabranch_client::Pages;
use anabranch_client::{Page, ShardRoute};
use anabranch_gateway::service::{EventSource, Request};
use anabranch_gateway::{Events, Permit, counted};
use anabranch_shard::Position;
use anabranch_types::{ConsumerArn, SequenceNumber, StreamName};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout_at};

use super::beginning::Beginning;
use super::page::{self, COST_THIRDS, ChildShard};
use super::shards;
use crate::error::Error;
use crate::event_stream;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::SubscriptionTarget;

/// How long records are pushed. Then the client has to subscribe again (documentation of SubscribeToShard).
const LIFETIME: Duration = Duration::from_secs(300);
/// Pause before the budget for pushed events is tried again.
const BUDGET_PAUSE: Duration = Duration::from_millis(20);

/// `SubscribeToShardInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SubscribeToShard<'a> {
    #[serde(borrow, rename = "ConsumerARN", default)]
    consumer_arn: Required<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    shard_id: Required<Text<'a>>,
    #[serde(borrow, default)]
    starting_position: Required<Structure<StartingPosition<'a>>>,
    dry_run: Option<Flag>,
}

/// `StartingPosition` of the API reference.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StartingPosition<'a> {
    #[serde(borrow, rename = "Type", default)]
    kind: Required<Text<'a>>,
    #[serde(borrow)]
    sequence_number: Option<Text<'a>>,
    timestamp: Option<Moment>,
}

impl Constrained for SubscribeToShard<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("ConsumerARN", &self.consumer_arn, &rules::CONSUMER_ARN);
        checks.text("StreamId", &self.stream_id, &rules::STREAM_ID);
        checks.text("ShardId", &self.shard_id, &rules::SHARD_ID);
        checks.structure("StartingPosition", &self.starting_position);
    }
}

impl Constrained for StartingPosition<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("Type", &self.kind, &rules::SHARD_ITERATOR_TYPE);
        checks.text("SequenceNumber", &self.sequence_number, &rules::SEQUENCE_NUMBER);
    }
}

/// A subscription that holds its slot.
pub(crate) struct Subscription {
    subject: Subject,
    pages: Pages,
    /// Position of the next page.
    next: Position,
    ends: Instant,
}

/// Consumer and shard of a subscription.
struct Subject {
    kinesis: Kinesis,
    consumer: ConsumerArn,
    route: Arc<ShardRoute>,
}

impl Request<Kinesis> for SubscribeToShard<'_> {
    type Target = SubscriptionTarget;
    type Response = Subscription;

    fn target(&self, kinesis: &Kinesis) -> Result<SubscriptionTarget, Error> {
        let consumer = kinesis.consumer_arn_target(&self.consumer_arn)?;
        Ok(SubscriptionTarget { consumer, shard: shards::named(&self.shard_id) })
    }

    async fn run(
        &self,
        cx: &Context<'_>,
        target: &SubscriptionTarget,
    ) -> Result<Subscription, Error> {
        let kinesis = cx.service;
        let (consumer, route) = self.find(kinesis, target)?;
        let name = &route.stream;
        let Structure(position) = &*self.starting_position;
        let beginning = Beginning {
            operation: "SubscribeToShard",
            number_member: "SequenceNumber",
            kind: &position.kind,
            number: position.sequence_number.as_deref(),
            moment: position.timestamp,
        };
        let start = beginning.start(kinesis, name, &route)?;
        if self.dry_run == Some(Flag(true)) {
            return Err(Error::DryRun);
        }
        let text = || format!("consumer {consumer}, shard {}", route.shard);
        let from = kinesis.cluster.seek(&route, start).await;
        let from = from.map_err(|error| Error::from_client(error, text))?;
        let pages = kinesis.cluster.subscribe(&route, from, consumer.to_string()).await;
        let pages = pages.map_err(|error| Error::from_client(error, text))?;
        let subject = Subject { kinesis: kinesis.clone(), consumer, route };
        Ok(Subscription { subject, pages, next: from, ends: Instant::now() + LIFETIME })
    }
}

impl SubscribeToShard<'_> {
    fn find(
        &self,
        kinesis: &Kinesis,
        target: &SubscriptionTarget,
    ) -> Result<(ConsumerArn, Arc<ShardRoute>), Error> {
        let view = kinesis.cluster.view();
        let named = &target.consumer;
        let known = kinesis.find_consumer(&view, named)?;
        require_active(named, known)?;
        // The subscription slot is taken under the ARN. So the ARN is written anew: a client may write partition and
        // region as it likes.
        let consumer = kinesis.consumer_arn(&named.stream.stream, &named.consumer, known);
        let name: &StreamName = &consumer.stream.stream;
        let unknown = || shards::unknown(kinesis, name, &self.shard_id);
        let shard = target.shard.ok_or_else(unknown)?;
        let found = kinesis.find_for_data(&view, name)?.shard(shard);
        let route = found.ok_or_else(|| shards::missing(kinesis, name, shard))?;
        Ok((consumer, Arc::clone(route)))
    }
}

fn require_active(arn: &ConsumerArn, consumer: &Consumer) -> Result<(), Error> {
    match consumer.status {
        ConsumerStatus::Active => Ok(()),
        ConsumerStatus::Creating | ConsumerStatus::Deleting => Err(Error::InUse(format!(
            "Consumer {arn} is not ACTIVE, instead in state {}",
            consumer.status.name()
        ))),
    }
}

impl EventSource for Subscription {
    fn events(self, protocol: Protocol) -> Events {
        self.frames(protocol).boxed()
    }
}

/// The next step of a subscription.
enum Next {
    /// A page. The children of the shard come with its last page.
    Event(Page, Option<Vec<ChildShard>>),
    /// An error. It is the last frame.
    Failure(Error),
    /// The time of the subscription is over.
    End,
}

impl Subscription {
    /// The frames of the subscription. The stream makes a frame only when the connection polls for it.
    fn frames(self, protocol: Protocol) -> impl stream::Stream<Item = Bytes> + Send + 'static {
        let first = ready(Bytes::from(event_stream::initial_response(protocol)));
        let events = stream::unfold(Some(self), move |subscription| async move {
            let mut subscription = subscription?;
            match subscription.next().await {
                Next::Event(page, end) => {
                    let frame = subscription.subject.frame(protocol, page, end.as_deref()).await;
                    Some((frame, end.is_none().then_some(subscription)))
                }
                Next::Failure(error) => {
                    Some((Bytes::from(event_stream::exception(protocol, &error)), None))
                }
                Next::End => None,
            }
        });
        stream::once(first).chain(events)
    }

    /// Waits for the next step. Each change of the catalog ends the wait, so that a removed consumer and a closed
    /// shard are noticed at once.
    async fn next(&mut self) -> Next {
        let Subject { kinesis, consumer, route } = &self.subject;
        loop {
            if Instant::now() >= self.ends {
                return Next::End;
            }
            let view = kinesis.cluster.view();
            let known = kinesis.find_consumer(&view, consumer);
            if let Err(error) = known.and_then(|known| require_active(consumer, known)) {
                return Next::Failure(error);
            }
            let rest = Page { batches: Vec::new(), next: self.next, behind: Duration::ZERO };
            let end = page::end(kinesis, &route.stream, route.shard, &rest);
            if end.is_some() {
                return Next::Event(rest, end);
            }
            let page = tokio::select! {
                biased;
                page = timeout_at(self.ends, self.pages.next()) => page,
                () = kinesis.cluster.newer_view(view.catalog().version, LIFETIME) => continue,
            };
            return match page {
                Err(_) | Ok(None) => Next::End,
                Ok(Some(Err(error))) => {
                    let subject = || format!("consumer {consumer}");
                    Next::Failure(Error::from_client(error, subject))
                }
                Ok(Some(Ok(page))) => {
                    self.next = page.next;
                    let end = page::end(kinesis, &route.stream, route.shard, &page);
                    Next::Event(page, end)
                }
            };
        }
    }
}

impl Subject {
    /// Makes the event with a page, and counts it against the budget.
    async fn frame(&self, protocol: Protocol, page: Page, end: Option<&[ChildShard]>) -> Bytes {
        let permit = self.reserve(page::bytes(&page) * COST_THIRDS / 3).await;
        let capacity = 1024 + permit.bytes() + page.record_count() * 192;
        let mut writer = Writer::new(protocol.format(), capacity);
        writer.structure(|w| {
            w.member("Records").list(|w| page::write_records(w, &page, &self.route));
            // The last event of a shard has no such member. The Kinesis Client Library takes its absence as the end
            // of the shard.
            if end.is_none() {
                w.member("ContinuationSequenceNumber").plain(self.continuation(&page));
            }
            page::write_end(w, &page, end.unwrap_or_default());
        });
        let frame = event_stream::event(protocol, "SubscribeToShardEvent", &writer.finish());
        counted(frame, Some(permit))
    }

    /// The sequence number after which the client continues: the number of the last record, or for an empty page the
    /// number just before the next position.
    fn continuation(&self, page: &Page) -> SequenceNumber {
        let ShardRoute { shard, birth, .. } = *self.route;
        match page.records().last() {
            Some((position, arrival, _)) => position.sequence_number(shard, birth, arrival),
            None => page.next.previous().sequence_number(shard, birth, self.kinesis.clock.now()),
        }
    }

    /// Waits until the budget has this many bytes free. An event that is larger than the whole budget waits for all
    /// of it.
    async fn reserve(&self, bytes: usize) -> Permit {
        let bytes = bytes.clamp(1, self.kinesis.push_bytes.max(1));
        loop {
            if let Some(permit) = self.kinesis.pushes.take(bytes) {
                return permit;
            }
            sleep(BUDGET_PAUSE).await;
        }
    }
}
