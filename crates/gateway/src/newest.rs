//! The newest version of the catalog, for calls that are about to be refused: one question at a time, however many
//! wait for the answer, so that nobody has the catalog's leader asked more often by being refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anabranch_client::View;
use tokio::sync::Mutex;

use crate::cluster::Cluster;
use crate::errors::Error;

/// Asks for the newest version.
#[derive(Debug, Default)]
pub(crate) struct Newest {
    /// Whether the last question got no answer.
    turn: Mutex<bool>,
    /// Questions that have begun.
    begun: AtomicU64,
}

impl Newest {
    /// A version that is no older than this call.
    ///
    /// # Errors
    /// [`Error::Internal`] if the catalog doesn't answer.
    pub(crate) async fn view(&self, cluster: &dyn Cluster) -> Result<Arc<View>, Error> {
        let arrived = self.begun.load(Ordering::Relaxed);
        let mut is_unanswered = self.turn.lock().await;
        // A question that began after this call came is over, whoever asked it: he had the turn.
        if self.begun.load(Ordering::Relaxed) > arrived {
            return if *is_unanswered { Err(Error::Internal) } else { Ok(cluster.view()) };
        }
        self.begun.fetch_add(1, Ordering::Relaxed);
        // Also if this call is given up meanwhile.
        *is_unanswered = true;
        let newest = cluster.newest_view().await;
        *is_unanswered = newest.is_err();
        newest.map_err(|error| Error::from_client(error, || "Catalog".into()))
    }
}
