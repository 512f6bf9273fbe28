//! Disks that lose what they had acknowledged: damage, older copies, empty disks.
//!
//! One node at a time, and the fault ends only when the cluster has all its copies again. The node is then pushed to
//! stand for election, because a leader that has forgotten something is the danger.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use chaos_lab::{Damage, FileKind, NodeNumber, Rule};
use rand::seq::{IndexedRandom, SliceRandom};

use crate::fault::{Begun, Cost, Fault, FaultKind};
use crate::faults::seconds;
use crate::field::Field;
use crate::nemesis::wait;

/// A loss of data on a disk.
#[derive(Clone, Copy)]
enum Loss {
    /// Bits, blocks or ends of files are lost while the node is down.
    Damage,
    /// A copy of the disk is kept, and comes back seconds later.
    Rollback,
    /// The disk is empty.
    Wipe,
}

/// The kinds of this family.
pub(crate) fn kinds() -> Vec<FaultKind> {
    let kind = |name, about, make| FaultKind {
        name,
        about,
        cost: Cost::Copies,
        least_nodes: 3,
        lasts: seconds(2, 6),
        in_default: true,
        needs_root: false,
        make,
    };
    vec![
        kind(
            "damage-majority",
            "every node is killed, and one bit of the log is flipped on a majority",
            || Box::new(DamagedMajority { nodes: Vec::new() }),
        ),
        kind(
            "wipe-behind",
            "the two nodes that have the newest records are killed, and one comes back empty",
            || Box::new(WipedBehind { nodes: None }),
        ),
        kind("damage", "files of a stopped node are damaged; then it is pushed to lead", || {
            loss(Loss::Damage)
        }),
        kind(
            "rollback",
            "an older copy of a node's disk comes back; then it is pushed to lead",
            || loss(Loss::Rollback),
        ),
        kind("wipe", "a node comes back with an empty disk; then it is pushed to lead", || {
            loss(Loss::Wipe)
        }),
    ]
}

fn loss(loss: Loss) -> Box<dyn Fault> {
    Box::new(DiskLoss { loss, node: None, done: None })
}

/// Groups that the node is pushed to lead.
const PUSHES: usize = 3;

struct DiskLoss {
    loss: Loss,
    node: Option<NodeNumber>,
    /// Whether something was lost, once that is known.
    done: Option<bool>,
}

#[async_trait(?Send)]
impl Fault for DiskLoss {
    async fn start(&mut self, field: &mut Field) -> Result<Begun> {
        let number = field.pick_leader().await?;
        self.node = Some(number);
        if let Loss::Rollback = self.loss {
            field.lab.node(number).keep_copy()?;
            return Ok(Begun::at([number], "a copy of the disk is kept"));
        }
        field.goes_away(number);
        field.lab.node(number).kill()?;
        let detail = match self.loss {
            Loss::Damage => self.damage(field, number)?,
            Loss::Rollback | Loss::Wipe => {
                field.lab.node(number).disk.wipe()?;
                self.done = Some(true);
                "the disk is empty".into()
            }
        };
        Ok(Begun::at([number], detail))
    }

    async fn stop(&mut self, field: &mut Field) -> Result<Option<bool>> {
        let number = self.node.context("the fault did not begin")?;
        if let Loss::Rollback = self.loss {
            field.goes_away(number);
            field.lab.node(number).kill()?;
            field.lab.node(number).disk.restore_copy()?;
            self.done = Some(true);
        }
        field.may_exit(number);
        field.lab.node(number).start()?;
        push(field, number).await;
        field.comes_back(number).await?;
        push(field, number).await;
        field.whole().await?;
        Ok(self.done)
    }
}

impl DiskLoss {
    fn damage(&mut self, field: &mut Field, number: NodeNumber) -> Result<String> {
        let data = field.lab.node(number).disk.data();
        let random = &mut field.random;
        let damage = *Damage::ALL.choose(random).context("kinds of damage")?;
        let mut kinds = FileKind::ALL;
        kinds.shuffle(random);
        // A young node has no SST yet, and perhaps an empty write-ahead log.
        for kind in kinds {
            if let Some(said) = damage.inflict(kind, &data, random)? {
                self.done = Some(true);
                return Ok(said);
            }
        }
        bail!("the node has no file to damage")
    }
}

/// One bit of the newest segments is flipped on a majority. Each record is still sound on some node, so all come back.
struct DamagedMajority {
    nodes: Vec<NodeNumber>,
}

#[async_trait(?Send)]
impl Fault for DamagedMajority {
    async fn start(&mut self, field: &mut Field) -> Result<Begun> {
        for node in field.members.clone() {
            field.goes_away(node);
            field.lab.node(node).kill()?;
        }
        self.nodes = field.pick_some(field.majority());
        let mut said = Vec::new();
        for node in &self.nodes {
            let data = field.lab.node(*node).disk.data();
            let done = Damage::FlipBit.inflict(FileKind::Segment, &data, &mut field.random)?;
            said.push(format!(
                "node {node}: {}",
                done.unwrap_or_else(|| "nothing to damage".into())
            ));
        }
        Ok(Begun::at(self.nodes.clone(), said.join("; ")))
    }

    async fn stop(&mut self, field: &mut Field) -> Result<Option<bool>> {
        for node in field.members.clone() {
            field.lab.node(node).start()?;
        }
        for node in field.members.clone() {
            field.comes_back(node).await?;
        }
        field.whole().await?;
        Ok(Some(!self.nodes.is_empty()))
    }
}

/// Time in which the majority takes records that the third node does not get, and time in which the emptied node and
/// the third one could take records without the node that has them all.
const BEHIND: Duration = Duration::from_secs(3);

/// Node C is cut off, so only A and B have the newest records. A and B are killed, B is emptied, and B and C are alone
/// for some seconds. They must not agree on anything without A.
struct WipedBehind {
    nodes: Option<[NodeNumber; 3]>,
}

#[async_trait(?Send)]
impl Fault for WipedBehind {
    async fn start(&mut self, field: &mut Field) -> Result<Begun> {
        let [a, b, c] = field.pick_some(3)[..] else { bail!("needs three nodes") };
        self.nodes = Some([a, b, c]);
        field.goes_away(c);
        let cut = Rule { cut: true, ..Rule::default() };
        field.between(a, c, cut);
        field.between(b, c, cut);
        wait(field, BEHIND).await;
        for node in [a, b] {
            field.goes_away(node);
            field.lab.node(node).kill()?;
        }
        field.lab.node(b).disk.wipe()?;
        field.heal_network();
        field.lab.node(b).start()?;
        Ok(Begun::at([a, b, c], format!("{c} is behind, {a} is down, {b} is empty")))
    }

    async fn stop(&mut self, field: &mut Field) -> Result<Option<bool>> {
        field.heal_network();
        wait(field, BEHIND).await;
        for node in field.members.clone() {
            field.lab.node(node).start()?;
        }
        for node in field.members.clone() {
            field.comes_back(node).await?;
        }
        field.whole().await?;
        Ok(Some(self.nodes.is_some()))
    }
}

/// Asks groups that have a replica on the node to make it their leader. The cluster may refuse.
async fn push(field: &mut Field, node: NodeNumber) {
    let groups = field.admin.groups().await.unwrap_or_default();
    let held = groups
        .iter()
        .filter(|group| group.replicas.iter().any(|replica| replica.node == u64::from(node.0)));
    for group in held.take(PUSHES) {
        if let Err(error) = field.admin.transfer_leader(group.group, node).await {
            field
                .recorder
                .note(format!("group {} is not pushed to node {node}: {error:#}", group.group));
        }
    }
}
