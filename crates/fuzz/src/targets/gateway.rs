//! Requests of clients of the Kinesis API, and the formats that the gateway writes.
//!
//! The gateway runs over a fake cluster, which has a catalog, empty shards, and refuses all writes. No input may
//! cause a panic or an unexpected status code.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::{Command, StreamId};
use anabranch_client::{Cluster, Error, Page, Pages, ShardRoute, View, WatchedRows};
use anabranch_cloudwatch::{CloudWatch, Sts};
use anabranch_gateway::{Authentication, Gateway, GatewaySettings, Platform, TokenKey};
use anabranch_kinesis::{Kinesis, KinesisSettings};
use anabranch_metrics::Registry;
use anabranch_shard::{Batch, Position, Run, Start};
use anabranch_table::{Request, Response, WatchedRange};
use anabranch_types::{GroupId, ManualClock, StreamName, Timestamp};
use crc32fast::hash;
use futures::future::{BoxFuture, pending, ready};
use futures::{FutureExt, StreamExt};

use crate::targets::catalog::populated;

/// Input: the name of an operation, a line end, `J` (JSON) or `C` (CBOR), and the body of the request. The whole
/// request is handled.
pub(super) fn call(input: &[u8]) {
    let Some(at) = input.iter().position(|byte| *byte == b'\n') else { return };
    let Ok(name) = std::str::from_utf8(&input[..at]) else { return };
    let Some((format, body)) = input[at + 1..].split_first() else { return };
    let target = format!("Kinesis_20131202.{name}");
    let content_type = if *format == b'C' { CBOR } else { JSON };
    let (gateway, _) = gateway();
    let called = anabranch_gateway::fuzzing::call(&gateway, &target, content_type, body);
    let Some(status) = wait(called) else { return };
    // The fake cluster answers every write with an unknown outcome, which becomes status 500. Nothing else may.
    let is_change = status == 500;
    assert!(matches!(status, 200 | 400) || is_change, "{name} was answered {status}");
}

/// Input: a form, as clients of CloudWatch and STS send it. The whole request is handled.
pub(super) fn form(input: &[u8]) {
    let registry = Registry::default();
    let platform = platform(Authentication::Any, &registry);
    let (cloudwatch, sts) = (CloudWatch::new(&platform, &registry), Sts::new(&platform));
    let gateway = Gateway::new(platform).with_service(cloudwatch).with_service(sts);
    let Some(status) = wait(anabranch_gateway::fuzzing::form(&gateway, input)) else { return };
    assert!(matches!(status, 200 | 400), "a form was answered {status}");
}

/// Input: a gzip body. It must decompress to the same bytes as with another decoder if it is exactly one gzip member.
/// Otherwise it is refused.
pub(super) fn gzip(input: &[u8]) {
    let inflated = wait(anabranch_gateway::fuzzing::inflate(&gateway().0, input));
    let (mut rest, mut expected) = (input, Vec::new());
    // This decoder gets the whole body, and the gateway gets it in pieces.
    let mut decoder = flate2::bufread::GzDecoder::new(&mut rest).take(MAX_BODY_BYTES as u64 + 1);
    let is_good = decoder.read_to_end(&mut expected).is_ok() && expected.len() <= MAX_BODY_BYTES;
    let is_alone = is_good && rest.is_empty();
    assert_eq!(inflated, is_alone.then_some(expected));
}

/// Input: a token as a client sends it, and the plain contents of a token. Only the seal prevents clients from
/// choosing the contents.
pub(super) fn token(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        assert!(
            !anabranch_kinesis::fuzzing::opens(&gateway().1, text),
            "a token that nobody sealed"
        );
    }
    anabranch_kinesis::fuzzing::read_token(input);
}

/// Input: a payload. The frame of an event stream around it must parse back to the same headers and payload.
pub(super) fn event_stream(input: &[u8]) {
    for (cbor, content_type) in [(false, JSON), (true, CBOR)] {
        let bytes = anabranch_kinesis::fuzzing::event(cbor, "SubscribeToShardEvent", input);
        let headers = [
            (":message-type", "event"),
            (":event-type", "SubscribeToShardEvent"),
            (":content-type", content_type),
        ];
        assert_eq!(parse_frame(&bytes), Some((headers.to_vec(), input)));
    }
}

/// Headers and payload of a frame.
type Parsed<'a> = (Vec<(&'a str, &'a str)>, &'a [u8]);

