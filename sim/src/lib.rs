//! Deterministic simulation of a cluster: real nodes, simulated disks, network, clocks and time.
//!
//! Every node is the real one (`anabranch-node` and all crates below it, with the real openraft), on a tokio runtime of
//! its own whose time is paused. turmoil moves the time of all runtimes on, one step after the other, on one thread. So
//! one seed gives one history.
//!
//! Start at [`simulation::run`]. `cluster.rs` has the machines and faults, `workload.rs` the clients, `nemesis.rs` the
//! choice of faults, `invariants.rs` what is checked inside the nodes. Histories are checked by `chaos-checkers`.

pub mod campaign;
pub mod clock;
pub mod cluster;
pub mod disk;
pub mod invariants;
pub mod machine;
pub mod nemesis;
pub mod network;
pub mod recorder;
pub mod scenario;
pub mod seeding;
pub mod simulation;
pub mod workload;
