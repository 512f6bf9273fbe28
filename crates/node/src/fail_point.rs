use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;

/// Fail points: places where a test can stop a node, to kill a process at that moment.
///
/// The environment variable `ANABRANCH_FAIL_POINTS` names a directory. A node that comes to the fail point `p` while
/// that directory has a file `p` writes its process id to `p.reached` and waits until the file `p` is gone. Without
/// the variable, as in production, a fail point does nothing.
#[derive(Debug)]
pub(crate) struct FailPoints(Option<PathBuf>);

const LOOK: Duration = Duration::from_millis(5);

impl FailPoints {
    pub(crate) fn from_environment() -> Self {
        Self(std::env::var_os("ANABRANCH_FAIL_POINTS").map(PathBuf::from))
    }

    /// Waits here if a test has armed the fail point.
    pub(crate) async fn pass(&self, place: &str) {
        let Some(dir) = &self.0 else { return };
        let armed = dir.join(place);
        if !armed.exists() {
            return;
        }
        tracing::info!(place, "held");
        let reached = dir.join(format!("{place}.reached"));
        if let Err(error) = std::fs::write(reached, std::process::id().to_string()) {
            tracing::error!(%error, place, "fail point");
        }
        while armed.exists() {
            sleep(LOOK).await;
        }
    }
}
