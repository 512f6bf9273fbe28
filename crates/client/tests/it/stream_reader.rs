//! Which records a reader of a stream gets, and in which order, while shards are split and merged under it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::{
    Command, Distribution, NewStream, ShardChange, ShardsCommand, StreamCommand, StreamMode,
};
use anabranch_client::{Cluster, ReadError, StreamReader, StreamRecord};
use anabranch_shard::{BatchBuilder, Start};
use anabranch_testkit::MemoryCluster;
use anabranch_types::{
    Clock, HashKey, ManualClock, ShardId, StreamName, Timestamp, partition_key_hash,
};
use bytes::Bytes;
use md5::{Digest, Md5};
use prost::Message;
use tokio::task::yield_now;
use tokio::time::timeout;

/// A cluster with stream `s`, and what is put into it.
struct Scene {
    cluster: Arc<MemoryCluster>,
    clock: Arc<ManualClock>,
}

fn name() -> StreamName {
    "s".parse().unwrap()
}

impl Scene {
    async fn with_shards(shards: u32) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
        let cluster = Arc::new(MemoryCluster::new(Arc::clone(&clock)));
        let stream = Command::Stream(StreamCommand::Create(NewStream {
            name: name(),
            shards,
            mode: StreamMode::Provisioned,
            warm_throughput_mibps: 0,
            retention_hours: 24,
            max_record_size_kib: 1024,
            tags: BTreeMap::new(),
            distribution: Distribution::default(),
            replicas: 1,
            now: clock.now(),
        }));
        cluster.propose(stream).await.unwrap();
        cluster.activate();
        Self { cluster, clock }
    }

    /// Puts one record for each of a few partition keys; its data is `text` and the key.
    async fn put(&self, text: &str) {
        for key in 0..8 {
            let key = format!("k{key}");
            self.put_data(&key, format!("{text} {key}").as_bytes()).await;
            yield_now().await;
        }
    }

    async fn put_data(&self, key: &str, data: &[u8]) {
        let view = self.cluster.view();
        let shard = view.stream(&name()).unwrap().shard_for(partition_key_hash(key)).unwrap();
        let mut batch = BatchBuilder::new(None);
        batch.push(0, key.as_bytes(), data);
        self.cluster.append(shard, batch.finish().unwrap()).await.unwrap();
    }

    fn split(&self, shard: u32) {
        self.cluster.split("s", shard);
        self.cluster.publish();
    }

    async fn merge(&self, lower: u32, upper: u32) {
        let change = ShardChange::Merge { lower: ShardId(lower), upper: ShardId(upper) };
        let merge =
            Command::Shards(ShardsCommand::Reshard { name: name(), change, now: self.clock.now() });
        self.cluster.propose(merge).await.unwrap();
        self.cluster.commit_jobs();
    }

    async fn read(&self, start: Start) -> StreamReader {
        StreamReader::begin(self.cluster.clone(), &name(), start).await.unwrap()
    }
}

/// The next `count` records, and none after them.
async fn exactly(reader: &mut StreamReader, count: usize) -> Vec<StreamRecord> {
    let mut records = Vec::new();
    while records.len() < count {
        records.extend(reader.next().await.unwrap().unwrap().records());
    }
    assert_eq!(records.len(), count);
    assert!(timeout(Duration::from_secs(200), reader.next()).await.is_err(), "another record");
    records
}

/// An aggregated record of one user record for each hash key, all with the partition key `k`.
fn aggregated(users: &[(HashKey, &[u8])]) -> Bytes {
    #[derive(Clone, PartialEq, Message)]
    struct Aggregated {
        #[prost(string, repeated, tag = "1")]
        partition_keys: Vec<String>,
        #[prost(string, repeated, tag = "2")]
        hash_keys: Vec<String>,
        #[prost(message, repeated, tag = "3")]
        records: Vec<User>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct User {
        #[prost(uint64, required, tag = "1")]
        partition_key: u64,
        #[prost(uint64, optional, tag = "2")]
        hash_key: Option<u64>,
        #[prost(bytes = "vec", required, tag = "3")]
        data: Vec<u8>,
    }
    let user = |(place, (_, data)): (u64, &(HashKey, &[u8]))| User {
        partition_key: 0,
        hash_key: Some(place),
        data: data.to_vec(),
    };
    let message = Aggregated {
        partition_keys: vec!["k".into()],
        hash_keys: users.iter().map(|(key, _)| key.0.to_string()).collect(),
        records: (0..).zip(users).map(user).collect(),
    };
    let message = message.encode_to_vec();
    [&[0xf3, 0x89, 0x9a, 0xc2], &message[..], &Md5::digest(&message)[..]].concat().into()
}

fn texts(records: &[StreamRecord]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.data.to_vec()).unwrap()).collect()
}

/// The texts of the records of each partition key, in the order in which they were read.
fn by_key(records: &[StreamRecord]) -> BTreeMap<String, Vec<String>> {
    let mut by_key: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for text in texts(records) {
        let (text, key) = text.rsplit_once(' ').unwrap();
        by_key.entry(key.to_owned()).or_default().push(text.to_owned());
    }
    by_key
}

