//! Test suite for every log store. [`run`] runs fixed examples. [`random_writes`] runs random sequences of writes and
//! crashes.
//!
//! A store provides a [`Fixture`]. The suite panics with a description of the broken guarantee. Segment stores should
//! use small segments, so that a few hundred entries fill several segments.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
};

use anabranch_types::{GroupId, LogId, ReplicaId};
use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::runtime::{Builder, Runtime};

use crate::{
    Completion, Entry, Error, GroupLog, Health, LogState, LogStore, StateKey, Vote,
    model::{Change, Model},
};

/// A store under test, and its directory or memory.
pub trait Fixture {
    /// Opens the store. Also called after [`Fixture::crash`] and [`LogStore::close`].
    fn open(&mut self) -> Arc<dyn LogStore>;

    /// Ends the open store as a crash does.
    fn crash(&mut self);

    /// Ends the open store as a failed write to its disk does: with [`Error::Failed`].
    fn fail(&mut self);
}

type Example = fn(&mut dyn Fixture);

/// Runs every example. `fixture` makes a new, empty store for each.
pub fn run<F: Fixture>(mut fixture: impl FnMut() -> F) {
    let examples: &[(&str, Example)] = &[
        ("a new group is empty", new_group_is_empty),
        ("entries read back", entries_read_back),
        ("reads are bounded", reads_are_bounded),
        ("writes outlive a crash", writes_outlive_a_crash),
        ("writes outlive a close", writes_outlive_a_close),
        ("truncate then append", truncate_then_append),
        ("truncate everything", truncate_everything),
        ("purge is inclusive", purge_is_inclusive),
        ("purge beyond the end", purge_beyond_the_end),
        ("an empty log begins anywhere above its purged id", empty_log_begins_anywhere),
        ("gaps and overlaps are refused", gaps_and_overlaps_are_refused),
        ("votes are replaced", votes_are_replaced),
        ("state rows", state_rows),
        ("checkpoints come in index order", checkpoints_in_index_order),
        ("lazy rows ride along", lazy_rows_ride_along),
        ("a removed group starts afresh", removed_group_starts_afresh),
        ("groups do not mix", groups_do_not_mix),
        ("large entries", large_entries),
        ("completions keep their order", completions_keep_their_order),
        ("unflushed entries can be read", unflushed_entries_can_be_read),
        ("a closed store refuses", closed_store_refuses),
        ("a crashed store refuses", crashed_store_refuses),
        ("a failed store refuses", failed_store_refuses),
    ];
    for (name, example) in examples {
        tracing::info!(name, "contract");
        example(&mut fixture());
    }
}

fn new_group_is_empty(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    let log = open(&*store, 1);
    assert_eq!(log.log_state(), LogState::default());
    assert_eq!(log.vote(), None);
    assert_eq!(log.state(StateKey::Committed), Ok(None));
    assert_eq!(log.health(), Health::Healthy);
    assert_eq!(seen(&*log, 0..10), Ok(vec![]));
    assert_eq!(store.groups(), [GroupId(1)]);
    assert_eq!(store.incarnation(), store.incarnation());
}

fn entries_read_back(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    let log = open(&*store, 1);
    let written = entries(1, 0..300, 700);
    for batch in written.chunks(7) {
        wait(|done| log.append(batch.to_vec(), done)).unwrap_or_else(unexpected);
    }
    assert_eq!(log.log_state(), LogState { purged: None, last: Some(id(1, 299)) });
    assert_eq!(seen(&*log, 0..u64::MAX), Ok(summaries(&written)));
    assert_eq!(seen(&*log, 100..103), Ok(summaries(&written[100..103])));
    assert_eq!(seen(&*log, 300..400), Ok(vec![]));
    assert_eq!(seen(&*log, 5..5), Ok(vec![]));
    if let Some(cached) = log.read_cached(299..300, usize::MAX) {
        assert_eq!(summaries(&cached), summaries(&written[299..]));
    }
}

fn reads_are_bounded(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    let log = open(&*store, 1);
    wait(|done| log.append(entries(1, 0..20, 1000), done)).unwrap_or_else(unexpected);
    let count = |max_bytes| {
        block_on(log.read(3..20, max_bytes)).map(|entries| {
            assert_eq!(entries[0].log_id.index, 3);
            entries.len()
        })
    };
    for _ in 0..2 {
        assert_eq!(count(0), Ok(1), "one entry, however large");
        assert_eq!(count(1999), Ok(1));
        assert_eq!(count(2000), Ok(2));
        assert_eq!(count(usize::MAX), Ok(17));
    }
}

