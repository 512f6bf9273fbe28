//! A cluster as services use it, as a trait: a [`Client`] reaches a real cluster, a test puts a cluster in memory in
//! its place (`MemoryCluster` in `anabranch-testkit`).
//!
//! Every method has the contract of the method of [`Client`] with the same name.

use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::{Command, StreamId};
use anabranch_shard::{Batch, Page, Position, Run, Start};
use anabranch_table::{Request, Response, WatchedRange};
use anabranch_types::{GroupId, StreamName};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::client::Client;
use crate::error::Error;
use crate::view::{ShardRoute, View};
use crate::watched_rows::WatchedRows;

/// A cluster: its catalog, and appends to and reads from its shards. Futures and streams are boxed, so that the trait
/// can be an object.
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

    /// See [`Client::table`].
    fn table(&self, group: GroupId, request: Request) -> BoxFuture<'_, Result<Response, Error>>;

    /// See [`Client::watch_rows`].
    ///
    /// # Errors
    /// As [`Client::watch_rows`].
    fn watch_rows(&self, group: GroupId, range: WatchedRange) -> Result<WatchedRows, Error>;

    /// See [`Client::tail`].
    fn tail(&self, shard: &ShardRoute, from: Position) -> Pages;

    /// See [`Client::subscribe`].
    fn subscribe<'a>(
        &'a self,
        shard: &'a ShardRoute,
        from: Position,
        consumer: String,
    ) -> BoxFuture<'a, Result<Pages, Error>>;
}

/// The pages of one shard, in order, as its replica sends them.
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

    fn table(&self, group: GroupId, request: Request) -> BoxFuture<'_, Result<Response, Error>> {
        self.table(group, request).boxed()
    }

    fn watch_rows(&self, group: GroupId, range: WatchedRange) -> Result<WatchedRows, Error> {
        self.watch_rows(group, range)
    }

    fn tail(&self, shard: &ShardRoute, from: Position) -> Pages {
        self.tail(shard, from)
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
