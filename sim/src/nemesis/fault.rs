//! One fault: what it does to the cluster, and how that ends.

use rand::Rng;
use rand::rngs::StdRng;

use crate::cluster::Cluster;

/// Number of a machine with clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(pub u64);

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing that a node sends arrives, and nothing that is sent to it. Connections lose what is on its way.
    CutOff {
        /// The node.
        node: u64,
    },
    /// Nothing that one node sends to another arrives.
    OneWay {
        /// The sender.
        from: u64,
        /// The receiver.
        to: u64,
    },
    /// Two nodes do not reach each other. All others reach both.
    Bridge {
        /// A node.
        a: u64,
        /// The other node.
        b: u64,
    },
    /// All that two nodes send to each other is kept until the fault ends.
    Hold {
        /// A node.
        a: u64,
        /// The other node.
        b: u64,
    },
    /// Messages of two nodes to each other take up to this long.
    Delay {
        /// A node.
        a: u64,
        /// The other node.
        b: u64,
        /// The longest time of a message.
        millis: u64,
    },
    /// Clients on one machine do not reach a node.
    ClientCut {
        /// The machine of the clients.
        client: Client,
        /// The node.
        node: u64,
    },
    /// A node loses power, with all that it has not synced, and starts again when the fault ends. The others see its
    /// connections closed, or only silence.
    PowerLoss {
        /// The node.
        node: u64,
        /// Whether the others see only silence.
        silent: bool,
    },
    /// All nodes lose power at once.
    PowerLossOfAll,
    /// Syncs of a node's disk take up to this long.
    SlowDisk {
        /// The node.
        node: u64,
        /// The longest time of a sync.
        millis: u64,
    },
    /// The wall clock of a node is wrong.
    WrongClock {
        /// The node.
        node: u64,
        /// By how much it is ahead; behind if the number is negative.
        ahead_millis: i64,
    },
    /// A node loses power, and starts with a copy of its disk from before its last start.
    OldDisk {
        /// The node.
        node: u64,
    },
    /// A node loses power, and starts with an empty disk.
    WipedDisk {
        /// The node.
        node: u64,
    },
}

/// Two different nodes.
fn pair(rng: &mut StdRng, nodes: u64) -> (u64, u64) {
    let a = rng.random_range(1..=nodes);
    let b = rng.random_range(1..nodes);
    (a, if b >= a { b + 1 } else { b })
}

impl Fault {
    pub(super) fn of_network(rng: &mut StdRng, nodes: u64) -> Self {
        let (a, b) = pair(rng, nodes);
        match rng.random_range(0..12) {
            0..3 => Self::CutOff { node: a },
            3..5 => Self::OneWay { from: a, to: b },
            5..7 => Self::Bridge { a, b },
            7..9 => Self::Hold { a, b },
            9 => Self::Delay { a, b, millis: rng.random_range(20..400) },
            _ => Self::ClientCut { client: Client(rng.random_range(1..=2)), node: a },
        }
    }

    pub(super) fn of_machine(rng: &mut StdRng, nodes: u64) -> Self {
        let node = rng.random_range(1..=nodes);
        match rng.random_range(0..10) {
            0..8 => Self::PowerLoss { node, silent: rng.random_bool(0.5) },
            8 => Self::PowerLossOfAll,
            _ if rng.random_bool(0.5) => Self::OldDisk { node },
            _ => Self::WipedDisk { node },
        }
    }

    pub(super) fn of_disk_or_clock(rng: &mut StdRng, nodes: u64) -> Self {
        let node = rng.random_range(1..=nodes);
        match rng.random_range(0..6) {
            0..4 => Self::SlowDisk { node, millis: rng.random_range(10..1500) },
            4 => Self::WrongClock { node, ahead_millis: rng.random_range(-60_000..60_000) },
            _ => Self::WrongClock { node, ahead_millis: rng.random_range(-900..900) },
        }
    }

    /// The name of the fault, as the history has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CutOff { .. } => "partition-one",
            Self::OneWay { .. } => "partition-one-way",
            Self::Bridge { .. } => "partition-bridge",
            Self::Hold { .. } => "hold",
            Self::Delay { .. } => "delay",
            Self::ClientCut { .. } => "partition-client",
            Self::PowerLoss { .. } => "power-loss",
            Self::PowerLossOfAll => "power-loss-all",
            Self::SlowDisk { .. } => "slow-disk",
            Self::WrongClock { .. } => "clock",
            Self::OldDisk { .. } => "old-disk",
            Self::WipedDisk { .. } => "wiped-disk",
        }
    }

    /// The nodes with the fault. Empty if all have it.
    pub fn nodes(&self) -> Vec<u64> {
        match self {
            Self::OneWay { from: a, to: b }
            | Self::Bridge { a, b }
            | Self::Hold { a, b }
            | Self::Delay { a, b, .. } => vec![*a, *b],
            Self::CutOff { node }
            | Self::ClientCut { node, .. }
            | Self::PowerLoss { node, .. }
            | Self::SlowDisk { node, .. }
            | Self::WrongClock { node, .. }
            | Self::OldDisk { node }
            | Self::WipedDisk { node } => vec![*node],
            Self::PowerLossOfAll => Vec::new(),
        }
    }

    pub(super) fn destroys_a_disk(&self) -> bool {
        matches!(self, Self::OldDisk { .. } | Self::WipedDisk { .. })
    }

    /// Begins the fault.
    pub fn start(&self, cluster: &mut Cluster, rng: &mut StdRng) {
        match self {
            Self::CutOff { node } => cluster.cut_off(*node),
            Self::OneWay { from, to } => cluster.cut_one_way(*from, *to),
            Self::Bridge { a, b } => cluster.cut(*a, *b),
            Self::Hold { a, b } => cluster.hold(*a, *b),
            Self::Delay { a, b, millis } => cluster.set_latency(*a, *b, *millis),
            Self::ClientCut { client, node } => cluster.cut_client(client.0, *node),
            Self::PowerLoss { node, silent } => cluster.cut_power(*node, *silent),
            Self::PowerLossOfAll => cluster.nodes().for_each(|node| cluster.cut_power(node, true)),
            Self::SlowDisk { node, millis } => cluster.set_slowest_sync(*node, *millis),
            Self::WrongClock { node, ahead_millis } => cluster.set_clock(*node, *ahead_millis),
            Self::OldDisk { node } => {
                cluster.cut_power(*node, rng.random_bool(0.5));
                cluster.put_old_copy_back(*node);
            }
            Self::WipedDisk { node } => {
                cluster.cut_power(*node, rng.random_bool(0.5));
                cluster.wipe(*node);
            }
        }
    }

    /// Ends the fault.
    pub fn stop(&self, cluster: &mut Cluster) {
        match self {
            Self::CutOff { node } => cluster.join_again(*node),
            Self::OneWay { from, to } => cluster.join_one_way(*from, *to),
            Self::Bridge { a, b } => cluster.join(*a, *b),
            Self::Hold { a, b } => cluster.release(*a, *b),
            Self::Delay { a, b, .. } => cluster.reset_latency(*a, *b),
            Self::ClientCut { client, node } => cluster.join_client(client.0, *node),
            Self::PowerLossOfAll => cluster.nodes().for_each(|node| cluster.power_on(node)),
            Self::SlowDisk { node, .. } => cluster.set_slowest_sync(*node, 1),
            Self::WrongClock { node, .. } => cluster.set_clock(*node, 0),
            Self::PowerLoss { node, .. } | Self::OldDisk { node } | Self::WipedDisk { node } => {
                cluster.power_on(*node);
            }
        }
    }
}
