use std::time::Duration;

/// Settings of the replicas on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSettings {
    /// How often the leader of a group without news says that it leads. Default: 3 s: fail-over
    /// doesn't wait for it, the liveness of nodes decides.
    pub heartbeat_interval: Duration,
    /// Silence of a group's leader after which a follower stands for election although the leader's
    /// node lives: from this to one and a half times this. Default: 15 s.
    pub election_timeout: Duration,
    /// How long a leader reads alone after a majority of nodes answered its ping. Default: 700 ms.
    /// Below the transport's silence limit, or two leaders could answer.
    pub leader_lease: Duration,
    /// Pause between the survivors' attempts to take over from a silent node. Default: 150 ms.
    pub election_stagger: Duration,
    /// How often a leader writes a checkpoint while records arrive; retention trims whole
    /// checkpoints, so it is also how exactly it trims. Default: 60 s.
    pub checkpoint_interval: Duration,
    /// How often a node looks after its groups. Default: 1 s.
    pub maintenance_interval: Duration,
    /// How long an append may take before its outcome is called unknown. Default: 10 s.
    pub append_deadline: Duration,
    /// Bytes of appends that may be under way on this node; more are throttled. Default: 256 MiB.
    pub append_bytes_in_flight: usize,
    /// How long a node that stops goes on serving while it hands over what it leads. Default: 5 s; it takes
    /// milliseconds where the others have caught up. 0 hands nothing over.
    pub hand_over_limit: Duration,
    /// Bytes a second that this node may send to replicas that are behind, at least: more where live records come faster.
    /// Default: 32 MiB.
    pub catch_up_bytes_per_second: u64,
    /// How far a node's wall clock may be from the median of a majority before the node gives up what it leads and
    /// nothing expires by its clock. Default: 1 s.
    pub max_clock_skew: Duration,
    /// Whether shards take and give no more than those of the service. Default: no.
    pub service_limits: bool,
    /// Lets a restarted leader go on without an election. Always false: it loses acknowledged records.
    /// Here so that a test can show that it would be caught.
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
