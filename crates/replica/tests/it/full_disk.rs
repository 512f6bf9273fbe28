//! Disks without free space for records: their replicas stay, take no records, and go on once there is space.

use std::time::Duration;

use anabranch_replica::{Error, LeadershipTransfer, ReplicaSettings};
use anabranch_shard::Position;
use anabranch_storage::DiskState::{AlmostFull, Full, Normal};
use anabranch_testkit::{Cluster, GROUP, eventually, fast_settings};

fn texts(records: &[(Position, String)]) -> Vec<&str> {
    records.iter().map(|(_, text)| text.as_str()).collect()
}

/// A cluster with one record on every replica, the node of its leader, and the two other nodes.
async fn scene() -> (Cluster, u64, [u64; 2]) {
    let cluster = Cluster::start(3, fast_settings()).await;
    cluster.append("before").await.unwrap();
    cluster.settled().await;
    let leader = cluster.leader().await;
    let others = [1, 2].map(|step| (leader - 1 + step) % 3 + 1);
    (cluster, leader, others)
}

/// Waits until every node has heard of the disks of the others, and has looked after its groups.
async fn pongs_have_spread() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// Bytes of a record that is much larger than all heartbeats of a test.
const RECORD_BYTES: usize = 500_000;

fn last_index(cluster: &Cluster, node: u64) -> u64 {
    cluster.shard(node).unwrap().status().last.unwrap().index
}

