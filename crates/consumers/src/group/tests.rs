//! Tests of the state of a group: single events, and a model that checks the rules after any events.

use std::collections::BTreeMap;

use anabranch_catalog::{
    Distribution, Encryption, RecentChanges, Shard, ShardMetrics, ShardStatus, StreamMode,
    StreamStatus,
};
use anabranch_types::{HashKeyRange, SequenceNumber, SequenceNumberParts, ShardId, Timestamp};
use proptest::prelude::*;

use super::*;

/// Log index of the last record of closed shards.
const LAST: u64 = 100;

/// Shards by number: their parents, and whether they are closed.
fn stream(id: u64, shards: &[(u32, &[u32], bool)]) -> Stream {
    let created = Timestamp::from_millis(1_000);
    let shard = |(number, parents, is_closed): &(u32, &[u32], bool)| {
        let id = ShardId(*number);
        let ending = SequenceNumber::new(SequenceNumberParts {
            shard_born_seconds: 1,
            shard: id,
            log_index: LAST,
            offset: 0,
            arrival_seconds: 1,
        });
        let closed = ShardStatus::Closed { ending, at: created };
        let shard = Shard {
            id,
            group: GroupId(u64::from(*number) + 1),
            born: 0,
            parents: parents.iter().copied().map(ShardId).collect(),
            range: HashKeyRange::FULL,
            created,
            birth: created,
            status: if *is_closed { closed } else { ShardStatus::Open },
            replicas: Vec::new(),
            moving: None,
        };
        (id, shard)
    };
    Stream {
        id: StreamId(id),
        created,
        status: StreamStatus::Active,
        mode: StreamMode::Provisioned,
        warm_throughput_mibps: 0,
        retention_hours: 24,
        max_record_size_kib: 1024,
        tags: BTreeMap::new(),
        replicas: 3,
        shards: shards.iter().map(shard).collect(),
        next_shard: 99,
        newest_gone: created,
        job: None,
        target_shards: None,
        consumers: BTreeMap::new(),
        policy: None,
        shard_metrics: ShardMetrics::default(),
        distribution: Distribution::default(),
        encryption: Encryption::default(),
        recent_changes: RecentChanges::default(),
    }
}

fn open(count: u32) -> Stream {
    let shards: Vec<_> = (0..count).map(|shard| (shard, &[][..], false)).collect();
    stream(1, &shards)
}

fn member(name: &str) -> MemberId {
    name.parse().unwrap()
}

