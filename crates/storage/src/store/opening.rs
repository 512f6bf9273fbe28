//! Opens a data directory. `OVERVIEW.md` describes the files and the steps.
//!
//! Order: lock the directory, load the index, replay the log and find its end, upgrade the format file, and verify
//! what the index covers. Then clean up behind the end, write the opening round, and start the threads. Before the
//! upgrade, nothing is written that an older binary would misread. Only damage of unknown extent makes the log begin
//! in a new segment, and then the old segments are kept as evidence.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs, io,
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use anabranch_metrics::Registry;
use anabranch_types::GroupId;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{error, info, warn};

use super::{
    Shutdown,
    index_loading::{self, Loaded},
    index_rebuild::Missing,
};
use crate::{
    Error, StorageSettings,
    cache::Evictor,
    core::{Core, Parts},
    damage::Damage,
    dir::{DataDir, FIRST_SEGMENT, directory_error, log_start},
    group::{OpenGroup, Wanted},
    index::Index,
    keys::{Position, Run, SegmentRow},
    metrics::{self, Metrics},
    segment::{
        file::{DATA_START, SegmentFile, sync_dir},
        pool::Pool,
        queue::{Op, Work},
        reclaim::Maintainer,
        recovery::{self, Files, Outcome, Replay},
        round::{LogEnd, Round},
        scan::Scanner,
        scrub::{self, Hit, LiveEntries},
        writer::{Writer, next_segment},
    },
    space::Space,
    starts,
    tail::{Hint, Tail},
    verdict::Verdicts,
};

/// Opens or creates the store in `root` and starts its threads. Returns how often it was opened, this time included.
pub(super) fn open(
    root: &Path,
    settings: StorageSettings,
    registry: &Registry,
) -> Result<(Shutdown, u64), Error> {
    raise_file_limit();
    let (dir, lock) = DataDir::open(root)?;
    let files = find_files(&dir)?;
    let allocated =
        allocated_bytes(&dir.segments()).map_err(|error| directory_error(root, &error))?;
    let space = Arc::new(Space::new(root, &settings, allocated));
    space.prepare_for_opening();
    let verdicts = Verdicts::load(root).map_err(|error| directory_error(root, &error))?;
    let Loaded { index, segment_rows, replay, start, missing } = index_loading::load(&dir)?;
    let (tail, hint) = open_tail(root)?;
    let mut opening = Opening {
        segment_rows,
        replay,
        start,
        files: Files { dir: dir.segments(), incarnation: dir.incarnation, open: BTreeMap::new() },
        serials: files,
        unverified: Vec::new(),
        hit: Vec::new(),
        dir,
        settings,
        space,
        verdicts,
        index,
    };
    let log = opening.find_end(hint)?;
    opening.dir.upgrade()?;
    let start = match log {
        Found::New => opening.start_new(),
        Found::Whole { end, before_last, torn } => {
            opening.quarantine_missing(&missing)?;
            opening.verify_covered()?;
            opening.keep(end, before_last, torn)?
        }
        Found::Damaged(damage) => opening.start_over(&damage, hint)?,
    };
    // Raised last, because a failed opening does not count as a start.
    let starts = starts::raise(root)?;
    let opened = opening.launch(start, tail, lock, Metrics::new(registry))?;
    metrics::show(&opened.core, registry);
    Ok((opened, starts))
}

struct Opening {
    dir: DataDir,
    settings: StorageSettings,
    space: Arc<Space>,
    verdicts: Verdicts,
    index: Index,
    segment_rows: BTreeMap<u64, SegmentRow>,
    replay: Replay,
    /// Position of the index. `None` if the index is new.
    start: Option<Position>,
    files: Files,
    /// Serials of the segment files that exist.
    serials: BTreeSet<u64>,
    /// Sealed segments that are left to the scrub, with their bytes.
    unverified: Vec<(u64, u64)>,
    /// Groups with entries that cannot be read.
    hit: Vec<(GroupId, Hit)>,
}

enum Found {
    /// No round was ever written.
    New,
    Whole {
        end: LogEnd,
        before_last: LogEnd,
        torn: bool,
    },
    Damaged(Damage),
}