/// Parses a frame that fills all of `bytes`.
fn parse_frame(bytes: &[u8]) -> Option<Parsed<'_>> {
    let number = |at: usize| {
        let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    };
    let (total, headers_bytes) = (number(0)? as usize, number(4)? as usize);
    let end = total.checked_sub(4)?;
    let is_whole = total == bytes.len()
        && number(8)? == hash(&bytes[..8])
        && number(end)? == hash(&bytes[..end]);
    let (mut rest, payload) = bytes.get(12..end)?.split_at_checked(headers_bytes)?;
    let mut headers = Vec::new();
    while let [name_bytes, more @ ..] = rest {
        let (name, more) = more.split_at_checked(usize::from(*name_bytes))?;
        let [7, high, low, more @ ..] = more else { return None };
        let (text, more) = more.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
        headers.push((std::str::from_utf8(name).ok()?, std::str::from_utf8(text).ok()?));
        rest = more;
    }
    is_whole.then_some((headers, payload))
}

/// Largest body that the gateway accepts.
const MAX_BODY_BYTES: usize = 128 * 1024;

const JSON: &str = "application/x-amz-json-1.1";
const CBOR: &str = "application/x-amz-cbor-1.1";

fn gateway() -> (Gateway, Kinesis) {
    let platform = platform(Authentication::Required, &Registry::default());
    let kinesis = Kinesis::new(&platform, KinesisSettings::default());
    (Gateway::new(platform).with_service(kinesis.clone()), kinesis)
}

fn platform(authentication: Authentication, registry: &Registry) -> Platform {
    let mut settings = GatewaySettings::new(TokenKey::new([7; 32]));
    settings.authentication = authentication;
    settings.max_body_bytes = MAX_BODY_BYTES;
    settings.max_in_flight_bytes = 16 * MAX_BODY_BYTES;
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)));
    let cluster = Arc::new(ReadOnly(Arc::new(View::new(populated()))));
    Platform::new(cluster, settings, clock, registry.clone())
}

/// Runs a future to its end. The clock is paused and jumps ahead when every task waits, so timeouts take no real
/// time.
fn wait<F: Future>(future: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O needs nothing").block_on(future)
}

/// A fake cluster with a catalog. Its shards are empty and take no records.
#[derive(Debug)]
struct ReadOnly(Arc<View>);

impl Cluster for ReadOnly {
    fn view(&self) -> Arc<View> {
        Arc::clone(&self.0)
    }

    fn newest_view(&self) -> BoxFuture<'_, Result<Arc<View>, Error>> {
        ready(Ok(self.view())).boxed()
    }

    fn propose(&self, _: Command) -> BoxFuture<'_, Result<Arc<View>, Error>> {
        ready(Err(Error::NoLeader)).boxed()
    }

    fn new_data_key(
        &self,
        _: StreamName,
        _: StreamId,
        _: String,
    ) -> BoxFuture<'_, Result<Vec<u8>, Error>> {
        ready(Err(Error::NoLeader)).boxed()
    }

    fn append<'a>(
        &'a self,
        _: &'a ShardRoute,
        batch: Batch,
    ) -> BoxFuture<'a, Result<Vec<Run>, Error>> {
        let parsed = Batch::parse(batch.bytes().clone());
        assert_eq!(parsed.map(|parsed| parsed.record_count()), Ok(batch.record_count()));
        ready(Err(Error::NoLeader)).boxed()
    }

    fn table(&self, _: GroupId, _: Request) -> BoxFuture<'_, Result<Response, Error>> {
        ready(Err(Error::NoLeader)).boxed()
    }

    fn recall<'a>(
        &'a self,
        _: &'a ShardRoute,
        batch: &'a Batch,
    ) -> BoxFuture<'a, Result<Vec<Option<Run>>, Error>> {
        ready(Ok(vec![None; batch.record_count() as usize])).boxed()
    }

    fn newer_view(&self, _: u64, longest: Duration) -> BoxFuture<'_, ()> {
        tokio::time::sleep(longest).boxed()
    }

    fn seek<'a>(&'a self, _: &'a ShardRoute, _: Start) -> BoxFuture<'a, Result<Position, Error>> {
        ready(Ok(Position::entry(1))).boxed()
    }

    fn read<'a>(
        &'a self,
        _: &'a ShardRoute,
        from: Position,
        _: u32,
        _: usize,
        _: Duration,
    ) -> BoxFuture<'a, Result<Page, Error>> {
        ready(Ok(Page { batches: Vec::new(), next: from, behind: Duration::ZERO })).boxed()
    }

    fn watch_rows(&self, _: GroupId, _: WatchedRange) -> Result<WatchedRows, Error> {
        Err(Error::NotFound)
    }

    fn tail(&self, _: &ShardRoute, _: Position) -> Pages {
        futures::stream::pending().boxed()
    }

    fn subscribe<'a>(
        &'a self,
        _: &'a ShardRoute,
        _: Position,
        _: String,
    ) -> BoxFuture<'a, Result<Pages, Error>> {
        ready(Ok(futures::stream::once(pending()).boxed())).boxed()
    }
}
