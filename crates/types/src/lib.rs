//! Basic types of all crates: ids, names, ranges, positions, limits and the clock.
//!
//! Nothing here does I/O, waits or reads a clock. The only exception is [`SystemClock::now`], which reads the
//! machine's clock when it is called. A name that a user sends exists only in its checked form: a value of
//! [`StreamName`] is always a valid name.

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
pub use complaints::LogLimiter;
pub use hash_key::{HashKey, HashKeyRange, partition_key_hash};
pub use ids::{GroupId, Incarnation, LogId, NodeId, ReplicaId};
pub use key_fault::KeyFault;
pub use names::{ConsumerName, ParseError, ShardId, StreamName, UserName};
pub use rate::TokenBucket;
pub use sequence_number::{SequenceNumber, SequenceNumberParts};
