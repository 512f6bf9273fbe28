//! Verification of sealed segments that the index covers: before the store opens for the newest, in the background for
//! the rest.
//!
//! Fast path: follow the frames to the seal. If that fails, every live entry of the segment is read by its place in the
//! index, and the groups of those that cannot be read are the ones that are hit.

use std::{collections::BTreeMap, io, sync::Arc};

use anabranch_types::GroupId;

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

/// Gives the live range of a group and the terms in it.
pub(crate) trait LiveEntries {
    /// The entries of `run` that are live.
    fn wanted(&self, group: GroupId, run: &Run) -> Vec<Wanted>;
}

/// Whether a segment's frames are all there up to `end`: behind its seal, or behind a round. `pace` is told how many
/// bytes were read, and answers whether to stop.
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

/// The groups whose live entries in a segment cannot be read, each with the first such entry.
pub(crate) fn hit_groups(
    index: &Index,
    segment: Result<&Arc<SegmentFile>, &Damage>,
    serial: u64,
    live: &dyn LiveEntries,
) -> Result<BTreeMap<GroupId, Damage>, Error> {
    let mut hit = BTreeMap::new();
    for (group, first) in index.placed(serial)? {
        let run = index.find_run(group, first)?;
        let Some(run) = run.filter(|run| run.segment == serial && run.first == first) else {
            continue;
        };
        let wanted = live.wanted(group, &run);
        if hit.contains_key(&group) || wanted.is_empty() {
            continue;
        }
        let damage = damage_in(segment, group, &wanted)?;
        // A run that was truncated or moved meanwhile is not what was looked at.
        if let Some(damage) = damage
            && index.find_run(group, first)? == Some(run)
        {
            hit.insert(group, damage);
        }
    }
    Ok(hit)
}

fn damage_in(
    segment: Result<&Arc<SegmentFile>, &Damage>,
    group: GroupId,
    wanted: &[Wanted],
) -> Result<Option<Damage>, Error> {
    let segment = match segment {
        Ok(segment) => segment,
        Err(damage) => return Ok(Some(damage.clone())),
    };
    for chunk in wanted.chunks(256) {
        match read_wanted(segment, group, chunk) {
            Ok(_) => {}
            Err(ReadFailure::Damage(damage)) => return Ok(Some(damage)),
            Err(ReadFailure::System(error)) => return Err(error),
        }
    }
    Ok(None)
}
