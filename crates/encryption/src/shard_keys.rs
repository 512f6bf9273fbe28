//! Encrypts and decrypts the record batches of one shard.
//!
//! ```text
//! leader    sealer().await   asks the keyring for the current data key, derives a sealing key once
//!           sealer.seal()    encrypts each new batch; if there is no data key to use, nothing is stored
//! replica   open().await     asks the keyring for the data key of this batch, decrypts it for a reader
//! ```
//!
//! Every `sealer` and every `open` asks the keyring, also when a derived key is at hand. So a master key that is
//! disabled stops writes and reads on every replica within the keyring's cache time.
//!
//! A stream may have plain batches and batches under many data keys. Each batch names its own key.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anabranch_shard::Batch;
use anabranch_types::{KeyFault, ShardId, Timestamp};
use arc_swap::ArcSwapOption;
use bytes::Bytes;

use crate::error::KeyError;
use crate::key_file::random;
use crate::keyring::{Keyring, StreamKeys};
use crate::sealed_batch::{BatchOpener, BatchSealer, Header, Place};

/// Encryption of one shard, on one replica of it.
#[derive(Debug)]
pub struct ShardKeys {
    keyring: Keyring,
    shard: ShardId,
    stream: ArcSwapOption<StreamKeys>,
    sealer: Mutex<Option<Arc<BatchSealer>>>,
    openers: Mutex<Vec<Arc<BatchOpener>>>,
}

/// A batch as a reader gets it, in plain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The encoded `RecordBatch`.
    pub batch: Bytes,
    /// Whether the log stores it encrypted.
    pub encrypted: bool,
}

/// Number of derived keys that are kept to open batches. Each leader that encrypts, and each data key, adds one to
/// the log.
const OPENERS: usize = 8;

impl ShardKeys {
    /// Encryption of `shard`. Until `follow` is called, nothing is known of the stream: batches are stored in plain,
    /// and encrypted batches cannot be opened.
    pub fn new(keyring: Keyring, shard: ShardId) -> Self {
        let (stream, sealer, openers) =
            (ArcSwapOption::empty(), Mutex::default(), Mutex::default());
        Self { keyring, shard, stream, sealer, openers }
    }

    /// Takes over the stream's encryption from a new version of the catalog.
    pub fn follow(&self, stream: Arc<StreamKeys>) {
        self.stream.store(Some(stream));
    }

    /// The sealer for new batches. `None` if the stream is not encrypted, so batches are stored in plain.
    ///
    /// # Errors
    /// [`KeyError`] if the data key cannot be unwrapped. The caller must then store nothing.
    pub async fn sealer(&self) -> Result<Option<Arc<BatchSealer>>, KeyError> {
        let Some(stream) = self.stream.load_full() else { return Ok(None) };
        let Some((number, _)) = stream.encryption.current() else { return Ok(None) };
        let secret = self.keyring.data_key(&stream, number).await?;
        let mut sealer = lock(&self.sealer);
        if let Some(sealer) = sealer.as_ref().filter(|sealer| sealer.number() == number) {
            return Ok(Some(Arc::clone(sealer)));
        }
        let salt =
            random().map_err(|_| KeyError::new(KeyFault::Throttled, "No random numbers."))?;
        let place = Place { stream: stream.id, shard: self.shard };
        let new = Arc::new(BatchSealer::new(place, number, &secret, salt));
        *sealer = Some(Arc::clone(&new));
        Ok(Some(new))
    }

