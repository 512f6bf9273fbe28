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

/// How long records are pushed before the client has to subscribe again (documentation of SubscribeToShard).
const LIFETIME: Duration = Duration::from_secs(300);
/// Before the byte budget is asked again for room for an event.
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

/// A subscription that was let in.
pub(crate) struct Subscription {
    subject: Subject,
    pages: Pages,
    /// Where the next page begins.
    next: Position,
    ends: Instant,
}

/// What is subscribed to, and by whom.
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
        // One spelling, whatever partition or region the client wrote: the seat is taken by it.
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

/// What comes next in a subscription.
enum Next {
    /// A page, and the children of the shard where it ends.
    Event(Page, Option<Vec<ChildShard>>),
    /// The last frame.
    Failure(Error),
    /// Time is up.
    End,
}

impl Subscription {
    /// Its frames. Each is made when the connection has capacity for it.
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

    /// Also looks whenever the catalog changes: for the consumer, and for the end of the shard.
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
    /// The event with a page, counted against the byte budget.
    async fn frame(&self, protocol: Protocol, page: Page, end: Option<&[ChildShard]>) -> Bytes {
        let permit = self.room(page::bytes(&page) * COST_THIRDS / 3).await;
        let capacity = 1024 + permit.bytes() + page.record_count() * 192;
        let mut writer = Writer::new(protocol.format(), capacity);
        writer.structure(|w| {
            w.member("Records").list(|w| page::write_records(w, &page, &self.route));
            // A shard's end has none: the Kinesis Client Library takes the member's absence for the end.
            if end.is_none() {
                w.member("ContinuationSequenceNumber").plain(self.continuation(&page));
            }
            page::write_end(w, &page, end.unwrap_or_default());
        });
        let frame = event_stream::event(protocol, "SubscribeToShardEvent", &writer.finish());
        counted(frame, Some(permit))
    }

    /// The number to go on after: that of the page's last record, or else of the place just before what comes next.
    fn continuation(&self, page: &Page) -> SequenceNumber {
        let ShardRoute { shard, birth, .. } = *self.route;
        match page.records().last() {
            Some((position, arrival, _)) => position.sequence_number(shard, birth, arrival),
            None => page.next.previous().sequence_number(shard, birth, self.kinesis.clock.now()),
        }
    }

    /// Room for so many bytes, or for as many as there ever are, as soon as nobody else has it.
    async fn room(&self, bytes: usize) -> Permit {
        let bytes = bytes.clamp(1, self.kinesis.push_bytes.max(1));
        loop {
            if let Some(permit) = self.kinesis.pushes.take(bytes) {
                return permit;
            }
            sleep(BUDGET_PAUSE).await;
        }
    }
}
