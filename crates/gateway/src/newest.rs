//! The newest version of the catalog, for two kinds of calls:
//!
//! - Operations of the catalog (all but those that read and write records) ask before they run ([`Newest::reach`]). So
//!   they show every change that any gateway acknowledged before they began: read your writes, through every gateway.
//! - Operations on records run on the version that is here, since a question to the catalog would cost them more than
//!   they cost themselves. Only if that version would refuse a call, the newest is asked ([`Newest::view`]), and the call
//!   is judged again.
//!
//! Questions are coalesced: a gateway has one question out at a time, and a call that finds one under way shares the
//! next. So neither many reads nor many refusals ask the catalog's leader more often.
//!
//! A call waits for a limited time: the catalog may have no leader. A refusal is cheap to repeat and its call holds a
//! body of records, so while the catalog is silent only one of those waits, and not for long. An operation of the catalog
//! waits for a new leader.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anabranch_client::{Cluster, View};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

/// How long a call that would be refused waits for the newest version: hundreds of times what an answer takes.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long an operation of the catalog waits for it. A new leader of the catalog is there within about two seconds.
const LONG_PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer may take. Shorter, so that the call that asked hears of it when there is none.
const ANSWER: Duration = Duration::from_millis(800);

/// Asks for the newest version. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Newest {
    questions: Arc<Questions>,
}

#[derive(Debug, Default)]
struct Questions {
    /// Held while one is out. The call that asked may be gone by then: others wait for the same answer.
    turn: Arc<Mutex<()>>,
    /// Questions that have begun.
    begun: AtomicU64,
    /// Whether the last one that is over got no answer.
    is_unanswered: AtomicBool,
}

impl Newest {
    /// Waits until the cluster's view is no older than this call. False if the catalog doesn't tell it in time.
    pub(crate) async fn reach(&self, cluster: &Arc<dyn Cluster>) -> bool {
        self.is_answered_at_last(|| question(cluster)).await
    }

    /// A version that is no older than this call, if the catalog tells it soon.
    pub(crate) async fn view(&self, cluster: &Arc<dyn Cluster>) -> Option<Arc<View>> {
        // What is answered here has been seen there.
        self.is_answered(question(cluster)).await.then(|| cluster.view())
    }

    /// Whether `question`, or one like it that began after this call, is answered in time.
    async fn is_answered(&self, question: impl Future<Output = bool> + Send + 'static) -> bool {
        timeout(PATIENCE, self.questions.ask(question)).await.unwrap_or(false)
    }

    /// As [`Self::is_answered`], asked again as long as there is no answer.
    async fn is_answered_at_last<Q>(&self, question: impl Fn() -> Q) -> bool
    where
        Q: Future<Output = bool> + Send + 'static,
    {
        let arrived = self.questions.begun.load(Ordering::Relaxed);
        let answered = async {
            loop {
                let turn = Arc::clone(&self.questions.turn).lock_owned().await;
                let is_over = self.questions.is_over(arrived);
                if is_over || self.questions.put(turn, question()).await {
                    return;
                }
            }
        };
        timeout(LONG_PATIENCE, answered).await.is_ok()
    }
}

/// Asks the cluster.
fn question(cluster: &Arc<dyn Cluster>) -> impl Future<Output = bool> + Send + 'static {
    let asked = Arc::clone(cluster);
    async move { asked.newest_view().await.is_ok() }
}

impl Questions {
    async fn ask(self: &Arc<Self>, question: impl Future<Output = bool> + Send + 'static) -> bool {
        let arrived = self.begun.load(Ordering::Relaxed);
        let turn = match Arc::clone(&self.turn).try_lock_owned() {
            Ok(turn) => turn,
            // One waits for the catalog to come back, and nobody else.
            Err(_) if self.is_unanswered.load(Ordering::Relaxed) => return false,
            Err(_) => {
                let turn = Arc::clone(&self.turn).lock_owned().await;
                if self.is_unanswered.load(Ordering::Relaxed) {
                    return false;
                }
                if self.is_over(arrived) {
                    return true;
                }
                turn
            }
        };
        self.put(turn, question).await
    }

