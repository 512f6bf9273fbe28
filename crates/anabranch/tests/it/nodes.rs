//! Nodes that join, are drained, are removed, and die for good, all under load.

use std::collections::BTreeSet;
use std::sync::Arc;

use anabranch_catalog::{Command, NodeCommand, NodeState, Refusal};
use anabranch_client::{Client, Error, ShardRoute};
use anabranch_types::NodeId;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::cluster::Cluster;
use crate::load::Load;
use crate::waiting::wait_for;

/// A silent node is replaced after three seconds (`HEAD`), and logs are trimmed all the time.
const SETTINGS: &str = "
[replication]
checkpoint-interval-ms = 150
maintenance-interval-ms = 50
";
const HEAD: &str = "replace-after-ms = 3000\n";

/// Waits until no replica moves, and every group has three replicas, all of them on `nodes`.
async fn placed_on(client: &Client, nodes: &[u64]) {
    wait_for(format!("all replicas are on {nodes:?}"), async || {
        let view = client.view();
        for group in view.catalog().groups() {
            let on: BTreeSet<_> = group.holders().map(|replica| replica.node.0).collect();
            let is_placed = group.moving.is_none()
                && on.len() == 3
                && on.iter().all(|node| nodes.contains(node));
            if !is_placed {
                return Err(format!("group {} is on {on:?}", group.group));
            }
        }
        Ok(())
    })
    .await;
}

async fn judge(cluster: &Cluster, load: &mut Load, shards: &[Arc<ShardRoute>]) {
    let _quiet = load.pause().await;
    for shard in shards {
        let began = cluster.now();
        let records = cluster.read_leader(shard.group).await;
        load.oracle().judge(shard.group, &records, (began, cluster.now()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_record_is_lost_while_nodes_join_and_leave_under_load() {
    let mut cluster =
        Cluster::start_with(3, HEAD, SETTINGS, |id, dir| dir.join(format!("node-{id}"))).await;
    let client = cluster.client().await;
    let shards = cluster.create_stream(&client, 6).await;
    let mut load = Load::start(client.clone(), &shards, &mut StdRng::seed_from_u64(7));
    load.calls(200).await;

    // A fourth node takes its share of the replicas without being told.
    cluster.join(4, HEAD, SETTINGS).await;
    wait_for("node 4 has replicas", async || {
        let view = client.view();
        let held = view.catalog().groups().filter(|g| g.holders().any(|r| r.node == NodeId(4)));
        let held = held.count();
        if held >= 4 { Ok(()) } else { Err(format!("{held} replicas")) }
    })
    .await;
    load.calls(200).await;

    // A node with replicas cannot be removed. A drained node can.
    let node = NodeId(1);
    let refused = client.propose(Command::Node(NodeCommand::Remove { node })).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::NodeInUse { .. }))), "{refused:?}");
    let drain = Command::Node(NodeCommand::SetState { node, state: NodeState::Draining });
    client.propose(drain).await.unwrap();
    placed_on(&client, &[2, 3, 4]).await;
    client.propose(Command::Node(NodeCommand::Remove { node })).await.unwrap();
    cluster.nodes[0].stop().await;
    load.calls(200).await;
    judge(&cluster, &mut load, &shards).await;

    // A node that dies for good is replaced after a while by the node that joined last.
    cluster.join(5, HEAD, SETTINGS).await;
    cluster.nodes[1].kill();
    placed_on(&client, &[3, 4, 5]).await;
    load.calls(200).await;
    judge(&cluster, &mut load, &shards).await;
    let unknown = client.propose(Command::Node(NodeCommand::Remove { node })).await;
    assert!(matches!(unknown, Err(Error::Refused(Refusal::NodeNotFound { .. }))), "{unknown:?}");

    // All remaining nodes start again. Only one of them was there when the catalog was made.
    let quiet = load.pause().await;
    for place in [2, 3, 4] {
        cluster.nodes[place].kill();
    }
    for place in [2, 3, 4] {
        cluster.nodes[place].start();
    }
    for place in [2, 3, 4] {
        cluster.nodes[place].ready().await;
    }
    drop(quiet);
    load.calls(200).await;
    judge(&cluster, &mut load, &shards).await;
    println!("{:?}", load.oracle().counts);
}
