//! Opening a data directory, step by step; what can be found there is written in `OVERVIEW.md`.

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
    group::{Group, Wanted},
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

/// Opens or makes the store in `root` and starts its threads. Says how often it was opened, this time included.
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
            opening.condemn_missing(&missing)?;
            opening.verify_covered()?;
            opening.keep(end, before_last, torn)?
        }
        Found::Damaged(damage) => opening.start_over(&damage, hint)?,
    };
    // Counted last: an opening that fails is no start.
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
    /// The index's position, if it has one.
    start: Option<Position>,
    files: Files,
    /// Serials of the segment files that exist.
    serials: BTreeSet<u64>,
    /// Sealed segments left to the scrub.
    unverified: Vec<(u64, u64)>,
    /// Groups whose entries can't be read.
    hit: Vec<(GroupId, Hit)>,
}

enum Found {
    /// Nothing was ever written.
    New,
    Whole {
        end: LogEnd,
        before_last: LogEnd,
        torn: bool,
    },
    Damaged(Damage),
}

/// Where and how the log goes on.
struct Start {
    end: LogEnd,
    /// The segment that `end` is in; none if it has to be made.
    active: Option<Arc<SegmentFile>>,
    /// Prepared segments that follow it.
    ready: VecDeque<Arc<SegmentFile>>,
    next_serial: u64,
    /// The index's position is to be moved here before anything is written.
    restarted: bool,
    /// Bytes of the last round that were written once more.
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

    /// Goes on where the log ends: clears away the torn tail, and deletes what belongs to nothing.
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
            for serial in from..end.segment {
                if let Ok(segment) = self.files.segment(serial).map_err(problem)? {
                    segment.sync_data().map_err(problem)?;
                }
            }
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

    /// Writes the last round once more. Its sync may have failed: then the kernel shows it and takes it for written, though
    /// it is not on the disk, and no sync to come would take it there. Rounds before it were synced.
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

    /// Gives the prepared segments behind the log a new life each, so that pieces of a torn round in them are void.
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

    /// Damage that cannot be pinned to groups: all are quarantined, and the log begins anew in a new segment.
    fn start_over(&mut self, damage: &Damage, hint: Option<Hint>) -> Result<Start, Error> {
        error!(%damage, "log is damaged, every replica of this store is quarantined");
        let root = self.dir.root().to_owned();
        let problem = |error: io::Error| read_error(&root, &error);
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
            let row = self.segment_rows.entry(existing).or_default();
            (row.end, row.held) = (self.settings.segment_bytes, true);
        }
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

    /// Verifies what the index covers, newest first, as far as the settings say; the header of every segment.
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

    /// Quarantines the groups whose live entries are in no segment.
    fn condemn_missing(&self, missing: &Missing) -> Result<(), Error> {
        for (group, gaps) in missing {
            let Some(replayed) = self.replay.groups.get(group) else { continue };
            let bounds = &replayed.synced.bounds;
            // What was appended since has its place from the replay.
            let live = bounds.first()..bounds.next().min(replayed.synced.indexed_below().0);
            let lost = gaps.iter().find(|gap| gap.start < live.end && live.start < gap.end);
            let Some(lost) = lost.filter(|_| !self.replay.wiped.contains(group)) else { continue };
            let expected = format!("entry {} of group {group}", lost.start.max(live.start));
            let damage = Damage::new(&self.files.dir, 0, expected, "it in no segment");
            error!(group = %group, %damage, "replica quarantined");
            let added = self.verdicts.add(*group, &damage.to_string());
            added.map_err(|error| directory_error(self.dir.root(), &error))?;
        }
        Ok(())
    }

    /// The segments whose frames are in the index, and up to where they are, newest first.
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
        core.space.look();
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
        let group = Group::new(id, Arc::clone(core), replayed.synced, replayed.rows, reason);
        open.insert(id, group);
    }
}

/// Makes the writer, and writes the opening round: once it is synced, everything before it is durable, and the serial of
/// every later round is new.
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
    if restarted {
        writer.checkpoint()?;
        core.index.flush()?;
    }
    // From here on the tail file no longer says that nothing follows a clean end.
    let opened = writer.tail.write_synced(end, false);
    opened.map_err(|error| read_error(core.dir.root(), &error))?;
    let mut round = Round::begin(Vec::new(), active, end, writer.next_round, 0)?;
    round.roll_if_tight(|| next_segment(core))?;
    let written = round.write(|| Err(Error::DiskFull))?;
    writer.advance(written)?;
    Ok(writer)
}

/// The thread that follows the room on the disk, and has that done again which found none.
fn watch_space(core: &Core) {
    loop {
        core.space.look();
        core.space.tend_ballast();
        core.verdicts.save_again();
        core.give_up_damaged_index();
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

/// A missing tail file is damage, told by its having no hint.
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

/// Every segment is an open file: the process may need more than the soft limit.
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
