//! Disks that lose what they had acknowledged: damage, older copies, empty disks.
//!
//! One node at a time, and the fault ends only when the cluster has all its copies again. The node is then pushed to
//! stand for election, because the danger is a leader that has forgotten something.

use anyhow::{Context, Result};
use async_trait::async_trait;
use chaos_lab::{Damage, FileKind, NodeNumber};
use rand::seq::IndexedRandom;

use crate::fault::{Begun, Cost, Fault, FaultKind};
use crate::faults::seconds;
use crate::field::Field;

/// What happens to the disk.
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
        make,
    };
    vec![
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
            field.lab.node(number).disk.keep_copy()?;
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
        let random = &mut field.random;
        let damage = *Damage::ALL.choose(random).context("kinds of damage")?;
        let kind = *FileKind::ALL.choose(random).context("kinds of files")?;
        let data = field.lab.node(number).disk.data();
        let said = damage.inflict(kind, &data, random)?;
        self.done = Some(said.is_some());
        Ok(said.unwrap_or_else(|| format!("no {kind:?} to damage")))
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
