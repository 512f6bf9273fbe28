//! How a replica behaves if disks have no free space for records: its own disk, or those of the group's other voters
//! (ADR-0014).
//!
//! - A leader refuses records if its disk is almost full, or if no majority of the voters is alive with a disk that
//!   takes records.
//! - A follower whose disk is almost full refuses an append with records before openraft sees it
//!   ([`Group::receive_appends`]). Exception: if no majority takes records, it accepts records that may not be
//!   committed yet. A leader took those before it knew of the full disks. They go onto the reserve of the disk,
//!   because no entry after them could be committed otherwise.
//! - The leader learns from pongs which nodes refuse records. It does not send again what such a follower has refused,
//!   until the pongs say that the node takes records, or no majority takes records (`network.rs`).
//! - Entries without records (trims, checkpoints, memberships) are always sent. They are accepted until the disk is
//!   full.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anabranch_storage::DiskState;
use anabranch_transport::pb;
use anabranch_types::LogId;
use bytes::Bytes;
use openraft::async_runtime::WatchReceiver as _;

use crate::error::Error;
use crate::group::Group;
use crate::machine::Holds;
use crate::payload::Payload;
use crate::reader::append_of;

/// How the reason of a response ends if a follower refuses an append for lack of disk space. The leader recognises
/// the refusal by it.
pub(crate) const NO_FREE_SPACE: &str = "no free space on the disk";
/// What nodes of earlier versions say instead.
const EARLIER_NO_FREE_SPACE: &str = "no room on the disk";

/// Whether a follower gave `reason` because its disk has no free space.
pub(crate) fn lacks_free_space(reason: &str) -> bool {
    reason.ends_with(NO_FREE_SPACE) || reason.ends_with(EARLIER_NO_FREE_SPACE)
}

/// Whether a follower refuses the entries of `message`. `disk` is the state of its disk, and `last` is the last
/// entry of its log. Entries that it has already need no space: a new leader does not know how far the logs are
/// equal, so it sends some entries again. `lacks_writable_majority` says that no majority of the voters takes records.
pub(crate) fn refuses(
    disk: DiskState,
    lacks_writable_majority: bool,
    holds: Holds,
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
            let held = index(&message.prev).max(last.map(|last| last.index));
            // If the leader has not committed more than this follower holds, these records may still need it for a
            // majority.
            let may_be_needed = lacks_writable_majority && index(&message.commit) <= held;
            !may_be_needed && lacked.any(|payload| adds_records(holds, payload))
        }
        DiskState::Full => lacked.next().is_some(),
    }
}

/// Whether `payload`, of an entry of a group that holds `holds`, has records or rows of users. All other payloads are
/// small, and the reserve of the disk is for them.
pub(crate) fn adds_records(holds: Holds, payload: &Bytes) -> bool {
    match holds {
        Holds::Nothing => false,
        Holds::Records => append_of(payload.clone()).is_some(),
        Holds::Rows => match Payload::decode(payload.clone()) {
            Ok(Payload::Command(command)) => anabranch_table::Command::is_transact(&command),
            _ => false,
        },
    }
}

impl Group {
    /// Refuses records if this leader's disk has no free space for them, or the disks of a majority have none.
    ///
    /// A leader that no majority follows does not blame the disks. A caller that is throttled asks the same node
    /// again, but this caller must look for the new leader: [`Group::check_followed`] tells it so.
    pub(crate) fn check_free_space(&self) -> Result<(), Error> {
        if !self.log.disk().takes_records() {
            Err(Error::Throttled("the disk of the leader is full"))
        } else if self.lacks_writable_majority.load(Ordering::Relaxed) && self.has_followers() {
            Err(Error::Throttled("no majority of the replicas has free space on its disk"))
        } else {
            Ok(())
        }
    }

    /// Updates `lacks_writable_majority`: whether no majority of the voters is alive with a disk that takes records.
    pub(crate) fn check_voters_disks(&self) {
        let metrics = self.raft.server_metrics();
        let membership = Arc::clone(&metrics.borrow_watched().membership_config);
        let liveness = self.transport.liveness();
        let takes_records = |_, node| !liveness.is_silent(node) && !liveness.refuses_records(node);
        let own = self.log.disk().takes_records();
        let lacks_writable_majority = !self.is_majority(&membership, own, takes_records);
        self.lacks_writable_majority.store(lacks_writable_majority, Ordering::Relaxed);
    }

    /// Transfers the leadership to a voter whose disk takes records.
    pub(crate) async fn transfer_to_free_disk(&self) {
        let liveness = self.transport.liveness();
        let _tried_again_next_round =
            self.transfer_leadership(|node| !liveness.refuses_records(node)).await;
    }

    /// Whether this replica leads although its disk takes no records. Then [`Self::transfer_to_free_disk`] has
    /// something to do.
    pub(crate) fn leads_on_full_disk(&self) -> bool {
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
    fn an_almost_full_disk_refuses_committed_records_and_a_full_disk_refuses_all_entries() {
        let (records, trim) = (records(), Payload::Trim { horizon: 3 }.encode());
        let refuses = |disk, commit, payload| {
            let message = append(commit, &[payload]);
            let with_space_elsewhere = refuses(disk, false, Holds::Records, last(5), &message);
            (refuses(disk, true, Holds::Records, last(5), &message), with_space_elsewhere)
        };
        assert_eq!(refuses(DiskState::Normal, 9, &records), (false, false));
        assert_eq!(refuses(DiskState::AlmostFull, 9, &records), (true, true));
        let undecided = refuses(DiskState::AlmostFull, 5, &records);
        assert_eq!(undecided, (false, true), "a majority may lack it");
        assert_eq!(refuses(DiskState::AlmostFull, 9, &trim), (false, false));
        assert_eq!(refuses(DiskState::Full, 5, &trim), (true, true));
        let news = super::refuses(DiskState::Full, true, Holds::Records, last(5), &append(9, &[]));
        assert!(!news, "a new commit index needs no space");
    }

    #[test]
    fn entries_that_the_follower_has_already_are_not_refused() {
        let (records, trim) = (records(), Payload::Trim { horizon: 3 }.encode());
        let refuses = |disk, last, commit| {
            let message = append(commit, &[&records, &records, &trim]);
            refuses(disk, true, Holds::Records, last, &message)
        };
        for disk in [DiskState::AlmostFull, DiskState::Full] {
            assert!(!refuses(disk, last(8), 8), "{disk}");
        }
        assert!(!refuses(DiskState::AlmostFull, last(7), 7), "only the trim is missing");
        assert!(!refuses(DiskState::AlmostFull, last(6), 6), "a majority may lack the record, too");
        assert!(refuses(DiskState::AlmostFull, last(6), 7));
        let of_older_term = Some(LogId { term: 0, index: 8 });
        assert!(refuses(DiskState::Full, of_older_term, 8), "entries of another term");
    }

    #[test]
    fn the_catalog_adds_no_records() {
        assert!(adds_records(Holds::Records, &records()));
        assert!(!adds_records(Holds::Nothing, &records()));
    }
}