/// Position and segments with which the log continues.
struct Start {
    end: LogEnd,
    /// The segment of `end`. `None` if it must be made.
    active: Option<Arc<SegmentFile>>,
    /// Prepared segments that follow the active one.
    ready: VecDeque<Arc<SegmentFile>>,
    next_serial: u64,
    /// The index's position must be moved to `end` before any round is written.
    restarted: bool,
    /// Bytes of the last round that were written again.
    rewritten: u64,
}

impl Opening {
    fn find_end(&mut self, hint: Option<Hint>) -> Result<Found, Error> {
        let untouched = hint.is_some_and(|hint| hint.end == log_start());
        if self.start.is_none() && untouched && self.serials.is_empty() {
            return Ok(Found::New);
        }
        let from = self.start.map_or(log_start(), |position| position.0);
        let root = self.dir.root().to_owned();
        let (files, serials, replay) = (&mut self.files, &self.serials, &mut self.replay);
        let outcome = recovery::replay(&root, files, serials, from, hint, replay);
        Ok(match outcome.map_err(|error| read_error(&root, &error))? {
            Outcome::Whole { end, before_last, torn } => Found::Whole { end, before_last, torn },
            Outcome::Damaged(damage) => Found::Damaged(damage),
        })
    }

    fn start_new(&self) -> Start {
        info!(dir = %self.dir.root().display(), fresh = self.dir.fresh, "log begins");
        Start {
            end: log_start(),
            active: None,
            ready: VecDeque::new(),
            next_serial: FIRST_SEGMENT,
            restarted: false,
            rewritten: 0,
        }
    }

    /// Continues at the end of the log. Removes the torn tail, and deletes files that neither the index nor the log
    /// needs.
    fn keep(&mut self, end: LogEnd, before_last: LogEnd, torn: bool) -> Result<Start, Error> {
        let dir = self.files.dir.clone();
        let problem = |error: io::Error| read_error(&dir, &error);
        let from = self.start.map_or(FIRST_SEGMENT, |position| position.0.segment);
        let active = match self.files.segment(end.segment).map_err(problem)? {
            Ok(segment) => segment,
            Err(damage) => return Err(Error::Read { detail: damage.to_string() }),
        };
        let mut rewritten = 0;
        if torn {
            rewritten = self.rewrite(before_last, end).map_err(problem)?;
            // The last round may be in several segments, so the rewritten parts in earlier ones are synced too.
            for serial in from..end.segment {
                if let Ok(segment) = self.files.segment(serial).map_err(problem)? {
                    segment.sync_data().map_err(problem)?;
                }
            }
            // Otherwise a frame of the torn round could follow the next round and look valid.
            active.zero_from(end.offset).map_err(problem)?;
        }
        let needed = |serial: &u64| {
            (from..=end.segment).contains(serial) || self.segment_rows.contains_key(serial)
        };
        let mut others: BTreeSet<u64> =
            self.serials.iter().copied().filter(|serial| !needed(serial)).collect();
        let ready = self.revive_ready(end.segment + 1, &mut others).map_err(problem)?;
        for serial in others {
            self.files.open.remove(&serial);
            fs::remove_file(self.files.dir.join(SegmentFile::file_name(serial)))
                .map_err(problem)?;
        }
        self.files.open.retain(|serial, _| *serial <= end.segment);
        let next_serial = end.segment + 1 + ready.len() as u64;
        Ok(Start { end, active: Some(active), ready, next_serial, restarted: false, rewritten })
    }

    /// Writes the last round again. Its sync may have failed before the crash. Then the kernel shows the data and
    /// considers it clean, although it is not on the disk, and no later sync would write it. Earlier rounds were
    /// synced.
    fn rewrite(&mut self, before: LogEnd, end: LogEnd) -> io::Result<u64> {
        let mut rewritten = 0;
        for serial in before.segment..=end.segment {
            let Ok(segment) = self.files.segment(serial)? else { continue };
            let sealed = self.replay.sealed.iter().find(|(sealed, _)| *sealed == serial);
            let from = if serial == before.segment { before.offset } else { DATA_START };
            let to = sealed.map_or(end.offset, |(_, end)| *end);
            rewritten += segment.rewrite(from, to)?;
        }
        Ok(rewritten)
    }

