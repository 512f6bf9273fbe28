//! Messages of `anabranch.consumer.v1` and the types of this crate.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use anabranch_client::View;
use anabranch_proto::{consumer as pb, v1};
use anabranch_shard::{Position, Start};
use anabranch_types::{NodeId, ShardId, Timestamp};

use crate::group::{OwnedShard, ShardCheckpoint};
use crate::name::{GroupKey, Invalid, MemberId};
use crate::rows::{GroupStart, StoredMember, StoredShard};

/// Session times that a member may choose, in milliseconds.
const SESSION_MILLIS: RangeInclusive<u32> = 3_000..=300_000;
const DEFAULT_SESSION_MILLIS: u32 = 10_000;
/// Most bytes of what a member says of itself.
const MAX_DESCRIPTION: usize = 128;
/// Most shards of one checkpoint call.
const MAX_CHECKPOINTS: usize = 100;

/// A Join, checked.
#[derive(Clone, Debug)]
pub(crate) struct Join {
    pub(crate) group: GroupKey,
    pub(crate) member: MemberId,
    pub(crate) stored: StoredMember,
    /// Where a new group begins.
    pub(crate) start: Start,
}

pub(crate) fn group_key(group: Option<pb::GroupRef>) -> Result<GroupKey, Invalid> {
    let group = group.ok_or_else(|| Invalid::new("group", "is required"))?;
    let stream = group.stream.parse().map_err(|error| Invalid::new("stream", error))?;
    Ok(GroupKey { stream, name: group.group.parse()? })
}

pub(crate) fn join(request: pb::JoinRequest, now: Timestamp) -> Result<Join, Invalid> {
    let pb::JoinRequest { group, member, description, session_millis, start } = request;
    let session_millis = if session_millis == 0 { DEFAULT_SESSION_MILLIS } else { session_millis };
    if !SESSION_MILLIS.contains(&session_millis) {
        let (least, most) = (SESSION_MILLIS.start(), SESSION_MILLIS.end());
        let rule = format_args!("must be {least} to {most}, is {session_millis}");
        return Err(Invalid::new("session_millis", rule));
    }
    if description.len() > MAX_DESCRIPTION {
        let rule = format_args!("has {} bytes, at most {MAX_DESCRIPTION}", description.len());
        return Err(Invalid::new("description", rule));
    }
    let start = match start {
        None | Some(pb::join_request::Start::TrimHorizon(_)) => Start::TrimHorizon,
        Some(pb::join_request::Start::Latest(_)) => Start::Latest,
        Some(pb::join_request::Start::AtMillis(millis)) => {
            Start::AtTimestamp(Timestamp::from_millis(millis))
        }
    };
    let stored = StoredMember { description, session_millis, joined_millis: now.as_millis() };
    Ok(Join { group: group_key(group)?, member: member.parse()?, stored, start })
}

pub(crate) fn checkpoints(
    shards: Vec<pb::ShardCheckpoint>,
) -> Result<Vec<ShardCheckpoint>, Invalid> {
    if shards.len() > MAX_CHECKPOINTS {
        let rule = format_args!("has {}, at most {MAX_CHECKPOINTS}", shards.len());
        return Err(Invalid::new("shards", rule));
    }
    let mut seen = BTreeSet::new();
    let checkpoint = |checkpoint: pb::ShardCheckpoint| {
        let pb::ShardCheckpoint { shard, epoch, next, release } = checkpoint;
        if !seen.insert(shard) {
            return Err(Invalid::new("shards", format_args!("shard {shard} is there twice")));
        }
        let next = next.map(position).transpose()?;
        Ok(ShardCheckpoint { shard: ShardId(shard), epoch, next, release })
    };
    shards.into_iter().map(checkpoint).collect()
}

fn position(position: v1::Position) -> Result<Position, Invalid> {
    let offset = u16::try_from(position.offset)
        .map_err(|_| Invalid::new("next.offset", "must be at most 65535"))?;
    Ok(Position { log_index: position.log_index, offset })
}

