//! Resharding jobs from their beginning to their end, and what client libraries need from the shards that they leave.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_types::{HashKey, HashKeyRange, SequenceNumberParts};
use proptest::prelude::*;

use super::*;
use crate::groups::newest_group;
use crate::outcome::Outcome;
use crate::script::{NOW, Script};
use crate::shards::ShardsCommand;
use crate::streams::StreamCommand;

const EIGHTH: u128 = 1 << 125;

/// A catalog of three nodes with the ACTIVE stream `s`.
fn with_stream(shards: u32, mode: StreamMode) -> Script {
    let mut script = Script::with_nodes(0, &["", "", ""]);
    script.create_active("s", shards, mode);
    script
}

fn provisioned(shards: u32) -> Script {
    with_stream(shards, StreamMode::Provisioned)
}

impl Script {
    fn s(&self) -> &Stream {
        self.stream("s")
    }

    fn reshard(&mut self, change: ShardChange) -> Outcome {
        let now = NOW;
        self.run(ShardsCommand::Reshard { name: name(), change, now })
    }

    fn refusal(&mut self, change: ShardChange) -> Refusal {
        let name = name();
        self.refused(ShardsCommand::Reshard { name, change, now: NOW })
    }

    /// As [`Self::commit`], by a controller that saw `newest_group` as the newest one.
    fn commit_having_seen(&mut self, newest_group: Option<GroupId>) {
        let ending =
            |parent: &ShardId| (*parent, self.s().shards[parent].starting_sequence_number());
        let endings = self.job().parents.iter().map(ending).collect();
        let (id, job, now) = (self.s().id, self.job().id, NOW);
        self.done(ShardsCommand::Commit { name: name(), id, job, endings, newest_group, now });
    }

    fn job(&self) -> &ReshardJob {
        self.s().job.as_ref().expect("a job is under way")
    }

    /// Commits the job that is under way, with parents that have no records.
    fn commit(&mut self) {
        self.commit_having_seen(None);
    }

    /// Open shards by hash key: the first key in eighths of all hash keys, rounded down, and the parents.
    fn open(&self) -> Vec<(u128, Vec<u32>)> {
        let mut open: Vec<_> = self.s().open_shards().collect();
        open.sort_by_key(|shard| shard.range);
        let line = |shard: &&Shard| {
            (shard.range.start().0 / EIGHTH, shard.parents.iter().map(|id| id.0).collect())
        };
        open.iter().map(line).collect()
    }
}

fn name() -> StreamName {
    "s".parse().unwrap()
}

#[test]
fn the_children_of_a_split_are_hidden_until_commit() {
    let mut script = provisioned(1);
    let split = ShardChange::Split { shard: ShardId(0), at: HashKey(4 * EIGHTH) };
    assert!(matches!(script.reshard(split), Outcome::Done { .. }));
    assert_eq!(script.s().status, StreamStatus::Updating);
    assert_eq!(script.open(), [(0, vec![])]);
    assert_eq!(script.catalog.groups().filter(|group| group.is_new).count(), 2);
    let busy = Refusal::StreamNotActive { name: name() };
    assert_eq!(script.refusal(split), busy);
    script.commit();
    assert_eq!(script.s().status, StreamStatus::Active);
    assert_eq!(script.open(), [(0, vec![0]), (4, vec![0])]);
    let parent = &script.s().shards[&ShardId(0)];
    assert!(matches!(parent.status, ShardStatus::Closed { .. }));
    let child = &script.s().shards[&ShardId(1)];
    assert!(child.starting_sequence_number() > parent.starting_sequence_number());
    assert!(child.birth.as_secs() > parent.birth.as_secs());
}

#[test]
fn a_job_with_a_child_that_began_anew_is_committed_once_the_new_group_has_a_leader() {
    let mut script = provisioned(1);
    script.reshard(ShardChange::Split { shard: ShardId(0), at: HashKey(4 * EIGHTH) });
    let seen = newest_group(script.job().children.values());
    script.register(2, 77, "");
    script.commit_having_seen(seen);
    assert_eq!(script.s().status, StreamStatus::Updating);
    script.commit_having_seen(newest_group(script.job().children.values()));
    assert_eq!(script.s().status, StreamStatus::Active);
}

