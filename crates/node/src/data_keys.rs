//! Data keys of encrypted streams: makes new ones, has worn ones replaced, and says when every node knows that a
//! stream's records are to be stored otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_catalog::{
    Catalog, Command, EncryptionCommand, Replica, ShardStatus, Stream, StreamId,
};
use anabranch_encryption::KeyContext;
use anabranch_replica::Error;
use anabranch_types::{NodeId, StreamName};
use tokio::time::sleep;

use crate::controller::{all_have_leaders, step};
use crate::node::Node;

/// How often a node looks for worn data keys of the shards that it leads.
const ROUND: Duration = Duration::from_secs(1);

impl Node {
    /// A new data key for the stream, wrapped by the master key.
    ///
    /// # Errors
    /// [`Error::Key`].
    pub async fn new_data_key(
        &self,
        stream: &StreamName,
        id: StreamId,
        master_key: &str,
    ) -> Result<Vec<u8>, Error> {
        let context = KeyContext { stream: stream.to_string(), stream_id: id.0 };
        Ok(self.inner.keyring.new_data_key(master_key, &context).await?)
    }
}

/// Has data keys replaced that shards led here have used for long enough, for as long as the node runs.
pub(crate) async fn rotate(node: Node) {
    loop {
        sleep(ROUND).await;
        let now = node.inner.clock.now();
        let mut worn = BTreeMap::new();
        for shard in node.inner.replicas.led_shards() {
            if let Some((used, stream)) = shard.keys().and_then(|keys| keys.worn_data_key(now)) {
                worn.insert(stream.id, (used, stream));
            }
        }
        for (used, stream) in worn.into_values() {
            let Some((_, key)) = stream.encryption.current() else { continue };
            match node.new_data_key(&stream.name, stream.id, &key.master_key).await {
                Ok(wrapped) => {
                    let (name, id) = (stream.name.clone(), stream.id);
                    step(
                        &node,
                        Command::Encryption(EncryptionCommand::RotateDataKey {
                            name,
                            id,
                            used,
                            wrapped,
                            now,
                        }),
                    )
                    .await;
                }
                // The one in use goes on for as long as its master key lets it.
                Err(error) => tracing::warn!(stream = %stream.name, %error, "data key stays"),
            }
        }
    }
}

/// Whether the shards of `stream` store records as `version` of the catalog says: every node that can be reached
/// follows it, and each shard is led by one that does.
///
/// A node that can't be reached leads none of them then, and takes no append before it knows that it leads again.
pub(crate) async fn all_follow(
    node: &Node,
    catalog: &Catalog,
    stream: &Stream,
    version: u64,
) -> bool {
    let asked = catalog.nodes.keys().map(|id| async move {
        if *id == node.id() {
            return (*id, Some(*node.inner.reconciled.borrow() >= version));
        }
        let told = node.inner.remotes.node_info(*id).await;
        (*id, told.map(|info| info.reconciled_version >= version).ok())
    });
    let told: BTreeMap<_, _> = futures::future::join_all(asked).await.into_iter().collect();
    let liveness = node.inner.transport.liveness();
    let is_fine =
        |(id, told): (&NodeId, &Option<bool>)| told.unwrap_or_else(|| liveness.is_silent(*id));
    let follows = |replica: &Replica| told.get(&replica.node).copied().flatten() == Some(true);
    // Of each shard that takes records, the replicas that follow: one of them is to lead it.
    let shards = stream.shards.values().filter(|shard| shard.status == ShardStatus::Open);
    let mut shards: Vec<_> = shards.cloned().collect();
    shards.iter_mut().for_each(|shard| shard.replicas.retain(follows));
    told.iter().all(is_fine) && all_have_leaders(node, shards.iter()).await
}
