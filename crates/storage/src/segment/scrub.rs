//! Verification of sealed segments that the index covers. The opening verifies the newest before the store opens. The
//! scrub verifies the rest in the background.
//!
//! Fast path: follow the frames to the seal. If that fails, read every live entry of the segment at its location in
//! the index. The entries that cannot be read are damaged.

use std::{collections::BTreeMap, io, sync::Arc};

use anabranch_types::{GroupId, LogId};

use crate::{
    Error,
    damage::Damage,
    group::{ReadFailure, Wanted, read_wanted},
    index::Index,
    keys::Run,
    segment::{
        file::SegmentFile,
        scan::{Cursor, Scanner, Step},
    },
};

/// Knows which entries are live, and their terms.
pub(crate) trait LiveEntries {
    /// The live entries of `run`.
    fn wanted(&self, group: GroupId, run: &Run) -> Vec<Wanted>;
}

/// Whether all frames of a segment are intact up to `end`, which is after its seal or after a round. Calls `pace`
/// with the number of bytes read, and stops if `pace` returns true.
pub(crate) fn frames_are_whole(
    segment: &Arc<SegmentFile>,
    end: u64,
    mut pace: impl FnMut(u64) -> bool,
) -> io::Result<bool> {
    let mut scanner = Scanner::new(Arc::clone(segment));
    let mut cursor = Cursor::at_start_of(segment.serial);
    let mut paced = 0;
    while cursor.end.offset < end {
        match scanner.step(&mut cursor)? {
            Step::Frame { .. } => {}
            Step::Sealed => break,
            Step::Broken => break,
        }
        if cursor.end.offset - paced > 1 << 20 {
            if pace(cursor.end.offset - paced) {
                return Ok(true);
            }
            paced = cursor.end.offset;
        }
    }
    Ok(cursor.end.offset == end)
}

/// Damage of a segment as it concerns one group.
#[derive(Debug)]
pub(crate) enum Hit {
    /// These entries cannot be read.
    Entries(Vec<(LogId, Damage)>),
    /// More than single entries is lost.
    Lost(Damage),
}

/// The groups with live entries in a segment that cannot be read.
pub(crate) fn hit_groups(
    index: &Index,
    segment: Result<&Arc<SegmentFile>, &Damage>,
    serial: u64,
    live: &dyn LiveEntries,
) -> Result<BTreeMap<GroupId, Hit>, Error> {
    let mut hit = BTreeMap::new();
    for (group, first) in index.placed(serial)? {
        let run = index.find_run(group, first)?;
        let Some(run) = run.filter(|run| run.segment == serial && run.first == first) else {
            continue;
        };
        let wanted = live.wanted(group, &run);
        if matches!(hit.get(&group), Some(Hit::Lost(_))) || wanted.is_empty() {
            continue;
        }
        let found = damage_in(segment, group, &wanted)?;
        // If the run was truncated or moved meanwhile, the result does not count.
        if index.find_run(group, first)? != Some(run) {
            continue;
        }
        match (hit.get_mut(&group), found) {
            (_, Hit::Entries(found)) if found.is_empty() => {}
            (Some(Hit::Entries(known)), Hit::Entries(found)) => known.extend(found),
            (_, found) => {
                hit.insert(group, found);
            }
        }
    }
    Ok(hit)
}

fn damage_in(
    segment: Result<&Arc<SegmentFile>, &Damage>,
    group: GroupId,
    wanted: &[Wanted],
) -> Result<Hit, Error> {
    let segment = match segment {
        Ok(segment) => segment,
        Err(damage) => return Ok(Hit::Lost(damage.clone())),
    };
    let mut damaged = Vec::new();
    for chunk in wanted.chunks(256) {
        let mut rest = chunk;
        // Read up to the first damaged entry, and then continue after it.
        while !rest.is_empty() {
            match read_wanted(segment, group, rest) {
                Ok(_) => break,
                Err(ReadFailure::System(error)) => return Err(error),
                Err(ReadFailure::Damage(None, damage)) => return Ok(Hit::Lost(damage)),
                Err(ReadFailure::Damage(Some(id), damage)) => {
                    damaged.push((id, damage));
                    let at = rest.iter().position(|wanted| wanted.id == id);
                    rest = at.and_then(|at| rest.get(at + 1..)).unwrap_or_default();
                }
            }
        }
    }
    Ok(Hit::Entries(damaged))
}
