//! Replay at the opening: reads the log from the index's position, finds its end, and distinguishes a torn tail from
//! damage.
//!
//! After a power loss, any part of a round that was never reported may be on the disk. The log ends at the first
//! missing frame. That is a torn tail and not damage, unless something proves that the round had been synced:
//! - a later round anywhere behind the break, because a round is written only after the one before it was synced;
//! - the tail file, because its newest slot is a lower bound of what was synced.
//!
//! ```text
//! | round 7 | round 8 | break ...                    torn tail
//! | round 7 | round 8 | break ... | round 10 |       damage: round 9 had been synced
//! ```
//! A damaged log is never cut silently. [`salvage`] tries to repair a single bad frame first.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anabranch_planted::{Bug, planted};
use anabranch_types::{GroupId, Incarnation, LogId, ReplicaId};
use bytes::Bytes;
use tracing::warn;

use crate::{
    Error, StateKey, Vote,
    damage::Damage,
    group::Synced,
    index::Index,
    rows,
    segment::{
        file::SegmentFile,
        frame::{HEADER_BYTES, Header, Kind, MOVED_PREFIX_BYTES},
        round::{LogEnd, Place},
        salvage::{Salvaged, salvage},
        scan::{Cursor, RoundHeader, Scanner, Step},
    },
    tail::{Hint, TAIL_FILE},
};

/// The groups as the index has them, updated by the frames of the log.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(crate) groups: BTreeMap<GroupId, Replayed>,
    /// Groups whose rows in the index must be deleted.
    pub(crate) wiped: BTreeSet<GroupId>,
    /// Groups whose changes are not all in the index.
    pub(crate) dirty: BTreeSet<GroupId>,
    /// Segments that were sealed after the index's position, with their lengths.
    pub(crate) sealed: Vec<(u64, u64)>,
    /// Entries of which only the payload is damaged.
    pub(crate) bad: Vec<(GroupId, LogId, Damage)>,
}

#[derive(Debug, Default)]
pub(crate) struct Replayed {
    pub(crate) synced: Synced,
    pub(crate) rows: BTreeMap<StateKey, Bytes>,
}

/// How the log ends.
pub(crate) enum Outcome {
    /// Every synced frame is intact. `torn` means that parts of an unsynced round may follow the end. The last round
    /// begins after `before_last`.
    Whole { end: LogEnd, before_last: LogEnd, torn: bool },
    /// A synced frame is missing or differs from what was written.
    Damaged(Damage),
}

/// The segment files of a store. A file is opened when it is first needed.
pub(crate) struct Files {
    pub(crate) dir: PathBuf,
    pub(crate) incarnation: Incarnation,
    pub(crate) open: BTreeMap<u64, Arc<SegmentFile>>,
}

impl Files {
    pub(crate) fn segment(&mut self, serial: u64) -> io::Result<Result<Arc<SegmentFile>, Damage>> {
        if let Some(segment) = self.open.get(&serial) {
            return Ok(Ok(Arc::clone(segment)));
        }
        Ok(match SegmentFile::open(&self.dir, serial, self.incarnation)? {
            Ok(segment) => {
                let segment = Arc::new(segment);
                self.open.insert(serial, Arc::clone(&segment));
                Ok(segment)
            }
            Err(damage) => Err(damage),
        })
    }
}

