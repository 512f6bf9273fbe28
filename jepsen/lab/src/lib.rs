//! A laboratory for clusters of real processes: hosts, a network, disks and clocks that fail on demand.
//!
//! Each node is a process in a network namespace of its own, with a disk of its own. All namespaces are joined by a
//! switch in this process, which cuts, delays, loses, reorders, doubles, damages and throttles packets for each
//! ordered pair of hosts. A second network joins the nodes with the harness. It never has a fault.
//!
//! ```text
//!   client 1 ──┐                                          ┌── node 1: eth0 (faults), mgmt0 (no faults), disk, clock
//!   client 2 ──┼── TAP ── Switch (a thread, seeded) ── TAP ┼── node 2
//!   client 3 ──┘                                          └── node 3
//!                 harness ── management bridge ── mgmt0 of each node
//! ```
//!
//! A machine that allows this only for root has a smaller lab as well ([`LabSettings::loopback`]): the nodes are
//! processes on loopback addresses, a proxy takes the place of the switch, and the disks are folders. Both obey the same
//! rules for the links between hosts ([`Links`]).
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
mod links;
mod namespace;
mod network;
mod node;
mod proxy;
mod shim;
mod switch;

pub use cgroup::ControlGroup;
pub use damage::{Damage, FileKind};
pub use disk::Disk;
pub use lab::{ClientPlace, Lab, LabSettings};
pub use links::{Counters, Host, Links, Rule};
pub use network::Network;
pub use node::{Exit, Node, NodeClock, NodeNumber};
pub use shim::{Shim, ShimFault};
