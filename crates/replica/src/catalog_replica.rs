//! This node's replica of the catalog.
//!
//! A change is a command that the leader replicates. Every replica applies it and publishes the new version to the
//! node ([`CatalogReplica::watch`]). The version on a node may be old. Only the leader can tell the newest one.

use std::collections::BTreeSet;
use std::sync::Arc;

use anabranch_catalog::{Catalog, Command, Outcome};
use anabranch_types::ReplicaId;
use tokio::sync::watch;

use crate::error::Error;
use crate::group::{Group, GroupStatus};
use crate::machine;
use crate::payload::Payload;

/// This node's replica of the catalog. Cheap to clone.
#[derive(Clone)]
pub struct CatalogReplica {
    pub(crate) group: Arc<Group>,
    pub(crate) catalog: watch::Receiver<Arc<Catalog>>,
}

impl CatalogReplica {
    /// Replicates `command` and returns its outcome once it is applied here. Works on the leader only.
    ///
    /// # Errors
    /// [`Error::Unknown`] if the command may or may not be applied. After any other error it is not.
    pub async fn propose(&self, command: &Command) -> Result<Outcome, Error> {
        self.group.leading_term()?;
        self.group.check_followed().await?;
        let payload = Payload::Command(anabranch_proto::encode_command(command));
        match self.group.propose(payload).await? {
            (_, machine::Outcome::Catalog(outcome)) => Ok(outcome),
            _ => Err(Error::Unknown("the entry was not a command of the catalog".into())),
        }
    }

    /// A watch of the newest version of the catalog that this replica has applied.
    pub fn watch(&self) -> watch::Receiver<Arc<Catalog>> {
        self.catalog.clone()
    }

    /// Number of the newest version of the catalog. That version includes every change that was acknowledged before
    /// this call. Works on the leader only.
    ///
    /// # Errors
    /// [`Error::NotLeader`].
    pub async fn newest_version(&self) -> Result<u64, Error> {
        self.group.read_index().await?;
        Ok(self.catalog.borrow().version)
    }

    /// Whether this replica leads, has applied everything that earlier leaders committed, and no other replica can
    /// lead now.
    pub async fn leads(&self) -> bool {
        self.group.read_index().await.is_ok()
    }

    /// The voters of the catalog, if this replica leads and no change of them is under way.
    pub fn settled_voters(&self) -> Option<BTreeSet<ReplicaId>> {
        self.group.settled_voters()
    }

    /// Whether `other` is a clone of this handle. False for a handle from another opening of the same replica.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.group, &other.group)
    }

    /// State of the replica.
    pub fn status(&self) -> GroupStatus {
        self.group.status()
    }
}