    /// Begins a new life of each prepared segment behind the log, so that parts of a torn round in it become invalid.
    fn revive_ready(
        &mut self,
        first: u64,
        others: &mut BTreeSet<u64>,
    ) -> io::Result<VecDeque<Arc<SegmentFile>>> {
        let mut ready = VecDeque::new();
        for serial in first.. {
            if !others.contains(&serial) {
                break;
            }
            self.files.open.remove(&serial);
            let opened = SegmentFile::open(&self.files.dir, serial, self.files.incarnation)?;
            let Ok(segment) = opened else { break };
            if segment.bytes != self.settings.segment_bytes {
                break;
            }
            let segment = segment.begin_again(&self.files.dir, self.files.incarnation)?;
            ready.push_back(Arc::new(segment));
            others.remove(&serial);
        }
        Ok(ready)
    }

    /// Handles damage of unknown extent: quarantines every group, and begins the log anew in a new segment.
    fn start_over(&mut self, damage: &Damage, hint: Option<Hint>) -> Result<Start, Error> {
        error!(%damage, "log is damaged, every replica of this store is quarantined");
        let root = self.dir.root().to_owned();
        let problem = |error: io::Error| read_error(&root, &error);
        // First of all: a crash in the next steps must not leave a log that looks healthy.
        self.verdicts.add_all(&damage.to_string()).map_err(problem)?;
        let from = self.start.map_or(log_start(), |position| position.0);
        let mut round = from.round.max(hint.map_or(0, |hint| hint.end.round));
        let mut serial = from.segment.max(hint.map_or(0, |hint| hint.end.segment));
        for existing in self.serials.range(from.segment..).copied().collect::<Vec<_>>() {
            serial = serial.max(existing);
            if let Ok(segment) = self.files.segment(existing).map_err(problem)? {
                let rounds = Scanner::new(Arc::clone(&segment)).rounds_from(0).map_err(problem)?;
                round = rounds.iter().map(|found| found.serial).fold(round, u64::max);
            }
            // Held segments are never reclaimed while a group is quarantined.
            let row = self.segment_rows.entry(existing).or_default();
            (row.end, row.held) = (self.settings.segment_bytes, true);
        }
        // A new serial and a new round number: nothing in the old segments can be taken for a part of the new log.
        serial = self.segment_rows.keys().copied().fold(serial, u64::max) + 1;
        self.replay.sealed.clear();
        let end = LogEnd { segment: serial, offset: DATA_START, round: round + 1 };
        Ok(Start {
            end,
            active: None,
            ready: VecDeque::new(),
            next_serial: serial,
            restarted: true,
            rewritten: 0,
        })
    }

    /// Verifies the segments that the index covers, newest first, up to the number of bytes in the settings. Verifies
    /// the header of every segment.
    fn verify_covered(&mut self) -> Result<(), Error> {
        let mut budget = self.settings.verify_bytes_at_open;
        let dir = self.files.dir.clone();
        let problem = |error: io::Error| read_error(&dir, &error);
        for (serial, end) in self.covered() {
            let verify = budget > 0;
            budget = budget.saturating_sub(end);
            let segment = self.files.segment(serial).map_err(problem)?;
            let whole = match &segment {
                Ok(_) if !verify => {
                    self.unverified.push((serial, end));
                    true
                }
                Ok(segment) => scrub::frames_are_whole(segment, end, |_| false).map_err(problem)?,
                Err(_) => false,
            };
            if !whole {
                let hit = scrub::hit_groups(&self.index, segment.as_ref(), serial, &self.replay)?;
                warn!(segment = serial, groups = hit.len(), "segment is damaged");
                self.hit.extend(hit);
            }
        }
        Ok(())
    }

