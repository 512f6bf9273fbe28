//! Work of operators and of the cluster itself: leaders move, nodes drain, nodes are replaced, shards split.

use std::time::{Duration, Instant};

use anabranch_proto::admin::Group;
use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use chaos_checkers::history::StreamName;
use chaos_lab::NodeNumber;
use rand::seq::IndexedRandom;
use tokio::time::sleep;

use crate::fault::{Begun, Cost, Fault, FaultKind};
use crate::faults::seconds;
use crate::field::Field;
use crate::reshard;

/// The kinds of this family.
pub(crate) fn kinds() -> Vec<FaultKind> {
    let kind = |name, about, least_nodes, make| FaultKind {
        name,
        about,
        cost: Cost::Disturbs,
        least_nodes,
        lasts: seconds(0, 0),
        in_default: true,
        needs_root: false,
        make,
    };
    vec![
        kind("leader-transfer", "leaders are moved to other nodes", 3, || Box::new(Transfer)),
        kind("reshard", "random shards of the streams are split and merged", 1, || {
            Box::new(Reshard)
        }),
        FaultKind {
            lasts: seconds(1, 4),
            ..kind("controller-killed", "a node is killed at a step of a split or merge", 3, || {
                Box::new(ControllerKilled { place: "", node: None })
            })
        },
        FaultKind {
            cost: Cost::Copies,
            lasts: seconds(4, 10),
            ..kind("drain", "a node is drained, and takes replicas again", 4, || {
                Box::new(Drain { node: None })
            })
        },
        FaultKind {
            cost: Cost::Copies,
            ..kind(
                "replace-node",
                "a node is drained and removed, and joins again with an empty disk",
                4,
                || Box::new(Replace),
            )
        },
    ]
}

/// Groups that one fault moves.
const TRANSFERS: usize = 6;

struct Transfer;

#[async_trait(?Send)]
impl Fault for Transfer {
    async fn start(&mut self, field: &mut Field) -> Result<Begun> {
        let groups = field.admin.groups().await?;
        let mut moved = Vec::new();
        for group in groups.choose_multiple(&mut field.random.clone(), TRANSFERS) {
            let followers = followers(group);
            let Some(to) = followers.choose(&mut field.random) else { continue };
            match field.admin.transfer_leader(group.group, *to).await {
                Ok(()) => moved.push(format!("group {} to node {to}", group.group)),
                Err(error) => {
                    field.recorder.note(format!("group {} to node {to}: {error:#}", group.group))
                }
            }
        }
        anyhow::ensure!(!moved.is_empty(), "no leader was moved");
        Ok(Begun::at(field.members.clone(), moved.join(", ")))
    }

    async fn stop(&mut self, _field: &mut Field) -> Result<Option<bool>> {
        Ok(Some(true))
    }
}

fn followers(group: &Group) -> Vec<NodeNumber> {
    let replicas = group.replicas.iter().filter(|replica| !replica.leads);
    replicas.filter_map(|replica| u8::try_from(replica.node).ok()).map(NodeNumber).collect()
}

struct Reshard;

#[async_trait(?Send)]
impl Fault for Reshard {
    async fn start(&mut self, field: &mut Field) -> Result<Begun> {
        let stream = random_stream(field).await?;
        let done = reshard::one(&field.scene, &mut field.random, &stream).await?;
        Ok(Begun { nodes: Vec::new(), detail: format!("{stream}: {done}") })
    }

    async fn stop(&mut self, _field: &mut Field) -> Result<Option<bool>> {
        Ok(Some(true))
    }
}

/// A stream that a workload lets be resharded.
async fn random_stream(field: &mut Field) -> Result<StreamName> {
    let groups = field.admin.groups().await?;
    let mut streams: Vec<_> = groups.iter().map(|group| group.stream.as_str()).collect();
    streams.retain(|stream| stream.starts_with(reshard::PREFIX));
    streams.sort_unstable();
    streams.dedup();
    let stream = streams.choose(&mut field.random).context("no stream may be resharded")?;
    Ok(StreamName::from(*stream))
}

