//! A laboratory for clusters of real processes: hosts, a network, disks and clocks that fail on demand.
//!
//! Each node is a process in a network namespace of its own, with a disk of its own. All namespaces are joined by a
//! [`Switch`] in this process, which cuts, delays, loses, reorders, doubles, damages and throttles packets for each
//! ordered pair of hosts. A second network joins the nodes with the harness. It never has a fault.
//!
//! ```text
//!   client 1 ──┐                                          ┌── node 1: eth0 (faults), mgmt0 (no faults), disk, clock
//!   client 2 ──┼── TAP ── Switch (a thread, seeded) ── TAP ┼── node 2
//!   client 3 ──┘                                          └── node 3
//!                 harness ── management bridge ── mgmt0 of each node
//! ```
//!
//! Everything that a lab makes (namespaces, mounts, control groups, a directory) has the process id of the harness in
//! its name. A lab removes all of it when it is dropped, and removes what dead harnesses left when it starts. The
//! namespace and the firewall of the machine itself are never changed.
//!
//! Start reading at [`Lab`].

mod cgroup;
mod command;
mod damage;
mod disk;
mod ioctl;
mod lab;
mod leftovers;
mod namespace;
mod node;
mod shim;
mod switch;

pub use cgroup::ControlGroup;
pub use damage::{Damage, FileKind};
pub use disk::Disk;
pub use lab::{CLIENTS, Lab, LabSettings, MANAGEMENT_HOST};
pub use namespace::Namespace;
pub use node::{Exit, Node, NodeClock, NodeNumber};
pub use shim::{Shim, ShimFault};
pub use switch::{Counters, Host, Links, Rule};
