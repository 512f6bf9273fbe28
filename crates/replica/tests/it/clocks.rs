//! Nodes whose wall clocks are wrong: no record is lost, trimmed or hidden because of them, and records are stamped
//! with the time of a majority.

use std::time::Duration;

use anabranch_replica::ReplicaSettings;
use anabranch_shard::{Page, Position};
use anabranch_testkit::{Cluster, eventually, fast_settings};
use anabranch_types::{Clock, NodeId, Timestamp};

const HOUR: i64 = 3600 * 1000;
/// Long enough for several checkpoints and rounds of upkeep, and for a change of the leader if one is due.
const A_WHILE: Duration = Duration::from_secs(8);
/// In milliseconds. The wall clocks of the tests do not advance between pings, so the agreed time may be off by a
/// ping interval.
const PRECISION: u64 = 500;

fn texts(records: &[(Position, String)]) -> Vec<&str> {
    records.iter().map(|(_, text)| text.as_str()).collect()
}

/// Three nodes that have heard each other's clocks.
async fn start(settings: ReplicaSettings) -> Cluster {
    let cluster = Cluster::start(3, settings).await;
    cluster.leader().await;
    cluster.advance(Duration::from_secs(1)).await;
    cluster
}

async fn page(cluster: &Cluster, node: u64) -> Page {
    cluster.shard(node).unwrap().read(Position::default(), 1000, 1 << 20, false).await.unwrap()
}

/// Arrival time of each record, as the leader shows it.
async fn arrivals(cluster: &Cluster) -> Vec<Timestamp> {
    let leader = cluster.leader().await;
    page(cluster, leader).await.batches.iter().map(|batch| batch.arrival).collect()
}

async fn assert_nothing_is_lost(cluster: &Cluster, expected: &[&str]) {
    for node in cluster.up() {
        assert_eq!(texts(&cluster.read_all(node).await.unwrap()), expected, "node {node}");
        assert_eq!(cluster.shard(node).unwrap().status().trim_horizon, 0, "node {node}");
    }
}

/// Waits until a node other than `node` leads.
async fn another_leads(cluster: &Cluster, node: u64) -> u64 {
    eventually("another leader", || async {
        let leader = cluster.leader().await;
        (leader != node).then_some(leader)
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_clock_is_a_day_ahead_trims_and_hides_nothing_and_stops_leading() {
    let cluster = start(fast_settings()).await;
    let wrong = cluster.leader().await;
    for i in 0..3 {
        cluster.append(&format!("r{i}")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await; // a checkpoint
    }
    cluster.set_clock_wrong(wrong, 25 * HOUR);
    assert_nothing_is_lost(&cluster, &["r0", "r1", "r2"]).await;
    cluster.append("stamped").await.unwrap();
    another_leads(&cluster, wrong).await;
    tokio::time::sleep(A_WHILE).await;
    assert_nothing_is_lost(&cluster, &["r0", "r1", "r2", "stamped"]).await;
    let newest = arrivals(&cluster).await.pop().unwrap();
    assert!(newest.ahead_of(cluster.clock.now()).unsigned_abs() <= PRECISION, "{newest}");
}

#[tokio::test(start_paused = true)]
async fn records_that_a_leader_with_a_late_clock_took_are_not_expired_when_it_is_set_right() {
    let cluster = start(fast_settings()).await;
    let wrong = cluster.leader().await;
    cluster.set_clock_wrong(wrong, -25 * HOUR);
    // The shard is empty, so only the clock decides the arrival time.
    cluster.append_at(wrong, Cluster::call("first", &["first"])).await.unwrap();
    let arrival = arrivals(&cluster).await[0];
    assert!(arrival.ahead_of(cluster.clock.now()).unsigned_abs() <= PRECISION, "{arrival}");
    another_leads(&cluster, wrong).await;
    cluster.set_clock_wrong(wrong, 0);
    tokio::time::sleep(A_WHILE).await;
    assert_nothing_is_lost(&cluster, &["first"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_of_a_follower_hides_no_records_there() {
    let cluster = start(fast_settings()).await;
    cluster.append("r").await.unwrap();
    cluster.settled().await;
    let wrong = cluster.leader().await % 3 + 1;
    for ahead in [25 * HOUR, -25 * HOUR] {
        cluster.set_clock_wrong(wrong, ahead);
        tokio::time::sleep(A_WHILE).await;
        assert_nothing_is_lost(&cluster, &["r"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_clock_is_wrong_is_not_elected_while_another_can_lead() {
    let mut cluster = start(fast_settings()).await;
    cluster.append("r").await.unwrap();
    let lost = cluster.leader().await;
    let [wrong, right] = [lost % 3 + 1, (lost + 1) % 3 + 1];
    cluster.set_clock_wrong(wrong, 25 * HOUR);
    tokio::time::sleep(A_WHILE).await;
    assert!(cluster.clocks(right).unwrap().is_far(NodeId(wrong)));
    // Two of three clocks are left, and they differ. So no clock counts as wrong any more, and nothing expires.
    cluster.crash(lost, 1).await;
    assert_eq!(cluster.leader().await, right);
    tokio::time::sleep(A_WHILE).await;
    assert_nothing_is_lost(&cluster, &["r"]).await;
    cluster.append("goes on").await.unwrap();
    cluster.settled().await;
    assert_nothing_is_lost(&cluster, &["r", "goes on"]).await;
}

#[tokio::test(start_paused = true)]
async fn without_an_agreed_time_all_records_are_served_and_none_is_trimmed() {
    let cluster = start(fast_settings()).await;
    for (node, days) in [(2, 2), (3, 4)] {
        cluster.set_clock_wrong(node, days * 24 * HOUR);
    }
    let mut expected = Vec::new();
    for text in ["r0", "r1", "r2"] {
        cluster.append(text).await.unwrap();
        expected.push(text);
        tokio::time::sleep(A_WHILE).await;
        assert_nothing_is_lost(&cluster, &expected).await;
    }
    for node in 1..=3 {
        assert_eq!(cluster.clocks(node).unwrap().agreed(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn records_that_expired_by_the_clocks_of_a_majority_are_trimmed() {
    let cluster = start(fast_settings()).await;
    let last = cluster.append("old").await.unwrap();
    let wrong = cluster.leader().await % 3 + 1;
    cluster.set_clock_wrong(wrong, -30 * HOUR);
    tokio::time::sleep(A_WHILE).await;
    cluster.clock.advance(Duration::from_secs(25 * 3600));
    cluster.purged(last).await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_within_the_limit_is_used_as_it_is() {
    let cluster = start(fast_settings()).await;
    let leader = cluster.leader().await;
    cluster.set_clock_wrong(leader, 700);
    tokio::time::sleep(A_WHILE).await;
    cluster.append("r").await.unwrap();
    assert_eq!(cluster.leader().await, leader);
    assert_eq!(arrivals(&cluster).await, [cluster.clock.now().shifted(700)]);
}
