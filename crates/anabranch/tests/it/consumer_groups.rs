//! A consumer group of the native API: members come, go, and fall silent; shards are split; the coordinator's node is
//! killed. No record is skipped, and children come after their parents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anabranch_catalog::{Command, ShardChange, ShardsCommand};
use anabranch_client::{Client, Error, GroupConsumer, GroupError, GroupSettings, GroupStart};
use anabranch_proto::consumer as pb;
use anabranch_proto::consumer::consumer_group_service_client::ConsumerGroupServiceClient;
use anabranch_shard::{BatchBuilder, Producer};
use anabranch_types::{HashKey, ShardId, StreamName, partition_key_hash};
use bytes::Bytes;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::cluster::Cluster;
use crate::waiting::wait_for;

const GROUP: &str = "billing";

fn stream() -> StreamName {
    "it".parse().unwrap()
}

/// The records that all members together have processed.
#[derive(Default)]
struct Processed {
    /// How often each record was processed.
    records: BTreeMap<u64, u32>,
    /// Records whose checkpoint was stored.
    stored: BTreeSet<u64>,
    /// The shard of each record, in the order in which the shards were first seen.
    by_shard: BTreeMap<ShardId, BTreeSet<u64>>,
    /// The members that read each shard.
    members: BTreeMap<ShardId, BTreeSet<String>>,
    /// Records that were processed again although they were stored.
    again: Vec<u64>,
}

type Ledger = Arc<Mutex<Processed>>;

fn open(ledger: &Ledger) -> MutexGuard<'_, Processed> {
    ledger.lock().unwrap()
}

fn settings(member: &str) -> GroupSettings {
    GroupSettings {
        member: member.to_owned(),
        description: "a test".to_owned(),
        session: Duration::from_secs(3),
        start: GroupStart::TrimHorizon,
    }
}

/// A member that processes and stores until it is aborted.
async fn begin_member(client: &Client, member: &str, ledger: &Ledger) -> JoinHandle<()> {
    let mut consumer =
        GroupConsumer::join(client, &stream(), GROUP, settings(member)).await.unwrap();
    let (ledger, member) = (Arc::clone(ledger), member.to_owned());
    tokio::spawn(async move {
        loop {
            let batch = consumer.next().await.unwrap();
            let numbers: Vec<u64> = batch
                .page()
                .records()
                .map(|record| std::str::from_utf8(&record.data).unwrap().parse().unwrap())
                .collect();
            {
                let mut processed = open(&ledger);
                for number in &numbers {
                    *processed.records.entry(*number).or_default() += 1;
                    if processed.stored.contains(number) {
                        processed.again.push(*number);
                    }
                    processed.by_shard.entry(batch.shard()).or_default().insert(*number);
                }
                processed.members.entry(batch.shard()).or_default().insert(member.clone());
            }
            match consumer.checkpoint(&batch).await {
                Ok(()) => open(&ledger).stored.extend(&numbers),
                Err(GroupError::OwnershipLost(_)) => {}
                Err(error) => println!("{member}: a checkpoint failed: {error}"),
            }
        }
    })
}

/// Puts the records `numbers`, each with its number as data and partition key.
async fn put(client: &Client, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let key = number.to_string();
        let id = Bytes::copy_from_slice(format!("put {number}").as_bytes());
        let mut batch = BatchBuilder::new(Some(Producer { id, sequence: 0 }));
        batch.push(0, key.as_bytes(), key.as_bytes());
        let batch = batch.finish().unwrap();
        wait_for(format!("record {number} is put"), async || {
            let view = client.newest_view().await?;
            let route = view.stream(&stream()).unwrap().shard_for(partition_key_hash(&key));
            client.append(route.unwrap(), batch.clone()).await.map(drop)
        })
        .await;
    }
}

async fn all_processed(ledger: &Ledger, count: u64) {
    wait_for(format!("{count} records are processed and stored"), async || {
        let stored = open(ledger).stored.len() as u64;
        if stored == count { Ok(()) } else { Err(format!("{stored} are")) }
    })
    .await;
}

fn described(cluster: &Cluster) -> Value {
    let node = cluster
        .nodes
        .iter()
        .find_map(|node| node.ctl(&["--json", "consumer-group", "show", "it", GROUP]).ok());
    node.map(|text| serde_json::from_str(&text).unwrap()).unwrap_or_default()
}

fn owners(cluster: &Cluster) -> BTreeMap<u64, String> {
    let group = described(cluster);
    let shards = group["shards"].as_array().cloned().unwrap_or_default();
    let owner =
        |shard: &Value| Some((shard["shard"].as_u64()?, shard["owner"].as_str()?.to_owned()));
    shards.iter().filter_map(owner).collect()
}