    /// Decrypts a stored batch. A batch that is stored in plain is returned as it is.
    ///
    /// # Errors
    /// [`KeyError`] if the data key cannot be unwrapped, or if the bytes are not the bytes that were sealed.
    pub async fn open(&self, stored: Bytes) -> Result<Opened, KeyError> {
        let Some((head, sealed)) = Batch::sealed_part(&stored) else {
            return Ok(Opened { batch: stored, encrypted: false });
        };
        let broken =
            || KeyError::new(KeyFault::InvalidState, "An encrypted batch is not what was stored.");
        let header = Header::of(&sealed).ok_or_else(broken)?;
        let unknown = || KeyError::new(KeyFault::Throttled, "The stream's keys are not known yet.");
        let stream = self.stream.load_full().ok_or_else(unknown)?;
        // Ask for the data key of every batch, also if its opener exists: this is how a disabled master key stops
        // reads.
        let secret = self.keyring.data_key(&stream, header.number).await?;
        let known = lock(&self.openers).iter().find(|opener| opener.fits(header)).cloned();
        let opener = known.unwrap_or_else(|| {
            let place = Place { stream: stream.id, shard: self.shard };
            let new = Arc::new(BatchOpener::new(place, header, &secret));
            let mut openers = lock(&self.openers);
            openers.truncate(OPENERS - 1);
            openers.insert(0, Arc::clone(&new));
            new
        });
        let batch = opener.open(header, &head, &sealed).ok_or_else(broken)?;
        Ok(Opened { batch, encrypted: true })
    }

    /// The current data key, if this replica has sealed batches with it and it is due for replacement: by its age, or
    /// by the number of bytes that this replica has sealed under it.
    pub fn worn_data_key(&self, now: Timestamp) -> Option<(u32, Arc<StreamKeys>)> {
        let stream = self.stream.load_full()?;
        let (number, key) = stream.encryption.current()?;
        let sealer = lock(&self.sealer).clone().filter(|sealer| sealer.number() == number)?;
        let settings = self.keyring.settings();
        let age: Duration = now.since(key.created);
        let is_worn = age >= settings.max_age || sealer.sealed_bytes() >= settings.max_bytes;
        is_worn.then_some((number, stream))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::future::pending;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use anabranch_catalog::{DataKey, Encryption, StreamId};
    use anabranch_shard::BatchBuilder;
    use futures::future::{BoxFuture, join_all};
    use tokio::time::{Instant, advance};

    use super::*;
    use crate::keyring::EncryptionSettings;
    use crate::provider::{DataKeySecret, KeyContext, KeyProvider, NewDataKey};

    /// A provider that unwraps a data key to 32 times its only byte. A test decides how it fails.
    #[derive(Debug, Default)]
    struct FakeProvider {
        fault: Mutex<Option<KeyFault>>,
        /// If set, calls never end.
        hangs: AtomicBool,
        calls: AtomicUsize,
    }

    impl KeyProvider for FakeProvider {
        fn new_data_key<'a>(
            &'a self,
            _: &'a str,
            _: &'a KeyContext,
        ) -> BoxFuture<'a, Result<NewDataKey, KeyError>> {
            unreachable!("nothing here makes a data key")
        }

