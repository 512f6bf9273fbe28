//! The object stores that an operator has named, and the buckets in them.
//!
//! AWS's API names a bucket by its ARN alone. The configuration of a node says in which store a bucket is: the first
//! store with a pattern that matches the name. All nodes of a cluster have the same stores.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ClientOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    PutPayload, RetryConfig,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A store and its buckets.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// Name, for operators.
    pub name: String,
    /// Names of buckets; `*` stands for any characters.
    pub buckets: Vec<String>,
    /// Where it is.
    pub place: Place,
}

/// Where a store is.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// Each bucket is a folder in this one, made when it is needed.
    Folder(PathBuf),
    /// A server that speaks the S3 API.
    S3(S3Settings),
}

/// A server that speaks the S3 API.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Settings {
    /// URL, `http` or `https`. `None`: AWS's own for the region.
    pub endpoint: Option<String>,
    /// Region in signatures.
    pub region: String,
    /// Id of the access key.
    pub access_key_id: String,
    /// Secret of the access key.
    pub secret_access_key: String,
    /// Whether the bucket is the first part of the path, not of the host name.
    pub path_style: bool,
    /// Whether the store takes `If-None-Match: *`. Without it, an object is looked for before it is put.
    pub create_only: bool,
}

/// The stores of a node.
#[derive(Clone)]
pub struct ObjectStores {
    stores: Arc<[StoreSettings]>,
    opened: Arc<Mutex<BTreeMap<String, Bucket>>>,
}

/// A bucket. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    has_attributes: bool,
    create_only: bool,
    /// Permits for KiB of bodies in memory.
    room: Arc<Semaphore>,
}

/// Why a bucket or an object can't be reached.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No store has the bucket.
    #[error("no object store of this cluster has the bucket {0}: see object-stores in node.toml")]
    NoStore(String),
    /// The store can't be used as it is configured.
    #[error("object store {store}: {error}")]
    Settings {
        /// Name of the store.
        store: String,
        /// The rule that the settings break.
        error: String,
    },
    /// The store refused or did not answer.
    #[error(transparent)]
    Store(#[from] object_store::Error),
}

/// The client's own attempts for one request. The pipeline then tries again, for ever.
const CLIENT_RETRIES: usize = 2;
const CLIENT_RETRY_TIME: Duration = Duration::from_secs(20);
/// For one request, with the whole object.
const REQUEST_TIME: Duration = Duration::from_secs(60);
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// KiB of bodies in memory for one bucket: one object of the largest size, or many small ones.
const ROOM_KIB: u32 = 128 << 10;

impl ObjectStores {
    /// The stores of these settings.
    pub fn new(stores: Vec<StoreSettings>) -> Self {
        Self { stores: stores.into(), opened: Arc::default() }
    }

    /// Whether a store has the bucket.
    pub fn has(&self, bucket: &str) -> bool {
        self.store_of(bucket).is_some()
    }

    /// Opens a bucket. Sends nothing.
    ///
    /// # Errors
    /// [`StoreError::NoStore`], [`StoreError::Settings`].
    pub fn bucket(&self, name: &str) -> Result<Bucket, StoreError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = opened.get(name) {
            return Ok(bucket.clone());
        }
        let settings = self.store_of(name).ok_or_else(|| StoreError::NoStore(name.to_owned()))?;
        let bucket = settings
            .open(name)
            .map_err(|error| StoreError::Settings { store: settings.name.clone(), error })?;
        opened.insert(name.to_owned(), bucket.clone());
        Ok(bucket)
    }

    fn store_of(&self, bucket: &str) -> Option<&StoreSettings> {
        let has = |store: &&StoreSettings| store.buckets.iter().any(|p| matches(p, bucket));
        self.stores.iter().find(has)
    }
}

impl StoreSettings {
    fn open(&self, bucket: &str) -> Result<Bucket, String> {
        match &self.place {
            Place::Folder(folder) => {
                let folder = folder.join(bucket);
                std::fs::create_dir_all(&folder)
                    .map_err(|error| format!("{}: {error}", folder.display()))?;
                let store = LocalFileSystem::new_with_prefix(folder);
                let store = store.map_err(|error| error.to_string())?.with_fsync(true);
                Ok(Bucket::new(store, false, true))
            }
            Place::S3(s3) => s3.open(bucket),
        }
    }
}

