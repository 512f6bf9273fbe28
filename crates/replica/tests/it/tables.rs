//! Table groups on several nodes: transactions, checkpoints in parts, snapshots in parts, loss of power.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anabranch_replica::{Error, TableReplica};
use anabranch_table::{Expect, Key, Outcome, SpaceId, TableState, Transaction, TransactionId};
use anabranch_testkit::{Cluster, eventually, fast_settings};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const SPACE: SpaceId = SpaceId(1);

fn key(name: &str) -> Key {
    Key { space: SPACE, key: Bytes::copy_from_slice(name.as_bytes()) }
}

fn id(number: u64) -> TransactionId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_le_bytes());
    TransactionId(id)
}

/// A transaction that puts one row.
fn put(number: u64, name: &str, value: impl Into<Bytes>) -> Transaction {
    Transaction { id: id(number), puts: vec![(key(name), value.into())], ..Transaction::default() }
}

async fn start() -> Cluster {
    let cluster = Cluster::start_with_table(3, fast_settings()).await;
    let created = cluster.table_leader().await.create_space(id(0), "rows".into()).await;
    assert!(matches!(created, Ok(Outcome::Created { space: SPACE, .. })), "{created:?}");
    cluster
}

/// Makes a transaction on whichever node leads. Only an unknown outcome is an error.
async fn transact(cluster: &Cluster, transaction: Transaction) -> Result<Outcome, Error> {
    eventually("a leader that takes the transaction", || async {
        for node in cluster.up() {
            let Some(table) = cluster.table(node) else { continue };
            match table.transact(transaction.clone()).await {
                Err(Error::Unknown(text)) => return Some(Err(Error::Unknown(text))),
                Ok(outcome) => return Some(Ok(outcome)),
                Err(_) => {}
            }
        }
        None
    })
    .await
}

fn rows(state: &TableState) -> BTreeMap<Bytes, Bytes> {
    let (mut rows, mut after) = (BTreeMap::new(), None::<Bytes>);
    loop {
        let page = state.range(SPACE, b"", after.as_deref(), 1 << 20).unwrap();
        after = page.rows.last().map(|(key, _)| key.clone());
        rows.extend(page.rows.into_iter().map(|(key, row)| (key, row.value)));
        if !page.more {
            return rows;
        }
    }
}

/// Waits until all replicas have the same rows, and returns them.
async fn settled(cluster: &Cluster) -> BTreeMap<Bytes, Bytes> {
    let newest = cluster.table_leader().await.newest().await.unwrap();
    eventually("equal replicas", || async {
        let shown = |table: &TableReplica| Arc::clone(&table.watch().borrow());
        let mut states = cluster.up().into_iter().map(|node| cluster.table(node).map(shown));
        let is_equal = |state: Option<Arc<TableState>>| {
            state.is_some_and(|state| {
                state.version() == newest.version() && rows(&state) == rows(&newest)
            })
        };
        states.all(is_equal).then_some(())
    })
    .await;
    rows(&newest)
}

#[tokio::test(start_paused = true)]
async fn a_transaction_is_on_every_replica_and_a_failed_check_changes_nothing() {
    let cluster = start().await;
    let first = transact(&cluster, put(1, "a", "1")).await.unwrap();
    assert!(matches!(first, Outcome::Done { .. }), "{first:?}");
    let mut second = put(2, "a", "2");
    second.checks = vec![(key("a"), Expect::Absent)];
    let second = transact(&cluster, second).await.unwrap();
    let Outcome::Failed { check: 0, found: Some(found) } = second else { panic!("{second:?}") };
    assert_eq!((found.writer, &found.value[..]), (id(1), &b"1"[..]));
    assert_eq!(settled(&cluster).await, [("a".into(), "1".into())].into());
}

#[tokio::test(start_paused = true)]
async fn transactions_that_arrive_together_share_entries() {
    let cluster = start().await;
    let table = cluster.table_leader().await;
    let before = table.status().last.unwrap().index;
    let writes = (0..500).map(|n| table.transact(put(n, &n.to_string(), "x")));
    let outcomes = futures::future::join_all(writes).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(Outcome::Done { .. }))));
    let entries = table.status().last.unwrap().index - before;
    assert!(entries < 20, "{entries} entries for 500 transactions");
    assert_eq!(settled(&cluster).await.len(), 500);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_neither_reads_nor_writes() {
    let cluster = start().await;
    let old = eventually("the node of the leader", || async {
        cluster.up().into_iter().find(|node| cluster.table(*node).is_some_and(TableReplica::leads))
    })
    .await;
    cluster.network.isolate(old, 1..=3);
    transact_elsewhere(&cluster, old).await;
    let table = cluster.table(old).unwrap();
    let read = table.newest().await;
    assert!(
        matches!(read, Err(Error::NotLeader { .. })),
        "{:?}",
        read.map(|state| state.version())
    );
    let written = table.transact(put(9, "a", "old")).await;
    assert!(matches!(written, Err(Error::NotLeader { .. } | Error::Unknown(_))), "{written:?}");
    cluster.network.heal();
    assert_eq!(settled(&cluster).await, [("a".into(), "new".into())].into());
}

