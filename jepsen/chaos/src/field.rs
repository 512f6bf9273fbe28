//! The surroundings on which faults act: the lab, the cluster's own reports, and the knowledge of which nodes are away.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anabranch_proto::admin::{Group, GroupReplica, ReplicaState};
use anyhow::{Context, Result, bail, ensure};
use chaos_checkers::history::{Clocks, Exit as ExitSeen, Nemesis, Observation};
use chaos_lab::{Exit, Lab, NodeNumber, Rule};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::admin::Admin;
use crate::cluster::{Cluster, START, Template};
use crate::recorder::Recorder;
use crate::scene::Scene;

/// Exit code of a node whose log store has failed (docs/server.md).
const STORE_FAILED: i32 = 74;
/// SIGKILL.
const KILLED: i32 = 9;
/// Longest time until all replicas of all groups are sound again after a disk lost data.
const WHOLE: Duration = Duration::from_secs(60);
/// Longest time from SIGTERM to the end of a process.
const STOP: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The field of the nemesis. It is the only owner of the lab during a run.
pub(crate) struct Field {
    pub(crate) lab: Lab,
    pub(crate) admin: Admin,
    pub(crate) recorder: Recorder,
    pub(crate) random: StdRng,
    /// Nodes that belong to the cluster now.
    pub(crate) members: Vec<NodeNumber>,
    /// A host without a node, for the replacement of a node.
    pub(crate) spare: Option<NodeNumber>,
    /// Seconds by which the clocks of all nodes are ahead of the machine's.
    pub(crate) ahead: Arc<AtomicI64>,
    /// For faults that make calls of the Kinesis API.
    pub(crate) scene: Scene,
    /// Nodes that a fault keeps away now.
    away: BTreeSet<NodeNumber>,
    /// Nodes whose process may end by itself now.
    may_exit: BTreeSet<NodeNumber>,
    template: Template,
    /// Folder of the fail points of all nodes.
    fail_points: PathBuf,
    /// A task that changes a clock or a link again and again.
    repeating: Option<JoinHandle<()>>,
}

impl Field {
    pub(crate) fn new(
        cluster: Cluster,
        scene: Scene,
        random: StdRng,
        fail_points: PathBuf,
    ) -> Self {
        let Cluster { lab, admin, template, .. } = cluster;
        Self {
            spare: lab.numbers().find(|node| !template.members.contains(node)),
            lab,
            admin,
            recorder: scene.recorder.clone(),
            random,
            members: template.members.clone(),
            template,
            fail_points,
            repeating: None,
            ahead: Arc::clone(&scene.ahead),
            scene,
            away: BTreeSet::new(),
            may_exit: BTreeSet::new(),
        }
    }

    /// A random node that no fault keeps away.
    pub(crate) fn pick(&mut self) -> Result<NodeNumber> {
        let present: Vec<_> =
            self.members.iter().filter(|node| !self.away.contains(node)).collect();
        let node = present.choose(&mut self.random).map(|node| **node);
        // A fault of the network or of a clock may also meet a node that another fault keeps away.
        node.or_else(|| self.members.choose(&mut self.random).copied())
            .context("there are no nodes")
    }

    /// Several random nodes of the cluster.
    pub(crate) fn pick_some(&mut self, count: usize) -> Vec<NodeNumber> {
        self.members.iter().copied().choose_multiple(&mut self.random, count)
    }

    /// A majority of the members.
    pub(crate) fn majority(&self) -> usize {
        self.members.len() / 2 + 1
    }

    /// The node that leads a random group, or any node if no leader is known.
    pub(crate) async fn pick_leader(&mut self) -> Result<NodeNumber> {
        let groups = self.admin.groups().await.unwrap_or_default();
        let leaders = groups.iter().filter_map(|group| u8::try_from(group.leader_node).ok());
        let leaders = leaders.map(NodeNumber).filter(|node| self.members.contains(node));
        match leaders.filter(|node| !self.away.contains(node)).choose(&mut self.random) {
            Some(leader) => Ok(leader),
            None => self.pick(),
        }
    }

    /// Notes that a fault keeps a node away, and that its process may end.
    pub(crate) fn goes_away(&mut self, node: NodeNumber) {
        self.away.insert(node);
        self.may_exit.insert(node);
    }

    /// Notes that the process of a node may end by itself from now on.
    pub(crate) fn may_exit(&mut self, node: NodeNumber) {
        self.may_exit.insert(node);
    }

