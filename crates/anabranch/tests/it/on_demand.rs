//! An on-demand stream whose shards follow its load, in real time: the first split takes a minute.

use std::time::Duration;

use anabranch_catalog::{Command, StreamCommand, StreamMode};
use anabranch_client::Client;
use anabranch_shard::BatchBuilder;
use anabranch_types::{HashKey, ShardId, StreamName};
use bytes::Bytes;
use tokio::time::{MissedTickBehavior, interval};

use crate::cluster::Cluster;
use crate::waiting::wait_for;

/// 800 KiB a second: more than half of the limit of a shard.
const EVERY: Duration = Duration::from_millis(100);
const RECORDS: u32 = 8;
const RECORD: [u8; 10 << 10] = [7; 10 << 10];
/// Three times as many rounds as a split should take.
const MOST_ROUNDS: u32 = 2_000;

/// The lowest hash keys of the open shards.
fn starts(client: &Client, name: &StreamName) -> Vec<HashKey> {
    let view = client.view();
    let stream = view.stream(name).expect("the stream stays").stream;
    let mut starts: Vec<_> = stream.open_shards().map(|shard| shard.range.start()).collect();
    starts.sort_unstable();
    starts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_shard_is_split_inside_the_range_of_its_load() {
    let cluster = Cluster::start(3, "").await;
    let client = cluster.client().await;
    let name: StreamName = "it".parse().unwrap();
    cluster.create_stream(&client, 4).await;
    let mode = StreamMode::OnDemand;
    let command = Command::Stream(StreamCommand::SetMode {
        name: name.clone(),
        mode,
        warm_throughput_mibps: None,
    });
    client.propose(command).await.unwrap();
    let before = wait_for("the client knows", async || {
        let view = client.view();
        let stream = view.stream(&name).ok_or("no stream")?;
        let route = stream.shard(ShardId(0)).ok_or("no shard")?;
        if route.is_measured { Ok(starts(&client, &name)) } else { Err("not measured") }
    })
    .await;

    // All load is on the lowest 64th of the first shard's hash keys, whatever the partition keys are.
    let hot = before[1].0 / 64;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next = 0u128;
    for round in 0.. {
        assert!(round < MOST_ROUNDS, "never split: {:?}", starts(&client, &name));
        ticks.tick().await;
        let mut builder = BatchBuilder::new(None);
        let mut keys = Vec::new();
        for index in 0..RECORDS {
            builder.push(index, format!("key {next}").as_bytes(), &RECORD);
            keys.extend((next * 0x9e37_79b9_7f4a_7c15 % hot).to_be_bytes());
            next += 1;
        }
        let batch = builder.finish().unwrap().with_hash_keys(Bytes::from(keys));
        let view = client.view();
        let route = view.stream(&name).unwrap().shard_for(HashKey(0)).unwrap();
        // A shard may close before the batch arrives. The next batch goes to its child.
        let _split_or_appended = client.append(route, batch).await;
        if starts(&client, &name).len() > before.len() {
            break;
        }
    }
    let after = starts(&client, &name);
    let new: Vec<_> = after.iter().filter(|start| !before.contains(start)).collect();
    assert_eq!((new.len(), after.len()), (1, 5), "{after:?}");
    assert!(new[0].0 <= hot, "cut at {}, but the load ends at {hot}", new[0]);
}
