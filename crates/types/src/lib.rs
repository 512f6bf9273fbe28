//! The words of Anabranch: ids, ranges, positions, limits and the clock.
//!
//! Nothing here does I/O, awaits or reads a clock by itself ([`SystemClock`] is the one place that
//! does, and only when asked). Every name that a user can send exists only parsed: a value of
//! [`StreamName`] has been checked.

mod arn;
mod clock;
mod complaints;
#[cfg(test)]
mod cost;
pub mod dates;
mod hash_key;
mod ids;
mod key_fault;
pub mod limits;
mod names;
mod rate;
mod sequence_number;

pub use arn::{AccountId, ConsumerArn, Region, StreamArn};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use complaints::Complaints;
pub use hash_key::{HashKey, HashKeyRange, partition_key_hash};
pub use ids::{GroupId, Incarnation, LogId, NodeId, ReplicaId};
pub use key_fault::KeyFault;
pub use names::{ConsumerName, ParseError, ShardId, StreamName, UserName};
pub use rate::RateLimit;
pub use sequence_number::{SequenceNumber, SequenceNumberParts};
