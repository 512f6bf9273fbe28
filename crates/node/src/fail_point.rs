use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;

/// Places where a test may hold a node, to kill somebody just then.
///
/// With the environment variable `ANABRANCH_FAIL_POINTS` naming a directory, a node that comes to the
/// place `p` while there is a file `p` in it writes its process id to `p.reached` and waits until the file
/// `p` is gone.
/// Without the variable, which is how it is outside of tests, a place is nothing.
#[derive(Debug)]
pub(crate) struct FailPoints(Option<PathBuf>);

const LOOK: Duration = Duration::from_millis(5);

impl FailPoints {
    pub(crate) fn from_environment() -> Self {
        Self(std::env::var_os("ANABRANCH_FAIL_POINTS").map(PathBuf::from))
    }

    /// Waits here if a test wants it.
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
