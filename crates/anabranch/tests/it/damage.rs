//! Logs that are damaged, cut short or missing. The node reports the damage, answers nothing from the damaged part,
//! and gets everything again from the other nodes: a single damaged entry is repaired in place, a replica with more
//! damage is replaced under a new replica id.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use anabranch_client::{Client, ShardRoute};
use anabranch_types::GroupId;
use bytes::Bytes;
use serde_json::Value;

use crate::cluster::{BUSY_LOGS, Cluster, Server, copy_dir, shard_of};
use crate::load::write;
use crate::oracle::Oracle;
use crate::waiting::wait_for;

/// A cluster whose logs have been trimmed and fill several segments.
struct Scene {
    cluster: Cluster,
    client: Client,
    shards: Vec<Arc<ShardRoute>>,
    oracle: Oracle,
}

impl Scene {
    async fn set() -> Self {
        let cluster = Cluster::start(3, BUSY_LOGS).await;
        let client = cluster.client().await;
        let shards = cluster.create_stream(&client, 2).await;
        let mut scene = Self { cluster, client, shards, oracle: Oracle::default() };
        scene.write().await;
        for shard in &scene.shards {
            scene.cluster.checkpoints_cover_all(shard.group).await;
        }
        scene.cluster.advance(25).await;
        scene.write().await;
        for shard in &scene.shards {
            scene.cluster.replicas_trim_alike(shard.group).await;
        }
        scene.judge().await;
        assert!(scene.oracle.counts.expired > 0);
        scene
    }

    /// Writes enough records for four segments.
    async fn write(&mut self) {
        let Self { client, shards, oracle, .. } = self;
        let lengths = [100, 20_000, 100, 300];
        assert_eq!(write(client, oracle, shards, 200, &lengths, 8).await, 800);
    }

    /// Checks the records of the leaders against the oracle, and the replicas against the leaders.
    async fn judge(&mut self) {
        for shard in &self.shards {
            let began = self.cluster.now();
            let records = self.cluster.replicas_are_equal(shard.group).await;
            self.oracle.judge(shard.group, &records, (began, self.cluster.now()));
        }
    }

    /// Kills a node, and calls `harm` with the node and the data of a record in its log. Then writes records, starts
    /// the node again, and returns the replicas that it held before.
    async fn harm(
        &mut self,
        victim: usize,
        harm: impl FnOnce(&Server, &Bytes),
    ) -> BTreeMap<GroupId, u64> {
        let held = self.held(&self.cluster.nodes[victim].report().await);
        assert_eq!(held.len(), self.shards.len());
        let retained = self.retained().await;
        self.cluster.nodes[victim].kill();
        harm(&self.cluster.nodes[victim], &retained);
        self.write().await;
        self.cluster.nodes[victim].start();
        held
    }

    /// Data of the oldest large record that is retained. Its segment is full.
    async fn retained(&self) -> Bytes {
        let records = self.cluster.read_leader(self.shards[0].group).await;
        records
            .into_iter()
            .map(|(_, _, record)| record.data)
            .find(|data| data.len() > 10_000)
            .unwrap()
    }

    /// The replicas of the node that made this report.
    fn held(&self, report: &Value) -> BTreeMap<GroupId, u64> {
        let replica = |group| shard_of(report, group)["replica"].as_u64();
        self.shards.iter().filter_map(|shard| Some((shard.group, replica(shard.group)?))).collect()
    }

