use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_catalog::{DataKey, Encryption, StreamId};
use anabranch_types::{KeyFault, StreamName};
use tokio::time::Instant;

use crate::error::KeyError;
use crate::provider::{DataKeySecret, KeyContext, KeyProvider, NewDataKey};

/// How data keys are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptionSettings {
    /// How long a data key is kept unwrapped before its master key is asked again: a master key that is disabled is
    /// used for as long at most. Default: 5 minutes.
    pub cache: Duration,
    /// Age at which a data key is replaced. Default: a day.
    pub max_age: Duration,
    /// Bytes that one shard's leader seals under a data key before it is replaced. Default: 256 GiB.
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

/// What the catalog says of a stream's encryption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamKeys {
    /// Which stream.
    pub id: StreamId,
    /// Its name.
    pub name: StreamName,
    /// How its records are stored.
    pub encryption: Encryption,
}

impl StreamKeys {
    /// What the stream's data keys are made for.
    pub fn context(&self) -> KeyContext {
        KeyContext { stream: self.name.to_string(), stream_id: self.id.0 }
    }
}

/// The data keys of a node's streams, unwrapped for as long as the settings say. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Keyring {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    provider: Arc<dyn KeyProvider>,
    settings: EncryptionSettings,
    slots: Mutex<HashMap<(StreamId, u32), Arc<Slot>>>,
}

/// One data key; who unwraps it holds the lock, and others wait for the same answer.
type Slot = tokio::sync::Mutex<Known>;

#[derive(Debug, Default)]
struct Known {
    secret: Option<DataKeySecret>,
    /// Until when `secret` may be used, or `refused` is said again.
    until: Option<Instant>,
    /// Until when `secret` is used while its master key's holder doesn't answer.
    unreachable_until: Option<Instant>,
    refused: Option<KeyError>,
}

/// For how long a refusal is said again without asking.
const REFUSED_AGAIN: Duration = Duration::from_secs(1);
/// For how long a data key is used whose master key's holder doesn't answer.
const UNREACHABLE: Duration = Duration::from_secs(3600);
/// Before the holder is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Data keys that are remembered; beyond it those that have run out are forgotten.
const MANY_SLOTS: usize = 4096;

impl Keyring {
    /// The data keys that `provider` makes and unwraps.
    pub fn new(provider: Arc<dyn KeyProvider>, settings: EncryptionSettings) -> Self {
        Self { inner: Arc::new(Inner { provider, settings, slots: Mutex::default() }) }
    }

    /// How data keys are used.
    pub fn settings(&self) -> &EncryptionSettings {
        &self.inner.settings
    }

    /// A new data key, wrapped.
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

    /// Data key `number` of the stream, unwrapped now or not long ago.
    pub(crate) async fn data_key(
        &self,
        stream: &Arc<StreamKeys>,
        number: u32,
    ) -> Result<DataKeySecret, KeyError> {
        let slot = self.slot(stream.id, number);
        if let Ok(known) = slot.try_lock()
            && let Some(answer) = known.answer()
        {
            return answer;
        }
        // In a task of its own: who asked may give up, and what the holder answers is remembered all the same.
        let (keyring, stream) = (self.clone(), Arc::clone(stream));
        let asked = tokio::spawn(async move { keyring.ask(&slot, &stream, number).await });
        asked.await.unwrap_or_else(|_ended| {
            Err(KeyError::new(KeyFault::Throttled, "The node is stopping."))
        })
    }

    /// Asks the master key's holder, unless somebody else just has.
    async fn ask(
        &self,
        slot: &Slot,
        stream: &StreamKeys,
        number: u32,
    ) -> Result<DataKeySecret, KeyError> {
        let mut known = slot.lock().await;
        if let Some(answer) = known.answer() {
            return answer;
        }
        let DataKey { master_key, wrapped, .. } =
            stream.encryption.data_keys.get(&number).ok_or_else(|| unknown(stream, number))?;
        let context = stream.context();
        let unwrapped = self.inner.provider.unwrap_data_key(master_key, wrapped, &context).await;
        known.learn(unwrapped, self.inner.settings.cache)
    }

    fn slot(&self, stream: StreamId, number: u32) -> Arc<Slot> {
        let mut slots = self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(&(stream, number)) {
            return Arc::clone(slot);
        }
        if slots.len() >= MANY_SLOTS {
            let now = Instant::now();
            slots.retain(|_, slot| {
                slot.try_lock().map_or(true, |known| known.until.is_some_and(|until| now < until))
            });
        }
        Arc::clone(slots.entry((stream, number)).or_default())
    }
}

/// A data key that isn't in the catalog: any more, or yet, as far as this node knows.
fn unknown(stream: &StreamKeys, number: u32) -> KeyError {
    let is_to_come = number >= stream.encryption.next_data_key;
    let fault = if is_to_come { KeyFault::Throttled } else { KeyFault::NotFound };
    KeyError::new(fault, format!("Data key {number} of stream {} is not known.", stream.name))
}

impl Known {
    /// What may still be said without asking.
    fn answer(&self) -> Option<Result<DataKeySecret, KeyError>> {
        self.until.filter(|until| Instant::now() < *until)?;
        match (&self.refused, &self.secret) {
            (Some(error), _) => Some(Err(error.clone())),
            (None, Some(secret)) => Some(Ok(secret.clone())),
            (None, None) => None,
        }
    }

    fn learn(
        &mut self,
        unwrapped: Result<DataKeySecret, KeyError>,
        cache: Duration,
    ) -> Result<DataKeySecret, KeyError> {
        let now = Instant::now();
        match unwrapped {
            Ok(secret) => {
                *self = Self {
                    secret: Some(secret.clone()),
                    until: Some(now + cache),
                    unreachable_until: Some(now + cache + UNREACHABLE),
                    refused: None,
                };
                Ok(secret)
            }
            Err(error) => {
                let goes_on = error.fault == KeyFault::Throttled
                    && self.unreachable_until.is_some_and(|until| now < until);
                if let Some(secret) = self.secret.clone().filter(|_| goes_on) {
                    tracing::warn!(%error, "data key stays in use");
                    (self.until, self.refused) = (Some(now + ASK_AGAIN), None);
                    return Ok(secret);
                }
                if error.fault != KeyFault::Throttled {
                    self.secret = None;
                }
                (self.until, self.refused) = (Some(now + REFUSED_AGAIN), Some(error.clone()));
                Err(error)
            }
        }
    }
}
