//! Settings of the replicas on a node, with their defaults. The configuration file is read and checked by the
//! program.

use std::time::Duration;

/// Settings of the replicas on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSettings {
    /// Time between two heartbeats of a leader whose group has nothing else to send. Default: 3 s. Fail-over does
    /// not wait for heartbeats, because it follows the liveness of nodes.
    pub heartbeat_interval: Duration,
    /// A follower starts an election if it has not heard its leader for this time, even if the leader's node is
    /// alive. Each follower waits between this and one and a half times this. Default: 15 s.
    pub election_timeout: Duration,
    /// A leader answers reads without asking a majority, as long as a majority of the nodes has answered pings that
    /// it sent within this time. Default: 700 ms. Must be below the transport's silence limit, or two leaders could
    /// answer reads.
    pub leader_lease: Duration,
    /// Pause between the attempts of the surviving voters to take over from a silent node. Default: 150 ms.
    pub election_stagger: Duration,
    /// Time between two checkpoints while records arrive. Retention trims up to a checkpoint, so this is also how
    /// exact trims are. Default: 60 s.
    pub checkpoint_interval: Duration,
    /// Time between two rounds of upkeep. Default: 1 s.
    pub maintenance_interval: Duration,
    /// The outcome of an append that takes longer than this is reported as unknown. Default: 10 s.
    pub append_deadline: Duration,
    /// Maximum bytes of appends in flight on this node. Further appends are throttled. Default: 256 MiB.
    pub append_bytes_in_flight: usize,
    /// How long a stopping node still serves while it transfers the leadership of its groups. Default: 5 s. It takes
    /// milliseconds if the other replicas have caught up. With 0 nothing is transferred.
    pub hand_over_limit: Duration,
    /// Minimum rate at which this node may send old entries to replicas that are behind, in bytes per second. The
    /// rate is higher while live records come faster. Default: 32 MiB.
    pub catch_up_bytes_per_second: u64,
    /// How far a node's wall clock may be from the median of a majority. If it is farther, the node gives its
    /// leadership to other nodes, and nothing expires by its clock. Default: 1 s.
    pub max_clock_skew: Duration,
    /// Whether shards have the read and write limits of the Kinesis service. Default: no.
    pub service_limits: bool,
    /// Lets a restarted leader go on without an election. Always false, because it loses acknowledged records. It is
    /// here so that a test can show that this loss would be found.
    #[doc(hidden)]
    pub unsafe_leader_restore: bool,
}

impl Default for ReplicaSettings {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(3),
            election_timeout: Duration::from_secs(15),
            leader_lease: Duration::from_millis(700),
            election_stagger: Duration::from_millis(150),
            checkpoint_interval: Duration::from_secs(60),
            maintenance_interval: Duration::from_secs(1),
            append_deadline: Duration::from_secs(10),
            append_bytes_in_flight: 256 << 20,
            hand_over_limit: Duration::from_secs(5),
            catch_up_bytes_per_second: 32 << 20,
            max_clock_skew: Duration::from_secs(1),
            service_limits: false,
            unsafe_leader_restore: false,
        }
    }
}
