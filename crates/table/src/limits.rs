//! All limits of a table group.
//!
//! [`TableState::apply`](crate::TableState::apply) enforces them, so they are part of the rules: replicas with
//! different limits would come to different outcomes. Programs use [`Limits::default`]. Only tests use others. A
//! release that changes a default must change the format of the commands too.

/// Limits of a table group. The default has the values that each field names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest key in bytes: 2 KiB, the longest partition key of DynamoDB. A key has at least 1 byte.
    pub key_bytes: usize,
    /// Longest value in bytes: 400 KiB, the largest item of DynamoDB.
    pub value_bytes: usize,
    /// Most keys of a transaction: 100, the most actions of DynamoDB's TransactWriteItems. A key that is both checked
    /// and written counts once.
    pub transaction_keys: usize,
    /// Largest transaction in bytes, in its stored form ([`Transaction::encoded_bytes`]): 1 MiB.
    ///
    /// [`Transaction::encoded_bytes`]: crate::Transaction::encoded_bytes
    pub transaction_bytes: usize,
    /// Most transactions of one command: 256, because a version has 8 bits for the place of the transaction. More than
    /// 256 has no effect.
    pub command_transactions: usize,
    /// Longest name of a space in bytes: 1 KiB. A name has at least 1 byte.
    pub space_name_bytes: usize,
    /// Most spaces of a group: 1,024. Spaces without rows are not counted in `group_bytes`.
    pub spaces: usize,
    /// Most bytes of all rows of a group, each counted by [`row_bytes`](crate::row_bytes): 64 MiB.
    pub group_bytes: u64,
    /// Most bytes of rows in one response of a read, counted by [`row_bytes`](crate::row_bytes): 1 MiB. One row may be
    /// the whole page, and the changes of one transaction are never divided.
    pub page_bytes: usize,
    /// Most changes that a replica remembers for watchers: 16,384. This limit has no influence on outcomes.
    pub watched_changes: usize,
    /// Most bytes of the changes that a replica remembers for watchers, each with its key and 48 bytes of overhead:
    /// 4 MiB. This limit has no influence on outcomes.
    pub watched_bytes: usize,
}

impl Limits {
    /// The values that the fields name.
    pub const DEFAULT: Self = Self {
        key_bytes: 2 << 10,
        value_bytes: 400 << 10,
        transaction_keys: 100,
        transaction_bytes: 1 << 20,
        command_transactions: 256,
        space_name_bytes: 1 << 10,
        spaces: 1_024,
        group_bytes: 64 << 20,
        page_bytes: 1 << 20,
        watched_changes: 16_384,
        watched_bytes: 4 << 20,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
