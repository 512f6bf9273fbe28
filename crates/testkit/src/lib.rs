//! A cluster in one process: real replicas over a network and disks that do what a test says.
//!
//! Time is tokio's: under a paused runtime an election takes no real time. The wall clock is the
//! test's hand. Start at [`Cluster::start`].

mod cluster;
mod eventually;
mod network;
mod oracle;

pub use cluster::{Cluster, GROUP, fast_settings};
pub use eventually::eventually;
pub use network::Network;
pub use oracle::Oracle;
