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
    /// Has the catalog apply `command`; on the leader only.
    ///
    /// # Errors
    /// [`Error::Unknown`] if it may have been applied or not; after any other it was not.
    pub async fn propose(&self, command: &Command) -> Result<Outcome, Error> {
        self.group.leading_term()?;
        self.group.check_followed().await?;
        let payload = Payload::Command(anabranch_proto::encode_command(command));
        match self.group.propose(payload).await? {
            (_, machine::Outcome::Catalog(outcome)) => Ok(outcome),
            _ => Err(Error::Unknown("the entry was no catalog command".into())),
        }
    }

    /// The versions of the catalog as this replica applies them.
    pub fn watch(&self) -> watch::Receiver<Arc<Catalog>> {
        self.catalog.clone()
    }

    /// The newest version of the catalog, which every change acknowledged before this call is in; on
    /// the leader only.
    ///
    /// # Errors
    /// [`Error::NotLeader`].
    pub async fn newest_version(&self) -> Result<u64, Error> {
        self.group.read_index().await?;
        Ok(self.catalog.borrow().version)
    }

    /// Whether this replica leads, has applied all that earlier leaders committed, and no other can
    /// lead now.
    pub async fn leads(&self) -> bool {
        self.group.read_index().await.is_ok()
    }

    /// The catalog's voters, if this replica leads and no change of them is under way.
    pub fn settled_voters(&self) -> Option<BTreeSet<ReplicaId>> {
        self.group.settled_voters()
    }

    /// Whether the two are one opening of a replica.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.group, &other.group)
    }

    /// What the replica says of itself.
    pub fn status(&self) -> GroupStatus {
        self.group.status()
    }
}
