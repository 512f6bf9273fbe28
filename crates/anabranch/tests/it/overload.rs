//! More appends at a time than a node has memory for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::load::write;
use crate::oracle::Oracle;

/// 12 MiB of appends under way, and small queues and caches.
const SETTINGS: &str = "
[storage]
segment-bytes = 16777216
queue-bytes = 4194304
cache-bytes = 8388608
[replication]
append-bytes-in-flight = 12582912
";

const RECORD_BYTES: usize = 512 << 10;
const CALLS: usize = 1000;
const AT_ONCE: usize = 100;
/// Memory that a node may use for [`AT_ONCE`] records that arrive and are forwarded at the same time.
const MOST_RESIDENT_BYTES: u64 = 400 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overload_is_throttled_and_memory_stays_bounded() {
    let cluster = Cluster::start(3, SETTINGS).await;
    let client = cluster.client().await;
    let shards = cluster.create_stream(&client, 2).await;
    let mut oracle = Oracle::default();
    let over = AtomicBool::new(false);
    let watch = async {
        let mut most = 0;
        while !over.load(Ordering::SeqCst) {
            most = cluster
                .nodes
                .iter()
                .map(|node| node.resident_bytes())
                .max()
                .max(Some(most))
                .unwrap();
            sleep(Duration::from_millis(10)).await;
        }
        most
    };
    let flood = async {
        let acknowledged =
            write(&client, &mut oracle, &shards, CALLS, &[RECORD_BYTES], AT_ONCE).await;
        over.store(true, Ordering::SeqCst);
        acknowledged
    };
    let (most, acknowledged) = tokio::join!(watch, flood);
    let counts = oracle.counts;
    println!(
        "{acknowledged} of {CALLS} acknowledged, {counts:?}, at most {} MiB resident",
        most >> 20
    );
    assert!(counts.refused > 0, "nothing was throttled");
    assert!(acknowledged > 0, "nothing was taken");
    assert!(most < MOST_RESIDENT_BYTES, "{most} bytes resident");
    assert_eq!(
        write(&client, &mut oracle, &shards, 20, &[1000], 1).await,
        20,
        "it goes on as before"
    );
    for shard in &shards {
        let began = cluster.now();
        let records = cluster.replicas_are_equal(shard.group).await;
        oracle.judge(shard.group, &records, (began, cluster.now()));
    }
}
