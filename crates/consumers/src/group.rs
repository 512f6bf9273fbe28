//! The state of a group and its rules: its members, the owner and the checkpoint of each shard. No I/O, no clock: the
//! time is an argument.
//!
//! ```text
//! shard:   nobody -- assigned, next epoch --> owned -- another member is to get it --> owned, leaving
//!             ^                                 |                                          |
//!             +--- given back, owner silent, owner left, or leaving for a session time ----+
//! ```
//!
//! Order of events: the coordinator makes calls ([`Group::join`], …), then [`Group::settle`], which removes silent
//! members and assigns shards. [`Group::take_changes`] are the rows to store. Only after they are stored may the
//! coordinator answer and show [`Group::owned`].
//!
//! Invariants: a shard has one owner at most; its epoch rises with each owner; a shard is assigned only when its
//! parents are finished or have expired.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anabranch_catalog::{Stream, StreamId};
use anabranch_client::{end_of_shard, parents_have_ended};
use anabranch_planted::{Bug, planted};
use anabranch_shard::Position;
use anabranch_types::{GroupId, NodeId, ShardId};
use tokio::time::Instant;

use crate::assign::{Candidate, assign};
use crate::name::MemberId;
use crate::rows::{StoredMember, StoredShard};

/// Most members of a group.
pub(crate) const MAX_MEMBERS: usize = 1000;

/// The members and shards of a group.
#[derive(Debug)]
pub(crate) struct Group {
    /// Epochs of shards without a row begin here: above every epoch of an earlier group or stream of this name.
    first_epoch: u64,
    members: BTreeMap<MemberId, Member>,
    /// The rows of the shards of the stream that is read.
    shards: BTreeMap<ShardId, GroupShard>,
    /// The stream that is read. `None` until there is one.
    stream_id: Option<StreamId>,
    /// That stream, as the catalog has it. `None` if it is gone.
    stream: Option<Stream>,
    changes: Changes,
}

#[derive(Debug)]
struct Member {
    stored: StoredMember,
    heard: Instant,
}

#[derive(Debug, Default)]
struct GroupShard {
    stored: StoredShard,
    /// Since when the owner is asked to give the shard back.
    leaving: Option<Instant>,
}

/// Rows that have changed: the new row, or `None` if it is to be deleted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) members: BTreeMap<MemberId, Option<StoredMember>>,
    pub(crate) shards: BTreeMap<(StreamId, ShardId), Option<StoredShard>>,
}

/// How far a member has processed a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShardCheckpoint {
    pub(crate) shard: ShardId,
    pub(crate) epoch: u64,
    pub(crate) next: Option<Position>,
    pub(crate) release: bool,
}

/// A shard that a member reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedShard {
    pub(crate) shard: ShardId,
    pub(crate) group: GroupId,
    pub(crate) nodes: Vec<NodeId>,
    pub(crate) epoch: u64,
    pub(crate) next: Option<Position>,
    pub(crate) end: Option<Position>,
    pub(crate) is_leaving: bool,
}

/// Why a call of a member was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the group does not know the member: it has to join")]
    UnknownMember,
    #[error("the group has {MAX_MEMBERS} members")]
    TooManyMembers,
}

impl Group {
    /// A group without members.
    pub(crate) fn new(first_epoch: u64) -> Self {
        Self {
            first_epoch,
            members: BTreeMap::new(),
            shards: BTreeMap::new(),
            stream_id: None,
            stream: None,
            changes: Changes::default(),
        }
    }

    /// Adds a stored member. It gets a whole session time to be heard.
    pub(crate) fn restore_member(&mut self, id: MemberId, stored: StoredMember, now: Instant) {
        self.members.insert(id, Member { stored, heard: now });
    }

    /// Adds a stored shard. The stream that is read is known by then ([`Self::follow`]). Rows of other streams of the
    /// same name are deleted.
    pub(crate) fn restore_shard(&mut self, stream: StreamId, shard: ShardId, stored: StoredShard) {
        if self.stream_id == Some(stream) {
            self.shards.insert(shard, GroupShard { stored, leaving: None });
        } else {
            self.first_epoch = self.first_epoch.max(stored.epoch.saturating_add(1));
            self.changes.shards.insert((stream, shard), None);
        }
    }

    /// The stream as the catalog has it now. `None` if it is gone: the rows stay until the group is deleted, or until
    /// there is another stream of the name.
    pub(crate) fn follow(&mut self, stream: Option<&Stream>) {
        self.stream = stream.cloned();
        let Some(id) = stream.map(|stream| stream.id) else { return };
        if let Some(former) = self.stream_id.replace(id).filter(|former| *former != id) {
            for (shard, known) in std::mem::take(&mut self.shards) {
                self.first_epoch = self.first_epoch.max(known.stored.epoch.saturating_add(1));
                self.changes.shards.insert((former, shard), None);
            }
        }
    }

