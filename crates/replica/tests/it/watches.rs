//! Watches of rows on several nodes: watchers that move between replicas, are reset, and hear of dropped spaces.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_replica::Error;
use anabranch_table::{
    Key, Outcome, RowCopy, SpaceId, Transaction, TransactionId, Version, Watched, WatchedRange,
};
use anabranch_testkit::{Cluster, eventually, fast_settings};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::timeout;

const SPACE: SpaceId = SpaceId(1);
const PATIENCE: Duration = Duration::from_secs(60);

fn key(name: &str) -> Key {
    Key { space: SPACE, key: Bytes::copy_from_slice(name.as_bytes()) }
}

async fn start() -> Cluster {
    let cluster = Cluster::start_with_table(3, fast_settings()).await;
    let id = TransactionId::default();
    let created = cluster.table_leader().await.create_space(id, "rows".into()).await;
    assert!(matches!(created, Ok(Outcome::Created { space: SPACE, .. })), "{created:?}");
    cluster
}

/// Makes a transaction on whichever node leads, and returns its version. The caller makes none that could have an
/// unknown outcome.
async fn transact(cluster: &Cluster, transaction: Transaction) -> Version {
    eventually("a leader that takes the transaction", || async {
        for node in cluster.up() {
            let Some(table) = cluster.table(node) else { continue };
            if let Ok(Outcome::Done { version }) = table.transact(transaction.clone()).await {
                return Some(version);
            }
        }
        None
    })
    .await
}

async fn put(cluster: &Cluster, name: &str, value: impl Into<Bytes>) -> Version {
    let puts = vec![(key(name), value.into())];
    transact(cluster, Transaction { puts, ..Transaction::default() }).await
}

async fn delete(cluster: &Cluster, name: &str) -> Version {
    transact(cluster, Transaction { deletes: vec![key(name)], ..Transaction::default() }).await
}

/// A watcher of all rows whose keys begin with a prefix.
struct Watcher {
    range: WatchedRange,
    copy: RowCopy,
    pages: Option<BoxStream<'static, Result<Watched, Error>>>,
    resets: usize,
    is_dropped: bool,
}

impl Watcher {
    fn new(prefix: &'static str) -> Self {
        let range = WatchedRange { space: SPACE, prefix: Bytes::from_static(prefix.as_bytes()) };
        let copy = RowCopy::default();
        Self { range, copy, pages: None, resets: 0, is_dropped: false }
    }

    /// Goes on at the replica on `node`.
    fn connect(&mut self, cluster: &Cluster, node: u64) {
        self.copy.break_off();
        let table = cluster.table(node).expect("a replica there");
        let since = self.copy.version();
        self.pages = Some(table.watch_rows(self.range.clone(), since).boxed());
    }

    /// Takes the next page.
    async fn take(&mut self) -> Result<(), Error> {
        let pages = self.pages.as_mut().expect("a connection");
        let next = timeout(PATIENCE, pages.next()).await.expect("a page or a beat in time");
        match next.expect("a stream ends with an error or with a drop")? {
            Watched::Page(page) => {
                self.resets += usize::from(page.is_reset);
                self.copy.take(page).expect("versions that never fall");
            }
            Watched::Dropped { version } => {
                self.copy.drop_rows(version);
                self.is_dropped = true;
            }
        }
        Ok(())
    }

    /// Takes pages until the copy shows `version`.
    async fn reach(&mut self, version: Version) {
        while self.copy.version() < version {
            self.take().await.unwrap();
        }
    }

    fn rows(&self) -> BTreeMap<String, Bytes> {
        let text = |key: &[u8]| String::from_utf8(key.to_vec()).unwrap();
        self.copy.rows().iter().map(|(key, row)| (text(key), row.value.clone())).collect()
    }

    fn keys(&self) -> String {
        self.rows().into_keys().collect::<Vec<_>>().join(" ")
    }
}

