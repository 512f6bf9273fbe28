//! Full disks. A node without free space slows down no client. A cluster without free space throttles writers and
//! serves everything else. Both go on without a restart as soon as there is free space.

use std::sync::Arc;

use anabranch_catalog::{Command, StreamCommand};
use anabranch_client::{Client, ShardRoute};
use anabranch_smalldisk::SmallDisk;
use serde_json::Value;

use crate::cluster::{Cluster, shard_of};
use crate::load::write;
use crate::oracle::Oracle;
use crate::waiting::wait_for;

/// Small segments, and a reserve that is larger than all appends that may be under way.
const SETTINGS: &str = "
[storage]
segment-bytes = 1048576
cache-bytes = 4194304
reclaim-interval-ms = 50
copy-forward-after-ms = 200
reserve-segments = 16
ballast-bytes = 8388608
[replication]
checkpoint-interval-ms = 150
maintenance-interval-ms = 100
append-bytes-in-flight = 12582912
append-deadline-ms = 3000
";
const DISK_BYTES: u64 = 96 << 20;
const RECORD_BYTES: usize = 50_000;

/// A cluster in which each node has its own small disk.
struct Scene {
    cluster: Cluster,
    disks: Vec<SmallDisk>,
    client: Client,
}

/// One stream and its records.
struct Stream {
    shards: Vec<Arc<ShardRoute>>,
    oracle: Oracle,
}

impl Scene {
    async fn set() -> Option<Self> {
        let (cluster, disks) = Cluster::on_small_disks(3, DISK_BYTES, SETTINGS).await?;
        let client = cluster.client().await;
        Some(Self { cluster, disks, client })
    }

    async fn stream(&self, name: &str) -> Stream {
        let shards = self.cluster.create_stream_named(&self.client, name, 2).await;
        Stream { shards, oracle: Oracle::default() }
    }

    /// Writes records, and returns how many were acknowledged.
    async fn write(&self, stream: &mut Stream, calls: usize) -> usize {
        let Stream { shards, oracle } = stream;
        let acknowledged = write(&self.client, oracle, shards, calls, &[RECORD_BYTES], 8).await;
        usize::try_from(acknowledged).unwrap()
    }

    /// Checks that the leaders return every acknowledged record; with `everywhere`, that all replicas do.
    async fn judge(&self, stream: &mut Stream, everywhere: bool) {
        for shard in &stream.shards {
            let began = self.cluster.now();
            let records = if everywhere {
                self.cluster.replicas_are_equal(shard.group).await
            } else {
                self.cluster.read_leader(shard.group).await
            };
            stream.oracle.judge(shard.group, &records, (began, self.cluster.now()));
        }
    }

    async fn disk_is(&self, node: usize, expected: &[&str]) {
        wait_for(format!("the disk of node {} is {expected:?}", node + 1), async || {
            let storage = self.cluster.nodes[node].try_report().await?["storage"].clone();
            let state = storage["disk"].as_str().unwrap_or_default();
            if expected.contains(&state) { Ok(()) } else { Err(storage.to_string()) }
        })
        .await;
    }

    /// Waits until `node` leads no shard of `stream` and other nodes lead them.
    async fn leads_nothing(&self, node: usize, stream: &Stream) {
        let id = self.cluster.nodes[node].id;
        for shard in &stream.shards {
            wait_for(format!("another leader of group {} than {id}", shard.group), async || {
                for other in &self.cluster.nodes {
                    let report = shard_of(&other.try_report().await?, shard.group);
                    if report["leader"] == id || report["leader"] == Value::Null {
                        return Err(format!("node {}: {report}", other.id));
                    }
                }
                Ok(())
            })
            .await;
        }
    }

    /// Writes until every record is refused.
    async fn write_until_throttled(&self, stream: &mut Stream) {
        for _ in 0..100 {
            if self.write(stream, 40).await == 0 {
                let counts = stream.oracle.counts;
                assert!(counts.refused >= 40, "throttled, not unknown: {counts:?}");
                return;
            }
        }
        panic!("never throttled: {:?}", stream.oracle.counts);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disks_throttle_only_writers_and_only_until_there_is_free_space() {
    let Some(mut scene) = Scene::set().await else { return };
    let mut kept = scene.stream("kept").await;
    let mut dropped = scene.stream("dropped").await;
    assert_eq!(scene.write(&mut kept, 40).await, 40);

    // One disk is full: the two other nodes take over what the node led, and all new records.
    scene.disks[0].fill_but(0);
    scene.disk_is(0, &["almost full", "full"]).await;
    scene.leads_nothing(0, &kept).await;
    assert_eq!(scene.write(&mut kept, 40).await, 40, "two of three disks have free space");
    scene.judge(&mut kept, false).await;
    // A node can start on a full disk. It is ready only once it has free space for the records that it lacks.
    scene.cluster.nodes[0].kill();
    scene.disks[0].fill_but(0);
    scene.cluster.nodes[0].start();
    scene.disk_is(0, &["almost full", "full"]).await;
    assert_eq!(scene.write(&mut kept, 40).await, 40);
    assert!(!scene.cluster.nodes[0].is_ready().await, "it lacks the records that the others took");
    scene.disks[0].clear();
    scene.disk_is(0, &["normal"]).await;
    scene.cluster.nodes[0].ready().await;
    scene.judge(&mut kept, true).await;

    // All disks are full: no more records are taken, and all existing records can be read.
    scene.write_until_throttled(&mut dropped).await;
    scene.write_until_throttled(&mut kept).await; // a leader may have moved to the last disk with free space
    scene.judge(&mut kept, false).await;
    scene.judge(&mut dropped, false).await;

    // A deleted stream frees its space.
    let name = "dropped".parse().unwrap();
    scene
        .client
        .propose(Command::Stream(StreamCommand::Delete { name, with_consumers: false }))
        .await
        .unwrap();
    for node in 0..3 {
        scene.disk_is(node, &["normal"]).await;
    }
    wait_for("writes go on", async || match scene.write(&mut kept, 8).await {
        8 => Ok(()),
        few => Err(format!("{few} of 8")),
    })
    .await;
    assert_eq!(scene.write(&mut kept, 40).await, 40);
    scene.judge(&mut kept, true).await;
    println!("kept {:?}, dropped {:?}", kept.oracle.counts, dropped.oracle.counts);
    for node in &scene.cluster.nodes {
        let said = node.log_text();
        for bad in ["panicked", "log store stopped", "out of service"] {
            assert!(!said.contains(bad), "node {}: {bad}", node.id);
        }
    }
}