/// Places at which the catalog's leader waits if a test says so (crates/node/src/fail_point.rs).
const PLACES: [&str; 4] =
    ["reshard-prepared", "reshard-children-ready", "reshard-frozen", "reshard-committed"];

struct ControllerKilled {
    place: &'static str,
    node: Option<NodeNumber>,
}

#[async_trait(?Send)]
impl Fault for ControllerKilled {
    async fn start(&mut self, field: &mut Field) -> Result<Begun> {
        self.place = PLACES.choose(&mut field.random).copied().unwrap_or_default();
        let places = field.fail_points();
        std::fs::write(places.join(self.place), "")?;
        let stream = random_stream(field).await?;
        let done = reshard::one(&field.scene, &mut field.random, &stream).await;
        let reached = places.join(format!("{}.reached", self.place));
        let process = wait_for_process(&reached).await;
        std::fs::remove_file(places.join(self.place))?;
        let _gone = std::fs::remove_file(&reached);
        let process =
            process.with_context(|| format!("no node came to {} ({done:?})", self.place))?;
        let node = field.node_of_process(process).context("a process that is no node")?;
        self.node = Some(node);
        field.goes_away(node);
        field.lab.node(node).kill()?;
        Ok(Begun::at([node], format!("killed at {}", self.place)))
    }

    async fn stop(&mut self, field: &mut Field) -> Result<Option<bool>> {
        let Some(node) = self.node else { return Ok(Some(false)) };
        field.comes_back(node).await?;
        Ok(Some(true))
    }
}

async fn wait_for_process(reached: &std::path::Path) -> Option<u32> {
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        let text = std::fs::read_to_string(reached).unwrap_or_default();
        if let Ok(process) = text.trim().parse() {
            return Some(process);
        }
        sleep(Duration::from_millis(10)).await;
    }
    None
}

struct Drain {
    node: Option<NodeNumber>,
}

#[async_trait(?Send)]
impl Fault for Drain {
    async fn start(&mut self, field: &mut Field) -> Result<Begun> {
        let node = field.pick()?;
        self.node = Some(node);
        field.admin.drain(node, true).await?;
        Ok(Begun::at([node], "draining"))
    }

    async fn stop(&mut self, field: &mut Field) -> Result<Option<bool>> {
        let Some(node) = self.node else { return Ok(None) };
        field.admin.drain(node, false).await?;
        field.whole().await?;
        Ok(Some(true))
    }
}

/// Longest time until a drained node holds no replica.
const EMPTY: Duration = Duration::from_secs(60);

struct Replace;

#[async_trait(?Send)]
impl Fault for Replace {
    /// A new node joins first, because a cluster may need every node that it has.
    async fn start(&mut self, field: &mut Field) -> Result<Begun> {
        let new = field.spare.context("there is no spare host")?;
        field.join(new)?;
        field.comes_back(new).await?;
        let old = field.pick_member_but(new).context("there is no node to replace")?;
        field.admin.drain(old, true).await?;
        wait_until_empty(field, old).await?;
        field.leave(old).await?;
        field.whole().await?;
        Ok(Begun::at([old, new], format!("{new} joined; {old} was drained, removed, and wiped")))
    }

    async fn stop(&mut self, _field: &mut Field) -> Result<Option<bool>> {
        Ok(Some(true))
    }
}

async fn wait_until_empty(field: &mut Field, node: NodeNumber) -> Result<()> {
    let deadline = Instant::now() + EMPTY;
    loop {
        let nodes = field.admin.nodes().await?;
        let held =
            nodes.iter().find(|known| known.node == u64::from(node.0)).map(|known| known.replicas);
        match held {
            Some(0) => return Ok(()),
            _ if Instant::now() > deadline => bail!("node {node} still holds {held:?} replicas"),
            _ => sleep(Duration::from_millis(200)).await,
        }
    }
}
