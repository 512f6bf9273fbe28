//! Recovery of groups that have lost their majority for good: `anabranch ctl recover`.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use anabranch_client::{Client, ShardRoute};
use anabranch_types::GroupId;
use serde_json::Value;

use crate::cluster::{BUSY_LOGS, Cluster, copy_dir};
use crate::load::write;
use crate::oracle::Oracle;
use crate::waiting::wait_for;

/// A stream with equal replicas on all nodes that hold it.
struct Scene {
    cluster: Cluster,
    client: Client,
    shards: Vec<Arc<ShardRoute>>,
    oracle: Oracle,
}

impl Scene {
    async fn set(cluster: Cluster, shards: u32) -> Self {
        let client = cluster.client().await;
        let shards = cluster.create_stream(&client, shards).await;
        let mut scene = Self { cluster, client, shards, oracle: Oracle::default() };
        scene.write().await;
        for shard in &scene.shards {
            scene.has_equal_replicas(shard.group).await;
        }
        scene
    }

    async fn write(&mut self) {
        let Self { client, shards, oracle, .. } = self;
        let calls = 20 * shards.len();
        let written = write(client, oracle, shards, calls, &[100, 20_000, 300], 8).await;
        assert_eq!(written, 3 * calls as u64);
    }

    /// Waits until every replica that the catalog names returns the same records as the leader.
    async fn has_equal_replicas(&self, group: GroupId) {
        let records = self.cluster.read_leader(group).await;
        for node in &self.cluster.nodes {
            if node.report_of(group).await["replica"].is_null() {
                continue;
            }
            wait_for(format!("node {} has all of group {group}", node.id), async || {
                let own = node.read(group, false).await.map_err(|status| status.to_string())?;
                if own == records { Ok(()) } else { Err(format!("{} records", own.len())) }
            })
            .await;
        }
    }

    /// Checks that the leaders return every acknowledged record.
    async fn judge(&mut self) {
        for shard in &self.shards {
            let began = self.cluster.now();
            let records = self.cluster.read_leader(shard.group).await;
            self.oracle.judge(shard.group, &records, (began, self.cluster.now()));
        }
    }

    /// The output of `ctl recover` for a group. Node `asked` gets the request to keep the replica on node `from`.
    fn recover(
        &self,
        asked: usize,
        group: GroupId,
        from: u64,
        more: &[&str],
    ) -> Result<String, String> {
        let (group, from) = (group.to_string(), from.to_string());
        let args = ["recover", group.as_str(), "--from", from.as_str()];
        self.cluster.nodes[asked].ctl(&[&args[..], more].concat())
    }

    /// Waits until each group of the stream, and the catalog, has three voters, and no voter has an id of `old`.
    async fn has_three_voters(&self, old: &BTreeSet<u64>) {
        wait_for("three voters of each group", async || {
            let mut leader_seen = BTreeSet::new();
            for node in &self.cluster.nodes {
                let report = node.try_report().await?;
                let shards = report["shards"].as_array().into_iter().flatten();
                for group in shards.chain([&report["catalog"]]).filter(|g| !g["voters"].is_null()) {
                    let voters = numbers(&group["voters"]);
                    let is_old = voters.iter().any(|voter| old.contains(voter));
                    if voters.len() != 3 || is_old {
                        return Err(format!("node {}: {group}", node.id));
                    }
                    if group["leader"] == node.id {
                        leader_seen.insert(group["group"].as_u64());
                    }
                }
            }
            // The catalog's report names no group.
            let expected = self.shards.len() + 1;
            if leader_seen.len() == expected { Ok(()) } else { Err(format!("{leader_seen:?}")) }
        })
        .await;
    }

    /// Ids of all replicas that node `asked` knows.
    async fn replica_ids(&self, asked: usize) -> BTreeSet<u64> {
        let report = self.cluster.nodes[asked].report().await;
        let shards = report["shards"].as_array().unwrap().iter();
        shards.chain([&report["catalog"]]).flat_map(|group| numbers(&group["voters"])).collect()
    }