async fn owned_evenly(cluster: &Cluster, members: &[(&str, usize)]) {
    let wanted: BTreeMap<_, _> =
        members.iter().map(|(member, count)| ((*member).to_owned(), *count)).collect();
    wait_for(format!("members own {members:?} shards"), async || {
        let mut counts = BTreeMap::<String, usize>::new();
        for owner in owners(cluster).into_values() {
            *counts.entry(owner).or_default() += 1;
        }
        if counts == wanted { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_skips_no_record_while_members_and_nodes_come_and_go() {
    let mut cluster = Cluster::start(3, "").await;
    let client = cluster.client().await;
    cluster.create_stream(&client, 4).await;
    let ledger = Ledger::default();
    put(&client, 0..40).await;

    // One member reads everything, two share it.
    let a = begin_member(&client, "a", &ledger).await;
    all_processed(&ledger, 40).await;
    let b = begin_member(&client, "b", &ledger).await;
    owned_evenly(&cluster, &[("a", 2), ("b", 2)]).await;
    put(&client, 40..80).await;
    all_processed(&ledger, 80).await;
    assert!(open(&ledger).again.is_empty(), "shards were handed over in order");

    // A shard is split, two are merged. The children are read after their parents.
    let change = ShardChange::Split { shard: ShardId(0), at: HashKey(1 << 123) };
    reshard(&cluster, &client, change).await;
    let change = ShardChange::Merge { lower: ShardId(1), upper: ShardId(2) };
    reshard(&cluster, &client, change).await;
    put(&client, 80..120).await;
    all_processed(&ledger, 120).await;
    owned_evenly(&cluster, &[("a", 2), ("b", 2)]).await;

    // A member falls silent, and the other one takes its shards.
    b.abort();
    owned_evenly(&cluster, &[("a", 4)]).await;
    put(&client, 120..160).await;
    all_processed(&ledger, 160).await;

    // The coordinator's node is killed. Another coordinator knows the members and their shards.
    let c = begin_member(&client, "c", &ledger).await;
    owned_evenly(&cluster, &[("a", 2), ("c", 2)]).await;
    let before = described(&cluster);
    let coordinator = before["coordinator"].as_u64().unwrap();
    let place = usize::try_from(coordinator).unwrap() - 1;
    cluster.nodes[place].kill();
    put(&client, 160..200).await;
    all_processed(&ledger, 200).await;
    wait_for("the group has another coordinator", async || {
        let now = described(&cluster)["coordinator"].as_u64();
        if now.is_some_and(|now| now != coordinator) { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    assert_eq!(owners(&cluster).len(), 4);
    cluster.nodes[place].start();
    cluster.nodes[place].ready().await;
    put(&client, 200..240).await;
    all_processed(&ledger, 240).await;

    let processed = open(&ledger);
    assert_eq!(processed.records.keys().copied().collect::<Vec<_>>(), (0..240).collect::<Vec<_>>());
    drop(processed);
    a.abort();
    c.abort();
}

async fn reshard(cluster: &Cluster, client: &Client, change: ShardChange) {
    let name = stream();
    wait_for("the stream can be resharded", async || {
        let command = ShardsCommand::Reshard { name: name.clone(), change, now: cluster.now() };
        client.propose(Command::Shards(command)).await.map(drop)
    })
    .await;
    wait_for("the resharding is over", async || {
        let view = client.newest_view().await.map_err(|error| error.to_string())?;
        let job = view.stream(&name).unwrap().stream.job.is_some();
        if job { Err("it is under way".to_owned()) } else { Ok(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_begins_where_it_is_told_and_refuses_what_is_wrong() {
    let cluster = Cluster::start(3, "").await;
    let client = cluster.client().await;
    cluster.create_stream(&client, 2).await;
    put(&client, 0..10).await;

    // A group that begins at the newest records sees only what is put after it was made.
    let latest = GroupSettings { start: GroupStart::Latest, ..settings("m") };
    let mut consumer =
        GroupConsumer::join(&client, &stream(), "latest", latest.clone()).await.unwrap();
    put(&client, 10..11).await;
    let batch = consumer.next().await.unwrap();
    let data: Vec<_> = batch.page().records().map(|record| record.data).collect();
    assert_eq!(data, ["10"]);
    consumer.checkpoint(&batch).await.unwrap();
    consumer.leave().await.unwrap();

    // Its checkpoint stays; how it began does not count any more.
    put(&client, 11..12).await;
    let begun = GroupSettings { start: GroupStart::TrimHorizon, ..latest };
    let mut consumer = GroupConsumer::join(&client, &stream(), "latest", begun).await.unwrap();
    let batch = consumer.next().await.unwrap();
    let data: Vec<_> = batch.page().records().map(|record| record.data).collect();
    assert_eq!(data, ["11"]);

    // A deleted group is made again, and its former batches are refused.
    let node = &cluster.nodes[0];
    let deleted = node.ctl(&["consumer-group", "delete", "it", "latest"]).unwrap();
    assert_eq!(deleted, "group latest of stream it is deleted\n");
    wait_for("the checkpoint is refused", async || match consumer.checkpoint(&batch).await {
        Err(GroupError::OwnershipLost(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let first = consumer.next().await.unwrap();
    let first = first.page().records().next().unwrap();
    assert_ne!(first.data, "11", "the new group begins at the oldest record");

    // Errors name the field, or what is not there.
    let bad = GroupSettings { session: Duration::from_secs(1), ..settings("x") };
    let refused = GroupConsumer::join(&client, &stream(), "g", bad).await.unwrap_err();
    let text = "session_millis: must be 3000 to 300000, is 1000".to_owned();
    assert_eq!(refused, GroupError::Failed(Error::Invalid(text)));
    let none: StreamName = "none".parse().unwrap();
    let refused = GroupConsumer::join(&client, &none, "g", settings("x")).await.unwrap_err();
    assert_eq!(refused, GroupError::NoStream(none));
    let error = node.ctl(&["consumer-group", "show", "it", "none"]).unwrap_err();
    assert!(error.contains("stream it has no consumer group none"), "{error}");
    let mut service = ConsumerGroupServiceClient::new(node.channel.clone());
    let group = Some(pb::GroupRef { stream: "it".into(), group: "latest".into() });
    let unknown = pb::HeartbeatRequest { group, member: "stranger".into() };
    let status = service.heartbeat(unknown).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
    assert_eq!(status.message(), "the group does not know the member: it has to join");
}