    /// Quarantines the groups with live entries that are in no segment.
    fn quarantine_missing(&self, missing: &Missing) -> Result<(), Error> {
        for (group, gaps) in missing {
            let Some(replayed) = self.replay.groups.get(group) else { continue };
            let bounds = &replayed.synced.bounds;
            // Entries that were appended after the copy got their location from the replay.
            let live = bounds.first()..bounds.next().min(replayed.synced.indexed_below().0);
            let lost = gaps.iter().find(|gap| gap.start < live.end && live.start < gap.end);
            let Some(lost) = lost.filter(|_| !self.replay.wiped.contains(group)) else { continue };
            let expected = format!("entry {} of group {group}", lost.start.max(live.start));
            let damage = Damage::new(&self.files.dir, 0, expected, "no segment with it");
            error!(group = %group, %damage, "replica quarantined");
            let added = self.verdicts.add(*group, &damage.to_string());
            added.map_err(|error| directory_error(self.dir.root(), &error))?;
        }
        Ok(())
    }

    /// The segments whose frames are in the index, newest first, each with the offset up to which they are.
    fn covered(&self) -> Vec<(u64, u64)> {
        let Some(Position(position)) = self.start else { return Vec::new() };
        let sealed = self.segment_rows.iter().rev();
        let sealed = sealed
            .filter(|(serial, row)| row.end > 0 && !row.held && **serial < position.segment)
            .map(|(serial, row)| (*serial, row.end));
        std::iter::once((position.segment, position.offset)).chain(sealed).collect()
    }

    /// Writes the opening round and starts the threads.
    fn launch(
        self,
        start: Start,
        tail: Tail,
        lock: fs::File,
        metrics: Metrics,
    ) -> Result<Shutdown, Error> {
        let (dir, incarnation) = (self.files.dir.clone(), self.dir.incarnation);
        let space = Arc::clone(&self.space);
        let (settings, next) = (&self.settings, start.next_serial);
        let pool = Pool::new(&dir, incarnation, settings, space, start.ready, next, &metrics);
        let core = Core::new(Parts {
            dir: self.dir,
            settings: self.settings,
            metrics,
            pool,
            space: self.space,
            index: self.index,
            verdicts: self.verdicts,
            segments: self.files.open,
            segment_rows: self.segment_rows,
            unverified: self.unverified,
        });
        add_groups(&core, self.replay.groups);
        for (group, hit) in &self.hit {
            core.report_hit(*group, hit);
        }
        for (group, id, damage) in &self.replay.bad {
            if let Some(group) = core.open_group(*group) {
                group.note_damage(*id, &damage.to_string());
            }
        }
        core.metrics.device_bytes.add(start.rewritten);
        let shutdown = Shutdown {
            core: Arc::clone(&core),
            maintainer: Mutex::default(),
            writer: Mutex::default(),
            preparer: Mutex::default(),
            watcher: Mutex::default(),
            lock: Mutex::new(Some(lock)),
        };
        let preparer = spawn("storage-prepare", &core, |core| core.pool.run())?;
        *hold(&shutdown.preparer) = Some(preparer);
        let writer =
            prepare_writer(&core, start.active, start.end, tail, start.restarted, |writer| {
                writer.wiped = self.replay.wiped;
                writer.sealed = self.replay.sealed;
                let dirty = self.replay.dirty.into_iter();
                writer.dirty = dirty.filter_map(|id| Some((id, core.open_group(id)?))).collect();
            });
        let writer = writer.inspect_err(|_| shutdown.run(crate::segment::queue::End::Abort))?;
        *hold(&shutdown.writer) = Some(spawn_with("storage-write", move || writer.run())?);
        core.space.update();
        *hold(&shutdown.watcher) = Some(spawn("storage-space", &core, watch_space)?);
        let maintainer = Maintainer::new(Arc::clone(&core));
        *hold(&shutdown.maintainer) =
            Some(spawn_with("storage-maintain", move || maintainer.run())?);
        if !core.rows().is_empty() {
            core.maintenance.want_reclaim();
        }
        Ok(shutdown)
    }
}

impl LiveEntries for Replay {
    fn wanted(&self, group: GroupId, run: &Run) -> Vec<Wanted> {
        self.groups.get(&group).map(|group| group.synced.live(run, 0)).unwrap_or_default()
    }
}

fn add_groups(core: &Arc<Core>, groups: BTreeMap<GroupId, recovery::Replayed>) {
    let mut open = core.groups.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (id, replayed) in groups {
        let reason = core.verdicts.reason(id);
        let group = OpenGroup::new(id, Arc::clone(core), replayed.synced, replayed.rows, reason);
        open.insert(id, group);
    }
}

