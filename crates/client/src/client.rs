use std::sync::Arc;

use anabranch_catalog::Command;
use anabranch_shard::{Batch, Page, Position, Run, Start};
use arc_swap::ArcSwap;

use crate::error::Error;
use crate::view::{ShardRoute, View};

/// A handle to a cluster. Cheap to clone; every clone shares connections and the catalog's copy.
#[derive(Clone, Debug)]
pub struct Client {
    view: Arc<ArcSwap<View>>,
}

impl Client {
    /// The newest version of the catalog that has reached this client. Doesn't wait.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Has the catalog apply `command`, and waits until [`Self::view`] shows it.
    ///
    /// # Errors
    /// [`Error::Refused`] with the catalog's reason; [`Error::NoLeader`]; [`Error::Unknown`].
    pub async fn propose(&self, _command: Command) -> Result<Arc<View>, Error> {
        Err(Error::NoLeader)
    }

    /// Appends `batch` to a shard: durable on a majority when this returns. Says where the records
    /// stand, in the order of the batch. A batch whose producer sent it before is not written again.
    ///
    /// # Errors
    /// Any of [`Error`]; only [`Error::Unknown`] leaves open whether the batch was written.
    pub async fn append(&self, _shard: &ShardRoute, _batch: Batch) -> Result<Vec<Run>, Error> {
        Err(Error::NoLeader)
    }

    /// Finds where a reader that wants to start at `start` begins.
    ///
    /// # Errors
    /// Any of [`Error`] but `Closed` and `Unknown`.
    pub async fn seek(&self, _shard: &ShardRoute, _start: Start) -> Result<Position, Error> {
        Err(Error::NoLeader)
    }

    /// Reads from `from` on: at most `max_records` records of at most `max_bytes` bytes of data and
    /// partition keys together, but at least one record if there is any. A position below the
    /// horizon reads from the horizon.
    ///
    /// # Errors
    /// Any of [`Error`] but `Closed` and `Unknown`.
    pub async fn read(
        &self,
        _shard: &ShardRoute,
        _from: Position,
        _max_records: u32,
        _max_bytes: usize,
    ) -> Result<Page, Error> {
        Err(Error::NoLeader)
    }
}
