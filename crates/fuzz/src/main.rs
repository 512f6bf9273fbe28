//! `make fuzz`: feeds targets for as long as it is told.

use std::process::ExitCode;
use std::time::Duration;

use anabranch_fuzz::{Limit, TARGETS, drive, inputs, write_seeds};
use anyhow::{Result, ensure};
use clap::Parser;

/// An input may take this long before it counts as one that hangs.
const LONGEST: Duration = Duration::from_secs(2);

/// Feeds everything that reads bytes from outside
#[derive(Debug, Parser)]
struct Args {
    /// Which targets, by parts of their names; all if none
    targets: Vec<String>,
    /// How long each is fed
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    seconds: u64,
    /// How many mutations each is fed, in place of a time
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Where the random numbers begin; one of its own if none
    #[arg(long)]
    seed: Option<u64>,
    /// Writes the seeds of the corpus anew and feeds nothing
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
