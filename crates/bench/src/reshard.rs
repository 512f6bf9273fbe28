//! `anabranch-bench reshard`: how long a split or a merge makes puts wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::connection::{Connection, Endpoint};
use crate::options::{Api, Target};
use crate::payload::{put_record, random_data, record_members};

/// Splits the shard with the lowest hash keys and merges its halves again, in turn. Meanwhile connections write
/// single records, as many to these keys as to all others. For each resharding, the report has the longest put to
/// either keys, and the longest put of an equal time without a resharding. Other load may run beside it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// Number of splits and merges together
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// Bytes of data in a record
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    record_size: u32,
}

/// The line of output; times are in microseconds.
#[derive(Debug, Serialize)]
struct Line {
    bench: &'static str,
    connections: u32,
    record_size: u32,
    reshardings: usize,
    puts: usize,
    errors: u64,
    /// The longest put to the hash keys of the shards that are split and merged: median and maximum over all
    /// reshardings.
    pause_p50_us: u64,
    pause_max_us: u64,
    /// The longest put to all other hash keys in the same time.
    rest_p50_us: u64,
    rest_max_us: u64,
    /// The longest put to the first hash keys in an equal time without a resharding.
    quiet_p50_us: u64,
    quiet_max_us: u64,
    /// From the call until the stream is ACTIVE.
    job_p50_us: u64,
    job_max_us: u64,
}

