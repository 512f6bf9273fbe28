//! Metrics of replicas that lead, follow, and are behind.

use anabranch_testkit::{Cluster, eventually, fast_settings};

/// Value of a series on a node.
fn value(cluster: &Cluster, node: u64, series: &str) -> u64 {
    let text = cluster.metrics(node).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
}

fn others(cluster: &Cluster, node: u64) -> Vec<u64> {
    cluster.up().into_iter().filter(|other| *other != node).collect()
}

#[tokio::test(start_paused = true)]
async fn a_leader_counts_appends_by_what_became_of_them() {
    let cluster = Cluster::start(3, fast_settings()).await;
    let leader = cluster.leader().await;
    let follower = others(&cluster, leader)[0];
    let call = Cluster::call("p", &["a"]);
    cluster.append_at(leader, call.clone()).await.unwrap();
    cluster.append_at(leader, call.clone()).await.unwrap();
    cluster.append_at(follower, call).await.unwrap_err();
    let appends = |node, outcome| {
        let series = format!("anabranch_replica_appends_total{{outcome=\"{outcome}\"}}");
        value(&cluster, node, &series)
    };
    assert_eq!(appends(leader, "acknowledged"), 2);
    assert_eq!(appends(follower, "not_leader"), 1);
    assert_eq!(value(&cluster, leader, "anabranch_replica_deduplicated_batches_total"), 1);
    assert_eq!(value(&cluster, leader, "anabranch_replica_append_duration_seconds_count"), 1);
    assert_eq!(value(&cluster, leader, "anabranch_replica_append_in_flight_bytes"), 0);
}

#[tokio::test(start_paused = true)]
async fn each_node_says_in_which_groups_it_leads() {
    let mut cluster = Cluster::start(3, fast_settings()).await;
    let leader = cluster.leader().await;
    cluster.append("a").await.unwrap();
    cluster.settled().await;
    let groups = |cluster: &Cluster, node, role| {
        value(cluster, node, &format!("anabranch_replica_groups{{role=\"{role}\"}}"))
    };
    assert_eq!(groups(&cluster, leader, "leader"), 1);
    for other in others(&cluster, leader) {
        assert_eq!(groups(&cluster, other, "follower"), 1);
        assert_eq!(value(&cluster, other, "anabranch_replica_leaderless_groups"), 0);
    }
    // The last running node has no leader and cannot be elected.
    let last = others(&cluster, leader)[0];
    for node in others(&cluster, last) {
        cluster.crash(node, 1).await;
    }
    eventually("a group without a leader, and a candidate", || async {
        let is_leaderless = value(&cluster, last, "anabranch_replica_leaderless_groups") == 1;
        let has_stood = value(&cluster, last, "anabranch_replica_elections_total") >= 1;
        (is_leaderless && has_stood).then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_was_away_is_sent_old_entries() {
    let mut cluster = Cluster::start(3, fast_settings()).await;
    let leader = cluster.leader().await;
    let away = others(&cluster, leader)[0];
    cluster.stop(away).await;
    for number in 0..1100 {
        cluster.append(&number.to_string()).await.unwrap();
    }
    let leader = cluster.leader().await;
    assert_eq!(value(&cluster, leader, "anabranch_replica_lagging_replicas"), 1);
    assert!(value(&cluster, leader, "anabranch_replica_largest_lag_entries") > 1024);
    cluster.restart(away).await;
    cluster.settled().await;
    let sent = |purpose| {
        let series = format!("anabranch_replica_sent_entries_total{{purpose=\"{purpose}\"}}");
        value(&cluster, leader, &series)
    };
    assert!(sent("catch_up") > 0, "{} live", sent("live"));
    assert!(sent("live") >= 1100);
    assert_eq!(value(&cluster, leader, "anabranch_replica_lagging_replicas"), 0);
}
