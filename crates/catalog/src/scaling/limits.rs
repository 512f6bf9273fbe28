//! Thresholds of on-demand mode, each with its source.
//!
//! "Guide" is the Kinesis Data Streams developer guide: `service-sizes-and-limits` for quotas,
//! `how-do-i-size-a-stream` for on-demand mode. "Ours" is a choice of this project, where the
//! service publishes no figure. Shares of a shard's limit are in thousandths.

use std::time::Duration;

/// Bytes that a shard takes per second, partition keys included. The guide's quota of 1 MB/s, with MB
/// read as 2^20: warm throughput, which is in MiB/s, counts one MiB/s for each shard.
pub const SHARD_BYTES_PER_SECOND: u64 = 1 << 20;
/// Records that a shard takes per second (guide, quotas).
pub const SHARD_RECORDS_PER_SECOND: u64 = 1_000;

/// A shard above this share of either limit is split. Half, as in the service (guide: a shard
/// that takes more than 500 KB/s), so that a stream can take double the load that it was sized for.
pub const SPLIT_ABOVE_PERMILLE: u64 = 500;
/// Time for which a shard must stay above that share. A minute, as the service measures (AWS Big Data Blog,
/// "on-demand capacity mode now scales up to 1 GB/second ingest capacity", 2023).
pub const SPLIT_AFTER: Duration = Duration::from_secs(60);

/// Two neighbours are merged when each stays below this share, and both together below the next one. Ours.
pub const MERGE_BELOW_PERMILLE: u64 = 200;
/// See [`MERGE_BELOW_PERMILLE`]. Half of the share that splits, so the load must double before the
/// merged shard is split again. Ours.
pub const MERGE_TOGETHER_BELOW_PERMILLE: u64 = 250;
/// Time for which they must stay below both shares. Ours: twenty times slower than splits, because a shard too many
/// costs little, and with a shard too few the stream refuses records.
pub const MERGE_AFTER: Duration = Duration::from_secs(20 * 60);
/// Time after any split of a stream in which none of its shards is merged. Ours: the load of a stream that was just
/// split is growing. Splits do not wait for merges.
pub const MERGE_COOLDOWN: Duration = Duration::from_secs(5 * 60);

/// Splits per minute that a stream of any size may make: a new stream of four shards can double in one minute.
pub const SPLITS_PER_MINUTE: u32 = 4;
/// A larger stream may split one in this many of its shards per minute, so it can double in two minutes.
/// Ours; the service takes up to 15 minutes (guide).
pub const SPLITS_SHARDS_DIVISOR: u32 = 2;
/// Merges per minute that a stream of any size may make. Counted apart from splits. Ours.
pub const MERGES_PER_MINUTE: u32 = 1;
/// A larger stream may make one merge per minute for each group of this many shards. Ours.
pub const MERGES_SHARDS_DIVISOR: u32 = 32;

/// Highest number of shards of an on-demand stream, unless its floor needs more: the 200 MB/s of writes that
/// the guide gives as the default quota, in shards that are half full.
pub const DEFAULT_CEILING_SHARDS: u32 = 400;
/// Shards per MiB/s of warm throughput (API reference, `UpdateStreamWarmThroughput`: a new
/// stream of four shards has 4 MiB/s).
pub const SHARDS_PER_WARM_MIB_PER_SECOND: u32 = 1;

/// A report of a leader that has measured for less than this is ignored. Ours.
pub const REPORT_AFTER: Duration = Duration::from_secs(10);
/// If two observations are further apart than this, the scaler starts a new history. Ours.
pub const OBSERVATION_GAP_MAX: Duration = Duration::from_secs(30);

/// If the best split would take less than this share of the load off a shard, and one key has most of the load,
/// the shard is not split: the key would still be in one child. Ours.
pub const WORTH_CUTTING_OFF_PERMILLE: u64 = 10;
