//! `anabranch stream put`: each line of the standard input becomes a record.
//!
//! Order: lines are gathered into a round; the round is divided by shard; each part is one batch. The next round
//! begins when every batch of the round is acknowledged, so records of one key keep their order. All batches carry a
//! producer id and the number of the round, so a retry makes no second record.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::Arc;
use std::time::Duration;

use anabranch_client::{Client, Error, ShardRoute};
use anabranch_shard::{BatchBuilder, Producer};
use anabranch_types::{ShardId, StreamName, limits, partition_key_hash};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::stream::view_with;

/// `anabranch stream put`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The stream
    stream: StreamName,
    /// Partition key of all records; without it each record gets its own
    #[arg(long, value_name = "KEY")]
    partition_key: Option<String>,
}

/// Most records of one round.
const ROUND: usize = 500;
/// How long records are retried at a shard that is being split or merged.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause before the next attempt, unless the catalog changes earlier.
const PAUSE: Duration = Duration::from_millis(50);

/// A record and its index in the round, by which a shard recognises a retry.
struct Record {
    place: u32,
    key: String,
    data: Vec<u8>,
}

/// Puts until the standard input ends. Lines that are available together form one round.
///
/// # Errors
/// When a record is too long, and when a put fails or its outcome is unknown. The error says how many records were
/// acknowledged before.
pub(super) async fn run(client: Client, args: Args) -> Result<()> {
    let fits = args.partition_key.as_ref().is_none_or(|key| {
        (1..=limits::PARTITION_KEY_MAX_CHARACTERS).contains(&key.chars().count())
    });
    ensure!(
        fits,
        "--partition-key: must have 1 to {} characters",
        limits::PARTITION_KEY_MAX_CHARACTERS
    );
    view_with(&client, &args.stream).await?;
    let mut lines = read_lines();
    let (mut round, mut acknowledged) = (Vec::new(), 0);
    let id = Bytes::copy_from_slice(&rand::random::<[u8; 16]>());
    for sequence in 0.. {
        if lines.recv_many(&mut round, ROUND).await == 0 {
            break;
        }
        let records = (0..).zip(round.drain(..)).map(|(place, line)| {
            let data = line.context("reading the standard input")?;
            let own = || format!("{:016x}", rand::random::<u64>());
            let key = args.partition_key.clone().unwrap_or_else(own);
            Ok(Record { place, key, data })
        });
        let records: Vec<Record> = records.collect::<Result<_>>()?;
        let count = records.len();
        let producer = Producer { id: id.clone(), sequence };
        let done = put(&client, &args.stream, &producer, records).await;
        done.with_context(|| format!("{acknowledged} records were acknowledged before"))?;
        acknowledged += count;
    }
    eprintln!("{acknowledged} records are acknowledged");
    Ok(())
}

/// Lines of the standard input, without their ends, as they arrive. A separate thread blocks on the input.
fn read_lines() -> mpsc::Receiver<std::io::Result<Vec<u8>>> {
    let (sender, lines) = mpsc::channel(ROUND);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().split(b'\n') {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Puts all records. The records of one shard form one batch. Records of a shard that has closed go to its children.
async fn put(
    client: &Client,
    stream: &StreamName,
    producer: &Producer,
    mut records: Vec<Record>,
) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let view = client.view();
        let mut left = Vec::new();
        for (shard, records) in by_shard(client, stream, records)?.into_values() {
            let mut batch = BatchBuilder::new(Some(producer.clone()));
            for Record { place, key, data } in &records {
                batch.push(*place, key.as_bytes(), data);
            }
            let batch = batch.finish().context("a shard without records")?;
            match client.append(&shard, batch).await {
                Ok(_) => {}
                Err(Error::Closed | Error::Frozen) => left.extend(records),
                Err(error) => {
                    return Err(error).with_context(|| format!("putting to {}", shard.shard));
                }
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "no shard takes the records");
        client.newer_view(view.catalog().version, PAUSE).await;
        records = left;
    }
}

type Grouped = BTreeMap<ShardId, (Arc<ShardRoute>, Vec<Record>)>;

fn by_shard(client: &Client, stream: &StreamName, records: Vec<Record>) -> Result<Grouped> {
    let view = client.view();
    let found = view.stream(stream).with_context(|| format!("stream {stream} is gone"))?;
    let max_bytes = u64::from(found.stream.max_record_size_kib) * 1024;
    let mut grouped = Grouped::new();
    for record in records {
        let bytes = (record.key.len() + record.data.len()) as u64;
        ensure!(bytes <= max_bytes, "a record of {bytes} bytes is over the limit of {max_bytes}");
        let shard = found.shard_for(partition_key_hash(&record.key));
        let shard = shard.with_context(|| format!("stream {stream} has no open shard"))?;
        let group = grouped.entry(shard.shard).or_insert_with(|| (Arc::clone(shard), Vec::new()));
        group.1.push(record);
    }
    Ok(grouped)
}
