//! The newest version of the catalog, for two kinds of calls:
//!
//! - A control operation asks the catalog's leader before it runs ([`NewestCatalog::reach`]). So it shows every change
//!   that any gateway acknowledged before it began. A client reads its own writes through every gateway.
//! - A data operation runs on the version of this node, because a request to the catalog would cost more than the
//!   operation. Only if that version would refuse the call, the gateway asks for the newest version
//!   ([`NewestCatalog::view`]) and checks the call again.
//!
//! Requests are a single flight: a gateway has at most one under way. A call that finds one under way cannot use it,
//! because a change may have been acknowledged after that request began. It shares the next request with all calls that
//! wait. So neither many reads nor many refusals make more requests to the catalog's leader:
//!
//! ```text
//! calls      1    2  3  4            5  6
//! requests   [--- for 1 ---][--- for 2, 3, 4 ---][--- for 5, 6 ---]
//! ```
//!
//! A call waits for a limited time, because the catalog may have no leader. A control operation waits for a new leader.
//! A refused data operation does not, because its caller can retry cheaply and the call holds a body of records in
//! memory. After a failed request, one such call at a time waits for the next request, and all others are refused at
//! once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anabranch_client::{Cluster, View};
use anabranch_planted::{Bug, planted};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

/// How long a call that would be refused waits for the newest version. A response usually takes a hundredth of it.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a control operation waits for the newest version. The catalog has a new leader within about two seconds.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one request may take. Shorter than [`REFUSAL_TIMEOUT`], so that the call that began the request sees it
/// fail.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(800);

/// Requests for the newest version of the catalog. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewestCatalog {
    flight: Arc<SingleFlight>,
}

#[derive(Debug, Default)]
struct SingleFlight {
    /// Locked while a request is under way. The task of the request holds it, because the call that began the request
    /// may give up while others wait for the response.
    slot: Arc<Mutex<()>>,
    /// Number of requests that have begun.
    begun: AtomicU64,
    /// Whether the last finished request got no response.
    has_failed: AtomicBool,
}

impl NewestCatalog {
    /// Waits until the cluster's view is no older than this call. Repeats failed requests. False if no request succeeds
    /// within [`CONTROL_TIMEOUT`].
    pub(crate) async fn reach(&self, cluster: &Arc<dyn Cluster>) -> bool {
        if planted(Bug::StaleCatalog) {
            return true;
        }
        self.repeat_until_success(|| request(cluster)).await
    }

    /// A version that is no older than this call. `None` if the catalog does not respond within [`REFUSAL_TIMEOUT`].
    pub(crate) async fn view(&self, cluster: &Arc<dyn Cluster>) -> Option<Arc<View>> {
        // A successful request has also updated the cluster's view.
        self.try_once(request(cluster)).await.then(|| cluster.view())
    }

    /// Whether `request`, or another request that began after this call, succeeds in time.
    async fn try_once(&self, request: impl Future<Output = bool> + Send + 'static) -> bool {
        timeout(REFUSAL_TIMEOUT, self.flight.join(request)).await.unwrap_or(false)
    }

    /// Like [`Self::try_once`], but begins a new request after each failed one.
    async fn repeat_until_success<R>(&self, request: impl Fn() -> R) -> bool
    where
        R: Future<Output = bool> + Send + 'static,
    {
        let begun_before = self.flight.begun.load(Ordering::Relaxed);
        let succeeded = async {
            loop {
                let slot = Arc::clone(&self.flight.slot).lock_owned().await;
                let is_done = self.flight.has_succeeded_since(begun_before);
                if is_done || self.flight.begin(slot, request()).await {
                    return;
                }
            }
        };
        timeout(CONTROL_TIMEOUT, succeeded).await.is_ok()
    }
}

fn request(cluster: &Arc<dyn Cluster>) -> impl Future<Output = bool> + Send + 'static {
    let cluster = Arc::clone(cluster);
    async move { cluster.newest_view().await.is_ok() }
}

