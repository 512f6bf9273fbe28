//! Planted bugs: the harness must find each of them within a bounded number of runs.
//!
//! `crates/planted` of the server has the bugs. The program `anabranch-planted` has them all, and an environment
//! variable switches one on. The table below says for each bug which run brings it out.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use chaos_checkers::Judgement;

use crate::run::RunSettings;

/// The variable that switches a bug on.
pub(crate) const VARIABLE: &str = "ANABRANCH_PLANTED_BUG";
/// Runs for one bug, with one seed after the other.
const RUNS: u64 = 4;

/// A bug, and the run that finds it.
struct Planted {
    bug: &'static str,
    workloads: &'static str,
    faults: &'static str,
    minutes: f64,
    /// Whether the short version of CI has it.
    in_short: bool,
}

const fn planted(
    bug: &'static str,
    workloads: &'static str,
    faults: &'static str,
    minutes: f64,
) -> Planted {
    Planted { bug, workloads, faults, minutes, in_short: false }
}

const fn short(planted: Planted) -> Planted {
    Planted { in_short: true, ..planted }
}

const ALL: [Planted; 17] = [
    short(planted("ack-before-fsync", "records", "power-loss-all", 0.3)),
    short(planted("forget-window", "retries", "cut-clients,pause-leader", 0.4)),
    short(planted("follower-tip", "records", "partition-one,partition-halves", 0.4)),
    short(planted("reorder-batch", "records", "none", 0.2)),
    planted("skip-freeze", "records", "reshard", 0.5),
    planted("open-children-early", "records", "reshard,delay,partition-one", 0.8),
    planted("serve-uncommitted", "records", "partition-one", 0.5),
    planted("repropose-on-timeout", "records", "pause-leader,partition-one-way", 0.5),
    planted("drop-tail", "records", "damage-majority", 0.5),
    planted("lease-after-pause", "records", "partition-one,pause-leader", 0.5),
    planted("keep-identity", "records", "wipe-behind", 0.6),
    planted("trim-by-wall-clock", "retention", "clock-jump", 1.0),
    planted("stale-catalog", "catalog", "partition-one,delay", 0.5),
    planted("keep-revoked", "access", "none", 0.5),
    planted("stale-table-read", "tables", "partition-one", 0.5),
    planted("ignore-group-epoch", "leases", "none", 0.5),
    planted("forget-vote", "records", "kill-after-election", 0.8),
];

/// Runs the bugs: all of them, those of the short version, or one. Prints one line for each.
///
/// # Errors
/// If a bug is not found.
pub(crate) fn find(which: &str, binary: &Path, out: &Path) -> Result<()> {
    let wanted = ALL.iter().filter(|planted| match which {
        "all" => true,
        "short" => planted.in_short,
        bug => planted.bug == bug,
    });
    let wanted: Vec<_> = wanted.collect();
    ensure!(!wanted.is_empty(), "there is no planted bug {which}");
    let mut missed = Vec::new();
    for planted in wanted {
        if !find_one(planted, binary, &out.join(planted.bug))? {
            missed.push(planted.bug);
        }
    }
    ensure!(missed.is_empty(), "not found: {}", missed.join(", "));
    Ok(())
}

/// Whether one of the runs finds the bug.
fn find_one(planted: &Planted, binary: &Path, out: &Path) -> Result<bool> {
    for seed in 1..=RUNS {
        let out = out.join(format!("seed-{seed}"));
        let judgement = run(planted, seed, binary, &out)?;
        let broken = broken_rules(&out).unwrap_or_default();
        println!("{:22} seed {seed}: {judgement:?} {}", planted.bug, broken.join(" "));
        drop_histories(&out)?;
        if judgement == Judgement::Invalid {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes the histories of a run, which are hundreds of megabytes. Its report and its summary stay.
fn drop_histories(out: &Path) -> Result<()> {
    for name in ["history.jsonl", "history.edn"] {
        let history = out.join(name);
        if history.exists() {
            std::fs::remove_file(history)?;
        }
    }
    Ok(())
}

/// One run in a process of its own, because a run moves its process into another network.
fn run(planted: &Planted, seed: u64, binary: &Path, out: &Path) -> Result<Judgement> {
    let own = std::env::current_exe().context("the program of the harness")?;
    let status = Command::new(own)
        .args(["run", "--seed", &seed.to_string(), "--minutes", &planted.minutes.to_string()])
        .args(["--workloads", planted.workloads, "--faults", planted.faults])
        .arg("--binary")
        .arg(binary)
        .arg("--out")
        .arg(out)
        .env(VARIABLE, planted.bug)
        .stdout(std::process::Stdio::null())
        .status()?;
    Ok(match status.code() {
        Some(0) => Judgement::Valid,
        Some(1) if out.join("summary.json").exists() => Judgement::Invalid,
        _ => Judgement::Unknown,
    })
}

/// The rules that a run found broken, with their number of findings.
fn broken_rules(out: &Path) -> Result<Vec<String>> {
    let summary = std::fs::read_to_string(out.join("summary.json"))?;
    let summary: serde_json::Value = serde_json::from_str(&summary)?;
    let findings = summary["findings"].as_array().into_iter().flatten();
    let mut rules: Vec<String> = findings
        .filter(|finding| finding["severity"] == "invalid")
        .filter_map(|finding| finding["rule"].as_str().map(str::to_owned))
        .collect();
    rules.sort();
    rules.dedup();
    Ok(rules)
}

/// The environment of the nodes of a run: the planted bug that the harness itself was started with.
pub(crate) fn environment() -> Vec<(String, String)> {
    std::env::var(VARIABLE).map(|bug| vec![(VARIABLE.to_owned(), bug)]).unwrap_or_default()
}

/// Keeps the settings of a run and the planted bug together in one sentence of the report.
pub(crate) fn note(settings: &RunSettings) -> Option<String> {
    let planted = settings.environment.iter().find(|(name, _)| name == VARIABLE);
    planted.map(|(_, bug)| format!("The server has the planted bug {bug}"))
}
