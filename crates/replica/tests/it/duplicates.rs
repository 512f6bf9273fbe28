//! A retried call writes no second record.

use std::sync::Arc;

use anabranch_catalog::{DataKey, Encryption, StreamId};
use anabranch_encryption::{EncryptionSettings, KeyFile, Keyring, ShardKeys, StreamKeys};
use anabranch_shard::{Batch, Position, Run};
use anabranch_storage::LogStore;
use anabranch_testkit::{Cluster, GROUP, eventually, fast_settings};
use anabranch_types::{ShardId, Timestamp};
use tempfile::TempDir;

fn texts(records: &[(Position, String)]) -> Vec<&str> {
    records.iter().map(|(_, text)| text.as_str()).collect()
}

/// Appends at the node that leads.
async fn append_anywhere(cluster: &Cluster, call: &Batch) -> Vec<Run> {
    eventually("a leader that takes the call", || async {
        for node in cluster.up() {
            if let Ok(runs) = cluster.append_at(node, call.clone()).await {
                return Some(runs);
            }
        }
        None
    })
    .await
}

/// A cluster that encrypts every record, and the directory of the file with the master key.
async fn encrypted_cluster(nodes: u64) -> (Cluster, TempDir) {
    const MASTER_KEY: &str = "alias/test";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    KeyFile::create(&file, vec![MASTER_KEY.into()]).unwrap();
    // Every replica has a keyring of its own, as on nodes of its own.
    let keyring = move || {
        let provider = Arc::new(KeyFile::open(&file).unwrap());
        Keyring::new(provider, EncryptionSettings::default())
    };
    let (id, name) = (StreamId(5), "stream".parse().unwrap());
    let mut stream = StreamKeys { id, name, encryption: Encryption::default() };
    let wrapped = keyring().new_data_key(MASTER_KEY, &stream.context()).await.unwrap();
    let (master_key, created) = (MASTER_KEY.to_owned(), Timestamp::default());
    stream.encryption.master_key = Some(master_key.clone());
    stream.encryption.data_keys.insert(0, DataKey { master_key, wrapped, created });
    stream.encryption.next_data_key = 1;
    let stream = Arc::new(stream);
    let keys = move || {
        let keys = ShardKeys::new(keyring(), ShardId(0));
        keys.follow(Arc::clone(&stream));
        Arc::new(keys)
    };
    (Cluster::start_encrypted(nodes, fast_settings(), keys).await, dir)
}

/// Checks that the log on `node` has an entry at `position`, and no `text` in plain in it.
async fn check_is_sealed(cluster: &Cluster, node: u64, position: Position, text: &str) {
    let (log, index) = (cluster.store(node).group(GROUP).unwrap(), position.log_index);
    let entries = log.read(index..index + 1, usize::MAX).await.unwrap();
    let is_text = |bytes: &[u8]| bytes == text.as_bytes();
    assert!(entries[0].payload.len() > text.len(), "{entries:?}");
    assert!(!entries[0].payload.windows(text.len()).any(is_text), "{text} is in the log in plain");
}

#[tokio::test(start_paused = true)]
async fn a_retry_into_an_encrypted_stream_writes_no_second_record() {
    let (mut cluster, _keys) = encrypted_cluster(3).await;
    let leader = cluster.leader().await;
    let call = Cluster::call("p", &["first record", "second record"]);
    let first = cluster.append_at(leader, call.clone()).await.unwrap();
    check_is_sealed(&cluster, leader, first[0].first, "first record").await;
    assert_eq!(cluster.append_at(leader, call.clone()).await.unwrap()[0].first, first[0].first);
    // The new leader knows the call only from the encrypted entry.
    cluster.crash(leader, 5).await;
    assert_eq!(append_anywhere(&cluster, &call).await[0].first, first[0].first);
    cluster.restart(leader).await;
    assert_eq!(texts(&cluster.settled().await), ["first record", "second record"]);
}

#[tokio::test(start_paused = true)]
async fn calls_of_an_encrypted_stream_are_known_after_a_restart() {
    let (mut cluster, _keys) = encrypted_cluster(1).await;
    let call = Cluster::call("p", &["first record"]);
    let leader = cluster.leader().await;
    let first = cluster.append_at(leader, call.clone()).await.unwrap();
    check_is_sealed(&cluster, 1, first[0].first, "first record").await;
    cluster.stop(1).await;
    cluster.restart(1).await;
    assert_eq!(append_anywhere(&cluster, &call).await[0].first, first[0].first);
    assert_eq!(texts(&cluster.settled().await), ["first record"]);
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
    assert_eq!(append_anywhere(&cluster, &call).await[0].first, first[0].first);
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