fn writes_outlive_a_crash(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    let incarnation = store.incarnation();
    fill_group(&*open(&*store, 7));
    fixture.crash();
    let store = fixture.open();
    check_filled_group(&*open(&*store, 7));
    assert_eq!(store.incarnation(), incarnation);
    assert_eq!(store.groups(), [GroupId(7)]);
}

fn writes_outlive_a_close(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    fill_group(&*open(&*store, 7));
    block_on(store.close());
    for _ in 0..3 {
        let store = fixture.open();
        check_filled_group(&*open(&*store, 7));
        block_on(store.close());
    }
}

fn fill_group(log: &dyn GroupLog) {
    wait(|done| log.append(entries(1, 0..100, 900), done)).unwrap_or_else(unexpected);
    wait(|done| log.truncate_after(Some(79), done)).unwrap_or_else(unexpected);
    wait(|done| log.append(entries(2, 80..90, 900), done)).unwrap_or_else(unexpected);
    wait(|done| log.purge(id(1, 9), done)).unwrap_or_else(unexpected);
    wait(|done| log.save_vote(vote(3, 4), done)).unwrap_or_else(unexpected);
    let rows = vec![(StateKey::Snapshot, Some(Bytes::from_static(b"snapshot")))];
    wait(|done| log.put_state(rows, Some(done))).unwrap_or_else(unexpected);
}

fn check_filled_group(log: &dyn GroupLog) {
    assert_eq!(log.log_state(), LogState { purged: Some(id(1, 9)), last: Some(id(2, 89)) });
    let mut expected = entries(1, 10..80, 900);
    expected.extend(entries(2, 80..90, 900));
    assert_eq!(seen(log, 10..u64::MAX), Ok(summaries(&expected)));
    assert_eq!(seen(log, 9..20), Err(Error::Purged { first: 10 }));
    assert_eq!(log.vote(), Some(vote(3, 4)));
    assert_eq!(log.state(StateKey::Snapshot), Ok(Some(Bytes::from_static(b"snapshot"))));
}

fn truncate_then_append(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    let log = open(&*store, 1);
    log.append(entries(1, 0..10, 100), ignore());
    log.truncate_after(Some(4), ignore());
    assert_eq!(log.log_state().last, Some(id(1, 4)));
    log.append(entries(2, 5..8, 100), ignore());
    wait(|done| log.truncate_after(Some(50), done)).unwrap_or_else(unexpected);
    let mut expected = entries(1, 0..5, 100);
    expected.extend(entries(2, 5..8, 100));
    assert_eq!(seen(&*log, 0..100), Ok(summaries(&expected)));
    fixture.crash();
    let store = fixture.open();
    assert_eq!(seen(&*open(&*store, 1), 0..100), Ok(summaries(&expected)));
}

fn truncate_everything(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    let log = open(&*store, 1);
    log.append(entries(1, 0..10, 100), ignore());
    log.purge(id(1, 3), ignore());
    wait(|done| log.truncate_after(None, done)).unwrap_or_else(unexpected);
    assert_eq!(log.log_state(), LogState { purged: Some(id(1, 3)), last: Some(id(1, 3)) });
    assert_eq!(seen(&*log, 4..10), Ok(vec![]));
    wait(|done| log.append(entries(4, 4..6, 100), done)).unwrap_or_else(unexpected);
    assert_eq!(seen(&*log, 4..10), Ok(summaries(&entries(4, 4..6, 100))));
}

fn purge_is_inclusive(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    let log = open(&*store, 1);
    log.append(entries(1, 0..10, 100), ignore());
    wait(|done| log.purge(id(1, 4), done)).unwrap_or_else(unexpected);
    wait(|done| log.purge(id(1, 2), done)).unwrap_or_else(unexpected);
    assert_eq!(log.log_state(), LogState { purged: Some(id(1, 4)), last: Some(id(1, 9)) });
    assert_eq!(seen(&*log, 4..10), Err(Error::Purged { first: 5 }));
    assert_eq!(log.read_cached(4..10, usize::MAX), None);
    assert_eq!(seen(&*log, 5..10), Ok(summaries(&entries(1, 5..10, 100))));
    wait(|done| log.purge(id(1, 9), done)).unwrap_or_else(unexpected);
    assert_eq!(log.log_state(), LogState { purged: Some(id(1, 9)), last: Some(id(1, 9)) });
}

