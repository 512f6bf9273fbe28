//! The simulated machines and the network between them, and the faults that can be made.
//!
//! Every step moves the time of all machines on by [`STEP`]. Between two steps nothing runs, so the caller may look at
//! any node, cut its power, or change the network.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use anabranch_node::Node;
use anabranch_types::GroupId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::clock::{WallClock, WorldTime};
use crate::disk::Disk;
use crate::machine::Machine;
use crate::network::host_of;

/// One step of the simulation.
pub const STEP: Duration = Duration::from_millis(1);
/// Longest time of a message where no fault is.
const SLOWEST_MESSAGE: Duration = Duration::from_millis(3);
/// A run that takes longer fails.
const LONGEST_RUN: Duration = Duration::from_secs(600);
/// Segments that a connection may hold on either end.
const TCP_CAPACITY: usize = 1 << 14;

/// Least number of voters of every group.
const VOTERS: usize = 3;

/// A cluster of simulated machines.
pub struct Cluster {
    sim: turmoil::Sim<'static>,
    machines: Vec<Machine>,
    clients: u64,
    time: WorldTime,
    rng: StdRng,
    /// Copies of disks, made at each loss of power, in order.
    copies: BTreeMap<u64, Vec<Disk>>,
}

/// Name of a machine with clients.
fn client_of(number: u64) -> String {
    format!("client{number}")
}

impl Cluster {
    /// The machines 1 to `nodes`, each with an empty disk and a node that starts with the first step.
    pub fn new(nodes: u64, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut sim = turmoil::Builder::new()
            .tick_duration(STEP)
            .min_message_latency(Duration::ZERO)
            .max_message_latency(SLOWEST_MESSAGE)
            .tcp_capacity(TCP_CAPACITY)
            .simulation_duration(LONGEST_RUN)
            .rng_seed(rng.random())
            .build();
        let time = WorldTime::default();
        let machine =
            |id| Machine::new(id, nodes, WallClock::new(&time), Disk::empty(rng.random()));
        let machines: Vec<Machine> = (1..=nodes).map(machine).collect();
        for machine in &machines {
            let software = machine.clone();
            sim.host(host_of(machine.id()), move || software.clone().run());
        }
        Self { sim, machines, clients: 0, time, rng, copies: BTreeMap::new() }
    }

    /// Adds a machine without a node, which runs `program`. Returns its number.
    pub fn add_client(&mut self, program: impl Future<Output = turmoil::Result> + 'static) -> u64 {
        self.clients += 1;
        self.sim.client(client_of(self.clients), program);
        self.clients
    }

    /// Moves the time one step on.
    ///
    /// # Errors
    /// The error of a program that has ended with one.
    pub fn step(&mut self) -> turmoil::Result {
        let stepped = self.sim.step();
        self.time.set(u64::try_from(self.sim.elapsed().as_millis()).unwrap_or(u64::MAX));
        stepped.map(drop)
    }

    /// The time of the world.
    pub fn time(&self) -> &WorldTime {
        &self.time
    }

    /// The machines, by node.
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// The numbers of all nodes.
    pub fn nodes(&self) -> RangeInclusive<u64> {
        1..=self.machines.len() as u64
    }

    fn machine(&self, node: u64) -> Machine {
        let place = usize::try_from(node - 1).expect("a node has a small number");
        self.machines[place].clone()
    }

    /// The names of all machines but that of `node`.
    fn others(&self, node: u64) -> Vec<String> {
        let nodes = self.nodes().filter(|other| *other != node).map(host_of);
        nodes.chain((1..=self.clients).map(client_of)).collect()
    }
}

/// Faults of the network.
impl Cluster {
    /// Drops all messages between `node` and all other machines.
    pub fn cut_off(&mut self, node: u64) {
        for other in self.others(node) {
            self.sim.partition(host_of(node), other);
        }
    }

    /// Ends [`Self::cut_off`].
    pub fn join_again(&mut self, node: u64) {
        for other in self.others(node) {
            self.sim.repair(host_of(node), other);
        }
    }

    /// Drops all messages from one node to another.
    pub fn cut_one_way(&mut self, from: u64, to: u64) {
        self.sim.partition_oneway(host_of(from), host_of(to));
    }

    /// Ends [`Self::cut_one_way`].
    pub fn join_one_way(&mut self, from: u64, to: u64) {
        self.sim.repair_oneway(host_of(from), host_of(to));
    }

    /// Drops all messages between two nodes.
    pub fn cut(&mut self, a: u64, b: u64) {
        self.sim.partition(host_of(a), host_of(b));
    }