    /// Waits until the victim holds a new replica of each of `groups`, with another id than `before`. The new replica
    /// must be a voter, and the old replica none. From the start of the victim on, it must never hold an old replica.
    async fn replaced(
        &mut self,
        victim: usize,
        before: &BTreeMap<GroupId, u64>,
        groups: &BTreeSet<GroupId>,
    ) {
        for group in groups {
            let old = before[group];
            wait_for(format!("another replica of group {group} than {old}"), async || {
                let own = self.cluster.nodes[victim].try_report().await?;
                let held = self.held(&own).get(group).copied();
                assert_ne!(held, Some(old), "the node holds a damaged replica: {own}");
                let new = held.ok_or("no replica is held")?;
                for node in &self.cluster.nodes {
                    let report = shard_of(&node.try_report().await?, *group);
                    let voters: Vec<_> = report["voters"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter_map(Value::as_u64)
                        .collect();
                    if voters.len() != 3 || !voters.contains(&new) || voters.contains(&old) {
                        return Err(format!("node {} has voters {voters:?}, not {new}", node.id));
                    }
                }
                Ok(())
            })
            .await;
        }
    }

    /// Waits until the catalog has three replicas again, one on each node and all equal. Damage to another node
    /// before that would be damage to a majority.
    async fn catalog_is_whole(&self) {
        wait_for("three equal replicas of the catalog", async || {
            let mut own = BTreeSet::new();
            let mut seen = BTreeSet::new();
            for node in &self.cluster.nodes {
                let catalog = node.try_report().await?["catalog"].clone();
                own.extend(catalog["replica"].as_u64());
                seen.insert(format!(
                    "voters {}, applied {}",
                    catalog["voters"], catalog["applied"]
                ));
            }
            let voters = own.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
            let whole = own.len() == 3
                && seen.len() == 1
                && seen.iter().all(|seen| seen.contains(&format!("[{voters}]")));
            if whole { Ok(()) } else { Err(format!("replicas {own:?} see {seen:?}")) }
        })
        .await;
    }

    /// Groups whose replica the node has reported as out of service, in its log from byte `from` on.
    fn out_of_service(&self, victim: usize, from: usize) -> BTreeSet<GroupId> {
        let text = self.cluster.nodes[victim].log_text();
        let lines =
            text[from..].lines().filter(|line| line.contains(": replica is out of service group="));
        let group = |line: &str| {
            assert!(line.contains("reason="), "no reason: {line}");
            let number = line.split_once("group=")?.1.split_whitespace().next()?.parse().ok()?;
            Some(GroupId(number))
        };
        lines.filter_map(group).collect()
    }

    /// How many repaired entries the node has reported, in its log from byte `from` on.
    fn repaired(&self, victim: usize, from: usize) -> usize {
        let text = self.cluster.nodes[victim].log_text();
        text[from..].lines().filter(|line| line.contains("entry is mended")).count()
    }

    /// Data of the two newest large records of the first shard.
    async fn newest_records(&self) -> [Bytes; 2] {
        let records = self.cluster.read_leader(self.shards[0].group).await;
        let large = records.into_iter().rev().map(|(_, _, record)| record.data);
        let mut large = large.filter(|data| data.len() > 10_000);
        [large.next().unwrap(), large.next().unwrap()]
    }

    async fn is_repaired_after(
        &mut self,
        victim: usize,
        what: &str,
        harm: impl FnOnce(&Server, &Bytes),
    ) {
        let said = self.cluster.nodes[victim].log_text().len();
        let before = self.harm(victim, harm).await;
        wait_for(format!("an entry is repaired: {what}"), async || {
            if self.repaired(victim, said) > 0 { Ok(()) } else { Err("nothing is reported") }
        })
        .await;
        self.cluster.nodes[victim].ready().await;
        let held = self.held(&self.cluster.nodes[victim].report().await);
        assert_eq!((held, self.out_of_service(victim, said)), (before, BTreeSet::new()));
        self.judge().await;
        self.write().await;
        self.judge().await;
    }

    async fn is_rebuilt_after(
        &mut self,
        victim: usize,
        what: &str,
        harm: impl FnOnce(&Server, &Bytes),
    ) {
        let said = self.cluster.nodes[victim].log_text().len();
        let before = self.harm(victim, harm).await;
        let lost = wait_for(format!("the node says that {what}"), async || {
            let groups: BTreeSet<_> = self
                .out_of_service(victim, said)
                .into_iter()
                .filter(|group| before.contains_key(group))
                .collect();
            if groups.is_empty() { Err("nothing is reported") } else { Ok(groups) }
        })
        .await;
        println!("{what}: node {} says that {lost:?} are out of service", victim + 1);
        self.cluster.nodes[victim].ready().await;
        self.replaced(victim, &before, &lost).await;
        self.catalog_is_whole().await;
        let lost = self.out_of_service(victim, said); // more replicas may have joined them
        let held = self.held(&self.cluster.nodes[victim].report().await);
        for (group, old) in &before {
            assert_eq!(
                held[group] != *old,
                lost.contains(group),
                "group {group}: {before:?}, now {held:?}"
            );
        }
        self.judge().await;
        self.write().await;
        self.judge().await;
    }
}

/// The newest segment with entries, and where its entries end.
fn newest(node: &Server) -> (PathBuf, usize) {
    const HEADER_BYTES: usize = 4096;
    let segments = node.segments().into_iter().rev();
    let used = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        (end > HEADER_BYTES).then_some((path, end))
    };
    segments.filter_map(used).next().unwrap()
}

