//! `anabranch-bench get`: reads a stream, and checks that the records of each shard are in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anabranch_client::ShardRoute;
use anabranch_shard::Start;
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::connection::{Connection, Endpoint};
use crate::kinesis::{Page, Record, follows, get_records, list_shards, shard_iterator};
use crate::native::Native;
use crate::options::{Api, Target, Until};
use crate::report::{Baseline, Report, Tally};

/// Reads every shard from its oldest record to its end; with `--duration`, again and again until then.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    until: Until,
    /// Most records of a call
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

#[derive(Debug, Serialize)]
struct Parameters {
    limit: u32,
    shards: usize,
}

/// A connection and the shards that it reads.
enum Reader {
    Kinesis { connection: Connection, stream: String, shards: Vec<String> },
    Native { session: Native, shards: Vec<Arc<ShardRoute>> },
}

/// Limits for all readers together.
struct Bounds {
    limit: u32,
    end: Option<Instant>,
    /// Records that may still be read.
    left: AtomicU64,
}

/// Measures, and prints the report.
///
/// # Errors
/// When a call fails for good, or records are out of order.
pub(crate) async fn run(args: Args) -> Result<()> {
    let target = &args.target;
    let (readers, shards) = readers(target).await?;
    let baseline = Baseline::now(target)?;
    let start = Instant::now();
    let bounds = Arc::new(Bounds {
        limit: args.limit,
        end: args.until.duration.map(|duration| start + duration),
        left: AtomicU64::new(args.until.count.unwrap_or(u64::MAX)),
    });
    let mut tasks = JoinSet::new();
    for reader in readers {
        tasks.spawn(reader.run(Arc::clone(&bounds)));
    }
    let mut sum = Tally::new();
    while let Some(tally) = tasks.join_next().await {
        sum.add(&tally.context("a connection's task died")??);
    }
    let parameters = Parameters { limit: args.limit, shards };
    Report::new("get", target, parameters, &baseline, start, &sum)?.print()
}

/// A reader for each connection, and the number of shards.
async fn readers(target: &Target) -> Result<(Vec<Reader>, usize)> {
    let connections = usize::try_from(target.connections)?;
    let mut readers = Vec::new();
    let shard_count;
    match target.api {
        Api::Kinesis => {
            let endpoints = Endpoint::all(target)?;
            let first = endpoints.first().context("--endpoint")?;
            let all = list_shards(&mut Connection::new(first), &target.stream).await?;
            ensure!(!all.is_empty(), "stream {} has no shard", target.stream);
            shard_count = all.len();
            for (number, connection) in
                Connection::spread(&endpoints, target.connections).enumerate()
            {
                let stream = target.stream.clone();
                let shards = share(&all, number, connections);
                readers.push(Reader::Kinesis { connection, stream, shards });
            }
        }
        Api::Grpc => {
            let all = Native::connect(target).await?.shards().to_vec();
            shard_count = all.len();
            for number in 0..connections {
                let session = Native::connect(target).await?;
                readers.push(Reader::Native { session, shards: share(&all, number, connections) });
            }
        }
        Api::Nats | Api::Kafka | Api::Etcd => bail!("--api: only puts speak it"),
    }
    Ok((readers, shard_count))
}

/// Connection `number` of `connections` reads every `connections`-th shard. With more connections than shards, some
/// shards are read several times.
fn share<T: Clone>(all: &[T], number: usize, connections: usize) -> Vec<T> {
    let own: Vec<T> = all.iter().skip(number).step_by(connections).cloned().collect();
    if own.is_empty() { all.iter().cycle().skip(number).take(1).cloned().collect() } else { own }
}

