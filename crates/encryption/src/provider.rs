use std::fmt;

use anabranch_types::KeyFault;
use futures::future::BoxFuture;

use crate::error::KeyError;

/// Who holds master keys: makes data keys, and unwraps those that it wrapped. Never shows a master key.
pub trait KeyProvider: Send + Sync + fmt::Debug {
    /// A new data key, wrapped by the master key that `master_key` names: an id, an ARN, or an alias.
    ///
    /// # Errors
    /// [`KeyError`] says what is wrong with the master key.
    fn new_data_key<'a>(
        &'a self,
        master_key: &'a str,
        context: &'a KeyContext,
    ) -> BoxFuture<'a, Result<NewDataKey, KeyError>>;

    /// The data key that `wrapped` holds, which was made under the same `context`.
    ///
    /// # Errors
    /// [`KeyError`]; also if `wrapped` or `context` is not what it was.
    fn unwrap_data_key<'a>(
        &'a self,
        master_key: &'a str,
        wrapped: &'a [u8],
        context: &'a KeyContext,
    ) -> BoxFuture<'a, Result<DataKeySecret, KeyError>>;
}

/// What a data key is for; a key that was made for one stream can't be unwrapped for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyContext {
    /// The stream's name.
    pub stream: String,
    /// Which stream of that name.
    pub stream_id: u64,
}

impl KeyContext {
    /// The context as pairs, which AWS KMS calls the encryption context.
    pub fn pairs(&self) -> [(&'static str, String); 2] {
        [
            ("anabranch:stream", self.stream.clone()),
            ("anabranch:stream-id", self.stream_id.to_string()),
        ]
    }
}

/// The 256 bits of a data key. Shows nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct DataKeySecret([u8; 32]);

impl DataKeySecret {
    /// The key made of `bytes`.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for DataKeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKeySecret(..)")
    }
}

/// A data key as it was made.
#[derive(Clone, Debug)]
pub struct NewDataKey {
    /// The key.
    pub secret: DataKeySecret,
    /// What its master key's holder made of it; what is kept.
    pub wrapped: Vec<u8>,
}

/// No provider is configured: every key is one that nothing has.
#[derive(Clone, Copy, Debug)]
pub struct Unprovided;

impl Unprovided {
    fn error(master_key: &str) -> KeyError {
        let message = format!(
            "Key {master_key} can't be used: no key provider is configured (section encryption of the node's configuration)."
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
