//! Which leaders move in which round, by examples and by properties over random clusters.

use proptest::prelude::*;

use super::*;

/// A cluster as the rounds see it: where replicas are, and which nodes lead.
#[derive(Debug)]
struct Scene {
    replicas: BTreeMap<GroupId, Vec<NodeId>>,
    nodes: BTreeMap<NodeId, NodeStatus>,
    balance: Balance,
    settings: OperatorSettings,
}

impl Scene {
    /// Node n leads the n-th number of groups, n from 1. Each group has replicas on all nodes.
    fn led(numbers: &[u64]) -> Self {
        let nodes = 1..=numbers.len() as u64;
        let mut groups = 1..;
        let statuses = nodes.clone().map(NodeId).zip(numbers).map(|(id, number)| {
            let leads = groups.by_ref().take(usize::try_from(*number).unwrap()).map(GroupId);
            (
                id,
                NodeStatus {
                    leads: leads.collect(),
                    accepts_leaders: true,
                    ..NodeStatus::default()
                },
            )
        });
        let statuses: BTreeMap<_, _> = statuses.collect();
        let groups = statuses.values().flat_map(|node| node.leads.iter().copied());
        let everywhere: Vec<_> = nodes.map(NodeId).collect();
        let replicas = groups.map(|group| (group, everywhere.clone())).collect();
        Self {
            replicas,
            nodes: statuses,
            balance: watched(),
            settings: OperatorSettings::default(),
        }
    }

    fn node(&mut self, id: u64) -> &mut NodeStatus {
        self.nodes.get_mut(&NodeId(id)).unwrap()
    }

    /// The moves of a round. None of them is made.
    fn plan(&mut self) -> Vec<Move> {
        self.balance.round(self.settings, &self.replicas, &self.nodes)
    }

    /// A round whose moves are made. Returns how many.
    fn round(&mut self) -> usize {
        let moves = self.plan();
        for Move { group, from, to } in &moves {
            assert!(self.node(from.0).leads.remove(group), "{from} doesn't lead {group}");
            assert!(self.replicas[group].contains(to), "{to} has no replica of {group}");
            assert!(self.nodes[to].accepts_leaders, "{to} accepts no leaders");
            self.node(to.0).leads.insert(*group);
        }
        assert!(moves.len() <= MOST_MOVES + self.nodes.len(), "{} moves", moves.len());
        moves.len()
    }

    fn rounds(&mut self, number: u32) {
        for _ in 0..number {
            self.round();
        }
    }

    fn numbers(&self) -> Vec<usize> {
        self.nodes.values().map(|node| node.leads.len()).collect()
    }
}

/// A balance that has observed for long enough to act.
fn watched() -> Balance {
    Balance { rounds: SLOW_AFTER, ..Balance::default() }
}

const MILLI: Duration = Duration::from_millis(1);

#[test]
fn nothing_moves_between_nodes_that_differ_by_one() {
    for numbers in [&[1, 1, 1][..], &[2, 1, 1], &[2, 2, 1], &[0, 0, 1], &[7], &[]] {
        assert_eq!(Scene::led(numbers).plan(), [], "{numbers:?}");
    }
}

#[test]
fn a_node_that_leads_nothing_gets_its_share() {
    let mut scene = Scene::led(&[3, 3, 0]);
    assert_eq!(scene.round(), 2);
    assert_eq!(scene.numbers(), [2, 2, 2]);
    assert_eq!(scene.round(), 0);
}

#[test]
fn many_leaders_move_a_few_at_a_time() {
    let mut scene = Scene::led(&[150, 150, 0]);
    assert_eq!(scene.round(), MOST_MOVES);
    scene.rounds(6);
    assert_eq!(scene.numbers(), [100, 100, 100]);
}

#[test]
fn a_node_that_has_just_started_or_leaves_is_left_alone() {
    let mut scene = Scene::led(&[4, 4, 0]);
    scene.node(3).accepts_leaders = false;
    assert_eq!(scene.plan(), []);
    let mut scene = Scene::led(&[6, 2, 1]);
    scene.node(1).accepts_leaders = false;
    assert_eq!(scene.plan(), []);
}

#[test]
fn a_node_that_does_not_answer_gets_no_leader() {
    let mut scene = Scene::led(&[4, 4, 0]);
    scene.nodes.remove(&NodeId(3));
    assert_eq!(scene.plan(), []);
}