#[test]
fn a_parent_is_never_closed_before_the_arrival_of_its_last_record() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let mut script = provisioned(1);
    let late = NOW.minus(2 * DAY);
    let split = ShardChange::Split { shard: ShardId(0), at: HashKey(4 * EIGHTH) };
    script.done(ShardsCommand::Reshard { name: name(), change: split, now: late });
    let parent = script.s().shards[&ShardId(0)].clone();
    let ending = SequenceNumber::new(SequenceNumberParts {
        shard_born_seconds: parent.birth.as_secs(),
        shard: parent.id,
        log_index: 7,
        offset: 0,
        arrival_seconds: NOW.as_secs() + 5,
    });
    let (id, job) = (script.s().id, script.job().id);
    let endings = BTreeMap::from([(parent.id, ending)]);
    script.done(ShardsCommand::Commit {
        name: name(),
        id,
        job,
        endings,
        newest_group: None,
        now: late,
    });
    let expire = |now| ShardsCommand::Expire { name: name(), id, now };
    let last_arrival = Timestamp::from_millis((NOW.as_secs() + 5) * 1000);
    script.run(expire(last_arrival.plus(DAY)));
    assert!(script.s().shards.contains_key(&parent.id), "its last record is retained");
    script.run(expire(last_arrival.plus(DAY).plus(Duration::from_secs(1))));
    assert!(!script.s().shards.contains_key(&parent.id));
}

#[test]
fn an_empty_parent_is_never_closed_before_the_creation_of_its_children() {
    let mut script = provisioned(1);
    let split = ShardChange::Split { shard: ShardId(0), at: HashKey(4 * EIGHTH) };
    script.done(ShardsCommand::Reshard { name: name(), change: split, now: NOW });
    let (id, job) = (script.s().id, script.job().id);
    let start = script.s().shards[&ShardId(0)].starting_sequence_number();
    let endings = BTreeMap::from([(ShardId(0), start)]);
    let now = NOW.minus(Duration::from_secs(60));
    script.done(ShardsCommand::Commit { name: name(), id, job, endings, newest_group: None, now });
    let [parent, child] = [0, 1].map(|shard| &script.s().shards[&ShardId(shard)]);
    assert!(matches!(parent.status, ShardStatus::Closed { at, .. } if at >= child.created));
}

#[test]
fn a_merge_has_two_parents_and_an_abort_drops_the_child() {
    let mut script = provisioned(2);
    let merge = ShardChange::Merge { lower: ShardId(0), upper: ShardId(1) };
    assert!(matches!(script.reshard(merge), Outcome::Done { .. }));
    let (id, job) = (script.s().id, script.job().id);
    let abort = ShardsCommand::Abort { name: name(), id, job };
    script.done(abort.clone());
    assert_eq!(script.open(), [(0, vec![]), (4, vec![])]);
    assert_eq!(script.s().status, StreamStatus::Active);
    let over = Outcome::Refused(Refusal::JobOver { name: name(), job });
    assert_eq!(script.run(abort), over);
    let (endings, now) = (BTreeMap::new(), NOW);
    assert_eq!(
        script.run(ShardsCommand::Commit {
            name: name(),
            id,
            job,
            endings,
            newest_group: None,
            now
        }),
        over
    );
    script.reshard(merge);
    assert!(script.job().id > job);
    script.commit();
    assert_eq!(script.open(), [(0, vec![0, 1])]);
    assert!(script.s().shards.keys().eq(&[ShardId(0), ShardId(1), ShardId(3)]));
}

#[test]
fn a_commit_needs_the_ending_of_every_parent() {
    let mut script = provisioned(2);
    script.reshard(ShardChange::Merge { lower: ShardId(0), upper: ShardId(1) });
    let (id, job, now) = (script.s().id, script.job().id, NOW);
    let number = script.s().shards[&ShardId(0)].starting_sequence_number();
    let endings = BTreeMap::from([(ShardId(0), number)]);
    let commit = ShardsCommand::Commit { name: name(), id, job, endings, newest_group: None, now };
    let over = Outcome::Refused(Refusal::JobOver { name: name(), job });
    assert_eq!(script.run(commit), over);
    assert_eq!(script.job().id, job);
}