    /// Ends [`Self::cut`].
    pub fn join(&mut self, a: u64, b: u64) {
        self.sim.repair(host_of(a), host_of(b));
    }

    /// Keeps all messages between two nodes.
    pub fn hold(&mut self, a: u64, b: u64) {
        self.sim.hold(host_of(a), host_of(b));
    }

    /// Delivers what [`Self::hold`] kept, and ends it.
    pub fn release(&mut self, a: u64, b: u64) {
        self.sim.release(host_of(a), host_of(b));
    }

    /// Messages between two nodes take up to this long.
    pub fn set_latency(&mut self, a: u64, b: u64, millis: u64) {
        let longest = Duration::from_millis(millis);
        self.sim.set_link_max_message_latency(host_of(a), host_of(b), longest);
    }

    /// Ends [`Self::set_latency`].
    pub fn reset_latency(&mut self, a: u64, b: u64) {
        self.sim.set_link_max_message_latency(host_of(a), host_of(b), SLOWEST_MESSAGE);
    }

    /// Drops all messages between a machine with clients and a node.
    pub fn cut_client(&mut self, client: u64, node: u64) {
        self.sim.partition(client_of(client), host_of(node));
    }

    /// Ends [`Self::cut_client`].
    pub fn join_client(&mut self, client: u64, node: u64) {
        self.sim.repair(client_of(client), host_of(node));
    }
}

/// Faults of machines, disks and clocks.
impl Cluster {
    /// Cuts the power of a node. What its disk has not synced is lost, but for a random prefix. If `silent`, the others
    /// get no sign of it. Does nothing to a node without power.
    pub fn cut_power(&mut self, node: u64, silent: bool) {
        if !self.sim.is_host_running(host_of(node)) {
            return;
        }
        let machine = self.machine(node);
        let disk = machine.disk();
        self.copies.entry(node).or_default().push(disk.copy());
        machine.cut_power(disk.crash(self.rng.random()));
        if silent {
            self.cut_off(node);
        }
        self.sim.crash(host_of(node));
        if silent {
            self.join_again(node);
        }
    }

    /// Starts a node that has no power.
    pub fn power_on(&mut self, node: u64) {
        if !self.sim.is_host_running(host_of(node)) {
            self.sim.bounce(host_of(node));
        }
    }

    /// Whether the node runs, and the catalog knows of this start of it.
    pub fn is_current(&self, node: u64) -> bool {
        self.machine(node).node().is_some_and(|node| node.is_current())
    }

    /// Whether every node is current, and every group has a leader and as many voters as the cluster allows. Then each
    /// group survives the loss of any one disk.
    pub fn is_settled(&self) -> bool {
        let nodes: Vec<Node> = self.machines.iter().filter_map(Machine::node).collect();
        let Some(first) = nodes.first().filter(|_| nodes.len() == self.machines.len()) else {
            return false;
        };
        let catalog = first.catalog().borrow().clone();
        let is_settled = |group: GroupId| {
            let reports = nodes.iter().filter_map(|node| node.report(group));
            reports.filter(|report| report.leads).any(|report| {
                let members = &report.members;
                let all_vote = members.iter().all(|member| member.votes);
                members.len() >= VOTERS && all_vote && !report.voters_change
            })
        };
        nodes.iter().all(Node::is_current) && catalog.groups().all(|group| is_settled(group.group))
    }

    /// Whether there is a copy of the node's disk from before its last start.
    pub fn has_old_copy(&self, node: u64) -> bool {
        self.copies.get(&node).is_some_and(|copies| !copies.is_empty())
    }

    /// Replaces the disk of a node, whose power has just been cut, by a copy from before its last start.
    pub fn put_old_copy_back(&mut self, node: u64) {
        let copies = self.copies.get(&node).map(Vec::as_slice).unwrap_or_default();
        if let [.., older, _newest] = copies {
            self.machine(node).cut_power(older.crash(self.rng.random()));
        }
    }

    /// Replaces the disk of a node without power by an empty one.
    pub fn wipe(&mut self, node: u64) {
        self.copies.remove(&node);
        self.machine(node).cut_power(Disk::empty(self.rng.random()));
    }

    /// From now on a sync of the node's disk takes up to this many milliseconds.
    pub fn set_slowest_sync(&mut self, node: u64, millis: u64) {
        self.machine(node).disk().set_slowest_sync(millis);
    }

    /// Sets the wall clock of a node this many milliseconds ahead of the right time.
    pub fn set_clock(&mut self, node: u64, ahead_millis: i64) {
        self.machine(node).clock().set_ahead(ahead_millis);
    }
}