    /// Whether a question that began after the first `arrived` ones was answered; asked by the call whose turn it is.
    fn is_over(&self, arrived: u64) -> bool {
        self.begun.load(Ordering::Relaxed) > arrived && !self.is_unanswered.load(Ordering::Relaxed)
    }

    /// Puts the question in a task of its own: the call that asks may give up, and others wait for the answer.
    async fn put(
        self: &Arc<Self>,
        turn: OwnedMutexGuard<()>,
        question: impl Future<Output = bool> + Send + 'static,
    ) -> bool {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let questions = Arc::clone(self);
        let asked = tokio::spawn(async move {
            let is_answered = timeout(ANSWER, question).await.unwrap_or(false);
            questions.is_unanswered.store(!is_answered, Ordering::Relaxed);
            drop(turn);
            is_answered
        });
        asked.await.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures::future::join_all;
    use tokio::sync::oneshot;
    use tokio::time::{Instant, sleep};

    use super::*;

    /// Questions that have begun.
    fn begun(newest: &Newest) -> u64 {
        newest.questions.begun.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn a_catalog_that_is_silent_holds_nobody_up_and_is_asked_once_at_a_time() {
        let newest = Newest::default();
        let came = Instant::now();
        let answers = join_all((0..5_000).map(|_| newest.is_answered(pending()))).await;
        assert!(answers.iter().all(|is_answered| !is_answered));
        assert!(came.elapsed() <= PATIENCE);
        assert_eq!(begun(&newest), 1);
        // From now on one waits for it, and the others are told at once.
        let waits = newest.clone();
        let waits = tokio::spawn(async move { waits.is_answered(pending()).await });
        tokio::task::yield_now().await;
        let came = Instant::now();
        assert!(!newest.is_answered(ready(true)).await);
        assert_eq!((came.elapsed(), begun(&newest)), (Duration::ZERO, 2));
        assert!(!waits.await.unwrap());
        assert!(newest.is_answered(ready(true)).await);
        assert_eq!(begun(&newest), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_of_the_catalog_waits_for_a_leader_and_shares_its_answer() {
        let (newest, came) = (Newest::default(), Instant::now());
        let lasts = Duration::from_secs(3);
        let question =
            || async move { if came.elapsed() < lasts { pending().await } else { true } };
        let answers = join_all((0..1_000).map(|_| newest.is_answered_at_last(question))).await;
        assert!(answers.iter().all(|is_answered| *is_answered));
        assert!(came.elapsed() < lasts + ANSWER, "{:?}", came.elapsed());
        assert_eq!(begun(&newest), 5, "one after the other, until one is answered");
        assert!(!newest.is_answered_at_last(pending).await);
        assert!(came.elapsed() <= lasts + ANSWER + LONG_PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_shares_the_question_that_began_after_he_came() {
        let newest = Newest::default();
        let slow = || async {
            sleep(PATIENCE / 4).await;
            true
        };
        let answers = join_all((0..100).map(|_| newest.is_answered(slow()))).await;
        assert!(answers.iter().all(|is_answered| *is_answered));
        assert_eq!(begun(&newest), 2, "one was out when the others came");
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_goes_on_when_who_asked_it_has_gone() {
        let newest = Newest::default();
        let (answer, answered) = oneshot::channel();
        let asks = newest.clone();
        let asks = tokio::spawn(async move {
            asks.is_answered(async move { answered.await.unwrap_or(false) }).await
        });
        tokio::task::yield_now().await;
        let waits = newest.clone();
        let waits = tokio::spawn(async move { waits.is_answered(ready(true)).await });
        tokio::task::yield_now().await;
        asks.abort();
        answer.send(true).unwrap();
        assert!(waits.await.unwrap());
        assert_eq!(begun(&newest), 2);
    }
}
