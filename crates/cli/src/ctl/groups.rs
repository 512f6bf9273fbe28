//! Output about groups: leader, log positions, and each replica with its lag.

use anabranch_proto::admin as pb;
use serde_json::{Value, json};

use crate::ctl::jobs;
use crate::ctl::output::{Output, known, some_node, spoken, word};

pub(super) fn list(groups: &[pb::Group]) -> Output {
    let mut lines = vec![format!(
        "{:>6}  {:>6} {:>6} {:>10}  {:<40} {}",
        "group", "leader", "term", "committed", "holds", "replicas by node"
    )];
    lines.extend(groups.iter().map(|group| {
        let replicas: Vec<_> = group.replicas.iter().map(in_short).collect();
        format!(
            "{:>6}  {:>6} {:>6} {:>10}  {:<40} {}",
            group.group,
            known(some_node(group.leader_node)),
            group.term,
            known(group.committed_index),
            holds(group),
            replicas.join(", ")
        )
    }));
    Output { lines, json: groups.iter().map(json_of).collect() }
}

pub(super) fn describe(group: &pb::Group) -> Output {
    let led = match group.leader_node {
        0 => "no leader that answers".into(),
        node => format!("led by node {node} in term {}", group.term),
    };
    let mut lines = vec![
        format!("group {}, {}: {led}", group.group, holds(group)),
        format!(
            "  last entry {}, committed {}, applied {}",
            known(group.last_index),
            known(group.committed_index),
            known(group.applied_index)
        ),
    ];
    lines.extend(gate_text(group.gate()).map(|text| format!("  the shard {text}")));
    lines.extend(group.replicas.iter().map(in_full));
    if group.handing_over {
        lines.push("  the leader is handing over".into());
    }
    if group.voters_change {
        lines.push("  the voters are being changed".into());
    }
    lines.extend(group.r#move.as_ref().map(|moving| format!("  {}", jobs::move_text(moving))));
    Output { lines, json: json_of(group) }
}

fn holds(group: &pb::Group) -> String {
    match kind(group) {
        pb::GroupKind::Catalog => "the catalog".into(),
        pb::GroupKind::Table => "tables".into(),
        pb::GroupKind::Shard | pb::GroupKind::Unspecified => {
            format!("{} {}", group.stream, group.shard)
        }
    }
}

/// The kind of a group. A node of an earlier release does not say it: there, only the catalog has no stream.
fn kind(group: &pb::Group) -> pb::GroupKind {
    match group.kind() {
        pb::GroupKind::Unspecified if group.stream.is_empty() => pb::GroupKind::Catalog,
        pb::GroupKind::Unspecified => pb::GroupKind::Shard,
        known @ (pb::GroupKind::Catalog | pb::GroupKind::Shard | pb::GroupKind::Table) => known,
    }
}

/// A replica in a few words: `3 lags 12`, `2 unreachable`.
fn in_short(replica: &pb::GroupReplica) -> String {
    let mut text = match replica.state() {
        pb::ReplicaState::Open if replica.leads => format!("{} leads", replica.node),
        pb::ReplicaState::Open | pb::ReplicaState::Unspecified => {
            format!("{} lags {}", replica.node, known(replica.lag_entries))
        }
        state @ (pb::ReplicaState::Unreachable
        | pb::ReplicaState::Missing
        | pb::ReplicaState::Quarantined) => {
            format!("{} {}", replica.node, spoken(state_word(state)))
        }
    };
    if replica.role() == pb::ReplicaRole::Learner {
        text.push_str(" (learner)");
    }
    if replica.disk_refuses_records {
        text.push_str(" (disk full)");
    }
    text
}

fn in_full(replica: &pb::GroupReplica) -> String {
    let leads = if replica.leads { ", leads" } else { "" };
    let place = match replica.place() {
        pb::ReplicaPlace::Comes => ", comes",
        pb::ReplicaPlace::Leaves => ", leaves",
        pb::ReplicaPlace::Stays | pb::ReplicaPlace::Unspecified => "",
    };
    let full = if replica.disk_refuses_records { ", its disk is full" } else { "" };
    let reason = match replica.reason.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    format!(
        "  node {}  replica {}  {}, {}{leads}{place}{full}; has {} of the leader's log, lags {}; applied {}{reason}",
        replica.node,
        replica.replica,
        spoken(role_word(replica.role())),
        spoken(state_word(replica.state())),
        known(replica.matched_index),
        known(replica.lag_entries),
        known(replica.applied_index)
    )
}

fn gate_text(gate: pb::Gate) -> Option<&'static str> {
    match gate {
        pb::Gate::Unspecified => None,
        pb::Gate::Open => Some("takes records"),
        pb::Gate::Hidden => Some("takes no records yet: a split or merge is making it"),
        pb::Gate::Frozen => {
            Some("takes no records for the moment: a split or merge is about to be decided")
        }
        pb::Gate::Closed => Some("takes no records any more"),
    }
}

fn state_word(state: pb::ReplicaState) -> &'static str {
    word(state.as_str_name(), "REPLICA_STATE_")
}

fn role_word(role: pb::ReplicaRole) -> &'static str {
    word(role.as_str_name(), "REPLICA_ROLE_")
}

