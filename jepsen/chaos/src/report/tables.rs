//! The findings and the figures of a run as tables.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each table shows few of the many events, and a new event changes no table"
)]

use std::fmt::Display;

use chaos_checkers::history::{Answer, Fault, Kind, Nemesis, Observation, Outcome, Phase};
use chaos_checkers::{History, RULES, Severity, Verdict};

use super::chart::escape;

fn row(cells: &[&dyn Display]) -> String {
    let cells = cells.iter().map(|cell| format!("<td>{}</td>", escape(&cell.to_string())));
    format!("<tr>{}</tr>", cells.collect::<String>())
}

fn table(heads: &[&str], rows: &[String]) -> String {
    let heads = heads.iter().map(|head| format!("<th>{head}</th>")).collect::<String>();
    format!("<table><tr>{heads}</tr>{}</table>", rows.concat())
}

/// All findings, and what each rule found.
pub(super) fn findings(verdict: &Verdict) -> String {
    let word = |severity| match severity {
        Severity::Report => "figure",
        Severity::Unknown => "unknown",
        Severity::Invalid => "invalid",
    };
    let rows = verdict.findings.iter().map(|finding| {
        let events: Vec<_> = finding.events.iter().map(u64::to_string).collect();
        let cells: [&dyn Display; 4] = [
            &format!("{:?}", finding.rule),
            &word(finding.severity),
            &finding.message,
            &events.join(", "),
        ];
        row(&cells)
    });
    let rows: Vec<_> = rows.collect();
    let list = match &rows[..] {
        [] => "<p>None.</p>".to_owned(),
        rows => table(&["rule", "", "what happened", "events"], rows),
    };
    let rules = RULES.iter().map(|rule| {
        let found = verdict.totals.get(&rule.id).copied().unwrap_or_default();
        row(&[&format!("{:?}", rule.id), &rule.name, &found])
    });
    let rules = table(&["rule", "", "findings"], &rules.collect::<Vec<_>>());
    format!("<h2>Findings</h2>{list}<details><summary>All rules</summary>{rules}</details>")
}

/// Calls, faults, recovery, exits and remarks.
pub(super) fn figures(history: &History, verdict: &Verdict) -> String {
    let counts = &verdict.counts;
    let calls = counts.operations.iter().map(|(function, outcomes)| {
        row(&[&format!("{function:?}"), &outcomes.ok, &outcomes.fail, &outcomes.info])
    });
    let calls = table(&["call", "ok", "refused", "unknown"], &calls.collect::<Vec<_>>());
    let faults = counts.faults.iter().map(|(name, fault)| row(&[name, &fault.begun, &fault.bit]));
    let faults = table(&["fault", "begun", "with effect"], &faults.collect::<Vec<_>>());
    let records = &counts.records;
    format!(
        "<h2>Figures</h2><p>{} events; records: {} acknowledged, {} refused, {} unknown; {} shards; {} positions with \
         a copy of another; longest recovery {}.</p>{calls}<h2>Faults</h2>{faults}<h2>Everything that the nemesis did</h2>\
         {}<h2>Processes that ended, and remarks</h2>{}",
        counts.events,
        records.ok,
        records.fail,
        records.info,
        counts.shards,
        counts.duplicates,
        recovery(history),
        steps(history),
        remarks(history),
    )
}

fn recovery(history: &History) -> String {
    longest_recovery(history).map_or_else(|| "unknown".into(), |longest| format!("{longest} ms"))
}

/// Worst time from the last heal until a shard took a put and showed it, in milliseconds.
pub(super) fn longest_recovery(history: &History) -> Option<u64> {
    let times = history.operations().into_iter().filter_map(|operation| match operation.outcome {
        Outcome::Ok { answer: Answer::Recover(recovered), .. } => Some(recovered.ms),
        _ => None,
    });
    times.max()
}

fn steps(history: &History) -> String {
    let rows = history.events().iter().filter_map(|event| match &event.kind {
        Kind::Nemesis(Nemesis::Fault(Fault { name, nodes, phase, detail, bit })) => {
            let phase = match phase {
                Phase::Start => "begins",
                Phase::Stop => "ends",
            };
            let bit = bit.map_or("", |bit| if bit { "had its effect" } else { "no effect" });
            Some(row(&[&event.time, name, &format!("{nodes:?}"), &phase, detail, &bit]))
        }
        Kind::Nemesis(Nemesis::Clocks(clocks)) => {
            let detail = format!("{} hours ahead", clocks.ahead_ms / 3_600_000);
            Some(row(&[&event.time, &"all clocks", &"", &"", &detail, &""]))
        }
        Kind::Nemesis(Nemesis::Heal {}) => Some(row(&[&event.time, &"heal", &"", &"", &"", &""])),
        _ => None,
    });
    table(&["time", "fault", "nodes", "", "detail", ""], &rows.collect::<Vec<_>>())
}

fn remarks(history: &History) -> String {
    let rows = history.events().iter().filter_map(|event| match &event.kind {
        Kind::Observation(Observation::Exit(exit)) => {
            let how = match (exit.code, exit.signal) {
                (Some(code), _) => format!("code {code}"),
                (None, Some(signal)) => format!("signal {signal}"),
                (None, None) => "unknown".into(),
            };
            let expected = if exit.expected { "" } else { ", unexpected" };
            Some(row(&[&event.time, &format!("node {} ended: {how}{expected}", exit.node)]))
        }
        Kind::Observation(Observation::Log(line)) => {
            Some(row(&[&event.time, &format!("node {}: {}", line.node, line.line)]))
        }
        Kind::Observation(Observation::Note(note)) => Some(row(&[&event.time, &note.text])),
        _ => None,
    });
    table(&["time", ""], &rows.collect::<Vec<_>>())
}
