//! `chaos`: starts a real cluster, injects faults from a seed, records every call, and judges the history.
//!
//! Start reading at `run.rs`. `workload.rs` and `fault.rs` list what can be run.

mod admin;
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
mod recorder;
mod reshard;
mod run;
mod scene;
mod session;
mod workload;
mod workloads;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

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
    /// Runs once, and writes the history, the report and the summary
    Run(RunArguments),
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
}

impl RunArguments {
    fn settings(self) -> Result<RunSettings> {
        ensure!(self.minutes > 0.0 && self.minutes < 10_000.0, "MINUTES: must be above 0");
        Ok(RunSettings {
            seed: self.seed,
            length: Duration::from_secs_f64(self.minutes * 60.0),
            nodes: self.nodes,
            faults: self.faults,
            workloads: self.workloads,
            binary: std::fs::canonicalize(&self.binary)?,
            out: self.out,
            environment: Vec::new(),
        })
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
        let needs = match kind.least_nodes {
            0..=3 => String::new(),
            nodes => format!(" (needs {nodes} nodes)"),
        };
        text += &format!("  {:20} {}{needs}\n", kind.name, kind.about);
    }
    text
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // One thread, which lives in the network of the harness. Clients have threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments.command {
        Command::Run(arguments) => {
            let settings = arguments.settings()?;
            let history = runtime.block_on(run::run(&settings))?;
            println!("{} events", history.events().len());
        }
    }
    Ok(())
}
