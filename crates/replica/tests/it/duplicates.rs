//! A retried call writes no second record.

use anabranch_shard::Position;
use anabranch_testkit::{Cluster, eventually, fast_settings};

fn texts(records: &[(Position, String)]) -> Vec<&str> {
    records.iter().map(|(_, text)| text.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_retry_gets_the_result_of_the_first_attempt() {
    let cluster = Cluster::start(3, fast_settings()).await;
    let leader = cluster.leader().await;
    let call = Cluster::call("p", &["a", "b"]);
    let first = cluster.append_at(leader, call.clone()).await.unwrap();
    let retry = cluster.append_at(leader, call).await.unwrap();
    assert_eq!(retry[0].first, first[0].first);
    assert_eq!(texts(&cluster.settled().await), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn concurrent_attempts_of_one_call_write_one_record() {
    let cluster = Cluster::start(3, fast_settings()).await;
    let leader = cluster.leader().await;
    let calls = (0..8).map(|_| cluster.append_at(leader, Cluster::call("p", &["a"])));
    let answers = futures::future::join_all(calls).await;
    let positions: Vec<_> = answers.into_iter().map(|runs| runs.unwrap()[0].first).collect();
    assert!(positions.iter().all(|position| *position == positions[0]), "{positions:?}");
    assert_eq!(texts(&cluster.settled().await), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn only_the_new_records_of_a_partly_known_call_are_written() {
    let cluster = Cluster::start(3, fast_settings()).await;
    let leader = cluster.leader().await;
    let first = cluster.append_at(leader, Cluster::call("p", &["a"])).await.unwrap();
    let more = cluster.append_at(leader, Cluster::call("p", &["a", "b"])).await.unwrap();
    assert_eq!(more.len(), 2);
    assert_eq!(more[0].first, first[0].first);
    assert_eq!(texts(&cluster.settled().await), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_knows_the_calls_of_the_old_one() {
    let mut cluster = Cluster::start(3, fast_settings()).await;
    let old = cluster.leader().await;
    let call = Cluster::call("p", &["a"]);
    let first = cluster.append_at(old, call.clone()).await.unwrap();
    cluster.crash(old, 5).await;
    let retry = eventually("the new leader's answer", || async {
        for node in cluster.up() {
            if let Ok(runs) = cluster.append_at(node, call.clone()).await {
                return Some(runs);
            }
        }
        None
    });
    assert_eq!(retry.await[0].first, first[0].first);
    cluster.restart(old).await;
    assert_eq!(texts(&cluster.settled().await), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn calls_are_known_after_a_restart_from_a_checkpoint() {
    let mut cluster = Cluster::start(1, fast_settings()).await;
    let call = Cluster::call("p", &["a"]);
    let leader = cluster.leader().await;
    let first = cluster.append_at(leader, call.clone()).await.unwrap();
    // A checkpoint covers the call, so a restart does not apply its entry again.
    eventually("a checkpoint", || async {
        (cluster.shard(1)?.status().last?.index > first[0].first.log_index).then_some(())
    })
    .await;
    cluster.append("b").await.unwrap();
    cluster.stop(1).await;
    cluster.restart(1).await;
    let leader = cluster.leader().await;
    let retry = cluster.append_at(leader, call).await.unwrap();
    assert_eq!(retry[0].first, first[0].first);
    assert_eq!(texts(&cluster.settled().await), ["a", "b"]);
}
