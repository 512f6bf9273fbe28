//! A checkpoint: one batch that brings RocksDB's rows from one position of the log to a later one.
//!
//! The writer collects the changes of each group, and the checkpoint turns them into rows: new runs are added,
//! truncated and purged runs are deleted, and runs whose entries were copied forward are split. The batch contains
//! the new position, so rows and position never disagree. A checkpoint never contains a write that is not synced.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_types::GroupId;
use bytes::Bytes;
use rocksdb::WriteBatch;

use super::{Index, index_family, malformed, state_family};
use crate::{
    Error, StateKey,
    keys::{self, GroupRow, Key, Position, Run, RunHead, SegmentRow},
    segment::round::LogEnd,
};

/// Changes of a group since the last checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) row: GroupRow,
    /// Entries that had rows before are gone from this index on.
    pub(crate) truncated_from: Option<u64>,
    pub(crate) purged: bool,
    /// Entries that were copied forward.
    pub(crate) moves: Vec<Moved>,
    /// Entries that were written, in index order.
    pub(crate) runs: Vec<Run>,
    pub(crate) rows: BTreeMap<StateKey, Option<Bytes>>,
}

/// Entries that were copied to another segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Segment from which they were copied. Entries that are in a different segment by now are not moved.
    pub(crate) from: u64,
    pub(crate) run: Run,
}

/// One batch of rows that brings RocksDB from one [`Position`] to a later one.
pub(crate) struct Checkpoint<'a> {
    index: &'a Index,
    segments: &'a mut BTreeMap<u64, SegmentRow>,
    puts: Vec<(Key, Vec<u8>)>,
    deletes: Vec<Key>,
    touched: BTreeSet<u64>,
}

impl<'a> Checkpoint<'a> {
    /// `segments` are the segment rows in memory. The checkpoint changes them as it changes the stored rows.
    pub(crate) fn new(index: &'a Index, segments: &'a mut BTreeMap<u64, SegmentRow>) -> Self {
        Self { index, segments, puts: Vec::new(), deletes: Vec::new(), touched: BTreeSet::new() }
    }

    pub(crate) fn sealed(&mut self, segment: u64, end: u64) {
        self.segments.entry(segment).or_default().end = end;
        self.touched.insert(segment);
    }

    /// Deletes every row of a group.
    pub(crate) fn wipe(&mut self, group: GroupId) -> Result<(), Error> {
        for (head, _) in self.index.runs(group, 0, u64::MAX)? {
            self.delete_run(group, head);
        }
        let prefix = keys::prefix(keys::STATE_TAG, &[group.0]);
        let rows = self.index.with(|db| {
            super::scan(db, state_family(db)?, &prefix, &prefix).collect::<Result<Vec<_>, _>>()
        })?;
        for (key, _) in rows {
            self.deletes.push(Key::decode(&key).ok_or_else(|| malformed(&key))?);
        }
        self.deletes.push(Key::Group { group });
        Ok(())
    }

    /// Adds a group's changes. `wiped` means that this checkpoint deletes the group's older rows.
    pub(crate) fn group(
        &mut self,
        group: GroupId,
        changes: Changes,
        wiped: bool,
    ) -> Result<(), Error> {
        if !wiped {
            self.revise_runs(group, &changes)?;
        }
        for run in changes.runs {
            self.put_run(group, &run);
        }
        for (key, value) in changes.rows {
            let key = Key::State { group, key };
            match value {
                Some(value) => self.puts.push((key, value.to_vec())),
                None => self.deletes.push(key),
            }
        }
        self.puts.push((Key::Group { group }, changes.row.encode()));
        Ok(())
    }

    pub(crate) fn write(mut self, end: LogEnd) -> Result<(), Error> {
        for serial in std::mem::take(&mut self.touched) {
            if let Some(row) = self.segments.get(&serial) {
                self.puts.push((Key::Segment { serial }, row.encode()));
            }
        }
        self.puts.push((Key::Position, Position(end).encode()));
        let batch = self.index.with(|db| {
            let mut batch = WriteBatch::default();
            let family = |key: &Key| match key {
                Key::Run { .. } | Key::Placed { .. } => index_family(db),
                Key::Position | Key::Segment { .. } | Key::Group { .. } | Key::State { .. } => {
                    state_family(db)
                }
            };
            for key in &self.deletes {
                batch.delete_cf(family(key)?, key.encode());
            }
            for (key, value) in &self.puts {
                batch.put_cf(family(key)?, key.encode(), value);
            }
            Ok(batch)
        })?;
        self.index.write(batch)
    }

    /// Applies truncations, purges and moves to the rows that the group already has.
    fn revise_runs(&mut self, group: GroupId, changes: &Changes) -> Result<(), Error> {
        let cut = changes.truncated_from.unwrap_or(u64::MAX);
        let purged_to = changes.row.bounds.purged().map_or(0, |id| id.index.saturating_add(1));
        let mut hit = BTreeMap::new();
        let mut add = |from, to| -> Result<(), Error> {
            let runs = self.index.runs(group, from, to)?;
            hit.extend(runs.into_iter().map(|(head, value)| (head.first, (head, value))));
            Ok(())
        };
        if cut != u64::MAX {
            add(cut, u64::MAX)?;
        }
        if changes.purged {
            add(0, purged_to)?;
        }
        for moved in &changes.moves {
            add(moved.run.first, moved.run.end())?;
        }
        for (head, value) in hit.into_values() {
            self.revise_run(group, head, &value, cut, purged_to, &changes.moves)?;
        }
        Ok(())
    }

