//! A group as it is on the disk, and the part of it that RocksDB does not have yet.
//!
//! The writer applies each frame here after the round's sync. The opening applies the frames that it replays. Both
//! use the same functions in frame order, so both arrive at the same state. A checkpoint takes [`Synced::changes`],
//! writes them to RocksDB, and then calls [`Synced::indexed`].

use std::collections::{BTreeMap, VecDeque};

use anabranch_types::LogId;
use bytes::Bytes;

use crate::{
    StateKey, Vote,
    bounds::Bounds,
    group::Wanted,
    index::{Changes, Moved},
    keys::{GroupRow, Loc, Run},
    segment::round::Place,
};

/// A group as its frames on the disk have it, and the changes that RocksDB does not have yet.
#[derive(Debug, Default)]
pub(crate) struct Synced {
    pub(crate) bounds: Bounds,
    pub(crate) vote: Option<Vote>,
    /// Entries that have no row in the index yet: consecutive, up to the last entry.
    runs: VecDeque<Run>,
    /// Rows of the index for entries from this index on are outdated: these entries were truncated.
    truncated_from: Option<u64>,
    /// Number of truncations. A reader compares it to learn whether a row that it looked up may be outdated.
    truncations: u64,
    purged: bool,
    moves: Vec<Moved>,
    rows: BTreeMap<StateKey, Option<Bytes>>,
}

impl Synced {
    pub(crate) fn from_row(row: GroupRow) -> Self {
        Self { bounds: row.bounds, vote: row.vote, ..Self::default() }
    }

    /// A group whose rows in RocksDB will be deleted by the next checkpoint.
    pub(crate) fn fresh() -> Self {
        Self { truncated_from: Some(0), ..Self::default() }
    }

    pub(crate) fn append(&mut self, id: LogId, place: Place, payload_bytes: u32) {
        self.bounds.append(id);
        let loc = Loc { offset: place.offset, payload_bytes };
        match self.runs.back_mut() {
            Some(run) if run.segment == place.segment && run.end() == id.index => {
                run.locs.push(loc);
            }
            _ => self.runs.push_back(Run {
                segment: place.segment,
                first: id.index,
                locs: vec![loc],
            }),
        }
    }

    pub(crate) fn truncate(&mut self, from: u64) {
        self.truncations += 1;
        self.bounds.truncate(from);
        self.truncated_from = Some(self.truncated_from.map_or(from, |cut| cut.min(from)));
        self.clip_runs(from);
        self.moves.retain(|moved| moved.run.first < from);
        for moved in &mut self.moves {
            clip(&mut moved.run, from);
        }
    }

    pub(crate) fn purge(&mut self, up_to: LogId) {
        if !self.bounds.purge(up_to) {
            return;
        }
        self.purged = true;
        let first = self.bounds.first();
        while self.runs.front().is_some_and(|run| run.end() <= first) {
            self.runs.pop_front();
        }
    }

    /// Applies an entry that was copied forward from segment `from`. The next checkpoint ignores a copy whose entry
    /// was moved or truncated meanwhile.
    pub(crate) fn moved(&mut self, from: u64, index: u64, place: Place, payload_bytes: u32) {
        if self.truncated_from.is_some_and(|cut| index >= cut) {
            return;
        }
        let loc = Loc { offset: place.offset, payload_bytes };
        match self.moves.last_mut() {
            Some(last)
                if last.from == from
                    && last.run.segment == place.segment
                    && last.run.end() == index =>
            {
                last.run.locs.push(loc);
            }
            _ => self.moves.push(Moved {
                from,
                run: Run { segment: place.segment, first: index, locs: vec![loc] },
            }),
        }
    }

    pub(crate) fn put_rows(&mut self, rows: Vec<(StateKey, Option<Bytes>)>) {
        self.rows.extend(rows);
    }

    /// The run that holds an entry, if the run has no row in the index yet.
    pub(crate) fn find_run(&self, index: u64) -> Option<&Run> {
        let at = self.runs.partition_point(|run| run.end() <= index);
        self.runs.get(at).filter(|run| run.first <= index)
    }

    /// Entries below this index have a row in the index. The second value is the number of truncations for which that
    /// holds.
    pub(crate) fn indexed_below(&self) -> (u64, u64) {
        (self.runs.front().map_or(u64::MAX, |run| run.first), self.truncations)
    }

    /// Live entries, from `floor` on, of a run that has a row in the index. A truncated entry is not live, even if a
    /// newer entry has its index by now.
    pub(crate) fn live(&self, run: &Run, floor: u64) -> Vec<Wanted> {
        let from = self.bounds.first().max(floor).max(run.first);
        let to = self.truncated_from.unwrap_or(u64::MAX).min(self.bounds.next()).min(run.end());
        let wanted = |index| {
            let term = self.bounds.term_of(index)?;
            Some(Wanted { id: LogId { term, index }, loc: run.get(index)? })
        };
        (from..to).map_while(wanted).collect()
    }

    /// The changes that the next checkpoint writes. They are kept until [`Synced::indexed`], because readers need
    /// them, and because RocksDB may have no disk space for the checkpoint. Only the writer changes them, and it does
    /// nothing else in between.
    pub(crate) fn changes(&self) -> Changes {
        Changes {
            row: GroupRow { bounds: self.bounds.clone(), vote: self.vote },
            truncated_from: self.truncated_from,
            purged: self.purged,
            moves: self.moves.clone(),
            runs: self.runs.iter().cloned().collect(),
            rows: self.rows.clone(),
        }
    }

    /// The checkpoint is in RocksDB, so these changes are no longer needed.
    pub(crate) fn indexed(&mut self) {
        self.runs = VecDeque::new();
        self.truncated_from = None;
        self.purged = false;
        self.moves = Vec::new();
        self.rows = BTreeMap::new();
    }

    fn clip_runs(&mut self, from: u64) {
        while self.runs.back().is_some_and(|run| run.first >= from) {
            self.runs.pop_back();
        }
        if let Some(run) = self.runs.back_mut() {
            clip(run, from);
        }
    }
}

fn clip(run: &mut Run, from: u64) {
    let kept = usize::try_from(from.saturating_sub(run.first)).unwrap_or(usize::MAX);
    run.locs.truncate(kept);
}
