//! What a replica does where disks have no room for records: its own, or those of the group's other voters.
//!
//! A leader whose disk is almost full refuses records, and so does one that couldn't have them on a majority. A follower
//! refuses them before openraft has seen them ([`Group::receive_appends`]), but for those that a majority may lack and
//! can't have elsewhere: what leaders took before they knew is committed on the reserve, or nothing behind it could be.
//! The leader learns from pongs who would refuse again what it refused, and goes on as soon as they say so. Entries
//! without records are sent and taken.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anabranch_storage::DiskState;
use anabranch_transport::pb;
use anabranch_types::{GroupId, LogId};
use bytes::Bytes;
use openraft::async_runtime::WatchReceiver as _;

use crate::error::Error;
use crate::group::Group;
use crate::reader::append_of;

/// Whether a follower in state `disk`, whose log ends with `last`, refuses these entries of a leader. Those that it has
/// already take no room: a new leader, who doesn't know where logs are equal, begins with them. `is_crowded` if there is
/// no majority without disks such as this.
pub(crate) fn refuses(
    disk: DiskState,
    is_crowded: bool,
    group: GroupId,
    last: Option<LogId>,
    message: &pb::AppendEntries,
) -> bool {
    let lacks = |entry: &&pb::Entry| {
        last.is_none_or(|last| entry.index > last.index || entry.term > last.term)
    };
    let mut lacked = message.entries.iter().filter(lacks).map(|entry| &entry.payload);
    let index = |id: &Option<pb::LogId>| id.as_ref().map(|id| id.index);
    match disk {
        DiskState::Normal => false,
        DiskState::AlmostFull => {
            let holds = index(&message.prev).max(last.map(|last| last.index));
            let may_be_needed = is_crowded && index(&message.commit) <= holds;
            !may_be_needed && lacked.any(|payload| adds_records(group, payload))
        }
        DiskState::Full => lacked.next().is_some(),
    }
}

/// Whether this payload of one of `group`'s entries holds records. All others are small, and the disk's
/// reserve is for them.
fn adds_records(group: GroupId, payload: &Bytes) -> bool {
    group != GroupId::CATALOG && append_of(payload.clone()).is_some()
}

impl Group {
    /// Whether this leader may take records, as far as disks are concerned.
    pub(crate) fn check_room(&self) -> Result<(), Error> {
        if !self.log.disk().takes_records() {
            Err(Error::Throttled("the disk of the leader is full"))
        } else if self.is_crowded.load(Ordering::Relaxed) {
            Err(Error::Throttled("no majority of the replicas has room on its disk"))
        } else {
            Ok(())
        }
    }

    /// Finds out whether a majority of the voters live and have disks that take records.
    pub(crate) fn look_for_room(&self) {
        let metrics = self.raft.server_metrics();
        let membership = Arc::clone(&metrics.borrow_watched().membership_config);
        let liveness = self.transport.liveness();
        let takes_records = |node| !liveness.is_silent(node) && !liveness.refuses_records(node);
        let own = self.log.disk().takes_records();
        let is_crowded = !self.is_majority(&membership, own, takes_records);
        self.is_crowded.store(is_crowded, Ordering::Relaxed);
    }

    /// Has a voter lead whose disk takes records, if this one leads and its own takes none.
    pub(crate) async fn leave_to_room(&self) {
        let liveness = self.transport.liveness();
        let _tried_again_next_round = self.hand_over(|node| !liveness.refuses_records(node)).await;
    }

    /// Whether [`Self::leave_to_room`] has something to do.
    pub(crate) fn leads_without_room(&self) -> bool {
        self.leading_term().is_ok() && !self.log.disk().takes_records()
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

    fn id(index: u64) -> Option<pb::LogId> {
        Some(pb::LogId { term: 1, index })
    }

    /// Entries from index 6 on, of a leader that has committed up to `commit`.
    fn append(commit: u64, payloads: &[&Bytes]) -> pb::AppendEntries {
        let entry = |(index, payload): (u64, &&Bytes)| pb::Entry {
            term: 1,
            index,
            payload: Bytes::clone(payload),
        };
        let entries = (6..).zip(payloads).map(entry).collect();
        pb::AppendEntries { vote: None, prev: id(5), commit: id(commit), entries }
    }

    fn last(index: u64) -> Option<LogId> {
        Some(LogId { term: 1, index })
    }

    #[test]
    fn records_are_refused_where_others_have_them_and_everything_at_the_last_segment() {
        let (records, trim) = (records(), Payload::Trim { horizon: 3 }.encode());
        let refuses = |disk, commit, payload| {
            let message = append(commit, &[payload]);
            let with_room_elsewhere = refuses(disk, false, GROUP, last(5), &message);
            (refuses(disk, true, GROUP, last(5), &message), with_room_elsewhere)
        };
        assert_eq!(refuses(DiskState::Normal, 9, &records), (false, false));
        assert_eq!(refuses(DiskState::AlmostFull, 9, &records), (true, true));
        let undecided = refuses(DiskState::AlmostFull, 5, &records);
        assert_eq!(undecided, (false, true), "a majority may lack it");
        assert_eq!(refuses(DiskState::AlmostFull, 9, &trim), (false, false));
        assert_eq!(refuses(DiskState::Full, 5, &trim), (true, true));
        let news = super::refuses(DiskState::Full, true, GROUP, last(5), &append(9, &[]));
        assert!(!news, "of a commit");
    }

    #[test]
    fn what_a_new_leader_sends_again_takes_no_room() {
        let (records, trim) = (records(), Payload::Trim { horizon: 3 }.encode());
        let refuses = |disk, last, commit| {
            let message = append(commit, &[&records, &records, &trim]);
            refuses(disk, true, GROUP, last, &message)
        };
        for disk in [DiskState::AlmostFull, DiskState::Full] {
            assert!(!refuses(disk, last(8), 8), "{disk}");
        }
        assert!(!refuses(DiskState::AlmostFull, last(7), 7), "lacks the trim");
        assert!(!refuses(DiskState::AlmostFull, last(6), 6), "a majority may too");
        assert!(refuses(DiskState::AlmostFull, last(6), 7));
        let of_older_term = Some(LogId { term: 0, index: 8 });
        assert!(refuses(DiskState::Full, of_older_term, 8), "these are others");
    }

    #[test]
    fn the_catalog_adds_no_records() {
        assert!(adds_records(GROUP, &records()));
        assert!(!adds_records(GroupId::CATALOG, &records()));
    }
}
