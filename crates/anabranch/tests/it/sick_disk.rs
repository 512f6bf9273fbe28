//! Disks that fail or hang while the process runs. The other nodes take over, and the node reports the state of its
//! disk.

use std::sync::Arc;

use anabranch_client::{Client, ShardRoute};
use anabranch_smalldisk::SmallDisk;

use crate::cluster::{Cluster, shard_of};
use crate::load::write;
use crate::oracle::Oracle;
use crate::waiting::wait_for;

const SETTINGS: &str = "
[storage]
segment-bytes = 1048576
ballast-bytes = 8388608
stall-limit-ms = 1000
";
const DISK_BYTES: u64 = 96 << 20;
const RECORD_BYTES: usize = 2_000;
/// Exit code of a node whose log store has failed.
const DISK_FAILED: i32 = 74;

/// A cluster in which each node has its own disk, with one stream.
struct Scene {
    cluster: Cluster,
    disks: Vec<SmallDisk>,
    client: Client,
    shards: Vec<Arc<ShardRoute>>,
    oracle: Oracle,
}

impl Scene {
    async fn set() -> Option<Self> {
        let (cluster, disks) = Cluster::on_small_disks(3, DISK_BYTES, SETTINGS).await?;
        let client = cluster.client().await;
        let shards = cluster.create_stream(&client, 3).await;
        Some(Self { cluster, disks, client, shards, oracle: Oracle::default() })
    }

    /// Writes records until `acknowledged` of them are acknowledged.
    async fn write(&mut self, acknowledged: u64) {
        let Self { client, shards, oracle, .. } = self;
        let mut so_far = 0;
        while so_far < acknowledged {
            so_far += write(client, oracle, shards, 40, &[RECORD_BYTES], 4).await;
        }
    }

    /// Index of the node that leads the first shard.
    async fn leader(&self) -> usize {
        let group = self.shards[0].group;
        let id = wait_for("a leader of the first shard", async || {
            let report = shard_of(&self.cluster.nodes[0].try_report().await?, group);
            report["leader"].as_u64().ok_or("none").map_err(str::to_owned)
        })
        .await;
        usize::try_from(id).unwrap() - 1
    }

    async fn judge(&mut self) {
        for shard in &self.shards {
            let began = self.cluster.now();
            let records = self.cluster.replicas_are_equal(shard.group).await;
            self.oracle.judge(shard.group, &records, (began, self.cluster.now()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_disk_fails_ends_by_itself_and_the_others_go_on() {
    let Some(mut scene) = Scene::set().await else { return };
    scene.write(40).await;
    let victim = scene.leader().await;
    scene.disks[victim].fail();
    scene.write(200).await;
    let status = scene.cluster.nodes[victim].ended().await;
    assert_eq!(status.code(), Some(DISK_FAILED));
    let log = scene.cluster.nodes[victim].log_text();
    assert!(log.contains("the log store has failed, this node ends with code 74"), "{log}");
    // With the disk mounted again, every synced record is there.
    scene.disks[victim].mount_again();
    scene.cluster.nodes[victim].start();
    scene.cluster.all_ready().await;
    scene.write(40).await;
    scene.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_disk_hangs_counts_as_silent_and_is_not_ready_until_the_disk_works() {
    let Some(mut scene) = Scene::set().await else { return };
    scene.write(40).await;
    let victim = scene.leader().await;
    let frozen = scene.disks[victim].freeze();
    scene.write(200).await;
    let node = &scene.cluster.nodes[victim];
    wait_for("the node is not ready, but answers", async || {
        match (node.get("/readyz").await?, node.get("/healthz").await?) {
            (503, 200) => Ok(()),
            statuses => Err(format!("{statuses:?}")),
        }
    })
    .await;
    let log = node.log_text();
    assert!(log.contains("the disk makes no progress"), "{log}");
    scene.write(40).await;
    drop(frozen);
    scene.cluster.all_ready().await;
    scene.write(40).await;
    scene.judge().await;
}
