//! A disk of a follower that goes back in time: the leader notices it, no longer counts on the replica, and has it
//! replaced.

use anabranch_shard::Position;
use anabranch_testkit::{Cluster, GROUP, eventually, fast_settings};
use anabranch_types::ReplicaId;

fn texts(records: &[(Position, String)]) -> Vec<&str> {
    records.iter().map(|(_, text)| text.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_lost_acknowledged_entries_is_reported_and_replaced() {
    let mut cluster = Cluster::start(3, fast_settings()).await;
    cluster.append("a").await.unwrap();
    cluster.settled().await;
    let leader = cluster.leader().await;
    let victim = leader % 3 + 1;
    let copy = cluster.store(victim).copy();
    for text in ["b", "c", "d"] {
        cluster.append(text).await.unwrap();
    }
    cluster.settled().await;
    let before = cluster.shard(victim).unwrap().status().last;
    cluster.stop(victim).await;
    cluster.put_back(victim, copy);
    cluster.restart(victim).await;
    assert!(cluster.shard(victim).unwrap().status().last < before, "the copy is older");
    let replicas = cluster.replicas(leader).unwrap().clone();
    eventually("the leader to notice", || async {
        (replicas.reverted() == [(GROUP, ReplicaId(victim))]).then_some(())
    })
    .await;
    // The leader and the third node go on. The victim gets nothing under its old id.
    cluster.append("e").await.unwrap();
    assert_eq!(cluster.leader().await, leader);
    assert!(cluster.shard(victim).unwrap().status().last < before);

    let members: Vec<_> = (1..=3).map(|n| (if n == victim { 9 } else { n }, n)).collect();
    cluster.set_members(&members).await;
    replicas.forget_reverted(GROUP, ReplicaId(victim));
    eventually("the new replica to vote and the old one to be gone", || async {
        let voters = cluster.shard(leader)?.status().voters;
        let ids: Vec<_> = voters.iter().map(|voter| voter.0).collect();
        (ids.len() == 3 && ids.contains(&9) && !ids.contains(&victim)).then_some(())
    })
    .await;
    assert_eq!(texts(&cluster.settled().await), ["a", "b", "c", "d", "e"]);
    assert_eq!(replicas.reverted(), []);
}

#[tokio::test(start_paused = true)]
async fn followers_that_lost_nothing_are_never_reported() {
    let mut cluster = Cluster::start(3, fast_settings()).await;
    for round in 0..12 {
        cluster.append(&format!("r{round}")).await.unwrap();
        let leader = cluster.leader().await;
        // A leader that is cut off keeps entries that its successor truncates. In other rounds a node crashes and
        // comes back.
        if round % 3 == 0 {
            cluster.network.isolate(leader, 1..=3);
            let _never_acknowledged = cluster.append_at(leader, Cluster::call("x", &["x"])).await;
            cluster.network.heal();
        } else {
            let node = if round % 3 == 1 { leader } else { leader % 3 + 1 };
            cluster.crash(node, round).await;
            cluster.append(&format!("without {node} {round}")).await.unwrap();
            cluster.restart(node).await;
        }
        cluster.settled().await;
        for node in cluster.up() {
            assert_eq!(cluster.replicas(node).unwrap().reverted(), [], "round {round}");
        }
    }
}
