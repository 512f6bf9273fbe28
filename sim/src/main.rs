//! The program `sim`: runs seeds of the simulation.

use std::io::Write;
use std::ops::Range;
use std::process::ExitCode;
use std::str::FromStr;
use std::thread::available_parallelism;
use std::time::Duration;

use anabranch_sim::campaign::{Line, campaign};
use anabranch_sim::scenario::Scenario;
use anabranch_sim::seeding::seeded;
use anabranch_sim::simulation::{Plan, Run, run};
use clap::Parser;
use tracing_subscriber::EnvFilter;

/// Simulates clusters under faults. One seed gives one history, byte for byte.
#[derive(Parser)]
struct Arguments {
    /// Runs one seed.
    #[arg(long, conflicts_with_all = ["seeds", "scenario"])]
    seed: Option<u64>,
    /// Runs the seeds A to B, without B, and stops at the first one that fails.
    #[arg(long, value_name = "A..B", default_value = "1..1001")]
    seeds: Seeds,
    /// Runs a named scenario. `list` shows all.
    #[arg(long)]
    scenario: Option<String>,
    /// Prints the history of the seed or scenario, as JSON lines.
    #[arg(long)]
    trace: bool,
    /// Runs the seed twice in this process, and compares the histories.
    #[arg(long)]
    twice: bool,
    /// Number of nodes. By default three, and five for every fifth seed.
    #[arg(long, value_parser = clap::value_parser!(u64).range(3..=7))]
    nodes: Option<u64>,
    /// Simulated seconds in which clients work and faults come.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Makes no faults.
    #[arg(long)]
    calm: bool,
    /// Processes side by side. By default one for each processor.
    #[arg(long)]
    jobs: Option<u64>,
    /// This process runs every K-th seed, from the N-th on.
    #[arg(long, hide = true, value_name = "N/K")]
    worker: Option<Share>,
}

#[derive(Clone, Debug)]
struct Seeds(Range<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = text.split_once("..").ok_or("must be A..B")?;
        let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
        Ok(Self(number(range.0)?..number(range.1)?))
    }
}

#[derive(Clone, Copy, Debug)]
struct Share {
    worker: u64,
    workers: u64,
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (worker, workers) = text.split_once('/').ok_or("must be N/K")?;
        let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
        Ok(Self { worker: number(worker)?, workers: number(workers)?.max(1) })
    }
}

impl Arguments {
    fn plan(&self, seed: u64) -> Plan {
        let plan = Plan::of(seed);
        Plan {
            nodes: self.nodes.unwrap_or(plan.nodes),
            length: Duration::from_secs(self.seconds),
            faults: !self.calm,
            expiry: plan.expiry && !self.calm,
        }
    }

    /// The arguments of a worker.
    fn of_worker(&self) -> Vec<String> {
        let mut arguments = vec!["--seconds".to_owned(), self.seconds.to_string()];
        if let Some(nodes) = self.nodes {
            arguments.extend(["--nodes".to_owned(), nodes.to_string()]);
        }
        if self.calm {
            arguments.push("--calm".to_owned());
        }
        arguments
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if std::env::var_os(EnvFilter::DEFAULT_ENV).is_some() {
        let filter = EnvFilter::from_default_env();
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false)
            .with_writer(std::io::stderr)
            .init();
    }
    let Seeds(seeds) = arguments.seeds.clone();
    if let Some(Share { worker, workers }) = arguments.worker {
        work(&arguments, seeds, worker, workers);
        return ExitCode::SUCCESS;
    }
    match (&arguments.scenario, arguments.seed) {
        (Some(name), _) => run_scenario(&arguments, name),
        (None, Some(seed)) => run_seed(&arguments, seed),
        (None, None) => run_seeds(&arguments, seeds),
    }
}

fn work(arguments: &Arguments, seeds: Range<u64>, worker: u64, workers: u64) {
    for seed in seeds.filter(|seed| seed % workers == worker) {
        let line = Line::of(seed, arguments.plan(seed));
        println!("{line}");
        if !line.failure.is_empty() {
            return;
        }
    }
}

fn run_seed(arguments: &Arguments, seed: u64) -> ExitCode {
    let plan = arguments.plan(seed);
    let result = seeded(seed, move || run(seed, plan));
    if arguments.twice {
        let again = seeded(seed, move || run(seed, plan));
        let history =
            |result: &Result<Run, String>| result.as_ref().ok().map(|run| run.history.clone());
        if history(&result) != history(&again) {
            eprintln!("seed {seed}: two runs have two histories");
            return ExitCode::FAILURE;
        }
    }
    show(arguments, &format!("seed {seed}"), result)
}

fn run_scenario(arguments: &Arguments, name: &str) -> ExitCode {
    let Some(scenario) = Scenario::named(name) else {
        for scenario in Scenario::ALL {
            eprintln!("{}", scenario.name());
        }
        return if name == "list" { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    };
    show(arguments, name, seeded(0, move || scenario.run()))
}

/// Prints the history if it is wanted, and how the run went.
fn show(arguments: &Arguments, name: &str, result: Result<Run, String>) -> ExitCode {
    let run = match result {
        Ok(run) => run,
        Err(panic) => {
            eprintln!("{name}: a panic: {panic}");
            return ExitCode::FAILURE;
        }
    };
    if arguments.trace && std::io::stdout().write_all(&run.history).is_err() {
        return ExitCode::FAILURE;
    }
    let Run { millis, recovery_millis, events, entries, elections, .. } = run;
    eprintln!(
        "{name}: {millis} ms, recovery {recovery_millis} ms, {events} events, {entries} entries, {elections} leaders"
    );
    match run.failure {
        Some(failure) => {
            eprintln!("{name}: FAILED: {failure}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

fn run_seeds(arguments: &Arguments, seeds: Range<u64>) -> ExitCode {
    let cores = available_parallelism().map_or(1, |cores| cores.get() as u64);
    let jobs = arguments.jobs.unwrap_or(cores).max(1);
    let (began, number) = (real_seconds(), seeds.end.saturating_sub(seeds.start));
    let totals = match campaign(seeds, jobs, &arguments.of_worker()) {
        Ok(totals) => totals,
        Err(error) => {
            eprintln!("sim: {error}");
            return ExitCode::FAILURE;
        }
    };
    let took = real_seconds() - began;
    let (recovery, slowest) = totals.longest_recovery;
    println!(
        "{} of {number} seeds held: {:.0} seeds a minute on {jobs} processes, {:.0} s simulated in {took:.0} s, {} events, \
         {} leaders, longest recovery {recovery} ms (seed {slowest})",
        totals.held,
        totals.held as f64 * 60.0 / took.max(0.001),
        totals.millis as f64 / 1000.0,
        totals.events,
        totals.elections,
    );
    match totals.failed {
        Some(Line { seed, failure, .. }) => {
            println!("seed {seed} FAILED: {failure}");
            println!("once more, with its history: sim --seed {seed} --trace");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

/// Seconds by the real clock. It is read by a system call, because the clock of libc stands still here.
fn real_seconds() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}