fn stored() -> StoredMember {
    StoredMember { description: String::new(), session_millis: 10_000, joined_millis: 1 }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn shards_of(group: &Group, name: &str) -> Vec<u32> {
    let owned = group.owned().remove(&member(name)).unwrap_or_default();
    owned.iter().map(|shard| shard.shard.0).collect()
}

fn epoch_of(group: &Group, name: &str, shard: u32) -> u64 {
    let owned = group.owned().remove(&member(name)).unwrap();
    owned.iter().find(|owned| owned.shard.0 == shard).unwrap().epoch
}

fn at(shard: u32, epoch: u64, log_index: u64, release: bool) -> ShardCheckpoint {
    let next = Some(Position::entry(log_index));
    ShardCheckpoint { shard: ShardId(shard), epoch, next, release }
}

/// A group of stream 1 with the member `a`, at `now`.
fn with_a(stream: &Stream, now: Instant) -> Group {
    let mut group = Group::new(7);
    group.follow(Some(stream));
    group.join(member("a"), stored(), now).unwrap();
    group.settle(now);
    group
}

#[test]
fn a_second_member_gets_half_of_the_shards_when_the_first_gives_them_back() {
    let now = Instant::now();
    let mut group = with_a(&open(4), now);
    assert_eq!(shards_of(&group, "a"), [0, 1, 2, 3]);
    group.join(member("b"), stored(), now).unwrap();
    group.settle(now);
    assert_eq!(shards_of(&group, "b"), [0; 0]);
    let leaving = group.owned().remove(&member("a")).unwrap();
    let leaving: Vec<_> = leaving.iter().filter(|shard| shard.is_leaving).collect();
    assert_eq!(leaving.iter().map(|shard| shard.shard.0).collect::<Vec<_>>(), [2, 3]);
    let refused = group.checkpoint(&member("a"), &[at(2, 7, 5, true), at(3, 7, 6, true)], now);
    assert_eq!(refused, Ok(vec![]));
    group.settle(now);
    assert_eq!(shards_of(&group, "a"), [0, 1]);
    assert_eq!(shards_of(&group, "b"), [2, 3]);
    assert_eq!(epoch_of(&group, "b", 2), 8);
    let next = group.owned().remove(&member("b")).unwrap()[0].next;
    assert_eq!(next, Some(Position::entry(5)));
}

#[test]
fn a_shard_that_is_not_given_back_is_taken_after_the_session_time() {
    let now = Instant::now();
    let mut group = with_a(&open(2), now);
    group.join(member("b"), stored(), now).unwrap();
    group.settle(now);
    assert_eq!(group.deadline(), Some(now + seconds(10)));
    for at in [now + seconds(9), now + seconds(10)] {
        group.hear(&member("a"), at).unwrap();
        group.hear(&member("b"), at).unwrap();
        group.settle(at);
    }
    assert_eq!((shards_of(&group, "a"), shards_of(&group, "b")), (vec![0], vec![1]));
    // The former owner can store nothing.
    let late = group.checkpoint(&member("a"), &[at(1, 7, 9, false)], now + seconds(10));
    assert_eq!(late, Ok(vec![ShardId(1)]));
}

#[test]
fn a_silent_member_loses_its_shards() {
    let now = Instant::now();
    let mut group = with_a(&open(2), now);
    group.join(member("b"), stored(), now).unwrap();
    group.hear(&member("b"), now + seconds(5)).unwrap();
    group.settle(now + seconds(10));
    assert_eq!(shards_of(&group, "b"), [0, 1]);
    assert_eq!(group.hear(&member("a"), now), Err(Refused::UnknownMember));
    let late = group.checkpoint(&member("a"), &[at(0, 7, 9, false)], now);
    assert_eq!(late, Err(Refused::UnknownMember));
    // As a member again it has nothing of before.
    group.join(member("a"), stored(), now + seconds(10)).unwrap();
    let late = group.checkpoint(&member("a"), &[at(0, 7, 9, false)], now + seconds(10));
    assert_eq!(late, Ok(vec![ShardId(0)]));
}

#[test]
fn children_follow_when_all_their_parents_are_finished() {
    let now = Instant::now();
    let merged = stream(1, &[(0, &[], true), (1, &[], true), (2, &[0, 1], false)]);
    let mut group = with_a(&merged, now);
    assert_eq!(shards_of(&group, "a"), [0, 1]);
    // The end is the position after the last record.
    let end = group.owned().remove(&member("a")).unwrap()[0].end.unwrap();
    assert_eq!(end, Position { log_index: LAST, offset: 1 });
    let done = ShardCheckpoint { next: Some(end), ..at(0, 7, 0, false) };
    group.checkpoint(&member("a"), &[done, at(1, 7, LAST, false)], now).unwrap();
    group.settle(now);
    assert_eq!(shards_of(&group, "a"), [1]);
    group.checkpoint(&member("a"), &[at(1, 7, LAST + 1, false)], now).unwrap();
    group.settle(now);
    assert_eq!(shards_of(&group, "a"), [2]);
}

#[test]
fn a_shard_whose_end_becomes_known_later_is_finished_then() {
    let now = Instant::now();
    let mut group = with_a(&open(1), now);
    group.checkpoint(&member("a"), &[at(0, 7, LAST + 1, false)], now).unwrap();
    group.settle(now);
    assert_eq!(shards_of(&group, "a"), [0]);
    let split = stream(1, &[(0, &[], true), (1, &[0], false), (2, &[0], false)]);
    group.follow(Some(&split));
    group.settle(now);
    assert_eq!(shards_of(&group, "a"), [1, 2]);
}

#[test]
fn an_expired_parent_is_not_waited_for() {
    let now = Instant::now();
    let group = with_a(&stream(1, &[(1, &[0], false)]), now);
    assert_eq!(shards_of(&group, "a"), [1]);
}

#[test]
fn rows_of_expired_shards_and_of_former_streams_are_deleted() {
    let now = Instant::now();
    let mut group = with_a(&stream(1, &[(0, &[], true), (1, &[0], false)]), now);
    group.take_changes();
    group.follow(Some(&stream(1, &[(1, &[0], false)])));
    group.settle(now);
    assert_eq!(group.take_changes().shards.get(&(StreamId(1), ShardId(0))), Some(&None));
    group.follow(None);
    group.settle(now);
    assert_eq!(shards_of(&group, "a"), [0; 0]);
    assert!(group.take_changes().is_empty());
    group.follow(Some(&stream(2, &[(0, &[], false)])));
    group.settle(now);
    let changes = group.take_changes();
    assert_eq!(changes.shards.get(&(StreamId(1), ShardId(1))), Some(&None));
    assert_eq!(shards_of(&group, "a"), [0]);
    // Epochs go on above those of the former stream, because members may not have seen the gap.
    assert_eq!(epoch_of(&group, "a", 0), 8);
    let mut restored = Group::new(9);
    restored.follow(Some(&stream(2, &[(0, &[], false)])));
    restored.restore_shard(StreamId(1), ShardId(1), StoredShard::default());
    assert_eq!(restored.take_changes().shards.get(&(StreamId(1), ShardId(1))), Some(&None));
}

#[test]
fn a_group_has_a_limit_of_members() {
    let now = Instant::now();
    let mut group = Group::new(1);
    for number in 0..MAX_MEMBERS {
        group.join(member(&format!("m{number}")), stored(), now).unwrap();
    }
    assert_eq!(group.join(member("more"), stored(), now), Err(Refused::TooManyMembers));
    // A member that is known may join again.
    assert_eq!(group.join(member("m0"), stored(), now), Ok(()));
}

/// An event in the life of a group.
#[derive(Clone, Debug)]
enum Step {
    Join(usize),
    Leave(usize),
    Hear(usize),
    /// A checkpoint with the epoch that this member saw last, of a shard.
    Checkpoint(usize, u32, u64, bool),
    Split(u32),
    Pass(u64),
    /// Another coordinator reads what is stored.
    TakeOver,
}

fn step() -> impl Strategy<Value = Step> {
    let member = 0..3_usize;
    prop_oneof![
        3 => member.clone().prop_map(Step::Join),
        1 => member.clone().prop_map(Step::Leave),
        4 => member.clone().prop_map(Step::Hear),
        6 => (member, 0..8_u32, 1..=LAST + 1, any::<bool>())
            .prop_map(|(m, shard, to, release)| Step::Checkpoint(m, shard, to, release)),
        1 => (0..8_u32).prop_map(Step::Split),
        3 => (1..12_u64).prop_map(Step::Pass),
        1 => Just(Step::TakeOver),
    ]
}

/// The stored rows, as the table group would have them.
#[derive(Default)]
struct Table {
    members: BTreeMap<MemberId, StoredMember>,
    shards: BTreeMap<(StreamId, ShardId), StoredShard>,
}

impl Table {
    fn store(&mut self, changes: Changes) {
        for (id, stored) in changes.members {
            match stored {
                Some(stored) => drop(self.members.insert(id, stored)),
                None => drop(self.members.remove(&id)),
            }
        }
        for (id, stored) in changes.shards {
            match stored {
                Some(stored) => drop(self.shards.insert(id, stored)),
                None => drop(self.shards.remove(&id)),
            }
        }
    }

    fn load(&self, first_epoch: u64, stream: &Stream, now: Instant) -> Group {
        let mut group = Group::new(first_epoch);
        group.follow(Some(stream));
        for (id, stored) in &self.members {
            group.restore_member(id.clone(), stored.clone(), now);
        }
        for ((stream, shard), stored) in &self.shards {
            group.restore_shard(*stream, *shard, stored.clone());
        }
        group
    }
}

proptest! {
    /// Whatever happens: a shard has one owner, and the owner never has an old epoch again; checkpoints of others are
    /// refused; children come after their parents; and what is stored is all that there is.
    #[test]
    fn rules_hold_whatever_happens(steps in prop::collection::vec(step(), 1..60)) {
        let mut now = Instant::now();
        let mut shards: BTreeMap<u32, (Vec<u32>, bool)> = (0..2).map(|n| (n, (vec![], false))).collect();
        let names = ["a", "b", "c"].map(member);
        let build = |shards: &BTreeMap<u32, (Vec<u32>, bool)>| {
            let list: Vec<_> = shards.iter()
                .map(|(id, (parents, closed))| (*id, parents.as_slice(), *closed)).collect();
            stream(1, &list)
        };
        let mut group = Group::new(10);
        group.follow(Some(&build(&shards)));
        let mut table = Table::default();
        let mut take_overs = 10;
        // The last owner of each shard and its epoch, and what each member saw last.
        let mut owners: BTreeMap<u32, (MemberId, u64)> = BTreeMap::new();
        let mut seen: BTreeMap<(usize, u32), u64> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Join(m) => group.join(names[m].clone(), stored(), now).unwrap(),
                Step::Leave(m) => group.leave(&names[m], &[]),
                Step::Hear(m) => drop(group.hear(&names[m], now)),
                Step::Checkpoint(m, shard, to, release) => {
                    let epoch = seen.get(&(m, shard)).copied().unwrap_or(1);
                    let before = table.shards.get(&(StreamId(1), ShardId(shard))).cloned();
                    let owned = group.owned();
                    let is_owner = owned.get(&names[m]).is_some_and(|owned| {
                        owned.iter().any(|owned| owned.shard.0 == shard && owned.epoch == epoch)
                    });
                    let stored = group.checkpoint(&names[m], &[at(shard, epoch, to, release)], now);
                    prop_assert_eq!(stored == Ok(vec![]), is_owner);
                    if !is_owner {
                        let after = group.shards.get(&ShardId(shard)).map(|s| s.stored.clone());
                        prop_assert_eq!(after.and_then(|s| s.position()), before.and_then(|s| s.position()));
                    }
                }
                Step::Split(shard) => {
                    let next = u32::try_from(shards.len()).unwrap();
                    if next < 8 && shards.get(&shard).is_some_and(|(_, closed)| !closed) {
                        shards.get_mut(&shard).unwrap().1 = true;
                        shards.insert(next, (vec![shard], false));
                        shards.insert(next + 1, (vec![shard], false));
                        group.follow(Some(&build(&shards)));
                    }
                }
                Step::Pass(time) => now += seconds(time),
                Step::TakeOver => {
                    take_overs += 100;
                    group = table.load(take_overs, &build(&shards), now);
                }
            }
            group.settle(now);
            table.store(group.take_changes());
            let owned = group.owned();
            let mut assigned = BTreeSet::new();
            for (id, list) in &owned {
                let place = names.iter().position(|name| name == id).unwrap();
                for shard in list {
                    prop_assert!(assigned.insert(shard.shard), "two owners");
                    let (parents, _) = &shards[&shard.shard.0];
                    for parent in parents {
                        prop_assert!(table.shards[&(StreamId(1), ShardId(*parent))].finished);
                    }
                    let last = owners.insert(shard.shard.0, (id.clone(), shard.epoch));
                    if let Some((owner, epoch)) = last {
                        prop_assert!(shard.epoch > epoch || (shard.epoch == epoch && owner == *id));
                    }
                    seen.insert((place, shard.shard.0), shard.epoch);
                }
            }
            // With members, every shard that can be read has an owner.
            if !owned.is_empty() {
                prop_assert_eq!(assigned.into_iter().collect::<Vec<_>>(), group.readable());
            }
            // A new coordinator would show the same.
            let mut other = table.load(group.first_epoch, &build(&shards), now);
            other.settle(now);
            let plain = |owned: BTreeMap<MemberId, Vec<OwnedShard>>| -> Vec<_> {
                owned.into_iter().map(|(id, list)| {
                    (id, list.into_iter().map(|s| (s.shard, s.epoch, s.next)).collect::<Vec<_>>())
                }).collect()
            };
            prop_assert_eq!(plain(other.owned()), plain(owned));
        }
    }
}
