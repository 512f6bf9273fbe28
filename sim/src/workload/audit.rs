//! The end of a run: writes to every open shard, and reads every shard from its oldest record to its tip.

use std::time::Duration;

use anabranch_catalog::StreamStatus;
use anabranch_client::{Client, ShardRoute};
use anabranch_shard::{BatchBuilder, Position, Start};
use anabranch_types::{Clock, StreamName};
use chaos_checkers::history::{Answer, Drain, Drained, Record, Recover, Recovered};
use tokio::time::sleep;

use super::{Stage, Workload, admin, records, shard_id, stream_name};
use crate::recorder::{Ended, Process};

/// Pause before something is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// The client that audits.
pub struct Audit(Workload);

impl Audit {
    /// An audit of this workload.
    pub fn new(workload: &Workload) -> Self {
        Self(workload.clone())
    }

    /// The program of the auditor's machine.
    ///
    /// # Errors
    /// Never.
    pub async fn run(self) -> turmoil::Result {
        let workload = self.0;
        workload.until(Stage::Audits).await;
        let client = workload.connect().await;
        let mut process = workload.process();
        for name in settled_streams(&client).await {
            while !admin::describe(&client, &mut process, &name).await {
                sleep(RETRY).await;
            }
            while !admin::list_shards(&client, &mut process, &name).await {
                sleep(RETRY).await;
            }
            for route in routes(&client, &name) {
                recover(&workload, &client, &route, &mut process).await;
                drain(&client, &route, &mut process).await;
            }
        }
        workload.set_stage(Stage::Done);
        std::future::pending().await
    }
}

/// The streams, once no change of any is under way.
async fn settled_streams(client: &Client) -> Vec<StreamName> {
    loop {
        if let Ok(view) = client.newest_view().await {
            let streams = &view.catalog().streams;
            if streams.values().all(|stream| stream.status == StreamStatus::Active) {
                return streams.keys().cloned().collect();
            }
        }
        sleep(RETRY).await;
    }
}

fn routes(client: &Client, name: &StreamName) -> Vec<ShardRoute> {
    let view = client.view();
    let Some(stream) = view.stream(name) else { return Vec::new() };
    let shards = stream.stream.shards.keys();
    shards.filter_map(|shard| stream.shard(*shard).map(|route| ShardRoute::clone(route))).collect()
}

fn is_open(client: &Client, route: &ShardRoute) -> bool {
    let view = client.view();
    let stream = view.catalog().streams.get(&route.stream);
    stream.and_then(|stream| stream.shards.get(&route.shard)).is_some_and(|shard| shard.is_open())
}

/// Appends a record that belongs to no client, until the shard takes it.
async fn recover(workload: &Workload, client: &Client, route: &ShardRoute, process: &mut Process) {
    if !is_open(client, route) {
        return;
    }
    let (stream, shard) = (stream_name(&route.stream), shard_id(route.shard));
    let function = process.invoke(Recover { stream, shard });
    let mut builder = BatchBuilder::new(None);
    builder.push(0, b"audit", b"audit");
    let batch = builder.finish().expect("the batch has a record");
    while client.append(route, batch.clone()).await.is_err() {
        sleep(RETRY).await;
    }
    let passed = workload.clock.now().since(workload.healed.get());
    let ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
    process.end(function, Ended::Ok(Answer::Recover(Recovered { ms })));
}

/// Reads a shard from its oldest record to its tip.
async fn drain(client: &Client, route: &ShardRoute, process: &mut Process) {
    let (stream, shard) = (stream_name(&route.stream), shard_id(route.shard));
    let function = process.invoke(Drain { stream, shard });
    let mut from = loop {
        match client.seek(route, Start::TrimHorizon).await {
            Ok(position) => break position,
            Err(_) => sleep(RETRY).await,
        }
    };
    let mut all = Vec::new();
    while let Some(next) = drain_page(client, route, from, &mut all).await {
        from = next;
    }
    process.end(function, Ended::Ok(Answer::Drain(Drained { records: all })));
}

/// Reads one page. Returns where the next one begins; `None` at the tip.
async fn drain_page(
    client: &Client,
    route: &ShardRoute,
    from: Position,
    all: &mut Vec<Record>,
) -> Option<Position> {
    match client.read(route, from, 1000, 1 << 20, Duration::ZERO).await {
        Ok(page) => {
            let read = records(route, &page);
            // Records of the audit itself are in no other call of the history.
            all.extend(read.into_iter().filter(|record| record.pk != "audit"));
            (!page.batches.is_empty() || !page.behind.is_zero()).then_some(page.next)
        }
        Err(_) => {
            sleep(RETRY).await;
            Some(from)
        }
    }
}
