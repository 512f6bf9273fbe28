//! The rules of `assign`, one by one, and a model of a cluster under random changes.

use anabranch_types::Timestamp;
use proptest::prelude::*;

use super::*;

fn id(part: u32) -> JobId {
    JobId { service: "s".into(), resource: "r".into(), part: format!("{part:04}") }
}

fn owned(node: u64) -> JobRow {
    let owner = Owner::Owned { node: NodeId(node), since: Timestamp::default(), leaving: false };
    JobRow { epoch: 1, owner }
}

/// A cluster, as its dispatcher sees it: each round makes the changes, and owners give up what they are to leave.
#[derive(Clone, Debug, Default)]
struct World {
    nodes: BTreeMap<NodeId, Condition>,
    wanted: BTreeMap<JobId, Wanted>,
    rows: BTreeMap<JobId, JobRow>,
    epoch: u64,
}

impl World {
    fn of(conditions: &[Condition], jobs: u32) -> Self {
        let nodes = (1..).map(NodeId).zip(conditions.iter().copied()).collect();
        let wanted = (0..jobs).map(|part| (id(part), Wanted::default())).collect();
        Self { nodes, wanted, ..Self::default() }
    }

    fn changes(&self) -> BTreeMap<JobId, Change> {
        let Self { nodes, wanted, rows, .. } = self;
        assign(&Situation { nodes, wanted, rows, balancing: MAX_BALANCING })
    }

    /// One round. Returns whether something changed.
    fn round(&mut self) -> bool {
        let changes = self.changes();
        for (job, change) in &changes {
            match change {
                Change::Remove => {
                    self.rows.remove(job);
                }
                Change::Assign(node) => {
                    self.epoch += 1;
                    let row = JobRow { epoch: self.epoch, ..owned(node.0) };
                    self.rows.insert(job.clone(), row);
                }
                Change::Leave => {
                    let row = self.rows.get_mut(job).unwrap();
                    row.owner = Owner::Free { left_by: row.node() };
                }
            }
        }
        !changes.is_empty()
    }

    fn settle(&mut self) {
        let rounds = (0..200).take_while(|_| self.round()).count();
        assert!(rounds < 200, "the jobs move for ever: {self:?}");
    }

    fn work_of(&self, node: NodeId) -> u64 {
        let of_node = self.rows.iter().filter(|(_, row)| row.node() == Some(node));
        of_node.map(|(job, _)| work(&self.wanted[job])).sum()
    }
}

use Condition::{Draining, Gone, Takes, Waited};

#[test]
fn new_jobs_are_shared_evenly() {
    let mut world = World::of(&[Takes; 3], 7);
    world.settle();
    let loads: Vec<_> = world.nodes.keys().map(|node| world.work_of(*node)).collect();
    assert_eq!(loads, [3, 2, 2]);
}

#[test]
fn a_new_job_goes_to_the_leader_of_its_shard_unless_that_has_too_much_work() {
    let mut world = World::of(&[Takes; 3], 4);
    for want in world.wanted.values_mut() {
        want.near = Some(NodeId(2));
    }
    let to: Vec<_> = world.changes().into_values().collect();
    assert_eq!(to[0], Change::Assign(NodeId(2)));
    assert_eq!(to[1], Change::Assign(NodeId(1)), "node 2 has all the work already");
    world.settle();
    assert!(world.nodes.keys().all(|node| world.work_of(*node) > 0));
}

#[test]
fn jobs_of_a_node_that_is_gone_get_another_owner_and_all_others_stay() {
    let mut world = World::of(&[Takes; 3], 9);
    world.settle();
    let before = world.rows.clone();
    world.nodes.insert(NodeId(3), Gone);
    world.round();
    for (job, row) in &before {
        let now = &world.rows[job];
        if row.node() == Some(NodeId(3)) {
            assert_ne!(now.node(), Some(NodeId(3)));
            assert!(now.epoch > row.epoch, "the former owner is fenced");
        } else {
            assert_eq!(now, row);
        }
    }
}

#[test]
fn jobs_leave_a_draining_node_only_if_another_node_takes_them() {
    let mut world = World::of(&[Draining, Takes], 0);
    world.wanted.insert(id(0), Wanted::default());
    world.rows.insert(id(0), owned(1));
    assert_eq!(world.changes()[&id(0)], Change::Leave);
    world.nodes.insert(NodeId(2), Gone);
    assert_eq!(world.changes(), BTreeMap::new());
}