    /// Recovers each of these groups from the replica on node `from`. The first request of each is refused, as it
    /// does not accept the loss.
    async fn recover_all(&self, groups: &[GroupId], from: usize) {
        let id = self.cluster.nodes[from].id;
        for group in groups {
            let said =
                wait_for("the group has no leader, as the node sees it", async || {
                    match self.recover(from, *group, id, &[]) {
                        Ok(said) => {
                            panic!("recovered without being told to accept the loss: {said}")
                        }
                        Err(said) if said.contains("Nothing was done") => Ok(said),
                        Err(said) => Err(said),
                    }
                })
                .await;
            assert!(said.contains(&format!("node {id} has entries up to")), "{said}");
            let said = self.recover(from, *group, id, &["--accept-loss"]).unwrap();
            assert!(said.contains(&format!("group {group} goes on from node {id}")), "{said}");
        }
        for group in groups {
            self.cluster.read_leader(*group).await;
            let refused = wait_for("the node knows the leader", async || {
                match self.recover(from, *group, id, &["--accept-loss"]) {
                    Ok(said) => panic!("recovered again: {said}"),
                    Err(said) if said.contains("there is nothing to recover") => Ok(said),
                    Err(said) => Err(said),
                }
            })
            .await;
            assert!(refused.contains("is led by node"), "{refused}");
        }
    }
}