/// Replays the log from `from` on.
///
/// `later` has the serials of all files that exist.
pub(crate) fn replay(
    root: &Path,
    files: &mut Files,
    later: &BTreeSet<u64>,
    from: LogEnd,
    hint: Option<Hint>,
    replay: &mut Replay,
) -> io::Result<Outcome> {
    let Some(hint) = hint else {
        let damage = Damage::new(&root.join(TAIL_FILE), 0, "a valid slot", "none");
        return Ok(Outcome::Damaged(damage));
    };
    let mut cursor = Cursor::after(from);
    let mut scanner = match files.segment(from.segment)? {
        Ok(segment) => Scanner::new(segment),
        Err(damage) => return Ok(Outcome::Damaged(damage)),
    };
    let outcome = loop {
        match scanner.step(&mut cursor)? {
            Step::Frame { header, offset, payload_bytes } => {
                let payload = scanner.bytes(offset + HEADER_BYTES as u64, payload_bytes)?;
                let place = Place {
                    segment: cursor.end.segment,
                    offset: u32::try_from(offset).unwrap_or(u32::MAX),
                };
                let applied = payload.and_then(|payload| replay.apply(header, payload, place));
                if applied.is_none() {
                    let path = &scanner.segment.path;
                    let found = format!("{header:?}, which does not fit");
                    return Ok(Outcome::Damaged(Damage::new(path, offset, "a frame", found)));
                }
            }
            Step::Sealed => {
                replay.sealed.push((cursor.end.segment, cursor.end.offset));
                cursor = cursor.next_segment();
                scanner = match files.segment(cursor.end.segment)? {
                    Ok(segment) => Scanner::new(segment),
                    Err(damage) => return Ok(Outcome::Damaged(damage)),
                };
            }
            Step::Broken => {
                let ends = (cursor.before_last(), cursor.end);
                if planted(Bug::DropTail) {
                    break Outcome::Whole { end: ends.1, before_last: ends.0, torn: true };
                }
                let outcome = classify_end(files, later, &mut scanner, ends, hint)?;
                let Outcome::Damaged(damage) = outcome else { break outcome };
                match salvage(&mut scanner, &cursor, hint, replay)? {
                    Some(Salvaged::Corrected) => {
                        warn!(%damage, "one wrong bit of the log was corrected");
                    }
                    Some(Salvaged::Entry { header, payload_bytes }) => {
                        let found = "a checksum that doesn't match";
                        let path = &scanner.segment.path;
                        let damage = Damage::new(path, cursor.end.offset, "an entry", found);
                        replay.pass(header, payload_bytes, cursor.end, damage);
                        cursor.pass((HEADER_BYTES + payload_bytes) as u64);
                    }
                    None => break Outcome::Damaged(damage),
                }
            }
        }
    };
    // A copy forward that was read later, or a truncation, may have replaced a damaged entry.
    replay.forget_replaced();
    Ok(outcome)
}

/// Decides whether the log may end at `end`: cleanly, with a torn tail, or not at all because it is damaged.
fn classify_end(
    files: &mut Files,
    later: &BTreeSet<u64>,
    scanner: &mut Scanner,
    (before_last, end): (LogEnd, LogEnd),
    hint: Hint,
) -> io::Result<Outcome> {
    // The tail file is only written after a sync, so the log must reach at least as far as it says.
    let position = |end: LogEnd| (end.round, end.segment, end.offset);
    let path = scanner.segment.path.clone();
    if position(hint.end) > position(end) {
        let expected = format!("the log up to {}, as the tail file says", describe(hint.end));
        let found = format!("no valid frame, round {} before it", end.round);
        return Ok(Outcome::Damaged(Damage::new(&path, end.offset, expected, found)));
    }
    // After a clean close nothing was written, so there is no torn round to search for.
    if hint.clean && hint.end == end {
        return Ok(Outcome::Whole { end, before_last, torn: false });
    }
    let mut rounds = scanner.rounds_from(end.offset)?;
    for serial in later.range(end.segment + 1..) {
        // Skip a file whose header cannot be read. It was being prepared, or the evidence in it is lost.
        if let Ok(segment) = files.segment(*serial)? {
            rounds.extend(Scanner::new(segment).rounds_from(0)?);
        }
    }
    match rounds.iter().find(|round| proves_damage(round, end)) {
        None => Ok(Outcome::Whole { end, before_last, torn: true }),
        Some(round) => {
            let expected = "frames up to a later round";
            let found = format!(
                "none, but behind it round {} that follows round {} at {}",
                round.serial,
                round.previous.round,
                describe(round.previous),
            );
            Ok(Outcome::Damaged(Damage::new(&path, end.offset, expected, found)))
        }
    }
}

/// Whether a round that was found behind the end of the log proves that the log had continued there.
///
/// A part of the very next round, which follows exactly at the end, is a torn tail. A round with a serial that is not
/// above the log's last was torn earlier.
fn proves_damage(round: &RoundHeader, end: LogEnd) -> bool {
    round.serial > end.round && round.previous != end
}

fn describe(end: LogEnd) -> String {
    format!("segment {} offset {} (round {})", end.segment, end.offset, end.round)
}

