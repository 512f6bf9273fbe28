//! A group that has lost its majority for good goes on from the log of one replica, and of no other.

use anabranch_catalog::Recovered;
use anabranch_replica::Error;
use anabranch_shard::Position;
use anabranch_testkit::{Cluster, GROUP, eventually, fast_settings};
use anabranch_types::ReplicaId;

fn texts(records: &[(Position, String)]) -> Vec<&str> {
    records.iter().map(|(_, text)| text.as_str()).collect()
}

fn recovered(from: u64, to: u64) -> Recovered {
    Recovered { from: ReplicaId(from), to: ReplicaId(to) }
}

/// A cluster that holds "a" and "b", of which only one node is left. That node also has "c" in its log, which no
/// other node has. Returns the cluster and the node.
async fn remnant() -> (Cluster, u64) {
    let mut cluster = Cluster::start(3, fast_settings()).await;
    for text in ["a", "b"] {
        cluster.append(text).await.unwrap();
    }
    cluster.settled().await;
    let survivor = cluster.leader().await;
    for node in (1..=3).filter(|node| *node != survivor) {
        cluster.crash(node, 0).await;
    }
    let unanswered = cluster.append_at(survivor, Cluster::call("c", &["c"])).await;
    assert!(matches!(unanswered, Err(Error::Unknown(_))), "{unanswered:?}");
    (cluster, survivor)
}

async fn has_voters(cluster: &Cluster, node: u64, expected: &[u64]) {
    eventually("the expected voters", || async {
        let voters = cluster.shard(node)?.status().voters;
        voters.iter().map(|voter| voter.0).eq(expected.iter().copied()).then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_group_goes_on_from_one_replica_and_grows_again() {
    let (mut cluster, survivor) = remnant().await;
    let replicas = cluster.replicas(survivor).unwrap().clone();
    replicas.take_over(GROUP, recovered(survivor, 9)).await.unwrap();
    cluster.set_members(&[(9, survivor)]).await;
    assert_eq!(cluster.leader().await, survivor);
    cluster.append("d").await.unwrap();
    // Everything in its log counts, even a record that was never acknowledged.
    assert_eq!(texts(&cluster.settled().await), ["a", "b", "c", "d"]);
    has_voters(&cluster, survivor, &[9]).await;
    // The second time nothing happens.
    replicas.take_over(GROUP, recovered(survivor, 9)).await.unwrap();
    cluster.append("e").await.unwrap();

    let others: Vec<_> = (1..=3).filter(|node| *node != survivor).collect();
    cluster.wipe(others[0]);
    let members = [(9, survivor), (10, others[0]), (11, others[1])];
    cluster.set_members(&members).await;
    for node in &others {
        cluster.restart(*node).await; // one empty, one with the log of its old replica
    }
    has_voters(&cluster, survivor, &[9, 10, 11]).await;
    assert_eq!(texts(&cluster.settled().await), ["a", "b", "c", "d", "e"]);
    // It is a normal group again: a majority can go on alone.
    cluster.crash(survivor, 1).await;
    cluster.append("f").await.unwrap();
    cluster.restart(survivor).await;
    assert_eq!(texts(&cluster.settled().await), ["a", "b", "c", "d", "e", "f"]);
}

#[tokio::test(start_paused = true)]
async fn old_replicas_that_come_back_are_ignored() {
    let (mut cluster, survivor) = remnant().await;
    let replicas = cluster.replicas(survivor).unwrap().clone();
    replicas.take_over(GROUP, recovered(survivor, 9)).await.unwrap();
    cluster.set_members(&[(9, survivor)]).await;
    assert_eq!(cluster.leader().await, survivor);
    let term = cluster.shard(survivor).unwrap().status().term;
    // They come back under their old ids, like nodes that have not heard of the recovery, and elect one of
    // themselves.
    cluster.let_starters_believe_in(&[1, 2, 3].map(|node| (node, node)));
    let others: Vec<_> = (1..=3).filter(|node| *node != survivor).collect();
    for node in &others {
        cluster.restart(*node).await;
    }
    eventually("a leader of the old replicas", || async {
        let status = |node: &u64| Some(cluster.shard(*node)?.status());
        let led = others.iter().filter_map(status).filter_map(|status| status.leader);
        led.into_iter().find(|leader| leader.0 != survivor)
    })
    .await;
    cluster.append_at(survivor, Cluster::call("d", &["d"])).await.unwrap();
    let status = cluster.shard(survivor).unwrap().status();
    assert_eq!((status.voters, status.term), (vec![ReplicaId(9)], term));
    assert_eq!(texts(&cluster.read_all(survivor).await.unwrap()), ["a", "b", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_while_a_log_is_taken_over_loses_nothing() {
    for seed in 0..12 {
        let (mut cluster, survivor) = remnant().await;
        let replicas = cluster.replicas(survivor).unwrap().clone();
        cluster.stop_syncing(survivor);
        let taking =
            tokio::spawn(async move { replicas.take_over(GROUP, recovered(survivor, 9)).await });
        eventually("something to be written", || async {
            (cluster.store(survivor).unsynced() >= 2).then_some(())
        })
        .await;
        cluster.set_members(&[]).await;
        cluster.crash(survivor, seed).await;
        assert!(taking.await.unwrap().is_err(), "seed {seed}");
        cluster.restart(survivor).await;
        let replicas = cluster.replicas(survivor).unwrap().clone();
        replicas.take_over(GROUP, recovered(survivor, 9)).await.unwrap();
        cluster.set_members(&[(9, survivor)]).await;
        cluster.append("d").await.unwrap();
        assert_eq!(texts(&cluster.settled().await), ["a", "b", "c", "d"], "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_named_log_is_taken_over() {
    let (mut cluster, survivor) = remnant().await;
    let replicas = cluster.replicas(survivor).unwrap().clone();
    let refused = replicas.take_over(GROUP, recovered(8, 9)).await;
    assert!(matches!(refused, Err(Error::OutOfService(_))), "{refused:?}");
    // Nothing was changed: the old replica opens as before.
    cluster.reopen(survivor).await;
    assert!(cluster.shard(survivor).unwrap().status().last.is_some());
    cluster.store(survivor).quarantine(GROUP, "segment 3: byte 17");
    let refused = replicas.take_over(GROUP, recovered(survivor, 9)).await;
    assert!(matches!(refused, Err(Error::OutOfService(_))), "{refused:?}");
}
