//! Runs many seeds, in several processes side by side.
//!
//! Only one run may be under way in a process (`seeding.rs`), so each worker is a process: the same program with
//! `--worker`. Worker `n` of `k` runs every `k`-th seed, and prints one line for each. The first seed that fails ends
//! the campaign.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use crate::seeding::seeded;
use crate::simulation::{Plan, run};

/// The line that a worker prints for a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The seed.
    pub seed: u64,
    /// Simulated milliseconds.
    pub millis: u64,
    /// Simulated milliseconds from the last heal until all was well.
    pub recovery_millis: u64,
    /// Entries that were applied.
    pub entries: u64,
    /// Leaders that there were.
    pub elections: u64,
    /// Events of the history.
    pub events: u64,
    /// Why the run failed; empty if it did not.
    pub failure: String,
}

impl Line {
    /// Runs a seed on a thread of its own.
    pub fn of(seed: u64, plan: Plan) -> Self {
        let count = |number: usize| number as u64;
        match seeded(seed, move || run(seed, plan)) {
            Ok(run) => Self {
                seed,
                millis: run.millis,
                recovery_millis: run.recovery_millis,
                entries: count(run.entries),
                elections: count(run.elections),
                events: count(run.events),
                failure: run.failure.unwrap_or_default(),
            },
            Err(panic) => Self {
                seed,
                millis: 0,
                recovery_millis: 0,
                entries: 0,
                elections: 0,
                events: 0,
                failure: format!("a panic: {panic}"),
            },
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (numbers, failure) = text.split_once('|')?;
        let mut numbers = numbers.split(' ').map(|number| number.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(Self {
            seed: next()?,
            millis: next()?,
            recovery_millis: next()?,
            entries: next()?,
            elections: next()?,
            events: next()?,
            failure: failure.replace("\\n", "\n"),
        })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, millis, recovery_millis, entries, elections, events, failure } = self;
        let failure = failure.replace('\n', "\\n");
        write!(f, "{seed} {millis} {recovery_millis} {entries} {elections} {events}|{failure}")
    }
}

/// The findings of a campaign.
#[derive(Debug, Default)]
pub struct Totals {
    /// Seeds that held.
    pub held: u64,
    /// Simulated milliseconds.
    pub millis: u64,
    /// Events of all histories.
    pub events: u64,
    /// Leaders that there were.
    pub elections: u64,
    /// The longest recovery, in simulated milliseconds, and its seed.
    pub longest_recovery: (u64, u64),
    /// The seed that failed first, if one did.
    pub failed: Option<Line>,
}

/// Runs `seeds` in `workers` processes. `arguments` are those of the worker, without the seeds.
///
/// # Errors
/// If a worker can't be started, or ends without a result.
pub fn campaign(
    seeds: Range<u64>,
    workers: u64,
    arguments: &[String],
) -> Result<Totals, std::io::Error> {
    let mut children = Vec::new();
    let (lines, received) = mpsc::channel();
    for worker in 0..workers {
        let mut child = start(&seeds, worker, workers, arguments)?;
        let output = child.stdout.take().expect("the output is a pipe");
        let lines = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _campaign_is_over = lines.send(line);
            }
        });
        children.push(child);
    }
    drop(lines);
    let totals = sum_up(received);
    for mut child in children {
        let _may_have_ended = child.kill();
        child.wait()?;
    }
    let expected = seeds.end.saturating_sub(seeds.start);
    if totals.failed.is_none() && totals.held < expected {
        return Err(std::io::Error::other("a worker ended before its last seed"));
    }
    Ok(totals)
}

fn start(
    seeds: &Range<u64>,
    worker: u64,
    workers: u64,
    arguments: &[String],
) -> Result<Child, std::io::Error> {
    Command::new(std::env::current_exe()?)
        .arg("--worker")
        .arg(format!("{worker}/{workers}"))
        .arg("--seeds")
        .arg(format!("{}..{}", seeds.start, seeds.end))
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
}

fn sum_up(lines: mpsc::Receiver<String>) -> Totals {
    let mut totals = Totals::default();
    for line in lines {
        let Some(line) = Line::parse(&line) else { continue };
        totals.millis += line.millis;
        totals.events += line.events;
        totals.elections += line.elections;
        totals.longest_recovery = totals.longest_recovery.max((line.recovery_millis, line.seed));
        if !line.failure.is_empty() {
            totals.failed = Some(line);
            break;
        }
        totals.held += 1;
    }
    totals
}