impl S3Settings {
    fn open(&self, bucket: &str) -> Result<Bucket, String> {
        let retry = RetryConfig {
            max_retries: CLIENT_RETRIES,
            retry_timeout: CLIENT_RETRY_TIME,
            ..RetryConfig::default()
        };
        let options = ClientOptions::new()
            .with_allow_http(true)
            .with_timeout(REQUEST_TIME)
            .with_connect_timeout(CONNECT_TIME);
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&self.region)
            .with_access_key_id(&self.access_key_id)
            .with_secret_access_key(&self.secret_access_key)
            .with_virtual_hosted_style_request(!self.path_style)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_retry(retry)
            .with_client_options(options);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let store = builder.build().map_err(|error| error.to_string())?;
        Ok(Bucket::new(store, true, self.create_only))
    }
}

impl Bucket {
    fn new(store: impl ObjectStore, has_attributes: bool, create_only: bool) -> Self {
        let room = Arc::new(Semaphore::new(ROOM_KIB as usize));
        Self { store: Arc::new(store), has_attributes, create_only, room }
    }

    /// Waits until a body of this many bytes may be in memory. A bucket that hangs delays no other bucket.
    pub async fn room(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, ROOM_KIB);
        Arc::clone(&self.room).acquire_many_owned(kib).await.ok()
    }

    /// Puts an object, unless there is one of this key. Both count as success: a key is made from the records of the
    /// object.
    ///
    /// # Errors
    /// [`StoreError::Store`].
    pub async fn create(
        &self,
        key: &str,
        body: Vec<Bytes>,
        encoding: Option<&'static str>,
    ) -> Result<(), StoreError> {
        let path = path(key)?;
        if !self.create_only && self.has(key).await? {
            return Ok(());
        }
        let mut attributes = Attributes::new();
        if self.has_attributes {
            attributes.insert(Attribute::ContentType, "application/octet-stream".into());
            if let Some(encoding) = encoding {
                attributes.insert(Attribute::ContentEncoding, encoding.into());
            }
        }
        let mode = if self.create_only { PutMode::Create } else { PutMode::Overwrite };
        let options = PutOptions { mode, attributes, ..PutOptions::default() };
        match self.store.put_opts(&path, PutPayload::from_iter(body), options).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether there is an object of this key.
    ///
    /// # Errors
    /// [`StoreError::Store`].
    pub async fn has(&self, key: &str) -> Result<bool, StoreError> {
        match self.store.head(&path(key)?).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn path(key: &str) -> Result<Path, StoreError> {
    Path::parse(key).map_err(|error| StoreError::Store(error.into()))
}

/// Whether a name matches a pattern, in which `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(before) else { return false };
    (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|rest| matches(after, rest)))
}

/// Without the secret.
impl fmt::Debug for StoreSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = (&self.name, &self.buckets);
        f.debug_tuple("StoreSettings").field(&settings).finish()
    }
}

impl fmt::Debug for ObjectStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObjectStores").field(&self.stores).finish()
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("create_only", &self.create_only).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, expected) in [
            ("*", "a", true),
            ("logs-*", "logs-", true),
            ("logs-*", "log", false),
            ("*-logs-*", "a-logs-b-logs-c", true),
            ("a*b*c", "abcb", false),
            ("logs", "logs", true),
            ("logs", "logs2", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[tokio::test]
    async fn the_second_object_of_a_key_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let stores = ObjectStores::new(vec![StoreSettings {
            name: "files".into(),
            buckets: vec!["b*".into()],
            place: Place::Folder(folder.path().to_owned()),
        }]);
        let bucket = stores.bucket("bucket").unwrap();
        assert!(!bucket.has("p/a").await.unwrap());
        for text in ["first", "second"] {
            bucket.create("p/a", vec![Bytes::from(text)], Some("gzip")).await.unwrap();
        }
        assert!(bucket.has("p/a").await.unwrap());
        let found = std::fs::read(folder.path().join("bucket/p/a")).unwrap();
        assert_eq!(found, b"first");
        assert!(matches!(stores.bucket("other"), Err(StoreError::NoStore(_))));
    }
}