fn purge_beyond_the_end(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    let log = open(&*store, 1);
    log.append(entries(1, 0..10, 100), ignore());
    wait(|done| log.purge(id(5, 99), done)).unwrap_or_else(unexpected);
    let empty = LogState { purged: Some(id(5, 99)), last: Some(id(5, 99)) };
    assert_eq!(log.log_state(), empty);
    let refused = wait(|done| log.append(entries(5, 99..101, 100), done));
    let error = Error::NotContiguous { group: GroupId(1), expected: 100, actual: 99 };
    assert_eq!(refused, Err(error));
    fixture.crash();
    let store = fixture.open();
    let log = open(&*store, 1);
    assert_eq!(log.log_state(), empty);
    wait(|done| log.append(entries(5, 100..101, 100), done)).unwrap_or_else(unexpected);
    assert_eq!(seen(&*log, 100..200), Ok(summaries(&entries(5, 100..101, 100))));
}

fn empty_log_begins_anywhere(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    let log = open(&*store, 1);
    wait(|done| log.append(entries(1, 5..8, 100), done)).unwrap_or_else(unexpected);
    assert_eq!(log.log_state(), LogState { purged: None, last: Some(id(1, 7)) });
    assert_eq!(seen(&*log, 0..100), Ok(summaries(&entries(1, 5..8, 100))));
    fixture.crash();
    let store = fixture.open();
    assert_eq!(seen(&*open(&*store, 1), 0..100), Ok(summaries(&entries(1, 5..8, 100))));
}

fn gaps_and_overlaps_are_refused(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    let log = open(&*store, 1);
    wait(|done| log.append(entries(1, 0..3, 100), done)).unwrap_or_else(unexpected);
    for (from, actual) in [(4, 4), (2, 2)] {
        let refused = wait(|done| log.append(entries(1, from..from + 2, 100), done));
        let error = Error::NotContiguous { group: GroupId(1), expected: 3, actual };
        assert_eq!(refused, Err(error));
    }
    assert_eq!(seen(&*log, 0..100), Ok(summaries(&entries(1, 0..3, 100))));
}

fn votes_are_replaced(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    let log = open(&*store, 1);
    log.save_vote(vote(1, 1), ignore());
    assert_eq!(log.vote(), Some(vote(1, 1)));
    let committed = Vote { committed: true, ..vote(2, 9) };
    wait(|done| log.save_vote(committed, done)).unwrap_or_else(unexpected);
    fixture.crash();
    let store = fixture.open();
    assert_eq!(open(&*store, 1).vote(), Some(committed));
}

fn state_rows(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    let log = open(&*store, 1);
    let row = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    log.put_state(
        vec![(StateKey::Committed, row("a")), (StateKey::Replica, row(""))],
        Some(ignore()),
    );
    assert_eq!(log.state(StateKey::Committed), Ok(row("a")));
    wait(|done| log.put_state(vec![(StateKey::Committed, None)], Some(done)))
        .unwrap_or_else(unexpected);
    for _ in 0..2 {
        let store = fixture.open();
        let log = open(&*store, 1);
        assert_eq!(log.state(StateKey::Committed), Ok(None));
        assert_eq!(log.state(StateKey::Replica), Ok(row("")));
        assert_eq!(log.state(StateKey::Machine), Ok(None));
        block_on(store.close());
    }
}

fn checkpoints_in_index_order(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    let log = open(&*store, 1);
    for index in [300, 5, 70_000] {
        let value = Bytes::from(index.to_string());
        log.put_state(vec![(StateKey::Checkpoint(index), Some(value))], Some(ignore()));
    }
    wait(|done| log.put_state(vec![(StateKey::Checkpoint(5), None)], Some(done)))
        .unwrap_or_else(unexpected);
    let expected = [(300, Bytes::from("300")), (70_000, Bytes::from("70000"))];
    assert_eq!(log.checkpoints(), expected);
    fixture.crash();
    let store = fixture.open();
    assert_eq!(open(&*store, 1).checkpoints(), expected);
}

