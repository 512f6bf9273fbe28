//! The boundary to the keeper of master keys: [`KeyProvider`], with the types that cross it.
//!
//! A provider makes a new data key and returns it twice: in plain, and wrapped (encrypted) by a master key. The
//! catalog stores the wrapped form only. Later the provider unwraps it again. A master key never leaves the provider.

use std::fmt;

use anabranch_types::KeyFault;
use futures::future::BoxFuture;

use crate::error::KeyError;

/// Holds master keys. Makes data keys, and unwraps data keys that it wrapped before.
pub trait KeyProvider: Send + Sync + fmt::Debug {
    /// Makes a data key and wraps it with the master key that `master_key` names: an id, an ARN or an alias.
    ///
    /// # Errors
    /// [`KeyError`] says what is wrong with the master key.
    fn new_data_key<'a>(
        &'a self,
        master_key: &'a str,
        context: &'a KeyContext,
    ) -> BoxFuture<'a, Result<NewDataKey, KeyError>>;

    /// Unwraps a data key. `context` must be the same as in [`Self::new_data_key`].
    ///
    /// # Errors
    /// [`KeyError`] says what is wrong with the master key, or that `wrapped` or `context` has changed.
    fn unwrap_data_key<'a>(
        &'a self,
        master_key: &'a str,
        wrapped: &'a [u8],
        context: &'a KeyContext,
    ) -> BoxFuture<'a, Result<DataKeySecret, KeyError>>;
}

/// The stream that a data key belongs to. A data key of one stream cannot be unwrapped for another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyContext {
    /// Name of the stream.
    pub stream: String,
    /// Id of the stream. A stream that is created again under the same name has another id.
    pub stream_id: u64,
}

impl KeyContext {
    /// The context as names and values: the "encryption context" of AWS KMS.
    pub fn pairs(&self) -> [(&'static str, String); 2] {
        [
            ("anabranch:stream", self.stream.clone()),
            ("anabranch:stream-id", self.stream_id.to_string()),
        ]
    }
}

/// The 256 bits of a data key in plain. `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct DataKeySecret([u8; 32]);

impl DataKeySecret {
    /// Takes the bytes of a key over.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes in plain. Never log them.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for DataKeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKeySecret(..)")
    }
}

/// A new data key, in plain and wrapped.
#[derive(Clone, Debug)]
pub struct NewDataKey {
    /// The data key in plain.
    pub secret: DataKeySecret,
    /// The data key wrapped by the master key. Only this form is stored.
    pub wrapped: Vec<u8>,
}

/// The provider of a node without a setting for one: every call fails with [`KeyFault::OptInRequired`].
#[derive(Clone, Copy, Debug)]
pub struct Unprovided;

impl Unprovided {
    fn error(master_key: &str) -> KeyError {
        let message = format!(
            "Key {master_key} cannot be used: no key provider is configured (section encryption of the node's configuration)."
        );
        KeyError::new(KeyFault::OptInRequired, message)
    }
}

impl KeyProvider for Unprovided {
    fn new_data_key<'a>(
        &'a self,
        master_key: &'a str,
        _context: &'a KeyContext,
    ) -> BoxFuture<'a, Result<NewDataKey, KeyError>> {
        Box::pin(async move { Err(Self::error(master_key)) })
    }

    fn unwrap_data_key<'a>(
        &'a self,
        master_key: &'a str,
        _wrapped: &'a [u8],
        _context: &'a KeyContext,
    ) -> BoxFuture<'a, Result<DataKeySecret, KeyError>> {
        Box::pin(async move { Err(Self::error(master_key)) })
    }
}
