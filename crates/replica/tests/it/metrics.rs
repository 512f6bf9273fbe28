//! Metrics of replicas that lead, follow, and are behind.

use anabranch_table::{
    Expect, Key, SpaceId, Transaction, TransactionId, Version, WatchedRange, row_bytes,
};
use anabranch_testkit::{Cluster, eventually, fast_settings};
use bytes::Bytes;
use futures::StreamExt;

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

#[tokio::test(start_paused = true)]
async fn a_table_group_shows_transactions_rows_checkpoints_and_watchers() {
    let cluster = Cluster::start_with_table(3, fast_settings()).await;
    let table = cluster.table_leader().await;
    table.create_space(TransactionId::default(), "rows".into()).await.unwrap();
    let key = || Key { space: SpaceId(1), key: Bytes::from_static(b"key") };
    let mut put = Transaction::default();
    put.puts.push((key(), Bytes::from_static(b"value")));
    table.transact(put.clone()).await.unwrap();
    put.checks.push((key(), Expect::Absent));
    table.transact(put.clone()).await.unwrap();
    put.checks[0].0.space = SpaceId(9);
    table.transact(put.clone()).await.unwrap();
    let leader = eventually("the leader's node", || async {
        cluster.up().into_iter().find(|node| cluster.table(*node).is_some_and(|t| t.leads()))
    })
    .await;
    let follower = others(&cluster, leader)[0];
    cluster.table(follower).unwrap().transact(put).await.unwrap_err();
    let transactions = |node, outcome| {
        let series = format!("anabranch_table_transactions_total{{outcome=\"{outcome}\"}}");
        value(&cluster, node, &series)
    };
    assert_eq!(transactions(leader, "done"), 1);
    assert_eq!(transactions(leader, "check_failed"), 1);
    assert_eq!(transactions(leader, "refused"), 1);
    assert_eq!(transactions(follower, "not_leader"), 1);
    assert_eq!(value(&cluster, leader, "anabranch_table_entry_transactions_count"), 3);
    eventually("the row and a checkpoint on the follower", || async {
        let shown = |series| value(&cluster, follower, series);
        let has_row = shown("anabranch_table_rows") == 1
            && shown("anabranch_table_row_bytes") == row_bytes(b"key", b"value")
            && shown("anabranch_table_fullest_group_bytes") == row_bytes(b"key", b"value");
        cluster.clock.advance(std::time::Duration::from_secs(1));
        let has_checkpoint = shown("anabranch_table_checkpoint_bytes_count") >= 1
            && shown("anabranch_table_checkpoint_duration_seconds_count") >= 1;
        (has_row && has_checkpoint).then_some(())
    })
    .await;
    let range = WatchedRange { space: SpaceId(1), prefix: Bytes::new() };
    let watch = cluster.table(follower).unwrap().watch_rows(range, Version::START);
    let mut watch = watch.boxed();
    watch.next().await.unwrap().unwrap();
    assert_eq!(value(&cluster, follower, "anabranch_table_watchers"), 1);
    drop(watch);
    assert_eq!(value(&cluster, follower, "anabranch_table_watchers"), 0);
}
