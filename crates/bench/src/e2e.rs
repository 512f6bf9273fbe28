//! `anabranch-bench e2e`: the time from the acknowledgement of a put to the receipt of its record.
//!
//! Each record carries a mark with its number and the moment at which it should have been sent ([`journeys`]). Order:
//! readers connect at the tip of every shard, writers send, readers wait for the last acknowledged records. Records
//! that never arrive or arrive twice are counted.

mod journeys;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anabranch_client::Page;
use anabranch_shard::Start;
use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use futures::stream::BoxStream;
use rand::RngCore;
use serde::Serialize;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::connection::{Connection, Endpoint};
use crate::e2e::journeys::{Journeys, Mark, Totals};
use crate::kinesis::{self, get_records, list_shards, shard_iterator};
use crate::native::{Native, batch};
use crate::options::{Api, Target, Until, duration};
use crate::payload::{put_record, record_members};
use crate::push::{self, Consumer, Events};
use crate::put::schedule;
use crate::report::{Baseline, Percentiles, Report, Tally};
use crate::schedule::Schedule;

/// How long readers may take for the records that were acknowledged last.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes records one by one while one reader per shard follows, and measures from the acknowledgement of each put to
/// its receipt. Readers poll, unless `--push` is given; over gRPC the server pushes. A receipt before the
/// acknowledgement counts as 1 µs.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    until: Until,
    /// Bytes of data in a record
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(24..=10_485_760))]
    record_size: u32,
    /// Records per second over all connections; without it each connection waits for its last acknowledgement
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// How long a reader waits after an empty response
    #[arg(long, default_value = "0s", value_parser = duration)]
    poll_interval: Duration,
    /// Readers subscribe (SubscribeToShard) as a separate consumer, instead of polling
    #[arg(long)]
    push: bool,
}

#[derive(Debug, Serialize)]
struct Parameters {
    record_size: u32,
    rate: Option<u32>,
    poll_interval_ms: u64,
    push: bool,
    shards: usize,
    put_p50_us: u64,
    put_p99_us: u64,
    put_p999_us: u64,
    send_to_receipt_p50_us: u64,
    send_to_receipt_p99_us: u64,
    send_to_receipt_p999_us: u64,
    /// Records that were acknowledged and never received.
    missing: u64,
    /// Records that were received twice, or received without an acknowledgement.
    unexpected: u64,
}

/// Shared by writers and readers.
struct Load {
    stream: String,
    run: u64,
    start: Instant,
    filler: Vec<u8>,
    poll_interval: Duration,
    journeys: Journeys,
    readers_may_stop: AtomicBool,
}

/// A connection that writes.
enum Writer {
    Kinesis(Connection),
    Native(Native),
}

