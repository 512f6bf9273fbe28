//! Reports of the caller about calls and deliveries, and the counts of them.

use bytes::Bytes;

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The function returned.
    Returned {
        /// Status of HTTP.
        status: u16,
        /// The response.
        payload: Bytes,
    },
    /// The call failed, or the function did. It counts as an attempt.
    Failed {
        /// Status of HTTP; 200 if there was none.
        status: u16,
        /// Kind of the error, such as `Unhandled`.
        error: String,
    },
    /// The function was certainly not called: it was throttled, or could not be reached. It is no attempt.
    NotCalled,
}

/// How the delivery of a document ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The destination has it.
    Done,
    /// The destination will never take it. The document is lost, and is counted.
    Refused,
    /// The destination does not take it now. It is tried again.
    Unavailable,
}

/// Counts since the start of the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that were read.
    pub polled: u64,
    /// Records that no filter let pass.
    pub filtered_out: u64,
    /// Calls that reached the function and ended.
    pub calls: u64,
    /// Calls that failed, or in which records failed.
    pub failed_calls: u64,
    /// Calls that did not reach the function.
    pub throttled: u64,
    /// Records that the function processed.
    pub processed: u64,
    /// Records that were discarded.
    pub discarded: u64,
    /// Documents that the destination has.
    pub delivered: u64,
    /// Documents that the destination refused.
    pub undelivered: u64,
}
