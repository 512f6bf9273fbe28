//! The report of a run: one page of HTML without any other file, and one summary in JSON.
//!
//! The page shows on one time axis: which fault each node had, which node led how many groups, how many calls ended in
//! each way, and how long they took. Under it are the findings, the rules, the calls, the faults, and the recovery.

mod chart;
mod lanes;
mod rates;
mod tables;

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result};
use chaos_checkers::history::write_edn;
use chaos_checkers::{History, Judgement, Verdict};
use serde::Serialize;

use self::chart::escape;

/// How a run is described beside its history.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct About {
    pub(crate) seed: u64,
    pub(crate) minutes: f64,
    pub(crate) nodes: u8,
    pub(crate) faults: String,
    pub(crate) workloads: String,
    /// Where the cluster ran: what the machine allowed.
    pub(crate) lab: String,
    /// The command that repeats the run.
    pub(crate) command: String,
}

/// The summary of a run.
#[derive(Serialize)]
struct Summary<'a> {
    #[serde(flatten)]
    about: &'a About,
    /// Worst time from the last heal until a shard took a put and showed it.
    recovery_ms: Option<u64>,
    #[serde(flatten)]
    verdict: &'a Verdict,
}

/// Writes `summary.json`, `report.html` and `history.edn` beside `history.jsonl`.
///
/// # Errors
/// If a file can't be written.
pub(crate) fn write(out: &Path, about: &About, history: &History, verdict: &Verdict) -> Result<()> {
    let summary = serde_json::to_string_pretty(&Summary {
        about,
        recovery_ms: tables::longest_recovery(history),
        verdict,
    })?;
    fs::write(out.join("summary.json"), summary + "\n").context("summary.json")?;
    let edn = BufWriter::new(File::create(out.join("history.edn"))?);
    write_edn(edn, history).context("history.edn")?;
    fs::write(out.join("report.html"), page(about, history, verdict)).context("report.html")
}

const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1180px;color:#1c2430}\
h1{font-size:22px}h2{font-size:16px;margin:2em 0 .5em}table{border-collapse:collapse}\
td,th{padding:3px 10px;border-bottom:1px solid #e3e7ec;text-align:left;vertical-align:top}\
td.n,th.n{text-align:right}svg{display:block;background:#fbfcfd;border:1px solid #e3e7ec;margin:.3em 0}\
.valid{color:#0a7a3d}.unknown{color:#9a6700}.invalid{color:#b3261e}code{background:#f1f3f5;padding:1px 4px}\
.small{color:#5b6675;font-size:12px}";

fn page(about: &About, history: &History, verdict: &Verdict) -> String {
    let word = word(verdict.verdict);
    let sentence = match verdict.verdict {
        Judgement::Valid => "The cluster kept every promise.",
        Judgement::Unknown => {
            "The history shows no broken promise, and does not prove that all were kept."
        }
        Judgement::Invalid => {
            "The cluster broke a promise. The findings below name the events of the history."
        }
    };
    let About { seed, minutes, nodes, faults, workloads, lab, command } = about;
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Chaos run {seed}: {word}</title>\
         <style>{STYLE}</style><h1>Chaos run {seed}: <span class=\"{word}\">{word}</span></h1>\
         <p>{sentence}</p><p>{nodes} nodes, {minutes} minutes, faults <code>{}</code>, workloads <code>{}</code>. {}. \
         Again: <code>{}</code></p>{}{}{}{}",
        escape(faults),
        escape(workloads),
        escape(lab),
        escape(command),
        lanes::draw(history),
        rates::draw(history),
        tables::findings(verdict),
        tables::figures(history, verdict),
    )
}

/// A judgement as the word of the summary, which is also the name of its style.
pub(crate) fn word(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Valid => "valid",
        Judgement::Unknown => "unknown",
        Judgement::Invalid => "invalid",
    }
}

#[cfg(test)]
mod tests {
    use chaos_checkers::{Header, check};

    use super::*;

    #[test]
    fn a_report_of_an_empty_history_has_all_files() {
        let out = tempfile::tempdir().unwrap();
        let history = History::new(Header::default(), Vec::new()).unwrap();
        let about = About {
            seed: 7,
            minutes: 1.0,
            nodes: 3,
            faults: "<none>".into(),
            workloads: "records".into(),
            lab: "a test".into(),
            command: "chaos run --seed 7".into(),
        };
        write(out.path(), &about, &history, &check(&history)).unwrap();
        let page = fs::read_to_string(out.path().join("report.html")).unwrap();
        assert!(page.contains("Chaos run 7") && page.contains("&lt;none&gt;"));
        let summary = fs::read_to_string(out.path().join("summary.json")).unwrap();
        let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
        assert_eq!(summary["seed"], 7);
        assert!(summary["verdict"].is_string());
        assert!(out.path().join("history.edn").exists());
    }
}