/// A connection that follows one shard, from its tip at the time of the connection.
enum Reader {
    Kinesis { connection: Connection, iterator: String },
    Pushed { events: Events, _connection: Connection },
    Native(BoxStream<'static, Result<Page, anabranch_client::Error>>),
}

/// Measures, and prints the report.
///
/// # Errors
/// When the stream cannot be read or written at all.
pub(crate) async fn run(args: Args) -> Result<()> {
    let target = &args.target;
    let consumer = if args.push { Some(register(target).await?) } else { None };
    let (writers, readers) = connect(target, consumer.as_ref()).await?;
    let shards = readers.len();
    let mut filler = vec![0; usize::try_from(args.record_size)?];
    rand::rng().fill_bytes(&mut filler);
    let load = Arc::new(Load {
        stream: target.stream.clone(),
        run: rand::random(),
        start: Instant::now(),
        filler,
        poll_interval: args.poll_interval,
        journeys: Journeys::new(),
        readers_may_stop: AtomicBool::new(false),
    });
    let readers = start_readers(&load, readers).await?;
    let baseline = Baseline::now(target)?;
    let schedule = Arc::new(schedule(args.until, 1, args.rate));
    let puts = write_all(&load, &schedule, writers).await?;
    stop_readers(&load, readers).await?;
    if let Some(consumer) = consumer {
        let endpoints = Endpoint::all(target)?;
        let first = endpoints.first().context("--endpoint")?;
        consumer.deregister(&mut Connection::new(first)).await?;
    }

    let totals = load.journeys.totals();
    let parameters = parameters(&args, shards, &puts, &totals);
    let mut tally = Tally::new();
    tally.latencies = totals.from_acknowledgement;
    tally.records = totals.received;
    tally.bytes = totals.received * u64::from(args.record_size);
    tally.errors = puts.errors;
    tally.end = puts.end;
    Report::new("e2e", target, parameters, &baseline, schedule.start(), &tally)?.print()
}

/// A consumer for the readers.
async fn register(target: &Target) -> Result<Consumer> {
    ensure!(target.api == Api::Kinesis, "--push: only the Kinesis API has it");
    let endpoints = Endpoint::all(target)?;
    let first = endpoints.first().context("--endpoint")?;
    Consumer::register(&mut Connection::new(first), &target.stream).await
}

/// A writer for each connection, and a reader for each shard.
async fn connect(
    target: &Target,
    consumer: Option<&Consumer>,
) -> Result<(Vec<Writer>, Vec<Reader>)> {
    let (mut writers, mut readers) = (Vec::new(), Vec::new());
    match target.api {
        Api::Kinesis => {
            let endpoints = Endpoint::all(target)?;
            let first = endpoints.first().context("--endpoint")?;
            for shard in list_shards(&mut Connection::new(first), &target.stream).await? {
                let mut connection = Connection::new(first);
                if let Some(consumer) = consumer {
                    let events = consumer.subscribe(&mut connection, &shard).await?;
                    readers.push(Reader::Pushed { events, _connection: connection });
                    continue;
                }
                let iterator = shard_iterator(&mut connection, &target.stream, &shard, "LATEST");
                let iterator = iterator.await?;
                readers.push(Reader::Kinesis { connection, iterator });
            }
            let connections = Connection::spread(&endpoints, target.connections);
            writers.extend(connections.map(Writer::Kinesis));
        }
        Api::Grpc => {
            let session = Native::connect(target).await?;
            for shard in session.shards() {
                let from = session.seek(shard, Start::Latest).await?;
                readers.push(Reader::Native(session.tail(shard, from)));
            }
            for _ in 0..target.connections {
                writers.push(Writer::Native(Native::connect(target).await?));
            }
        }
        Api::Nats | Api::Kafka | Api::Etcd => bail!("--api: only puts speak it"),
    }
    Ok((writers, readers))
}

fn parameters(args: &Args, shards: usize, puts: &Tally, totals: &Totals) -> Parameters {
    let Percentiles { p50_us, p99_us, p999_us } = totals.from_send.percentiles();
    let put = puts.latencies.percentiles();
    Parameters {
        record_size: args.record_size,
        rate: args.rate,
        poll_interval_ms: u64::try_from(args.poll_interval.as_millis()).unwrap_or(u64::MAX),
        push: args.push,
        shards,
        put_p50_us: put.p50_us,
        put_p99_us: put.p99_us,
        put_p999_us: put.p999_us,
        send_to_receipt_p50_us: p50_us,
        send_to_receipt_p99_us: p99_us,
        send_to_receipt_p999_us: p999_us,
        missing: totals.missing,
        unexpected: totals.unexpected,
    }
}

/// Starts the readers, and waits until each reader that polls has polled once.
async fn start_readers(load: &Arc<Load>, readers: Vec<Reader>) -> Result<JoinSet<Result<()>>> {
    let ready = Arc::new(Barrier::new(readers.len() + 1));
    let mut tasks = JoinSet::new();
    for reader in readers {
        tasks.spawn(reader.follow(Arc::clone(load), Arc::clone(&ready)));
    }
    tokio::select! {
        _ = ready.wait() => Ok(tasks),
        Some(ended) = tasks.join_next() => {
            ended.context("a reader's task died")??;
            bail!("a shard of {} is closed", load.stream)
        }
    }
}

async fn write_all(
    load: &Arc<Load>,
    schedule: &Arc<Schedule>,
    writers: Vec<Writer>,
) -> Result<Tally> {
    let pace = Arc::clone(schedule);
    std::thread::spawn(move || pace.run_pace());
    let mut tasks = JoinSet::new();
    for writer in writers {
        tasks.spawn(writer.run(Arc::clone(load), Arc::clone(schedule)));
    }
    let mut sum = Tally::new();
    while let Some(tally) = tasks.join_next().await {
        sum.add(&tally.context("a writer's task died")?);
    }
    ensure!(sum.records > 0, "no put succeeded, {} attempts failed", sum.errors);
    Ok(sum)
}

async fn stop_readers(load: &Arc<Load>, mut readers: JoinSet<Result<()>>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut look = tokio::time::interval(Duration::from_millis(5));
    while load.journeys.under_way() > 0 && Instant::now() < deadline {
        look.tick().await;
    }
    load.readers_may_stop.store(true, Ordering::Relaxed);
    while let Some(ended) = readers.join_next().await {
        ended.context("a reader's task died")??;
    }
    Ok(())
}

impl Writer {
    async fn run(mut self, load: Arc<Load>, schedule: Arc<Schedule>) -> Tally {
        let mut tally = Tally::new();
        while let Some(ticket) = schedule.next().await {
            let sent = ticket.due.saturating_duration_since(load.start);
            let mark = Mark { run: load.run, number: ticket.number, sent };
            if self.put(&load.stream, &mark.stamp(&load.filler)).await.is_ok() {
                load.journeys.acknowledged(ticket.number, Instant::now());
                tally.succeeded(ticket.due, 1, load.filler.len() as u64);
            }
        }
        tally.errors += match &self {
            Self::Kinesis(connection) => connection.errors,
            Self::Native(session) => session.errors,
        };
        tally
    }

