use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::{Consumer, ConsumerStatus};
use anabranch_client::{Page, ShardRoute};
use anabranch_shard::Position;
use anabranch_types::{ConsumerArn, SequenceNumber, ShardId, StreamName};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout_at};

use super::beginning::Beginning;
use super::page::{self, COST_THIRDS, ChildShard};
use super::{Call, Context, Request, admit, attempt, shards};
use crate::authorization::Target;
use crate::budget::Permit;
use crate::cluster::Pages;
use crate::constraints::{Checks, Constrained, rules};
use crate::errors::Error;
use crate::event_stream;
use crate::gateway::Gateway;
use crate::response::{self, Done};
use crate::wire::{Flag, Format, Moment, Structure, Text, Writer};

/// How long records are pushed before the client has to subscribe again (documentation of SubscribeToShard).
const LIFETIME: Duration = Duration::from_secs(300);
/// Before the byte budget is asked again for room for an event.
const BUDGET_PAUSE: Duration = Duration::from_millis(20);

/// `SubscribeToShardInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SubscribeToShard<'a> {
    #[serde(borrow, rename = "ConsumerARN")]
    consumer_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
    #[serde(borrow)]
    shard_id: Option<Text<'a>>,
    #[serde(borrow)]
    starting_position: Option<Structure<StartingPosition<'a>>>,
    dry_run: Option<Flag>,
}

/// `StartingPosition` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StartingPosition<'a> {
    #[serde(borrow, rename = "Type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    sequence_number: Option<Text<'a>>,
    timestamp: Option<Moment>,
}

impl Constrained for SubscribeToShard<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("ConsumerARN", &self.consumer_arn, &rules::CONSUMER_ARN.required());
        checks.text("StreamId", &self.stream_id, &rules::STREAM_ID);
        checks.text("ShardId", &self.shard_id, &rules::SHARD_ID.required());
        checks.required_structure("StartingPosition", &self.starting_position);
    }
}

impl Constrained for StartingPosition<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("Type", &self.kind, &rules::SHARD_ITERATOR_TYPE.required());
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
    gateway: Gateway,
    consumer: ConsumerArn,
    route: Arc<ShardRoute>,
}

/// Carries out the call. Refusals are ordinary errors; what goes wrong later is an event.
pub(crate) fn perform<'a>(call: Call<'a>) -> BoxFuture<'a, Result<Done, Error>> {
    async move {
        let admitted = admit::<SubscribeToShard<'a>>(&call).await?;
        let subscription = attempt(&admitted, &call).await?;
        let format = call.format;
        Ok(Done::Events(subscription.events(format).boxed()))
    }
    .boxed()
}

impl Request for SubscribeToShard<'_> {
    type Answer = Subscription;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        gateway.consumer_target(self.consumer_arn.as_deref().unwrap_or_default())
    }

    fn shard(&self) -> Option<ShardId> {
        shards::named(self.shard_id.as_deref()?)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Subscription, Error> {
        let gateway = cx.gateway;
        let (consumer, route) = self.find(gateway)?;
        let name = &route.stream;
        let position = self.starting_position.as_ref().map(|Structure(position)| position);
        let beginning = Beginning {
            operation: "SubscribeToShard",
            number_member: "SequenceNumber",
            kind: position.and_then(|position| position.kind.as_deref()).unwrap_or_default(),
            number: position.and_then(|position| position.sequence_number.as_deref()),
            moment: position.and_then(|position| position.timestamp),
        };
        let start = beginning.start(gateway, name, &route)?;
        if self.dry_run == Some(Flag(true)) {
            return Err(Error::DryRun);
        }
        let text = || format!("consumer {consumer}, shard {}", route.shard);
        let from = gateway.cluster.seek(&route, start).await;
        let from = from.map_err(|error| Error::from_client(error, text))?;
        let pages = gateway.cluster.subscribe(&route, from, consumer.to_string()).await;
        let pages = pages.map_err(|error| Error::from_client(error, text))?;
        let subject = Subject { gateway: gateway.clone(), consumer, route };
        Ok(Subscription { subject, pages, next: from, ends: Instant::now() + LIFETIME })
    }
}

