//! Decides when a change of how a stream's records are stored is settled. StartStreamEncryption and
//! StopStreamEncryption are over for the user only when no leader appends in the old way any more.

use anabranch_catalog::{Catalog, ShardStatus, Stream};
use anabranch_types::NodeId;
use tonic::Status;

use crate::node::Node;
use crate::node_request::NodeRequest;
use crate::remote::Remotes;
use crate::shard_leaders::all_have_leaders;

/// Asks a node for the version of the catalog that its replicas match.
struct ReconciledVersion;

impl NodeRequest for ReconciledVersion {
    type Response = u64;
    type Error = Status;

    async fn here(&self, node: &Node) -> Result<u64, Status> {
        Ok(node.catalog_view().reconciled())
    }

    async fn there(&self, remotes: &Remotes, to: NodeId) -> Result<u64, Status> {
        Ok(remotes.node_info(to).await?.reconciled_version)
    }
}

/// Whether the shards of `stream` store records as `version` of the catalog says: every node that can be reached
/// follows the version, and each shard is led by such a node.
///
/// A node that can't be reached leads no shard then, and takes no append before it knows again that it leads.
pub(super) async fn all_follow(
    node: &Node,
    catalog: &Catalog,
    stream: &Stream,
    version: u64,
) -> bool {
    let asked = catalog.nodes.keys().map(|id| (*id, ReconciledVersion));
    let told = node.ask_each(asked).await;
    let liveness = node.peers().liveness();
    let follows = |id: &NodeId| told.get(id).map(|reconciled| *reconciled >= version);
    let is_fine = |id: &NodeId| follows(id).unwrap_or_else(|| liveness.is_silent(*id));
    // Only replicas that follow the version stay in the list: one of them has to lead the shard.
    let shards = stream.shards.values().filter(|shard| shard.status == ShardStatus::Open);
    let mut shards: Vec<_> = shards.cloned().collect();
    shards
        .iter_mut()
        .for_each(|shard| shard.replicas.retain(|replica| follows(&replica.node) == Some(true)));
    catalog.nodes.keys().all(is_fine) && all_have_leaders(node, shards.iter()).await
}
