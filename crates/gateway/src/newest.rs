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
    turn: Mutex<()>,
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
        let _turn = self.turn.lock().await;
        // A question that began after this call came is answered: whoever asked it had the turn.
        if self.begun.load(Ordering::Relaxed) > arrived {
            return Ok(cluster.view());
        }
        self.begun.fetch_add(1, Ordering::Relaxed);
        let newest = cluster.newest_view().await;
        newest.map_err(|error| Error::from_client(error, || "Catalog".into()))
    }
}
