use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_catalog::{DataKey, Encryption, StreamId};
use anabranch_types::{KeyFault, StreamName};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::KeyError;
use crate::provider::{DataKeySecret, KeyContext, KeyProvider, NewDataKey};

/// How data keys are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptionSettings {
    /// How long a data key is kept unwrapped at most without its master key having been asked again: a master key that is
    /// disabled is used for as long. Default: 5 minutes.
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
    slots: Mutex<HashMap<(StreamId, u32), Slot>>,
}

/// What is known of one data key; who waits for its master key's holder is told when that has answered.
type Slot = watch::Sender<Known>;

/// What is known of a data key. The holder is asked for it by one at a time, before its time is over: a key that is used
/// stops in time without anybody waiting for the answer.
///
/// ```text
/// learned       cache - cache / 5         cache                             cache + UNREACHABLE
///    |---- said ----|-- said, and asked ----|-- asked: awaited for PATIENCE --|  refused without an answer
///                                              then, or if the last question got none, said
/// ```
#[derive(Debug, Default)]
struct Known {
    secret: Option<DataKeySecret>,
    refused: Option<KeyError>,
    /// Until when `secret` or `refused` is said whatever the holder does.
    until: Option<Instant>,
    /// Until when `secret` is used while the holder doesn't answer.
    unreachable_until: Option<Instant>,
    /// Until when the holder counts as one that doesn't: nobody waits for it.
    silent_until: Option<Instant>,
    /// When the holder is asked again.
    ask_at: Option<Instant>,
    /// Since when it is being asked.
    asked: Option<Instant>,
}

/// For how long a refusal is said again without asking.
const REFUSED_AGAIN: Duration = Duration::from_secs(1);
/// For how long a data key is used whose master key's holder doesn't answer.
const UNREACHABLE: Duration = Duration::from_secs(3600);
/// Before a holder that didn't answer is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// For how long nobody waits for a holder that didn't answer: beyond the next question, if the data key is used at all.
const SILENT: Duration = Duration::from_secs(60);
/// How long a data key whose time is over waits for the holder, which takes some milliseconds.
const PATIENCE: Duration = Duration::from_millis(500);
/// A holder that says nothing for so long doesn't answer.
const ANSWER: Duration = Duration::from_secs(10);
/// The holder is asked this part of the cache's time before it is over.
const AHEAD_PART: u32 = 5;
/// Data keys that are remembered; beyond it those that have run out are forgotten.
const MANY_SLOTS: usize = 4096;
/// Beyond it those that would have to be asked for again are forgotten too, though they would do while their holder is away.
const MAX_SLOTS: usize = 1 << 16;

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
        loop {
            let now = Instant::now();
            let (answer, is_due) = {
                let known = slot.borrow();
                (known.answer(now), known.is_to_be_asked(now))
            };
            let asked = if is_due { self.ask(&slot, stream, number) } else { Ok(()) };
            if let Some(answer) = answer {
                return answer;
            }
            asked?;
            if let Some(answer) = await_answer(&slot, now).await {
                return answer;
            }
        }
    }

    /// Has the master key's holder asked, unless somebody else just has.
    fn ask(&self, slot: &Slot, stream: &Arc<StreamKeys>, number: u32) -> Result<(), KeyError> {
        let DataKey { master_key, wrapped, .. } =
            stream.encryption.data_keys.get(&number).ok_or_else(|| unknown(stream, number))?;
        let (master_key, wrapped) = (master_key.clone(), wrapped.clone());
        let Some(question) = Question::begin(slot, self.inner.settings.cache) else {
            return Ok(());
        };
        // In a task of its own: who asked may give up, and what the holder answers is remembered all the same.
        let (keyring, context) = (self.clone(), stream.context());
        tokio::spawn(async move {
            let provider = &keyring.inner.provider;
            let unwrapped = provider.unwrap_data_key(&master_key, &wrapped, &context);
            question.answer(timeout(ANSWER, unwrapped).await.unwrap_or_else(|_| Err(silence())));
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
            slots.retain(|_, slot| slot.borrow().is_remembered(now, is_full));
        }
        slots.entry((stream, number)).or_default().clone()
    }
}

/// A data key that isn't in the catalog: any more, or yet, as far as this node knows.
fn unknown(stream: &StreamKeys, number: u32) -> KeyError {
    let is_to_come = number >= stream.encryption.next_data_key;
    let fault = if is_to_come { KeyFault::Throttled } else { KeyFault::NotFound };
    KeyError::new(fault, format!("Data key {number} of stream {} is not known.", stream.name))
}

