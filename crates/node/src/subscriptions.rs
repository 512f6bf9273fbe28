//! Which subscription is pushed the records of which shard: one for each consumer and shard. The node that leads the
//! shard decides (ADR-0017).
//!
//! ```text
//! SubscribeToShard 1 ── occupies the slot (shard, consumer) ─────────X displaced
//! SubscribeToShard 2 ── refused during the first 5 s ── then takes the slot ──────
//! ```
//!
//! Nothing of it is stored. When another node begins to lead, subscriptions come to it in any order, and each tells
//! its age. So an older one never displaces a younger one.
//!
//! Source: API reference of SubscribeToShard.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anabranch_types::GroupId;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// For this long after its beginning a subscription can't be displaced by a new one.
const UNDISTURBED: Duration = Duration::from_secs(5);

/// Another subscription of the consumer has the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InUse;

/// The subscription slots of the shards that a node leads. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscriptions {
    slots: Arc<Mutex<Slots>>,
}

#[derive(Debug, Default)]
struct Slots {
    occupied: HashMap<Key, Occupied>,
    /// Number of the next occupation. It tells apart two that one subscription had one after the other.
    next_number: u64,
}

/// The shard's group and the consumer.
type Key = (GroupId, String);

#[derive(Debug)]
struct Occupied {
    id: u64,
    number: u64,
    began: Instant,
    _ends: oneshot::Sender<()>,
}

/// A subscription's right to be pushed the records of a shard. The slot becomes free when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    subscriptions: Subscriptions,
    key: Key,
    number: u64,
    ended: oneshot::Receiver<()>,
}

impl Subscriptions {
    /// Number of slots that are taken.
    pub(crate) fn count(&self) -> usize {
        self.lock().occupied.len()
    }

    /// Takes the slot of `consumer` at a shard for subscription `id`, which began `age` ago; zero for a new
    /// subscription. Displaces the subscription that had the slot.
    ///
    /// # Errors
    /// [`InUse`] for a new subscription if another one began less than five seconds ago, and for a subscription that
    /// goes on if another one is younger.
    pub(crate) fn take(
        &self,
        group: GroupId,
        consumer: String,
        id: u64,
        age: Duration,
    ) -> Result<Slot, InUse> {
        let (now, key) = (Instant::now(), (group, consumer));
        let began = now.checked_sub(age).unwrap_or(now);
        let mut slots = self.lock();
        if let Some(taken) = slots.occupied.get(&key).filter(|taken| taken.id != id) {
            let is_new = age.is_zero();
            let stays = if is_new { now - taken.began < UNDISTURBED } else { taken.began > began };
            if stays {
                return Err(InUse);
            }
        }
        let number = slots.next_number;
        slots.next_number += 1;
        let (ends, ended) = oneshot::channel();
        slots.occupied.insert(key.clone(), Occupied { id, number, began, _ends: ends });
        Ok(Slot { subscriptions: self.clone(), key, number, ended })
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Returns when another subscription has taken the slot.
    pub(crate) async fn is_displaced(&mut self) {
        let _dropped = (&mut self.ended).await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut slots = self.subscriptions.lock();
        if slots.occupied.get(&self.key).is_some_and(|taken| taken.number == self.number) {
            slots.occupied.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::time::advance;

    use super::*;

    const NEW: Duration = Duration::ZERO;

    fn take(subscriptions: &Subscriptions, id: u64, age: Duration) -> Result<Slot, InUse> {
        subscriptions.take(GroupId(1), "app".into(), id, age)
    }

    fn is_displaced(slot: &mut Slot) -> bool {
        slot.is_displaced().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn a_newer_subscription_is_refused_for_five_seconds_and_then_takes_the_slot() {
        let subscriptions = Subscriptions::default();
        let mut first = take(&subscriptions, 1, NEW).unwrap();
        advance(Duration::from_millis(4_999)).await;
        assert_eq!(take(&subscriptions, 2, NEW).unwrap_err(), InUse);
        assert!(!is_displaced(&mut first));
        advance(Duration::from_millis(1)).await;
        let mut second = take(&subscriptions, 2, NEW).unwrap();
        assert!(is_displaced(&mut first) && !is_displaced(&mut second));
        drop(first);
        assert_eq!(take(&subscriptions, 3, NEW).unwrap_err(), InUse, "the second still has it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_is_free_at_once_when_it_is_left_and_each_consumer_and_shard_has_its_own() {
        let subscriptions = Subscriptions::default();
        let first = take(&subscriptions, 1, NEW).unwrap();
        assert!(subscriptions.take(GroupId(2), "app".into(), 2, NEW).is_ok());
        assert!(subscriptions.take(GroupId(1), "other".into(), 3, NEW).is_ok());
        drop(first);
        assert!(take(&subscriptions, 4, NEW).is_ok());
        assert!(subscriptions.lock().occupied.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscription_that_goes_on_keeps_its_slot_and_yields_only_to_a_younger_one() {
        let subscriptions = Subscriptions::default();
        let mut broken = take(&subscriptions, 1, NEW).unwrap();
        let mut again = take(&subscriptions, 1, Duration::from_millis(10)).unwrap();
        assert!(is_displaced(&mut broken));
        drop(broken);
        assert!(!is_displaced(&mut again));
        assert_eq!(take(&subscriptions, 2, Duration::from_secs(60)).unwrap_err(), InUse);
        advance(Duration::from_secs(1)).await;
        let younger = take(&subscriptions, 3, Duration::from_millis(500)).unwrap();
        assert!(is_displaced(&mut again));
        assert_eq!(take(&subscriptions, 1, Duration::from_secs(2)).unwrap_err(), InUse);
        drop(younger);
    }
}