    fn revise_run(
        &mut self,
        group: GroupId,
        head: RunHead,
        value: &[u8],
        cut: u64,
        purged_to: u64,
        moves: &[Moved],
    ) -> Result<(), Error> {
        if head.first >= cut || head.end() <= purged_to {
            self.delete_run(group, head);
            return Ok(());
        }
        let moves: Vec<&Run> = moves
            .iter()
            .filter(|moved| moved.from == head.segment)
            .map(|moved| &moved.run)
            .filter(|run| run.first < head.end() && head.first < run.end())
            .collect();
        if moves.is_empty() && head.end() <= cut {
            return Ok(());
        }
        let key = || malformed(&Key::Run { group, first: head.first }.encode());
        let run = Run::decode(head.first, value).ok_or_else(key)?;
        self.delete_run(group, head);
        for piece in repointed(&run, cut, purged_to, &moves) {
            self.put_run(group, &piece);
        }
        Ok(())
    }

    pub(crate) fn put_run(&mut self, group: GroupId, run: &Run) {
        let head = run.head();
        let row = self.segments.entry(run.segment).or_default();
        row.runs += 1;
        row.live_bytes += head.frame_bytes;
        self.touched.insert(run.segment);
        self.puts.push((Key::Run { group, first: run.first }, run.encode()));
        self.puts.push((Key::Placed { segment: run.segment, group, first: run.first }, Vec::new()));
    }

    fn delete_run(&mut self, group: GroupId, head: RunHead) {
        if let Some(row) = self.segments.get_mut(&head.segment) {
            row.runs = row.runs.saturating_sub(1);
            row.live_bytes = row.live_bytes.saturating_sub(head.frame_bytes);
            self.touched.insert(head.segment);
        }
        self.deletes.push(Key::Run { group, first: head.first });
        self.deletes.push(Key::Placed { segment: head.segment, group, first: head.first });
    }
}

/// The runs that replace `run` after entries from `cut` on are gone and the runs in `moves` are in other segments.
/// Purged entries that share the run with live entries stay in it, unless entries move out of the run.
///
/// ```text
/// run    | 10 ............. segment 1 ............. 19 |       `cut` is 18
/// moves           | 13, 14: segment 5 |
/// result | 10..13 | 13..15: segment 5 | 15..18 |
/// ```
fn repointed(run: &Run, cut: u64, purged_to: u64, moves: &[&Run]) -> Vec<Run> {
    let floor = if moves.is_empty() { run.first } else { run.first.max(purged_to) };
    let mut moves = moves.to_vec();
    moves.sort_by_key(|moved| moved.first);
    let mut pieces = Vec::new();
    let mut next = floor;
    for moved in moves {
        pieces.extend(run.slice(next, moved.first.min(cut)));
        pieces.extend(moved.slice(next.max(run.first), run.end().min(cut)));
        next = next.max(moved.end());
    }
    pieces.extend(run.slice(next, cut));
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::Loc;

    fn run(segment: u64, first: u64, count: u64) -> Run {
        let locs = (0..count).map(|at| Loc {
            offset: u32::try_from(4096 + 100 * (first + at)).unwrap(),
            payload_bytes: 67,
        });
        Run { segment, first, locs: locs.collect() }
    }

    fn spans(runs: &[Run]) -> Vec<(u64, u64, u64)> {
        runs.iter().map(|run| (run.segment, run.first, run.end())).collect()
    }

    #[test]
    fn moved_entries_split_the_run_they_came_from() {
        let pieces = repointed(&run(1, 10, 10), u64::MAX, 0, &[&run(5, 13, 2), &run(6, 15, 1)]);
        assert_eq!(spans(&pieces), [(1, 10, 13), (5, 13, 15), (6, 15, 16), (1, 16, 20)]);
    }

    #[test]
    fn a_truncation_shortens_the_run() {
        assert_eq!(spans(&repointed(&run(1, 10, 10), 14, 0, &[])), [(1, 10, 14)]);
    }

    #[test]
    fn purged_entries_are_left_out_when_the_rest_moves() {
        let pieces = repointed(&run(1, 10, 10), u64::MAX, 14, &[&run(5, 14, 6)]);
        assert_eq!(spans(&pieces), [(5, 14, 20)]);
    }

    proptest! {
        #[test]
        fn every_live_entry_has_exactly_one_location(
            cut in 10_u64..22, purged_to in 5_u64..22, moves in prop::collection::vec((8_u64..22, 1_u64..6), 0..4)
        ) {
            let mut from = 0;
            let mut moved = Vec::new();
            for (segment, (first, count)) in (5..).zip(moves) {
                let first = first.max(from);
                moved.push(run(segment, first, count));
                from = first + count;
            }
            let old = run(1, 10, 10);
            let hits: Vec<&Run> = moved.iter().filter(|m| m.first < 20 && m.end() > 10).collect();
            let pieces = repointed(&old, cut, purged_to, &hits);
            for index in purged_to.max(10)..cut.min(20) {
                let places: Vec<u64> =
                    pieces.iter().filter(|p| p.get(index).is_some()).map(|p| p.segment).collect();
                let mover = hits.iter().find(|m| m.get(index).is_some()).map_or(1, |m| m.segment);
                prop_assert_eq!(places, vec![mover], "index {}", index);
            }
            prop_assert!(pieces.iter().all(|piece| piece.end() <= cut.min(20) && piece.first >= 10));
        }
    }
}