fn silence() -> KeyError {
    KeyError::new(KeyFault::Throttled, "The master key's holder doesn't answer.")
}

/// What the holder answers to the question that is under way; nothing if that takes long and the secret is known.
async fn await_answer(slot: &Slot, now: Instant) -> Option<Result<DataKeySecret, KeyError>> {
    let mut known = slot.subscribe();
    let patience = known.borrow().patience(now);
    let answered = known.wait_for(|known| known.asked.is_none());
    let answered = match patience {
        Some(patience) => timeout_at(patience, answered).await.ok()?,
        None => answered.await,
    };
    answered.ok()?.learned()
}

/// The one question to the holder that is under way for a data key. One that is dropped got no answer.
struct Question {
    slot: Slot,
    cache: Duration,
    is_over: bool,
}

impl Question {
    /// Nothing if one is under way, or another one was answered meanwhile.
    fn begin(slot: &Slot, cache: Duration) -> Option<Self> {
        let now = Instant::now();
        let mut is_begun = false;
        slot.send_if_modified(|known| {
            is_begun = known.is_to_be_asked(now);
            if is_begun {
                known.asked = Some(now);
            }
            // Who waits does so for its end.
            false
        });
        is_begun.then(|| Self { slot: slot.clone(), cache, is_over: false })
    }

    fn answer(mut self, unwrapped: Result<DataKeySecret, KeyError>) {
        self.end(unwrapped);
    }

    fn end(&mut self, unwrapped: Result<DataKeySecret, KeyError>) {
        self.is_over = true;
        self.slot.send_modify(|known| known.learn(unwrapped, self.cache));
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if !self.is_over {
            self.end(Err(silence()));
        }
    }
}

fn is_ahead(now: Instant, time: Option<Instant>) -> bool {
    time.is_some_and(|time| now < time)
}

impl Known {
    /// Whether the holder is to be asked, and nobody does.
    fn is_to_be_asked(&self, now: Instant) -> bool {
        self.asked.is_none() && (!is_ahead(now, self.ask_at) || self.answer(now).is_none())
    }

    /// Until when the holder's answer is worth waiting for; however long, if there is no secret to go on with.
    fn patience(&self, now: Instant) -> Option<Instant> {
        let goes_on = self.secret.is_some() && is_ahead(now, self.unreachable_until);
        self.asked.filter(|_| goes_on).map(|asked| asked + PATIENCE)
    }

    /// What may be said without the holder.
    fn answer(&self, now: Instant) -> Option<Result<DataKeySecret, KeyError>> {
        let is_silent = is_ahead(now, self.silent_until)
            || self.patience(now).is_some_and(|patience| patience <= now);
        let goes_on = is_silent && is_ahead(now, self.unreachable_until);
        if is_ahead(now, self.until) || goes_on { self.learned() } else { None }
    }

    /// What is known, however old it is.
    fn learned(&self) -> Option<Result<DataKeySecret, KeyError>> {
        match (&self.refused, &self.secret) {
            (Some(error), _) => Some(Err(error.clone())),
            (None, Some(secret)) => Some(Ok(secret.clone())),
            (None, None) => None,
        }
    }

    /// Whether it may still be of use; where there is no room, of use at once.
    fn is_remembered(&self, now: Instant, is_full: bool) -> bool {
        let until = if is_full { self.until } else { self.until.max(self.unreachable_until) };
        self.asked.is_some() || is_ahead(now, until)
    }

    fn learn(&mut self, unwrapped: Result<DataKeySecret, KeyError>, cache: Duration) {
        let now = Instant::now();
        self.asked = None;
        match unwrapped {
            Ok(secret) => {
                *self = Self {
                    secret: Some(secret),
                    until: Some(now + cache),
                    unreachable_until: Some(now + cache + UNREACHABLE),
                    ask_at: Some(now + cache - cache / AHEAD_PART),
                    ..Self::default()
                };
            }
            Err(error)
                if error.fault == KeyFault::Throttled && is_ahead(now, self.unreachable_until) =>
            {
                tracing::warn!(%error, "data key stays in use");
                self.ask_at = Some(now + ASK_AGAIN);
                self.silent_until = Some(now + SILENT);
            }
            Err(error) => {
                let again = Some(now + REFUSED_AGAIN);
                *self =
                    Self { refused: Some(error), until: again, ask_at: again, ..Self::default() };
            }
        }
    }
}