fn lazy_rows_ride_along(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    let log = open(&*store, 1);
    let row = Some(Bytes::from_static(b"7"));
    log.put_state(vec![(StateKey::Committed, row.clone())], None);
    assert_eq!(log.state(StateKey::Committed), Ok(row.clone()));
    wait(|done| log.save_vote(vote(1, 1), done)).unwrap_or_else(unexpected);
    fixture.crash();
    let store = fixture.open();
    let log = open(&*store, 1);
    assert_eq!(log.state(StateKey::Committed), Ok(row), "the vote was written after the row");
    let row = Some(Bytes::from_static(b"8"));
    log.put_state(vec![(StateKey::Committed, row.clone())], None);
    block_on(store.close());
    let store = fixture.open();
    assert_eq!(open(&*store, 1).state(StateKey::Committed), Ok(row), "closing writes the row");
}

fn removed_group_starts_afresh(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    let old = open(&*store, 7);
    fill_group(&*old);
    store.remove_group(GroupId(7), ignore());
    assert_eq!(store.groups(), []);
    assert_eq!(
        wait(|done| old.save_vote(vote(9, 9), done)),
        Err(Error::Removed { group: GroupId(7) })
    );
    let log = open(&*store, 7);
    assert_eq!((log.log_state(), log.vote()), (LogState::default(), None));
    assert_eq!(log.state(StateKey::Snapshot), Ok(None));
    wait(|done| log.append(entries(8, 0..3, 100), done)).unwrap_or_else(unexpected);
    fixture.crash();
    let store = fixture.open();
    let log = open(&*store, 7);
    assert_eq!(seen(&*log, 0..100), Ok(summaries(&entries(8, 0..3, 100))));
    assert_eq!((log.vote(), log.state(StateKey::Snapshot)), (None, Ok(None)));
    wait(|done| store.remove_group(GroupId(7), done)).unwrap_or_else(unexpected);
    fixture.crash();
    assert_eq!(fixture.open().groups(), []);
}

fn groups_do_not_mix(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    let logs: Vec<_> = (0..10).map(|group| open(&*store, group)).collect();
    for step in 0..50 {
        for (term, log) in (1..).zip(&logs) {
            log.append(entries(term, step..step + 1, 300), ignore());
        }
    }
    for (term, log) in (1..).zip(&logs) {
        wait(|done| log.purge(id(term, term), done)).unwrap_or_else(unexpected);
    }
    fixture.crash();
    let store = fixture.open();
    for term in 1..=10 {
        let log = open(&*store, term - 1);
        assert_eq!(seen(&*log, term + 1..100), Ok(summaries(&entries(term, term + 1..50, 300))));
    }
}

fn large_entries(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    let log = open(&*store, 1);
    // Each entry takes most of a segment of the smallest size that a fixture may use.
    let large = entries(1, 0..6, 40_000);
    log.append(large[..4].to_vec(), ignore());
    wait(|done| log.append(large[4..].to_vec(), done)).unwrap_or_else(unexpected);
    assert_eq!(seen(&*log, 0..10), Ok(summaries(&large)));
    fixture.crash();
    let store = fixture.open();
    assert_eq!(seen(&*open(&*store, 1), 0..10), Ok(summaries(&large)));
}

fn completions_keep_their_order(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    let log = open(&*store, 1);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = |step: u64| -> Completion {
        let seen = Arc::clone(&seen);
        Box::new(move |_| seen.lock().unwrap_or_else(PoisonError::into_inner).push(step))
    };
    for step in 0..200 {
        match step % 4 {
            0 => log.append(entries(1, step / 4..step / 4 + 1, 100), note(step)),
            1 => log.save_vote(vote(step, 1), note(step)),
            2 => log.append(entries(1, 9999..10_000, 100), note(step)),
            _ => log.put_state(vec![(StateKey::Machine, None)], Some(note(step))),
        }
    }
    wait(|done| log.save_vote(vote(999, 1), done)).unwrap_or_else(unexpected);
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(*seen, (0..200).collect::<Vec<u64>>(), "refusals keep the order of the queue");
}

fn unflushed_entries_can_be_read(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    let log = open(&*store, 1);
    for index in 0..500 {
        let entry = entries(1, index..index + 1, 200);
        log.append(entry.clone(), ignore());
        assert_eq!(log.log_state().last, Some(id(1, index)));
        assert_eq!(seen(&*log, index..index + 1), Ok(summaries(&entry)));
    }
}

