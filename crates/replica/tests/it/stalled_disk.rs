//! Disks that make no progress: their nodes lead nothing, other nodes take over at once, and no lease outlives the
//! stall.

use std::time::Duration;

use anabranch_replica::{Error, LeadershipTransfer, ReplicaSettings};
use anabranch_shard::Position;
use anabranch_testkit::{Cluster, GROUP, eventually, fast_settings};
use anabranch_types::NodeId;
use tokio::time::Instant;

fn stall(cluster: &Cluster, node: u64, stalled: bool) {
    cluster.replicas(node).unwrap().set_stalled(stalled);
}

/// Waits until a node other than `node` takes a record.
async fn another_takes(cluster: &Cluster, node: u64, text: &str) {
    eventually("an append on another node", || async {
        for other in cluster.up().into_iter().filter(|other| *other != node) {
            if cluster.append_at(other, Cluster::call(text, &[text])).await.is_ok() {
                return Some(());
            }
        }
        None
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_disk_stalls_is_replaced_and_serves_no_read_by_its_lease() {
    let cluster = Cluster::start(3, ReplicaSettings::default()).await;
    cluster.append("before").await.unwrap();
    // Long enough to have a lease.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let old = cluster.leader().await;
    cluster.stop_syncing(old);
    let began = Instant::now();
    stall(&cluster, old, true);
    let shard = cluster.shard(old).unwrap();
    let read = shard.read(Position::default(), 10, 1 << 20, true).await;
    assert!(matches!(read, Err(Error::NotLeader { .. })), "{read:?}");
    let refused = cluster.append_at(old, Cluster::call("x", &["x"])).await;
    assert!(matches!(refused, Err(Error::NotLeader { .. })), "{refused:?}");
    another_takes(&cluster, old, "after").await;
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_append_that_waits_for_a_stalled_disk_ends_at_once() {
    let cluster = Cluster::start(3, ReplicaSettings::default()).await;
    cluster.append("before").await.unwrap();
    let old = cluster.leader().await;
    cluster.stop_syncing(old);
    for other in cluster.up().into_iter().filter(|other| *other != old) {
        cluster.network.cut(old, other);
    }
    let began = Instant::now();
    let waits = cluster.append_at(old, Cluster::call("call", &["once"]));
    let stalls = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        stall(&cluster, old, true);
    };
    let (outcome, ()) = tokio::join!(waits, stalls);
    assert!(matches!(outcome, Err(Error::Unknown(_))), "{outcome:?}");
    assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_node_with_a_stalled_disk_is_no_target_and_takes_part_again_after_it() {
    let cluster = Cluster::start(3, fast_settings()).await;
    cluster.append("a").await.unwrap();
    let leader = cluster.leader().await;
    let sick = leader % 3 + 1;
    stall(&cluster, sick, true);
    // Wait until a pong has told the leader.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let handed =
        cluster.replicas(leader).unwrap().transfer_leadership(GROUP, |node| node == NodeId(sick));
    assert_eq!(handed.await, LeadershipTransfer::NoTarget);
    cluster.append("b").await.unwrap();
    stall(&cluster, sick, false);
    cluster.append("c").await.unwrap();
    let shown: Vec<_> = cluster.settled().await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(shown, ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn after_all_disks_stalled_the_group_gets_a_leader_again() {
    let cluster = Cluster::start(3, fast_settings()).await;
    cluster.append("a").await.unwrap();
    for node in cluster.up() {
        stall(&cluster, node, true);
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    for node in cluster.up() {
        stall(&cluster, node, false);
    }
    let began = Instant::now();
    cluster.append("b").await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_only_voter_keeps_leading_with_a_stalled_disk() {
    let cluster = Cluster::start(1, fast_settings()).await;
    cluster.append("a").await.unwrap();
    stall(&cluster, 1, true);
    cluster.append_at(1, Cluster::call("b", &["b"])).await.unwrap();
    stall(&cluster, 1, false);
    cluster.append_at(1, Cluster::call("c", &["c"])).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_record_too_large_for_a_segment_is_refused_and_the_leader_stays() {
    let cluster = Cluster::start(3, fast_settings()).await;
    cluster.append("a").await.unwrap();
    let leader = cluster.leader().await;
    for node in cluster.up() {
        cluster.store(node).set_payload_limit(4096);
    }
    let term = cluster.shard(leader).unwrap().status().term;
    let large = "x".repeat(4000);
    let refused = cluster.append_at(leader, Cluster::call("large", &[&large])).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    cluster.append_at(leader, Cluster::call("b", &["b"])).await.unwrap();
    assert_eq!(cluster.shard(leader).unwrap().status().term, term);
}
