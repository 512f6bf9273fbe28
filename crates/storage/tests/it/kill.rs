//! A process that is killed at any moment loses no write that it reported as completed.
//!
//! The test starts its own binary again as the writer, with the directory in an environment variable.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
};

use anabranch_storage::{
    Completion, Entry, Health, SegmentStore, StorageSettings,
    contract::{block_on, open},
};
use anabranch_types::LogId;
use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::fixtures::{directory, small};

const DIRECTORY: &str = "ANABRANCH_KILL_TEST_DIRECTORY";
const SEED: &str = "ANABRANCH_KILL_TEST_SEED";
const GROUPS: u64 = 5;
const ROUNDS: u64 = 100;

fn settings() -> StorageSettings {
    StorageSettings { cache_bytes: 64 << 10, ..small() }
}

/// State of a group as the writer and the parent see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Index of each entry, and the checksum of its payload.
    entries: BTreeMap<u64, u32>,
    purged: Option<u64>,
}

/// Output of the writer about one group: each write before it was made, and the number of completed writes.
#[derive(Default)]
struct Report {
    writes: Vec<String>,
    completed: usize,
}

impl Seen {
    /// Applies a line: `append INDEX:CRC …`, `truncate FROM` or `purge INDEX`.
    fn apply(&mut self, write: &str) {
        let mut words = write.split(' ');
        let verb = words.next().unwrap();
        for word in words {
            match (verb, word.split_once(':')) {
                ("append", Some((index, crc))) => {
                    self.entries.insert(index.parse().unwrap(), crc.parse().unwrap());
                }
                ("truncate", None) => drop(self.entries.split_off(&word.parse().unwrap())),
                ("purge", None) => {
                    let index = word.parse().unwrap();
                    self.purged = Some(index);
                    self.entries = self.entries.split_off(&(index + 1));
                }
                _ => unreachable!("{write}"),
            }
        }
    }
}

/// The writer. In an ordinary test run it returns at once.
#[test]
fn writer_that_the_kill_test_runs() {
    let Ok(dir) = env::var(DIRECTORY) else { return };
    let seed: u64 = env::var(SEED).unwrap().parse().unwrap();
    let store = SegmentStore::open(dir, settings()).unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut term = 1 + seed * 100_000;
    let window = Arc::new((Mutex::new(0_u32), Condvar::new()));
    loop {
        let group = rng.random_range(0..GROUPS);
        let log = open(&*store, group);
        let state = log.log_state();
        let next = state.last.map_or(0, |last| last.index + 1);
        let first = state.purged.map_or(0, |purged| purged.index + 1);
        let counted = Arc::clone(&window);
        *window.0.lock().unwrap() += 1;
        let done: Completion = Box::new(move |result| {
            result.unwrap();
            say(&format!("{group} completed"));
            *counted.0.lock().unwrap() -= 1;
            counted.1.notify_one();
        });
        match rng.random_range(0..20) {
            0 if next > first => {
                let from = rng.random_range(first.max(next.saturating_sub(5))..next);
                term += 1;
                say(&format!("{group} truncate {from}"));
                log.truncate_after(from.checked_sub(1), done);
            }
            1..=2 if next > first + 60 => {
                let index = next - 50;
                let term = block_on(log.read(index..index + 1, 0)).unwrap()[0].log_id.term;
                say(&format!("{group} purge {index}"));
                log.purge(LogId { term, index }, done);
            }
            _ => {
                let entries: Vec<Entry> = (next..next + rng.random_range(1..5))
                    .map(|index| Entry {
                        log_id: LogId { term, index },
                        payload: Bytes::from(vec![rng.random(); rng.random_range(0..4000)]),
                    })
                    .collect();
                let mut plan = format!("{group} append");
                for entry in &entries {
                    let crc = crc32c::crc32c(&entry.payload);
                    plan += &format!(" {}:{crc}", entry.log_id.index);
                }
                say(&plan);
                log.append(entries, done);
            }
        }
        let waiting = window.0.lock().unwrap();
        drop(window.1.wait_while(waiting, |count| *count > 30).unwrap());
    }
}

