//! A campaign: many runs of one to two minutes, each with its own seed and its own mix of faults and workloads.
//!
//! Each run adds one line to a file. A campaign begins at the first seed that the file does not have, so it goes on
//! where it stopped, in as many sittings as it takes. The results of a run that broke a promise are kept.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chaos_checkers::Outage;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{fault, workload};

/// Arguments of a campaign.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CampaignArguments {
    /// Number of runs
    #[arg(long, default_value_t = 20)]
    runs: u64,
    /// Time after which no further run begins
    #[arg(long, default_value_t = 24.0)]
    hours: f64,
    /// The file to which each run adds a line
    #[arg(long, default_value = "docs/reliability.jsonl")]
    log: PathBuf,
    /// The program `anabranch`
    #[arg(long)]
    binary: PathBuf,
    /// Folder of the results of runs that are not valid
    #[arg(long, default_value = "chaos-results/campaign")]
    out: PathBuf,
}

/// One line of the log.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    seed: u64,
    minutes: f64,
    nodes: u8,
    workloads: String,
    faults: String,
    /// `valid`, `unknown` or `invalid`.
    verdict: String,
    /// Rules with findings of that severity.
    #[serde(default)]
    rules: Vec<String>,
    calls: u64,
    /// Calls with an unknown outcome.
    unknown_calls: u64,
    records: u64,
    /// Faults that began.
    injected: BTreeMap<String, u64>,
    /// Worst time from the last heal until a shard took a put and showed it.
    recovery_ms: Option<u64>,
    /// What each fault cost that had no other fault beside it.
    #[serde(default)]
    outages: Vec<Outage>,
}

/// Runs a campaign.
///
/// # Errors
/// If the log can't be written, or a run broke a promise.
pub(crate) fn run(arguments: &CampaignArguments) -> Result<()> {
    let began = Instant::now();
    let first = read(&arguments.log)?.iter().map(|line| line.seed + 1).max().unwrap_or(1);
    let mut broken = Vec::new();
    for seed in first..first + arguments.runs {
        if began.elapsed() > Duration::from_secs_f64(arguments.hours * 3600.0) {
            break;
        }
        let Some(line) = run_one(seed, arguments)? else { continue };
        println!(
            "seed {seed}: {} {}, {} calls, {} records",
            line.verdict,
            line.rules.join(" "),
            line.calls,
            line.records
        );
        append(&arguments.log, &line)?;
        if line.verdict == "invalid" {
            broken.push(seed);
        }
    }
    ensure!(broken.is_empty(), "runs that broke a promise: {broken:?}");
    Ok(())
}

/// The lines of a log. A log that does not exist has none.
fn read(log: &Path) -> Result<Vec<Line>> {
    let Ok(file) = File::open(log) else { return Ok(Vec::new()) };
    let lines = BufReader::new(file).lines();
    let lines = lines.map(|line| {
        serde_json::from_str(&line?).with_context(|| format!("a line of {}", log.display()))
    });
    lines.collect()
}

fn append(log: &Path, line: &Line) -> Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(log)?;
    writeln!(file, "{}", serde_json::to_string(line)?).context("the log of the campaign")
}

/// The mix that a seed decides: one to two minutes, three workloads, ten kinds of faults.
struct Mix {
    minutes: f64,
    nodes: u8,
    workloads: String,
    faults: String,
}

impl Mix {
    fn draw(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let nodes = if random.random_ratio(1, 5) { 5 } else { 3 };
        let names = workload::all().into_iter().map(|kind| kind.name);
        let workloads = names.choose_multiple(&mut random, 3).join(",");
        let kinds = fault::all().into_iter().filter(|kind| kind.least_nodes <= nodes);
        let faults = kinds.map(|kind| kind.name).choose_multiple(&mut random, 10).join(",");
        Self {
            minutes: f64::from(random.random_range(10..=20_u32)) / 10.0,
            nodes,
            workloads,
            faults,
        }
    }
}

fn run_one(seed: u64, arguments: &CampaignArguments) -> Result<Option<Line>> {
    let Mix { minutes, nodes, workloads, faults } = Mix::draw(seed);
    let out = arguments.out.join(format!("seed-{seed}"));
    let own = std::env::current_exe().context("the program of the harness")?;
    let status = Command::new(own)
        .args(["run", "--seed", &seed.to_string(), "--minutes", &minutes.to_string()])
        .args(["--nodes", &nodes.to_string(), "--workloads", &workloads, "--faults", &faults])
        .arg("--binary")
        .arg(&arguments.binary)
        .arg("--out")
        .arg(&out)
        .stdout(Stdio::null())
        .status()?;
    let Ok(summary) = fs::read_to_string(out.join("summary.json")) else {
        println!("seed {seed}: no result ({status})");
        return Ok(None);
    };
    let summary: Value = serde_json::from_str(&summary)?;
    let line = line(&summary, Mix { minutes, nodes, workloads, faults }, seed);
    if line.verdict == "valid" {
        fs::remove_dir_all(&out)?;
    }
    Ok(Some(line))
}

