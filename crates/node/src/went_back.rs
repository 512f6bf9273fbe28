//! A disk that went back in time: it was restored from an older copy of itself. It has the incarnation that the
//! catalog knows, and may have forgotten votes and entries. So none of its replicas may go on (ADR-0007).
//!
//! Order of events: the log store counts the start before the node does anything (`LogStore::starts`). Before the
//! node opens the replica of the catalog that its disk holds, it asks the others what they know of its last start.
//! Then it registers. The catalog decides, and gives new ids to the replicas of a disk that went back.
//!
//! The decision is the catalog's. The requests before it only keep the old replica of the catalog from voting
//! meanwhile.

use std::sync::Arc;

use anabranch_catalog::{Catalog, Start};
use anabranch_planted::{Bug, planted};
use anabranch_proto::v1;
use anabranch_types::{Incarnation, NodeId};

use crate::catalog_view::CatalogView;
use crate::node::Node;

/// Whether one of these nodes of the cluster knows of a later start of this disk than this one.
pub(crate) fn is_known_of(node: &Node, others: &[v1::NodeInfoResponse]) -> bool {
    let known = others.iter().filter_map(|other| other.registration.as_ref());
    !planted(Bug::KeepIdentity)
        && known.into_iter().any(|known| start(known).outdates(node.this_start()))
}

/// The last start of another node, by this node's catalog.
pub(crate) fn registration(catalog: &Catalog, of: NodeId) -> Option<v1::Registration> {
    let known = catalog.nodes.get(&of)?;
    let incarnation = known.incarnation.0;
    Some(v1::Registration { incarnation, starts: known.starts, boot: known.boot })
}

fn start(message: &v1::Registration) -> Start {
    let incarnation = Incarnation(message.incarnation);
    Start { incarnation, starts: message.starts, boot: message.boot }
}

/// Logs an error once the catalog has found that this disk went back.
pub(crate) async fn report(view: Arc<CatalogView>, own: NodeId, own_start: Start) {
    let mut registered = view.registered();
    let Ok(since) = registered.wait_for(Option::is_some).await.map(|since| *since) else { return };
    let mut versions = view.versions();
    let current = versions.wait_for(|catalog| Some(catalog.version) >= since).await;
    let Ok(catalog) = current.map(|catalog| Arc::clone(&catalog)) else { return };
    let known = catalog.nodes.get(&own);
    if known.is_some_and(|known| known.went_back && known.start() == own_start) {
        tracing::error!(
            node = %own,
            starts = own_start.starts,
            "the disk of this node went back in time: it is an older copy of itself and may have forgotten what it \
             acknowledged. Its replicas are made anew under other ids, but for those that are the only one of their group"
        );
    }
}