#[test]
fn a_group_that_did_not_move_rests_and_another_one_is_tried() {
    let mut scene = Scene::led(&[2, 0]);
    let first = scene.plan();
    let second = scene.plan();
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first[0].group, second[0].group);
    assert_eq!(scene.plan(), []);
    let again = (0..REST).flat_map(|_| scene.plan()).next();
    assert_eq!(again, Some(first[0]));
}

#[test]
fn while_balancing_is_paused_nothing_moves_not_even_off_a_slow_node() {
    let mut scene = Scene::led(&[4, 4, 0]);
    scene.settings.paused = true;
    for (id, millis) in [(1, 80), (2, 5), (3, 9)] {
        scene.node(id).sync = Some(millis * MILLI);
        scene.node(id).round_trips = [1, 2, 3].map(|other| (NodeId(other), MILLI)).into();
    }
    scene.rounds(2 * SLOW_AFTER);
    assert_eq!(scene.numbers(), [4, 4, 0]);
    assert!(scene.balance.is_slow(NodeId(1)), "it observes all the same");
    scene.settings.paused = false;
    assert_eq!(scene.round(), 4);
    assert_eq!(scene.numbers(), [0, 4, 4]);
}

#[test]
fn a_rebalance_moves_leaders_while_balancing_is_paused_and_ends_every_rest() {
    let mut scene = Scene::led(&[3, 3, 0]);
    scene.settings = OperatorSettings { paused: true, rebalance: Some(7) };
    let first = scene.plan();
    assert_eq!(first.len(), 2);
    assert_ne!(scene.plan(), first, "the groups that were tried rest");
    scene.settings.rebalance = Some(8);
    assert_eq!(scene.plan(), first);
    scene.settings.rebalance = None;
    assert_eq!(scene.plan(), []);
}

#[test]
fn a_rebalance_waits_until_slow_nodes_are_known() {
    let mut scene = Scene::led(&[2, 0]);
    scene.balance = Balance::default();
    scene.settings.rebalance = Some(7);
    for _ in 0..SLOW_AFTER {
        assert_eq!(scene.round(), 0);
        assert!(!scene.balance.has_observed_enough());
    }
    assert_eq!(scene.round(), 1);
    assert!(scene.balance.has_observed_enough());
}

#[test]
fn a_chain_of_moves_goes_over_a_third_node() {
    let mut scene = Scene::led(&[2, 1, 0]);
    let [a, b, c] = [1, 2, 3].map(NodeId);
    scene.replicas = [(1, vec![a, b]), (2, vec![a, b]), (3, vec![b, c])]
        .map(|(group, nodes)| (GroupId(group), nodes))
        .into();
    assert_eq!(scene.round(), 2);
    assert_eq!(scene.numbers(), [1, 1, 1]);
}

#[test]
fn the_leader_of_the_catalog_does_not_count() {
    let mut scene = Scene::led(&[2, 1, 1]);
    scene.node(1).leads.insert(GroupId::CATALOG);
    scene.replicas.insert(GroupId::CATALOG, [1, 2, 3].map(NodeId).to_vec());
    assert_eq!(scene.plan(), []);
}

#[test]
fn a_node_with_a_slow_disk_loses_its_leaders_and_gets_them_back_much_later() {
    let mut scene = Scene::led(&[2, 2, 2]);
    scene.node(1).leads.insert(GroupId::CATALOG);
    scene.replicas.insert(GroupId::CATALOG, [1, 2, 3].map(NodeId).to_vec());
    for (id, millis) in [(1, 80), (2, 5), (3, 9)] {
        scene.node(id).sync = Some(millis * MILLI);
        scene.node(id).round_trips = [1, 2, 3].map(|other| (NodeId(other), MILLI)).into();
    }
    scene.rounds(SLOW_AFTER - 1);
    assert_eq!(scene.numbers(), [3, 2, 2], "not at the first sign");
    scene.rounds(1);
    assert_eq!(scene.node(1).leads.len(), 0, "the catalog goes too");
    assert!(scene.balance.is_slow(NodeId(1)));
    scene.node(1).sync = None; // without writes nothing is known of the disk
    scene.rounds(2 * FAST_AFTER);
    assert!(scene.balance.is_slow(NodeId(1)));
    scene.node(1).sync = Some(5 * MILLI);
    scene.rounds(FAST_AFTER - 1);
    assert_eq!(scene.node(1).leads.len(), 0);
    scene.rounds(2);
    assert_eq!(scene.node(1).leads.len(), 2);
}

