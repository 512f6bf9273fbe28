//! A client that reads. It follows one shard after the other for some pages, by single reads or by a tail.

use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::{Shard, ShardStatus};
use anabranch_client::{Client, ShardRoute};
use anabranch_shard::{Page, Position, Start};
use anabranch_types::Clock;
use chaos_checkers::history::{
    self, Answer, Child, Done, Get, GetApi, HashKey, HashRange, Iter, IterStart, Millis,
};
use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::timeout;

use super::{Workload, records, shard_id, stream_name, streams_with_records};
use crate::recorder::{Ended, Process};

/// Longest wait for the next page of a tail.
const TAIL_PATIENCE: Duration = Duration::from_millis(700);

/// Reads until the run stops.
pub(super) async fn read(workload: Workload, client: Client, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut process = workload.process();
    while workload.is_running() {
        super::pause(&mut rng, 10..60).await;
        workload.pass().await;
        let Some(route) = any_shard(&client, &mut rng) else { continue };
        let chain = workload.next_chain();
        let Some(from) = begin(&workload, &client, &route, chain, &mut process, &mut rng).await
        else {
            continue;
        };
        if rng.random_bool(0.3) {
            follow(&workload, &client, &route, chain, from, &mut process).await;
        } else {
            let pages = rng.random_range(2..12);
            read_pages(&workload, &client, &route, chain, from, &mut process, &mut rng, pages)
                .await;
        }
    }
}

fn any_shard(client: &Client, rng: &mut StdRng) -> Option<Arc<ShardRoute>> {
    let streams = streams_with_records(client);
    let name = streams.get(rng.random_range(0..streams.len().max(1)))?;
    let view = client.view();
    let stream = view.stream(name)?;
    let shards: Vec<_> = stream.stream.shards.keys().copied().collect();
    let shard = shards.get(rng.random_range(0..shards.len().max(1)))?;
    stream.shard(*shard).cloned()
}

/// Begins a chain. Returns its first position.
async fn begin(
    workload: &Workload,
    client: &Client,
    route: &ShardRoute,
    chain: u64,
    process: &mut Process,
    rng: &mut StdRng,
) -> Option<Position> {
    let (begin, start) = match rng.random_range(0..10) {
        0..6 => (IterStart::TrimHorizon, Start::TrimHorizon),
        6..9 => (IterStart::Latest, Start::Latest),
        _ => {
            let at = workload.clock.now().minus(Duration::from_secs(1));
            (IterStart::AtTimestamp(Millis(at.as_millis())), Start::AtTimestamp(at))
        }
    };
    let (stream, shard) = (stream_name(&route.stream), shard_id(route.shard));
    let function = process.invoke(Iter { stream, shard, chain, start: begin });
    match client.seek(route, start).await {
        Ok(position) => {
            process.end(function, Ended::Ok(Answer::Iter(Done {})));
            Some(position)
        }
        Err(error) => {
            process.end(function, Ended::Failed(error.to_string()));
            None
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "one loop, taken out of its caller")]
async fn read_pages(
    workload: &Workload,
    client: &Client,
    route: &ShardRoute,
    chain: u64,
    mut from: Position,
    process: &mut Process,
    rng: &mut StdRng,
    pages: u32,
) {
    for _ in 0..pages {
        workload.pass().await;
        let function = process.invoke(Get { chain, api: GetApi::Grpc });
        let (most, wait) =
            (rng.random_range(1..40), Duration::from_millis(rng.random_range(0..80)));
        let ended = match client.read(route, from, most, 1 << 20, wait).await {
            Ok(page) => {
                from = page.next;
                page_of(client, route, &page)
            }
            Err(error) => return process.end(function, Ended::Failed(error.to_string())),
        };
        let is_over = !ended.next;
        process.end(function, Ended::Ok(Answer::Get(ended)));
        if is_over {
            return;
        }
    }
}

async fn follow(
    workload: &Workload,
    client: &Client,
    route: &ShardRoute,
    chain: u64,
    from: Position,
    process: &mut Process,
) {
    let mut pages = client.tail(route, from);
    while workload.is_running() {
        workload.pass().await;
        let function = process.invoke(Get { chain, api: GetApi::Push });
        let ended = match timeout(TAIL_PATIENCE, pages.next()).await {
            Ok(Some(Ok(page))) => page_of(client, route, &page),
            Ok(Some(Err(error))) => return process.end(function, Ended::Failed(error.to_string())),
            Ok(None) | Err(_) => return process.end(function, Ended::Failed("no page".into())),
        };
        let is_over = !ended.next;
        process.end(function, Ended::Ok(Answer::Get(ended)));
        if is_over {
            return;
        }
    }
}

/// A page in the form of the history.
pub(super) fn page_of(client: &Client, route: &ShardRoute, page: &Page) -> history::Page {
    let view = client.view();
    let stream = view.stream(&route.stream).map(|found| found.stream);
    let shards = stream.map(|stream| &stream.shards);
    let own = shards.and_then(|shards| shards.get(&route.shard));
    let is_over = own.is_some_and(|shard| is_behind_the_end(shard, page.next));
    let children = shards.into_iter().flat_map(|shards| shards.values());
    let children = children.filter(|shard| is_over && shard.parents.contains(&route.shard));
    history::Page {
        records: records(route, page),
        next: !is_over,
        behind_ms: u64::try_from(page.behind.as_millis()).unwrap_or(u64::MAX),
        children: children.map(child).collect(),
    }
}

fn is_behind_the_end(shard: &Shard, next: Position) -> bool {
    match shard.status {
        ShardStatus::Open => false,
        ShardStatus::Closed { ending, .. } => next > Position::of(ending),
    }
}

fn child(shard: &Shard) -> Child {
    Child {
        shard: shard_id(shard.id),
        parents: shard.parents.iter().copied().map(shard_id).collect(),
        range: range_of(shard),
    }
}

/// The hash keys of a shard in the form of the history.
pub(super) fn range_of(shard: &Shard) -> HashRange {
    HashRange { start: HashKey(shard.range.start().0), end: HashKey(shard.range.end().0) }
}