pub(super) fn place_word(place: pb::ReplicaPlace) -> &'static str {
    word(place.as_str_name(), "REPLICA_PLACE_")
}

fn json_of(group: &pb::Group) -> Value {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "group": group.group, "kind": word(kind(group).as_str_name(), "GROUP_KIND_"),
        "stream": text(&group.stream), "shard": text(&group.shard),
        "leader": some_node(group.leader_node), "term": group.term, "last_index": group.last_index,
        "committed_index": group.committed_index, "applied_index": group.applied_index,
        "handing_over": group.handing_over, "voters_change": group.voters_change,
        "gate": word(group.gate().as_str_name(), "GATE_"),
        "move": group.r#move.as_ref().map(jobs::move_json),
        "replicas": group.replicas.iter().map(replica_json).collect::<Vec<_>>(),
    })
}

fn replica_json(replica: &pb::GroupReplica) -> Value {
    json!({
        "node": replica.node, "replica": replica.replica, "role": role_word(replica.role()),
        "place": place_word(replica.place()), "leads": replica.leads, "state": state_word(replica.state()),
        "reason": replica.reason, "disk_refuses_records": replica.disk_refuses_records,
        "matched_index": replica.matched_index, "lag_entries": replica.lag_entries,
        "last_index": replica.last_index, "last_term": replica.last_term, "applied_index": replica.applied_index,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A group with node 1 as leader; node 2 lags, node 3 is unreachable, node 4 has a learner.
    fn group() -> pb::Group {
        let replica = |node, state: pb::ReplicaState, lag_entries| pb::GroupReplica {
            replica: node + 10,
            node,
            role: pb::ReplicaRole::Voter.into(),
            place: pb::ReplicaPlace::Stays.into(),
            leads: node == 1,
            state: state.into(),
            lag_entries,
            ..Default::default()
        };
        let mut replicas = vec![
            replica(1, pb::ReplicaState::Open, Some(0)),
            replica(2, pb::ReplicaState::Open, Some(12)),
            replica(3, pb::ReplicaState::Unreachable, None),
            replica(4, pb::ReplicaState::Open, None),
        ];
        replicas[3].role = pb::ReplicaRole::Learner.into();
        replicas[3].place = pb::ReplicaPlace::Comes.into();
        replicas[1].disk_refuses_records = true;
        pb::Group {
            group: 5,
            stream: "orders".into(),
            shard: "shardId-000000000002".into(),
            leader_node: 1,
            term: 3,
            last_index: Some(20),
            committed_index: Some(19),
            replicas,
            gate: pb::Gate::Open.into(),
            kind: pb::GroupKind::Shard.into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_group_shows_its_kind() {
        let of_kind = |kind: pb::GroupKind, stream: &str| {
            let group = pb::Group { kind: kind.into(), stream: stream.into(), ..group() };
            (holds(&group), json_of(&group)["kind"].clone())
        };
        let shard = "orders shardId-000000000002".to_owned();
        assert_eq!(of_kind(pb::GroupKind::Shard, "orders"), (shard.clone(), json!("SHARD")));
        assert_eq!(of_kind(pb::GroupKind::Table, ""), ("tables".into(), json!("TABLE")));
        let catalog = ("the catalog".to_owned(), json!("CATALOG"));
        assert_eq!(of_kind(pb::GroupKind::Catalog, ""), catalog);
        // A node of an earlier release.
        assert_eq!(of_kind(pb::GroupKind::Unspecified, ""), catalog);
        assert_eq!(of_kind(pb::GroupKind::Unspecified, "orders"), (shard, json!("SHARD")));
    }

    #[test]
    fn a_group_is_a_line_with_each_replica() {
        let output = list(&[group()]);
        let replicas = "1 leads, 2 lags 12 (disk full), 3 unreachable, 4 lags ? (learner)";
        assert!(output.lines[1].ends_with(replicas), "{}", output.lines[1]);
        let json = &output.json[0];
        assert_eq!(json["leader"], json!(1));
        assert_eq!(json["replicas"][2]["state"], json!("UNREACHABLE"));
        assert_eq!(json["replicas"][3]["lag_entries"], json!(null));
        assert_eq!(json["applied_index"], json!(null));
    }

    #[test]
    fn a_group_without_a_leader_is_shown_as_such() {
        let leaderless = pb::Group { leader_node: 0, committed_index: None, ..group() };
        let output = describe(&leaderless);
        assert!(output.lines[0].ends_with("no leader that answers"), "{}", output.lines[0]);
        assert_eq!(output.lines[1], "  last entry 20, committed ?, applied ?");
        assert_eq!(output.json["leader"], json!(null));
    }

    #[test]
    fn the_work_under_way_is_shown() {
        let moving = pb::Move {
            group: 5,
            from_node: 3,
            to_node: 4,
            step: pb::MoveStep::CatchingUp.into(),
            lag_entries: Some(70),
            ..Default::default()
        };
        let busy = pb::Group { handing_over: true, r#move: Some(moving), ..group() };
        let lines = describe(&busy).lines;
        let last = "  group 5: a replica from node 3 to node 4: catching up, lacks 70 entries";
        assert_eq!(lines.last().unwrap(), last);
        assert!(lines.contains(&"  the leader is handing over".to_owned()));
        assert!(lines.contains(&"  the shard takes records".to_owned()));
    }
}
