//! Clusters for tests, in one process.
//!
//! [`Cluster`] has real replicas of one shard over a network and disks that do what a test says. Time is tokio's:
//! under a paused runtime an election takes no real time. The test sets the wall clock. Start at [`Cluster::start`].
//!
//! [`Nodes`] are real nodes, for tests of the native client. Start at [`Nodes::start`].
//!
//! [`MemoryCluster`] takes the place of a whole cluster where a test is about a service or a reader: the real
//! catalog, and a vector for the log of each shard. Start at [`MemoryCluster::new`].

mod cluster;
mod eventually;
mod memory_cluster;
mod network;
mod nodes;
mod oracle;

pub use cluster::{Cluster, GROUP, TABLE_GROUP, fast_settings};
pub use eventually::eventually;
pub use memory_cluster::MemoryCluster;
pub use network::Network;
pub use nodes::Nodes;
pub use oracle::Oracle;
