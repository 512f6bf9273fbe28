//! What clients of the Kinesis API send.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::{Command, StreamId};
use anabranch_client::{Error, Page, ShardRoute, View};
use anabranch_gateway::{Cluster, Gateway, GatewaySettings, Pages, TokenKey, fuzzing};
use anabranch_shard::{Batch, Position, Run, Start};
use anabranch_types::{ManualClock, StreamName, Timestamp};
use crc32fast::hash;
use futures::future::{BoxFuture, pending, ready};
use futures::{FutureExt, StreamExt};

use crate::targets::catalog::populated;

/// A name of an operation, a line end, `J` or `C` for the format, the body: decoded, checked, carried out, answered.
pub(super) fn call(input: &[u8]) {
    let Some(at) = input.iter().position(|byte| *byte == b'\n') else { return };
    let Ok(name) = std::str::from_utf8(&input[..at]) else { return };
    let Some((format, body)) = input[at + 1..].split_first() else { return };
    let Some(status) = wait(fuzzing::call(&gateway(), name, *format == b'C', body)) else { return };
    // The cluster refuses every change as unknown, which is a failure inside; nothing else may be.
    let is_change = status == 500;
    assert!(matches!(status, 200 | 400) || is_change, "{name} was answered {status}");
}

/// A body in gzip inflates to what another decoder makes of it, if that is one member, or is refused.
pub(super) fn gzip(input: &[u8]) {
    let inflated = wait(fuzzing::inflate(&gateway(), input));
    let (mut rest, mut expected) = (input, Vec::new());
    // At once, where the gateway takes pieces.
    let mut decoder = flate2::bufread::GzDecoder::new(&mut rest).take(MAX_BODY_BYTES as u64 + 1);
    let is_good = decoder.read_to_end(&mut expected).is_ok() && expected.len() <= MAX_BODY_BYTES;
    let is_alone = is_good && rest.is_empty();
    assert_eq!(inflated, is_alone.then_some(expected));
}

/// A token as it comes, and the inside of one, which only its seal protects from being anything.
pub(super) fn token(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        assert!(!fuzzing::opens(&gateway(), text), "a token that nobody sealed");
    }
    fuzzing::read_token(input);
}

/// A frame of an event stream around any payload is taken apart again.
pub(super) fn event_stream(input: &[u8]) {
    for (cbor, content_type) in
        [(false, "application/x-amz-json-1.1"), (true, "application/x-amz-cbor-1.1")]
    {
        let bytes = fuzzing::event(cbor, "SubscribeToShardEvent", input);
        let headers = [
            (":message-type", "event"),
            (":event-type", "SubscribeToShardEvent"),
            (":content-type", content_type),
        ];
        assert_eq!(parse_frame(&bytes), Some((headers.to_vec(), input)));
    }
}

/// Headers and payload.
type Parsed<'a> = (Vec<(&'a str, &'a str)>, &'a [u8]);

/// The headers and the payload of a frame that is all of `bytes`.
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

/// The largest body.
const MAX_BODY_BYTES: usize = 128 * 1024;

fn gateway() -> Gateway {
    let mut settings = GatewaySettings::new(TokenKey::new([7; 32]));
    settings.max_body_bytes = MAX_BODY_BYTES;
    settings.max_in_flight_bytes = 16 * MAX_BODY_BYTES;
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)));
    Gateway::over(Arc::new(ReadOnly(Arc::new(View::new(populated())))), settings, clock)
}

/// What the future comes to, under a clock that runs as soon as all wait for it.
fn wait<F: Future>(future: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O needs nothing").block_on(future)
}

/// A cluster that shows a catalog, and whose shards are empty and take nothing.
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
