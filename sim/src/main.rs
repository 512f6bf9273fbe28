//! Runs the simulation.

use std::io::Write;

use anabranch_sim::seeding::seeded;
use anabranch_sim::simulation::{Plan, run};
use clap::Parser;

/// Simulates clusters under faults.
#[derive(Parser)]
struct Arguments {
    /// Run this seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run these seeds, `A..B`.
    #[arg(long)]
    seeds: Option<String>,
    /// Print the history.
    #[arg(long)]
    trace: bool,
    /// No faults.
    #[arg(long)]
    calm: bool,
}

fn real_seconds() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

fn main() {
    let arguments = Arguments::parse();
    if std::env::var("RUST_LOG").is_ok() {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_ansi(false)
            .with_writer(std::io::stderr)
            .init();
    }
    let seeds = match &arguments.seeds {
        Some(range) => {
            let (a, b) = range.split_once("..").expect("A..B");
            a.parse().expect("A")..b.parse().expect("B")
        }
        None => arguments.seed..arguments.seed + 1,
    };
    for seed in seeds {
        let began = real_seconds();
        let plan = Plan { faults: !arguments.calm, ..Plan::of(seed) };
        let result = seeded(seed, move || run(seed, plan));
        let took = real_seconds() - began;
        match result {
            Ok(run) => {
                if arguments.trace {
                    std::io::stdout().write_all(&run.history).expect("stdout");
                }
                eprintln!(
                    "seed {seed}: {} ms, recovery {} ms, {} entries, {} elections, {} bytes, {took:.2} s: {}",
                    run.millis,
                    run.recovery_millis,
                    run.entries,
                    run.elections,
                    run.history.len(),
                    run.failure.as_deref().unwrap_or("ok"),
                );
            }
            Err(panic) => eprintln!("seed {seed}: panic: {panic}"),
        }
    }
}
