//! Which replica leads, which replicas may serve reads, and how soon another replica takes over.

use std::time::Duration;

use anabranch_replica::{Error, ReplicaSettings};
use anabranch_shard::{Page, Position, Start};
use anabranch_testkit::{Cluster, GROUP, eventually, fast_settings};
use anabranch_types::{Clock, Timestamp};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn survivors_take_over_in_about_two_seconds() {
    // The election timeout is fifteen seconds or more. So the liveness of nodes must decide.
    let mut cluster = Cluster::start(3, ReplicaSettings::default()).await;
    cluster.append("before").await.unwrap();
    let leader = cluster.leader().await;
    cluster.crash(leader, 1).await;
    let died = Instant::now();
    cluster.append("after").await.unwrap();
    assert!(died.elapsed() < Duration::from_secs(3), "{:?} of virtual time", died.elapsed());
}

#[tokio::test(start_paused = true)]
async fn heartbeats_alone_keep_a_leader_and_its_right_to_write() {
    let settings = ReplicaSettings::default();
    let quiet = settings.election_timeout * 10;
    let cluster = Cluster::start(3, settings).await;
    cluster.append("before").await.unwrap();
    let leader = cluster.leader().await;
    let terms = || cluster.up().into_iter().map(|node| cluster.shard(node).unwrap().status().term);
    let before: Vec<_> = terms().collect();
    tokio::time::sleep(quiet).await;
    assert_eq!(terms().collect::<Vec<_>>(), before);
    cluster.append_at(leader, Cluster::call("after", &["after"])).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_restarts_at_once_is_replaced_or_elected_again_soon() {
    let mut cluster = Cluster::start(3, ReplicaSettings::default()).await;
    cluster.append("before").await.unwrap();
    let leader = cluster.leader().await;
    cluster.crash(leader, 1).await;
    cluster.restart(leader).await;
    let restarted = Instant::now();
    cluster.append("after").await.unwrap();
    assert!(restarted.elapsed() < Duration::from_secs(3), "{:?}", restarted.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_cut_off_leader_answers_no_request_that_needs_the_leader() {
    let cluster = Cluster::start(3, fast_settings()).await;
    cluster.append("a").await.unwrap();
    let old = cluster.leader().await;
    cluster.network.isolate(old, 1..=3);
    let others: Vec<_> = cluster.up().into_iter().filter(|node| *node != old).collect();
    eventually("a new leader that appends", || async {
        for node in &others {
            if cluster.append_at(*node, Cluster::call("b", &["b"])).await.is_ok() {
                return Some(());
            }
        }
        None
    })
    .await;
    let shard = cluster.shard(old).unwrap();
    let latest =
        tokio::time::timeout(Duration::from_secs(60), shard.seek(Start::Latest, true)).await;
    assert!(!matches!(latest, Ok(Ok(_))), "a stale end of the shard: {latest:?}");
    // Readers that do not insist on the leader still see what this replica has applied.
    assert_eq!(cluster.read_all(old).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn followers_serve_applied_records_and_refuse_requests_that_need_the_leader() {
    let cluster = Cluster::start(3, fast_settings()).await;
    cluster.append("a").await.unwrap();
    cluster.settled().await;
    let leader = cluster.leader().await;
    for node in cluster.up().into_iter().filter(|node| *node != leader) {
        let shard = cluster.shard(node).unwrap();
        assert_eq!(cluster.read_all(node).await.unwrap().len(), 1);
        let refused = shard.read(Position::default(), 1, 1, true).await;
        assert!(matches!(refused, Err(Error::NotLeader { leader: Some(l) }) if l.0 == leader));
        assert!(matches!(shard.seek(Start::Latest, true).await, Err(Error::NotLeader { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn a_minority_takes_no_append() {
    let cluster = Cluster::start(3, fast_settings()).await;
    cluster.append("a").await.unwrap();
    let leader = cluster.leader().await;
    cluster.network.isolate(leader, 1..=3);
    let refused = cluster.append_at(leader, Cluster::call("x", &["x"])).await;
    assert!(matches!(refused, Err(Error::Unknown(_) | Error::NotLeader { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_no_majority_has_is_not_read() {
    let cluster = Cluster::start(3, fast_settings()).await;
    cluster.append("a").await.unwrap();
    let leader = cluster.leader().await;
    let last = || cluster.shard(leader).unwrap().status().last;
    let before = last();
    cluster.network.isolate(leader, 1..=3);
    let refused = cluster.append_at(leader, Cluster::call("x", &["x"])).await;
    assert!(matches!(refused, Err(Error::Unknown(_))), "{refused:?}");
    assert!(last() > before, "the entry is in the leader's log");
    let read = cluster.read_all(leader).await.unwrap();
    assert_eq!(read.iter().map(|(_, text)| text).collect::<Vec<_>>(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_may_have_a_successor_adds_nothing_to_its_log() {
    let settings = ReplicaSettings::default();
    let lease = settings.leader_lease;
    let cluster = Cluster::start(3, settings).await;
    cluster.append("a").await.unwrap();
    let old = cluster.leader().await;
    let last = || cluster.shard(old).unwrap().status().last;
    let before = last();
    cluster.network.isolate(old, 1..=3);
    tokio::time::advance(lease * 2).await;
    let refused = cluster.append_at(old, Cluster::call("x", &["x"])).await;
    assert!(matches!(refused, Err(Error::NotLeader { .. })), "{refused:?}");
    assert_eq!(last(), before);
    cluster.network.heal();
    cluster.append("b").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn arrival_times_never_fall_over_a_change_of_leader() {
    let mut cluster = Cluster::start(3, fast_settings()).await;
    cluster.append("a").await.unwrap();
    let leader = cluster.leader().await;
    cluster.crash(leader, 3).await;
    for i in 0..5 {
        cluster.append(&format!("b{i}")).await.unwrap();
    }
    let node = cluster.leader().await;
    let page = cluster.shard(node).unwrap().read(Position::default(), 100, 1 << 20, false).await;
    let arrivals: Vec<_> = page.unwrap().records().map(|(_, arrival, _)| arrival).collect();
    assert!(arrivals.is_sorted(), "{arrivals:?}");
}

#[tokio::test(start_paused = true)]
async fn a_replica_without_a_leader_does_not_report_the_tip() {
    let mut cluster = Cluster::start(3, ReplicaSettings::default()).await;
    cluster.append("before").await.unwrap();
    for node in 1..=3 {
        cluster.crash(node, 7).await;
    }
    cluster.restart(1).await;
    assert!(
        read_at(&cluster, 1).await.behind > Duration::ZERO,
        "there may be records that it does not know"
    );
    cluster.restart(2).await;
    cluster.restart(3).await;
    let page = eventually("the leader is at the tip", || async {
        let leader = cluster.leader().await;
        Some(read_at(&cluster, leader).await).filter(|page| page.behind.is_zero())
    });
    assert_eq!(page.await.records().count(), 1);
}

/// The page of a reader that does not insist on the leader.
async fn read_at(cluster: &Cluster, node: u64) -> Page {
    let shard = cluster.shard(node).unwrap();
    shard.read(Position::default(), 100, 1 << 20, false).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_reports_the_tip() {
    let cluster = Cluster::start(3, fast_settings()).await;
    cluster.append("a").await.unwrap();
    cluster.settled().await;
    let leader = cluster.leader().await;
    eventually("the leader, once it has a lease, is at the tip", || async {
        read_at(&cluster, leader).await.behind.is_zero().then_some(())
    })
    .await;
    for node in cluster.up() {
        let page = read_at(&cluster, node).await;
        assert_eq!(page.records().count(), 1);
        assert_eq!(page.behind.is_zero(), node == leader, "{:?} at {node}", page.behind);
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_page_is_not_at_the_tip_even_if_no_time_has_passed() {
    let cluster = Cluster::start(1, fast_settings()).await;
    let leader = cluster.leader().await;
    cluster.append_at(leader, Cluster::call("p", &["a", "b"])).await.unwrap();
    let shard = cluster.shard(leader).unwrap();
    for (records, bytes) in [(1, 1 << 20), (100, 1)] {
        let page = shard.read(Position::default(), records, bytes, true).await.unwrap();
        assert_eq!(page.records().count(), 1);
        assert!(page.behind > Duration::ZERO);
        let rest = shard.read(page.next, 100, 1 << 20, true).await.unwrap();
        assert_eq!((rest.records().count(), rest.behind), (1, Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_behind_a_position_or_a_time_refuses_to_answer() {
    let cluster = Cluster::start(3, fast_settings()).await;
    cluster.append("before").await.unwrap();
    cluster.settled().await;
    let leader = cluster.leader().await;
    let behind = leader % 3 + 1;
    cluster.network.isolate(behind, 1..=3);
    cluster.clock.advance(Duration::from_secs(10));
    let since = cluster.clock.now();
    let runs = cluster.append_at(leader, Cluster::call("p", &["a", "b"])).await.unwrap();
    let (first, second) = (runs[0].first, runs[0].first.next());
    let shard = cluster.shard(behind).unwrap();
    let read = shard.read(second, 100, 1 << 20, false).await;
    assert!(matches!(read, Err(Error::NotLeader { .. })), "{read:?}");
    // At its own end it has no records to show, and it does not report the tip.
    let page = shard.read(first, 100, 1 << 20, false).await.unwrap();
    assert!(page.batches.is_empty() && page.behind > Duration::ZERO, "{page:?}");
    let sought = shard.seek(Start::AtTimestamp(since), false).await;
    assert!(matches!(sought, Err(Error::NotLeader { .. })), "{sought:?}");
    let long_ago = shard.seek(Start::AtTimestamp(Timestamp::default()), false).await;
    assert_eq!(long_ago, shard.seek(Start::TrimHorizon, false).await);
    let led = cluster.shard(leader).unwrap();
    assert_eq!(led.seek(Start::AtTimestamp(since), true).await, Ok(first));
    for start in [Start::TrimHorizon, Start::AtTimestamp(since)] {
        let refused = shard.seek(start, true).await;
        assert!(matches!(refused, Err(Error::NotLeader { .. })), "{refused:?}");
    }
    cluster.network.heal();
    cluster.settled().await;
    assert_eq!(shard.seek(Start::AtTimestamp(since), false).await, Ok(first));
    assert_eq!(shard.read(second, 100, 1 << 20, false).await.unwrap().records().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_of_all_nodes_a_leader_is_elected_before_the_election_timeout() {
    for seed in 0..8 {
        let mut cluster = Cluster::start(3, ReplicaSettings::default()).await;
        cluster.append("before").await.unwrap();
        for node in 1..=3 {
            cluster.crash(node, seed).await;
        }
        let restarted = Instant::now();
        for node in 1..=3 {
            cluster.restart(node).await;
        }
        cluster.append("after").await.unwrap();
        assert!(
            restarted.elapsed() < Duration::from_secs(4),
            "seed {seed}: {:?}",
            restarted.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_opens_no_replica_any_more() {
    // It would start an election while the node closes its log store.
    let mut cluster = Cluster::start(3, ReplicaSettings::default()).await;
    cluster.append("before").await.unwrap();
    let leader = cluster.leader().await;
    cluster.replicas(leader).unwrap().shutdown().await;
    cluster.reopen(leader).await;
    assert!(cluster.shard(leader).is_none());
    assert!(cluster.replicas(leader).unwrap().groups().is_empty());
    cluster.append("after").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn survivors_that_restart_do_not_wait_for_a_leader_whose_disk_was_wiped() {
    // The election timeout is fifteen seconds or more. The node of the lost leader is alive.
    let mut cluster = Cluster::start(3, ReplicaSettings::default()).await;
    cluster.append("before").await.unwrap();
    cluster.settled().await;
    let lost = cluster.leader().await;
    for node in 1..=3 {
        cluster.crash(node, 1).await;
    }
    cluster.wipe(lost);
    let members = [1, 2, 3].map(|node| (if node == lost { 9 } else { node }, node));
    cluster.let_starters_believe_in(&members);
    for node in 1..=3 {
        cluster.restart(node).await;
    }
    let restarted = Instant::now();
    cluster.append("after").await.unwrap();
    assert!(restarted.elapsed() < Duration::from_secs(8), "{:?}", restarted.elapsed());
}

/// Asserts that `node` does not answer as the leader for `time`.
async fn assert_does_not_answer_as_leader(cluster: &Cluster, node: u64, time: Duration) {
    let shard = cluster.shard(node).unwrap();
    let began = Instant::now();
    while began.elapsed() < time {
        let latest = shard.seek(Start::Latest, true).await;
        assert!(latest.is_err(), "a stale end of the shard after {:?}", began.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_former_leader_serves_no_read_after_its_successors_died_and_one_was_wiped() {
    // The wiped node answers pings, but has no replica that could say that there was a newer leader.
    let mut cluster = Cluster::start(3, ReplicaSettings::default()).await;
    cluster.append("a").await.unwrap();
    cluster.settled().await;
    let old = cluster.leader().await;
    let others: Vec<_> = cluster.up().into_iter().filter(|node| *node != old).collect();
    cluster.network.isolate(old, 1..=3);
    eventually("a new leader that appends", || async {
        for node in &others {
            if cluster.append_at(*node, Cluster::call("b", &["b"])).await.is_ok() {
                return Some(());
            }
        }
        None
    })
    .await;
    for node in &others {
        cluster.crash(*node, 1).await;
    }
    let wiped = others[0];
    cluster.wipe(wiped);
    let members = [1, 2, 3].map(|node| (if node == wiped { 9 } else { node }, node));
    cluster.let_starters_believe_in(&members);
    cluster.network.heal();
    cluster.restart(wiped).await;
    assert_does_not_answer_as_leader(&cluster, old, Duration::from_secs(20)).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_serves_no_read_if_a_voter_was_opened_again_and_follows_another_leader() {
    let mut cluster = Cluster::start(3, ReplicaSettings::default()).await;
    cluster.append("a").await.unwrap();
    cluster.settled().await;
    tokio::time::sleep(Duration::from_secs(10)).await; // the pongs of all nodes count
    let old = cluster.leader().await;
    let others: Vec<_> = cluster.up().into_iter().filter(|node| *node != old).collect();
    let (voter, successor) = (others[0], others[1]);
    // The successor needs the vote of the voter, whose node hears the old leader all the time.
    cluster.network.cut(old, successor);
    for attempt in 0..40 {
        // The old leader's heartbeats come every three seconds: the attempts begin at different times between two.
        tokio::time::sleep(Duration::from_millis(370 * attempt % 3000)).await;
        cluster.replicas(voter).unwrap().close(GROUP).await;
        cluster.reopen(voter).await;
        let reopened = Instant::now();
        // After that time the voter has a heartbeat of the old leader.
        while reopened.elapsed() < Duration::from_secs(3) {
            if cluster.append_at(successor, Cluster::call("b", &["b"])).await.is_ok() {
                let time = Duration::from_secs(5);
                return assert_does_not_answer_as_leader(&cluster, old, time).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    panic!("no other replica led, so this test shows nothing");
}
