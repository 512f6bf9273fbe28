//! Output about shards: the shards of a stream as a tree, and why the replicas of a shard are on their nodes.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_proto::admin as pb;
use anabranch_types::StreamName;
use serde_json::{Value, json};

use crate::ctl::cluster::node_state;
use crate::ctl::groups::place_word;
use crate::ctl::output::{Output, numbers};

/// The shards without listed parents, and below each shard its children. A merged shard is drawn below its first
/// parent and names the other parent.
pub(super) fn tree(name: &StreamName, status: &str, shards: &[pb::Shard]) -> Output {
    let mut lines = vec![format!("{name}  {status}  {} shards", shards.len())];
    let listed: BTreeSet<&str> = shards.iter().map(|shard| shard.shard.as_str()).collect();
    let mut below: BTreeMap<Option<&str>, Vec<&pb::Shard>> = BTreeMap::new();
    for shard in shards {
        let parent = shard.parents.first().map(String::as_str);
        below.entry(parent.filter(|parent| listed.contains(parent))).or_default().push(shard);
    }
    draw(&below, None, 1, &mut lines);
    let all: Vec<_> = shards.iter().map(json_of).collect();
    Output { lines, json: json!({ "stream": name.to_string(), "status": status, "shards": all }) }
}

fn draw<'a>(
    below: &BTreeMap<Option<&'a str>, Vec<&'a pb::Shard>>,
    parent: Option<&'a str>,
    depth: usize,
    lines: &mut Vec<String>,
) {
    for shard in below.get(&parent).into_iter().flatten() {
        let state = if shard.open { "open" } else { "closed" };
        let with = match &shard.parents[..] {
            [_, other] => format!("  with {other}"),
            _ => String::new(),
        };
        lines.push(format!(
            "{:indent$}{}  {state:<6}  group {}  on nodes {}{with}",
            "",
            shard.shard,
            shard.group,
            numbers(&shard.nodes),
            indent = 2 * depth
        ));
        draw(below, Some(&shard.shard), depth + 1, lines);
    }
}

fn json_of(shard: &pb::Shard) -> Value {
    json!({
        "shard": shard.shard, "group": shard.group, "open": shard.open, "parents": shard.parents,
        "hash_keys": [shard.hash_key_start, shard.hash_key_end], "nodes": shard.nodes,
        "created_millis": shard.created_millis, "closed_millis": shard.closed_millis,
    })
}

pub(super) fn explain(response: &pb::ExplainShardResponse) -> Output {
    let (shard, group, wanted) = (&response.shard, response.group, response.wanted_replicas);
    let mut lines = vec![format!("{shard}, group {group}, {wanted} replicas wanted")];
    let mut json = Vec::new();
    for replica in &response.replicas {
        let place = place_word(replica.place()).to_lowercase();
        let state = node_state(replica.node_state());
        lines.push(format!(
            "  node {}  replica {}  {place}; the node is {state}, in zone '{}', and holds {}",
            replica.node, replica.replica, replica.zone, replica.node_replicas
        ));
        json.push(json!({
            "node": replica.node, "replica": replica.replica, "role": place, "node_state": state,
            "zone": replica.zone, "node_replicas": replica.node_replicas,
        }));
    }
    lines.push(match &response.other_nodes[..] {
        [] => "  there is no other node to move to".into(),
        others => format!(
            "  it is in {} zones; nodes {} would do if they held at least two replicas less, or were in \
             another zone",
            response.zones,
            numbers(others)
        ),
    });
    let json = json!({
        "shard": shard, "group": group, "wanted": wanted, "replicas": json, "zones": response.zones,
        "other_nodes": response.other_nodes,
    });
    Output { lines, json }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(id: &str, open: bool, parents: &[&str]) -> pb::Shard {
        let parents = parents.iter().map(ToString::to_string).collect();
        let (shard, nodes) = (id.to_owned(), vec![1, 2]);
        pb::Shard { shard, group: 7, open, parents, nodes, ..Default::default() }
    }

    #[test]
    fn children_are_below_their_first_parent_and_shards_without_parents_at_the_top() {
        let shards = [
            shard("a", false, &["gone"]),
            shard("b", false, &[]),
            shard("c", false, &["a"]),
            shard("d", true, &["a"]),
            shard("e", true, &["c", "b"]),
        ];
        let output = tree(&"orders".parse().unwrap(), "ACTIVE", &shards);
        let drawn = [
            "orders  ACTIVE  5 shards",
            "  a  closed  group 7  on nodes 1, 2",
            "    c  closed  group 7  on nodes 1, 2",
            "      e  open    group 7  on nodes 1, 2  with b",
            "    d  open    group 7  on nodes 1, 2",
            "  b  closed  group 7  on nodes 1, 2",
        ];
        assert_eq!(output.lines, drawn);
        assert_eq!(output.json["shards"][4]["parents"], json!(["c", "b"]));
        assert_eq!(output.json["shards"][3]["closed_millis"], json!(null));
    }

    #[test]
    fn a_shard_is_explained_by_its_replicas_and_where_else_they_could_be() {
        let placed = pb::PlacedReplica {
            replica: 4,
            node: 1,
            place: pb::ReplicaPlace::Leaves.into(),
            zone: "a".into(),
            node_replicas: 6,
            ..Default::default()
        };
        let response = pb::ExplainShardResponse {
            shard: "a".into(),
            group: 7,
            wanted_replicas: 3,
            replicas: vec![placed],
            ..Default::default()
        };
        let output = explain(&response);
        let line = "  node 1  replica 4  leaves; the node is UNKNOWN, in zone 'a', and holds 6";
        assert_eq!(output.lines[1], line);
        assert_eq!(output.json["replicas"][0]["role"], json!("leaves"));
    }
}