        fn unwrap_data_key<'a>(
            &'a self,
            _: &'a str,
            wrapped: &'a [u8],
            _: &'a KeyContext,
        ) -> BoxFuture<'a, Result<DataKeySecret, KeyError>> {
            Box::pin(async move {
                self.calls.fetch_add(1, Ordering::Relaxed);
                if self.hangs.load(Ordering::Relaxed) {
                    pending::<()>().await;
                }
                match *lock(&self.fault) {
                    Some(fault) => Err(KeyError::new(fault, "as told")),
                    None => Ok(DataKeySecret::new([wrapped[0]; 32])),
                }
            })
        }
    }

    fn stream(numbers: &[u32]) -> Arc<StreamKeys> {
        let key = |number: &u32| {
            let (master_key, wrapped) = ("k".to_owned(), vec![number.to_le_bytes()[0]]);
            (*number, DataKey { master_key, wrapped, created: Timestamp::from_millis(1000) })
        };
        let data_keys: BTreeMap<_, _> = numbers.iter().map(key).collect();
        let master_key = (!numbers.is_empty()).then(|| "k".to_owned());
        let (next_data_key, unsettled) = (9, None);
        let encryption = Encryption { master_key, data_keys, next_data_key, unsettled };
        Arc::new(StreamKeys { id: StreamId(5), name: "s".parse().unwrap(), encryption })
    }

    fn keys(provider: &Arc<FakeProvider>) -> ShardKeys {
        let provider = Arc::clone(provider) as Arc<dyn KeyProvider>;
        let settings = EncryptionSettings { max_bytes: 100, ..EncryptionSettings::default() };
        ShardKeys::new(Keyring::new(provider, settings), ShardId(1))
    }

    fn batch(data: &[u8]) -> Batch {
        let mut builder = BatchBuilder::new(None);
        builder.push(0, b"key", data);
        builder.finish().unwrap()
    }

    async fn seal(keys: &ShardKeys, batch: &Batch) -> Bytes {
        match keys.sealer().await.unwrap() {
            Some(sealer) => sealer.seal(batch),
            None => batch.bytes().clone(),
        }
    }

    /// A batch that is sealed under a stream's first data key, which has just been unwrapped.
    async fn sealed() -> (Arc<FakeProvider>, ShardKeys, Bytes) {
        let provider = Arc::new(FakeProvider::default());
        let keys = keys(&provider);
        keys.follow(stream(&[0]));
        let stored = seal(&keys, &batch(b"data")).await;
        (provider, keys, stored)
    }

    #[tokio::test(start_paused = true)]
    async fn plain_batches_and_batches_of_every_data_key_open() {
        let (provider, batch) = (Arc::default(), batch(b"data"));
        let keys = keys(&provider);
        let mut stored = vec![seal(&keys, &batch).await];
        for numbers in [&[0][..], &[0, 1], &[0, 1, 2]] {
            keys.follow(stream(numbers));
            stored.push(seal(&keys, &batch).await);
        }
        let elsewhere = self::keys(&provider);
        elsewhere.follow(stream(&[0, 1, 2]));
        for keys in [&keys, &elsewhere] {
            for (place, stored) in stored.iter().enumerate() {
                let opened = keys.open(stored.clone()).await.unwrap();
                assert_eq!(opened, Opened { batch: batch.bytes().clone(), encrypted: place > 0 });
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_disabled_master_key_is_used_no_longer_than_the_cache_time() {
        let (provider, keys, stored) = sealed().await;
        *lock(&provider.fault) = Some(KeyFault::Disabled);
        assert!(keys.open(stored.clone()).await.is_ok());
        assert_eq!(provider.calls.load(Ordering::Relaxed), 1);
        advance(Duration::from_secs(301)).await;
        assert_eq!(keys.open(stored.clone()).await.unwrap_err().fault, KeyFault::Disabled);
        assert_eq!(keys.sealer().await.unwrap_err().fault, KeyFault::Disabled);
        assert_eq!(provider.calls.load(Ordering::Relaxed), 2);
        *lock(&provider.fault) = None;
        advance(Duration::from_secs(2)).await;
        assert!(keys.open(stored).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_data_key_stays_in_use_for_an_hour_while_the_provider_fails() {
        let (provider, keys, stored) = sealed().await;
        *lock(&provider.fault) = Some(KeyFault::Throttled);
        for _ in 0..30 {
            advance(Duration::from_secs(120)).await;
            assert!(keys.open(stored.clone()).await.is_ok());
        }
        advance(Duration::from_secs(600)).await;
        assert_eq!(keys.open(stored).await.unwrap_err().fault, KeyFault::Throttled);
    }

    /// How long `open` takes, and the fault if it fails.
    async fn opens(keys: &ShardKeys, stored: &Bytes) -> (Duration, Option<KeyFault>) {
        let began = Instant::now();
        let opened = keys.open(stored.clone()).await;
        (began.elapsed(), opened.err().map(|error| error.fault))
    }

    const AT_ONCE: (Duration, Option<KeyFault>) = (Duration::ZERO, None);

    #[tokio::test(start_paused = true)]
    async fn a_data_key_in_use_never_waits_for_a_hanging_provider() {
        let (provider, keys, stored) = sealed().await;
        provider.hangs.store(true, Ordering::Relaxed);
        for _ in 0..360 {
            advance(Duration::from_secs(10)).await;
            assert_eq!(opens(&keys, &stored).await, AT_ONCE);
        }
        let calls = provider.calls.load(Ordering::Relaxed);
        assert!((60..=240).contains(&calls), "{calls} calls, one after the other");
        // The provider responds again, so the hour of stale use starts anew.
        provider.hangs.store(false, Ordering::Relaxed);
        for _ in 0..6 {
            advance(Duration::from_secs(10)).await;
            assert_eq!(opens(&keys, &stored).await, AT_ONCE);
        }
        provider.hangs.store(true, Ordering::Relaxed);
        for _ in 0..360 {
            advance(Duration::from_secs(10)).await;
            assert_eq!(opens(&keys, &stored).await, AT_ONCE);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_data_key_waits_once_and_briefly_for_a_hanging_provider() {
        let (provider, keys, stored) = sealed().await;
        provider.hangs.store(true, Ordering::Relaxed);
        advance(Duration::from_secs(1800)).await;
        let opened = join_all((0..100).map(|_| opens(&keys, &stored))).await;
        let short = Duration::from_secs(1);
        assert!(opened.iter().all(|(took, fault)| *took < short && fault.is_none()));
        assert_eq!(provider.calls.load(Ordering::Relaxed), 2, "one call for all callers");
        for _ in 0..100 {
            assert_eq!(opens(&keys, &stored).await, AT_ONCE);
            advance(Duration::from_secs(1)).await;
        }
        // After the hour the stale key is not used any more. The caller waits until the call times out.
        advance(Duration::from_secs(3600)).await;
        assert_eq!(opens(&keys, &stored).await.1, Some(KeyFault::Throttled));
    }

    #[tokio::test(start_paused = true)]
    async fn a_disabled_master_key_in_use_stops_within_the_cache_time() {
        let (provider, keys, stored) = sealed().await;
        *lock(&provider.fault) = Some(KeyFault::Disabled);
        let began = Instant::now();
        while keys.open(stored.clone()).await.is_ok() {
            assert!(began.elapsed() < keys.keyring.settings().cache);
            advance(Duration::from_secs(10)).await;
        }
        assert_eq!(keys.open(stored).await.unwrap_err().fault, KeyFault::Disabled);
    }

    #[tokio::test(start_paused = true)]
    async fn a_master_key_disabled_during_an_outage_stops_when_the_provider_is_back() {
        let (provider, keys, stored) = sealed().await;
        *lock(&provider.fault) = Some(KeyFault::Throttled);
        advance(Duration::from_secs(600)).await;
        assert_eq!(opens(&keys, &stored).await, AT_ONCE);
        *lock(&provider.fault) = Some(KeyFault::Disabled);
        // The data key was idle for a while, and now it is refused.
        advance(Duration::from_secs(600)).await;
        assert_eq!(opens(&keys, &stored).await.1, Some(KeyFault::Disabled));
    }

    #[tokio::test(start_paused = true)]
    async fn a_data_key_is_due_for_replacement_by_age_and_by_bytes() {
        let provider = Arc::default();
        let keys = keys(&provider);
        keys.follow(stream(&[0]));
        let (now, day) = (Timestamp::from_millis(2000), Duration::from_secs(24 * 3600));
        assert!(keys.worn_data_key(now.plus(day)).is_none());
        seal(&keys, &batch(b"data")).await;
        assert!(keys.worn_data_key(now).is_none());
        assert_eq!(keys.worn_data_key(now.plus(day)).unwrap().0, 0);
        seal(&keys, &batch(&[1; 100])).await;
        assert_eq!(keys.worn_data_key(now).unwrap().0, 0);
        keys.follow(stream(&[0, 1]));
        assert!(keys.worn_data_key(now).is_none());
    }
}
