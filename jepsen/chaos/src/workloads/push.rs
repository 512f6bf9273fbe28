//! Subscribers: registered consumers that hold a subscription to each shard, as enhanced fan-out does.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use async_trait::async_trait;
use bytes::BytesMut;
use chaos_checkers::history::{
    Answer, Done, Get, GetApi, Iter, IterStart, Page, Seq, ShardId, StreamName,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rand::seq::IteratorRandom;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::admin::Admin;
use crate::kinesis::event_stream::{self, Frame};
use crate::kinesis::{Connection, Failure};
use crate::operations;
use crate::scene::Scene;
use crate::session::Session;
use crate::workload::{Workload, create_lasting_stream};
use crate::workloads::producer::Producer;

const STREAM: &str = "resharded-push";
const SUBSCRIBERS: u64 = 3;
/// Time until a subscriber tries again.
const PAUSE: Duration = Duration::from_millis(50);
/// Time without an event after which a subscription counts as broken. Events come at least every few seconds.
const SILENCE: Duration = Duration::from_secs(8);

/// The workload.
pub(crate) struct Push;

#[async_trait]
impl Workload for Push {
    async fn prepare(&self, scene: &Scene, _admin: &Admin) -> Result<()> {
        let mut session = scene.session("push prepare", 0);
        create_lasting_stream(&mut session, &StreamName::from(STREAM), 2).await?;
        for number in 0..SUBSCRIBERS {
            let gateway = scene.network.api(scene.gateways[0]);
            let mut connection = Connection::new(gateway, scene.signer.clone());
            let body = json!({ "StreamARN": arn(STREAM), "ConsumerName": consumer_name(number) });
            let made = connection.call("RegisterStreamConsumer", &body, None).await;
            made.map_err(|failure| anyhow!("consumer: {}", failure.reason()))?;
        }
        Ok(())
    }

    fn clients(&self, scene: &Scene, _admin: &Admin) -> Vec<BoxFuture<'static, ()>> {
        let producer = Producer::new(scene.session("push producer", 0), StreamName::from(STREAM));
        let mut clients = vec![producer.run().boxed()];
        for number in 0..SUBSCRIBERS {
            let session = scene.session("subscriber", number);
            clients.push(subscribe(session, number).boxed());
        }
        clients
    }

    fn streams(&self) -> Vec<StreamName> {
        vec![StreamName::from(STREAM)]
    }
}

fn consumer_name(number: u64) -> String {
    format!("subscriber-{number}")
}

/// ARN of a stream, in the default account and region of a cluster.
pub(crate) fn arn(stream: &str) -> String {
    format!("arn:aws:kinesis:us-east-1:000000000000:stream/{stream}")
}

/// Follows the shards one after the other, from parents to children.
async fn subscribe(mut session: Session, number: u64) {
    let stream = StreamName::from(STREAM);
    let mut next: Option<(ShardId, Option<Seq>)> = None;
    while session.scene.goes_on() {
        session.move_about();
        let (shard, after) = match next.take() {
            Some(next) => next,
            None => match random_shard(&mut session, &stream).await {
                Some(shard) => (shard, None),
                None => {
                    sleep(PAUSE).await;
                    continue;
                }
            },
        };
        next = follow(&mut session, number, &stream, shard, after).await;
        sleep(PAUSE).await;
    }
}

async fn random_shard(session: &mut Session, stream: &StreamName) -> Option<ShardId> {
    let shards = session.shards(stream).await.ok()?.shards;
    shards.into_iter().map(|shard| shard.shard).choose(&mut session.random)
}

/// One subscription of a shard, until it ends. Returns where the subscriber goes on.
async fn follow(
    session: &mut Session,
    number: u64,
    stream: &StreamName,
    shard: ShardId,
    after: Option<Seq>,
) -> Option<(ShardId, Option<Seq>)> {
    let start = after.map_or(IterStart::TrimHorizon, IterStart::AfterSequenceNumber);
    let chain = session.scene.recorder.new_chain();
    let iter = Iter { stream: stream.clone(), shard: shard.clone(), chain, start };
    let consumer = consumer_arn(session, number).await.ok()?;
    let position = match after {
        None => json!({ "Type": "TRIM_HORIZON" }),
        Some(seq) => json!({ "Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": seq.to_string() }),
    };
    let body = json!({ "ConsumerARN": consumer, "ShardId": shard.0, "StartingPosition": position });
    let mut response = None;
    let begun = session
        .run(iter, Answer::Iter, async |connection| {
            let sent = connection.send("SubscribeToShard", &body, None).await?;
            let status = sent.status().as_u16();
            if status != 200 {
                return Err(Failure::Refused(format!("status {status}")));
            }
            response = Some(sent.into_body());
            Ok(Done {})
        })
        .await;
    if begun.is_err() {
        return None;
    }
    let mut events = Events { body: response?, arrived: BytesMut::new() };
    let mut position = after;
    while session.scene.goes_on() {
        let get = Get { chain, api: GetApi::Push };
        let page =
            session.run(get, Answer::Get, async |_connection| events.next_page().await).await;
        let Ok(page) = page else { return Some((shard, position)) };
        position = page.records.last().map(|record| record.seq).or(position);
        if !page.next {
            let child = page.children.iter().choose(&mut session.random)?;
            return Some((child.shard.clone(), None));
        }
    }
    None
}

async fn consumer_arn(session: &Session, number: u64) -> Result<String> {
    let mut connection =
        Connection::new(session.scene.network.api(session.gateway()), session.signer());
    let body = json!({ "StreamARN": arn(STREAM), "ConsumerName": consumer_name(number) });
    let answer = connection.call("DescribeStreamConsumer", &body, None).await;
    let answer = answer.map_err(|failure| anyhow!("{}", failure.reason().to_owned()))?;
    let arn = answer["ConsumerDescription"]["ConsumerARN"].as_str();
    arn.map(str::to_owned).context("no ConsumerARN")
}

struct Events {
    body: Incoming,
    arrived: BytesMut,
}

impl Events {
    /// The next event that has records, or is about the end of the shard.
    async fn next_page(&mut self) -> Result<Page, Failure> {
        loop {
            let Frame { name, is_exception, payload } = self.next_frame().await?;
            if is_exception {
                return Err(Failure::Refused(format!("{name}: {payload}")));
            }
            if name == "SubscribeToShardEvent" {
                return page(&payload);
            }
        }
    }

    async fn next_frame(&mut self) -> Result<Frame, Failure> {
        loop {
            if let Some(frame) = event_stream::next(&mut self.arrived) {
                return Ok(frame);
            }
            let part = timeout(SILENCE, self.body.frame()).await;
            let part = part.map_err(|elapsed| Failure::Refused(elapsed.to_string()))?;
            let part = part.ok_or_else(|| Failure::Refused("the subscription ended".into()))?;
            let part = part.map_err(|error| Failure::Refused(error.to_string()))?;
            if let Ok(bytes) = part.into_data() {
                self.arrived.extend_from_slice(&bytes);
            }
        }
    }
}

/// An event as a page. At the end of a closed shard it has no ContinuationSequenceNumber, and the children.
fn page(event: &Value) -> Result<Page, Failure> {
    operations::page(event, event["ContinuationSequenceNumber"].is_string())
}
