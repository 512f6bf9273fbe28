//! The unwrapped data keys of a node's streams, cached.
//!
//! Unwrapping a data key is a call to the key provider, which may be a service in the network. So the result of each
//! call is cached, and three rules hold for every data key:
//! - When its master key is disabled and the provider responds, the data key stops working within the cache time.
//! - When the provider fails, a data key that has worked stays in use for one more hour (`STALE_TIME`).
//! - At most one call runs at a time (single flight). Callers that need its result wait for it together.
//!
//! ```text
//! age  0            4/5 of the cache time      the cache time           + 1 hour
//!      |  use it    |  use it, and refresh     |  stale: wait briefly   |  wait for the provider,
//!      |            |  in the background       |  for a refresh, then   |  and fail if it does not
//!      |            |                          |  use it                |  respond within 10 s
//! ```
//!
//! A caller of a stale key waits until 500 ms after the call to the provider began (`STALE_WAIT`), then uses the stale
//! key. For a minute after a failed call, callers do not wait at all (`NO_WAIT_TIME`). A key in use is refreshed before
//! it becomes stale, so normally no caller ever waits. Any response other than "throttled" takes effect at once.
//!
//! Never: a data key or a master key in a log, or on a disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_catalog::{DataKey, Encryption, StreamId};
use anabranch_types::{KeyFault, StreamName};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::KeyError;
use crate::provider::{DataKeySecret, KeyContext, KeyProvider, NewDataKey};

/// How data keys are cached and when they are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptionSettings {
    /// How long an unwrapped data key is used before the key provider must confirm it again. A master key that is
    /// disabled stops working within this time. Default: 5 minutes.
    pub cache: Duration,
    /// Age at which a data key is replaced. Default: one day.
    pub max_age: Duration,
    /// Number of bytes that one shard's leader encrypts under a data key before the key is replaced. Default: 256 GiB.
    pub max_bytes: u64,
}

impl Default for EncryptionSettings {
    fn default() -> Self {
        Self {
            cache: Duration::from_secs(300),
            max_age: Duration::from_secs(24 * 3600),
            max_bytes: 256 << 30,
        }
    }
}

/// The encryption of a stream, as the catalog describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamKeys {
    /// Id of the stream. A stream that is created again under the same name has another id.
    pub id: StreamId,
    /// Name of the stream.
    pub name: StreamName,
    /// Master key and wrapped data keys.
    pub encryption: Encryption,
}

impl StreamKeys {
    /// The encryption context under which the stream's data keys are wrapped.
    pub fn context(&self) -> KeyContext {
        KeyContext { stream: self.name.to_string(), stream_id: self.id.0 }
    }
}

/// The unwrapped data keys of a node's streams. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Keyring {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    provider: Arc<dyn KeyProvider>,
    settings: EncryptionSettings,
    slots: Mutex<HashMap<(StreamId, u32), Slot>>,
}

/// The cache entry of one data key. Callers that wait for the provider are woken when the call ends.
type Slot = watch::Sender<CachedKey>;

/// The cached result of the last call to the provider for a data key: a secret or a refusal.
#[derive(Debug, Default)]
struct CachedKey {
    secret: Option<DataKeySecret>,
    refusal: Option<KeyError>,
    /// Until then `secret` or `refusal` is the result, without a call to the provider.
    fresh_until: Option<Instant>,
    /// Until then `secret` is used if the provider does not respond.
    stale_until: Option<Instant>,
    /// Until then nobody waits for the provider, because the last call failed.
    no_wait_until: Option<Instant>,
    /// From then on the next use of the key starts a call to the provider.
    refresh_at: Option<Instant>,
    /// When the running call began; `None` if no call is running.
    call_began: Option<Instant>,
}

/// How long a refusal is returned again without a new call.
const REFUSAL_TIME: Duration = Duration::from_secs(1);
/// How long a data key stays in use after the cache time while the provider does not respond.
const STALE_TIME: Duration = Duration::from_secs(3600);
/// Pause after a failed call, before the next one.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How long no caller waits for the provider after a failed call. Longer than `RETRY_AFTER` and `CALL_TIMEOUT`
/// together, so while a data key is in use, the next failure always comes before this time is over.
const NO_WAIT_TIME: Duration = Duration::from_secs(60);
/// How long a caller waits for the provider before it uses a stale data key. A healthy provider responds in some
/// milliseconds.
const STALE_WAIT: Duration = Duration::from_millis(500);
/// A call that takes longer counts as failed.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The provider is called when this part of the cache time is left: one fifth.
const REFRESH_PART: u32 = 5;
/// Number of cache entries beyond which unusable entries are removed.
const MANY_SLOTS: usize = 4096;
/// Number of cache entries beyond which stale entries are removed too, although they would help while the provider
/// fails.
const MAX_SLOTS: usize = 1 << 16;

