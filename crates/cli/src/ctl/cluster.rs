//! Output about the cluster as a whole, its nodes, and changes to them.
//!
//! A value that the answering node does not know is `?` in lines and null in JSON; it never becomes 0.

use anabranch_proto::admin as pb;
use serde_json::{Value, json};

use crate::ctl::output::{Output, known, numbers, some_node, word};

pub(super) fn status(status: &pb::StatusResponse) -> Output {
    let leader = some_node(status.catalog_leader);
    let led = leader.map_or("without a leader that answers".into(), |l| format!("led by node {l}"));
    let rebalance = (status.rebalance != 0).then_some(status.rebalance);
    let balancing = if status.balancing_paused { "paused" } else { "on" };
    let once = if rebalance.is_some() { ", a rebalance is under way" } else { "" };
    let mut lines = vec![
        format!(
            "catalog version {}, on nodes {}, {led}",
            status.catalog_version,
            numbers(&status.catalog_nodes)
        ),
        format!(
            "{} nodes, {} streams, {} open shards of {}",
            status.nodes, status.streams, status.open_shards, status.shards
        ),
        format!("{} reshardings under way, {} replicas on the move", status.jobs, status.moves),
        format!("balancing is {balancing}{once}"),
    ];
    if !status.stalled_nodes.is_empty() {
        lines.push(format!("disk stalled or failed: nodes {}", numbers(&status.stalled_nodes)));
    }
    if !status.clocks_agree {
        lines.push(
            "WARNING: no majority of the nodes' clocks agrees on the time: nothing is trimmed"
                .into(),
        );
    }
    if !status.wrong_clocks.is_empty() {
        let wrong = numbers(&status.wrong_clocks);
        lines.push(format!("WARNING: wrong clock on nodes {wrong}: see `ctl nodes`, set it right"));
    }
    let json = json!({
        "version": status.catalog_version, "catalog_nodes": status.catalog_nodes, "catalog_leader": leader,
        "nodes": status.nodes, "streams": status.streams, "open_shards": status.open_shards,
        "shards": status.shards, "jobs": status.jobs, "moves": status.moves, "balancing": balancing,
        "rebalance": rebalance, "stalled_nodes": status.stalled_nodes,
        "clocks_agree": status.clocks_agree, "wrong_clocks": status.wrong_clocks,
    });
    Output { lines, json }
}

pub(super) fn nodes(response: &pb::ListNodesResponse) -> Output {
    let mut lines = vec![format!(
        "{:>5}  {:<9} {:>8} {:>7}  {:<7} {:>6}  {:<10} {:>8}  {}",
        "node", "state", "replicas", "leaders", "catalog", "scrub", "zone", "clock", "gRPC"
    )];
    let mut json = Vec::new();
    for node in &response.nodes {
        let state = node_state(node.state());
        let leads = node.leads.map(u64::from);
        let (holds, silent) = (
            if node.holds_catalog { "yes" } else { "no" },
            match node.stalled_millis {
                Some(0) => "  disk failed".to_owned(),
                Some(millis) => format!("  disk stalled for {} s", millis / 1000),
                None if node.answers => String::new(),
                None => "  no answer".to_owned(),
            },
        );
        let wrong = if node.clock_is_wrong { "  wrong clock" } else { "" };
        lines.push(format!(
            "{:>5}  {state:<9} {:>8} {:>7}  {holds:<7} {:>6}  {:<10} {:>8}  {}{silent}{wrong}",
            node.node,
            node.replicas,
            known(leads),
            percent(node.scrub.as_ref()),
            node.zone,
            node.clock_ahead_millis.map_or_else(|| "?".into(), seconds),
            node.grpc_address
        ));
        json.push(json!({
            "node": node.node, "state": state, "replicas": node.replicas, "holds_catalog": node.holds_catalog,
            "zone": node.zone, "grpc": node.grpc_address, "api": node.api_address, "answers": node.answers,
            "leads": leads, "ready_millis": node.ready_millis, "stalled_millis": node.stalled_millis,
            "scrub": node.scrub.as_ref().map(scrub),
            "clock_ahead_millis": node.clock_ahead_millis, "clock_is_wrong": node.clock_is_wrong,
        }));
    }
    Output { lines, json: json.into() }
}

fn percent(scrub: Option<&pb::Scrub>) -> String {
    let part = scrub.and_then(|s| (100 * s.done_bytes).checked_div(s.total_bytes));
    part.map_or_else(|| "-".into(), |part| format!("{part} %"))
}

fn scrub(scrub: &pb::Scrub) -> Value {
    json!({
        "passes": scrub.passes, "done_bytes": scrub.done_bytes, "total_bytes": scrub.total_bytes,
        "since_pass_millis": scrub.since_pass_millis,
    })
}

/// Milliseconds as seconds with a sign: `+0.3s`.
fn seconds(millis: i64) -> String {
    let (sign, millis) = (if millis < 0 { '-' } else { '+' }, millis.unsigned_abs());
    format!("{sign}{}.{}s", millis / 1000, millis % 1000 / 100)
}