fn closed_store_refuses(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    let log = open(&*store, 1);
    wait(|done| log.append(entries(1, 0..3, 100), done)).unwrap_or_else(unexpected);
    assert_eq!(store.check(), Ok(()));
    assert_eq!(store.groups(), [GroupId(1)], "`check` creates no group");
    block_on(store.close());
    block_on(store.close());
    assert_eq!(store.check(), Err(Error::Closed));
    assert_eq!(wait(|done| log.save_vote(vote(1, 1), done)), Err(Error::Closed));
    check_opens_no_group(&*store, |error| *error == Error::Closed);
}

fn crashed_store_refuses(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    let log = open(&*store, 1);
    wait(|done| log.append(entries(1, 0..3, 100), done)).unwrap_or_else(unexpected);
    fixture.crash();
    assert_eq!(wait(|done| log.save_vote(vote(1, 1), done)), Err(Error::Closed));
    check_opens_no_group(&*store, |error| *error == Error::Closed);
}

fn failed_store_refuses(fixture: &mut dyn Fixture) {
    let store = fixture.open();
    let log = open(&*store, 1);
    wait(|done| log.append(entries(1, 0..3, 100), done)).unwrap_or_else(unexpected);
    fixture.fail();
    let is_failed = |error: &Error| matches!(error, Error::Failed { .. });
    assert!(wait(|done| log.save_vote(vote(1, 1), done)).is_err_and(|error| is_failed(&error)));
    check_opens_no_group(&*store, is_failed);
}

/// Checks that a store that has ended opens neither group 1, which was open, nor a new group.
fn check_opens_no_group(store: &dyn LogStore, is_expected: impl Fn(&Error) -> bool) {
    assert!(store.check().is_err_and(|error| is_expected(&error)));
    for group in [1, 99] {
        let opened = store.group(GroupId(group)).map(|_| ());
        assert!(opened.as_ref().is_err_and(&is_expected), "group {group}: {opened:?}");
    }
    assert!(!store.holds(GroupId(99)), "a refusal creates no group");
}

/// Makes random writes to a few groups, with crashes and closes between them.
///
/// After each crash every group must be in the state that some prefix of its writes produces. The prefix must contain
/// every write that was completed. `mangle` is called between a crash and the next opening. It may change files in
/// any way in which a power loss can.
pub fn random_writes(
    fixture: &mut dyn Fixture,
    seed: u64,
    steps: usize,
    mut mangle: impl FnMut(&mut StdRng),
) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut trial = Trial { store: fixture.open(), groups: BTreeMap::new() };
    for _ in 0..steps {
        let group = GroupId(rng.random_range(0..4));
        match rng.random_range(0..100) {
            0..=1 => {
                fixture.crash();
                mangle(&mut rng);
                trial.store = fixture.open();
                trial.check_after_restart(seed);
            }
            2 => {
                block_on(trial.store.close());
                trial.groups.values_mut().for_each(History::settle);
                trial.store = fixture.open();
                trial.check_after_restart(seed);
            }
            3..=12 => trial.check_reads(group, &mut rng, seed),
            13..=16 => trial.wait(group),
            _ => trial.write(group, &mut rng),
        }
    }
    fixture.crash();
    mangle(&mut rng);
    trial.store = fixture.open();
    trial.check_after_restart(seed);
}

struct Trial {
    store: Arc<dyn LogStore>,
    groups: BTreeMap<GroupId, History>,
}

/// Writes of a group since its state was last known for certain.
#[derive(Default)]
struct History {
    certain: Model,
    since: Vec<Change>,
    /// Number of writes in `since` that were completed.
    completed: Arc<Mutex<usize>>,
}

impl History {
    fn model(&self, count: usize) -> Model {
        let mut model = self.certain.clone();
        self.since[..count].iter().for_each(|change| model.apply(change.clone()));
        model
    }

    fn settle(&mut self) {
        self.certain = self.model(self.since.len());
        self.since.clear();
        self.completed = Arc::default();
    }

    /// Completion for the write that is added next. When it is called, all writes up to that one are durable.
    fn completion(&self) -> Completion {
        let completed = Arc::clone(&self.completed);
        let count = self.since.len() + 1;
        Box::new(move |result| {
            assert_eq!(result, Ok(()), "write {count}");
            let mut completed = completed.lock().unwrap_or_else(PoisonError::into_inner);
            assert!(*completed < count, "write {count} completed after write {completed}");
            *completed = count;
        })
    }
}

