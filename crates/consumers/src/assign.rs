//! Assigns shards to members. Pure.
//!
//! Each member gets its share: the number of shards divided by the number of members, one more for some if it does not
//! come out even. A member keeps the shards that it has, as long as they are not more than its share.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anabranch_types::ShardId;

use crate::name::MemberId;

/// A shard that is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate<'a> {
    pub(crate) shard: ShardId,
    /// The member that reads it now. It is one of the members.
    pub(crate) owner: Option<&'a MemberId>,
    /// The owner was already asked to give it back.
    pub(crate) is_leaving: bool,
}

/// The member that is to read each shard. Empty without members.
pub(crate) fn assign(
    shards: &[Candidate<'_>],
    members: &BTreeSet<MemberId>,
) -> BTreeMap<ShardId, MemberId> {
    let mut assigned = BTreeMap::new();
    if members.is_empty() {
        return assigned;
    }
    let mut held: BTreeMap<&MemberId, Vec<&Candidate<'_>>> =
        members.iter().map(|member| (member, Vec::new())).collect();
    let mut free = VecDeque::new();
    for candidate in shards {
        match candidate.owner.and_then(|owner| held.get_mut(owner)) {
            Some(owned) => owned.push(candidate),
            None => free.push_back(candidate.shard),
        }
    }
    // Those who have most keep the larger shares, so that the fewest shards move. Of two who have the same number, the
    // member that was not asked for shards yet keeps them.
    let leaving = |owned: &[&Candidate<'_>]| owned.iter().filter(|shard| shard.is_leaving).count();
    let mut by_count: Vec<_> = held.into_iter().collect();
    by_count.sort_by_key(|(member, owned)| (Reverse(owned.len()), leaving(owned), *member));
    let (share, larger) = (shards.len() / members.len(), shards.len() % members.len());
    let mut lacking = Vec::new();
    for (place, (member, mut owned)) in by_count.into_iter().enumerate() {
        let target = share + usize::from(place < larger);
        // Shards that are leaving already go first: a decision stays as it was.
        owned.sort_by_key(|candidate| (candidate.is_leaving, candidate.shard));
        let given_up = owned.split_off(owned.len().min(target));
        free.extend(given_up.iter().map(|candidate| candidate.shard));
        lacking.push((member, target - owned.len()));
        assigned.extend(owned.into_iter().map(|candidate| (candidate.shard, member.clone())));
    }
    for (member, lack) in lacking {
        let taken = free.drain(..lack.min(free.len()));
        assigned.extend(taken.map(|shard| (shard, member.clone())));
    }
    assigned
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(number: usize) -> MemberId {
        format!("m{number}").parse().unwrap()
    }

    proptest! {
        #[test]
        fn shares_are_even_and_few_shards_move(
            owners in prop::collection::vec((prop::option::of(0..6_usize), any::<bool>()), 0..40),
            count in 1..6_usize,
        ) {
            let members: Vec<_> = (0..count).map(member).collect();
            let candidates: Vec<_> = (0..).zip(&owners).map(|(shard, (owner, is_leaving))| {
                let owner = owner.and_then(|owner| members.get(owner));
                Candidate { shard: ShardId(shard), owner, is_leaving: *is_leaving && owner.is_some() }
            }).collect();
            let assigned = assign(&candidates, &members.iter().cloned().collect());
            prop_assert_eq!(assigned.len(), candidates.len());
            let count_of = |member: &MemberId| assigned.values().filter(|m| *m == member).count();
            let counts: Vec<_> = members.iter().map(count_of).collect();
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{counts:?}");
            // As many shards stay as even shares allow.
            let stay = candidates.iter().filter(|c| c.owner == assigned.get(&c.shard)).count();
            let (share, larger) = (owners.len() / count, owners.len() % count);
            let mut held: Vec<_> = members.iter()
                .map(|m| candidates.iter().filter(|c| c.owner == Some(m)).count()).collect();
            held.sort_unstable_by(|a, b| b.cmp(a));
            let can_stay: usize = held.iter().enumerate()
                .map(|(place, held)| *held.min(&(share + usize::from(place < larger)))).sum();
            prop_assert_eq!(stay, can_stay);
        }

        #[test]
        fn a_decision_stays_while_shards_leave(
            owners in prop::collection::vec(0..4_usize, 1..40),
        ) {
            let members: Vec<_> = (0..5).map(member).collect();
            let all: BTreeSet<_> = members.iter().cloned().collect();
            let candidates: Vec<_> = (0..).zip(&owners).map(|(shard, owner)| {
                Candidate { shard: ShardId(shard), owner: Some(&members[*owner]), is_leaving: false }
            }).collect();
            let first = assign(&candidates, &all);
            let leaving: Vec<_> = candidates.iter().map(|c| {
                Candidate { is_leaving: first.get(&c.shard) != c.owner, ..*c }
            }).collect();
            prop_assert_eq!(assign(&leaving, &all), first);
        }
    }

    #[test]
    fn nobody_is_asked_for_more_when_another_has_given_a_shard_back() {
        let (a, b, c) = (member(0), member(1), member(2));
        let of = |owner, shards: std::ops::Range<u32>, leaving: &[u32]| {
            let leaving = leaving.to_vec();
            shards.map(move |shard| Candidate {
                shard: ShardId(shard),
                owner: Some(owner),
                is_leaving: leaving.contains(&shard),
            })
        };
        // Of seven shards b had four and a three when c came. b has given shard 6 back, a has not given 2 back yet.
        let mut shards: Vec<_> = of(&a, 0..3, &[2]).chain(of(&b, 3..6, &[])).collect();
        shards.push(Candidate { shard: ShardId(6), owner: None, is_leaving: false });
        let members = [a.clone(), b.clone(), c.clone()].into_iter().collect();
        let assigned = assign(&shards, &members);
        let owners: Vec<_> = assigned.values().cloned().collect();
        assert_eq!(owners, [&a, &a, &c, &b, &b, &b, &c].map(Clone::clone));
    }

    #[test]
    fn nobody_reads_without_members() {
        let candidate = Candidate { shard: ShardId(0), owner: None, is_leaving: false };
        assert_eq!(assign(&[candidate], &BTreeSet::new()), BTreeMap::new());
    }
}
