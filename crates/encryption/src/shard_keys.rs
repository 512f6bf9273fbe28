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

/// Encryption of one shard's records, as a replica of it uses it.
#[derive(Debug)]
pub struct ShardKeys {
    keyring: Keyring,
    shard: ShardId,
    stream: ArcSwapOption<StreamKeys>,
    sealer: Mutex<Option<Arc<BatchSealer>>>,
    openers: Mutex<Vec<Arc<BatchOpener>>>,
}

/// A batch as a reader gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The encoded batch.
    pub batch: Bytes,
    /// Whether it is stored encrypted.
    pub encrypted: bool,
}

/// Sealers whose batches are opened without deriving their keys again.
const OPENERS: usize = 8;

impl ShardKeys {
    /// Encryption of `shard`, of whose stream nothing is known yet.
    pub fn new(keyring: Keyring, shard: ShardId) -> Self {
        let (stream, sealer, openers) =
            (ArcSwapOption::empty(), Mutex::default(), Mutex::default());
        Self { keyring, shard, stream, sealer, openers }
    }

    /// Follows what the catalog says.
    pub fn follow(&self, stream: Arc<StreamKeys>) {
        self.stream.store(Some(stream));
    }

    /// What seals the shard's new batches; `None` if they are stored as they are.
    ///
    /// # Errors
    /// [`KeyError`] if the data key can't be unwrapped: then nothing is stored.
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