#[test]
fn wrong_changes_are_refused_and_change_nothing() {
    let mut script = provisioned(4);
    let before = script.catalog.clone();
    let [first, second, third, missing] = [0, 1, 2, 9].map(ShardId);
    let range = script.s().shards[&first].range;
    for at in [HashKey(0), HashKey(1), range.end(), HashKey(u128::MAX)] {
        let refusal = script.refusal(ShardChange::Split { shard: first, at });
        assert_eq!(refusal, Refusal::CannotSplit { shard: first, range, at });
    }
    let refusal = script.refusal(ShardChange::Split { shard: missing, at: HashKey(5) });
    assert_eq!(refusal, Refusal::ShardNotFound { shard: missing });
    for (lower, upper) in [(first, third), (second, first), (first, first)] {
        let refusal = script.refusal(ShardChange::Merge { lower, upper });
        assert_eq!(refusal, Refusal::NotAdjacent { lower, upper });
    }
    for target in [0, 1, 9] {
        let refusal = script.refusal(ShardChange::Count(target));
        assert_eq!(refusal, Refusal::ShardCount { current: 4, target, lowest: 2, highest: 8 });
    }
    assert!(matches!(script.reshard(ShardChange::Count(4)), Outcome::Done { .. }));
    assert_eq!(script.catalog, before);
}

#[test]
fn a_user_cannot_reshard_an_on_demand_stream() {
    let mut script = with_stream(4, StreamMode::OnDemand);
    let [first, second] = [0, 1].map(ShardId);
    for change in [
        ShardChange::Split { shard: first, at: HashKey(5) },
        ShardChange::Merge { lower: first, upper: second },
        ShardChange::Count(5),
    ] {
        assert_eq!(script.refusal(change), Refusal::OnDemand { name: name() });
    }
}

#[test]
fn a_closed_shard_is_neither_split_nor_merged() {
    let mut script = provisioned(1);
    let split = ShardChange::Split { shard: ShardId(0), at: HashKey(EIGHTH) };
    script.reshard(split);
    script.commit();
    let closed = Refusal::ShardClosed { shard: ShardId(0) };
    assert_eq!(script.refusal(split), closed);
    let merge = ShardChange::Merge { lower: ShardId(0), upper: ShardId(1) };
    assert_eq!(script.refusal(merge), closed);
}

#[test]
fn doubling_and_halving_take_one_job() {
    let mut script = provisioned(4);
    script.reshard(ShardChange::Count(8));
    script.commit();
    let halves: Vec<_> =
        (0..8).map(|eighth| (eighth, vec![u32::try_from(eighth / 2).unwrap()])).collect();
    assert_eq!(script.open(), halves);
    script.reshard(ShardChange::Count(4));
    script.commit();
    assert_eq!(script.s().status, StreamStatus::Active);
    assert_eq!(script.open().len(), 4);
}

#[test]
fn closed_shards_are_forgotten_after_the_retention() {
    let mut script = provisioned(1);
    script.reshard(ShardChange::Split { shard: ShardId(0), at: HashKey(EIGHTH) });
    script.commit();
    let id = script.s().id;
    let day = Duration::from_secs(24 * 3600);
    let expire = |now| ShardsCommand::Expire { name: name(), id, now };
    let now = NOW;
    script.done(expire(now.plus(day).minus(Duration::from_millis(1))));
    assert_eq!(script.s().shards.len(), 3);
    script.done(StreamCommand::SetRetention { name: name(), hours: 48, longer: true });
    script.done(expire(now.plus(day)));
    assert_eq!(script.s().shards.len(), 3);
    script.done(expire(now.plus(2 * day)));
    assert!(script.s().shards.keys().eq(&[ShardId(1), ShardId(2)]));
    assert_eq!(script.s().shards[&ShardId(1)].parents, [ShardId(0)]);
}