pub(super) fn node_state(state: pb::NodeState) -> &'static str {
    word(state.as_str_name(), "NODE_STATE_")
}

pub(super) fn state_set(node: u64, state: pb::NodeState, left: u32) -> Output {
    let line = match state {
        pb::NodeState::Draining => {
            format!("node {node} is being drained, {left} replicas are left")
        }
        pb::NodeState::Active | pb::NodeState::Unspecified => format!("node {node} takes replicas"),
    };
    Output::line(line, json!({ "node": node, "state": node_state(state), "replicas": left }))
}

pub(super) fn transferred(group: u64, from: u64, to: u64) -> Output {
    let line = if from == to {
        format!("node {to} leads group {group} already")
    } else {
        format!("group {group} is handed over by node {from}")
    };
    Output::line(line, json!({ "group": group, "from": from, "to": to }))
}

pub(super) fn rebalancing(rebalance: u64) -> Output {
    let line = "leaders and replicas are being evened out; `status` says when that is done";
    Output::line(line, json!({ "rebalance": rebalance }))
}

pub(super) fn balancing_set(paused: bool) -> Output {
    let line = if paused {
        "balancing is paused: nothing moves any more only for evenness"
    } else {
        "balancing is on"
    };
    Output::line(line, json!({ "balancing": if paused { "paused" } else { "on" } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_names_everything_unusual() {
        let quiet = pb::StatusResponse {
            catalog_version: 9,
            catalog_nodes: vec![1, 2, 3],
            catalog_leader: 2,
            nodes: 3,
            clocks_agree: true,
            ..Default::default()
        };
        let output = status(&quiet);
        assert_eq!(output.lines[0], "catalog version 9, on nodes 1, 2, 3, led by node 2");
        assert_eq!(output.lines[3..], ["balancing is on"]);
        assert_eq!(output.json["rebalance"], json!(null));
        let odd = pb::StatusResponse {
            catalog_leader: 0,
            balancing_paused: true,
            rebalance: 7,
            ..quiet.clone()
        };
        let clocks = pb::StatusResponse { clocks_agree: false, wrong_clocks: vec![2], ..quiet };
        let warned = status(&clocks);
        assert!(warned.lines[4].contains("no majority") && warned.lines[5].contains("nodes 2"));
        assert_eq!(warned.json["wrong_clocks"], json!([2]));
        let output = status(&odd);
        assert!(output.lines[0].ends_with("without a leader that answers"));
        assert_eq!(output.lines[3], "balancing is paused, a rebalance is under way");
        assert_eq!(output.json["catalog_leader"], json!(null));
        assert_eq!(
            (&output.json["balancing"], &output.json["rebalance"]),
            (&json!("paused"), &json!(7))
        );
    }

    #[test]
    fn a_nodes_clock_is_shown_in_seconds() {
        assert_eq!(
            [0, -40, 1_250, -90_061_700].map(seconds),
            ["+0.0s", "-0.0s", "+1.2s", "-90061.7s"]
        );
        let wrong = pb::Node {
            answers: true,
            clock_ahead_millis: Some(60_000),
            clock_is_wrong: true,
            grpc_address: "h:1".into(),
            ..Default::default()
        };
        let output = nodes(&pb::ListNodesResponse { nodes: vec![wrong] });
        assert!(output.lines[1].ends_with("+60.0s  h:1  wrong clock"), "{}", output.lines[1]);
        assert_eq!(output.json[0]["clock_ahead_millis"], json!(60_000));
    }

    #[test]
    fn a_node_that_does_not_answer_is_shown_with_what_the_catalog_knows() {
        let node = pb::Node {
            node: 2,
            state: pb::NodeState::Draining.into(),
            replicas: 5,
            grpc_address: "h:1".into(),
            ..Default::default()
        };
        let output = nodes(&pb::ListNodesResponse { nodes: vec![node.clone()] });
        assert!(
            output.lines[1].contains("DRAINING") && output.lines[1].ends_with("h:1  no answer")
        );
        assert_eq!(output.json[0]["leads"], json!(null));
        assert_eq!(
            (&output.json[0]["replicas"], &output.json[0]["answers"]),
            (&json!(5), &json!(false))
        );
        let scrub = pb::Scrub { done_bytes: 30, total_bytes: 40, ..Default::default() };
        let stalled_millis = Some(7_400);
        let stalled = pb::Node { answers: true, stalled_millis, scrub: Some(scrub), ..node };
        let output = nodes(&pb::ListNodesResponse { nodes: vec![stalled] });
        assert!(output.lines[1].ends_with("h:1  disk stalled for 7 s"));
        assert!(output.lines[1].contains(" 75 %"));
        assert_eq!(output.json[0]["stalled_millis"], json!(7_400));
        assert_eq!(output.json[0]["scrub"]["total_bytes"], json!(40));
    }
}
