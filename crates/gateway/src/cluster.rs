use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::{Command, StreamId};
use anabranch_client::{Client, Error, ShardRoute, View};
use anabranch_shard::{Batch, Page, Position, Run, Start};
use anabranch_types::StreamName;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

/// What the gateway asks of a cluster: the methods of [`Client`], whose documentation says what each
/// promises. Tests put a cluster in memory behind it.
pub trait Cluster: Send + Sync + 'static {
    /// See [`Client::view`].
    fn view(&self) -> Arc<View>;

    /// See [`Client::newest_view`].
    fn newest_view(&self) -> BoxFuture<'_, Result<Arc<View>, Error>>;

    /// See [`Client::propose`].
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Arc<View>, Error>>;

    /// See [`Client::new_data_key`].
    fn new_data_key(
        &self,
        stream: StreamName,
        id: StreamId,
        master_key: String,
    ) -> BoxFuture<'_, Result<Vec<u8>, Error>>;

    /// See [`Client::append`].
    fn append<'a>(
        &'a self,
        shard: &'a ShardRoute,
        batch: Batch,
    ) -> BoxFuture<'a, Result<Vec<Run>, Error>>;

    /// See [`Client::recall`].
    fn recall<'a>(
        &'a self,
        shard: &'a ShardRoute,
        batch: &'a Batch,
    ) -> BoxFuture<'a, Result<Vec<Option<Run>>, Error>>;

    /// See [`Client::newer_view`].
    fn newer_view(&self, version: u64, longest: Duration) -> BoxFuture<'_, ()>;

    /// See [`Client::seek`].
    fn seek<'a>(
        &'a self,
        shard: &'a ShardRoute,
        start: Start,
    ) -> BoxFuture<'a, Result<Position, Error>>;

    /// See [`Client::read`].
    fn read<'a>(
        &'a self,
        shard: &'a ShardRoute,
        from: Position,
        max_records: u32,
        max_bytes: usize,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Page, Error>>;

    /// See [`Client::subscribe`].
    fn subscribe<'a>(
        &'a self,
        shard: &'a ShardRoute,
        from: Position,
        consumer: String,
    ) -> BoxFuture<'a, Result<Pages, Error>>;
}

/// Pages as they come.
pub type Pages = BoxStream<'static, Result<Page, Error>>;

impl Cluster for Client {
    fn view(&self) -> Arc<View> {
        self.view()
    }

    fn newest_view(&self) -> BoxFuture<'_, Result<Arc<View>, Error>> {
        self.newest_view().boxed()
    }

    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Arc<View>, Error>> {
        self.propose(command).boxed()
    }

    fn new_data_key(
        &self,
        stream: StreamName,
        id: StreamId,
        master_key: String,
    ) -> BoxFuture<'_, Result<Vec<u8>, Error>> {
        self.new_data_key(stream, id, master_key).boxed()
    }

    fn append<'a>(
        &'a self,
        shard: &'a ShardRoute,
        batch: Batch,
    ) -> BoxFuture<'a, Result<Vec<Run>, Error>> {
        self.append(shard, batch).boxed()
    }

    fn recall<'a>(
        &'a self,
        shard: &'a ShardRoute,
        batch: &'a Batch,
    ) -> BoxFuture<'a, Result<Vec<Option<Run>>, Error>> {
        self.recall(shard, batch).boxed()
    }

    fn newer_view(&self, version: u64, longest: Duration) -> BoxFuture<'_, ()> {
        self.newer_view(version, longest).boxed()
    }

    fn seek<'a>(
        &'a self,
        shard: &'a ShardRoute,
        start: Start,
    ) -> BoxFuture<'a, Result<Position, Error>> {
        self.seek(shard, start).boxed()
    }

    fn read<'a>(
        &'a self,
        shard: &'a ShardRoute,
        from: Position,
        max_records: u32,
        max_bytes: usize,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Page, Error>> {
        self.read(shard, from, max_records, max_bytes, wait).boxed()
    }

    fn subscribe<'a>(
        &'a self,
        shard: &'a ShardRoute,
        from: Position,
        consumer: String,
    ) -> BoxFuture<'a, Result<Pages, Error>> {
        self.subscribe(shard, from, consumer).boxed()
    }
}
