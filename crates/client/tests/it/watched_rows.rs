//! Copies of rows that follow a table group: over the loss of a node, over a move of the group, and to its end.

#![expect(clippy::wildcard_enum_match_arm, reason = "every other outcome is a failure of the test")]

use std::time::Duration;

use anabranch_catalog::{Command, NodeCommand, NodeState, TableCommand, TableGroupStatus};
use anabranch_client::{Client, Cluster, Error, WatchedRows};
use anabranch_table::{
    Key, Outcome, Request, Response, SpaceId, Transaction, TransactionId, Version, WatchedRange,
};
use anabranch_testkit::{MemoryCluster, Nodes, eventually};
use anabranch_types::{GroupId, ManualClock, NodeId, Timestamp};
use bytes::Bytes;

const PATIENCE: Duration = Duration::from_secs(60);

/// Makes the cluster's table group, and waits until it takes rows.
async fn table_group(client: &Client, replicas: u32) -> GroupId {
    let create = TableCommand::CreateGroups { replicas, at_least: 1 };
    client.propose(Command::Table(create)).await.unwrap();
    eventually("a group that takes rows", || async {
        let view = client.view();
        let (id, group) = view.catalog().table_groups.first_key_value()?;
        (group.status == TableGroupStatus::Ready).then_some(*id)
    })
    .await
}

/// Sends a write again and again until its outcome is known. The write has the same effect however often it is made.
async fn write(client: &dyn Cluster, group: GroupId, request: Request) -> Outcome {
    eventually("a leader that takes the write", || async {
        match client.table(group, request.clone()).await {
            Ok(Response::Outcome(outcome)) => Some(outcome),
            Ok(_) | Err(_) => None,
        }
    })
    .await
}

async fn create(client: &dyn Cluster, group: GroupId, name: &str) -> SpaceId {
    let id = TransactionId(rand::random());
    let create = Request::CreateSpace { id, name: name.to_owned() };
    match write(client, group, create).await {
        Outcome::Created { space, .. } => space,
        outcome => unreachable!("{outcome:?}"),
    }
}

/// Puts a row, or deletes it if there is no value.
async fn put(
    client: &dyn Cluster,
    group: GroupId,
    space: SpaceId,
    key: &'static str,
    value: Option<&'static str>,
) -> Version {
    let key = Key { space, key: Bytes::from_static(key.as_bytes()) };
    let mut transaction = Transaction { id: TransactionId(rand::random()), ..Default::default() };
    match value {
        Some(value) => transaction.puts.push((key, Bytes::from_static(value.as_bytes()))),
        None => transaction.deletes.push(key),
    }
    match write(client, group, Request::Transact(transaction)).await {
        Outcome::Done { version } => version,
        outcome => unreachable!("{outcome:?}"),
    }
}

fn range(space: SpaceId, prefix: &'static str) -> WatchedRange {
    WatchedRange { space, prefix: Bytes::from_static(prefix.as_bytes()) }
}

fn shown(rows: &WatchedRows) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let newest = rows.newest();
    let rows = newest.all().map(|(key, row)| format!("{}={}", text(key), text(&row.value)));
    rows.collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_follows_the_group_when_nodes_stop() {
    let mut nodes = Nodes::start(3).await;
    let client = nodes.client().await;
    let group = table_group(&client, 3).await;
    let space = create(&client, group, "rows").await;
    let mut rows = client.watch_rows(group, range(space, "a")).unwrap();
    put(&client, group, space, "a1", Some("1")).await;
    put(&client, group, space, "b", Some("1")).await;
    let seen = put(&client, group, space, "a2", Some("1")).await;
    assert!(rows.reaches(seen, PATIENCE).await);
    assert_eq!(shown(&rows), "a1=1 a2=1");
    rows.changed().await.unwrap();
    let leader = eventually("a leader", || async {
        let leads = |id: &u64| nodes.node(*id)?.report(group)?.leads.then_some(*id);
        nodes.up().iter().find_map(leads)
    })
    .await;
    nodes.stop(leader).await;
    let seen = put(&client, group, space, "a1", None).await;
    assert!(rows.reaches(seen, PATIENCE).await);
    assert_eq!(shown(&rows), "a2=1");
    rows.changed().await.unwrap();
    // A second handle shares the copy, so it shows rows at once.
    let second = client.watch_rows(group, range(space, "a")).unwrap();
    assert_eq!(shown(&second), "a2=1");
    // The space is dropped.
    let Outcome::Done { version } = write(&client, group, Request::DropSpace(space)).await else {
        panic!("the space is there")
    };
    assert!(second.reaches(version, PATIENCE).await);
    assert!(second.newest().is_gone() && second.newest().is_empty());
    rows.changed().await.unwrap();
    assert_eq!(rows.changed().await, Err(Error::NotFound));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_follows_the_group_when_it_moves() {
    let nodes = Nodes::start(2).await;
    let client = nodes.client().await;
    let group = table_group(&client, 1).await;
    let space = create(&client, group, "rows").await;
    let rows = client.watch_rows(group, range(space, "")).unwrap();
    let seen = put(&client, group, space, "a", Some("1")).await;
    assert!(rows.reaches(seen, PATIENCE).await);
    // The only replica moves to the other node, and the node where it was ends its watches.
    let old = client.view().holders(group).unwrap()[0];
    let drain = NodeCommand::SetState { node: old, state: NodeState::Draining };
    client.propose(Command::Node(drain)).await.unwrap();
    let new = NodeId(3 - old.0);
    eventually("the move of the group", || async {
        (client.view().holders(group)? == [new]).then_some(())
    })
    .await;
    let seen = put(&client, group, space, "b", Some("2")).await;
    assert!(rows.reaches(seen, PATIENCE).await);
    assert_eq!(shown(&rows), "a=1 b=2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_an_unknown_group_is_refused() {
    let nodes = Nodes::start(1).await;
    let client = nodes.client().await;
    let refused = client.watch_rows(GroupId(77), range(SpaceId(1), ""));
    assert_eq!(refused.err(), Some(Error::NotFound));
}

#[tokio::test]
async fn a_cluster_in_memory_has_copies_that_follow_too() {
    let clock = ManualClock::new(Timestamp::from_millis(1_000_000));
    let cluster = MemoryCluster::new(clock.into());
    let create_group = TableCommand::CreateGroups { replicas: 1, at_least: 1 };
    let view = cluster.propose(Command::Table(create_group)).await.unwrap();
    let group = *view.catalog().table_groups.first_key_value().unwrap().0;
    let space = create(&cluster, group, "rows").await;
    let rows = cluster.watch_rows(group, range(space, "a")).unwrap();
    put(&cluster, group, space, "a1", Some("1")).await;
    let seen = put(&cluster, group, space, "b", Some("1")).await;
    assert!(rows.reaches(seen, PATIENCE).await);
    assert_eq!(shown(&rows), "a1=1");
    let seen = put(&cluster, group, space, "a1", None).await;
    assert!(rows.reaches(seen, PATIENCE).await);
    assert_eq!(shown(&rows), "");
}
