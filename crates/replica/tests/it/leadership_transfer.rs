//! Leadership transfers: planned, under load, to a target that fails, and from a leader that can't go on.

use std::time::Duration;

use anabranch_replica::{Error, LeadershipTransfer, ReplicaSettings};
use anabranch_shard::{Position, Start};
use anabranch_testkit::{Cluster, GROUP, eventually, fast_settings};
use anabranch_types::NodeId;
use tokio::time::Instant;

async fn transfer(cluster: &Cluster, from: u64, to: u64) -> LeadershipTransfer {
    cluster.replicas(from).unwrap().transfer_leadership(GROUP, |node| node == NodeId(to)).await
}

/// Appends at `node`, as soon as the node knows that it leads.
async fn append_at(cluster: &Cluster, node: u64, text: &str) {
    eventually("an append at the target", || async {
        match cluster.append_at(node, Cluster::call(text, &[text])).await {
            Err(Error::NotLeader { .. }) => None,
            decided => Some(decided.unwrap()),
        }
    })
    .await;
}

fn others(node: u64) -> [u64; 2] {
    [node % 3 + 1, (node + 1) % 3 + 1]
}

#[tokio::test(start_paused = true)]
async fn the_target_leads_within_a_few_round_trips() {
    let cluster = Cluster::start(3, ReplicaSettings::default()).await;
    cluster.append("before").await.unwrap();
    let old = cluster.leader().await;
    let [target, _] = others(old);
    let term = cluster.shard(old).unwrap().status().term;
    let began = Instant::now();
    assert_eq!(transfer(&cluster, old, target).await, LeadershipTransfer::Done);
    append_at(&cluster, target, "after").await;
    assert!(began.elapsed() < Duration::from_millis(300), "{:?}", began.elapsed());
    assert_eq!(cluster.shard(target).unwrap().status().term, term + 1);
    assert_eq!(cluster.replicas(target).unwrap().leading(), [GROUP].into());
    assert_eq!(cluster.replicas(old).unwrap().leading(), [].into());
    let shown: Vec<_> = cluster.settled().await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(shown, ["before", "after"]);
}

#[tokio::test(start_paused = true)]
async fn many_transfers_under_load_lose_and_duplicate_no_record() {
    let cluster = Cluster::start(3, fast_settings()).await;
    let mut expected = Vec::new();
    let writing = async {
        for number in 0..600 {
            let text = format!("r{number}");
            // A producer that retries after an unknown outcome, as the client does.
            let position = eventually("an acknowledgement", || async {
                for node in cluster.up() {
                    let call = Cluster::call(&text, &[&text]);
                    if let Ok(runs) = cluster.append_at(node, call).await {
                        return Some(runs[0].first);
                    }
                }
                None
            })
            .await;
            expected.push((position, text));
        }
    };
    let moving = async {
        for _ in 0..30 {
            let old = cluster.leader().await;
            let [target, _] = others(old);
            assert_eq!(transfer(&cluster, old, target).await, LeadershipTransfer::Done);
            tokio::time::sleep(Duration::from_millis(17)).await;
        }
    };
    tokio::join!(writing, moving);
    assert_eq!(cluster.settled().await, expected);
    let leader = cluster.leader().await;
    assert!(cluster.shard(leader).unwrap().status().term > 30);
}

#[tokio::test(start_paused = true)]
async fn a_voter_that_is_behind_or_silent_is_no_target() {
    let cluster = Cluster::start(3, fast_settings()).await;
    cluster.append("a").await.unwrap();
    let leader = cluster.leader().await;
    let [target, third] = others(leader);
    assert_eq!(transfer(&cluster, leader, 9).await, LeadershipTransfer::NoTarget);
    cluster.network.isolate(target, 1..=3);
    for number in 0..600 {
        cluster.append(&format!("{number}")).await.unwrap();
    }
    let came = transfer(&cluster, leader, target).await;
    assert!(matches!(came, LeadershipTransfer::NotYet | LeadershipTransfer::NoTarget), "{came:?}");
    cluster.append_at(leader, Cluster::call("b", &["b"])).await.unwrap();
    assert_eq!(transfer(&cluster, leader, third).await, LeadershipTransfer::Done);
    append_at(&cluster, third, "c").await;
}

