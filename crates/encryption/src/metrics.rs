//! Metrics of encryption: calls to the holder of the master keys, and their outcomes.

use std::sync::Arc;
use std::time::Instant;

use anabranch_metrics::{Buckets, Counter, Family, Histogram, Metric, Registry, label};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::error::KeyError;
use crate::provider::{DataKeySecret, KeyContext, KeyProvider, NewDataKey};

const CALLS: Metric = Metric::new(
    "anabranch_encryption_master_key_calls_total",
    "Calls to the holder of the master keys, to make or to unwrap a data key, by outcome.",
);
const CALL_DURATION: Metric = Metric::new(
    "anabranch_encryption_master_key_call_duration_seconds",
    "Time of a call to the holder of the master keys.",
);

label! {
    /// Outcome of a call to the holder of the master keys.
    enum Outcome: "outcome" {
        /// The holder returned a data key.
        Done = "done",
        /// The holder returned an error.
        Refused = "refused",
        /// The caller stopped waiting.
        Unanswered = "unanswered",
    }
}

/// A [`KeyProvider`] whose calls are counted.
#[derive(Debug)]
pub struct MeasuredProvider {
    provider: Arc<dyn KeyProvider>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Metrics {
    calls: Family<Outcome, Counter>,
    call_duration: Histogram,
}

impl MeasuredProvider {
    /// Counts the calls of `provider` in `registry`.
    pub fn new(provider: Arc<dyn KeyProvider>, registry: &Registry) -> Self {
        let calls = registry.counters(CALLS);
        let call_duration = registry.histogram(CALL_DURATION, Buckets::Latency);
        Self { provider, metrics: Arc::new(Metrics { calls, call_duration }) }
    }
}

impl KeyProvider for MeasuredProvider {
    fn new_data_key<'a>(
        &'a self,
        master_key: &'a str,
        context: &'a KeyContext,
    ) -> BoxFuture<'a, Result<NewDataKey, KeyError>> {
        measured(&self.metrics, self.provider.new_data_key(master_key, context))
    }

    fn unwrap_data_key<'a>(
        &'a self,
        master_key: &'a str,
        wrapped: &'a [u8],
        context: &'a KeyContext,
    ) -> BoxFuture<'a, Result<DataKeySecret, KeyError>> {
        measured(&self.metrics, self.provider.unwrap_data_key(master_key, wrapped, context))
    }
}

fn measured<'a, T: 'a>(
    metrics: &'a Metrics,
    answer: BoxFuture<'a, Result<T, KeyError>>,
) -> BoxFuture<'a, Result<T, KeyError>> {
    async move {
        let mut call = Call { metrics, began: Instant::now(), outcome: Outcome::Unanswered };
        let answer = answer.await;
        call.outcome = if answer.is_ok() { Outcome::Done } else { Outcome::Refused };
        answer
    }
    .boxed()
}

/// One call. It is counted when it is dropped, so also when the caller stops waiting.
struct Call<'a> {
    metrics: &'a Metrics,
    began: Instant,
    outcome: Outcome,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.metrics.calls.of(self.outcome).increment();
        self.metrics.call_duration.observe_duration(self.began.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::Unprovided;

    /// Returns a data key, or never returns.
    #[derive(Debug)]
    struct Holder {
        answers: bool,
    }

    impl KeyProvider for Holder {
        fn new_data_key<'a>(
            &'a self,
            _master_key: &'a str,
            _context: &'a KeyContext,
        ) -> BoxFuture<'a, Result<NewDataKey, KeyError>> {
            futures::future::pending().boxed()
        }

        fn unwrap_data_key<'a>(
            &'a self,
            _master_key: &'a str,
            _wrapped: &'a [u8],
            _context: &'a KeyContext,
        ) -> BoxFuture<'a, Result<DataKeySecret, KeyError>> {
            match self.answers {
                true => futures::future::ready(Ok(DataKeySecret::new([1; 32]))).boxed(),
                false => futures::future::pending().boxed(),
            }
        }
    }

    async fn outcome_of(provider: Arc<dyn KeyProvider>) -> String {
        let registry = Registry::default();
        let provider = MeasuredProvider::new(provider, &registry);
        let context = KeyContext { stream: "s".into(), stream_id: 1 };
        let unwrapped = provider.unwrap_data_key("k", &[], &context);
        let _in_time = timeout(Duration::from_secs(1), unwrapped).await;
        let text = registry.render();
        assert!(text.contains("anabranch_encryption_master_key_call_duration_seconds_count 1\n"));
        let counted =
            text.lines().find(|line| line.starts_with(CALLS.name()) && line.ends_with(" 1"));
        counted.unwrap().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_counted_once_also_if_nobody_waits_for_its_end() {
        let done = outcome_of(Arc::new(Holder { answers: true })).await;
        assert!(done.contains("outcome=\"done\""), "{done}");
        let refused = outcome_of(Arc::new(Unprovided)).await;
        assert!(refused.contains("outcome=\"refused\""), "{refused}");
        let unanswered = outcome_of(Arc::new(Holder { answers: false })).await;
        assert!(unanswered.contains("outcome=\"unanswered\""), "{unanswered}");
    }
}
