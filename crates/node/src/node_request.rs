//! A request to one node: answered here if it is this node, sent over gRPC if it is another one. This is the only
//! place that tells the two apart.
//!
//! ```text
//! Node::ask(to, request) ─┬─ this node:     request.here(node)
//!                         └─ another node:  request.there(remotes, to) ── gRPC ── node_service.rs: request.here(node)
//! ```
//!
//! Each request is a type beside the code that answers it. `node_service.rs` answers the request of another node with
//! the same `here`, so a request means the same wherever it comes from.

use std::collections::BTreeMap;
use std::fmt::Display;

use anabranch_types::NodeId;
use futures::future::join_all;

use crate::node::Node;
use crate::remote::Remotes;

/// A request that a node answers by itself, without asking others.
pub(crate) trait NodeRequest: Sync {
    type Response: Send;
    type Error: Display + Send;

    /// The response of this node.
    fn here(&self, node: &Node)
    -> impl Future<Output = Result<Self::Response, Self::Error>> + Send;

    /// The response of another node.
    fn there(
        &self,
        remotes: &Remotes,
        to: NodeId,
    ) -> impl Future<Output = Result<Self::Response, Self::Error>> + Send;
}

impl Node {
    /// Has `to`, which may be this node, answer `request`.
    ///
    /// # Errors
    /// The node's error; of another node also that no response came in time.
    pub(crate) async fn ask<R: NodeRequest>(
        &self,
        to: NodeId,
        request: &R,
    ) -> Result<R::Response, R::Error> {
        if to == self.id() {
            request.here(self).await
        } else {
            request.there(self.peers().remotes(), to).await
        }
    }

    /// Asks several nodes side by side. A node that gives no response is missing in the result.
    pub(crate) async fn ask_each<R: NodeRequest>(
        &self,
        requests: impl IntoIterator<Item = (NodeId, R)>,
    ) -> BTreeMap<NodeId, R::Response> {
        let asked = requests.into_iter().map(|(to, request)| async move {
            match self.ask(to, &request).await {
                Ok(response) => Some((to, response)),
                Err(error) => {
                    let request = std::any::type_name::<R>();
                    tracing::debug!(node = %to, request, %error, "no response");
                    None
                }
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }
}
