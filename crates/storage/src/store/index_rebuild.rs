//! Rebuilds an index from the copy of its state rows and the segments.
//!
//! The copy tells which entries are live as of its position. Their locations are found by reading every segment
//! before that position, newest first. If an entry has several frames, the last one counts, because entries are
//! copied forward. The opening then replays the log from the copy's position on, as after any crash.
//!
//! Live entries that are in no segment are returned. Their groups are quarantined, unless the log shows that the
//! entries were purged or truncated after the copy's position.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    ops::Range,
    path::Path,
    sync::Arc,
};

use anabranch_types::GroupId;

use crate::{
    Error,
    dir::{DataDir, directory_error},
    index::{Checkpoint, Copy, Index},
    keys::{GroupRow, Loc, Run, SegmentRow},
    segment::{
        file::SegmentFile,
        frame::Kind,
        recovery::Files,
        scan::{Cursor, Scanner, Step},
    },
};

/// Indexes of live entries that are in no segment.
pub(super) type Missing = BTreeMap<GroupId, Vec<Range<u64>>>;

/// Builds the index in `path` from `copy` and the segments. Returns the entries that were live as of the copy and are
/// in no segment.
pub(super) fn rebuild(dir: &DataDir, copy: &Copy, path: &Path) -> Result<Missing, Error> {
    let problem = |error: io::Error| directory_error(&dir.segments(), &error);
    let index = Index::open(path)?;
    index.put_state_rows(&copy.rows)?;
    let mut files =
        Files { dir: dir.segments(), incarnation: dir.incarnation, open: BTreeMap::new() };
    let mut rows: BTreeMap<u64, SegmentRow> = copy.segments.clone();
    rows.values_mut().for_each(|row| (row.runs, row.live_bytes) = (0, 0));
    let mut covered = Covered::default();
    for (serial, end) in segments(copy) {
        let mut checkpoint = Checkpoint::new(&index, &mut rows);
        if serial < copy.position.segment {
            checkpoint.sealed(serial, end);
        }
        if let Ok(segment) = files.segment(serial).map_err(problem)? {
            let places = live_places(&segment, end, &copy.groups).map_err(problem)?;
            for (group, run) in covered.take_new(serial, &places) {
                checkpoint.put_run(group, &run);
            }
        }
        files.open.remove(&serial);
        checkpoint.write(copy.position)?;
    }
    index.flush()?;
    index.close();
    let gaps = |(group, row): (&GroupId, &GroupRow)| {
        (*group, covered.gaps(*group, row.bounds.first()..row.bounds.next()))
    };
    Ok(copy.groups.iter().map(gaps).filter(|(_, gaps)| !gaps.is_empty()).collect())
}

/// The segments that may hold entries of the copy, newest first, each with the offset up to which it must be read.
fn segments(copy: &Copy) -> impl Iterator<Item = (u64, u64)> {
    let sealed = copy.segments.iter().rev().filter(|(serial, row)| {
        row.end > 0 && **serial < copy.position.segment && (row.runs > 0 || row.held)
    });
    let active = (copy.position.segment, copy.position.offset);
    std::iter::once(active).chain(sealed.map(|(serial, row)| (*serial, row.end)))
}

type Places = BTreeMap<(GroupId, u64), Loc>;

/// The last frame of each live entry in a segment. Frames behind a break in the segment are not found.
fn live_places(
    segment: &Arc<SegmentFile>,
    end: u64,
    groups: &BTreeMap<GroupId, GroupRow>,
) -> io::Result<Places> {
    let mut scanner = Scanner::new(Arc::clone(segment));
    let mut cursor = Cursor::at_start_of(segment.serial);
    let mut places = Places::new();
    while cursor.end.offset < end {
        let Step::Frame { header, offset, payload_bytes } = scanner.step(&mut cursor)? else {
            break;
        };
        let group = GroupId(header.group);
        let is_entry = matches!(header.kind, Kind::Entry | Kind::Moved);
        let term = groups.get(&group).and_then(|row| row.bounds.term_of(header.index));
        if is_entry
            && term == Some(header.term)
            && let (Ok(offset), Ok(payload_bytes)) =
                (u32::try_from(offset), u32::try_from(payload_bytes))
        {
            places.insert((group, header.index), Loc { offset, payload_bytes });
        }
    }
    Ok(places)
}

/// The entries of each group that already have a row: stretches by their first index, with the index after the last
/// entry.
#[derive(Default)]
struct Covered(HashMap<GroupId, BTreeMap<u64, u64>>);

impl Covered {
    /// Runs of the entries in `places` that no newer segment has.
    fn take_new(&mut self, segment: u64, places: &Places) -> Vec<(GroupId, Run)> {
        let mut runs: Vec<(GroupId, Run)> = Vec::new();
        for ((group, index), loc) in places {
            if self.has(*group, *index) {
                continue;
            }
            match runs.last_mut() {
                Some((last, run)) if last == group && run.end() == *index => run.locs.push(*loc),
                _ => runs.push((*group, Run { segment, first: *index, locs: vec![*loc] })),
            }
        }
        for (group, run) in &runs {
            self.0.entry(*group).or_default().insert(run.first, run.end());
        }
        runs
    }

    /// The parts of `range` without a row.
    fn gaps(&self, group: GroupId, range: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut next = range.start;
        for (from, to) in self.0.get(&group).into_iter().flatten() {
            if next < *from {
                gaps.push(next..*from);
            }
            next = next.max(*to);
        }
        if next < range.end {
            gaps.push(next..range.end);
        }
        gaps
    }

    fn has(&self, group: GroupId, index: u64) -> bool {
        let stretches = self.0.get(&group);
        let before = stretches.and_then(|stretches| stretches.range(..=index).next_back());
        before.is_some_and(|(_, end)| index < *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_segment_with_an_entry_determines_its_location() {
        let loc = Loc { offset: 4096, payload_bytes: 1 };
        let places = |indexes: &[u64]| -> Places {
            indexes.iter().map(|index| ((GroupId(1), *index), loc)).collect()
        };
        let spans = |runs: Vec<(GroupId, Run)>| -> Vec<(u64, u64)> {
            runs.iter().map(|(_, run)| (run.first, run.end())).collect()
        };
        let mut covered = Covered::default();
        assert_eq!(spans(covered.take_new(9, &places(&[5, 6, 8]))), [(5, 7), (8, 9)]);
        let older = covered.take_new(3, &places(&[3, 4, 5, 6, 7, 8, 9]));
        assert_eq!(spans(older), [(3, 5), (7, 8), (9, 10)]);
        assert_eq!(spans(covered.take_new(2, &places(&[3, 9, 10]))), [(10, 11)]);
        assert_eq!(covered.gaps(GroupId(1), 1..13), [1..3, 11..13]);
        assert_eq!(covered.gaps(GroupId(1), 3..11), []);
        assert_eq!(covered.gaps(GroupId(2), 3..5).first(), Some(&(3..5)));
    }
}