    /// A stored batch as it was before it was sealed, if it was.
    ///
    /// # Errors
    /// [`KeyError`] if its data key can't be unwrapped, or it isn't what was stored.
    pub async fn open(&self, stored: Bytes) -> Result<Opened, KeyError> {
        let Some((head, sealed)) = Batch::sealed_part(&stored) else {
            return Ok(Opened { batch: stored, encrypted: false });
        };
        let broken =
            || KeyError::new(KeyFault::InvalidState, "An encrypted batch is not what was stored.");
        let header = Header::of(&sealed).ok_or_else(broken)?;
        let unknown = || KeyError::new(KeyFault::Throttled, "The stream's keys are not known yet.");
        let stream = self.stream.load_full().ok_or_else(unknown)?;
        // Asked for each batch: a master key that is disabled opens nothing, however often it did before.
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

    /// The data key that ought to be replaced, if this replica has sealed under it: because of its age, or of what was
    /// sealed.
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

    /// Unwraps a data key to 32 times its only byte, and says what it is told to say.
    #[derive(Debug, Default)]
    struct Holder {
        fault: Mutex<Option<KeyFault>>,
        /// Then it says nothing at all.
        hangs: AtomicBool,
        asked: AtomicUsize,
    }

    impl KeyProvider for Holder {
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
                self.asked.fetch_add(1, Ordering::Relaxed);
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

    fn keys(holder: &Arc<Holder>) -> ShardKeys {
        let provider = Arc::clone(holder) as Arc<dyn KeyProvider>;
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

    /// A batch under a stream's first data key, which has just been unwrapped.
    async fn sealed() -> (Arc<Holder>, ShardKeys, Bytes) {
        let holder = Arc::new(Holder::default());
        let keys = keys(&holder);
        keys.follow(stream(&[0]));
        let stored = seal(&keys, &batch(b"data")).await;
        (holder, keys, stored)
    }

    #[tokio::test(start_paused = true)]
    async fn batches_of_every_data_key_and_of_none_are_opened() {
        let (holder, batch) = (Arc::default(), batch(b"data"));
        let keys = keys(&holder);
        let mut stored = vec![seal(&keys, &batch).await];
        for numbers in [&[0][..], &[0, 1], &[0, 1, 2]] {
            keys.follow(stream(numbers));
            stored.push(seal(&keys, &batch).await);
        }
        let elsewhere = self::keys(&holder);
        elsewhere.follow(stream(&[0, 1, 2]));
        for keys in [&keys, &elsewhere] {
            for (place, stored) in stored.iter().enumerate() {
                let opened = keys.open(stored.clone()).await.unwrap();
                assert_eq!(opened, Opened { batch: batch.bytes().clone(), encrypted: place > 0 });
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_master_key_that_is_disabled_is_used_for_no_longer_than_the_cache() {
        let (holder, keys, stored) = sealed().await;
        *lock(&holder.fault) = Some(KeyFault::Disabled);
        assert!(keys.open(stored.clone()).await.is_ok());
        assert_eq!(holder.asked.load(Ordering::Relaxed), 1);
        advance(Duration::from_secs(301)).await;
        assert_eq!(keys.open(stored.clone()).await.unwrap_err().fault, KeyFault::Disabled);
        assert_eq!(keys.sealer().await.unwrap_err().fault, KeyFault::Disabled);
        assert_eq!(holder.asked.load(Ordering::Relaxed), 2);
        *lock(&holder.fault) = None;
        advance(Duration::from_secs(2)).await;
        assert!(keys.open(stored).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_does_not_answer_holds_nobody_up_for_an_hour() {
        let (holder, keys, stored) = sealed().await;
        *lock(&holder.fault) = Some(KeyFault::Throttled);
        for _ in 0..30 {
            advance(Duration::from_secs(120)).await;
            assert!(keys.open(stored.clone()).await.is_ok());
        }
        advance(Duration::from_secs(600)).await;
        assert_eq!(keys.open(stored).await.unwrap_err().fault, KeyFault::Throttled);
    }

    /// How long opening takes, and whether it is refused, and as what.
    async fn opens(keys: &ShardKeys, stored: &Bytes) -> (Duration, Option<KeyFault>) {
        let began = Instant::now();
        let opened = keys.open(stored.clone()).await;
        (began.elapsed(), opened.err().map(|error| error.fault))
    }

    const AT_ONCE: (Duration, Option<KeyFault>) = (Duration::ZERO, None);

    #[tokio::test(start_paused = true)]
    async fn a_key_in_use_never_waits_for_a_holder_that_hangs() {
        let (holder, keys, stored) = sealed().await;
        holder.hangs.store(true, Ordering::Relaxed);
        for _ in 0..360 {
            advance(Duration::from_secs(10)).await;
            assert_eq!(opens(&keys, &stored).await, AT_ONCE);
        }
        let asked = holder.asked.load(Ordering::Relaxed);
        assert!((60..=240).contains(&asked), "{asked} questions, one after the other");
        // It is back: an hour begins anew.
        holder.hangs.store(false, Ordering::Relaxed);
        for _ in 0..6 {
            advance(Duration::from_secs(10)).await;
            assert_eq!(opens(&keys, &stored).await, AT_ONCE);
        }
        holder.hangs.store(true, Ordering::Relaxed);
        for _ in 0..360 {
            advance(Duration::from_secs(10)).await;
            assert_eq!(opens(&keys, &stored).await, AT_ONCE);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_was_idle_waits_a_moment_for_a_holder_that_hangs_and_only_once() {
        let (holder, keys, stored) = sealed().await;
        holder.hangs.store(true, Ordering::Relaxed);
        advance(Duration::from_secs(1800)).await;
        let opened = join_all((0..100).map(|_| opens(&keys, &stored))).await;
        let moment = Duration::from_secs(1);
        assert!(opened.iter().all(|(took, fault)| *took < moment && fault.is_none()));
        assert_eq!(holder.asked.load(Ordering::Relaxed), 2, "one question for all");
        for _ in 0..100 {
            assert_eq!(opens(&keys, &stored).await, AT_ONCE);
            advance(Duration::from_secs(1)).await;
        }
        // Nothing is used for longer than the hour: then who asks waits until it counts as no answer.
        advance(Duration::from_secs(3600)).await;
        assert_eq!(opens(&keys, &stored).await.1, Some(KeyFault::Throttled));
    }

    #[tokio::test(start_paused = true)]
    async fn a_master_key_that_is_disabled_stops_in_time_while_it_is_used() {
        let (holder, keys, stored) = sealed().await;
        *lock(&holder.fault) = Some(KeyFault::Disabled);
        let began = Instant::now();
        while keys.open(stored.clone()).await.is_ok() {
            assert!(began.elapsed() < keys.keyring.settings().cache);
            advance(Duration::from_secs(10)).await;
        }
        assert_eq!(keys.open(stored).await.unwrap_err().fault, KeyFault::Disabled);
    }

    #[tokio::test(start_paused = true)]
    async fn a_master_key_that_was_disabled_while_its_holder_was_away_stops_once_that_is_back() {
        let (holder, keys, stored) = sealed().await;
        *lock(&holder.fault) = Some(KeyFault::Throttled);
        advance(Duration::from_secs(600)).await;
        assert_eq!(opens(&keys, &stored).await, AT_ONCE);
        *lock(&holder.fault) = Some(KeyFault::Disabled);
        // Not used for a while, and not used once more.
        advance(Duration::from_secs(600)).await;
        assert_eq!(opens(&keys, &stored).await.1, Some(KeyFault::Disabled));
    }

    #[tokio::test(start_paused = true)]
    async fn a_data_key_is_worn_by_age_and_by_bytes() {
        let holder = Arc::default();
        let keys = keys(&holder);
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
