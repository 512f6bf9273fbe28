//! Limits of the service that the cluster keeps, each with its source. A limit of our own says so. A value is the
//! largest allowed one, unless its doc says otherwise.
//!
//! "Model" is the Kinesis service model (botocore 1.44.5, `kinesis/2013-12-02`), with the name of the operation or
//! type.

/// Characters in a stream name (model, `StreamName`).
pub const STREAM_NAME_MAX_CHARACTERS: usize = 128;
/// Characters in a partition key (model, `PartitionKey`).
pub const PARTITION_KEY_MAX_CHARACTERS: usize = 256;
/// Bytes of data in one record, and of data and partition key together (model, `Data`; PutRecord).
pub const RECORD_MAX_BYTES: usize = 10 * 1024 * 1024;
/// Records in one PutRecords call (model, `PutRecordsRequestEntryList`).
pub const PUT_RECORDS_MAX_RECORDS: usize = 500;
/// Bytes of data and partition keys in one PutRecords call (documentation of PutRecords).
pub const PUT_RECORDS_MAX_BYTES: usize = 10 * 1024 * 1024;
/// Record size limit of a stream that sets no other, in KiB (documentation of `MaxRecordSizeInKiB`).
pub const DEFAULT_MAX_RECORD_SIZE_KIB: u32 = 1024;
/// Highest record size limit of a stream, in KiB (model, `MaxRecordSizeInKiB`).
pub const MAX_RECORD_SIZE_KIB: u32 = 10_240;
/// Records in one GetRecords response (model, `GetRecordsInputLimit`).
pub const GET_RECORDS_MAX_RECORDS: u32 = 10_000;
/// Bytes of records in one GetRecords response (documentation of GetRecords).
pub const GET_RECORDS_MAX_BYTES: usize = 10 * 1024 * 1024;
/// Lifetime of a shard iterator, in seconds (documentation of GetShardIterator).
pub const SHARD_ITERATOR_LIFETIME_SECONDS: u64 = 300;
/// Lifetime of a paging token, in seconds (documentation of ListShards).
pub const NEXT_TOKEN_LIFETIME_SECONDS: u64 = 300;
/// Shards in one DescribeStream response (documentation of DescribeStream).
pub const DESCRIBE_STREAM_MAX_SHARDS: u32 = 100;
/// Shards in one ListShards response (documentation of ListShards).
pub const LIST_SHARDS_MAX_SHARDS: u32 = 1000;
/// Streams in one ListStreams response (documentation of ListStreams).
pub const LIST_STREAMS_MAX_STREAMS: u32 = 100;
/// Shards in one stream (documentation of UpdateShardCount).
pub const STREAM_MAX_SHARDS: u32 = 10_000;
/// Shards that an on-demand stream starts with (developer guide, on-demand mode).
pub const ON_DEMAND_INITIAL_SHARDS: u32 = 4;
/// Largest warm throughput of an on-demand stream, in MiB/s (documentation of UpdateStreamWarmThroughput: 10 GiB/s).
pub const MAX_WARM_THROUGHPUT_MIBPS: u32 = 10_240;
/// Retention of a new stream, in hours (documentation of IncreaseStreamRetentionPeriod).
pub const DEFAULT_RETENTION_HOURS: u32 = 24;
/// Longest retention, in hours.
pub const MAX_RETENTION_HOURS: u32 = 8760;
/// Tags on one resource (documentation of CreateStream).
pub const MAX_TAGS: usize = 50;
/// Bytes of tags and policies of one stream and its consumers together. This limit is ours, AWS has none: every node
/// keeps them all in memory, and each new version of the catalog sends them again.
pub const MAX_ATTACHED_BYTES: usize = 256 * 1024;
/// Consumers with enhanced fan-out of one stream (documentation of RegisterStreamConsumer).
pub const MAX_CONSUMERS: usize = 20;
/// The same for an account with a minimum throughput billing commitment ("On-demand Advantage").
pub const MAX_CONSUMERS_WITH_COMMITMENT: usize = 50;
/// Streams in the state CREATING at one time (documentation of CreateStream).
pub const MAX_CREATING_STREAMS: usize = 5;
/// Consumers in the state CREATING at one time (documentation of RegisterStreamConsumer).
pub const MAX_CREATING_CONSUMERS: usize = 5;
/// Changes of one stream by UpdateShardCount in 24 hours (documentation of UpdateShardCount).
pub const MAX_SCALINGS_A_DAY: usize = 10;
/// Changes of one stream's mode in 24 hours (developer guide, on-demand mode).
pub const MAX_MODE_SWITCHES_A_DAY: usize = 2;
/// Changes of one stream's encryption in 24 hours (documentation of StartStreamEncryption and StopStreamEncryption).
pub const MAX_KEY_CHANGES_A_DAY: usize = 25;
/// Consumers in one ListStreamConsumers response (documentation of ListStreamConsumers).
pub const LIST_STREAM_CONSUMERS_MAX_CONSUMERS: u32 = 100;
/// Shortest minimum throughput billing commitment, in hours (documentation of UpdateAccountSettings).
pub const MIN_COMMITMENT_HOURS: u64 = 24;
/// Records that one shard accepts per second (documentation of PutRecord).
pub const SHARD_RECORDS_PER_SECOND: u64 = 1000;
/// Bytes that one shard accepts per second (documentation of PutRecords and CreateStream).
pub const SHARD_BYTES_PER_SECOND: u64 = 1024 * 1024;
/// GetRecords calls on one shard per second (documentation of GetRecords).
pub const SHARD_READS_PER_SECOND: u64 = 5;
/// Bytes that all GetRecords calls on one shard get together per second. Also the bytes that each consumer with
/// enhanced fan-out is pushed per second (documentation of GetRecords and SubscribeToShard).
pub const SHARD_READ_BYTES_PER_SECOND: u64 = 2 * 1024 * 1024;
/// Characters in a user's name (IAM API reference, CreateUser).
pub const USER_NAME_MAX_CHARACTERS: usize = 64;
/// Table groups of a cluster. This limit is ours: a node may have a replica of each, a group has up to 64 MiB of rows
/// in memory, and all groups together may have 1 GiB.
pub const MAX_TABLE_GROUPS: usize = 16;
/// Users of a cluster (IAM user guide, quotas: users in an account).
pub const MAX_USERS: usize = 5_000;
/// Access keys of one user (IAM user guide, quotas). Two, so that a new key can replace an old one without a gap.
pub const MAX_ACCESS_KEYS: usize = 2;
/// Policies of one user (IAM user guide, quotas: managed policies attached to a user).
pub const MAX_USER_POLICIES: usize = 10;
/// Characters in a policy's name (IAM API reference, PutUserPolicy).
pub const POLICY_NAME_MAX_CHARACTERS: usize = 128;
/// Characters of one policy of a user (IAM user guide, quotas: a managed policy). White space counts too, unlike in
/// IAM.
pub const USER_POLICY_MAX_CHARACTERS: usize = 6_144;
/// Bytes of all policies of all users. This limit is ours: every node keeps them in memory, and the checkpoints of
/// the catalog contain them.
pub const ALL_USER_POLICIES_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Shortest lifetime of temporary credentials, in seconds (STS API reference, GetSessionToken).
pub const SESSION_MIN_SECONDS: u64 = 900;
/// Longest lifetime of temporary credentials, in seconds (STS API reference, AssumeRole).
pub const SESSION_MAX_SECONDS: u64 = 43_200;
