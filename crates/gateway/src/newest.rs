//! The newest version of the catalog, for calls that are about to be refused, also because something isn't there: one question at a time, however many
//! wait for the answer, so that nobody has the catalog's leader asked more often by being refused.
//!
//! A call waits for [`PATIENCE`] at most, and while the catalog doesn't answer only one does: it holds its body.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anabranch_client::View;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::cluster::Cluster;

/// How long a call waits for the newest version: hundreds of times what an answer takes. A catalog without a leader may
/// take longer to have one, but most who ask here would be refused by the newest version too.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long an answer may take. Shorter, so that who asks hears of it when there is none.
const ANSWER: Duration = Duration::from_millis(800);

/// Asks for the newest version. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Newest {
    questions: Arc<Questions>,
}

#[derive(Debug, Default)]
struct Questions {
    /// Held while one is out. Who asked may be gone by then: others wait for the same answer.
    turn: Arc<Mutex<()>>,
    /// Those that have begun.
    begun: AtomicU64,
    /// Whether the last one that is over got no answer.
    is_unanswered: AtomicBool,
}

impl Newest {
    /// A version that is no older than this call, if the catalog tells it soon.
    pub(crate) async fn view(&self, cluster: &Arc<dyn Cluster>) -> Option<Arc<View>> {
        let asked = Arc::clone(cluster);
        let question = async move { asked.newest_view().await.is_ok() };
        // What is answered here has been seen there.
        self.is_answered(question).await.then(|| cluster.view())
    }

    /// Whether `question`, or one like it that began after this call, is answered in time.
    async fn is_answered(&self, question: impl Future<Output = bool> + Send + 'static) -> bool {
        timeout(PATIENCE, self.questions.ask(question)).await.unwrap_or(false)
    }
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
                // One that began after this call came is over, whoever asked it: he had the turn.
                if self.begun.load(Ordering::Relaxed) > arrived {
                    return true;
                }
                turn
            }
        };
        self.begun.fetch_add(1, Ordering::Relaxed);
        // In a task of its own: who asks may give up, and others wait for the answer.
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
