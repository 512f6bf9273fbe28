//! The command behind `make fuzz`: runs targets for a given time.
//!
//! The seed is printed first, so a run can be repeated. The exit code is a failure if a target panics, or if one
//! input takes more than two seconds.

use std::process::ExitCode;
use std::time::Duration;

use anabranch_fuzz::{Limit, TARGETS, drive, inputs, write_seeds};
use anyhow::{Result, ensure};
use clap::Parser;

/// Longest time for one input. A target that takes longer counts as hanging.
const LONGEST: Duration = Duration::from_secs(2);

/// Runs all code that reads bytes from outside on random inputs
#[derive(Debug, Parser)]
struct Args {
    /// Targets to run, by parts of their names; all targets if none is given
    targets: Vec<String>,
    /// How long each target runs
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    seconds: u64,
    /// Number of mutations for each target, instead of a time
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Seed of the random numbers; a random one if none is given
    #[arg(long)]
    seed: Option<u64>,
    /// Write the seeds of the corpus again, and run no target
    #[arg(long)]
    write_seeds: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fuzz: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    if args.write_seeds {
        return write_seeds();
    }
    let seed = args.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let is_wanted = |name: &str| {
        args.targets.is_empty() || args.targets.iter().any(|part| name.contains(part.as_str()))
    };
    let mut failed = Vec::new();
    for target in TARGETS.iter().filter(|target| is_wanted(target.name)) {
        let corpus: Vec<_> = inputs(target.name)?.into_iter().map(|(_, input)| input).collect();
        let time = Limit::Time(Duration::from_secs(args.seconds));
        let limit = args.count.map_or(time, Limit::Count);
        match drive(target, &corpus, seed, limit) {
            Ok(stats) => {
                println!(
                    "{}: {} inputs and {} mutations, the slowest {:?}",
                    target.name, stats.corpus, stats.mutations, stats.slowest
                );
                if stats.slowest > LONGEST {
                    failed.push(format!("{}: hangs", target.name));
                }
            }
            Err(crash) => {
                let path = crash.keep()?;
                println!("{}: PANICS at {}", target.name, path.display());
                failed.push(format!("{}: panics at {}", target.name, path.display()));
            }
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(())
}