/// Makes the writer and writes the opening round. Once that is synced, all rounds before it are durable, and no later
/// round has a serial that was used before.
fn prepare_writer(
    core: &Arc<Core>,
    active: Option<Arc<SegmentFile>>,
    end: LogEnd,
    tail: Tail,
    restarted: bool,
    fill: impl FnOnce(&mut Writer),
) -> Result<Writer, Error> {
    let active = match active {
        Some(active) => active,
        None => next_segment(core)?,
    };
    let mut writer = Writer {
        core: Arc::clone(core),
        tail,
        active: Arc::clone(&active),
        end,
        // Skips one serial: the torn round may have used `end.round + 1`.
        next_round: end.round + 2,
        dirty: BTreeMap::new(),
        wiped: BTreeSet::new(),
        sealed: Vec::new(),
        unindexed: 0,
        evictor: Evictor::new(core.settings.cache_bytes),
        heads: Vec::new(),
        places: Vec::new(),
    };
    fill(&mut writer);
    // After damage the old log cannot be replayed, so the index must point behind it before the new log begins.
    if restarted {
        writer.checkpoint()?;
        core.index.flush()?;
    }
    // From now on the tail file no longer says that the log ends here cleanly.
    let opened = writer.tail.write_synced(end, false);
    opened.map_err(|error| read_error(core.dir.root(), &error))?;
    let mut round = Round::begin(Vec::new(), active, end, writer.next_round, 0)?;
    round.roll_if_tight(|| next_segment(core))?;
    let written = round.write(|| Err(Error::DiskFull))?;
    writer.advance(written)?;
    Ok(writer)
}

/// The watcher thread. Once a second, and when the state of the disk changes, it measures the disk, keeps the
/// ballast, and tries again what failed for lack of disk space.
fn watch_space(core: &Core) {
    loop {
        core.space.update();
        core.space.adjust_ballast();
        core.verdicts.save_again();
        core.end_if_index_is_damaged();
        if core.space.index_waits() {
            let op = Op { work: Work::Checkpoint, done: None };
            let _store_is_ending = core.queue.push(op, 0, true);
        }
        if core.space.wait() {
            return;
        }
    }
}

fn find_files(dir: &DataDir) -> Result<BTreeSet<u64>, Error> {
    let segments = dir.segments();
    let problem = |error: io::Error| directory_error(&segments, &error);
    let mut serials = BTreeSet::new();
    for file in fs::read_dir(&segments).map_err(problem)? {
        let name = file.map_err(problem)?.file_name();
        match name.to_str().and_then(SegmentFile::serial_in_name) {
            Some(serial) => {
                serials.insert(serial);
            }
            None => fs::remove_file(segments.join(&name)).map_err(problem)?,
        }
    }
    sync_dir(&segments).map_err(problem)?;
    Ok(serials)
}

/// Opens the tail file. If it is missing, makes a new one but returns no hint, and recovery treats that as damage.
fn open_tail(root: &Path) -> Result<(Tail, Option<Hint>), Error> {
    match Tail::open(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = Tail::create(root, log_start()).and_then(|()| Tail::open(root));
            made.map(|(tail, _)| (tail, None))
        }
        opened => opened,
    }
    .map_err(|error| directory_error(root, &error))
}

fn allocated_bytes(segments: &Path) -> io::Result<u64> {
    fs::read_dir(segments)?.map(|file| Ok(file?.metadata()?.len())).sum()
}

/// Raises the soft limit of open files, because every segment is an open file.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, "limit of open files could not be raised");
    }
}

fn spawn(
    name: &str,
    core: &Arc<Core>,
    run: impl FnOnce(&Core) + Send + 'static,
) -> Result<thread::JoinHandle<()>, Error> {
    let core = Arc::clone(core);
    spawn_with(name, move || run(&core))
}

fn spawn_with(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, Error> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|error| Error::Failed { detail: format!("start thread {name}: {error}") })
}

fn hold<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn read_error(path: &Path, error: &io::Error) -> Error {
    Error::Read { detail: format!("{}: {error}", path.display()) }
}