/// Writes a line in one call, so that the lines of two threads do not mix.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

#[test]
fn nothing_reported_is_lost_when_the_process_is_killed() {
    let dir = directory();
    let mut rng = StdRng::seed_from_u64(7);
    let mut before = found(dir.path());
    for round in 0..ROUNDS {
        let mut child = writer(dir.path(), round);
        let report = listen(&mut child, rng.random_range(1..800));
        let after = found(dir.path());
        for (group, seen) in &after {
            check(&before[group], report.get(group).unwrap_or(&Report::default()), seen, round);
        }
        before = after;
    }
}

fn writer(dir: &Path, seed: u64) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "kill::writer_that_the_kill_test_runs", "--nocapture", "--quiet"])
        .env(DIRECTORY, dir)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Reads `lines` lines, kills the writer, and reads the rest of its output.
fn listen(child: &mut Child, lines: usize) -> BTreeMap<u64, Report> {
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut report: BTreeMap<u64, Report> = BTreeMap::new();
    let mut line = String::new();
    let mut count = 0;
    while reader.read_line(&mut line).unwrap() > 0 {
        if let Some((group, write)) = parse(&line) {
            count += 1;
            let report = report.entry(group).or_default();
            match write {
                "completed" => report.completed += 1,
                write => report.writes.push(write.to_owned()),
            }
        }
        line.clear();
        if count == lines {
            child.kill().unwrap();
        }
    }
    assert!(count >= lines, "the writer was not killed but ended");
    child.wait().unwrap();
    report
}

/// Parses a complete line of the writer. `None` for the output of the test harness and for a last line that is
/// incomplete.
fn parse(line: &str) -> Option<(u64, &str)> {
    let (group, write) = line.strip_suffix('\n')?.split_once(' ')?;
    let known = ["completed", "append ", "truncate ", "purge "];
    known.iter().any(|verb| write.starts_with(verb)).then_some((group.parse().ok()?, write))
}

/// The content of a store.
fn found(dir: &Path) -> BTreeMap<u64, Seen> {
    let store = SegmentStore::open(dir, settings()).unwrap();
    let groups = (0..GROUPS).map(|group| {
        let log = open(&*store, group);
        assert_eq!(log.health(), Health::Healthy);
        let purged = log.log_state().purged.map(|purged| purged.index);
        let first = purged.map_or(0, |index| index + 1);
        let entries = block_on(log.read(first..u64::MAX, usize::MAX)).unwrap();
        let last = entries.last().map(|entry| entry.log_id).or(log.log_state().purged);
        assert_eq!(last, log.log_state().last, "group {group}");
        let entries = entries.iter().map(|e| (e.log_id.index, crc32c::crc32c(&e.payload)));
        (group, Seen { entries: entries.collect(), purged })
    });
    let groups = groups.collect();
    store.abort();
    groups
}

/// Checks that the group's state is what some prefix of its writes produces, and that the prefix contains every
/// completed write.
fn check(before: &Seen, report: &Report, seen: &Seen, round: u64) {
    // An append that was not completed may survive in part, so each of its entries is a step.
    let steps = |writes: &[String]| writes.iter().flat_map(|write| steps_of(write)).collect();
    let all: Vec<String> = steps(&report.writes);
    let completed: Vec<String> = steps(&report.writes[..report.completed]);
    let mut state = before.clone();
    let mut kept = None;
    for count in 0..=all.len() {
        if state == *seen {
            kept = Some(count);
        }
        if let Some(step) = all.get(count) {
            state.apply(step);
        }
    }
    assert!(
        kept >= Some(completed.len()),
        "round {round}: {} of {} steps completed, {kept:?} kept; then came {:?}",
        completed.len(),
        all.len(),
        &all[completed.len()..],
    );
}

fn steps_of(write: &str) -> Vec<String> {
    let (verb, arguments) = write.split_once(' ').unwrap();
    arguments.split(' ').map(|argument| format!("{verb} {argument}")).collect()
}
