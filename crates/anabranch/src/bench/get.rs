//! `anabranch bench get`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::bench::connection::{Connection, Endpoint};
use crate::bench::kinesis::{Page, Record, follows, get_records, list_shards, shard_iterator};
use crate::bench::options::{Target, Until};
use crate::bench::report::{Baseline, Report, Tally};

/// Reads every shard from its oldest record to its end; with `--duration`, over and over until then.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    until: Until,
    /// Records asked for in a call
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

#[derive(Debug, Serialize)]
struct Parameters {
    limit: u32,
    shards: usize,
}

/// What every connection works from.
struct Load {
    endpoint: Arc<Endpoint>,
    stream: String,
    shards: Vec<String>,
    limit: u32,
    end: Option<Instant>,
    /// Records that may still be read.
    left: AtomicU64,
}

/// Measures and prints.
///
/// # Errors
/// When a call fails for good, or a shard's records come out of order.
pub(crate) async fn run(args: Args) -> Result<()> {
    let target = &args.target;
    let endpoint = Endpoint::new(target)?;
    let shards = list_shards(&mut Connection::new(&endpoint), &target.stream).await?;
    ensure!(!shards.is_empty(), "stream {} has no shard", target.stream);
    let parameters = Parameters { limit: args.limit, shards: shards.len() };
    let baseline = Baseline::now(target)?;
    let start = Instant::now();
    let load = Arc::new(Load {
        endpoint,
        stream: target.stream.clone(),
        shards,
        limit: args.limit,
        end: args.until.duration.map(|duration| start + duration),
        left: AtomicU64::new(args.until.count.unwrap_or(u64::MAX)),
    });
    let tally = all(&load, target.connections).await?;
    Report::new("get", target, parameters, &baseline, start, &tally)?.print()
}

/// Connection `i` reads the shards `i`, `i + connections`, ...; a connection more than there are shards reads one again.
async fn all(load: &Arc<Load>, connections: u32) -> Result<Tally> {
    let connections = usize::try_from(connections)?;
    let mut tasks = JoinSet::new();
    for first in 0..connections {
        let load = Arc::clone(load);
        tasks.spawn(async move {
            let mut own: Vec<&str> =
                load.shards.iter().skip(first).step_by(connections).map(String::as_str).collect();
            if own.is_empty() {
                own.push(&load.shards[first % load.shards.len()]);
            }
            load.read(&own).await
        });
    }
    let mut sum = Tally::new();
    while let Some(tally) = tasks.join_next().await {
        sum.add(&tally.context("a connection's task died")??);
    }
    Ok(sum)
}

impl Load {
    async fn read(&self, shards: &[&str]) -> Result<Tally> {
        let mut connection = Connection::new(&self.endpoint);
        let mut tally = Tally::new();
        loop {
            for shard in shards {
                self.read_shard(&mut connection, shard, &mut tally).await?;
            }
            // To the end once; until a moment, again and again.
            if self.end.is_none() || self.is_over() {
                break;
            }
        }
        tally.errors += connection.errors;
        Ok(tally)
    }

    async fn read_shard(
        &self,
        connection: &mut Connection,
        shard: &str,
        tally: &mut Tally,
    ) -> Result<()> {
        let first = shard_iterator(connection, &self.stream, shard, "TRIM_HORIZON").await?;
        let mut next = Some(first);
        let mut last = String::new();
        while let Some(iterator) = next.take()
            && !self.is_over()
        {
            let due = Instant::now();
            let answer = connection.call("GetRecords", get_records(&iterator, self.limit)).await;
            let answer = answer.with_context(|| format!("GetRecords of {shard}"))?;
            let page: Page<'_> = serde_json::from_slice(&answer).context("answer to GetRecords")?;
            check_order(&page, &mut last).with_context(|| format!("reading {shard}"))?;
            let records = page.records.len() as u64;
            tally.succeeded(due, records, page.records.iter().map(Record::data_bytes).sum());
            self.take(records);
            if records > 0 || page.millis_behind_latest > 0 {
                next = page.next_shard_iterator.map(std::borrow::Cow::into_owned);
            }
        }
        Ok(())
    }

    fn take(&self, records: u64) {
        let less = |left: u64| Some(left.saturating_sub(records));
        // The closure always gives a value, so this can't fail.
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    fn is_over(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0 || self.end.is_some_and(|end| Instant::now() >= end)
    }
}

/// Fails when a record doesn't come after the one before it. `last` is that of the page before.
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
