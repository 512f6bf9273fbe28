//! What on-demand mode goes by, each with its source.
//!
//! "Guide" is the Kinesis Data Streams developer guide: `service-sizes-and-limits` for quotas,
//! `how-do-i-size-a-stream` for on-demand mode. "Ours" is a choice of this project, where the
//! service publishes no figure. Shares of a shard's limit are in thousandths.

use std::time::Duration;

/// Bytes a shard takes in a second, partition keys included. The guide's quota of 1 MB/s, with MB
/// read as 2^20: warm throughput, which is in MiB/s, counts one for each shard.
pub const SHARD_BYTES_PER_SECOND: u64 = 1 << 20;
/// Records a shard takes in a second (guide, quotas).
pub const SHARD_RECORDS_PER_SECOND: u64 = 1_000;

/// A shard above this share of either limit is split. Half, as the service does (guide: a shard
/// that takes more than 500 KB/s), so that a stream can take double the load it was sized for.
pub const SPLIT_ABOVE_PERMILLE: u64 = 500;
/// How long a shard must stay above it. A minute, as the service measures (AWS Big Data Blog,
/// "on-demand capacity mode now scales up to 1 GB/second ingest capacity", 2023).
pub const SPLIT_AFTER: Duration = Duration::from_secs(60);

/// Two neighbours are merged when each stays below this share. Ours.
pub const MERGE_BELOW_PERMILLE: u64 = 200;
/// And both together below this one: half of what splits, so the load must double before the
/// merged shard is split again. Ours.
pub const MERGE_TOGETHER_BELOW_PERMILLE: u64 = 250;
/// How long they must stay so. Ours: twenty times slower down than up, because a shard too many
/// costs little and one too few refuses records.
pub const MERGE_AFTER: Duration = Duration::from_secs(20 * 60);
/// How long after any split of a stream none of its shards is merged. Ours: a stream that was just
/// split is growing somewhere. Splits wait for nothing of the kind.
pub const MERGE_COOLDOWN: Duration = Duration::from_secs(5 * 60);

/// Splits that a stream may make in a minute whatever its size: a new one doubles in one minute.
pub const SPLITS_PER_MINUTE: u32 = 4;
/// Larger streams may split one in this many of their shards in a minute, so they double in two.
/// Ours; the service takes up to 15 minutes (guide).
pub const SPLITS_SHARDS_DIVISOR: u32 = 2;
/// Merges that a stream may make in a minute whatever its size. Counted apart from splits.
pub const MERGES_PER_MINUTE: u32 = 1;
/// Larger streams may merge one in this many of their shards in a minute. Ours.
pub const MERGES_SHARDS_DIVISOR: u32 = 32;

/// Most shards of an on-demand stream unless its floor asks for more: the 200 MB/s of writes that
/// the guide gives as the default quota, in shards that are half full.
pub const DEFAULT_CEILING_SHARDS: u32 = 400;
/// Shards for each MiB/s of warm throughput (API reference, `UpdateStreamWarmThroughput`; a new
/// stream of four shards has 4 MiB/s).
pub const SHARDS_PER_WARM_MIB_PER_SECOND: u32 = 1;

/// A report of a leader that has measured for less than this says nothing yet. Ours.
pub const REPORT_AFTER: Duration = Duration::from_secs(10);
/// After a longer silence between two observations the scaler's history begins anew. Ours.
pub const OBSERVATION_GAP_MAX: Duration = Duration::from_secs(30);

/// When the best cut would take less than this share off a shard, and one key carries most of its
/// load, the key is all there is: it is not split further. Ours.
pub const WORTH_CUTTING_OFF_PERMILLE: u64 = 10;