impl Trial {
    fn write(&mut self, id: GroupId, rng: &mut StdRng) {
        let log = open(&*self.store, id.0);
        let history = self.groups.entry(id).or_default();
        let model = history.model(history.since.len());
        let change = random_change(&model, rng);
        let done = history.completion();
        match change.clone() {
            Change::Append(entries) => log.append(entries, done),
            Change::Vote(vote) => log.save_vote(vote, done),
            Change::Truncate(from) => log.truncate_after(from.checked_sub(1), done),
            Change::Purge(up_to) => log.purge(up_to, done),
            Change::State(rows) => {
                log.put_state(rows, Some(done).filter(|_| rng.random_bool(0.5)));
            }
            Change::Remove => self.store.remove_group(id, done),
        }
        history.since.push(change);
    }

    fn wait(&mut self, id: GroupId) {
        let log = open(&*self.store, id.0);
        let history = self.groups.entry(id).or_default();
        let vote = vote(history.since.len() as u64, 1);
        let done = history.completion();
        wait(|report| {
            log.save_vote(
                vote,
                Box::new(move |result| {
                    done(result.clone());
                    report(result);
                }),
            );
        })
        .unwrap_or_else(unexpected);
        history.since.push(Change::Vote(vote));
    }

    fn check_reads(&self, id: GroupId, rng: &mut StdRng, seed: u64) {
        let Some(history) = self.groups.get(&id) else { return };
        let log = open(&*self.store, id.0);
        let model = history.model(history.since.len());
        assert_eq!(observe(&*log), model_view(&model), "seed {seed} group {id}");
        let first = model.bounds.first();
        let start = rng.random_range(first..=model.bounds.next());
        let end = rng.random_range(start..=start + 20);
        let max_bytes = rng.random_range(0..20_000);
        let expected = model.read(start..end, max_bytes);
        let read = block_on(log.read(start..end, max_bytes)).map(|entries| summaries(&entries));
        assert_eq!(read, Ok(summaries(&expected)), "seed {seed}");
    }

    fn check_after_restart(&mut self, seed: u64) {
        for (id, history) in &mut self.groups {
            let log = open(&*self.store, id.0);
            assert_eq!(log.health(), Health::Healthy, "seed {seed} group {id}");
            let seen = observe(&*log);
            let completed = *history.completed.lock().unwrap_or_else(PoisonError::into_inner);
            let survivor = (completed..=history.since.len())
                .map(|count| history.model(count))
                .find(|model| model_view(model) == seen);
            let Some(survivor) = survivor else {
                let expected = model_view(&history.model(completed));
                assert_eq!(
                    seen, expected,
                    "seed {seed} group {id}: no prefix of its writes gives this state"
                );
                return;
            };
            *history = History { certain: survivor, ..History::default() };
        }
    }
}

/// State of a group as a caller sees it.
type View = (LogState, Option<Vote>, Vec<(StateKey, Bytes)>, Vec<Summary>);

fn observe(log: &dyn GroupLog) -> View {
    let state = log.log_state();
    let first = state.purged.map_or(0, |purged| purged.index + 1);
    let keys = [StateKey::Committed, StateKey::Snapshot];
    let row = |key| log.state(key).unwrap_or_else(unexpected);
    let mut rows: Vec<_> =
        keys.into_iter().filter_map(|key| row(key).map(|value| (key, value))).collect();
    let checkpoints = log.checkpoints().into_iter();
    rows.extend(checkpoints.map(|(index, value)| (StateKey::Checkpoint(index), value)));
    let entries = seen(log, first..u64::MAX).unwrap_or_else(unexpected);
    (state, log.vote(), rows, entries)
}

fn model_view(model: &Model) -> View {
    let rows = model.rows.iter().map(|(key, value)| (*key, value.clone())).collect();
    let entries: Vec<Entry> = model.entries.values().cloned().collect();
    (model.bounds.state(), model.vote, rows, summaries(&entries))
}

