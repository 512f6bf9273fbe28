//! `chaos`: starts a real cluster, injects faults from a seed, records every call, and judges the history.
//!
//! Start reading at `run.rs`. `workload.rs` and `fault.rs` list what can be run.

mod admin;
mod campaign;
mod certificates;
mod client_hosts;
mod cluster;
mod fault;
mod faults;
mod field;
mod final_reads;
mod kinesis;
mod native;
mod nemesis;
mod observer;
mod operations;
mod plan;
mod planted;
mod recorder;
mod report;
mod reshard;
mod run;
mod scene;
mod session;
mod soak;
mod workload;
mod workloads;

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chaos_checkers::history::read_history;
use chaos_checkers::{Judgement, Severity, Verdict, check};
use chaos_lab::Lab;
use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::campaign::CampaignArguments;
use crate::report::About;
use crate::run::RunSettings;

/// Starts a cluster, injects faults, and checks that it keeps its promises.
#[derive(Debug, Parser)]
#[command(name = "chaos", after_help = lists())]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs once, and writes the history, the report and the summary. Ends with 1 if the cluster broke a promise, and
    /// with 2 if the history does not prove enough
    Run(RunArguments),
    /// Runs the server with planted bugs. Ends with an error if one is not found
    Planted {
        /// `all`, `short`, or the name of a bug
        #[arg(long, default_value = "all")]
        bugs: String,
        /// The program `anabranch-planted`
        #[arg(long)]
        binary: PathBuf,
        /// Folder of the results
        #[arg(long, default_value = "chaos-results/planted")]
        out: PathBuf,
    },
    /// Runs one seed after the other, and adds a line for each to a file. Goes on where it stopped
    Campaign(CampaignArguments),
    /// Prints the log of a campaign as Markdown: totals, and what each kind of fault cost
    Results {
        /// The log
        #[arg(default_value = "docs/reliability.jsonl")]
        log: PathBuf,
    },
    /// Runs for hours, and fails if memory, descriptors, threads or disks of a node grow
    Soak(RunArguments),
    /// Judges a history again, from a file of JSON lines
    Check {
        /// The file history.jsonl of a run
        history: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct RunArguments {
    /// Seed of everything that is random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Nominal length
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Number of nodes, 1 to 9
    #[arg(long, default_value_t = 3)]
    nodes: u8,
    /// Faults, separated by commas: names, `default`, `all`, or `none`
    #[arg(long, default_value = "default")]
    faults: String,
    /// Workloads, separated by commas: names or `all`
    #[arg(long, default_value = "all")]
    workloads: String,
    /// The program `anabranch`
    #[arg(long)]
    binary: PathBuf,
    /// Folder of the results
    #[arg(long, default_value = "chaos-results")]
    out: PathBuf,
    /// Run on loopback addresses behind a fault proxy, as it is done without root. Faults of power, of whole disks and
    /// of single packets are left out
    #[arg(long)]
    loopback: bool,
}

impl RunArguments {
    fn settings(self) -> Result<RunSettings> {
        ensure!(self.minutes > 0.0 && self.minutes < 10_000.0, "MINUTES: must be above 0");
        let obstacle = Lab::obstacle();
        let settings = RunSettings {
            seed: self.seed,
            length: Duration::from_secs_f64(self.minutes * 60.0),
            nodes: self.nodes,
            faults: self.faults,
            workloads: self.workloads,
            binary: std::fs::canonicalize(&self.binary)?,
            out: self.out,
            loopback: self.loopback || obstacle.is_some(),
            environment: planted::environment(),
        };
        if settings.loopback {
            let why = obstacle.map(|obstacle| format!("{obstacle}: ")).unwrap_or_default();
            println!("{why}{}", settings.lab()?);
        }
        Ok(settings)
    }
}

/// The lists of `--help`.
fn lists() -> String {
    let mut text = String::from("Workloads:\n");
    for kind in workload::all() {
        text += &format!("  {:20} {}\n", kind.name, kind.about);
    }
    text += "\nFaults:\n";
    for kind in fault::all() {
        let nodes = (kind.least_nodes > 3).then(|| format!("{} nodes", kind.least_nodes));
        let root = kind.needs_root.then(|| "root".to_owned());
        let needs: Vec<_> = nodes.into_iter().chain(root).collect();
        let needs = match needs[..] {
            [] => String::new(),
            _ => format!(" (needs {})", needs.join(", ")),
        };
        text += &format!("  {:20} {}{needs}\n", kind.name, kind.about);
    }
    text
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let verdict = match arguments.command {
        Command::Run(arguments) => run_once(arguments)?,
        Command::Planted { bugs, binary, out } => {
            planted::find(&bugs, &binary, &out)?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Campaign(arguments) => {
            campaign::run(&arguments)?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Results { log } => {
            print!("{}", campaign::results(&log)?);
            return Ok(ExitCode::SUCCESS);
        }
        Command::Soak(arguments) => {
            let settings = arguments.settings()?;
            runtime()?.block_on(run::soak(&settings))?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Check { history } => {
            let file = File::open(&history).with_context(|| history.display().to_string())?;
            let path = history.display();
            let history = read_history(BufReader::new(file)).with_context(|| path.to_string())?;
            ensure!(!history.events().is_empty(), "{path}: the history has no event");
            let verdict = check(&history);
            print_findings(&verdict);
            verdict
        }
    };
    Ok(exit_code(verdict.verdict))
}

/// Exit code of a judgement.
fn exit_code(judgement: Judgement) -> ExitCode {
    match judgement {
        Judgement::Valid => ExitCode::SUCCESS,
        Judgement::Invalid => ExitCode::from(1),
        Judgement::Unknown => ExitCode::from(2),
    }
}

/// One thread, which lives in the network of the harness. Clients have threads of their own.
fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn run_once(arguments: RunArguments) -> Result<Verdict> {
    let minutes = arguments.minutes;
    let settings = arguments.settings()?;
    let history = runtime()?.block_on(run::run(&settings))?;
    let verdict = check(&history);
    let about = About {
        seed: settings.seed,
        minutes,
        nodes: settings.nodes,
        faults: settings.faults.clone(),
        workloads: settings.workloads.clone(),
        lab: planted::note(&settings)
            .into_iter()
            .chain([settings.lab()?])
            .collect::<Vec<_>>()
            .join(". "),
        command: format!(
            "make chaos SEED={} MINUTES={minutes} NODES={} FAULTS={} WORKLOADS={}{}",
            settings.seed,
            settings.nodes,
            settings.faults,
            settings.workloads,
            if settings.loopback { " ARGS=\"run --loopback\"" } else { "" }
        ),
    };
    report::write(&settings.out, &about, &history, &verdict)?;
    print_findings(&verdict);
    println!("report: {}", settings.out.join("report.html").display());
    Ok(verdict)
}

/// Prints every finding that is more than a figure, and the verdict.
fn print_findings(verdict: &Verdict) {
    for finding in verdict.findings.iter().filter(|finding| finding.severity != Severity::Report) {
        println!("{:?} {:?}: {}", finding.rule, finding.severity, finding.message);
    }
    let counts = &verdict.counts;
    let begun: u64 = counts.faults.values().map(|fault| fault.begun).sum();
    println!(
        "{}: {} events, {} records acknowledged, {begun} faults",
        report::word(verdict.verdict),
        counts.events,
        counts.records.ok
    );
}
