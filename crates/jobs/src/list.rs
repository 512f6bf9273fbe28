//! The jobs of a cluster, for operators.

use anabranch_types::NodeId;

use crate::copies::Copies;
use crate::id::JobId;
use crate::row::{self, JobRow, Owner};
use crate::status::{self, JobStatus};

/// A job in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedJob {
    /// Name of the job.
    pub id: JobId,
    /// The node that does it. `None` if it is about to get one.
    pub node: Option<NodeId>,
    /// Whether the node is to give it up.
    pub leaving: bool,
    /// When the node became the owner, in milliseconds since 1970.
    pub since_millis: u64,
    /// Rises with each owner.
    pub epoch: u64,
    /// The status that the owner last wrote.
    pub status: JobStatus,
}

/// All jobs in the order of their names.
pub(crate) fn list(copies: &Copies) -> Vec<ListedJob> {
    let statuses = copies.rows(status::SPACE);
    let rows = copies.rows(row::SPACE);
    let listed = rows.all().filter_map(|(key, row)| {
        let JobRow { epoch, owner } = JobRow::decode(&row.value).ok()?;
        let (node, since_millis, leaving) = match owner {
            Owner::Owned { node, since, leaving } => (Some(node), since.as_millis(), leaving),
            Owner::Free { .. } => (None, 0, false),
        };
        let status = statuses.get(key).map(|row| JobStatus::decode(&row.value)).unwrap_or_default();
        Some(ListedJob { id: JobId::of_key(key)?, node, leaving, since_millis, epoch, status })
    });
    listed.collect()
}