impl SubscribeToShard<'_> {
    fn find(&self, gateway: &Gateway) -> Result<(ConsumerArn, Arc<ShardRoute>), Error> {
        let view = gateway.cluster.view();
        let arn = self.consumer_arn.as_deref().unwrap_or_default();
        let (named, known) = gateway.consumer_in_arn(&view, arn)?;
        require_active(&named, known)?;
        // One spelling, whatever partition or region the client wrote: the seat is taken by it.
        let consumer = gateway.consumer_arn(&named.stream.stream, &named.consumer, known);
        let name: &StreamName = &consumer.stream.stream;
        let text = self.shard_id.as_deref().unwrap_or_default();
        let shard = shards::parse_id(gateway, name, text)?;
        let found = gateway.find_for_data(&view, name)?.shard(shard);
        let route = found.ok_or_else(|| shards::missing(gateway, name, shard))?;
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
    /// Its frames. Each is made when the connection has room for it.
    fn events(self, format: Format) -> impl stream::Stream<Item = Bytes> + Send + 'static {
        let first = ready(Bytes::from(event_stream::initial_response(format)));
        let events = stream::unfold(Some(self), move |subscription| async move {
            let mut subscription = subscription?;
            match subscription.next().await {
                Next::Event(page, end) => {
                    let frame = subscription.subject.frame(format, page, end.as_deref()).await;
                    Some((frame, end.is_none().then_some(subscription)))
                }
                Next::Failure(error) => {
                    Some((Bytes::from(event_stream::exception(format, &error)), None))
                }
                Next::End => None,
            }
        });
        stream::once(first).chain(events)
    }

    /// Also looks whenever the catalog changes: for the consumer, and for the end of the shard.
    async fn next(&mut self) -> Next {
        let Subject { gateway, consumer, route } = &self.subject;
        loop {
            if Instant::now() >= self.ends {
                return Next::End;
            }
            let view = gateway.cluster.view();
            let known = gateway.find_consumer(&view, consumer);
            if let Err(error) = known.and_then(|known| require_active(consumer, known)) {
                return Next::Failure(error);
            }
            let rest = Page { batches: Vec::new(), next: self.next, behind: Duration::ZERO };
            let end = page::end(gateway, &route.stream, route.shard, &rest);
            if end.is_some() {
                return Next::Event(rest, end);
            }
            let page = tokio::select! {
                biased;
                page = timeout_at(self.ends, self.pages.next()) => page,
                () = gateway.cluster.newer_view(view.catalog().version, LIFETIME) => continue,
            };
            return match page {
                Err(_) | Ok(None) => Next::End,
                Ok(Some(Err(error))) => {
                    let subject = || format!("consumer {consumer}");
                    Next::Failure(Error::from_client(error, subject))
                }
                Ok(Some(Ok(page))) => {
                    self.next = page.next;
                    let end = page::end(gateway, &route.stream, route.shard, &page);
                    Next::Event(page, end)
                }
            };
        }
    }
}

impl Subject {
    /// The event with a page, counted against the byte budget.
    async fn frame(&self, format: Format, page: Page, end: Option<&[ChildShard]>) -> Bytes {
        let permit = self.room(page::bytes(&page) * COST_THIRDS / 3).await;
        let capacity = 1024 + permit.bytes() + page.record_count() * 192;
        let mut writer = Writer::new(format, capacity);
        writer.structure(|w| {
            w.member("Records").list(|w| page::write_records(w, &page, &self.route));
            // A shard's end has none: the Kinesis Client Library takes the member's absence for the end.
            if end.is_none() {
                w.member("ContinuationSequenceNumber").plain(self.continuation(&page));
            }
            page::write_end(w, &page, end.unwrap_or_default());
        });
        let frame = event_stream::event(format, "SubscribeToShardEvent", &writer.finish());
        response::counted(frame, Some(permit))
    }

    /// The number to go on after: that of the page's last record, or else of the place just before what comes next.
    fn continuation(&self, page: &Page) -> SequenceNumber {
        let ShardRoute { shard, birth, .. } = *self.route;
        match page.records().last() {
            Some((position, arrival, _)) => position.sequence_number(shard, birth, arrival),
            None => page.next.previous().sequence_number(shard, birth, self.gateway.clock.now()),
        }
    }

    /// Room for so many bytes, or for as many as there ever are, as soon as nobody else has it.
    async fn room(&self, bytes: usize) -> Permit {
        let bytes = bytes.clamp(1, self.gateway.settings.push_bytes().max(1));
        loop {
            if let Some(permit) = self.gateway.pushes.take(bytes) {
                return permit;
            }
            sleep(BUDGET_PAUSE).await;
        }
    }
}
