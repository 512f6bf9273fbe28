//! Finishes a batch that an earlier owner of the pipeline had begun to deliver.
//!
//! The records are read again and made into objects by the configuration that the intent names. If they are the same
//! objects, they have the same names, and the existing ones count as put. If not, a processor gave another
//! result: then all objects get new names, so that no record is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anabranch_client::{ReadError, StreamReader};
use anabranch_shard::{Position, Start};
use anabranch_table::Transaction;
use anabranch_types::StreamName;
use tokio::time::timeout;

use crate::batch::{Batch, Closed, Recipe, digest_of};
use crate::definition::{Definition, Source};
use crate::intent::{Intent, ReadRun};
use crate::pipeline::{End, Parts};
use crate::readers;
use crate::rows;

/// How long a page is waited for before it is looked whether the records have expired.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Makes the objects of an intent again.
pub(crate) async fn remake(
    parts: &Parts,
    definition: &Definition,
    stream: &StreamName,
    number: u64,
    intent: Intent,
) -> Result<Closed, End> {
    if all_exist(parts, &intent).await {
        return Ok(Closed { bodies: Vec::new(), intent: Intent { objects: Vec::new(), ..intent } });
    }
    let same = objects(parts, definition, stream, &intent, None).await?;
    if same.intent.objects == intent.objects {
        return Ok(same);
    }
    tracing::warn!(job = %parts.job.id(), "delivery: a second attempt made other objects");
    parts.metrics.remade_batches.increment();
    let attempt = Some(digest_of(&same.intent.objects));
    let other = objects(parts, definition, stream, &intent, attempt).await?;
    let transaction = Transaction {
        checks: vec![parts.definition_exists(&definition.name)],
        puts: vec![(parts.key(rows::intent_key(definition.id, number)), other.intent.encode())],
        ..Transaction::default()
    };
    parts.commit(transaction).await?;
    Ok(other)
}

/// Whether the stores have every object of the intent.
async fn all_exist(parts: &Parts, intent: &Intent) -> bool {
    for object in &intent.objects {
        let Ok(bucket) = parts.stores.bucket(&object.bucket) else { return false };
        if !bucket.has(&object.key).await.unwrap_or(false) {
            return false;
        }
    }
    true
}

async fn objects(
    parts: &Parts,
    definition: &Definition,
    stream: &StreamName,
    intent: &Intent,
    attempt: Option<[u8; 32]>,
) -> Result<Closed, End> {
    let failed = |error: &dyn std::fmt::Display| End::Failed(error.to_string());
    let (destination, spool) = (intent.destination.clone(), Arc::clone(&parts.spool));
    let recipe = Recipe::new(definition, intent.version, destination, spool);
    let recipe = recipe.map_err(|error| failed(&error))?;
    let mut batch = Batch::new(Arc::new(recipe));
    let mut source = Again { parts, stream, readers: BTreeMap::new() };
    for run in &intent.runs {
        // The runs are added as they were, so that the names of the objects are the same.
        batch.covers(run.shard(), run.first(), run.next(), run.ends);
        source.read(run, &definition.source, &mut batch).await?;
    }
    batch.close(attempt).map_err(|error| failed(&error))
}

impl Parts {
    /// Whether all records of a run have expired.
    async fn has_expired(&self, stream: &StreamName, run: &ReadRun) -> bool {
        let view = self.cluster.view();
        let route = view.stream(stream).and_then(|found| found.shard(run.shard()).cloned());
        let Some(route) = route else { return true };
        let oldest = self.cluster.seek(&route, Start::TrimHorizon).await;
        oldest.is_ok_and(|oldest| oldest >= run.next())
    }
}

/// Readers of the shards of an intent. Each shard has runs in rising order.
struct Again<'a> {
    parts: &'a Parts,
    stream: &'a StreamName,
    readers: BTreeMap<u32, ShardAgain>,
}

struct ShardAgain {
    reader: StreamReader,
    /// Records that were read and belong to a later run.
    left: Vec<anabranch_client::StreamRecord>,
    /// Everything before this position was read.
    read_to: Position,
}

impl Again<'_> {
    async fn read(&mut self, run: &ReadRun, source: &Source, batch: &mut Batch) -> Result<(), End> {
        let failed = |error: &dyn std::fmt::Display| End::Failed(error.to_string());
        if run.first() >= run.next() {
            return Ok(());
        }
        if !self.readers.contains_key(&run.shard) {
            let cluster = Arc::clone(&self.parts.cluster);
            let start = Start::At(run.first());
            let begun = StreamReader::begin_shard(cluster, self.stream, run.shard(), start).await;
            let reader = match begun {
                Ok(reader) => reader,
                Err(ReadError::NoShard { .. }) => return Ok(()), // the shard and its records have expired
                Err(error) => return Err(failed(&error)),
            };
            let shard = ShardAgain { reader, left: Vec::new(), read_to: run.first() };
            self.readers.insert(run.shard, shard);
        }
        let Some(shard) = self.readers.get_mut(&run.shard) else { return Ok(()) };
        loop {
            let is_later =
                |record: &anabranch_client::StreamRecord| Position::of(record.number) >= run.next();
            let at = shard.left.iter().position(is_later).unwrap_or(shard.left.len());
            let later = shard.left.split_off(at);
            for record in std::mem::replace(&mut shard.left, later) {
                batch.add(&record).map_err(|error| failed(&error))?;
            }
            if shard.read_to >= run.next() || !shard.left.is_empty() {
                return Ok(());
            }
            let next = self.parts.until_halted(timeout(LOOK_AGAIN, shard.reader.next())).await?;
            let page = match next {
                Ok(page) => page.map_err(|error| failed(&error))?,
                Err(_) if self.parts.has_expired(self.stream, run).await => return Ok(()),
                Err(_) => continue,
            };
            let Some(page) = page else { return Ok(()) };
            shard.read_to = page.page().next;
            shard.left.extend(readers::records(source, &page));
        }
    }
}