    /// Makes `id` a member, or hears it.
    pub(crate) fn join(
        &mut self,
        id: MemberId,
        stored: StoredMember,
        now: Instant,
    ) -> Result<(), Refused> {
        if !self.members.contains_key(&id) && self.members.len() >= MAX_MEMBERS {
            return Err(Refused::TooManyMembers);
        }
        let joined_millis = self.members.get(&id).map(|known| known.stored.joined_millis);
        let joined_millis = joined_millis.unwrap_or(stored.joined_millis);
        let stored = StoredMember { joined_millis, ..stored };
        self.changes.members.insert(id.clone(), Some(stored.clone()));
        self.members.insert(id, Member { stored, heard: now });
        Ok(())
    }

    /// Hears a member.
    pub(crate) fn hear(&mut self, id: &MemberId, now: Instant) -> Result<(), Refused> {
        let member = self.members.get_mut(id).ok_or(Refused::UnknownMember)?;
        member.heard = now;
        Ok(())
    }

    /// Keeps checkpoints of a member, which is heard. Returns the shards that it does not own with their epochs.
    pub(crate) fn checkpoint(
        &mut self,
        id: &MemberId,
        checkpoints: &[ShardCheckpoint],
        now: Instant,
    ) -> Result<Vec<ShardId>, Refused> {
        self.hear(id, now)?;
        let mut refused = Vec::new();
        for checkpoint in checkpoints {
            if !self.keep(id, checkpoint) {
                refused.push(checkpoint.shard);
            }
        }
        Ok(refused)
    }

    /// Ends a membership, with its last checkpoints.
    pub(crate) fn leave(&mut self, id: &MemberId, checkpoints: &[ShardCheckpoint]) {
        for checkpoint in checkpoints {
            self.keep(id, checkpoint);
        }
        self.remove(id);
    }

    /// Nobody was heard for this time, because the coordinator was busy: no member's silence counts it.
    pub(crate) fn excuse(&mut self, busy: Duration) {
        for member in self.members.values_mut() {
            member.heard += busy;
        }
    }

    /// Removes silent members, takes shards from owners that do not give them back, and assigns the shards that can be
    /// read.
    pub(crate) fn settle(&mut self, now: Instant) {
        let silent = self.members.iter().filter(|(_, member)| member.ends() <= now);
        let silent: Vec<_> = silent.map(|(id, _)| id.clone()).collect();
        for id in silent {
            self.remove(&id);
        }
        self.finish_and_forget();
        self.take_back(now);
        let shards = self.readable();
        let candidate = |shard: &ShardId| {
            let known = self.shards.get(shard);
            let owner = known.and_then(|known| known.stored.owner.as_deref());
            let owner = owner.and_then(|owner| self.members.get_key_value(owner)).map(|(id, _)| id);
            let is_leaving = known.is_some_and(|known| known.leaving.is_some());
            Candidate { shard: *shard, owner, is_leaving }
        };
        let candidates: Vec<_> = shards.iter().map(candidate).collect();
        let members: BTreeSet<_> = self.members.keys().cloned().collect();
        for (shard, member) in assign(&candidates, &members) {
            self.give(shard, &member, now);
        }
    }

