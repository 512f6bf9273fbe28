//! Which consumer is pushed which shard's records: one subscription for each pair, known to the node that leads the shard.
//!
//! Nothing of it is stored. When another node begins to lead, subscriptions go on there as they come, and say since when
//! they have been: so an older one never displaces a younger one.
//!
//! Source: API reference of SubscribeToShard.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anabranch_types::GroupId;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// For so long after it began nobody takes a subscription over.
const UNDISTURBED: Duration = Duration::from_secs(5);

/// Another subscription of the consumer has the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InUse;

/// The subscriptions to the shards that a node leads. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscriptions {
    seats: Arc<Mutex<Seats>>,
}

#[derive(Debug, Default)]
struct Seats {
    taken: HashMap<Key, Taken>,
    /// Tells seats apart that one subscription had one after the other.
    next_number: u64,
}

/// The shard's group and the consumer.
type Key = (GroupId, String);

#[derive(Debug)]
struct Taken {
    id: u64,
    number: u64,
    began: Instant,
    _ends: oneshot::Sender<()>,
}

/// The right to be pushed a shard's records; given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    subscriptions: Subscriptions,
    key: Key,
    number: u64,
    ended: oneshot::Receiver<()>,
}

impl Subscriptions {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().taken.len()
    }

    /// Takes the seat of `consumer` at a shard for subscription `id`, which began `age` ago; zero for a new one. Whoever
    /// had it loses it.
    ///
    /// # Errors
    /// [`InUse`] for a new one if another one began less than five seconds ago, and for one that goes on if another one
    /// is younger.
    pub(crate) fn take(
        &self,
        group: GroupId,
        consumer: String,
        id: u64,
        age: Duration,
    ) -> Result<Seat, InUse> {
        let (now, key) = (Instant::now(), (group, consumer));
        let began = now.checked_sub(age).unwrap_or(now);
        let mut seats = self.lock();
        if let Some(taken) = seats.taken.get(&key).filter(|taken| taken.id != id) {
            let is_new = age.is_zero();
            let stays = if is_new { now - taken.began < UNDISTURBED } else { taken.began > began };
            if stays {
                return Err(InUse);
            }
        }
        let number = seats.next_number;
        seats.next_number += 1;
        let (ends, ended) = oneshot::channel();
        seats.taken.insert(key.clone(), Taken { id, number, began, _ends: ends });
        Ok(Seat { subscriptions: self.clone(), key, number, ended })
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Returns when somebody else has taken it.
    pub(crate) async fn is_lost(&mut self) {
        let _dropped = (&mut self.ended).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.subscriptions.lock();
        if seats.taken.get(&self.key).is_some_and(|taken| taken.number == self.number) {
            seats.taken.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::time::advance;

    use super::*;

    const NEW: Duration = Duration::ZERO;

    fn take(subscriptions: &Subscriptions, id: u64, age: Duration) -> Result<Seat, InUse> {
        subscriptions.take(GroupId(1), "app".into(), id, age)
    }

    fn is_lost(seat: &mut Seat) -> bool {
        seat.is_lost().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn a_newer_one_takes_over_after_five_seconds_and_is_refused_before() {
        let subscriptions = Subscriptions::default();
        let mut first = take(&subscriptions, 1, NEW).unwrap();
        advance(Duration::from_millis(4_999)).await;
        assert_eq!(take(&subscriptions, 2, NEW).unwrap_err(), InUse);
        assert!(!is_lost(&mut first));
        advance(Duration::from_millis(1)).await;
        let mut second = take(&subscriptions, 2, NEW).unwrap();
        assert!(is_lost(&mut first) && !is_lost(&mut second));
        drop(first);
        assert_eq!(take(&subscriptions, 3, NEW).unwrap_err(), InUse, "the second still has it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_seat_that_is_left_is_free_at_once_and_other_consumers_and_shards_have_their_own() {
        let subscriptions = Subscriptions::default();
        let first = take(&subscriptions, 1, NEW).unwrap();
        assert!(subscriptions.take(GroupId(2), "app".into(), 2, NEW).is_ok());
        assert!(subscriptions.take(GroupId(1), "other".into(), 3, NEW).is_ok());
        drop(first);
        assert!(take(&subscriptions, 4, NEW).is_ok());
        assert!(subscriptions.lock().taken.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_goes_on_keeps_its_seat_and_yields_only_to_a_younger_one() {
        let subscriptions = Subscriptions::default();
        let mut broken = take(&subscriptions, 1, NEW).unwrap();
        let mut again = take(&subscriptions, 1, Duration::from_millis(10)).unwrap();
        assert!(is_lost(&mut broken));
        drop(broken);
        assert!(!is_lost(&mut again));
        assert_eq!(take(&subscriptions, 2, Duration::from_secs(60)).unwrap_err(), InUse);
        advance(Duration::from_secs(1)).await;
        let younger = take(&subscriptions, 3, Duration::from_millis(500)).unwrap();
        assert!(is_lost(&mut again));
        assert_eq!(take(&subscriptions, 1, Duration::from_secs(2)).unwrap_err(), InUse);
        drop(younger);
    }
}