fn random_change(model: &Model, rng: &mut StdRng) -> Change {
    let (first, next) = (model.bounds.first(), model.bounds.next());
    let term = model.bounds.state().last.map_or(1, |last| last.term);
    match rng.random_range(0..20) {
        0 => Change::Truncate(rng.random_range(first..=next)),
        1..=2 => {
            let index = rng.random_range(first.saturating_sub(1)..=next + 1);
            let term = model.bounds.term_of(index).unwrap_or(term);
            Change::Purge(LogId { term, index })
        }
        3 => Change::Vote(vote(rng.random_range(0..100), rng.random_range(0..3))),
        4..=6 => {
            let rows = (0..rng.random_range(1..4)).map(|_| random_row(rng));
            Change::State(rows.collect())
        }
        7 if rng.random_bool(0.2) => Change::Remove,
        _ => {
            let term = term + u64::from(rng.random_bool(0.05));
            let count = rng.random_range(1..8);
            let bytes = if rng.random_bool(0.05) { 30_000 } else { rng.random_range(0..2500) };
            let salt: u8 = rng.random();
            let entries = (next..next + count).map(|index| Entry {
                log_id: LogId { term, index },
                payload: payload(term, index, bytes, salt),
            });
            Change::Append(entries.collect())
        }
    }
}

fn random_row(rng: &mut StdRng) -> (StateKey, Option<Bytes>) {
    let key = match rng.random_range(0..4) {
        0 => StateKey::Committed,
        1 => StateKey::Snapshot,
        _ => StateKey::Checkpoint(rng.random_range(0..20)),
    };
    let value = rng.random_bool(0.8).then(|| Bytes::from(vec![rng.random(); 10]));
    (key, value)
}

/// Entries of one term. Each payload depends on term and index.
#[must_use]
pub fn entries(term: u64, indexes: Range<u64>, payload_bytes: usize) -> Vec<Entry> {
    let entry = |index| Entry {
        log_id: LogId { term, index },
        payload: payload(term, index, payload_bytes, 0),
    };
    indexes.map(entry).collect()
}

fn payload(term: u64, index: u64, bytes: usize, salt: u8) -> Bytes {
    let seed = term.wrapping_mul(1_000_003).wrapping_add(index).to_le_bytes();
    let byte = |at: usize| seed[at % 8].wrapping_add((at / 8).to_le_bytes()[0]).wrapping_add(salt);
    (0..bytes).map(byte).collect()
}

/// Opens a group. Panics if that fails.
#[must_use]
pub fn open(store: &dyn LogStore, group: u64) -> Arc<dyn GroupLog> {
    store.group(GroupId(group)).unwrap_or_else(unexpected)
}

/// Makes a write and waits for its completion.
///
/// # Errors
/// The error that the completion got.
pub fn wait(write: impl FnOnce(Completion)) -> Result<(), Error> {
    let (sender, receiver) = mpsc::channel();
    write(Box::new(move |result| drop(sender.send(result))));
    receiver.recv().unwrap_or(Err(Error::Closed))
}

/// Reads entries without a limit of bytes.
///
/// # Errors
/// As [`GroupLog::read`].
pub fn read(log: &dyn GroupLog, range: Range<u64>) -> Result<Vec<Entry>, Error> {
    block_on(log.read(range, usize::MAX))
}

/// Summary of an entry for failure messages: id, payload bytes, checksum.
type Summary = (LogId, usize, u32);

fn summaries(entries: &[Entry]) -> Vec<Summary> {
    let summary =
        |entry: &Entry| (entry.log_id, entry.payload.len(), crc32c::crc32c(&entry.payload));
    entries.iter().map(summary).collect()
}

fn seen(log: &dyn GroupLog, range: Range<u64>) -> Result<Vec<Summary>, Error> {
    read(log, range).map(|entries| summaries(&entries))
}

/// Runs a future on a runtime that all tests of the suite share.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let build = || Builder::new_multi_thread().worker_threads(1).build();
    RUNTIME.get_or_init(|| build().unwrap_or_else(unexpected)).block_on(future)
}

/// A completion that ignores its result.
#[must_use]
pub fn ignore() -> Completion {
    Box::new(|_| {})
}

fn id(term: u64, index: u64) -> LogId {
    LogId { term, index }
}

fn vote(term: u64, replica: u64) -> Vote {
    Vote { term, replica: ReplicaId(replica), committed: false }
}

#[expect(clippy::panic, reason = "a test suite fails by panicking")]
fn unexpected<T>(error: impl std::fmt::Display) -> T {
    panic!("unexpected error: {error}")
}