fn line(summary: &Value, mix: Mix, seed: u64) -> Line {
    let verdict = summary["verdict"].as_str().unwrap_or("unknown").to_owned();
    let findings = summary["findings"].as_array().into_iter().flatten();
    let mut rules: Vec<String> = findings
        .filter(|finding| finding["severity"] == *verdict)
        .filter_map(|finding| finding["rule"].as_str().map(str::to_owned))
        .collect();
    rules.sort();
    rules.dedup();
    let counts = &summary["counts"];
    let outcomes =
        counts["operations"].as_object().into_iter().flatten().map(|(_, outcomes)| outcomes);
    let sum = |names: &[&str]| {
        let all =
            outcomes.clone().flat_map(|outcomes| names.iter().map(move |name| &outcomes[*name]));
        all.filter_map(Value::as_u64).sum()
    };
    let faults = counts["faults"].as_object().into_iter().flatten();
    let injected =
        faults.map(|(name, count)| (name.clone(), count["begun"].as_u64().unwrap_or_default()));
    Line {
        seed,
        minutes: mix.minutes,
        nodes: mix.nodes,
        workloads: mix.workloads,
        faults: mix.faults,
        rules,
        calls: sum(&["ok", "fail", "info"]),
        unknown_calls: sum(&["info"]),
        records: counts["records"]["ok"].as_u64().unwrap_or_default(),
        injected: injected.collect(),
        recovery_ms: summary["recovery_ms"].as_u64(),
        outages: serde_json::from_value(counts["outages"].clone()).unwrap_or_default(),
        verdict,
    }
}

/// The log as Markdown: one line of totals, and a table of what each kind of fault cost.
///
/// # Errors
/// If the log can't be read.
pub(crate) fn results(log: &Path) -> Result<String> {
    let lines = read(log)?;
    let with_verdict = |word: &str| lines.iter().filter(|line| line.verdict == word).count();
    let sum = |figure: fn(&Line) -> u64| lines.iter().map(figure).sum::<u64>();
    let mut text = format!(
        "{} runs: {} valid, {} unknown, {} invalid. {} calls, {} with an unknown outcome; {} records acknowledged; {} \
         faults.\n\n",
        lines.len(),
        with_verdict("valid"),
        with_verdict("unknown"),
        with_verdict("invalid"),
        sum(|line| line.calls),
        sum(|line| line.unknown_calls),
        sum(|line| line.records),
        sum(|line| line.injected.values().sum()),
    );
    let mut costs: BTreeMap<&str, (u64, Vec<&Outage>)> = BTreeMap::new();
    for line in &lines {
        for (name, count) in &line.injected {
            costs.entry(name).or_default().0 += count;
        }
        for outage in &line.outages {
            costs.entry(&outage.fault).or_default().1.push(outage);
        }
    }
    text += "| fault | injected | alone | no put for: median, longest (ms) | recovery: median, longest (ms) |\n";
    text += "| --- | --- | --- | --- | --- |\n";
    for (name, (injected, outages)) in costs {
        let interruptions = spread(outages.iter().map(|outage| outage.interruption_ms));
        let recoveries = spread(outages.iter().map(|outage| outage.recovery_ms));
        let alone = outages.len();
        text += &format!("| {name} | {injected} | {alone} | {interruptions} | {recoveries} |\n");
    }
    Ok(text)
}

/// The median and the largest value; nothing if there is no value.
fn spread(values: impl Iterator<Item = u64>) -> String {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    match (values.get(values.len() / 2), values.last()) {
        (Some(median), Some(longest)) => format!("{median}, {longest}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_campaign_reads_what_it_has_written() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log.jsonl");
        assert!(read(&log).unwrap().is_empty());
        let summary = serde_json::json!({
            "verdict": "invalid",
            "findings": [{ "rule": "C1", "severity": "invalid" }, { "rule": "M3", "severity": "unknown" }],
            "counts": {
                "operations": { "put": { "ok": 5, "fail": 1, "info": 2 }, "get": { "ok": 3, "fail": 0, "info": 0 } },
                "records": { "ok": 5 },
                "faults": { "kill": { "begun": 2, "bit": 2 } },
                "outages": [{ "fault": "kill", "interruption_ms": 1300, "recovery_ms": 40 }],
            },
            "recovery_ms": 900,
        });
        let line = line(&summary, Mix::draw(41), 41);
        assert_eq!((line.calls, line.unknown_calls, line.records), (11, 2, 5));
        assert_eq!((&*line.rules.join(" "), line.injected["kill"]), ("C1", 2));
        assert_eq!((line.outages[0].interruption_ms, line.outages[0].recovery_ms), (1300, 40));
        append(&log, &line).unwrap();
        assert_eq!(read(&log).unwrap().last().unwrap().seed, 41);
    }

    #[test]
    fn every_mix_can_be_run() {
        for seed in 0..200 {
            let mix = Mix::draw(seed);
            fault::select(&mix.faults, mix.nodes).unwrap();
            workload::select(&mix.workloads).unwrap();
        }
    }
}
