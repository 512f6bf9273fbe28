use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Waits until `condition` returns a value. Panics with `what` after two minutes of tokio's time.
#[expect(clippy::panic, reason = "the way a test fails")]
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) -> T {
    const LIMIT: Duration = Duration::from_secs(120);
    const STEP: Duration = Duration::from_millis(20);
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        if Instant::now() > deadline {
            panic!("not within {LIMIT:?}: {what}");
        }
        sleep(STEP).await;
    }
}
