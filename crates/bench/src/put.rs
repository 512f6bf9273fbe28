//! `anabranch-bench put`: writes random records, as fast as the connections allow or at a rate.
//!
//! All calls are made before the measurement. Each connection has one call under way at a time and takes the next one
//! from the [`Schedule`].

use std::sync::Arc;
use std::time::Duration;

use anabranch_shard::Batch;
use anyhow::{Context, Result};
use rand::seq::IndexedRandom;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::connection::{Connection, Endpoint};
use crate::kinesis::refused_records;
use crate::native::{Native, random_batch};
use crate::options::{Api, Target, Until};
use crate::payload::{Bodies, Shape, copies};
use crate::peers::{self, Peer};
use crate::report::{Baseline, Report, Tally};
use crate::schedule::Schedule;

/// Writes random records as fast as the connections allow, or at a rate.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    until: Until,
    /// Bytes of data in a record
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=10_485_760))]
    record_size: u32,
    /// Records in a call: 1 sends PutRecord, more send PutRecords. In the other APIs they are published before the
    /// first is acknowledged (NATS), in one batch (Kafka), or in one transaction (etcd)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=500))]
    records_per_call: u32,
    /// Records per second over all connections. Each call is sent when it is due, also if earlier calls are not done
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Parameters {
    record_size: u32,
    records_per_call: u32,
    rate: Option<u32>,
}

/// A connection and its calls.
enum Sender {
    Kinesis { connection: Connection, operation: &'static str, bodies: Arc<Bodies> },
    Native { session: Native, batches: Arc<Vec<Batch>> },
    Peer(Peer),
}

/// Size of every call.
#[derive(Clone, Copy)]
struct Size {
    records: u64,
    record_bytes: u64,
}

/// Measures, and prints the report.
///
/// # Errors
/// When no call succeeds.
pub(crate) async fn run(args: Args) -> Result<()> {
    let target = &args.target;
    let senders = senders(&args).await?;
    let size =
        Size { records: args.records_per_call.into(), record_bytes: args.record_size.into() };
    let baseline = Baseline::now(target)?;
    let schedule = Arc::new(schedule(args.until, args.records_per_call, args.rate));
    let tally = all(senders, &schedule, size).await?;
    let parameters = Parameters {
        record_size: args.record_size,
        records_per_call: args.records_per_call,
        rate: args.rate,
    };
    Report::new("put", target, parameters, &baseline, schedule.start(), &tally)?.print()
}

/// The schedule of calls with `records_per_call` records each. Without a limit it is ten seconds long.
pub(crate) fn schedule(until: Until, records_per_call: u32, rate: Option<u32>) -> Schedule {
    let until = until.or(Duration::from_secs(10));
    let count = until.count.map(|count| count.div_ceil(records_per_call.into()));
    let Some(rate) = rate else { return Schedule::closed(count, until.duration) };
    let interval = Duration::from_secs(records_per_call.into()) / rate;
    let in_time = |duration: Duration| {
        let calls = duration.as_nanos() / interval.as_nanos().max(1);
        u64::try_from(calls).unwrap_or(u64::MAX)
    };
    Schedule::open(count.or(until.duration.map(in_time)).unwrap_or(0), interval)
}

/// A sender for each connection; all senders share the same calls.
async fn senders(args: &Args) -> Result<Vec<Sender>> {
    let target = &args.target;
    let record_bytes = usize::try_from(args.record_size).context("--record-size")?;
    let mut senders = Vec::new();
    match target.api {
        Api::Kinesis => {
            let endpoints = Endpoint::all(target)?;
            let bodies = Arc::new(Bodies::new(&target.stream, record_bytes, args.records_per_call));
            let operation = if args.records_per_call == 1 { "PutRecord" } else { "PutRecords" };
            for connection in Connection::spread(&endpoints, target.connections) {
                let bodies = Arc::clone(&bodies);
                senders.push(Sender::Kinesis { connection, operation, bodies });
            }
        }
        Api::Grpc => {
            let count = copies(record_bytes * args.records_per_call as usize);
            let batches = (0..count).map(|_| random_batch(args.records_per_call, record_bytes));
            let batches = Arc::new(batches.collect::<Result<Vec<_>>>()?);
            for _ in 0..target.connections {
                let (session, batches) = (Native::connect(target).await?, Arc::clone(&batches));
                senders.push(Sender::Native { session, batches });
            }
        }
        Api::Nats | Api::Kafka | Api::Etcd => {
            let shape = Shape { records: args.records_per_call, record_bytes };
            senders.extend(peers::connect(target, shape).await?.into_iter().map(Sender::Peer));
        }
    }
    Ok(senders)
}

async fn all(senders: Vec<Sender>, schedule: &Arc<Schedule>, size: Size) -> Result<Tally> {
    let pace = Arc::clone(schedule);
    std::thread::spawn(move || pace.run_pace());
    let mut tasks = JoinSet::new();
    for sender in senders {
        tasks.spawn(sender.run(Arc::clone(schedule), size));
    }
    let mut sum = Tally::new();
    while let Some(tally) = tasks.join_next().await {
        sum.add(&tally.context("a connection's task died")??);
    }
    Ok(sum)
}

impl Sender {
    /// Sends each call when it is due, until there are no more.
    async fn run(mut self, schedule: Arc<Schedule>, size: Size) -> Result<Tally> {
        let mut tally = Tally::new();
        let mut last_error = None;
        while let Some(ticket) = schedule.next().await {
            match self.send().await {
                Ok(refused) => {
                    let records = size.records.saturating_sub(refused);
                    tally.succeeded(ticket.due, records, records * size.record_bytes);
                    tally.errors += refused;
                }
                Err(error) => last_error = Some(error),
            }
        }
        tally.errors += match &self {
            Self::Kinesis { connection, .. } => connection.errors,
            Self::Native { session, .. } => session.errors,
            Self::Peer(peer) => peer.errors,
        };
        match last_error {
            Some(error) if tally.records == 0 => Err(error).context("no call succeeded"),
            _ => Ok(tally),
        }
    }

    /// Sends one call; returns the number of its refused records.
    async fn send(&mut self) -> Result<u64> {
        match self {
            Self::Kinesis { connection, operation, bodies } => {
                let answer = connection.call(operation, bodies.any()).await?;
                refused_records(&answer).inspect_err(|_| connection.errors += 1)
            }
            Self::Native { session, batches } => {
                let batch = batches.choose(&mut rand::rng()).context("no batch")?.clone();
                session.append(batch).await.map(|()| 0)
            }
            Self::Peer(peer) => peer.send().await,
        }
    }
}