    /// When [`Self::settle`] may have something to do, if nothing happens before. `None` without members.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let silence = self.members.values().map(Member::ends);
        let leaving = self.shards.values().filter_map(|shard| self.taken_at(shard));
        silence.chain(leaving).min()
    }

    /// The shards that each member reads.
    pub(crate) fn owned(&self) -> BTreeMap<MemberId, Vec<OwnedShard>> {
        let mut owned: BTreeMap<MemberId, Vec<OwnedShard>> =
            self.members.keys().map(|id| (id.clone(), Vec::new())).collect();
        let Some(stream) = &self.stream else { return owned };
        for (id, shard) in &self.shards {
            let owner = shard.stored.owner.as_deref();
            let of_member = owner.and_then(|owner| owned.get_mut(owner));
            let (Some(of_member), Some(listed)) = (of_member, stream.shards.get(id)) else {
                continue;
            };
            of_member.push(OwnedShard {
                shard: *id,
                group: listed.group,
                nodes: listed.holders().map(|replica| replica.node).collect(),
                epoch: shard.stored.epoch,
                next: shard.stored.position(),
                end: end_of_shard(listed),
                is_leaving: shard.leaving.is_some(),
            });
        }
        owned
    }

    /// The rows that have changed since the last call.
    pub(crate) fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Keeps one checkpoint. `false` if the member does not own the shard with that epoch.
    fn keep(&mut self, id: &MemberId, checkpoint: &ShardCheckpoint) -> bool {
        let Some(shard) = self.shards.get_mut(&checkpoint.shard) else { return false };
        let is_owner = shard.stored.owner.as_deref() == Some(id.as_str());
        let owns = is_owner && shard.stored.epoch == checkpoint.epoch;
        if !owns && !planted(Bug::IgnoreGroupEpoch) {
            return false;
        }
        if let Some(next) = checkpoint.next {
            shard.stored.next = Some((next.log_index, next.offset));
        }
        if checkpoint.release {
            shard.free();
        }
        self.changed(checkpoint.shard);
        true
    }

    fn remove(&mut self, id: &MemberId) {
        if self.members.remove(id).is_none() {
            return;
        }
        self.changes.members.insert(id.clone(), None);
        let owned = self.shards.iter();
        let owned = owned.filter(|(_, shard)| shard.stored.owner.as_deref() == Some(id.as_str()));
        self.free(owned.map(|(shard, _)| *shard).collect());
    }

    /// Finishes shards that are processed to their end, and forgets expired shards.
    fn finish_and_forget(&mut self) {
        let (Some(stream), Some(id)) = (&self.stream, self.stream_id) else { return };
        let (mut over, mut expired) = (Vec::new(), Vec::new());
        for (shard, known) in &self.shards {
            match stream.shards.get(shard) {
                // A shard that this version of the catalog does not know yet has not expired.
                None if shard.0 >= stream.next_shard => {}
                None => expired.push(*shard),
                Some(listed) => {
                    let end = end_of_shard(listed);
                    let is_over = end.is_some_and(|end| known.stored.position() >= Some(end));
                    if is_over && !known.stored.finished {
                        over.push(*shard);
                    }
                }
            }
        }
        for shard in expired {
            self.shards.remove(&shard);
            self.changes.shards.insert((id, shard), None);
        }
        for shard in &over {
            if let Some(known) = self.shards.get_mut(shard) {
                known.stored.finished = true;
            }
        }
        self.free(over);
    }

    /// Takes shards from owners that were asked for them a session time ago, and from former members.
    fn take_back(&mut self, now: Instant) {
        let is_late = |shard: &GroupShard| match shard.stored.owner.as_deref() {
            None => false,
            Some(owner) if !self.members.contains_key(owner) => true,
            Some(_) => self.taken_at(shard).is_some_and(|at| at <= now),
        };
        let late = self.shards.iter().filter(|(_, shard)| is_late(shard));
        self.free(late.map(|(id, _)| *id).collect());
    }

    /// When a shard that is leaving is taken from its owner.
    fn taken_at(&self, shard: &GroupShard) -> Option<Instant> {
        let owner = self.members.get(shard.stored.owner.as_deref()?)?;
        Some(shard.leaving? + owner.session())
    }

    /// The shards that can be read now: they are not finished, and their parents are.
    fn readable(&self) -> Vec<ShardId> {
        let Some(stream) = &self.stream else { return Vec::new() };
        let is_finished =
            |shard: ShardId| self.shards.get(&shard).is_some_and(|shard| shard.stored.finished);
        let listed = stream.shards.values().filter(|shard| {
            !is_finished(shard.id) && parents_have_ended(stream, shard, is_finished)
        });
        listed.map(|shard| shard.id).collect()
    }

    /// Ends the ownership of shards.
    fn free(&mut self, shards: Vec<ShardId>) {
        for id in shards {
            if let Some(shard) = self.shards.get_mut(&id) {
                shard.free();
                self.changed(id);
            }
        }
    }

    fn changed(&mut self, id: ShardId) {
        if let (Some(stream), Some(shard)) = (self.stream_id, self.shards.get(&id)) {
            self.changes.shards.insert((stream, id), Some(shard.stored.clone()));
        }
    }

    fn give(&mut self, id: ShardId, member: &MemberId, now: Instant) {
        let shard = self.shards.entry(id).or_default();
        match shard.stored.owner.as_deref() {
            Some(owner) if owner == member.as_str() => shard.leaving = None,
            Some(_) => {
                shard.leaving.get_or_insert(now);
            }
            None => {
                shard.stored.owner = Some(member.as_str().to_owned());
                shard.stored.epoch = (shard.stored.epoch + 1).max(self.first_epoch);
                self.changed(id);
            }
        }
    }
}

impl GroupShard {
    fn free(&mut self) {
        self.stored.owner = None;
        self.leaving = None;
    }
}

impl Member {
    fn session(&self) -> Duration {
        Duration::from_millis(self.stored.session_millis.into())
    }

    fn ends(&self) -> Instant {
        self.heard + self.session()
    }
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.shards.is_empty()
    }
}

#[cfg(test)]
mod tests;
