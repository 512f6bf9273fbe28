//! Encryption at rest: a leader encrypts the record batches of its shard before they enter the log (ADR-0020).
//!
//! ```text
//! KeyProvider   holds the master keys, wraps and unwraps data keys: KeyFile (a file) or Kms (a service)
//!     | wrapped data keys, kept in the catalog
//! Keyring       caches unwrapped data keys on each node
//!     |
//! ShardKeys     seals batches on the shard's leader, opens them on any replica for readers
//! ```
//!
//! Invariants: no pair of key and nonce is used twice. No key and no plaintext is logged, shown by `Debug`, or
//! stored. Start at [`ShardKeys`].

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