#[test]
fn a_node_that_may_be_gone_keeps_its_jobs_for_a_moment_and_gets_no_others() {
    let mut world = World::of(&[Waited, Takes], 2);
    world.rows.insert(id(0), owned(1));
    assert_eq!(world.changes(), BTreeMap::from([(id(1), Change::Assign(NodeId(2)))]));
}

#[test]
fn a_job_that_its_node_gave_up_goes_to_another_node_if_there_is_one() {
    let mut world = World::of(&[Takes, Takes], 1);
    let free = Owner::Free { left_by: Some(NodeId(1)) };
    world.rows.insert(id(0), JobRow { epoch: 1, owner: free });
    assert_eq!(world.changes()[&id(0)], Change::Assign(NodeId(2)));
    world.nodes.insert(NodeId(2), Gone);
    assert_eq!(world.changes()[&id(0)], Change::Assign(NodeId(1)));
}

#[test]
fn a_job_that_is_not_wanted_is_removed() {
    let mut world = World::of(&[Takes], 1);
    world.settle();
    world.wanted.clear();
    assert_eq!(world.changes()[&id(0)], Change::Leave);
    world.round();
    assert_eq!(world.changes()[&id(0)], Change::Remove);
    world.rows.insert(id(0), owned(7));
    assert_eq!(world.changes()[&id(0)], Change::Remove, "its node is gone");
}

#[test]
fn a_new_node_gets_its_share_step_by_step() {
    let mut world = World::of(&[Takes, Takes], 40);
    world.settle();
    world.nodes.insert(NodeId(3), Takes);
    let first = world.changes();
    assert_eq!(first.len(), MAX_BALANCING);
    world.settle();
    let loads: Vec<_> = world.nodes.keys().map(|node| world.work_of(*node)).collect();
    assert_eq!(loads, [16, 16, 8], "nobody has more than 1.25 times the mean");
}

#[test]
fn a_single_large_job_stays_where_it_is() {
    let mut world = World::of(&[Takes, Takes], 2);
    world.wanted.insert(id(0), Wanted { weight: 1000, near: None });
    world.rows = BTreeMap::from([(id(0), owned(1)), (id(1), owned(1))]);
    world.settle();
    assert_eq!(world.rows[&id(0)].node(), Some(NodeId(1)));
    assert_eq!(world.rows[&id(1)].node(), Some(NodeId(2)));
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![3 => Just(Takes), 1 => Just(Draining), 1 => Just(Gone)]
}

proptest! {
    #[test]
    fn whatever_happens_the_jobs_come_to_rest_on_nodes_that_take_them(
        steps in prop::collection::vec(
            (prop::collection::vec(condition(), 1..6),
             prop::collection::btree_map(0_u32..30, (0_u64..50, prop::option::of(1_u64..7)), 0..30)),
            1..6,
        ),
    ) {
        let mut world = World::default();
        for (conditions, jobs) in steps {
            world.nodes = (1..).map(NodeId).zip(conditions).collect();
            let want = |(weight, near): (u64, Option<u64>)| Wanted { weight, near: near.map(NodeId) };
            world.wanted = jobs.into_iter().map(|(part, job)| (id(part), want(job))).collect();
            world.settle();
            let takes = |node| world.nodes.get(&node) == Some(&Takes);
            if world.nodes.values().any(|condition| *condition == Takes) {
                prop_assert!(world.rows.keys().eq(world.wanted.keys()), "every job has an owner");
                prop_assert!(world.rows.values().all(|row| row.node().is_some_and(takes)));
                let loads: Vec<_> = world.nodes.keys().filter(|node| takes(**node)).map(|node| world.work_of(*node)).collect();
                let (most, least) = (loads.iter().max().unwrap(), loads.iter().min().unwrap());
                let mean = loads.iter().sum::<u64>() / loads.len() as u64;
                let largest = world.wanted.values().map(work).max().unwrap_or(0);
                prop_assert!(*most <= mean + mean / 4 || most - least <= largest, "{loads:?}");
            }
        }
    }
}