/// The puts to one range of hash keys.
#[derive(Debug, Default)]
struct Side {
    /// End and duration of each put.
    puts: Mutex<Vec<(Instant, Duration)>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Shard {
    shard_id: String,
    hash_key_range: Keys,
    sequence_number_range: Numbers,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Keys {
    starting_hash_key: String,
    ending_hash_key: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Numbers {
    ending_sequence_number: Option<String>,
}

/// Interval of checks whether the stream is ACTIVE again.
const LOOK: Duration = Duration::from_millis(2);
/// How long after that puts still count: a put that began earlier ends within this time.
const AFTERMATH: Duration = Duration::from_millis(100);

/// Measures, and prints the line.
///
/// # Errors
/// When the stream has only one shard, or cannot be written or resharded.
pub(crate) async fn run(args: Args) -> Result<()> {
    let target = &args.target;
    ensure!(target.api == Api::Kinesis, "--api: shards are split through the Kinesis API");
    let endpoints = Endpoint::all(target)?;
    let mut control = Connection::new(endpoints.first().context("--endpoint")?);
    let boundary = match &open_shards(&mut control, &target.stream).await?[..] {
        [lowest, _, ..] => end_of(lowest)?,
        _ => bail!("--stream: needs two open shards, as one of them is never split"),
    };
    let sides = [Arc::new(Side::default()), Arc::new(Side::default())];
    let stop = Arc::new(AtomicBool::new(false));
    let mut probes = JoinSet::new();
    for (side, keys) in sides.iter().zip([(0, boundary), (boundary + 1, u128::MAX)]) {
        for connection in Connection::spread(&endpoints, target.connections) {
            let (side, stop) = (Arc::clone(side), Arc::clone(&stop));
            let (stream, size) = (target.stream.clone(), args.record_size as usize);
            probes.spawn(probe(connection, stream, keys, size, side, stop));
        }
    }
    sleep(AFTERMATH).await;
    let [mut pauses, mut rests, mut quiets, mut jobs] = [const { Vec::new() }; 4];
    for turn in 0..args.count {
        let began = Instant::now();
        reshard_lowest(&mut control, &target.stream, turn % 2 == 0).await?;
        jobs.push(began.elapsed());
        sleep(AFTERMATH).await;
        let ended = Instant::now();
        pauses.push(sides[0].longest(began, ended));
        rests.push(sides[1].longest(began, ended));
        sleep(ended - began).await;
        quiets.push(sides[0].longest(ended, Instant::now()));
    }
    stop.store(true, Ordering::Relaxed);
    let mut errors = 0;
    while let Some(ended) = probes.join_next().await {
        errors += ended.context("a probe's task died")??;
    }
    let [pause, rest, quiet, job] = [pauses, rests, quiets, jobs].map(median_and_max);
    let line = Line {
        bench: "reshard",
        connections: target.connections,
        record_size: args.record_size,
        reshardings: args.count as usize,
        puts: sides.iter().map(|side| side.count()).sum(),
        errors,
        pause_p50_us: pause.0,
        pause_max_us: pause.1,
        rest_p50_us: rest.0,
        rest_max_us: rest.1,
        quiet_p50_us: quiet.0,
        quiet_max_us: quiet.1,
        job_p50_us: job.0,
        job_max_us: job.1,
    };
    println!("{}", serde_json::to_string(&line)?);
    Ok(())
}

/// Puts one record after the other to random hash keys of `keys`; returns the number of failed attempts.
async fn probe(
    mut connection: Connection,
    stream: String,
    keys: (u128, u128),
    record_bytes: usize,
    side: Arc<Side>,
    stop: Arc<AtomicBool>,
) -> Result<u64> {
    let record = record_members(&random_data(record_bytes));
    while !stop.load(Ordering::Relaxed) {
        let key = rand::random_range(keys.0..=keys.1);
        let body = put_record(&stream, &format!(r#""ExplicitHashKey":"{key}",{record}"#));
        let began = Instant::now();
        connection.call("PutRecord", body).await.context("PutRecord")?;
        side.ended(began);
    }
    Ok(connection.errors)
}

/// Splits the lowest open shard, or merges the lowest two. Returns once the stream is ACTIVE.
async fn reshard_lowest(control: &mut Connection, stream: &str, split: bool) -> Result<()> {
    let open = open_shards(control, stream).await?;
    let [lowest, next, ..] = &open[..] else { bail!("{stream} has one open shard only") };
    let (operation, request) = if split {
        let middle = end_of(lowest)? / 2 + 1;
        let shard = &lowest.shard_id;
        let request = json!({
            "StreamName": stream, "ShardToSplit": shard, "NewStartingHashKey": middle.to_string(),
        });
        ("SplitShard", request)
    } else {
        let (lower, upper) = (&lowest.shard_id, &next.shard_id);
        let request = json!({
            "StreamName": stream, "ShardToMerge": lower, "AdjacentShardToMerge": upper,
        });
        ("MergeShards", request)
    };
    control.call(operation, request.to_string().into()).await.context(operation)?;
    let summary = json!({ "StreamName": stream }).to_string();
    loop {
        let answer = control.call("DescribeStreamSummary", summary.clone().into()).await;
        let answer: Value = serde_json::from_slice(&answer.context("DescribeStreamSummary")?)?;
        if answer["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE" {
            return Ok(());
        }
        sleep(LOOK).await;
    }
}

/// The open shards, ordered by hash key.
async fn open_shards(control: &mut Connection, stream: &str) -> Result<Vec<Shard>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        shards: Vec<Shard>,
    }
    let request = json!({ "StreamName": stream, "ShardFilter": { "Type": "AT_LATEST" } });
    let answer = control.call("ListShards", request.to_string().into()).await;
    let answer: Answer = serde_json::from_slice(&answer.context("ListShards")?)?;
    let mut open = Vec::new();
    for shard in answer.shards {
        let start: u128 = shard.hash_key_range.starting_hash_key.parse()?;
        if shard.sequence_number_range.ending_sequence_number.is_none() {
            open.push((start, shard));
        }
    }
    open.sort_by_key(|(start, _)| *start);
    Ok(open.into_iter().map(|(_, shard)| shard).collect())
}

fn end_of(shard: &Shard) -> Result<u128> {
    shard.hash_key_range.ending_hash_key.parse().context("EndingHashKey")
}

impl Side {
    fn ended(&self, began: Instant) {
        let now = Instant::now();
        let mut puts = self.puts.lock().unwrap_or_else(PoisonError::into_inner);
        puts.push((now, now - began));
    }

    fn count(&self) -> usize {
        self.puts.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The longest put that ended between these moments.
    fn longest(&self, from: Instant, to: Instant) -> Duration {
        let puts = self.puts.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = puts.iter().rev().skip_while(|(end, _)| *end > to);
        let within = ended.take_while(|(end, _)| *end >= from);
        within.map(|(_, took)| *took).max().unwrap_or_default()
    }
}

/// Median and maximum in microseconds.
fn median_and_max(mut times: Vec<Duration>) -> (u64, u64) {
    times.sort_unstable();
    let micros = |time: Option<&Duration>| {
        time.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
    };
    (micros(times.get(times.len() / 2)), micros(times.last()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_puts_that_ended_in_the_interval_count() {
        let side = Side::default();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let put = |end, took| (at(end), Duration::from_millis(took));
        *side.puts.lock().unwrap() = vec![put(1, 9), put(5, 2), put(6, 3), put(9, 8)];
        assert_eq!(side.longest(at(4), at(7)), Duration::from_millis(3));
        assert_eq!(side.longest(at(2), at(4)), Duration::ZERO);
        assert_eq!(side.longest(at(0), at(10)), Duration::from_millis(9));
    }
}
