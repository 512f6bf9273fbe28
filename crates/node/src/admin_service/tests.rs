//! Responses to operators, made from a catalog and from reports that a test puts together.

use std::collections::BTreeMap;

use anabranch_catalog::{
    GroupCommand, GroupRef, NodeCommand, NodeRegistration, Refusal, Replica, ShardChange,
    ShardsCommand, StreamCommand, TableCommand, samples,
};
use anabranch_proto::node::{Gate, GroupReport, GroupsResponse, Member};
use anabranch_replica::Error;
use anabranch_transport::ClockReport;
use anabranch_types::{HashKey, ReplicaId, ShardId, StreamName, Timestamp};
use tonic::Code;

use super::*;
use crate::admin_service::lookup::shard_id;
use crate::group_reports::{NodeReports, Reports};

/// Nodes 1 to 4. The first three hold the catalog and the streams a (2 shards) and b (1 shard).
struct Scene {
    catalog: Catalog,
    index: u64,
}

impl Scene {
    fn new() -> Self {
        let voters = [1, 2, 3].map(|id| Replica { id: ReplicaId(id), node: NodeId(id) });
        let mut scene = Self { catalog: Catalog::bootstrap(&voters), index: 0 };
        (1..=3).for_each(|node| scene.register(node));
        for (name, shards) in [("a", 2), ("b", 1)] {
            scene.create(name, shards);
        }
        scene.register(4);
        scene
    }

    fn run(&mut self, command: Command) {
        self.index += 1;
        let outcome = self.catalog.apply(self.index, command);
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    }

    fn register(&mut self, node: u64) {
        let zone = format!("z{node}");
        let registration = NodeRegistration { zone, ..samples::registration(node) };
        self.run(Command::Node(NodeCommand::Register(registration)));
    }

    fn create(&mut self, name: &str, shards: u32) {
        let new = samples::new_stream(name, shards);
        let name = new.name.clone();
        self.run(Command::Stream(StreamCommand::Create(new)));
        let id = self.catalog.streams[&name].id;
        self.run(Command::Stream(StreamCommand::Activate { name, id, newest_group: None }));
    }

    /// The group that holds a stream's shard.
    fn group(&self, name: &str, shard: u32) -> GroupRef<'_> {
        let is_it = |group: &GroupRef<'_>| {
            group
                .shard()
                .is_some_and(|of| of.name.as_str() == name && of.shard.id == ShardId(shard))
        };
        self.catalog.groups().find(is_it).unwrap()
    }

    /// Begins to move a replica of shard 0 of stream a from node 1 to node 4.
    fn begin_move(&mut self) {
        let group = self.group("a", 0);
        let from = group.replicas.iter().find(|replica| replica.node == NodeId(1));
        let (group, from) = (group.group, from.map(|replica| replica.id));
        self.run(Command::Group(GroupCommand::MoveReplica { group, from, to: NodeId(4) }));
    }

    fn page(&self, request: &pb::ListGroupsRequest) -> (Vec<u64>, Option<u64>) {
        let (page, next) = groups::page(&self.catalog, request).unwrap();
        (page.iter().map(|group| group.group.0).collect(), next)
    }
}

/// The report of the replica of `group` on `node`.
fn report(group: &GroupRef<'_>, node: u64) -> GroupReport {
    let own = group.holders().find(|replica| replica.node == NodeId(node));
    GroupReport {
        group: group.group.0,
        replica: own.map_or(0, |own| own.id.0),
        term: 3,
        last_log_index: Some(90),
        ..GroupReport::default()
    }
}

/// The report of the leader of `group` on `node`, with all members at `matched`.
fn leading(group: &GroupRef<'_>, node: u64, matched: u64) -> GroupReport {
    let member = |replica: Replica| Member {
        replica: replica.id.0,
        node: replica.node.0,
        votes: group.replicas.contains(&replica),
        matched_index: Some(matched),
    };
    GroupReport {
        leads: true,
        last_log_index: Some(100),
        committed_index: Some(99),
        applied_index: Some(98),
        members: group.holders().map(member).collect(),
        gate: Some(Gate::default()),
        ..report(group, node)
    }
}

fn reports(said: impl IntoIterator<Item = (u64, Vec<GroupReport>)>) -> Reports {
    let answered = |(node, groups)| {
        let answer = GroupsResponse { groups, refuses_records: node == 2 };
        (NodeId(node), NodeReports::from(answer))
    };
    said.into_iter().map(answered).collect()
}