    /// Starts a node if its process is gone, and waits until it is ready. Then the node is away no more.
    pub(crate) async fn comes_back(&mut self, node: NodeNumber) -> Result<()> {
        self.lab.node(node).start()?;
        let deadline = Instant::now() + START;
        while !self.admin.is_ready(node).await {
            if Instant::now() > deadline {
                bail!("node {node} is not ready {START:?} after its start");
            }
            // A process that may end now (its disk has failed, say) is started again, as a supervisor would.
            self.watch_exits();
            self.lab.node(node).start()?;
            sleep(LOOK_AGAIN).await;
        }
        self.away.remove(&node);
        self.may_exit.remove(&node);
        Ok(())
    }

    /// Sets the rule of both directions between two nodes.
    pub(crate) fn between(&self, one: NodeNumber, other: NodeNumber, rule: Rule) {
        self.lab.links().set_both(Lab::host_of_node(one), Lab::host_of_node(other), rule);
    }

    /// Sets the rule from one node to another.
    pub(crate) fn one_way(&self, from: NodeNumber, to: NodeNumber, rule: Rule) {
        self.lab.links().set(Lab::host_of_node(from), Lab::host_of_node(to), rule);
    }

    /// Forwards all packets again.
    pub(crate) fn heal_network(&mut self) {
        self.stop_repeating();
        self.lab.links().heal();
    }

    /// Cuts a node off from all others and joins it again, until [`Self::stop_repeating`].
    pub(crate) fn flap(&mut self, node: NodeNumber) {
        let links = self.lab.links().clone();
        let others: Vec<_> = self.members.iter().filter(|other| **other != node).copied().collect();
        self.repeat(Duration::from_millis(150), move |turn| {
            let rule = Rule { cut: turn % 2 == 0, ..Rule::default() };
            for other in &others {
                links.set_both(Lab::host_of_node(node), Lab::host_of_node(*other), rule);
            }
        });
    }

    /// Sets the clock of a node `seconds` ahead of the clocks of the other nodes.
    pub(crate) fn set_clock(&mut self, node: NodeNumber, seconds: i64) -> Result<()> {
        let ahead = self.ahead.load(Ordering::Relaxed);
        self.lab.node(node).clock().set(ahead + seconds)
    }

    /// Moves the clocks of all nodes ahead by `hours`, as if that time had passed.
    pub(crate) fn move_all_clocks(&mut self, hours: i64) -> Result<()> {
        let ahead = self.ahead.load(Ordering::Relaxed) + hours * 3600;
        let ahead_ms = ahead.unsigned_abs() * 1000;
        self.recorder.nemesis(Nemesis::Clocks(Clocks { ahead_ms }));
        for node in self.members.clone() {
            self.lab.node(node).clock().set(ahead)?;
        }
        self.ahead.store(ahead, Ordering::Relaxed);
        Ok(())
    }

    /// Moves the clock of a node by `step` more seconds each second.
    pub(crate) fn drift(&mut self, node: NodeNumber, step: i64) {
        let (clock, ahead) = (self.lab.node(node).clock(), self.ahead.load(Ordering::Relaxed));
        self.repeat(Duration::from_secs(1), move |turn| drop(clock.set(ahead + step * turn)));
    }

    /// Moves the clock of a node forward and back, five times a second.
    pub(crate) fn strobe(&mut self, node: NodeNumber, seconds: i64) {
        let (clock, ahead) = (self.lab.node(node).clock(), self.ahead.load(Ordering::Relaxed));
        let move_clock = move |turn| drop(clock.set(ahead + seconds * (turn % 2)));
        self.repeat(Duration::from_millis(200), move_clock);
    }

    fn repeat(&mut self, period: Duration, mut work: impl FnMut(i64) + Send + 'static) {
        self.stop_repeating();
        self.repeating = Some(tokio::spawn(async move {
            for turn in 0.. {
                work(turn);
                sleep(period).await;
            }
        }));
    }

    /// Ends what repeats itself.
    pub(crate) fn stop_repeating(&mut self) {
        if let Some(task) = self.repeating.take() {
            task.abort();
        }
    }

    /// Asks a node to end in order, and waits until it has.
    pub(crate) async fn stop_in_order(&mut self, node: NodeNumber) -> Result<()> {
        self.goes_away(node);
        self.lab.node(node).terminate()?;
        let deadline = Instant::now() + STOP;
        while self.lab.node(node).runs() {
            ensure!(Instant::now() < deadline, "node {node} runs {STOP:?} after SIGTERM");
            sleep(LOOK_AGAIN).await;
        }
        match self.lab.node(node).ended() {
            Some(Exit::Code(0)) | None => Ok(()),
            Some(exit) => bail!("node {node} ended with {exit:?} after SIGTERM"),
        }
    }

    /// Folder of the fail points of all nodes.
    pub(crate) fn fail_points(&self) -> PathBuf {
        self.fail_points.clone()
    }