impl Replay {
    /// Loads the groups as the index has them.
    pub(crate) fn load(index: &Index) -> Result<Self, Error> {
        let mut groups: BTreeMap<GroupId, Replayed> = index
            .groups()?
            .into_iter()
            .map(|(id, row)| {
                (id, Replayed { synced: Synced::from_row(row), rows: BTreeMap::new() })
            })
            .collect();
        for ((group, key), value) in index.states()? {
            groups.entry(group).or_default().rows.insert(key, value);
        }
        Ok(Self { groups, ..Self::default() })
    }

    /// Applies an entry's frame whose payload is damaged.
    fn pass(&mut self, header: Header, payload_bytes: usize, at: LogEnd, damage: Damage) {
        let Some(group) = self.groups.get_mut(&GroupId(header.group)) else { return };
        let id = LogId { term: header.term, index: header.index };
        let offset = u32::try_from(at.offset).unwrap_or(u32::MAX);
        let place = Place { segment: at.segment, offset };
        let bytes = u32::try_from(payload_bytes).unwrap_or(u32::MAX);
        // The location of a copy that cannot be read is no better than the earlier location of the entry.
        if header.kind == Kind::Entry {
            group.synced.append(id, place, bytes);
            self.bad.push((GroupId(header.group), id, damage));
            self.dirty.insert(GroupId(header.group));
        }
    }

    /// Forgets damaged entries that are no longer in any log.
    fn forget_replaced(&mut self) {
        let groups = &self.groups;
        self.bad.retain(|(group, id, _)| {
            let bounds = groups.get(group).map(|group| &group.synced.bounds);
            bounds.and_then(|bounds| bounds.term_of(id.index)) == Some(id.term)
        });
    }

    /// Applies a frame as the writer did. `None` if the frame does not fit its kind or the log before it.
    fn apply(&mut self, header: Header, payload: &[u8], place: Place) -> Option<()> {
        let id = GroupId(header.group);
        let log_id = LogId { term: header.term, index: header.index };
        let bytes = u32::try_from(payload.len()).ok()?;
        if header.kind == Kind::Remove {
            self.groups.remove(&id);
            self.dirty.remove(&id);
            self.wiped.insert(id);
            return Some(());
        }
        // The group was removed after its entries were queued for copying.
        if header.kind == Kind::Moved && !self.groups.contains_key(&id) {
            return Some(());
        }
        let wiped = self.wiped.contains(&id);
        let fresh = || Replayed { synced: Synced::fresh(), ..Replayed::default() };
        let group = self.groups.entry(id).or_insert_with(fresh);
        match header.kind {
            Kind::Entry => {
                group.synced.bounds.check_append(std::iter::once(log_id)).ok()?;
                group.synced.append(log_id, place, bytes);
            }
            Kind::Moved => {
                let from = payload.get(..MOVED_PREFIX_BYTES)?.try_into().ok()?;
                // The copy may be an entry of the removed group, not of the new group with this id.
                if !wiped {
                    group.synced.moved(u64::from_le_bytes(from), log_id.index, place, bytes);
                }
            }
            Kind::Vote => {
                let committed = match payload {
                    [0] => false,
                    [1] => true,
                    _ => return None,
                };
                let replica = ReplicaId(header.index);
                group.synced.vote = Some(Vote { term: header.term, replica, committed });
            }
            Kind::Truncate => group.synced.truncate(header.index),
            Kind::Purge => group.synced.purge(log_id),
            Kind::State => {
                let rows = rows::decode(payload)?;
                for (key, value) in &rows {
                    match value {
                        Some(value) => group.rows.insert(*key, value.clone()),
                        None => group.rows.remove(key),
                    };
                }
                group.synced.put_rows(rows);
            }
            Kind::Round | Kind::Remove | Kind::Seal => return None,
        }
        self.dirty.insert(id);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64, round: u64) -> LogEnd {
        LogEnd { segment: 3, offset, round }
    }

    fn round(serial: u64, previous: LogEnd) -> RoundHeader {
        RoundHeader { serial, part: 0, previous }
    }

    #[test]
    fn only_a_round_that_follows_a_synced_round_proves_damage() {
        let end = at(5000, 10);
        assert!(!proves_damage(&round(11, end), end), "a piece of the torn round itself");
        assert!(!proves_damage(&round(9, at(4500, 8)), end), "left from an earlier torn tail");
        assert!(proves_damage(&round(11, at(6000, 10)), end), "round 10 went on to 6000");
        assert!(proves_damage(&round(12, at(7000, 11)), end), "round 11 had been synced");
    }
}
