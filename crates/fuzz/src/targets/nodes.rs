//! gRPC messages of nodes and native clients. prost decodes them. The conversions to our own types are what is
//! tested.

use anabranch_proto::{node, replica as pb, v1};
use anabranch_replica::fuzzing;
use anabranch_shard::{Position, Run};
use prost::Message;

/// Input: messages of the native API.
pub(super) fn native(input: &[u8]) {
    if let Ok(position) = v1::Position::decode(input)
        && let Ok(position) = Position::try_from(position)
    {
        assert_eq!(Position::try_from(v1::Position::from(position)).ok(), Some(position));
        assert!(position.next() > position || position.log_index == u64::MAX);
    }
    if let Ok(run) = v1::Run::decode(input)
        && let Ok(run) = Run::try_from(run)
    {
        assert_eq!(Run::try_from(v1::Run::from(run)).ok(), Some(run));
    }
    drop(v1::RecordBatch::decode(input));
    drop(v1::ReadResponse::decode(input));
}

/// Input: messages between nodes.
pub(super) fn replica(input: &[u8]) {
    drop(pb::ExchangeRequest::decode(input));
    drop(pb::ExchangeResponse::decode(input));
    drop(node::LeadingResponse::decode(input));
    if let Ok(membership) = pb::Membership::decode(input) {
        fuzzing::membership(membership);
    }
}
