//! Encryption at rest: what holds master keys, data keys that they wrap, batches that data keys seal.
//!
//! A [`KeyProvider`] holds master keys and never shows them. A stream has data keys, which the catalog keeps as its
//! master key wrapped them; [`Keyring`] has them unwrapped, for a while. On a shard's leader [`ShardKeys`] seals each
//! batch before it enters the log, and on every replica it opens what readers want (`docs/adr/0020-encryption-at-rest.md`).
//!
//! Invariants: a pair of key and nonce is used once; no key and no plaintext is logged, shown or stored.
//! Start at [`ShardKeys`].

#[cfg(test)]
mod cost;
mod error;
mod key_file;
mod keyring;
mod kms;
mod metrics;
mod provider;
mod sealed_batch;
mod shard_keys;

pub use error::KeyError;
pub use key_file::{KeyFile, KeyFileError, KeyState, MasterKey};
pub use keyring::{EncryptionSettings, Keyring, StreamKeys};
pub use kms::{Kms, KmsError};
pub use metrics::MeasuredProvider;
pub use provider::{DataKeySecret, KeyContext, KeyProvider, NewDataKey, Unprovided};
pub use sealed_batch::BatchSealer;
pub use shard_keys::{Opened, ShardKeys};
