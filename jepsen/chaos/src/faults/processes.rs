//! Processes that are killed, paused, restarted in order, or lose their power.

use anyhow::Result;
use async_trait::async_trait;
use chaos_lab::NodeNumber;

use crate::fault::{Begun, Cost, Fault, FaultKind};
use crate::faults::seconds;
use crate::field::Field;

/// Which nodes are meant.
#[derive(Clone, Copy)]
enum Whom {
    Any,
    Leader,
    Majority,
    All,
}

impl Whom {
    async fn choose(self, field: &mut Field) -> Result<Vec<NodeNumber>> {
        Ok(match self {
            Self::Any => vec![field.pick()?],
            Self::Leader => vec![field.pick_leader().await?],
            Self::Majority => field.pick_some(field.majority()),
            Self::All => field.members.clone(),
        })
    }
}

/// The kinds of this family.
pub(crate) fn kinds() -> Vec<FaultKind> {
    let kind = |name, about, cost, make| FaultKind {
        name,
        about,
        cost,
        least_nodes: 1,
        lasts: seconds(1, 6),
        in_default: true,
        needs_root: false,
        make,
    };
    vec![
        kind("kill", "SIGKILL to a node", Cost::Minority, || kill(Whom::Any)),
        kind("kill-leader", "SIGKILL to a node that leads a group", Cost::Minority, || {
            kill(Whom::Leader)
        }),
        kind("kill-majority", "SIGKILL to a majority of the nodes", Cost::Majority, || {
            kill(Whom::Majority)
        }),
        kind("kill-all", "SIGKILL to every node", Cost::Majority, || kill(Whom::All)),
        kind("pause", "SIGSTOP to a node, longer than a leader lease", Cost::Minority, || {
            pause(Whom::Any)
        }),
        kind("pause-leader", "SIGSTOP to a node that leads a group", Cost::Minority, || {
            pause(Whom::Leader)
        }),
        kind("pause-all", "SIGSTOP to every node", Cost::Majority, || pause(Whom::All)),
        kind(
            "power-loss",
            "a node loses its power: every unsynced write is lost",
            Cost::Minority,
            || power(Whom::Any),
        )
        .needs_root(),
        kind("power-loss-all", "every node loses its power at once", Cost::Majority, || {
            power(Whom::All)
        })
        .needs_root(),
        kind(
            "kill-after-election",
            "a leader is killed, and every node some seconds later",
            Cost::Majority,
            || Box::new(KillAfterElection),
        ),
        FaultKind {
            lasts: seconds(0, 0),
            ..kind(
                "rolling-restart",
                "SIGTERM to each node, one after the other",
                Cost::Minority,
                || Box::new(RollingRestart),
            )
        },
    ]
}

fn kill(whom: Whom) -> Box<dyn Fault> {
    Box::new(Kill { whom, killed: Vec::new() })
}

fn pause(whom: Whom) -> Box<dyn Fault> {
    Box::new(Pause { whom, paused: Vec::new() })
}

fn power(whom: Whom) -> Box<dyn Fault> {
    Box::new(PowerLoss { whom, dark: Vec::new() })
}

struct Kill {
    whom: Whom,
    killed: Vec<NodeNumber>,
}

#[async_trait(?Send)]
impl Fault for Kill {
    async fn start(&mut self, field: &mut Field) -> Result<Begun> {
        self.killed = self.whom.choose(field).await?;
        for node in &self.killed {
            field.goes_away(*node);
            field.lab.node(*node).kill()?;
        }
        Ok(Begun::at(self.killed.clone(), "SIGKILL"))
    }

    async fn stop(&mut self, field: &mut Field) -> Result<Option<bool>> {
        come_back(field, &self.killed).await?;
        Ok(Some(true))
    }
}

/// Starts all nodes at once, because a majority may be needed before one of them is ready.
async fn come_back(field: &mut Field, nodes: &[NodeNumber]) -> Result<()> {
    for node in nodes {
        field.lab.node(*node).start()?;
    }
    for node in nodes {
        field.comes_back(*node).await?;
    }
    Ok(())
}

struct Pause {
    whom: Whom,
    paused: Vec<NodeNumber>,
}

#[async_trait(?Send)]
impl Fault for Pause {
    async fn start(&mut self, field: &mut Field) -> Result<Begun> {
        self.paused = self.whom.choose(field).await?;
        for node in &self.paused {
            field.goes_away(*node);
            field.lab.node(*node).pause()?;
        }
        Ok(Begun::at(self.paused.clone(), "SIGSTOP"))
    }

    async fn stop(&mut self, field: &mut Field) -> Result<Option<bool>> {
        for node in &self.paused {
            field.lab.node(*node).resume()?;
        }
        come_back(field, &self.paused).await?;
        Ok(Some(true))
    }
}

struct PowerLoss {
    whom: Whom,
    dark: Vec<NodeNumber>,
}

#[async_trait(?Send)]
impl Fault for PowerLoss {
    /// Every process stops before the first disk goes dark, so no answer leaves after a write was lost.
    async fn start(&mut self, field: &mut Field) -> Result<Begun> {
        self.dark = self.whom.choose(field).await?;
        for node in &self.dark {
            field.goes_away(*node);
            field.lab.node(*node).pause()?;
        }
        for node in &self.dark {
            field.lab.node(*node).lose_power()?;
        }
        for node in &self.dark {
            field.lab.node(*node).power_up()?;
        }
        Ok(Begun::at(self.dark.clone(), "unsynced writes dropped"))
    }

    async fn stop(&mut self, field: &mut Field) -> Result<Option<bool>> {
        come_back(field, &self.dark).await?;
        Ok(Some(true))
    }
}

/// A leader is killed. Others stand for election, and every node is killed before votes are old.
struct KillAfterElection;

#[async_trait(?Send)]
impl Fault for KillAfterElection {
    async fn start(&mut self, field: &mut Field) -> Result<Begun> {
        let leader = field.pick_leader().await?;
        field.goes_away(leader);
        field.lab.node(leader).kill()?;
        Ok(Begun::at([leader], "the leader is killed, then every node"))
    }

    async fn stop(&mut self, field: &mut Field) -> Result<Option<bool>> {
        let all = field.members.clone();
        for node in &all {
            field.goes_away(*node);
            field.lab.node(*node).kill()?;
        }
        come_back(field, &all).await?;
        Ok(Some(true))
    }
}

/// Restarts each node in order, as an operator does: SIGTERM, start, wait until it is ready.
struct RollingRestart;

#[async_trait(?Send)]
impl Fault for RollingRestart {
    async fn start(&mut self, field: &mut Field) -> Result<Begun> {
        Ok(Begun::at(field.members.clone(), "SIGTERM, start, ready; one after the other"))
    }

    async fn stop(&mut self, field: &mut Field) -> Result<Option<bool>> {
        for node in field.members.clone() {
            field.stop_in_order(node).await?;
            field.comes_back(node).await?;
        }
        Ok(Some(true))
    }
}