    /// The node whose process has this id.
    pub(crate) fn node_of_process(&mut self, process: u32) -> Option<NodeNumber> {
        let mut nodes = self.lab.nodes();
        nodes.find(|node| node.process_id() == Some(process)).map(|node| node.number())
    }

    /// Starts a node that joins the cluster.
    pub(crate) fn join(&mut self, node: NodeNumber) -> Result<()> {
        self.lab.configure(node, &self.template.text(node, true))?;
        self.members.push(node);
        self.spare = None;
        self.goes_away(node);
        self.lab.node(node).start()
    }

    /// A random member that is not `node`.
    pub(crate) fn pick_member_but(&mut self, node: NodeNumber) -> Option<NodeNumber> {
        self.members.iter().copied().filter(|member| *member != node).choose(&mut self.random)
    }

    /// Removes a node that holds no replica. Its host is spare then.
    pub(crate) async fn leave(&mut self, node: NodeNumber) -> Result<()> {
        self.admin.remove(node).await?;
        self.members.retain(|member| *member != node);
        self.lab.node(node).kill()?;
        self.lab.node(node).disk.wipe()?;
        self.spare = Some(node);
        Ok(())
    }

    /// Ends everything that may still be wrong: links, clocks, disks, processes.
    pub(crate) async fn heal(&mut self) -> Result<()> {
        self.heal_network();
        for node in self.members.clone() {
            self.set_clock(node, 0)?;
            let node = self.lab.node(node);
            node.shim.stop()?;
            node.disk.heal()?;
            if let Some(limits) = &node.limits {
                limits.limit_memory(None)?;
                limits.limit_cpu(None)?;
            }
            node.resume()?;
        }
        for node in self.members.clone() {
            self.lab.node(node).start()?;
        }
        for node in self.members.clone() {
            self.comes_back(node).await?;
        }
        Ok(())
    }

    /// Records every process that ended, and starts it again if no fault keeps it away.
    pub(crate) fn watch_exits(&mut self) {
        for node in self.members.clone() {
            let Some(exit) = self.lab.node(node).ended() else { continue };
            let (code, signal) = match exit {
                Exit::Code(code) => (Some(code), None),
                Exit::Signal(signal) => (None, Some(signal)),
            };
            // A failed log store, or the kernel that is out of memory. A panic is never expected.
            let allowed = matches!(exit, Exit::Code(STORE_FAILED) | Exit::Signal(KILLED));
            let expected = allowed && self.may_exit.contains(&node);
            let seen = ExitSeen { node: u64::from(node.0), code, signal, expected };
            self.recorder.observe(Observation::Exit(seen));
            if !self.away.contains(&node)
                && let Err(error) = self.lab.node(node).start()
            {
                self.recorder.note(format!("node {node} does not start: {error:#}"));
            }
        }
    }

    /// Whether a replica on the node says that its disk is too full for records.
    pub(crate) async fn refuses_records(&self, node: NodeNumber) -> bool {
        let groups = self.admin.groups().await.unwrap_or_default();
        let replicas = groups.iter().flat_map(|group| &group.replicas);
        let mut own = replicas.filter(|replica| replica.node == u64::from(node.0));
        own.any(|replica| replica.disk_refuses_records)
    }

    /// Waits until every replica of every group is open, sound, and has what its leader had when it was asked.
    pub(crate) async fn whole(&mut self) -> Result<()> {
        let deadline = Instant::now() + WHOLE;
        loop {
            let obstacle = match self.admin.groups().await {
                Ok(groups) => groups.iter().find_map(unsound),
                Err(error) => Some(format!("{error:#}")),
            };
            let Some(obstacle) = obstacle else { return Ok(()) };
            if Instant::now() > deadline {
                bail!("after {WHOLE:?}: {obstacle}");
            }
            self.watch_exits();
            sleep(LOOK_AGAIN).await;
        }
    }
}

/// Why a group does not have all its copies, if it does not.
fn unsound(group: &Group) -> Option<String> {
    let name = || format!("group {} ({} {})", group.group, group.stream, group.shard);
    if group.leader_node == 0 {
        return Some(format!("{} has no leader", name()));
    }
    let lags = |replica: &&GroupReplica| {
        replica.state() != ReplicaState::Open || replica.lag_entries.is_none_or(|lag| lag > LAG)
    };
    let replica = group.replicas.iter().find(lags)?;
    Some(format!(
        "the replica of {} on node {} is {:?} {}",
        name(),
        replica.node,
        replica.state(),
        replica.reason
    ))
}

/// Entries by which a sound replica may be behind a leader that takes records.
const LAG: u64 = 100;