impl Keyring {
    /// Makes an empty cache in front of `provider`.
    pub fn new(provider: Arc<dyn KeyProvider>, settings: EncryptionSettings) -> Self {
        Self { inner: Arc::new(Inner { provider, settings, slots: Mutex::default() }) }
    }

    /// The settings that [`Self::new`] got.
    pub fn settings(&self) -> &EncryptionSettings {
        &self.inner.settings
    }

    /// Has the provider make a new data key. Returns it wrapped by the master key, as the catalog stores it.
    ///
    /// # Errors
    /// [`KeyError`] says what is wrong with the master key.
    pub async fn new_data_key(
        &self,
        master_key: &str,
        context: &KeyContext,
    ) -> Result<Vec<u8>, KeyError> {
        let NewDataKey { wrapped, .. } =
            self.inner.provider.new_data_key(master_key, context).await?;
        Ok(wrapped)
    }

    /// Data key `number` of the stream, unwrapped now or from the cache.
    pub(crate) async fn data_key(
        &self,
        stream: &Arc<StreamKeys>,
        number: u32,
    ) -> Result<DataKeySecret, KeyError> {
        let slot = self.slot(stream.id, number);
        loop {
            let now = Instant::now();
            let (usable, is_due) = {
                let cached = slot.borrow();
                (cached.usable(now), cached.is_call_due(now))
            };
            // A usable key may be due for a refresh. The call then runs in the background, and this caller does not
            // wait.
            let started = if is_due { self.start_call(&slot, stream, number) } else { Ok(()) };
            if let Some(result) = usable {
                return result;
            }
            started?;
            if let Some(result) = await_call(&slot, now).await {
                return result;
            }
        }
    }

    /// Starts a call to the provider, unless another caller has just started one.
    fn start_call(
        &self,
        slot: &Slot,
        stream: &Arc<StreamKeys>,
        number: u32,
    ) -> Result<(), KeyError> {
        let DataKey { master_key, wrapped, .. } =
            stream.encryption.data_keys.get(&number).ok_or_else(|| unknown(stream, number))?;
        let (master_key, wrapped) = (master_key.clone(), wrapped.clone());
        let Some(call) = ProviderCall::begin(slot, self.inner.settings.cache) else {
            return Ok(());
        };
        // The call runs in a task of its own: if the caller is cancelled, the result is cached all the same.
        let (keyring, context) = (self.clone(), stream.context());
        tokio::spawn(async move {
            let provider = &keyring.inner.provider;
            let unwrapped = provider.unwrap_data_key(&master_key, &wrapped, &context);
            let unwrapped = timeout(CALL_TIMEOUT, unwrapped).await;
            call.finish(unwrapped.unwrap_or_else(|_| Err(no_response())));
        });
        Ok(())
    }

    fn slot(&self, stream: StreamId, number: u32) -> Slot {
        let mut slots = self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(&(stream, number)) {
            return slot.clone();
        }
        if slots.len() >= MANY_SLOTS {
            let now = Instant::now();
            let is_full = slots.len() >= MAX_SLOTS;
            slots.retain(|_, slot| slot.borrow().is_worth_keeping(now, is_full));
        }
        slots.entry((stream, number)).or_default().clone()
    }
}

/// The error for a data key that is not in this node's copy of the catalog. Either the copy is too old to have it, or
/// the key has been removed.
fn unknown(stream: &StreamKeys, number: u32) -> KeyError {
    let is_to_come = number >= stream.encryption.next_data_key;
    let fault = if is_to_come { KeyFault::Throttled } else { KeyFault::NotFound };
    KeyError::new(fault, format!("Data key {number} of stream {} is not known.", stream.name))
}

fn no_response() -> KeyError {
    KeyError::new(KeyFault::Throttled, "The key provider does not respond.")
}

/// Waits for the running call and returns its result. `None` if the call takes long and a stale key can be used
/// instead.
async fn await_call(slot: &Slot, now: Instant) -> Option<Result<DataKeySecret, KeyError>> {
    let mut cached = slot.subscribe();
    let wait_until = cached.borrow().wait_until(now);
    let ended = cached.wait_for(|cached| cached.call_began.is_none());
    let ended = match wait_until {
        Some(wait_until) => timeout_at(wait_until, ended).await.ok()?,
        None => ended.await,
    };
    ended.ok()?.last_result()
}