fn numbers(list: &Value) -> Vec<u64> {
    list.as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn catalog_and_shards_are_recovered_from_the_last_of_three_nodes() {
    const LAST: usize = 2;
    let mut scene = Scene::set(Cluster::start(3, BUSY_LOGS).await, 2).await;
    let old = scene.replica_ids(LAST).await;
    scene.cluster.kill_all();
    let data_dir = scene.cluster.nodes[LAST].data_dir.clone();
    let kept = scene.cluster.nodes[0].data_dir.with_extension("kept");
    copy_dir(&scene.cluster.nodes[0].data_dir, &kept);
    for lost in &scene.cluster.nodes[..LAST] {
        fs::remove_dir_all(&lost.data_dir).unwrap();
    }

    // Recovers the catalog in the directory of a node that is stopped.
    let dir = data_dir.to_str().unwrap();
    let recover = ["recover", "catalog", "--data-dir", dir];
    let accepted = ["recover", "catalog", "--data-dir", dir, "--accept-loss"];
    let refused = scene.cluster.nodes[LAST].ctl(&recover).unwrap_err();
    assert!(refused.contains("the replica of node 3 has version"), "{refused}");
    scene.cluster.nodes[LAST].start();
    scene.cluster.nodes[LAST].report().await; // now it has locked its directory
    let refused = scene.cluster.nodes[LAST].ctl(&recover).unwrap_err();
    assert!(refused.contains("in use"), "{refused}");
    scene.cluster.nodes[LAST].kill();
    let said = scene.cluster.nodes[LAST].ctl(&accepted).unwrap();
    assert!(said.contains("It is the only voter now") && said.contains("1 streams"), "{said}");

    // Starts this node first, then two empty nodes.
    scene.cluster.nodes[LAST].start();
    wait_for("the catalog has a leader", async || {
        let report = scene.cluster.nodes[LAST].try_report().await?;
        if report["catalog"]["leader"] == 3 { Ok(()) } else { Err(report["catalog"].to_string()) }
    })
    .await;
    scene.cluster.nodes[0].start();
    scene.cluster.nodes[1].start();
    let groups: Vec<_> = scene.shards.iter().map(|shard| shard.group).collect();
    scene.recover_all(&groups, LAST).await;
    scene.cluster.all_ready().await;
    scene.has_three_voters(&old).await;
    scene.judge().await;
    scene.write().await;
    scene.judge().await;

    // A node returns with its old data. Its old replica of the catalog stays closed, and the node becomes a member
    // again with a new one.
    let back = &mut scene.cluster.nodes[0];
    back.kill();
    fs::remove_dir_all(&back.data_dir).unwrap();
    fs::rename(&kept, &back.data_dir).unwrap();
    back.start();
    back.ready().await;
    assert!(back.log_text().contains("the catalog was recovered without it"));
    scene.has_three_voters(&old).await;
    scene.write().await;
    scene.judge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_are_recovered_while_the_catalog_has_its_majority() {
    let mut cluster = Cluster::start(3, BUSY_LOGS).await;
    cluster.join(4, "", BUSY_LOGS).await;
    let mut scene = Scene::set(cluster, 8).await;
    let (kept, lost) = (0, [1, 3]); // two of three replicas of the catalog are left
    let report = scene.cluster.nodes[kept].report().await;
    let held_by = |shard: &Value, node: usize| {
        let replicas = shard["replicas"].as_array().unwrap().iter();
        replicas.into_iter().any(|replica| replica["node"] == node as u64 + 1)
    };
    let of_lost: Vec<(GroupId, usize)> = report["shards"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|shard| lost.iter().all(|node| held_by(shard, *node)))
        .map(|shard| {
            let left = if held_by(shard, 0) { 0 } else { 2 };
            (GroupId(shard["group"].as_u64().unwrap()), left)
        })
        .collect();
    assert!(!of_lost.is_empty(), "{report}");
    for node in lost {
        scene.cluster.nodes[node].kill();
        fs::remove_dir_all(&scene.cluster.nodes[node].data_dir).unwrap();
    }
    let (group, left) = of_lost[0];
    wait_for("a dead node is refused as the node to keep", async || {
        match scene.recover(left, group, 2, &["--accept-loss"]) {
            Err(said) if said.contains("node 2 doesn't answer") => Ok(()),
            said => Err(format!("{said:?}")),
        }
    })
    .await;
    for (group, left) in &of_lost {
        scene.recover_all(&[*group], *left).await;
    }
    scene.judge().await;
    scene.write().await;
    scene.judge().await;
    // Nodes that return with empty disks get replicas again.
    for node in lost {
        scene.cluster.nodes[node].start();
    }
    scene.cluster.all_ready().await;
    scene.has_three_voters(&BTreeSet::new()).await;
    scene.write().await;
    scene.judge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_with_the_old_catalog_end_and_join_the_recovered_one() {
    const KEPT: usize = 2;
    let mut scene = Scene::set(Cluster::start(3, BUSY_LOGS).await, 1).await;
    let old = scene.replica_ids(KEPT).await;
    scene.cluster.nodes[KEPT].stop().await;
    let dir = scene.cluster.nodes[KEPT].data_dir.to_str().unwrap().to_owned();
    let recover = ["recover", "catalog", "--data-dir", dir.as_str(), "--accept-loss"];
    scene.cluster.nodes[KEPT].ctl(&recover).unwrap();
    // The two other nodes still run with the old catalog and have a majority of it, until they hear of the new one.
    scene.cluster.nodes[KEPT].start();
    for node in &mut scene.cluster.nodes[..KEPT] {
        let status = node.ended().await;
        assert_eq!(status.code(), Some(75), "{status}");
        node.start();
    }
    scene.cluster.all_ready().await;
    wait_for("three voters of the catalog, none of them old", async || {
        for node in &scene.cluster.nodes {
            let catalog = node.try_report().await?["catalog"].clone();
            let voters = numbers(&catalog["voters"]);
            if voters.len() != 3 || voters.iter().any(|voter| old.contains(voter)) {
                return Err(format!("node {}: {catalog}", node.id));
            }
        }
        Ok(())
    })
    .await;
    scene.judge().await;
    scene.write().await;
    scene.judge().await;
}
