//! Limits of a transaction of a table group, and the check of them.
//!
//! A single write can exceed them too: an item of 400 KB with three indexes that project everything is 1.6 MB of rows.

use crate::error::Error;
use crate::store::{Change, Write};

/// Most rows that a transaction may name.
pub const MAX_ROWS: usize = 100;
/// Most bytes of keys and values in a transaction.
pub const MAX_BYTES: usize = 1024 * 1024;

/// Checks the size of a transaction.
///
/// # Errors
/// [`Error::Validation`] that names the limit.
pub fn check(writes: &[Write]) -> Result<(), Error> {
    if writes.len() > MAX_ROWS {
        return Err(Error::unsupported(format_args!(
            "A transaction that changes more than {MAX_ROWS} rows of tables and indexes"
        )));
    }
    if writes.iter().map(bytes).sum::<usize>() > MAX_BYTES {
        return Err(Error::unsupported(format_args!(
            "A transaction of more than {MAX_BYTES} bytes"
        )));
    }
    Ok(())
}

/// Bytes of a write that count.
pub(crate) fn bytes(write: &Write) -> usize {
    let value = if let Change::Put(value) = &write.change { value.len() } else { 0 };
    value + write.key.key.len()
}