fn on(group: &pb::Group, node: u64) -> pb::GroupReplica {
    group.replicas.iter().find(|replica| replica.node == node).unwrap().clone()
}

#[test]
fn groups_are_listed_in_pages_for_a_stream_or_a_node() {
    let mut scene = Scene::new();
    let all = pb::ListGroupsRequest::default();
    assert_eq!(scene.page(&all), (vec![0, 1, 2, 3], None));
    let two = pb::ListGroupsRequest { limit: 2, ..all.clone() };
    assert_eq!(scene.page(&two), (vec![0, 1], Some(2)));
    assert_eq!(scene.page(&pb::ListGroupsRequest { start_group: 2, ..two }), (vec![2, 3], None));
    let of_stream = pb::ListGroupsRequest { stream: "b".into(), ..all.clone() };
    assert_eq!(scene.page(&of_stream), (vec![3], None));
    let on_node = pb::ListGroupsRequest { node: 4, ..all };
    assert_eq!(scene.page(&on_node), (vec![], None));
    scene.begin_move();
    assert_eq!(scene.page(&on_node), (vec![1], None), "the new replica is listed");
}

#[test]
fn a_group_of_each_kind_is_shown_with_its_kind() {
    let mut scene = Scene::new();
    scene.run(Command::Table(TableCommand::CreateGroups { replicas: 3, at_least: 1 }));
    let all = pb::ListGroupsRequest::default();
    assert_eq!(scene.page(&all), (vec![0, 1, 2, 3, 4], None));
    let shown = scene.catalog.groups().map(|group| {
        let message = groups::message(&group, &Reports::default());
        (message.group, message.kind(), message.stream, message.replicas.len())
    });
    let (catalog, table) = (pb::GroupKind::Catalog, pb::GroupKind::Table);
    let shard = |group, stream: &str| (group, pb::GroupKind::Shard, stream.to_owned(), 3);
    let [first, second, third] = [shard(1, "a"), shard(2, "a"), shard(3, "b")];
    let expected = [(0, catalog, String::new(), 3), first, second, third];
    let expected = expected.into_iter().chain([(4, table, String::new(), 3)]);
    assert_eq!(shown.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

#[test]
fn a_request_that_breaks_a_rule_is_refused_with_the_name_of_the_field() {
    let scene = Scene::new();
    let refusal = |request: pb::ListGroupsRequest| {
        let status = groups::page(&scene.catalog, &request).unwrap_err();
        (status.code(), status.message().to_owned())
    };
    let all = pb::ListGroupsRequest::default();
    let (code, message) = refusal(pb::ListGroupsRequest { limit: 1_001, ..all.clone() });
    assert_eq!((code, &message[..]), (Code::InvalidArgument, "limit: must be at most 1000"));
    let (code, message) = refusal(pb::ListGroupsRequest { stream: "a b".into(), ..all.clone() });
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.starts_with("stream: "), "{message}");
    let (code, message) = refusal(pb::ListGroupsRequest { stream: "c".into(), ..all.clone() });
    assert_eq!((code, &message[..]), (Code::NotFound, "there is no stream c"));
    let (code, message) = refusal(pb::ListGroupsRequest { node: 9, ..all });
    assert_eq!((code, &message[..]), (Code::NotFound, "node 9 is not known"));
    assert_eq!(node_state(pb::NodeState::Unspecified).unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(shard_id("x").unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(shard_id("shardId-000000000007").unwrap(), ShardId(7));
    let in_use = refused(&Refusal::NodeInUse { node: NodeId(1), replicas: 4 });
    assert_eq!(in_use.code(), Code::FailedPrecondition);
    assert!(in_use.message().contains("drain it first"));
    let leaderless = not_changed(&Error::NotLeader { leader: None });
    assert_eq!(leaderless.code(), Code::Unavailable);
}

#[test]
fn the_leaders_report_tells_how_far_each_replica_is() {
    let scene = Scene::new();
    let group = scene.group("a", 0);
    let said = [(1, vec![leading(&group, 1, 88)]), (2, vec![report(&group, 2)]), (3, vec![])];
    let message = groups::message(&group, &reports(said));
    assert_eq!((message.leader_node, message.term), (1, 3));
    assert_eq!((message.stream.as_str(), message.shard.as_str()), ("a", "shardId-000000000000"));
    let indexes = (message.last_index, message.committed_index, message.applied_index);
    assert_eq!(indexes, (Some(100), Some(99), Some(98)));
    assert_eq!(message.gate(), pb::Gate::Open);
    let second = on(&message, 2);
    assert_eq!((second.matched_index, second.lag_entries), (Some(88), Some(12)));
    assert_eq!((second.state(), second.last_index), (pb::ReplicaState::Open, Some(90)));
    assert!(second.disk_refuses_records && !second.leads && on(&message, 1).leads);
    assert_eq!(on(&message, 3).state(), pb::ReplicaState::Missing);
}

#[test]
fn without_a_leader_a_group_shows_what_its_replicas_know() {
    let scene = Scene::new();
    let group = scene.group("a", 0);
    let message = groups::message(&group, &reports([(2, vec![report(&group, 2)])]));
    assert_eq!((message.leader_node, message.term, message.last_index), (0, 3, None));
    assert_eq!(message.gate(), pb::Gate::Unspecified);
    let second = on(&message, 2);
    assert_eq!(
        (second.last_index, second.matched_index, second.lag_entries),
        (Some(90), None, None)
    );
    let first = on(&message, 1);
    assert_eq!(first.state(), pb::ReplicaState::Unreachable);
    assert_eq!((first.role(), first.last_index), (pb::ReplicaRole::Voter, None));
}

#[test]
fn of_two_replicas_that_believe_to_lead_the_one_with_the_higher_term_does() {
    let scene = Scene::new();
    let group = scene.group("a", 0);
    let later = GroupReport { term: 4, ..leading(&group, 2, 90) };
    let said = [(1, vec![leading(&group, 1, 90)]), (2, vec![later])];
    let message = groups::message(&group, &reports(said));
    assert_eq!((message.leader_node, message.term), (2, 4));
    assert!(!on(&message, 1).leads);
}

#[test]
fn a_quarantined_replica_shows_its_reason_until_the_catalog_has_replaced_it() {
    let scene = Scene::new();
    let group = scene.group("a", 0);
    let quarantined =
        |replica| GroupReport { replica, quarantined: Some("a hole".into()), ..report(&group, 3) };
    for (replica, state) in [
        (0, pb::ReplicaState::Quarantined),
        (report(&group, 3).replica, pb::ReplicaState::Quarantined),
        (999, pb::ReplicaState::Missing),
    ] {
        let third = on(&groups::message(&group, &reports([(3, vec![quarantined(replica)])])), 3);
        assert_eq!(third.state(), state, "{replica}");
        assert_eq!(third.reason.is_empty(), state == pb::ReplicaState::Missing);
        assert_eq!(third.last_index, None);
    }
}

#[test]
fn a_move_shows_the_step_that_the_groups_leader_has_reached() {
    let mut scene = Scene::new();
    scene.begin_move();
    let group = scene.group("a", 0);
    let comes = group.moving.unwrap().to;
    let step = |leading: Option<GroupReport>| {
        let said = leading.map(|leading| (2, vec![leading]));
        let moving = groups::message(&group, &reports(said)).r#move.unwrap();
        assert_eq!((moving.from_node, moving.to_node, moving.replica), (1, 4, comes.id.0));
        (moving.step(), moving.lag_entries)
    };
    assert_eq!(step(None), (pb::MoveStep::Unspecified, None));
    let mut led = leading(&group, 2, 40);
    assert_eq!(step(Some(led.clone())), (pb::MoveStep::CatchingUp, Some(60)));
    let without: Vec<_> = led.members.iter().filter(|member| member.node != 4).copied().collect();
    let adding = GroupReport { members: without, ..led.clone() };
    assert_eq!(step(Some(adding)), (pb::MoveStep::Adding, None));
    led.members.iter_mut().for_each(|member| member.votes = true);
    let changing = GroupReport { voters_change: true, ..led.clone() };
    assert_eq!(step(Some(changing)).0, pb::MoveStep::ChangingVoters);
    assert_eq!(step(Some(led)).0, pb::MoveStep::Finishing);
    let message = groups::message(&group, &reports([]));
    assert_eq!(on(&message, 4).place(), pb::ReplicaPlace::Comes);
    assert_eq!(on(&message, 4).role(), pb::ReplicaRole::Learner);
    assert_eq!(on(&message, 1).place(), pb::ReplicaPlace::Leaves);
}

#[test]
fn a_split_shows_its_step() {
    let mut scene = Scene::new();
    let change = ShardChange::Split { shard: ShardId(0), at: HashKey(1000) };
    let name: StreamName = "a".parse().unwrap();
    scene.run(Command::Shards(ShardsCommand::Reshard {
        name: name.clone(),
        change,
        now: Timestamp::from_millis(2000),
    }));
    let job = scene.catalog.streams[&name].job.as_ref().unwrap().id;
    let concerned: Vec<_> = scene.catalog.groups().filter(jobs::concerns).collect();
    let shards: Vec<_> = concerned.iter().map(|group| group.shard().unwrap().shard.id.0).collect();
    assert_eq!(shards, [0, 2, 3]);
    let [parent, lower, upper] = concerned[..] else { panic!("{shards:?}") };
    let step = |groups: &[GroupRef<'_>], frozen_by| {
        let gate = Some(Gate { frozen_by, ..Gate::default() });
        let said = groups.iter().map(|group| GroupReport { gate, ..leading(group, 1, 90) });
        let listed = jobs::list(&scene.catalog, &reports([(1, said.collect())]));
        let job = listed.reshards[0].clone();
        (job.step(), job.children_led, job.parents_frozen)
    };
    assert_eq!(step(&[parent], 0), (pb::ReshardStep::Electing, 0, 0));
    assert_eq!(step(&[parent, lower], 0), (pb::ReshardStep::Electing, 1, 0));
    assert_eq!(step(&[parent, lower, upper], 0), (pb::ReshardStep::Freezing, 2, 0));
    assert_eq!(step(&[parent, lower, upper], job - 1).0, pb::ReshardStep::Freezing);
    assert_eq!(step(&[parent, lower, upper], job), (pb::ReshardStep::Committing, 2, 1));
    assert_eq!(
        step(&[lower, upper], 0).0,
        pb::ReshardStep::Freezing,
        "the parent's leader does not answer"
    );
}

#[test]
fn shards_are_listed_in_pages_with_their_parents() {
    let scene = Scene::new();
    let ask = pb::ListShardsRequest { stream: "a".into(), limit: 1, ..Default::default() };
    let first = shards::list(&scene.catalog, &ask).unwrap();
    assert_eq!((first.shards.len(), first.next_shard, first.total), (1, Some(1), 2));
    assert_eq!((first.status.as_str(), first.shards[0].open), ("ACTIVE", true));
    let second = pb::ListShardsRequest { start_shard: 1, ..ask };
    let second = shards::list(&scene.catalog, &second).unwrap();
    assert_eq!(
        (second.shards[0].shard.as_str(), second.next_shard),
        ("shardId-000000000001", None)
    );
    let explain = |shard: &str| {
        let (stream, shard) = ("a".into(), shard.into());
        shards::explain(&scene.catalog, &pb::ExplainShardRequest { stream, shard })
    };
    let explained = explain("1").unwrap();
    assert_eq!((explained.zones, explained.other_nodes), (3, vec![4]));
    let missing = explain("77").unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    assert!(missing.message().contains("no shard"), "{missing}");
}

#[test]
fn the_status_has_counts_and_whether_balancing_is_paused() {
    let mut scene = Scene::new();
    scene.begin_move();
    scene.run(Command::Group(GroupCommand::SetBalancing { paused: true }));
    scene.run(Command::Group(GroupCommand::Rebalance));
    let own = scene.catalog.own_group();
    let reports = reports([(3, vec![leading(&own, 3, 1)])]);
    let status =
        cluster::status(&scene.catalog, &reports, &BTreeMap::new(), &ClockReport::default());
    assert_eq!((status.nodes, status.streams, status.open_shards, status.moves), (4, 2, 3, 1));
    assert_eq!((status.catalog_leader, status.catalog_nodes), (3, vec![1, 2, 3]));
    assert!(status.balancing_paused);
    assert_eq!(Some(status.rebalance), scene.catalog.rebalance);
    let nodes = cluster::nodes(&scene.catalog, &BTreeMap::new(), &ClockReport::default());
    assert_eq!(nodes.iter().map(|node| node.replicas).collect::<Vec<_>>(), [4, 4, 4, 1]);
    assert!(nodes.iter().all(|node| !node.answers && node.leads.is_none()));
}
