use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep};

const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// Polls `condition` and returns its first `Ok`. Panics after a minute; the message has `what` and the last error.
pub(crate) async fn wait_for<T, E: fmt::Display>(
    what: impl fmt::Display,
    mut condition: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let began = Instant::now();
    loop {
        match condition().await {
            Ok(found) => return found,
            Err(why) if began.elapsed() > DEADLINE => panic!("never came: {what}; {why}"),
            Err(_) => sleep(POLL).await,
        }
    }
}
