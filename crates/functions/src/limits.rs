//! Limits of functions and mappings, each with its source.
//!
//! "Model" is the service model of AWS Lambda, 2015-03-31. "Guide" is the AWS Lambda Developer Guide.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Records of a batch (model, `BatchSize`).
pub const BATCH_SIZE: RangeInclusive<i64> = 1..=10_000;
/// Seconds to gather a batch (model, `MaximumBatchingWindowInSeconds`).
pub const BATCHING_WINDOW_SECONDS: RangeInclusive<i64> = 0..=300;
/// Batches of a shard at a time (model, `ParallelizationFactor`).
pub const PARALLELIZATION_FACTOR: RangeInclusive<i64> = 1..=10;
/// Retries of a batch; -1 is no limit (model, `MaximumRetryAttempts`).
pub const RETRY_ATTEMPTS: RangeInclusive<i64> = -1..=10_000;
/// Seconds of the maximum age of a record; -1 is no limit (model, `MaximumRecordAgeInSeconds`).
pub const RECORD_AGE_SECONDS: RangeInclusive<i64> = 60..=604_800;
/// Seconds of a tumbling window; 0 switches windows off (model, `TumblingWindowInSeconds`).
pub const TUMBLING_WINDOW_SECONDS: RangeInclusive<i64> = 0..=900;
/// Filters of a mapping (guide, event filtering).
pub const FILTERS: usize = 5;
/// Characters of a filter pattern (model, `Pattern`).
pub const PATTERN_CHARACTERS: usize = 4096;
/// Bytes of an event, as JSON, and of a response (model, `Invoke`: 6 MB for a synchronous invocation).
pub const PAYLOAD_BYTES: usize = 6 << 20;
/// Bytes of the state of a tumbling window. Lambda allows 1 MB; here the state is a part of one row of a table, which
/// has at most 400 KB. A larger state ends its window early.
pub const STATE_BYTES: usize = 300 << 10;
/// Seconds of a call (model, `Timeout` of a function).
pub const TIMEOUT_SECONDS: RangeInclusive<i64> = 1..=900;
/// Headers of a function. Our own limit.
pub const HEADERS: usize = 20;
/// Bytes of the name and the value of a header together. Our own limit.
pub const HEADER_BYTES: usize = 4096;
/// Bytes of a function's URL. Our own limit.
pub const URL_BYTES: usize = 2048;
/// How long after the end of a tumbling window its last records may still come. A record's arrival time is set by the
/// leader of its shard, before the record is replicated and read. Our own choice.
pub const WINDOW_GRACE: Duration = Duration::from_secs(2);
/// The first delay between two calls of a batch. It doubles with each failure. Our own choice.
pub const FIRST_DELAY: Duration = Duration::from_millis(500);
/// The longest delay between two calls of a batch. Our own choice.
pub const LONGEST_DELAY: Duration = Duration::from_secs(60);