    async fn put(&mut self, stream: &str, data: &[u8]) -> Result<()> {
        match self {
            Self::Kinesis(connection) => {
                connection.call("PutRecord", put_record(stream, &record_members(data))).await?;
                Ok(())
            }
            Self::Native(session) => session.append(batch([data])?).await,
        }
    }
}

impl Reader {
    /// Follows the shard until it closes or all writers are done.
    async fn follow(self, load: Arc<Load>, ready: Arc<Barrier>) -> Result<()> {
        match self {
            Self::Kinesis { connection, iterator } => {
                poll(connection, iterator, &load, &ready).await
            }
            Self::Pushed { events, _connection } => {
                ready.wait().await;
                receive_events(events, &load).await
            }
            Self::Native(pages) => {
                ready.wait().await;
                receive_pushed(pages, &load).await
            }
        }
    }
}

async fn poll(
    mut connection: Connection,
    first: String,
    load: &Load,
    ready: &Barrier,
) -> Result<()> {
    let mut next = Some(first);
    let mut is_ready = false;
    while let Some(iterator) = next.take()
        && !load.readers_may_stop.load(Ordering::Relaxed)
    {
        let answer = connection.call("GetRecords", get_records(&iterator, 10_000)).await;
        let answer = answer.context("GetRecords")?;
        let received = Instant::now();
        let page: kinesis::Page<'_> =
            serde_json::from_slice(&answer).context("answer to GetRecords")?;
        for record in &page.records {
            load.receive(&record.decoded()?, received);
        }
        if !is_ready {
            ready.wait().await;
            is_ready = true;
        }
        if page.records.is_empty() && !load.poll_interval.is_zero() {
            tokio::time::sleep(load.poll_interval).await;
        }
        next = page.next_shard_iterator.map(std::borrow::Cow::into_owned);
    }
    Ok(())
}

async fn receive_events(mut events: Events, load: &Load) -> Result<()> {
    let mut look = tokio::time::interval(Duration::from_millis(5));
    while !load.readers_may_stop.load(Ordering::Relaxed) {
        let payload = tokio::select! {
            biased;
            payload = events.next() => payload?,
            _ = look.tick() => continue,
        };
        let Some(payload) = payload else { break };
        let received = Instant::now();
        let event: push::Event<'_> =
            serde_json::from_slice(&payload).context("event of SubscribeToShard")?;
        for record in &event.records {
            load.receive(&record.decoded()?, received);
        }
    }
    Ok(())
}

async fn receive_pushed(
    mut pages: BoxStream<'static, Result<Page, anabranch_client::Error>>,
    load: &Load,
) -> Result<()> {
    let mut look = tokio::time::interval(Duration::from_millis(5));
    while !load.readers_may_stop.load(Ordering::Relaxed) {
        let page = tokio::select! {
            biased;
            page = pages.next() => page,
            _ = look.tick() => continue,
        };
        let Some(page) = page else { break };
        let (page, received) = (page.context("Tail")?, Instant::now());
        for (_, _, record) in page.records() {
            load.receive(&record.data, received);
        }
    }
    Ok(())
}

impl Load {
    fn receive(&self, data: &[u8], received: Instant) {
        if let Some(mark) = Mark::of(data).filter(|mark| mark.run == self.run) {
            self.journeys.received(mark.number, self.start + mark.sent, received);
        }
    }
}
