//! Clients of the native API: a producer that names its batches, and a reader of a whole stream.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anabranch_client::{Client, Error, ShardPage, ShardRoute, StreamReader};
use anabranch_shard::{BatchBuilder, Producer, Start};
use anabranch_types::partition_key_hash;
use bytes::Bytes;
use chaos_checkers::history::{
    Answer, Api, Done, Get, GetApi, Iter, IterStart, Millis, Page, Put, Record, ShardId, Stored,
    StreamName, Uid,
};
use chaos_checkers::payload;
use rand::Rng;
use tokio::time::{sleep, timeout};

use crate::certificates::{Owner, connector};
use crate::kinesis::Failure;
use crate::session::Session;

/// Partition keys of the producers.
const KEYS: u32 = 24;
/// Attempts of the client's own for one batch; it makes them under one name.
const BUDGET: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);
/// Time without a page after which the reader looks whether the run has ended.
const QUIET: Duration = Duration::from_millis(500);

/// Puts single records until the run ends.
pub(crate) async fn produce(mut session: Session, stream: StreamName) {
    let Some(client) = connect(&session).await else { return };
    let id: [u8; 16] = session.random.random();
    let mut sequence = 0;
    while session.scene.goes_on() {
        sequence += 1;
        let producer = Producer { id: Bytes::copy_from_slice(&id), sequence };
        let uid = Uid { process: session.process(), counter: session.next_record() };
        let pk = format!("key-{}", session.random.random_range(0..KEYS));
        let put = Put {
            stream: stream.clone(),
            uid,
            pk: pk.clone(),
            ehk: None,
            ord: None,
            api: Api::Grpc,
            budget: BUDGET,
            named: true,
        };
        let data = payload::payload(uid, &pk, session.random.random_range(0..500));
        let work = append(&client, &stream, producer, &pk, &data);
        // The history has the outcome.
        let _recorded = session.run_native(put, Answer::Put, work).await;
        sleep(PAUSE).await;
    }
}

async fn connect(session: &Session) -> Option<Client> {
    let network = session.scene.network;
    let seeds: Vec<_> =
        session.scene.gateways.iter().map(|node| network.grpc(*node).to_string()).collect();
    let connector = connector(session.scene.certificates.as_ref(), Owner::Client).ok()?;
    while session.scene.goes_on() {
        if let Ok(client) = Client::connect(seeds.clone(), Arc::clone(&connector)).await {
            return Some(client);
        }
    }
    None
}

fn unknown(why: impl std::fmt::Display) -> Failure {
    Failure::Unknown(why.to_string())
}

fn refused(why: impl std::fmt::Display) -> Failure {
    Failure::Refused(why.to_string())
}

/// One attempt of the client, which makes safe retries itself.
async fn append(
    client: &Client,
    stream: &StreamName,
    producer: Producer,
    pk: &str,
    data: &[u8],
) -> Result<Stored, Failure> {
    let view = client.view();
    let name = stream.0.parse().map_err(refused)?;
    let found = view.stream(&name).ok_or_else(|| refused("no such stream"))?;
    let shard = found.shard_for(partition_key_hash(pk)).ok_or_else(|| refused("no open shard"))?;
    let mut batch = BatchBuilder::new(Some(producer));
    batch.push(0, pk.as_bytes(), data);
    let batch = batch.finish().ok_or_else(|| refused("an empty batch"))?;
    let runs = client.append(shard, batch).await.map_err(|error| {
        let is_unknown = matches!(error, Error::Unknown(_));
        if is_unknown { unknown(error) } else { refused(error) }
    })?;
    let run = runs.first().ok_or_else(|| unknown("an answer without a position"))?;
    let number = run.first.sequence_number(shard.shard, shard.birth, run.arrival);
    let seq = number.to_string().parse().map_err(unknown)?;
    Ok(Stored { shard: shard_id(shard), seq, attempts: BUDGET })
}

fn shard_id(shard: &ShardRoute) -> ShardId {
    ShardId(shard.shard.to_string())
}

/// Reads the whole stream from its oldest record until the run ends, and begins again after an error.
pub(crate) async fn read(mut session: Session, stream: StreamName) {
    let Some(client) = connect(&session).await else { return };
    while session.scene.goes_on() {
        read_once(&mut session, &client, &stream).await;
        sleep(PAUSE).await;
    }
}

async fn read_once(session: &mut Session, client: &Client, stream: &StreamName) {
    let Ok(name) = stream.0.parse() else { return };
    let begun = StreamReader::begin(Arc::new(client.clone()), &name, Start::TrimHorizon).await;
    let Ok(mut reader) = begun else { return };
    let mut chains = HashMap::new();
    while session.scene.goes_on() {
        let page = match timeout(QUIET, reader.next()).await {
            Ok(Ok(Some(page))) => page,
            Ok(Ok(None) | Err(_)) => return,
            Err(_quiet) => continue,
        };
        let shard = shard_id(page.route());
        let chain = match chains.get(&shard) {
            Some(chain) => *chain,
            None => {
                let chain = begin_chain(session, stream, &shard).await;
                chains.insert(shard, chain);
                chain
            }
        };
        let get = Get { chain, api: GetApi::Grpc };
        let page = page_of(&page);
        // Reading has no unknown outcome, and the page is here already.
        let _recorded = session.run_native(get, Answer::Get, async { Ok(page) }).await;
    }
}

async fn begin_chain(session: &mut Session, stream: &StreamName, shard: &ShardId) -> u64 {
    let chain = session.scene.recorder.new_chain();
    let start = IterStart::TrimHorizon;
    let iter = Iter { stream: stream.clone(), shard: shard.clone(), chain, start };
    let _recorded = session.run_native(iter, Answer::Iter, async { Ok(Done {}) }).await;
    chain
}

/// The page for the history. The reader does not tell how far it is behind, so it never says that it is at the tip.
fn page_of(page: &ShardPage) -> Page {
    let records = page.stored_records().filter_map(|record| {
        let pk = String::from_utf8_lossy(&record.partition_key).into_owned();
        let uid =
            payload::parse(&record.data).ok().filter(|(_, key)| *key == pk).map(|(uid, _)| uid);
        let ts = Millis(record.arrival.as_millis());
        Some(Record { seq: record.number.to_string().parse().ok()?, uid, pk, ts })
    });
    Page { records: records.collect(), next: true, behind_ms: 1, children: Vec::new() }
}