impl Reader {
    async fn run(mut self, bounds: Arc<Bounds>) -> Result<Tally> {
        let mut tally = Tally::new();
        loop {
            match &mut self {
                Self::Kinesis { connection, stream, shards } => {
                    for shard in shards {
                        read_shard(connection, stream, shard, &bounds, &mut tally).await?;
                    }
                }
                Self::Native { session, shards } => {
                    for shard in shards {
                        read_native(session, shard, &bounds, &mut tally).await?;
                    }
                }
            }
            // Without `--duration` once to the end, with it again and again.
            if bounds.end.is_none() || bounds.are_met() {
                break;
            }
        }
        tally.errors += match &self {
            Self::Kinesis { connection, .. } => connection.errors,
            Self::Native { session, .. } => session.errors,
        };
        Ok(tally)
    }
}

async fn read_shard(
    connection: &mut Connection,
    stream: &str,
    shard: &str,
    bounds: &Bounds,
    tally: &mut Tally,
) -> Result<()> {
    let mut next = Some(shard_iterator(connection, stream, shard, "TRIM_HORIZON").await?);
    let mut last = String::new();
    while let Some(iterator) = next.take()
        && !bounds.are_met()
    {
        let due = Instant::now();
        let answer = connection.call("GetRecords", get_records(&iterator, bounds.limit)).await;
        let answer = answer.with_context(|| format!("GetRecords of {shard}"))?;
        let page: Page<'_> = serde_json::from_slice(&answer).context("answer to GetRecords")?;
        check_order(&page, &mut last).with_context(|| format!("reading {shard}"))?;
        let records = page.records.len() as u64;
        tally.succeeded(due, records, page.records.iter().map(Record::data_bytes).sum());
        bounds.take(records);
        if records > 0 || page.millis_behind_latest > 0 {
            next = page.next_shard_iterator.map(std::borrow::Cow::into_owned);
        }
    }
    Ok(())
}

async fn read_native(
    session: &Native,
    shard: &ShardRoute,
    bounds: &Bounds,
    tally: &mut Tally,
) -> Result<()> {
    let mut from = session.seek(shard, Start::TrimHorizon).await?;
    while !bounds.are_met() {
        let due = Instant::now();
        let page = session.read(shard, from, bounds.limit).await?;
        let (mut records, mut bytes) = (0, 0);
        for (position, _, record) in page.records() {
            ensure!(position >= from, "reading {shard:?}: {position:?} comes after {from:?}");
            from = position.next();
            records += 1;
            bytes += record.data.len() as u64;
        }
        from = page.next;
        tally.succeeded(due, records, bytes);
        bounds.take(records);
        if records == 0 && page.behind.is_zero() {
            break;
        }
    }
    Ok(())
}

impl Bounds {
    fn take(&self, records: u64) {
        let less = |left: u64| Some(left.saturating_sub(records));
        // The closure always returns a value, so this cannot fail.
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    fn are_met(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0 || self.end.is_some_and(|end| Instant::now() >= end)
    }
}

/// Fails unless each record comes after the one before it. `last` is the last sequence number of the page before.
fn check_order(page: &Page<'_>, last: &mut String) -> Result<()> {
    for record in &page.records {
        let number = &*record.sequence_number;
        ensure!(follows(number, last), "record {number} comes after record {last}");
        number.clone_into(last);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_share_the_shards() {
        let shards = ["a", "b", "c"];
        assert_eq!(share(&shards, 0, 2), ["a", "c"]);
        assert_eq!(share(&shards, 1, 2), ["b"]);
        assert_eq!(share(&shards, 3, 5), ["a"]);
        assert_eq!(share(&shards, 4, 5), ["b"]);
    }

    #[test]
    fn records_out_of_order_are_found_across_pages() {
        let page = |numbers: &[&str]| {
            let records: Vec<String> = numbers
                .iter()
                .map(|number| format!(r#"{{"SequenceNumber":"{number}","Data":""}}"#))
                .collect();
            format!(r#"{{"Records":[{}]}}"#, records.join(","))
        };
        let mut last = String::new();
        let mut check = |numbers: &[&str]| {
            let text = page(numbers);
            let page: Page<'_> = serde_json::from_str(&text).unwrap();
            check_order(&page, &mut last).is_ok()
        };
        assert!(check(&["8", "9"]));
        assert!(check(&["10", "11"]));
        assert!(!check(&["11"]));
    }
}
