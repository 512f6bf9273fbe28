//! On-demand mode: the number of shards of a stream follows its load (`docs/on-demand.md`).
//!
//! The leader of a shard keeps a [`LoadHistogram`] of the accepted records, and sends a [`ShardLoad`] to the
//! controller every few seconds. The controller has a [`Scaler`] for each on-demand stream and asks it for one
//! [`Action`] at a time. All thresholds are in [`limits`].
//!
//! Always: the open shards cover all hash keys after an action, too. A stream is never merged below its floor or
//! split above its ceiling. A shard that a split or merge has made is watched for a minute before it is split, and
//! for twenty minutes before it is merged.
//!
//! Never: a clock, randomness or I/O. The caller passes the time. No state must survive: a new controller begins with
//! an empty history and waits out the same windows before it acts.

mod allowance;
mod buckets;
mod decision;
mod histogram;
pub mod limits;
mod load;
mod scaler;

pub use buckets::BUCKETS;
pub use decision::{Action, Bounds, Decision, OpenShard, Reason};
pub use histogram::LoadHistogram;
pub use load::{BucketLoad, KeyLoad, ShardLoad, SplitPoint};
pub use scaler::Scaler;