/// The running call to the provider for one data key. If it is dropped before `finish`, it counts as failed.
struct ProviderCall {
    slot: Slot,
    cache: Duration,
    is_over: bool,
}

impl ProviderCall {
    /// `None` if a call is running already, or if another call ended since the caller looked.
    fn begin(slot: &Slot, cache: Duration) -> Option<Self> {
        let now = Instant::now();
        let mut is_begun = false;
        slot.send_if_modified(|cached| {
            is_begun = cached.is_call_due(now);
            if is_begun {
                cached.call_began = Some(now);
            }
            // Waiting callers wait for the end of the call, so its beginning wakes nobody.
            false
        });
        is_begun.then(|| Self { slot: slot.clone(), cache, is_over: false })
    }

    fn finish(mut self, unwrapped: Result<DataKeySecret, KeyError>) {
        self.end(unwrapped);
    }

    fn end(&mut self, unwrapped: Result<DataKeySecret, KeyError>) {
        self.is_over = true;
        self.slot.send_modify(|cached| cached.record(unwrapped, self.cache));
    }
}

impl Drop for ProviderCall {
    fn drop(&mut self) {
        if !self.is_over {
            self.end(Err(no_response()));
        }
    }
}

fn is_ahead(now: Instant, time: Option<Instant>) -> bool {
    time.is_some_and(|time| now < time)
}

impl CachedKey {
    /// Whether a call to the provider must start now: none is running, and the cached result is due or not usable.
    fn is_call_due(&self, now: Instant) -> bool {
        self.call_began.is_none() && (!is_ahead(now, self.refresh_at) || self.usable(now).is_none())
    }

    /// Until when a caller waits for the running call, if it can use a stale key afterwards. `None` if it has to wait
    /// for the end of the call.
    fn wait_until(&self, now: Instant) -> Option<Instant> {
        let has_stale = self.secret.is_some() && is_ahead(now, self.stale_until);
        self.call_began.filter(|_| has_stale).map(|began| began + STALE_WAIT)
    }

    /// The result that a caller may use without waiting for the provider.
    fn usable(&self, now: Instant) -> Option<Result<DataKeySecret, KeyError>> {
        let is_failing = is_ahead(now, self.no_wait_until)
            || self.wait_until(now).is_some_and(|wait_until| wait_until <= now);
        let is_stale = is_failing && is_ahead(now, self.stale_until);
        if is_ahead(now, self.fresh_until) || is_stale { self.last_result() } else { None }
    }

    /// The result of the last call, however old it is.
    fn last_result(&self) -> Option<Result<DataKeySecret, KeyError>> {
        match (&self.refusal, &self.secret) {
            (Some(error), _) => Some(Err(error.clone())),
            (None, Some(secret)) => Some(Ok(secret.clone())),
            (None, None) => None,
        }
    }

    /// Whether the entry may still be used. If the cache is full, only a running call and a fresh result count.
    fn is_worth_keeping(&self, now: Instant, is_full: bool) -> bool {
        let until = if is_full { self.fresh_until } else { self.fresh_until.max(self.stale_until) };
        self.call_began.is_some() || is_ahead(now, until)
    }

    fn record(&mut self, unwrapped: Result<DataKeySecret, KeyError>, cache: Duration) {
        let now = Instant::now();
        self.call_began = None;
        match unwrapped {
            Ok(secret) => {
                *self = Self {
                    secret: Some(secret),
                    fresh_until: Some(now + cache),
                    stale_until: Some(now + cache + STALE_TIME),
                    refresh_at: Some(now + cache - cache / REFRESH_PART),
                    ..Self::default()
                };
            }
            // The provider could not decide, and the key has worked before: keep it.
            Err(error) if error.fault == KeyFault::Throttled && is_ahead(now, self.stale_until) => {
                tracing::warn!(%error, "data key stays in use");
                self.refresh_at = Some(now + RETRY_AFTER);
                self.no_wait_until = Some(now + NO_WAIT_TIME);
            }
            // The provider refused, or there is nothing to keep: forget the secret.
            Err(error) => {
                let again = Some(now + REFUSAL_TIME);
                *self = Self {
                    refusal: Some(error),
                    fresh_until: again,
                    refresh_at: again,
                    ..Self::default()
                };
            }
        }
    }
}
