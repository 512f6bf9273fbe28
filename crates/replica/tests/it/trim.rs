//! The snapshot at the trim horizon. openraft does not promise to accept a snapshot that is older than the applied
//! entries. These tests check it at every change of openraft's version.

use anabranch_replica::Error;
use anabranch_shard::Position;
use anabranch_testkit::{Cluster, fast_settings};

async fn fill(cluster: &Cluster, prefix: &str, count: usize) -> Position {
    let mut last = Position::default();
    for i in 0..count {
        last = cluster.append(&format!("{prefix}{i}")).await.unwrap();
    }
    last
}

fn texts(records: &[(Position, String)]) -> Vec<&str> {
    records.iter().map(|(_, text)| text.as_str()).collect()
}

/// Three nodes on which the "old" records are trimmed and purged, and the "new" records are retained.
async fn trimmed() -> Cluster {
    let cluster = Cluster::start(3, fast_settings()).await;
    let last_old = fill(&cluster, "old", 20).await;
    cluster.trim_past(last_old).await;
    fill(&cluster, "new", 3).await;
    cluster
}

const NEW: [&str; 3] = ["new0", "new1", "new2"];

#[tokio::test(start_paused = true)]
async fn expired_records_are_trimmed_and_purged_everywhere() {
    let cluster = trimmed().await;
    assert_eq!(texts(&cluster.settled().await), NEW);
}

#[tokio::test(start_paused = true)]
async fn expired_records_are_not_shown_before_they_are_trimmed() {
    let mut settings = fast_settings();
    settings.checkpoint_interval = std::time::Duration::from_secs(1_000_000);
    let cluster = Cluster::start(3, settings).await;
    fill(&cluster, "old", 5).await;
    cluster.advance(std::time::Duration::from_secs(25 * 3600)).await;
    fill(&cluster, "new", 3).await;
    let leader = cluster.leader().await;
    assert_eq!(cluster.shard(leader).unwrap().status().trim_horizon, 0);
    assert_eq!(texts(&cluster.read_all(leader).await.unwrap()), NEW);
}

#[tokio::test(start_paused = true)]
async fn a_new_learner_gets_exactly_the_retained_records() {
    let mut cluster = trimmed().await;
    cluster.add_node(4).await;
    cluster.set_members(&[(1, 1), (2, 2), (3, 3), (4, 4)]).await;
    assert_eq!(texts(&cluster.settled().await), NEW);
    let voters = anabranch_testkit::eventually("four voters", || async {
        let voters = cluster.shard(4)?.status().voters;
        (voters.len() == 4).then_some(voters)
    });
    assert_eq!(voters.await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_missed_purged_entries_gets_exactly_the_retained_records() {
    let mut cluster = Cluster::start(3, fast_settings()).await;
    fill(&cluster, "early", 3).await;
    cluster.settled().await;
    let leader = cluster.leader().await;
    let follower = cluster.up().into_iter().find(|node| *node != leader).unwrap();
    cluster.stop(follower).await;
    let last_old = fill(&cluster, "old", 20).await;
    cluster.trim_past(last_old).await;
    fill(&cluster, "new", 3).await;
    cluster.restart(follower).await;
    assert_eq!(texts(&cluster.settled().await), NEW);
    assert!(cluster.shard(follower).unwrap().status().trim_horizon > last_old.log_index);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_node_has_exactly_the_retained_records() {
    let mut cluster = trimmed().await;
    for node in cluster.up() {
        cluster.crash(node, node).await;
        cluster.restart(node).await;
        assert_eq!(texts(&cluster.settled().await), NEW);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_makes_the_old_one_drop_its_uncommitted_tail() {
    let cluster = trimmed().await;
    let old_leader = cluster.leader().await;
    cluster.network.isolate(old_leader, 1..=3);
    // The old leader takes the record into its log, but no majority ever has it.
    let lost = cluster.append_at(old_leader, Cluster::call("lost", &["lost"])).await;
    assert!(matches!(lost, Err(Error::Unknown(_) | Error::NotLeader { .. })), "{lost:?}");
    let others: Vec<_> = cluster.up().into_iter().filter(|node| *node != old_leader).collect();
    anabranch_testkit::eventually("a new leader that appends", || async {
        for node in &others {
            if cluster.append_at(*node, Cluster::call("kept", &["kept"])).await.is_ok() {
                return Some(());
            }
        }
        None
    })
    .await;
    cluster.network.heal();
    assert_eq!(texts(&cluster.settled().await), ["new0", "new1", "new2", "kept"]);
}

#[tokio::test(start_paused = true)]
async fn a_trim_of_everything_and_a_cold_restart_of_all_leave_an_empty_shard_that_works() {
    let mut cluster = Cluster::start(3, fast_settings()).await;
    let last = fill(&cluster, "old", 10).await;
    cluster.settled().await;
    cluster.trim_past(last).await;
    assert_eq!(texts(&cluster.settled().await), [""; 0]);
    for node in 1..=3 {
        cluster.crash(node, 7 + node).await;
    }
    for node in 1..=3 {
        cluster.restart(node).await;
    }
    assert_eq!(texts(&cluster.settled().await), [""; 0]);
    let next = fill(&cluster, "after", 2).await;
    assert!(next > last, "positions are never used again");
    assert_eq!(texts(&cluster.settled().await), ["after0", "after1"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_purged_without_a_trim() {
    let cluster = Cluster::start(3, fast_settings()).await;
    fill(&cluster, "r", 6_000).await; // openraft's default policy purges after 5,000 entries
    for node in cluster.up() {
        let status = cluster.shard(node).unwrap().status();
        assert_eq!((status.purged, status.trim_horizon), (None, 0));
    }
    assert_eq!(cluster.settled().await.len(), 6_000);
}