impl SingleFlight {
    async fn join(self: &Arc<Self>, request: impl Future<Output = bool> + Send + 'static) -> bool {
        let begun_before = self.begun.load(Ordering::Relaxed);
        let slot = match Arc::clone(&self.slot).try_lock_owned() {
            Ok(slot) => slot,
            // The catalog does not respond. The call whose request is under way waits for it. This one does not.
            Err(_) if self.has_failed.load(Ordering::Relaxed) => return false,
            Err(_) => {
                let slot = Arc::clone(&self.slot).lock_owned().await;
                if self.has_failed.load(Ordering::Relaxed) {
                    return false;
                }
                if self.has_succeeded_since(begun_before) {
                    return true;
                }
                slot
            }
        };
        self.begin(slot, request).await
    }

    /// Whether a request succeeded that began after the first `begun_before` requests. Call it with the slot locked.
    fn has_succeeded_since(&self, begun_before: u64) -> bool {
        self.begun.load(Ordering::Relaxed) > begun_before
            && !self.has_failed.load(Ordering::Relaxed)
    }

    /// Begins a request in a task of its own, because other calls wait for the response even if this call gives up.
    async fn begin(
        self: &Arc<Self>,
        slot: OwnedMutexGuard<()>,
        request: impl Future<Output = bool> + Send + 'static,
    ) -> bool {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let flight = Arc::clone(self);
        let task = tokio::spawn(async move {
            let has_succeeded = timeout(REQUEST_TIMEOUT, request).await.unwrap_or(false);
            flight.has_failed.store(!has_succeeded, Ordering::Relaxed);
            drop(slot);
            has_succeeded
        });
        task.await.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures::future::join_all;
    use tokio::sync::oneshot;
    use tokio::time::{Instant, sleep};

    use super::*;

    /// Number of requests that have begun.
    fn begun(newest: &NewestCatalog) -> u64 {
        newest.flight.begun.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_catalog_delays_no_refusal_and_gets_one_request_at_a_time() {
        let newest = NewestCatalog::default();
        let start = Instant::now();
        let results = join_all((0..5_000).map(|_| newest.try_once(pending()))).await;
        assert!(results.iter().all(|has_succeeded| !has_succeeded));
        assert!(start.elapsed() <= REFUSAL_TIMEOUT);
        assert_eq!(begun(&newest), 1);
        // From now on one call waits for the catalog, and the others are refused at once.
        let waiting = newest.clone();
        let waiting = tokio::spawn(async move { waiting.try_once(pending()).await });
        tokio::task::yield_now().await;
        let start = Instant::now();
        assert!(!newest.try_once(ready(true)).await);
        assert_eq!((start.elapsed(), begun(&newest)), (Duration::ZERO, 2));
        assert!(!waiting.await.unwrap());
        assert!(newest.try_once(ready(true)).await);
        assert_eq!(begun(&newest), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_control_operation_waits_for_a_new_leader_and_shares_its_response() {
        let (newest, start) = (NewestCatalog::default(), Instant::now());
        let outage = Duration::from_secs(3);
        let request =
            || async move { if start.elapsed() < outage { pending().await } else { true } };
        let results = join_all((0..1_000).map(|_| newest.repeat_until_success(request))).await;
        assert!(results.iter().all(|has_succeeded| *has_succeeded));
        assert!(start.elapsed() < outage + REQUEST_TIMEOUT, "{:?}", start.elapsed());
        assert_eq!(begun(&newest), 5, "one after the other, until one succeeds");
        assert!(!newest.repeat_until_success(pending).await);
        assert!(start.elapsed() <= outage + REQUEST_TIMEOUT + CONTROL_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_calls_share_a_request_that_began_after_them() {
        let newest = NewestCatalog::default();
        let slow = || async {
            sleep(REFUSAL_TIMEOUT / 4).await;
            true
        };
        let results = join_all((0..100).map(|_| newest.try_once(slow()))).await;
        assert!(results.iter().all(|has_succeeded| *has_succeeded));
        assert_eq!(begun(&newest), 2, "one was under way when the other calls came");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_goes_on_when_the_call_that_began_it_is_dropped() {
        let newest = NewestCatalog::default();
        let (respond, response) = oneshot::channel();
        let first = newest.clone();
        let first = tokio::spawn(async move {
            first.try_once(async move { response.await.unwrap_or(false) }).await
        });
        tokio::task::yield_now().await;
        let second = newest.clone();
        let second = tokio::spawn(async move { second.try_once(ready(true)).await });
        tokio::task::yield_now().await;
        first.abort();
        respond.send(true).unwrap();
        assert!(second.await.unwrap());
        assert_eq!(begun(&newest), 2);
    }
}
