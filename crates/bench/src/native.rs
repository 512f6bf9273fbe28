//! The measurements over the native gRPC API, with the client that any program uses (`anabranch-client`).

use std::sync::Arc;
use std::time::Duration;

use anabranch_client::{Client, Page, ShardRoute};
use anabranch_shard::{Batch, BatchBuilder, Position, Start};
use anabranch_types::StreamName;
use anyhow::{Context, Result, ensure};
use futures::stream::BoxStream;
use rand::seq::IndexedRandom;

use crate::options::Target;
use crate::payload::random_data;

/// A client of the native API with its own connections, and the shards of one stream.
#[derive(Debug)]
pub(crate) struct Native {
    client: Client,
    shards: Vec<Arc<ShardRoute>>,
    /// Calls that failed so far.
    pub(crate) errors: u64,
}

impl Native {
    /// Connects to a node of `--endpoint`, and through it to the other nodes.
    ///
    /// # Errors
    /// When no node answers, or the stream does not exist.
    pub(crate) async fn connect(target: &Target) -> Result<Self> {
        let nodes = target.authorities()?.into_iter().map(|(host, port)| format!("{host}:{port}"));
        let nodes: Vec<_> = nodes.collect();
        let client = Client::connect(nodes.clone(), target.tls.connector("client")?).await;
        let client = client.with_context(|| format!("connecting to {}", nodes.join(", ")))?;
        let name: StreamName = target.stream.parse().context("--stream")?;
        let view = client.view();
        let stream = view.stream(&name).with_context(|| format!("no stream {name}"))?;
        let shards: Vec<_> =
            stream.stream.shards.keys().filter_map(|id| stream.shard(*id).cloned()).collect();
        ensure!(!shards.is_empty(), "stream {name} has no shard");
        Ok(Self { client, shards, errors: 0 })
    }

    /// The shards of the stream.
    pub(crate) fn shards(&self) -> &[Arc<ShardRoute>] {
        &self.shards
    }

    /// Appends to a random shard. A batch goes to a single shard: a native producer groups its records by shard
    /// first.
    ///
    /// # Errors
    /// When the append fails after the client's own retries.
    pub(crate) async fn append(&mut self, batch: Batch) -> Result<()> {
        let shard = self.shards.choose(&mut rand::rng()).context("no shard")?;
        let appended = self.client.append(shard, batch).await;
        appended.inspect_err(|_| self.errors += 1).context("Append")?;
        Ok(())
    }

    /// The position at which a reader of `shard` begins.
    ///
    /// # Errors
    /// The client's.
    pub(crate) async fn seek(&self, shard: &ShardRoute, start: Start) -> Result<Position> {
        self.client.seek(shard, start).await.context("Seek")
    }

    /// The next page of `shard`.
    ///
    /// # Errors
    /// The client's.
    pub(crate) async fn read(
        &self,
        shard: &ShardRoute,
        from: Position,
        max_records: u32,
    ) -> Result<Page> {
        self.client.read(shard, from, max_records, 10 << 20, Duration::ZERO).await.context("Read")
    }

    /// Pages of `shard`, pushed by the server.
    pub(crate) fn tail(
        &self,
        shard: &ShardRoute,
        from: Position,
    ) -> BoxStream<'static, Result<Page, anabranch_client::Error>> {
        self.client.tail(shard, from)
    }
}

/// A batch with one record for each `data`, each with a random partition key.
pub(crate) fn batch<'a>(data: impl IntoIterator<Item = &'a [u8]>) -> Result<Batch> {
    let mut builder = BatchBuilder::new(None);
    for (index, data) in (0..).zip(data) {
        let key: u64 = rand::random();
        builder.push(index, format!("{key:016x}").as_bytes(), data);
    }
    builder.finish().context("a batch has 1 to 65,536 records")
}

/// A batch of random records, which cannot be compressed.
pub(crate) fn random_batch(records: u32, record_bytes: usize) -> Result<Batch> {
    let data = random_data(record_bytes * records as usize);
    batch(data.chunks(record_bytes.max(1)))
}