#[tokio::test(start_paused = true)]
async fn a_follower_without_free_space_takes_no_records_and_catches_up_later() {
    let (cluster, leader, [full, other]) = scene().await;
    // At first the leader does not know of the full disk. A record may need this follower, so it goes onto the
    // reserve.
    cluster.store(full).set_disk(AlmostFull);
    cluster.append("a").await.unwrap();
    pongs_have_spread().await;
    let had = last_index(&cluster, full);
    for text in ["b", "c", "d"] {
        cluster.append(text).await.unwrap();
    }
    eventually("the others have all records", || async {
        let all = ["before", "a", "b", "c", "d"];
        let shown = [cluster.read_all(leader).await.ok()?, cluster.read_all(other).await.ok()?];
        shown.iter().all(|shown| texts(shown) == all).then_some(())
    })
    .await;
    assert_eq!(last_index(&cluster, full), had, "nothing was stored without free space");
    let shown = cluster.read_all(full).await.unwrap();
    assert!(["before", "a"].starts_with(&texts(&shown)), "it still serves: {shown:?}");
    assert_eq!(cluster.shard(full).unwrap().status().quarantined, None);
    assert_eq!(cluster.leader().await, leader, "no other replica stood for election");
    cluster.store(full).set_disk(Normal);
    assert_eq!(texts(&cluster.settled().await), ["before", "a", "b", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn records_that_a_follower_without_free_space_refused_are_sent_once() {
    let (cluster, leader, [full, other]) = scene().await;
    cluster.store(full).set_disk(AlmostFull);
    pongs_have_spread().await;
    let before = cluster.network.bytes_carried(leader, full);
    let record = "r".repeat(RECORD_BYTES);
    let position = cluster.append(&record).await.unwrap();
    // Time for about twenty further attempts.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let sent = cluster.network.bytes_carried(leader, full) - before;
    assert!(
        sent < 2 * RECORD_BYTES as u64,
        "{sent} bytes were sent for one record of {RECORD_BYTES}"
    );
    assert!(last_index(&cluster, full) < position.log_index, "the record was refused");
    assert_eq!(last_index(&cluster, other), last_index(&cluster, leader));
    cluster.store(full).set_disk(Normal);
    assert_eq!(texts(&cluster.settled().await), ["before", &record]);
}

#[tokio::test(start_paused = true)]
async fn records_that_a_new_replica_without_free_space_refused_are_sent_once() {
    let mut cluster = Cluster::start(1, fast_settings()).await;
    let record = "r".repeat(RECORD_BYTES);
    cluster.append(&record).await.unwrap();
    cluster.add_node(2).await;
    cluster.store(2).set_disk(AlmostFull);
    pongs_have_spread().await;
    let before = cluster.network.bytes_carried(1, 2);
    cluster.set_members(&[(1, 1), (2, 2)]).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let sent = cluster.network.bytes_carried(1, 2) - before;
    assert!(sent > RECORD_BYTES as u64, "the log was sent: {sent} bytes");
    assert!(
        sent < 2 * RECORD_BYTES as u64,
        "{sent} bytes were sent for one record of {RECORD_BYTES}"
    );
    cluster.store(2).set_disk(Normal);
    eventually("the new replica has the record", || async {
        (texts(&cluster.read_all(2).await.ok()?) == [&record]).then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_record_is_sent_again_once_a_majority_needs_the_follower() {
    let (cluster, leader, [full, other]) = scene().await;
    cluster.store(full).set_disk(AlmostFull);
    pongs_have_spread().await;
    // The other nodes do not know yet that this node is away. So the follower refuses the record at first.
    cluster.network.isolate(other, [leader, full]);
    let appended = cluster.append_at(leader, Cluster::call("a", &["a"])).await;
    assert!(appended.is_ok(), "{appended:?}");
    cluster.network.heal();
    cluster.store(full).set_disk(Normal);
    assert_eq!(texts(&cluster.settled().await), ["before", "a"]);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_nobody_follows_does_not_blame_the_disks() {
    let (cluster, leader, _) = scene().await;
    cluster.network.isolate(leader, 1..=3);
    // A caller that is throttled waits and asks the same node again. This caller must look for the new leader.
    for text in ["a", "b", "c", "d"] {
        pongs_have_spread().await;
        let refused = cluster.append_at(leader, Cluster::call(text, &[text])).await;
        assert!(
            matches!(refused, Err(Error::NotLeader { .. } | Error::Unknown(_))),
            "a cut-off leader: {refused:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn trims_reach_a_follower_without_free_space() {
    let (mut cluster, _, [full, _]) = scene().await;
    cluster.store(full).set_disk(AlmostFull);
    let before = cluster.append("a").await.unwrap();
    pongs_have_spread().await;
    // The trim is behind a record for which the follower has no space. So it gets the snapshot and drops its old
    // records.
    cluster.trim_past(before).await;
    assert_eq!(cluster.read_all(full).await.unwrap(), []);
    // Once it has all entries, trims come as entries.
    cluster.store(full).set_disk(Normal);
    let next = cluster.append("b").await.unwrap();
    cluster.settled().await;
    cluster.store(full).set_disk(AlmostFull);
    cluster.trim_past(next).await;
    cluster.store(full).set_disk(Normal);
    cluster.append("c").await.unwrap();
    assert_eq!(texts(&cluster.settled().await), ["c"]);
    cluster.stop(full).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_free_space_transfers_the_leadership() {
    let (cluster, leader, _) = scene().await;
    cluster.store(leader).set_disk(AlmostFull);
    let refused = cluster.append_at(leader, Cluster::call("a", &["a"])).await;
    assert!(matches!(refused, Err(Error::Throttled(_))), "{refused:?}");
    cluster.append("b").await.unwrap();
    assert_ne!(cluster.leader().await, leader);
    assert_eq!(texts(&cluster.read_all(leader).await.unwrap()), ["before"]);
    cluster.store(leader).set_disk(Normal);
    assert_eq!(texts(&cluster.settled().await), ["before", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_replica_without_free_space_is_no_target_while_another_has_some() {
    let (cluster, leader, [full, other]) = scene().await;
    cluster.store(full).set_disk(AlmostFull);
    pongs_have_spread().await;
    let transfer = async |from: u64| {
        cluster.replicas(from).unwrap().transfer_leadership(GROUP, |_| true).await
    };
    assert_eq!(transfer(leader).await, LeadershipTransfer::Done);
    assert_eq!(cluster.leader().await, other);
    // A leader that must give up the leadership takes a target without free space if there is no other.
    cluster.store(leader).set_disk(AlmostFull);
    pongs_have_spread().await;
    assert_eq!(transfer(other).await, LeadershipTransfer::Done);
}

#[tokio::test(start_paused = true)]
async fn without_free_space_on_a_majority_writes_are_throttled_and_reads_served() {
    let (cluster, leader, [second, third]) = scene().await;
    for node in [second, third] {
        cluster.store(node).set_disk(AlmostFull);
    }
    // A record that the leader takes before it knows of the full disks is committed. Otherwise trims would wait
    // behind it for ever.
    cluster.append_at(leader, Cluster::call("taken", &["taken"])).await.unwrap();
    pongs_have_spread().await;
    let refused = cluster.append_at(leader, Cluster::call("a", &["a"])).await;
    assert!(matches!(refused, Err(Error::Throttled(_))), "{refused:?}");
    let shard = cluster.shard(leader).unwrap();
    assert!(shard.read(Position::default(), 10, 1000, true).await.is_ok(), "it leads and is read");
    cluster.store(second).set_disk(Normal);
    pongs_have_spread().await;
    cluster.append("b").await.unwrap();
    cluster.store(third).set_disk(Normal);
    assert_eq!(texts(&cluster.settled().await), ["before", "taken", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_stopped_because_its_disk_was_full_is_reopened_without_loss() {
    // No rounds of upkeep, so that the group keeps its leader.
    let settings =
        ReplicaSettings { maintenance_interval: Duration::from_secs(3600), ..fast_settings() };
    let mut cluster = Cluster::start(3, settings).await;
    cluster.append("before").await.unwrap();
    cluster.settled().await;
    let leader = cluster.leader().await;
    // The disk filled while more than its reserve was in flight: the log refuses entries on which openraft counts.
    let calls = ["a", "b", "c", "d"].map(|text| Cluster::call(text, &[text]));
    let appends = calls.map(|call| cluster.append_at(leader, call));
    let fills = async { cluster.store(leader).set_disk(Full) };
    let (outcomes, ()) = tokio::join!(futures::future::join_all(appends), fills);
    let acknowledged = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    cluster.store(leader).set_disk(Normal);
    cluster.reopen(leader).await;
    cluster.append("after").await.unwrap();
    let shown = cluster.settled().await;
    let shown = texts(&shown);
    assert!(shown.len() >= acknowledged + 2, "{outcomes:?}, {shown:?}");
    assert_eq!((shown[0], shown[shown.len() - 1]), ("before", "after"));
}