async fn transact_elsewhere(cluster: &Cluster, not: u64) {
    eventually("another leader", || async {
        for node in cluster.up().into_iter().filter(|node| *node != not) {
            if let Some(table) = cluster.table(node)
                && table.transact(put(8, "a", "new")).await.is_ok()
            {
                return Some(());
            }
        }
        None
    })
    .await;
}

/// Writes 24 rows of 256 KiB, in an order and with values that `round` chooses: 6 MiB, so a checkpoint has several
/// parts.
async fn fill(cluster: &Cluster, round: u64) -> BTreeMap<Bytes, Bytes> {
    let mut written = BTreeMap::new();
    for n in 0..24_u64 {
        let value = Bytes::from((round * 31 + n).to_le_bytes().repeat(32 << 10));
        let name = format!("row-{n}");
        transact(cluster, put(round * 100 + n + 1, &name, value.clone())).await.unwrap();
        written.insert(name.into(), value);
    }
    written
}

/// Waits until every replica has trimmed its log past `index`, which takes a checkpoint in parts.
async fn trimmed(cluster: &Cluster, index: u64) {
    eventually("a trim to a checkpoint", || async {
        let is_past = |node| cluster.table(node).is_some_and(|t| t.status().trim_horizon > index);
        cluster.up().into_iter().all(is_past).then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn rows_in_a_checkpoint_survive_the_loss_of_power_of_all_nodes() {
    let mut cluster = start().await;
    let written = fill(&cluster, 1).await;
    let last = cluster.table_leader().await.status().last.unwrap().index;
    trimmed(&cluster, last).await;
    for node in 1..=3 {
        cluster.crash(node, 40 + node).await;
    }
    for node in 1..=3 {
        cluster.restart(node).await;
    }
    assert_eq!(settled(&cluster).await, written);
}

#[tokio::test(start_paused = true)]
async fn a_new_replica_gets_the_snapshot_part_by_part() {
    let mut cluster = start().await;
    let written = fill(&cluster, 1).await;
    let last = cluster.table_leader().await.status().last.unwrap().index;
    trimmed(&cluster, last).await;
    eventually("a purged log", || async {
        let purged = cluster.table_leader().await.status().purged;
        purged.is_some_and(|purged| purged.index >= last).then_some(())
    })
    .await;
    cluster.add_node(4).await;
    cluster.set_members(&[(1, 1), (2, 2), (3, 3), (4, 4)]).await;
    assert_eq!(settled(&cluster).await, written);
    // It starts again from what it has stored.
    cluster.crash(4, 1).await;
    cluster.restart(4).await;
    assert_eq!(settled(&cluster).await, written);
}

#[tokio::test(start_paused = true)]
async fn acknowledged_rows_survive_crashes_at_any_moment_of_a_checkpoint() {
    for seed in 0..12 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut settings = fast_settings();
        settings.checkpoint_interval = Duration::from_millis(random.random_range(50..400));
        let mut cluster = Cluster::start_with_table(3, settings).await;
        cluster.table_leader().await.create_space(id(0), "rows".into()).await.unwrap();
        let mut written = BTreeMap::new();
        for round in 1..4 {
            written.extend(fill(&cluster, round).await);
            // Chooses the moment of the crash. It waits for nothing, and the test's clock is paused.
            let pause = Duration::from_millis(random.random_range(0..600));
            tokio::time::sleep(pause).await;
            let down: Vec<u64> = match random.random_range(0..3) {
                0 => vec![1, 2, 3],
                _ => vec![random.random_range(1..=3)],
            };
            for node in &down {
                cluster.crash(*node, random.random()).await;
            }
            for node in &down {
                cluster.restart(*node).await;
            }
            assert_eq!(settled(&cluster).await, written, "seed {seed}, round {round}");
        }
    }
}
