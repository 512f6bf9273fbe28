//! A client that appends records.
//!
//! Half of its calls are named, so the cluster recognises a retry and stores the records once. The producer sends such a
//! call again if its outcome is unknown. The other calls are made once.

use anabranch_client::{Client, Error, ShardRoute};
use anabranch_shard::{Batch, BatchBuilder, Producer, Run};
use anabranch_types::partition_key_hash;
use bytes::Bytes;
use chaos_checkers::history::{
    Answer, Api, Entry, EntryResult, Put, Puts, PutsResults, Stored, Uid,
};
use chaos_checkers::payload::payload;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Workload, pause, seq, shard_id, stream_name, streams_with_records};
use crate::recorder::{Ended, Process};

/// Most attempts of a named call.
const ATTEMPTS: u32 = 3;
/// Number of partition keys.
const KEYS: u32 = 12;

/// Appends until the run stops.
pub(super) async fn produce(workload: Workload, client: Client, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut process = workload.process();
    let mut counter = 0;
    while workload.is_running() {
        pause(&mut rng, 5..80).await;
        workload.pass().await;
        let streams = streams_with_records(&client);
        if streams.is_empty() {
            continue;
        }
        let stream = &streams[rng.random_range(0..streams.len())];
        let pk = format!("k{}", rng.random_range(0..KEYS));
        let view = client.view();
        let found = view.stream(stream);
        let Some(route) = found.and_then(|found| found.shard_for(partition_key_hash(&pk))) else {
            continue;
        };
        let records = if rng.random_bool(0.25) { rng.random_range(2..4) } else { 1 };
        let uids =
            (0..records).map(|nth| Uid { process: process.number(), counter: counter + nth });
        let uids: Vec<Uid> = uids.collect();
        counter += records;
        let named = rng.random_bool(0.5);
        call(&client, route, &mut process, &uids, &pk, named).await;
    }
}

/// Appends records of one partition key in one call.
async fn call(
    client: &Client,
    route: &ShardRoute,
    process: &mut Process,
    uids: &[Uid],
    pk: &str,
    named: bool,
) {
    let budget = if named { ATTEMPTS } else { 1 };
    let stream = stream_name(&route.stream);
    let function = match uids {
        [uid] => process.invoke(Put {
            stream,
            uid: *uid,
            pk: pk.to_owned(),
            ehk: None,
            ord: None,
            api: Api::Grpc,
            budget,
            named,
        }),
        _ => {
            let entry = |uid: &Uid| Entry { uid: *uid, pk: pk.to_owned(), ehk: None };
            let records = uids.iter().map(entry).collect();
            process.invoke(Puts { stream, records, budget, named })
        }
    };
    let batch = batch(process.number(), uids, pk, named);
    let mut attempts = 0;
    let appended = loop {
        attempts += 1;
        match client.append(route, batch.clone()).await {
            Err(Error::Unknown(_)) if attempts < budget => {}
            appended => break appended,
        }
    };
    let ended = match appended {
        Ok(runs) => Ended::Ok(answer(route, uids, &runs, attempts)),
        Err(Error::Unknown(reason)) => Ended::Unknown(reason),
        // A later attempt that was refused for another reason says nothing about the attempts before.
        Err(error) if attempts > 1 && !matches!(error, Error::Closed) => {
            Ended::Unknown(error.to_string())
        }
        Err(error) => Ended::Failed(error.to_string()),
    };
    process.end(function, ended);
}

fn batch(process: u64, uids: &[Uid], pk: &str, named: bool) -> Batch {
    let producer = named.then(|| {
        let id = Bytes::from(format!("process-{process}"));
        Producer { id, sequence: uids.first().map_or(0, |uid| uid.counter) }
    });
    let mut builder = BatchBuilder::new(producer);
    for (index, uid) in (0..).zip(uids) {
        builder.push(index, pk.as_bytes(), &payload(*uid, pk, 0));
    }
    builder.finish().expect("a call has one to three records")
}

fn answer(route: &ShardRoute, uids: &[Uid], runs: &[Run], attempts: u32) -> Answer {
    let positions = runs.iter().flat_map(|run| {
        let successors = std::iter::successors(Some(run.first), |position| Some(position.next()));
        successors.take(run.records as usize).map(|position| seq(route, position, run.arrival))
    });
    let seqs: Vec<_> = positions.collect();
    let shard = shard_id(route.shard);
    match (uids, &*seqs) {
        ([_], [seq, ..]) => Answer::Put(Stored { shard, seq: *seq, attempts }),
        _ => {
            let stored = |seq| EntryResult::Stored { shard: shard.clone(), seq };
            Answer::Puts(PutsResults { results: seqs.into_iter().map(stored).collect(), attempts })
        }
    }
}
