//! Tokens of clients (`ClientRequestToken`): a transaction with a token runs once, however often it is sent.
//!
//! The row of a token is written in the transaction that it names. For ten minutes a call with the same token and the
//! same content succeeds without a change. The SDKs send a token with every TransactWriteItems.
//!
//! ```text
//! row of a token   16 bytes: MD5 of the content | 8 bytes: milliseconds since 1970 at which the token ends
//! ```

use anabranch_types::Timestamp;

use crate::error::Error;
use crate::limits;
use crate::store::{Change, Expect, Found, Row, RowKey, Space, Write};

/// How long a token is remembered. Source: API reference, `TransactWriteItems`, `ClientRequestToken`.
const LIFETIME_MILLIS: u64 = 10 * 60 * 1000;

/// The token of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The text of the client.
    pub text: String,
    /// A hash of what the transaction is to do.
    pub content: [u8; 16],
}

/// Whether a transaction with a token runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Run it, and write the row of the token.
    Run(Write),
    /// It has run before.
    Done,
}

impl Token {
    /// The row of the token.
    pub fn row(&self) -> RowKey {
        RowKey { space: Space::Tokens, key: self.text.as_bytes().to_vec() }
    }

    /// Whether the transaction runs.
    ///
    /// # Errors
    /// [`Error::TokenMismatch`] if the token belongs to another transaction.
    pub(crate) fn verdict(&self, found: &Found, now: Timestamp) -> Result<Verdict, Error> {
        let key = self.row();
        let row = found.row(&key);
        if let Some((content, end)) = row.and_then(parts)
            && now.as_millis() < end
        {
            return if content == self.content {
                Ok(Verdict::Done)
            } else {
                Err(Error::TokenMismatch)
            };
        }
        let end = now.as_millis().saturating_add(LIFETIME_MILLIS);
        let value = [&self.content[..], &end.to_be_bytes()].concat();
        let expect = Expect::unchanged(row);
        Ok(Verdict::Run(Write { key, expect, change: Change::Put(value) }))
    }
}

/// Deletes tokens of a page that have ended, at most as many as one transaction can. The caller runs this from time to
/// time over [`Space::Tokens`].
pub fn sweep(page: &[(Vec<u8>, Row)], now: Timestamp) -> Vec<Write> {
    let ended =
        page.iter().filter(|(_, row)| parts(row).is_none_or(|(_, end)| end <= now.as_millis()));
    let delete = |(key, row): &(Vec<u8>, Row)| Write {
        key: RowKey { space: Space::Tokens, key: key.clone() },
        expect: Expect::Version(row.version),
        change: Change::Delete,
    };
    ended.map(delete).take(limits::MAX_ROWS).collect()
}

/// Hash of the content and end of a token. `None` if the row is damaged, which counts as no token.
fn parts(row: &Row) -> Option<([u8; 16], u64)> {
    let (content, end) = row.value.split_first_chunk::<16>()?;
    Some((*content, u64::from_be_bytes(end.try_into().ok()?)))
}