#[tokio::test(start_paused = true)]
async fn records_of_a_key_keep_their_order_through_a_split_and_a_merge() {
    let scene = Scene::with_shards(1).await;
    let mut reader = scene.read(Start::TrimHorizon).await;
    assert_eq!(reader.shards_being_read(), 1);
    let change = async {
        scene.put("parent").await;
        scene.split(0);
        scene.put("children").await;
        scene.merge(1, 2).await;
        scene.put("grandchild").await;
    };
    let (records, ()) = tokio::join!(exactly(&mut reader, 24), change);
    for (key, texts) in by_key(&records) {
        assert_eq!(texts, ["parent", "children", "grandchild"], "{key}");
    }
    assert_eq!(reader.shards_being_read(), 1);
    // A reader that comes later finds all of it in shards that are closed.
    let again = exactly(&mut scene.read(Start::TrimHorizon).await, 24).await;
    assert_eq!(by_key(&again), by_key(&records));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_goes_on_with_the_children() {
    let scene = Scene::with_shards(2).await;
    let mut reader = scene.read(Start::Latest).await;
    assert!(timeout(Duration::from_secs(1), reader.next()).await.is_err());
    scene.split(1);
    scene.put("new").await;
    assert_eq!(exactly(&mut reader, 8).await.len(), 8);
    assert_eq!(reader.shards_being_read(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_reader_from_latest_skips_what_was_there_and_a_reader_from_a_time_what_was_older() {
    let scene = Scene::with_shards(1).await;
    scene.put("old").await;
    scene.split(0);
    scene.clock.advance(Duration::from_secs(5));
    let moment = scene.clock.now();
    scene.put("new").await;
    let mut latest = scene.read(Start::Latest).await;
    let from_moment = exactly(&mut scene.read(Start::AtTimestamp(moment)).await, 8).await;
    assert!(texts(&from_moment).iter().all(|text| text.starts_with("new")));
    scene.put("newest").await;
    let newest = exactly(&mut latest, 8).await;
    assert!(texts(&newest).iter().all(|text| text.starts_with("newest")));
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_one_shard_ends_with_it() {
    let scene = Scene::with_shards(1).await;
    scene.put("parent").await;
    scene.split(0);
    scene.put("children").await;
    let (cluster, name) = (scene.cluster.clone(), name());
    let reader = StreamReader::begin_shard(cluster, &name, ShardId(0), Start::TrimHorizon);
    let mut reader = reader.await.unwrap();
    let mut records = Vec::new();
    while let Some(page) = reader.next().await.unwrap() {
        records.extend(page.records());
    }
    assert_eq!(records.len(), 8);
    assert!(records.iter().all(|record| record.shard == ShardId(0)));
    assert!(reader.next().await.unwrap().is_none(), "it has ended for good");
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_expires_while_a_reader_waits_for_its_records_has_ended() {
    let scene = Scene::with_shards(1).await;
    let mut reader = scene.read(Start::TrimHorizon).await;
    assert!(timeout(Duration::from_secs(1), reader.next()).await.is_err(), "no record yet");
    let id = scene.cluster.view().stream(&name()).unwrap().stream.id;
    // The view goes from an open shard to no shard: no view with the closed shard is shown in between.
    scene.cluster.split("s", 0);
    scene.clock.advance(Duration::from_hours(25));
    let expire = ShardsCommand::Expire { name: name(), id, now: scene.clock.now() };
    scene.cluster.propose(Command::Shards(expire)).await.unwrap();
    assert!(!scene.cluster.view().stream(&name()).unwrap().stream.shards.contains_key(&ShardId(0)));
    scene.put("new").await;
    assert_eq!(exactly(&mut reader, 8).await.len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_user_record_of_another_shard_is_left_out() {
    let scene = Scene::with_shards(2).await;
    // Two user records, one for each half of the hash keys, in one aggregated record for the lower half.
    let low = aggregated(&[(HashKey(1), b"low"), (HashKey(u128::MAX), b"high")]);
    let key = (0..).map(|n| n.to_string()).find(|key| partition_key_hash(key).0 >> 127 == 0);
    scene.put_data(&key.unwrap(), &low).await;
    let mut reader = scene.read(Start::TrimHorizon).await;
    let page = reader.next().await.unwrap().unwrap();
    assert_eq!(page.stored_records().map(|record| record.data).collect::<Vec<_>>(), [low]);
    let users: Vec<_> = page.records().collect();
    assert_eq!(texts(&users), ["low"]);
    assert_eq!((users[0].place, users[0].explicit_hash_key), (Some(0), Some(HashKey(1))));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_there_or_goes_away_is_an_error() {
    let scene = Scene::with_shards(1).await;
    let nowhere = "nowhere".parse().unwrap();
    let missing = StreamReader::begin(scene.cluster.clone(), &nowhere, Start::Latest).await;
    assert_eq!(missing.err(), Some(ReadError::NoStream(nowhere)));
    let cluster = scene.cluster.clone();
    let missing = StreamReader::begin_shard(cluster, &name(), ShardId(7), Start::Latest).await;
    assert_eq!(missing.err(), Some(ReadError::NoShard { stream: name(), shard: ShardId(7) }));
    let mut reader = scene.read(Start::Latest).await;
    let delete = Command::Stream(StreamCommand::Delete { name: name(), with_consumers: false });
    scene.cluster.propose(delete).await.unwrap();
    scene.cluster.drop_deleted();
    let error = reader.next().await.unwrap_err();
    assert_eq!(error.to_string(), "reading shardId-000000000000 of s");
}
