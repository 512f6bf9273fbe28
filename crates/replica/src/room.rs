//! What a replica does where disks have no room for records: its own, or those of the group's other voters.
//!
//! A leader whose disk is almost full refuses records, and so does one that couldn't have them on a majority. A follower
//! refuses them before openraft has seen them ([`Group::receive_appends`]), but for those that a majority may lack: what
//! leaders took before they knew is committed on the reserve, or nothing behind it could be. The leader learns from
//! pongs whom it needn't send any, and goes on as soon as they say so. Entries without records are sent and taken.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anabranch_storage::DiskState;
use anabranch_types::GroupId;
use bytes::Bytes;
use openraft::async_runtime::WatchReceiver as _;

use crate::error::Error;
use crate::group::Group;
use crate::reader::append_of;

/// Whether a follower in state `disk` refuses entries with these payloads, which follow index `prev`, from a leader
/// that has committed up to `commit`.
pub(crate) fn refuses<'a>(
    disk: DiskState,
    group: GroupId,
    prev: Option<u64>,
    commit: Option<u64>,
    payloads: impl IntoIterator<Item = &'a Bytes>,
) -> bool {
    match disk {
        DiskState::Normal => false,
        DiskState::AlmostFull => commit > prev && adds_records(group, payloads),
        DiskState::Full => payloads.into_iter().next().is_some(),
    }
}

/// Whether any of these payloads of `group`'s entries holds records. All others are small, and the disk's
/// reserve is for them.
pub(crate) fn adds_records<'a>(
    group: GroupId,
    payloads: impl IntoIterator<Item = &'a Bytes>,
) -> bool {
    let is_append = |payload: &Bytes| append_of(payload.clone()).is_some();
    group != GroupId::CATALOG && payloads.into_iter().any(is_append)
}

impl Group {
    /// Whether this leader may take records, as far as disks are concerned.
    pub(crate) fn check_room(&self) -> Result<(), Error> {
        if !self.log.disk().takes_records() {
            Err(Error::Throttled("the disk of the leader is full"))
        } else if self.is_crowded.load(Ordering::Relaxed) {
            Err(Error::Throttled("the disks of a majority are full"))
        } else {
            Ok(())
        }
    }

    /// Finds out whether a majority of the voters' disks take records.
    pub(crate) fn look_for_room(&self) {
        let metrics = self.raft.server_metrics();
        let membership = Arc::clone(&metrics.borrow_watched().membership_config);
        let liveness = self.transport.liveness();
        let takes_records = |voter: &u64| {
            if *voter == self.replica.0 {
                return self.log.disk().takes_records();
            }
            membership.get_node(voter).is_some_and(|member| !liveness.refuses_records(member.node))
        };
        let majority = |config: &BTreeSet<u64>| {
            config.iter().filter(|voter| takes_records(voter)).count() > config.len() / 2
        };
        let is_crowded = !membership.get_joint_config().iter().all(majority);
        self.is_crowded.store(is_crowded, Ordering::Relaxed);
    }

    /// The voter that ought to lead in place of this leader: its own disk has no room, that one's has, and its log is
    /// the longest of those. An offer that was made is repeated whatever the disk says by now.
    pub(crate) fn successor(&self) -> Option<u64> {
        let term = self.leading_term().ok()?;
        if self.log.disk().takes_records() && !self.has_offered(term) {
            return None;
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let liveness = self.transport.liveness();
        let has_room = |voter: &u64| {
            let member = metrics.membership_config.get_node(voter);
            *voter != self.replica.0
                && member.is_some_and(|member| {
                    !liveness.is_silent(member.node) && !liveness.refuses_records(member.node)
                })
        };
        let matched = |voter: &u64| metrics.replication.as_ref()?.get(voter).cloned().flatten();
        metrics.membership_config.voter_ids().filter(has_room).max_by_key(matched)
    }

    /// Offers `successor` to lead. Called again and again until it does: a message may be lost, its log too short yet,
    /// or its disk full by then. So unlike a hand-over this gives nothing up: until another one leads, this leader
    /// goes on to answer, by asking a majority and not by its lease.
    pub(crate) async fn offer(&self, successor: u64) {
        let Ok(term) = self.leading_term() else { return };
        self.offered_in.store(term, Ordering::SeqCst);
        tracing::info!(group = %self.id, successor, "offered to lead, the disk has no room");
        let _stopping = self.raft.trigger().transfer_leader(successor).await;
    }

    /// Whether this replica, which leads in `term`, offered another one to lead.
    pub(crate) fn has_offered(&self, term: u64) -> bool {
        self.offered_in.load(Ordering::SeqCst) == term
    }
}

#[cfg(test)]
mod tests {
    use anabranch_shard::Command;
    use anabranch_types::Timestamp;
    use bytes::BytesMut;

    use super::*;
    use crate::payload::Payload;

    const GROUP: GroupId = GroupId(7);

    fn records() -> Bytes {
        let batch = Bytes::from_static(b"batch");
        let append = Command::Append { arrival: Timestamp::default(), records: 1, batch };
        let mut command = BytesMut::new();
        append.encode(&mut command);
        Payload::Command(command.freeze()).encode()
    }

    #[test]
    fn records_are_refused_where_others_have_them_and_everything_at_the_last_segment() {
        let (records, trim) = (records(), Payload::Trim { horizon: 3 }.encode());
        let refuses = |disk, commit, payload| refuses(disk, GROUP, Some(5), commit, [payload]);
        assert!(!refuses(DiskState::Normal, Some(9), &records));
        assert!(refuses(DiskState::AlmostFull, Some(9), &records));
        assert!(!refuses(DiskState::AlmostFull, Some(5), &records), "a majority may lack it");
        assert!(!refuses(DiskState::AlmostFull, Some(9), &trim));
        assert!(refuses(DiskState::Full, Some(5), &trim));
        assert!(!super::refuses(DiskState::Full, GROUP, Some(5), Some(9), []), "news of a commit");
    }

    #[test]
    fn the_catalog_adds_no_records() {
        assert!(adds_records(GROUP, [&records()]));
        assert!(!adds_records(GroupId::CATALOG, [&records()]));
    }
}
