//! `ctl consumer-group`: groups of programs that read a stream together.

use anabranch_proto::consumer as pb;
use anabranch_types::StreamName;
use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::ctl::admin::{ConsumerGroups, request, response};
use crate::ctl::output::{Output, some_node};

/// Commands about consumer groups.
#[derive(Debug, clap::Subcommand)]
pub(super) enum ConsumerGroupCommand {
    /// Groups, with their members and the node that coordinates each
    List,
    /// One group: its members, and the owner and checkpoint of each shard
    Show {
        /// The stream
        stream: StreamName,
        /// Name of the group
        group: String,
    },
    /// Deletes a group with its checkpoints; a program that still reads with it begins anew
    Delete {
        /// The stream
        stream: StreamName,
        /// Name of the group
        group: String,
    },
}

pub(super) async fn run(
    client: &mut ConsumerGroups,
    command: ConsumerGroupCommand,
) -> Result<Output> {
    let reference = |stream: &StreamName, group: &str| {
        Some(pb::GroupRef { stream: stream.to_string(), group: group.to_owned() })
    };
    Ok(match command {
        ConsumerGroupCommand::List => {
            list(&response(client.list_groups(request(pb::ListGroupsRequest {})).await)?.groups)
        }
        ConsumerGroupCommand::Show { stream, group } => {
            let asked = pb::DescribeGroupRequest { group: reference(&stream, &group) };
            show(&response(client.describe_group(request(asked)).await)?)?
        }
        ConsumerGroupCommand::Delete { stream, group } => {
            let asked = pb::DeleteGroupRequest { group: reference(&stream, &group) };
            response(client.delete_group(request(asked)).await)?;
            let json = json!({ "deleted": group, "stream": stream.as_str() });
            Output::line(format!("group {group} of stream {stream} is deleted"), json)
        }
    })
}

fn list(groups: &[pb::GroupSummary]) -> Output {
    let mut lines: Vec<_> = groups.iter().map(summary_text).collect();
    if lines.is_empty() {
        lines.push("there are no consumer groups".into());
    }
    Output { lines, json: groups.iter().map(summary_json).collect() }
}

fn show(described: &pb::DescribeGroupResponse) -> Result<Output> {
    let summary = described.summary.as_ref().context("a response without a group")?;
    let mut lines = vec![summary_text(summary)];
    lines.extend(described.members.iter().map(member_text));
    lines.extend(described.shards.iter().map(shard_text));
    let mut json = summary_json(summary);
    json["member_list"] = described.members.iter().map(member_json).collect();
    json["shards"] = described.shards.iter().map(shard_json).collect();
    Ok(Output { lines, json })
}

fn summary_text(group: &pb::GroupSummary) -> String {
    let pb::GroupRef { stream, group: name } = group.group.clone().unwrap_or_default();
    let coordinator = some_node(group.coordinator);
    let coordinator =
        coordinator.map_or_else(|| "no node yet".into(), |node| format!("node {node}"));
    let (members, shards) = (group.members, group.owned_shards);
    format!("{stream}, {name}: {members} members read {shards} shards; coordinator: {coordinator}")
}

fn summary_json(group: &pb::GroupSummary) -> Value {
    let pb::GroupRef { stream, group: name } = group.group.clone().unwrap_or_default();
    json!({
        "stream": stream, "group": name, "coordinator": some_node(group.coordinator),
        "members": group.members, "owned_shards": group.owned_shards,
        "created_millis": group.created_millis,
    })
}

fn member_text(member: &pb::Member) -> String {
    let pb::Member { member: id, description, session_millis, .. } = member;
    let described =
        if description.is_empty() { String::new() } else { format!(" ({description})") };
    format!("member {id}{described}: may be silent for {} s", f64::from(*session_millis) / 1000.0)
}

fn member_json(member: &pb::Member) -> Value {
    json!({
        "member": member.member, "description": member.description,
        "session_millis": member.session_millis, "joined_millis": member.joined_millis,
    })
}

fn shard_text(shard: &pb::GroupShard) -> String {
    let position = match &shard.next {
        Some(next) => format!("next {}.{}", next.log_index, next.offset),
        None => "no checkpoint".into(),
    };
    let state = match (shard.finished, &*shard.owner) {
        (true, _) => "finished".into(),
        (false, "") => "nobody reads it".into(),
        (false, owner) => format!("read by {owner}"),
    };
    format!("{}: {state}, epoch {}, {position}", shard.shard_id, shard.epoch)
}

fn shard_json(shard: &pb::GroupShard) -> Value {
    let next = shard.next.map(|next| json!({ "log_index": next.log_index, "offset": next.offset }));
    json!({
        "shard": shard.shard, "shard_id": shard.shard_id, "epoch": shard.epoch,
        "owner": (!shard.owner.is_empty()).then_some(&shard.owner),
        "next": next, "finished": shard.finished,
    })
}

#[cfg(test)]
mod tests {
    use anabranch_proto::v1;

    use super::*;

    fn described() -> pb::DescribeGroupResponse {
        let group = Some(pb::GroupRef { stream: "orders".into(), group: "billing".into() });
        let summary = pb::GroupSummary {
            group,
            coordinator: 2,
            members: 1,
            owned_shards: 1,
            created_millis: 7,
        };
        let member = pb::Member {
            member: "m1".into(),
            description: "host a".into(),
            session_millis: 10_000,
            joined_millis: 8,
        };
        let shard = |shard, owner: &str, next, finished| pb::GroupShard {
            shard,
            shard_id: format!("shardId-{shard:012}"),
            owner: owner.into(),
            epoch: 5,
            next,
            finished,
        };
        let next = Some(v1::Position { log_index: 4, offset: 2 });
        let shards =
            vec![shard(0, "", next, true), shard(1, "m1", None, false), shard(2, "", None, false)];
        pb::DescribeGroupResponse { summary: Some(summary), members: vec![member], shards }
    }

    #[test]
    fn a_group_is_shown_with_members_and_shards() {
        let output = show(&described()).unwrap();
        assert_eq!(
            output.lines,
            [
                "orders, billing: 1 members read 1 shards; coordinator: node 2",
                "member m1 (host a): may be silent for 10 s",
                "shardId-000000000000: finished, epoch 5, next 4.2",
                "shardId-000000000001: read by m1, epoch 5, no checkpoint",
                "shardId-000000000002: nobody reads it, epoch 5, no checkpoint",
            ]
        );
        assert_eq!(output.json["shards"][0]["next"]["offset"], json!(2));
        assert_eq!(output.json["shards"][1]["owner"], json!("m1"));
    }

    #[test]
    fn without_groups_the_list_is_empty() {
        let output = list(&[]);
        assert_eq!(output.lines, ["there are no consumer groups"]);
        assert_eq!(output.json, json!([]));
    }
}