#[tokio::test(start_paused = true)]
async fn if_the_target_is_unreachable_another_replica_leads_and_no_read_is_served_before() {
    let cluster = Cluster::start(3, fast_settings()).await;
    cluster.append("a").await.unwrap();
    cluster.settled().await;
    let old = cluster.leader().await;
    let [target, third] = others(old);
    cluster.network.isolate(target, 1..=3); // not silent yet
    let began = Instant::now();
    assert_eq!(transfer(&cluster, old, target).await, LeadershipTransfer::NotYet);
    let shard = cluster.shard(old).unwrap();
    let refused = shard.append(Cluster::call("b", &["b"])).await;
    assert!(matches!(refused, Err(Error::NotLeader { leader: None })), "{refused:?}");
    assert!(matches!(shard.seek(Start::Latest, true).await, Err(Error::NotLeader { .. })));
    let read = shard.read(Position::default(), 1, 1, true).await;
    assert!(matches!(read, Err(Error::NotLeader { .. })), "{read:?}");
    cluster.append("c").await.unwrap();
    assert_eq!(cluster.leader().await, third);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_quarantined_leader_on_a_living_node_is_replaced_at_once() {
    // The election timeout is fifteen seconds or more.
    let cluster = Cluster::start(3, ReplicaSettings::default()).await;
    cluster.append("before").await.unwrap();
    cluster.settled().await;
    let damaged = cluster.leader().await;
    cluster.store(damaged).quarantine(GROUP, "segment 3: byte 17");
    let found = Instant::now();
    cluster.replicas(damaged).unwrap().close(GROUP).await;
    let [a, b] = others(damaged);
    eventually("another leader", || async {
        for node in [a, b] {
            if cluster.append_at(node, Cluster::call("after", &["after"])).await.is_ok() {
                return Some(());
            }
        }
        None
    })
    .await;
    assert!(found.elapsed() < Duration::from_secs(3), "{:?}", found.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_successor_of_a_quarantined_leader_has_all_acknowledged_records() {
    for seed in 0..2 {
        let cluster = Cluster::start(3, ReplicaSettings::default()).await;
        cluster.append("a").await.unwrap();
        cluster.settled().await;
        let damaged = cluster.leader().await;
        let mut pair = others(damaged);
        pair.rotate_left(seed);
        let [behind, third] = pair;
        cluster.network.isolate(behind, 1..=3);
        cluster.append_at(damaged, Cluster::call("b", &["b"])).await.unwrap();
        cluster.store(damaged).quarantine(GROUP, "segment 3: byte 17");
        cluster.network.heal();
        let found = Instant::now();
        cluster.replicas(damaged).unwrap().close(GROUP).await;
        eventually("the replica with all records leads", || async {
            cluster.append_at(third, Cluster::call("c", &["c"])).await.ok()
        })
        .await;
        assert!(found.elapsed() < Duration::from_secs(5), "{:?}", found.elapsed());
        let shown = cluster.read_all(third).await.unwrap();
        let texts: Vec<_> = shown.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["a", "b", "c"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_leaving_node_does_not_stand_for_election_again() {
    let mut cluster = Cluster::start(3, ReplicaSettings::default()).await;
    cluster.append("a").await.unwrap();
    let old = cluster.leader().await;
    let [target, third] = others(old);
    cluster.replicas(old).unwrap().leave();
    assert_eq!(transfer(&cluster, old, target).await, LeadershipTransfer::Done);
    cluster.crash(target, 1).await;
    cluster.append("b").await.unwrap();
    assert_eq!(cluster.leader().await, third);
}

#[tokio::test(start_paused = true)]
async fn if_the_replica_of_the_target_is_gone_for_ever_another_replica_leads() {
    let mut cluster = Cluster::start(3, ReplicaSettings::default()).await;
    cluster.append("a").await.unwrap();
    cluster.settled().await;
    let old = cluster.leader().await;
    // The target that the old leader prefers, by the id of the group.
    let mut targets = others(old);
    targets.sort_unstable();
    let target = targets[usize::try_from(GROUP.0 % 2).unwrap()];
    // The disk of the target is wiped. Its node is alive again with another replica, before the leader knows of that.
    cluster.stop(target).await;
    cluster.wipe(target);
    let replaced = [(1, 1), (2, 2), (3, 3)]
        .map(|(id, node)| if node == target { (9, node) } else { (id, node) });
    cluster.let_starters_believe_in(&replaced);
    cluster.restart(target).await;
    let began = Instant::now();
    assert_eq!(transfer(&cluster, old, target).await, LeadershipTransfer::NotYet);
    cluster.append("b").await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}