proptest! {
    /// Jobs follow each other until the shards are equal. Each child has one or two parents, and only hash keys of
    /// theirs.
    #[test]
    fn any_allowed_count_is_reached_from_any_shards(
        first in 1u32..12,
        splits in proptest::collection::vec((0usize..64, any::<u128>()), 0..6),
        share in 0u32..100,
    ) {
        let mut script = provisioned(first);
        for (which, key) in splits {
            let open: Vec<_> = script.s().open_shards().map(|s| (s.id, s.range)).collect();
            let (shard, range) = open[which % open.len()];
            let width = range.end().0 - range.start().0;
            let at = HashKey(range.start().0 + 2 + key % (width - 2));
            if let Outcome::Done { .. } = script.reshard(ShardChange::Split { shard, at }) {
                script.commit();
            }
        }
        let current = u32::try_from(script.s().open_shards().count()).unwrap();
        let (lowest, highest) = (current.div_ceil(2), current * 2);
        let target = lowest + (highest - lowest) * share / 99;
        let is_done = matches!(script.reshard(ShardChange::Count(target)), Outcome::Done { .. });
        prop_assert!(is_done);
        let mut jobs = 0;
        while script.s().job.is_some() {
            let job = script.job().clone();
            for child in job.children.values() {
                prop_assert!(matches!(child.parents.len(), 1 | 2));
                let parents = child.parents.iter().map(|id| script.s().shards[id].range);
                let (mut low, mut high) = (HashKey(u128::MAX), HashKey(0));
                for parent in parents {
                    let overlaps = parent.start() <= child.range.end() && child.range.start() <= parent.end();
                    prop_assert!(overlaps);
                    (low, high) = (low.min(parent.start()), high.max(parent.end()));
                }
                prop_assert!(low <= child.range.start() && child.range.end() <= high);
            }
            script.commit();
            jobs += 1;
            prop_assert!(jobs < 8);
        }
        let mut ranges: Vec<_> = script.s().open_shards().map(|shard| shard.range).collect();
        ranges.sort();
        prop_assert_eq!(ranges, HashKeyRange::split_evenly(target));
        prop_assert_eq!(script.s().status, StreamStatus::Active);
        check_as_a_client_library_does(script.s());
    }
}

/// The rules of the Kinesis Client Library for the shards that it sees: `HierarchicalShardSyncer` (the parents of a
/// shard are closed, and the children of a closed shard cover its hash keys), `ShutdownTask` (a single child has two
/// parents) and `PeriodicShardSyncManager` (unfinished leases leave no hole, in whatever order shards end). No rule
/// says that a child takes over all hash keys of both parents.
fn check_as_a_client_library_does(stream: &Stream) {
    for shard in stream.shards.values().filter(|shard| !shard.is_open()) {
        let children = stream.shards.values().filter(|child| child.parents.contains(&shard.id));
        let mut children: Vec<_> = children.collect();
        children.sort_unstable_by_key(|child| child.range);
        let ids = children.iter().map(|child| child.id).collect::<Vec<_>>();
        assert!(ids.iter().all(|child| *child > shard.id), "{}: {ids:?}", shard.id);
        assert!(children.len() != 1 || children[0].parents.len() == 2, "{}: {ids:?}", shard.id);
        // The children leave no hole between the first and the last hash key of the shard.
        let mut next = Some(shard.range.start());
        for child in &children {
            let from = next.expect("a child begins after the last hash key");
            assert!(child.range.start() <= from, "{}: {ids:?} leave a hole", shard.id);
            next = child.range.end().0.checked_add(1).map(HashKey);
        }
        assert!(next.is_none_or(|next| next > shard.range.end()), "{}: {ids:?}", shard.id);
    }
    for shard in stream.shards.values() {
        for parent in &shard.parents {
            assert!(!stream.shards[parent].is_open(), "{parent} is open beside {}", shard.id);
        }
    }
}

#[test]
fn a_count_that_fits_no_shard_gives_children_that_share_parents() {
    let mut script = provisioned(3);
    script.reshard(ShardChange::Count(4));
    script.commit();
    assert_eq!(script.s().status, StreamStatus::Active, "one job is enough");
    let parents = script.open().into_iter().map(|(_, parents)| parents);
    assert_eq!(parents.collect::<Vec<_>>(), [vec![0], vec![0, 1], vec![1, 2], vec![2]]);
    check_as_a_client_library_does(script.s());
}
