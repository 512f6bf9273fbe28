//! On-demand mode, pure: how many shards a stream has follows the load on it.
//!
//! The leader of a shard keeps a [`LoadHistogram`] of what arrives, and now and then sends a
//! [`ShardLoad`] to the controller; the controller holds a [`Scaler`] for each on-demand stream
//! and asks it for at most one [`Action`] at a time. What it goes by is in [`limits`].
//!
//! Always: an action cuts or joins open shards so that they still cover the space; a stream is
//! never merged below its floor nor split above its ceiling; a shard that a split or merge has
//! made is watched for a whole minute before it is split, and for twenty before it is merged.
//!
//! Never: a clock, randomness or I/O (time is handed in), and nothing that must survive: a new
//! controller starts with an empty history and waits out the same windows before it acts.

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
