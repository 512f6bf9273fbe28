//! Jobs: background work of services that exactly one node does at a time.
//!
//! ```text
//! the table group's leader:   definitions --Work::wanted--> wanted jobs --assign--> rows: job -> owner, epoch
//! every node:                 rows that name it --> Work::run(Job) --> Job::commit: own epoch, and the service's rows
//! ```
//!
//! - The leader of the table group is the dispatcher (`dispatcher.rs`). It compares the jobs that services want with
//!   the rows, and `assign.rs` decides which node does what. No lease and no wall clock decides: the dispatcher
//!   replaces an owner that is silent for two seconds, is draining, or gave the job up.
//! - Every node follows the rows and does the jobs that name it (`worker.rs`).
//! - Each owner has an epoch. Every row that a job writes is written in a transaction that checks the epoch
//!   ([`Job::commit`]). So a former owner changes nothing, even if it was only paused. For a moment two nodes may do
//!   the same work, but only one of them can record it.
//!
//! A node does nothing of this while the cluster has no table group. [`Jobs::start`] starts one task, which waits for
//! the group.
//!
//! Start at [`Work`], which a service implements.

mod assign;
mod copies;
mod dispatcher;
mod id;
mod jobs;
mod leaving;
mod list;
mod member;
mod row;
mod service;
mod status;
#[cfg(test)]
mod tests;
mod work;
mod worker;

pub use assign::Wanted;
pub use copies::Copies;
pub use id::JobId;
pub use jobs::{Ending, Jobs};
pub use list::ListedJob;
pub use member::Member;
pub use row::{JobRow, Owner, RowError};
pub use service::{ServedJobs, job_service};
pub use status::{JobStatus, Report};
pub use work::{CommitError, Job, WantedJobs, Work};