fn flip_bit(path: &PathBuf, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
    file.sync_all().unwrap();
}

fn flip(path: &PathBuf, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut bytes = [0; 64];
    file.read_exact_at(&mut bytes, at).unwrap();
    file.write_all_at(&bytes.map(|byte| !byte), at).unwrap();
    file.sync_all().unwrap();
}

/// The positions of `data` in the segments. There is one, and one more in each segment that it was copied from and
/// that still exists.
fn find(node: &Server, data: &[u8]) -> Vec<(PathBuf, u64)> {
    let place = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        let at = bytes.windows(data.len()).position(|window| window == data)?;
        Some((path, at as u64))
    };
    let found: Vec<_> = node.segments().into_iter().filter_map(place).collect();
    assert!(!found.is_empty(), "the record is in no segment");
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_is_repaired_or_rebuilt_from_its_peers() {
    let mut scene = Scene::set().await;
    scene
        .is_repaired_after(0, "bytes of a record changed", |node, retained| {
            find(node, retained).iter().for_each(|(path, at)| flip(path, at + 500));
        })
        .await;
    scene
        .is_rebuilt_after(1, "frames of the newest segment changed", |node, _| {
            let (path, end) = newest(node);
            // More bytes than the longest frame has, so frame headers are among them.
            for at in (4096 + end as u64 / 2..).step_by(64).take(400) {
                flip(&path, at);
            }
        })
        .await;
    scene
        .is_rebuilt_after(2, "the newest segment is cut short", |node, _| {
            let (path, end) = newest(node);
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_len((4096 + end as u64) / 2).unwrap();
        })
        .await;
    scene
        .is_rebuilt_after(0, "a segment is missing", |node, retained| {
            find(node, retained).iter().for_each(|(path, _)| fs::remove_file(path).unwrap());
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_wiped_disk_gets_new_replica_ids() {
    let mut scene = Scene::set().await;
    for victim in 0..3 {
        let before =
            scene.harm(victim, |node, _| fs::remove_dir_all(&node.data_dir).unwrap()).await;
        let groups = before.keys().copied().collect();
        scene.replaced(victim, &before, &groups).await;
        scene.cluster.nodes[victim].ready().await;
        scene.catalog_is_whole().await;
        scene.judge().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_is_restored_to_an_older_copy_gets_new_replica_ids() {
    const VICTIM: usize = 0;
    let mut scene = Scene::set().await;
    let before = scene.held(&scene.cluster.nodes[VICTIM].report().await);
    let catalog = |report: &Value| report["catalog"]["replica"].as_u64();
    let catalog_before = catalog(&scene.cluster.nodes[VICTIM].report().await);
    let data_dir = scene.cluster.nodes[VICTIM].data_dir.clone();
    let backup = data_dir.with_extension("backup");
    scene.cluster.nodes[VICTIM].stop().await;
    copy_dir(&data_dir, &backup);
    // The node goes on, through two more starts. Its disk is correct so far.
    for _ in 0..2 {
        scene.cluster.nodes[VICTIM].start();
        scene.cluster.nodes[VICTIM].ready().await;
        scene.write().await;
        scene.cluster.nodes[VICTIM].kill();
    }
    scene.write().await;
    scene.cluster.nodes[VICTIM].start();
    scene.cluster.nodes[VICTIM].ready().await;
    assert_eq!(scene.held(&scene.cluster.nodes[VICTIM].report().await), before);
    const SAID: &str = "the disk of this node went back in time";
    assert!(!scene.cluster.nodes[VICTIM].log_text().contains(SAID));
    scene.judge().await;
    scene.cluster.nodes[VICTIM].kill();

    fs::remove_dir_all(&data_dir).unwrap();
    fs::rename(&backup, &data_dir).unwrap();
    scene.cluster.nodes[VICTIM].start();
    let groups = before.keys().copied().collect();
    scene.replaced(VICTIM, &before, &groups).await;
    scene.cluster.nodes[VICTIM].ready().await;
    scene.catalog_is_whole().await;
    let report = scene.cluster.nodes[VICTIM].report().await;
    assert!(catalog(&report).is_some() && catalog(&report) != catalog_before, "{report}");
    assert!(scene.cluster.nodes[VICTIM].log_text().contains(SAID));
    scene.judge().await;
    scene.write().await;
    scene.judge().await;
    // From here on the node's count of starts is right again, so another start changes nothing.
    let after = scene.held(&report);
    scene.cluster.nodes[VICTIM].kill();
    scene.cluster.nodes[VICTIM].start();
    scene.cluster.nodes[VICTIM].ready().await;
    assert_eq!(scene.held(&scene.cluster.nodes[VICTIM].report().await), after);
    scene.judge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_repairs_a_damaged_entry_that_it_finds_while_it_runs() {
    let mut scene = Scene::set().await;
    let shard = Arc::clone(&scene.shards[0]);
    let report = scene.cluster.nodes[0].report_of(shard.group).await;
    let victim = usize::try_from(report["leader"].as_u64().unwrap()).unwrap() - 1;
    let before = scene.held(&scene.cluster.nodes[victim].report().await);
    let retained = scene.retained().await;
    let said = scene.cluster.nodes[victim].log_text().len();
    let places = find(&scene.cluster.nodes[victim], &retained);
    places.iter().for_each(|(path, at)| flip(path, at + 500));
    wait_for("a read past the damaged entry, which is repaired", async || {
        let node = &scene.cluster.nodes[victim];
        node.read(shard.group, true).await.map_err(|error| error.to_string())?;
        let repaired = scene.repaired(victim, said);
        if repaired == 0 { Err("nothing was repaired".to_owned()) } else { Ok(()) }
    })
    .await;
    assert_eq!(scene.held(&scene.cluster.nodes[victim].report().await), before);
    assert_eq!(scene.out_of_service(victim, said), BTreeSet::new());
    scene.judge().await;
    scene.write().await;
    scene.judge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_logs_with_a_damaged_entry_each_are_repaired() {
    let mut scene = Scene::set().await;
    let before: Vec<_> = {
        let mut held = Vec::new();
        for node in &scene.cluster.nodes {
            held.push(scene.held(&node.report().await));
        }
        held
    };
    let [first, second] = scene.newest_records().await;
    let said: Vec<_> = scene.cluster.nodes.iter().map(|node| node.log_text().len()).collect();
    scene.cluster.nodes.iter_mut().for_each(Server::kill);
    for (victim, record) in [(0, &first), (1, &second)] {
        let places = find(&scene.cluster.nodes[victim], record);
        places.iter().for_each(|(path, at)| flip_bit(path, at + 500));
    }
    scene.cluster.nodes.iter_mut().for_each(Server::start);
    for (victim, before) in before.iter().enumerate() {
        scene.cluster.nodes[victim].ready().await;
        assert_eq!(scene.held(&scene.cluster.nodes[victim].report().await), *before);
        assert_eq!(scene.out_of_service(victim, said[victim]), BTreeSet::new());
        assert_eq!(scene.repaired(victim, said[victim]) > 0, victim < 2, "node {}", victim + 1);
    }
    scene.judge().await;
    scene.write().await;
    scene.judge().await;
}
