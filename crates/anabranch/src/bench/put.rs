//! `anabranch bench put`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::bench::connection::{Connection, Endpoint};
use crate::bench::kinesis::refused_records;
use crate::bench::options::{Target, Until};
use crate::bench::payload::Bodies;
use crate::bench::report::{Baseline, Report, Tally};
use crate::bench::schedule::Schedule;

/// Writes random records as fast as the connections take them, or at a rate.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    until: Until,
    /// Bytes of data in a record
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=10_485_760))]
    record_size: u32,
    /// Records in a call: 1 sends PutRecord, more PutRecords
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=500))]
    records_per_call: u32,
    /// Records per second over all connections, sent when they are due and not when the ones before them are done
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Parameters {
    record_size: u32,
    records_per_call: u32,
    rate: Option<u32>,
}

/// What every connection works from.
struct Load {
    endpoint: Arc<Endpoint>,
    bodies: Bodies,
    schedule: Schedule,
    operation: &'static str,
    records_per_call: u64,
    record_bytes: u64,
}

/// Measures and prints.
///
/// # Errors
/// When no call succeeds, or an answer is none of a Kinesis endpoint's.
pub(crate) async fn run(args: Args) -> Result<()> {
    let target = &args.target;
    let endpoint = Endpoint::new(target)?;
    let record_size = usize::try_from(args.record_size).context("--record-size")?;
    let bodies = Bodies::new(&target.stream, record_size, args.records_per_call);
    let operation = if args.records_per_call == 1 { "PutRecord" } else { "PutRecords" };
    let baseline = Baseline::now(target)?;
    let load = Arc::new(Load {
        endpoint,
        bodies,
        operation,
        records_per_call: args.records_per_call.into(),
        record_bytes: args.record_size.into(),
        schedule: schedule(args.until, args.records_per_call, args.rate),
    });
    let tally = all(&load, target.connections).await?;
    let parameters = Parameters {
        record_size: args.record_size,
        records_per_call: args.records_per_call,
        rate: args.rate,
    };
    let start = load.schedule.start();
    Report::new("put", target, parameters, &baseline, start, &tally)?.print()
}

/// The schedule of calls that hold `records_per_call` records each; ten seconds when nothing is said.
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

async fn all(load: &Arc<Load>, connections: u32) -> Result<Tally> {
    let pace = Arc::clone(load);
    std::thread::spawn(move || pace.schedule.run_pace());
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        tasks.spawn(Arc::clone(load).write());
    }
    let mut sum = Tally::new();
    while let Some(tally) = tasks.join_next().await {
        sum.add(&tally.context("a connection's task died")??);
    }
    Ok(sum)
}

impl Load {
    /// What one connection does.
    async fn write(self: Arc<Self>) -> Result<Tally> {
        let mut connection = Connection::new(&self.endpoint);
        let mut tally = Tally::new();
        let mut last_error = None;
        while let Some(ticket) = self.schedule.next().await {
            match connection.call(self.operation, self.bodies.any()).await {
                Ok(answer) => {
                    let refused = refused_records(&answer)?;
                    let records = self.records_per_call.saturating_sub(refused);
                    tally.succeeded(ticket.due, records, records * self.record_bytes);
                    tally.errors += refused;
                }
                Err(error) => last_error = Some(error),
            }
        }
        tally.errors += connection.errors;
        match last_error {
            Some(error) if tally.records == 0 => Err(error).context("no call succeeded"),
            _ => Ok(tally),
        }
    }
}