/// A node whose replica leads, and one whose replica follows.
async fn leader_and_follower(cluster: &Cluster) -> (u64, u64) {
    eventually("a leader and a follower", || async {
        let mut leader = None;
        for node in cluster.up() {
            if cluster.table(node)?.leads_now().await {
                leader = Some(node);
            }
        }
        let leader = leader?;
        Some((leader, cluster.up().into_iter().find(|node| *node != leader)?))
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn every_replica_tells_puts_and_deletes_and_the_versions_of_other_rows() {
    let cluster = start().await;
    let (leader, follower) = leader_and_follower(&cluster).await;
    for node in [leader, follower] {
        let mut watcher = Watcher::new("a");
        watcher.connect(&cluster, node);
        put(&cluster, "a1", "1").await;
        put(&cluster, "b", "1").await;
        let seen = put(&cluster, "a2", "2").await;
        watcher.reach(seen).await;
        assert_eq!(watcher.keys(), "a1 a2");
        let seen = delete(&cluster, "a1").await;
        watcher.reach(seen).await;
        assert_eq!(watcher.keys(), "a2");
        // The version of a change to another row comes with a beat.
        let seen = put(&cluster, "b", "2").await;
        watcher.reach(seen).await;
        assert_eq!(watcher.keys(), "a2");
        assert_eq!(watcher.resets, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_watch_beats_and_does_nothing_else() {
    let cluster = start().await;
    let mut watcher = Watcher::new("");
    watcher.connect(&cluster, 1);
    let seen = put(&cluster, "a", "1").await;
    watcher.reach(seen).await;
    let began = tokio::time::Instant::now();
    for _ in 0..4 {
        watcher.take().await.unwrap();
    }
    assert!(began.elapsed() >= Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(watcher.keys(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_goes_on_at_another_replica_when_the_leader_is_killed() {
    let mut cluster = start().await;
    let (leader, follower) = leader_and_follower(&cluster).await;
    let mut watcher = Watcher::new("");
    watcher.connect(&cluster, leader);
    let seen = put(&cluster, "a", "1").await;
    watcher.reach(seen).await;
    cluster.crash(leader, 7).await;
    let ended = async { while watcher.take().await.is_ok() {} };
    timeout(PATIENCE, ended).await.unwrap();
    assert_eq!(watcher.keys(), "a");
    watcher.connect(&cluster, follower);
    let seen = put(&cluster, "b", "1").await;
    watcher.reach(seen).await;
    assert_eq!((watcher.keys(), watcher.resets), ("a b".into(), 0));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_behind_waits_and_then_sends_the_watcher_away() {
    let cluster = start().await;
    let (leader, follower) = leader_and_follower(&cluster).await;
    let mut watcher = Watcher::new("");
    watcher.connect(&cluster, leader);
    cluster.network.isolate(follower, 1..=3);
    let seen = put(&cluster, "a", "1").await;
    watcher.reach(seen).await;
    watcher.connect(&cluster, follower);
    let refused = watcher.take().await;
    assert!(matches!(refused, Err(Error::NotLeader { .. })), "{refused:?}");
    assert_eq!((watcher.copy.version(), watcher.keys()), (seen, "a".into()));
    // It catches up while the watcher waits.
    watcher.connect(&cluster, follower);
    cluster.network.heal();
    eventually("a replica that has caught up", || async {
        (cluster.table(follower)?.watch().borrow().version() >= seen).then_some(())
    })
    .await;
    watcher.take().await.unwrap();
    assert_eq!((watcher.copy.version(), watcher.keys()), (seen, "a".into()));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_cut_off_ends_its_watches() {
    let cluster = start().await;
    let (leader, follower) = leader_and_follower(&cluster).await;
    for node in [follower, leader] {
        let mut watcher = Watcher::new("");
        watcher.connect(&cluster, node);
        watcher.take().await.unwrap();
        cluster.network.isolate(node, 1..=3);
        let ended = async {
            loop {
                if let Err(error) = watcher.take().await {
                    return error;
                }
            }
        };
        let error = timeout(PATIENCE, ended).await.unwrap();
        assert!(matches!(error, Error::NotLeader { .. }), "{error:?}");
        cluster.network.heal();
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_falls_out_of_the_ring_is_reset() {
    let cluster = start().await;
    let mut watcher = Watcher::new("");
    watcher.connect(&cluster, 1);
    let seen = put(&cluster, "old", "1").await;
    watcher.reach(seen).await;
    // The watcher takes no page while more rows change than the ring remembers.
    let mut seen = delete(&cluster, "old").await;
    for round in 0..170_u32 {
        let value = Bytes::copy_from_slice(&round.to_le_bytes());
        let puts = (0..100).map(|n| (key(&format!("row-{n}")), value.clone())).collect();
        seen = transact(&cluster, Transaction { puts, ..Transaction::default() }).await;
    }
    watcher.reach(seen).await;
    let shown = cluster.metrics(1).unwrap();
    assert!(shown.contains("anabranch_table_watch_resets_total 1\n"), "{shown}");
    let rows = watcher.rows();
    assert_eq!(rows.len(), 100);
    assert!(rows.values().all(|value| value[..] == 169_u32.to_le_bytes()), "{rows:?}");
    assert_eq!(watcher.resets, 1);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_of_a_dropped_space_is_told_and_its_stream_ends() {
    let cluster = start().await;
    let mut watcher = Watcher::new("");
    watcher.connect(&cluster, 2);
    let seen = put(&cluster, "a", "1").await;
    watcher.reach(seen).await;
    let dropped = cluster.table_leader().await.drop_space(SPACE).await;
    let Ok(Outcome::Done { version }) = dropped else { panic!("{dropped:?}") };
    watcher.reach(version).await;
    assert!(watcher.is_dropped && watcher.rows().is_empty());
    assert!(watcher.pages.as_mut().unwrap().next().await.is_none());
    // A watcher that begins later is told, too.
    let mut late = Watcher::new("");
    late.connect(&cluster, 3);
    late.reach(version).await;
    assert!(late.is_dropped);
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_a_space_that_does_not_exist_yet_begins_with_its_creation() {
    let cluster = start().await;
    let mut watcher = Watcher::new("");
    watcher.range.space = SpaceId(2);
    watcher.connect(&cluster, 1);
    let id = TransactionId([2; 16]);
    let created = cluster.table_leader().await.create_space(id, "later".into()).await;
    let Ok(Outcome::Created { space: SpaceId(2), version }) = created else {
        panic!("{created:?}");
    };
    watcher.reach(version).await;
    assert!(!watcher.is_dropped && watcher.rows().is_empty());
}

#[tokio::test(start_paused = true)]
async fn watches_end_at_once_when_the_node_leaves_and_when_the_replica_moves() {
    let mut cluster = start().await;
    let mut watcher = Watcher::new("");
    watcher.connect(&cluster, 1);
    watcher.take().await.unwrap();
    cluster.replicas(1).unwrap().leave();
    let ended = watcher.take().await;
    assert!(matches!(ended, Err(Error::OutOfService(_))), "{ended:?}");
    // The group moves from node 2 to node 4.
    watcher.connect(&cluster, 2);
    let seen = put(&cluster, "a", "1").await;
    watcher.reach(seen).await;
    cluster.add_node(4).await;
    cluster.set_members(&[(1, 1), (4, 4), (3, 3)]).await;
    let ended = async {
        loop {
            if let Err(error) = watcher.take().await {
                return error;
            }
        }
    };
    let ended = timeout(PATIENCE, ended).await.unwrap();
    assert!(matches!(ended, Error::OutOfService(_)), "{ended:?}");
    let seen = put(&cluster, "b", "1").await;
    eventually("the new replica", || async { cluster.table(4) }).await;
    watcher.connect(&cluster, 4);
    while watcher.copy.version() < seen {
        if watcher.take().await.is_err() {
            watcher.connect(&cluster, 4);
        }
    }
    assert_eq!(watcher.keys(), "a b");
}

#[tokio::test(start_paused = true)]
async fn watchers_that_move_while_nodes_crash_end_with_the_rows_of_the_group() {
    for seed in 0..6 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut settings = fast_settings();
        settings.checkpoint_interval = Duration::from_millis(random.random_range(50..400));
        let mut cluster = Cluster::start_with_table(3, settings).await;
        let id = TransactionId::default();
        cluster.table_leader().await.create_space(id, "rows".into()).await.unwrap();
        let mut watchers = [Watcher::new(""), Watcher::new("row-1"), Watcher::new("row-2")];
        let mut seen = Version::START;
        for round in 0..12_u64 {
            for _ in 0..random.random_range(1..12) {
                let name = format!("row-{}", random.random_range(0..30));
                let value = Bytes::from(round.to_le_bytes().repeat(random.random_range(1..500)));
                seen = match random.random_ratio(1, 4) {
                    true => delete(&cluster, &name).await,
                    false => put(&cluster, &name, value).await,
                };
            }
            for watcher in &mut watchers {
                if watcher.pages.is_none() || random.random_ratio(1, 3) {
                    watcher.connect(&cluster, random.random_range(1..=3));
                }
                for _ in 0..random.random_range(0..3) {
                    if watcher.pages.is_some() && watcher.take().await.is_err() {
                        watcher.pages = None;
                    }
                }
            }
            if random.random_ratio(1, 3) {
                let node = random.random_range(1..=3);
                cluster.crash(node, random.random()).await;
                cluster.restart(node).await;
            }
        }
        for watcher in &mut watchers {
            while watcher.copy.version() < seen {
                if watcher.pages.is_none() {
                    watcher.connect(&cluster, random.random_range(1..=3));
                }
                if watcher.take().await.is_err() {
                    watcher.pages = None;
                }
            }
            let newest = cluster.table_leader().await.newest().await.unwrap();
            let page = newest.range(SPACE, &watcher.range.prefix, None, usize::MAX).unwrap();
            let copied = watcher.copy.rows().iter().map(|(k, row)| (k.clone(), row.clone()));
            assert!(!page.more);
            assert_eq!(copied.collect::<Vec<_>>(), page.rows, "seed {seed}");
        }
    }
}
