//! Group commit: requests that arrive during one message or one sync form the next one. No request waits for others.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_testkit::{Cluster, fast_settings};
use futures::future::join_all;
use tokio::time::Instant;

/// A disk of the testkit syncs every millisecond of virtual time.
const DISK_ROUND: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_lone_append_waits_for_disks_and_for_no_timer() {
    let cluster = Cluster::start(3, fast_settings()).await;
    cluster.append("first").await.unwrap();
    let leader = cluster.leader().await;
    for number in 0..50 {
        let began = Instant::now();
        let batch = Cluster::call(&format!("call {number}"), &["alone"]);
        cluster.append_at(leader, batch).await.unwrap();
        assert!(began.elapsed() <= 2 * DISK_ROUND, "{:?} of virtual time", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn each_of_many_concurrent_callers_gets_the_position_of_its_record() {
    let cluster = Cluster::start(3, fast_settings()).await;
    cluster.append("first").await.unwrap();
    let leader = cluster.leader().await;
    let texts: Vec<_> = (0..50).map(|number| format!("record {number}")).collect();
    let calls = texts.iter().map(|text| cluster.append_at(leader, Cluster::call(text, &[text])));
    let runs = join_all(calls).await.into_iter().map(Result::unwrap);
    let records: BTreeMap<_, _> = cluster.settled().await.into_iter().collect();
    for (text, runs) in texts.iter().zip(runs) {
        assert_eq!(records.get(&runs[0].first), Some(text));
    }
}

#[tokio::test(start_paused = true)]
async fn followers_hear_of_a_commit_soon_even_if_no_entry_follows() {
    let cluster = Cluster::start(3, fast_settings()).await;
    cluster.append("first").await.unwrap();
    let leader = cluster.leader().await;
    cluster.append_at(leader, Cluster::call("last", &["last"])).await.unwrap();
    let committed = Instant::now();
    let follower = cluster.up().into_iter().find(|node| *node != leader).unwrap();
    let applied = cluster.shard(leader).unwrap().status().applied;
    let shard = cluster.shard(follower).unwrap();
    let last = anabranch_shard::Position::entry(applied - 1);
    shard.wait_for(last, Duration::from_secs(60)).await;
    assert!(shard.status().applied >= applied);
    assert!(committed.elapsed() < Duration::from_millis(10), "{:?}", committed.elapsed());
}