fn position_message(position: Position) -> v1::Position {
    v1::Position { log_index: position.log_index, offset: position.offset.into() }
}

pub(crate) fn owned(shard: &OwnedShard, start: GroupStart, view: &View) -> pb::OwnedShard {
    let node = |id: &NodeId| {
        let address = view.catalog().nodes.get(id)?.grpc_address.clone();
        Some(pb::Node { id: id.0, address })
    };
    let start = match start {
        GroupStart::TrimHorizon => pb::owned_shard::Start::TrimHorizon(v1::Empty {}),
        GroupStart::AtMillis(millis) => pb::owned_shard::Start::AtMillis(millis),
    };
    pb::OwnedShard {
        shard: shard.shard.0,
        shard_id: shard.shard.to_string(),
        group: shard.group.0,
        nodes: shard.nodes.iter().filter_map(node).collect(),
        epoch: shard.epoch,
        next: shard.next.map(position_message),
        start: Some(start),
        end: shard.end.map(position_message),
        leaving: shard.is_leaving,
    }
}

pub(crate) fn group_ref(key: &GroupKey) -> pb::GroupRef {
    pb::GroupRef { stream: key.stream.to_string(), group: key.name.to_string() }
}

pub(crate) fn group_shard(shard: ShardId, stored: StoredShard) -> pb::GroupShard {
    pb::GroupShard {
        shard: shard.0,
        shard_id: shard.to_string(),
        next: stored.position().map(position_message),
        owner: stored.owner.unwrap_or_default(),
        epoch: stored.epoch,
        finished: stored.finished,
    }
}

pub(crate) fn member(id: &MemberId, stored: StoredMember) -> pb::Member {
    pb::Member {
        member: id.to_string(),
        description: stored.description,
        session_millis: stored.session_millis,
        joined_millis: stored.joined_millis,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(stream: &str, group: &str) -> Option<pb::GroupRef> {
        Some(pb::GroupRef { stream: stream.to_owned(), group: group.to_owned() })
    }

    #[test]
    fn a_bad_field_is_named() {
        let long = "d".repeat(129);
        let cases = [
            ("group", None, "m", "", 0),
            ("stream", group("not a name", "g"), "m", "", 0),
            ("group", group("s", ""), "m", "", 0),
            ("group", group("s", "a/b"), "m", "", 0),
            ("member", group("s", "g"), "", "", 0),
            ("member", group("s", "g"), "a b", "", 0),
            ("description", group("s", "g"), "m", &*long, 0),
            ("session_millis", group("s", "g"), "m", "", 2_999),
            ("session_millis", group("s", "g"), "m", "", 300_001),
        ];
        for (field, group, member, description, session_millis) in cases {
            let request = pb::JoinRequest {
                group,
                member: member.to_owned(),
                description: description.to_owned(),
                session_millis,
                start: None,
            };
            let error = join(request.clone(), Timestamp::from_millis(1)).unwrap_err();
            assert_eq!(error.field, field, "{request:?}");
        }
    }

    #[test]
    fn a_join_has_defaults() {
        let request =
            pb::JoinRequest { group: group("s", "g"), member: "m".into(), ..Default::default() };
        let join = join(request, Timestamp::from_millis(7)).unwrap();
        assert_eq!((join.stored.session_millis, join.start), (10_000, Start::TrimHorizon));
        assert_eq!(join.stored.joined_millis, 7);
    }

    #[test]
    fn checkpoints_are_checked() {
        let one = |shard, offset| pb::ShardCheckpoint {
            shard,
            epoch: 1,
            next: Some(v1::Position { log_index: 3, offset }),
            release: false,
        };
        assert!(checkpoints(vec![one(0, 65_535), one(1, 0)]).is_ok());
        let offset = checkpoints(vec![one(0, 65_536)]).unwrap_err();
        assert_eq!(offset.field, "next.offset");
        assert_eq!(checkpoints(vec![one(0, 0), one(0, 1)]).unwrap_err().field, "shards");
        assert_eq!(checkpoints((0..101).map(|n| one(n, 0)).collect()).unwrap_err().field, "shards");
    }
}
