//! Data keys of encrypted streams (ADR-0020): makes new ones, and replaces keys that shards led here have used for
//! long enough.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_catalog::{Command, EncryptionCommand, StreamId};
use anabranch_encryption::KeyContext;
use anabranch_replica::Error;
use anabranch_types::StreamName;
use tokio::time::sleep;

use crate::catalog_requests::step;
use crate::node::Node;

/// How often a node looks for data keys that have been used for long enough.
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
        Ok(self.keyring().new_data_key(master_key, &context).await?)
    }
}

/// Replaces the data keys that shards led here have used for long enough, for as long as the node runs.
pub(crate) async fn rotate(node: Node) {
    loop {
        sleep(ROUND).await;
        let now = node.clock().now();
        let mut worn = BTreeMap::new();
        for shard in node.replicas().led_shards() {
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
                // The data key in use stays. It works for as long as its master key does.
                Err(error) => tracing::warn!(stream = %stream.name, %error, "data key stays"),
            }
        }
    }
}
