//! A replica that may have lost what it acknowledged neither votes nor serves, and is replaced by a new one.

use anabranch_replica::Error;
use anabranch_shard::Position;
use anabranch_testkit::{Cluster, GROUP, eventually, fast_settings};

fn texts(records: &[(Position, String)]) -> Vec<&str> {
    records.iter().map(|(_, text)| text.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_quarantined_replica_neither_votes_nor_serves() {
    let mut cluster = Cluster::start(3, fast_settings()).await;
    cluster.append("a").await.unwrap();
    cluster.settled().await;
    let leader = cluster.leader().await;
    let [damaged, third] = [1, 2].map(|step| (leader - 1 + step) % 3 + 1);
    cluster.stop(damaged).await;
    cluster.store(damaged).quarantine(GROUP, "segment 3: byte 17");
    cluster.restart(damaged).await;
    assert!(cluster.shard(damaged).is_none(), "it must not open");
    // With its vote the third node could lead. Without its vote no node can.
    cluster.stop(leader).await;
    let refused = cluster.append_at(third, Cluster::call("b", &["b"])).await;
    assert!(matches!(refused, Err(Error::NotLeader { .. } | Error::Unknown(_))), "{refused:?}");
    tokio::time::advance(std::time::Duration::from_secs(30)).await;
    let refused = cluster.append_at(third, Cluster::call("b", &["b"])).await;
    assert!(matches!(refused, Err(Error::NotLeader { .. } | Error::Unknown(_))), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_quarantined_replica_is_rebuilt_under_a_new_id() {
    let mut cluster = Cluster::start(3, fast_settings()).await;
    for i in 0..5 {
        cluster.append(&format!("r{i}")).await.unwrap();
    }
    cluster.settled().await;
    let damaged = cluster.leader().await % 3 + 1;
    cluster.stop(damaged).await;
    cluster.store(damaged).quarantine(GROUP, "segment 3: byte 17");
    cluster.restart(damaged).await;
    cluster.replicas(damaged).unwrap().remove(GROUP).await.unwrap();
    let members: Vec<_> = (1..=3).map(|n| (if n == damaged { 9 } else { n }, n)).collect();
    cluster.set_members(&members).await;
    eventually("the new replica to vote and the lost one to be gone", || async {
        let voters = cluster.shard(damaged)?.status().voters;
        let ids: Vec<_> = voters.iter().map(|voter| voter.0).collect();
        (ids.len() == 3 && ids.contains(&9) && !ids.contains(&damaged)).then_some(())
    })
    .await;
    assert_eq!(texts(&cluster.settled().await), ["r0", "r1", "r2", "r3", "r4"]);
}

#[tokio::test(start_paused = true)]
async fn the_log_of_another_replica_id_is_not_taken_over() {
    let mut cluster = Cluster::start(3, fast_settings()).await;
    cluster.append("a").await.unwrap();
    cluster.settled().await;
    let node = cluster.leader().await % 3 + 1;
    let before = cluster.shard(node).unwrap().status().last;
    assert!(before.is_some());
    cluster.network.isolate(node, 1..=3);
    let members: Vec<_> = (1..=3).map(|n| (if n == node { 9 } else { n }, n)).collect();
    cluster.set_members(&members).await;
    let fresh = cluster.shard(node).unwrap().status();
    assert_eq!((fresh.last, fresh.term), (None, 0), "votes and entries are the old replica's");
    cluster.network.heal();
    assert_eq!(texts(&cluster.settled().await), ["a"]);
}
