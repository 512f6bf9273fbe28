//! Copies of the spaces that decide about jobs. Every node has one of each, which follows the table group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anabranch_client::{Cluster, Error, ShownRows, WatchedRows};
use anabranch_table::{SpaceId, Version, WatchedRange};
use anabranch_types::GroupId;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::select_all;

/// Longest wait until a copy shows a change that this node made.
const REACH: Duration = Duration::from_secs(5);

/// Copies of spaces, by the name of the space. A clone has its own place in [`Copies::changed`].
#[derive(Clone, Debug, Default)]
pub struct Copies(BTreeMap<&'static str, (SpaceId, WatchedRows)>);

impl Copies {
    /// Begins to follow the spaces.
    pub(crate) fn of(
        cluster: &dyn Cluster,
        group: GroupId,
        spaces: &BTreeMap<&'static str, SpaceId>,
    ) -> Result<Self, Error> {
        let mut copies = BTreeMap::new();
        for (name, space) in spaces {
            let range = WatchedRange { space: *space, prefix: Bytes::new() };
            copies.insert(*name, (*space, cluster.watch_rows(group, range)?));
        }
        Ok(Self(copies))
    }

    /// The rows of a space, of one version. Empty for a space that is not followed.
    pub fn rows(&self, space: &str) -> Arc<ShownRows> {
        self.0.get(space).map(|(_, copy)| copy.newest()).unwrap_or_default()
    }

    /// Number of a space. `None` for a space that is not followed.
    pub fn space(&self, name: &str) -> Option<SpaceId> {
        self.0.get(name).map(|(space, _)| *space)
    }

    /// Whether every copy shows a version.
    pub(crate) fn are_complete(&self) -> bool {
        self.0.values().all(|(_, copy)| copy.version() > Version::START)
    }

    /// The version that the copy of a space shows.
    pub(crate) fn version(&self, space: &str) -> Version {
        self.0.get(space).map(|(_, copy)| copy.version()).unwrap_or_default()
    }

    /// How long nothing was heard of the group.
    pub(crate) fn unheard(&self) -> Duration {
        self.0.values().map(|(_, copy)| copy.newest().unheard()).max().unwrap_or_default()
    }

    /// Waits until rows of one of these spaces may have changed since the last call of this handle. Never ends if a
    /// space is gone: nothing more can be learned.
    pub async fn changed(&mut self, spaces: &[&str]) {
        let watched = self.0.iter_mut().filter(|(name, _)| spaces.contains(name));
        let waits: Vec<_> = watched.map(|(_, (_, copy))| copy.changed().boxed()).collect();
        if waits.is_empty() {
            return std::future::pending().await;
        }
        let (changed, ..) = select_all(waits).await;
        if changed.is_err() {
            std::future::pending().await
        }
    }

    /// Waits until the copy of a space shows a version.
    pub(crate) async fn reaches(&self, space: &str, version: Version) {
        if let Some((_, copy)) = self.0.get(space)
            && !copy.reaches(version, REACH).await
        {
            tracing::warn!(space, "the copy of a space is behind");
        }
    }
}