#[test]
fn a_new_balance_gives_no_leader_to_a_node_that_was_slow_before() {
    let mut scene = Scene::led(&[0, 3, 3]);
    for (id, millis) in [(1, 80), (2, 5), (3, 9)] {
        scene.node(id).sync = Some(millis * MILLI);
    }
    scene.balance = Balance::default();
    scene.rounds(2 * SLOW_AFTER);
    assert_eq!(scene.numbers(), [0, 3, 3]);
    let mut scene = Scene::led(&[0, 3, 3]);
    scene.balance = Balance::default();
    scene.rounds(2 * SLOW_AFTER);
    assert_eq!(scene.numbers(), [2, 2, 2]);
}

#[test]
fn no_leader_moves_if_all_disks_are_slow_or_fast_disks_differ() {
    for millis in [[90, 80, 70], [40, 1, 1], [300, 60, 50]] {
        let mut scene = Scene::led(&[2, 2, 2]);
        for (id, millis) in (1..).zip(millis) {
            scene.node(id).sync = Some(millis * MILLI);
        }
        scene.rounds(3 * SLOW_AFTER);
        assert_eq!(scene.numbers(), [2, 2, 2], "{millis:?}");
    }
}

#[test]
fn slow_samples_that_come_and_go_do_not_make_a_node_slow() {
    let mut scene = Scene::led(&[2, 2, 2]);
    for round in 0..100 {
        for (id, millis) in [(1, if round % SLOW_AFTER == 0 { 5 } else { 500 }), (2, 5), (3, 5)] {
            scene.node(id).sync = Some(millis * MILLI);
        }
        assert_eq!(scene.round(), 0);
    }
}

#[test]
fn a_node_that_is_far_from_all_others_leads_nothing_but_one_slow_link_changes_nothing() {
    let far = |millis: [u32; 3]| {
        let mut scene = Scene::led(&[2, 2, 2]);
        let [ab, ac, bc] = millis.map(|millis| millis * MILLI);
        let [a, b, c] = [1, 2, 3].map(NodeId);
        scene.node(1).round_trips = [(b, ab), (c, ac)].into();
        scene.node(2).round_trips = [(a, ab), (c, bc)].into();
        scene.node(3).round_trips = [(a, ac), (b, bc)].into();
        scene.rounds(SLOW_AFTER);
        scene.numbers()
    };
    assert_eq!(far([400, 450, 2]), [0, 3, 3]);
    assert_eq!(far([400, 2, 2]), [2, 2, 2]);
    assert_eq!(far([400, 450, 480]), [2, 2, 2]);
}

/// Groups with one to three replicas on up to five nodes, led by any of them.
fn scene() -> impl Strategy<Value = Scene> {
    let group = (proptest::sample::subsequence(vec![1, 2, 3, 4, 5], 1..=3), any::<usize>());
    let accepts_leaders = proptest::collection::vec(proptest::bool::weighted(0.8), 5);
    (proptest::collection::vec(group, 0..60), accepts_leaders).prop_map(
        |(groups, accepts_leaders)| {
            let mut scene = Scene::led(&[0; 5]);
            for (id, (replicas, leader)) in (1..).map(GroupId).zip(groups) {
                scene.node(replicas[leader % replicas.len()]).leads.insert(id);
                scene.replicas.insert(id, replicas.into_iter().map(NodeId).collect());
            }
            for (node, accepts_leaders) in scene.nodes.values_mut().zip(accepts_leaders) {
                node.accepts_leaders = accepts_leaders;
            }
            scene
        },
    )
}

/// Whether some node could still give a leader to a node with two fewer, if no group rested.
fn could_be_better(scene: &Scene) -> bool {
    let mut fresh = watched();
    !fresh.round(scene.settings, &scene.replicas, &scene.nodes).is_empty()
}

proptest! {
    #[test]
    fn rounds_end_where_no_move_improves_the_balance(mut scene in scene()) {
        let groups = scene.replicas.len();
        scene.rounds(20 * REST);
        prop_assert!(!could_be_better(&scene), "{:?}", scene.numbers());
        prop_assert_eq!(scene.numbers().iter().sum::<usize>(), groups);
    }

    #[test]
    fn with_replicas_everywhere_the_numbers_of_leaders_differ_by_at_most_one(
        numbers in proptest::collection::vec(0..80_u64, 1..6),
    ) {
        let mut scene = Scene::led(&numbers);
        scene.rounds(40);
        let numbers = scene.numbers();
        prop_assert!(numbers.iter().max().unwrap() - numbers.iter().min().unwrap() <= 1);
        prop_assert_eq!(scene.round(), 0);
    }
}
