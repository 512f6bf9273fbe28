//! The verdict about a history, and the findings that it rests on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::rules::RuleId;

/// What a finding does to the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The finding is a figure for the reader. It breaks no promise.
    Report,
    /// The rule could not be checked.
    Unknown,
    /// The cluster broke a promise.
    Invalid,
}

/// The result of all rules: the worst severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Judgement {
    /// No rule found anything.
    Valid,
    /// The history does not show whether the cluster kept its promises.
    Unknown,
    /// The history shows a broken promise.
    Invalid,
}

/// One thing that a rule found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The rule.
    pub rule: RuleId,
    /// What the finding does to the verdict.
    pub severity: Severity,
    /// What happened, with the names of the stream, the shard, the records and the processes.
    pub message: String,
    /// Indexes of the events that show it.
    pub events: Vec<u64>,
}

/// The verdict about a history.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The result.
    pub verdict: Judgement,
    /// The findings, in the order of the rules. Each rule lists its first findings only.
    pub findings: Vec<Finding>,
    /// How many findings each rule has, listed or not.
    pub totals: BTreeMap<RuleId, u64>,
    /// Figures of the run.
    pub counts: Counts,
}

/// How many findings of a rule are listed.
const LISTED: u64 = 25;

/// Collects findings. The rules write into it one after the other.
pub(crate) struct Report {
    rule: RuleId,
    stalled: bool,
    findings: Vec<Finding>,
    totals: BTreeMap<RuleId, u64>,
    worst: Judgement,
}

impl Report {
    /// `stalled` says that the machine was too busy to say anything about times.
    pub(crate) fn new(stalled: bool) -> Self {
        let (findings, totals) = (Vec::new(), BTreeMap::new());
        Self { rule: RuleId::I1, stalled, findings, totals, worst: Judgement::Valid }
    }

    /// All findings until the next call belong to this rule.
    pub(crate) fn begin(&mut self, rule: RuleId) {
        self.rule = rule;
    }

    /// The cluster broke a promise.
    pub(crate) fn invalid(&mut self, message: String, events: &[u64]) {
        self.add(Severity::Invalid, message, events);
    }

    /// The rule could not be checked.
    pub(crate) fn unknown(&mut self, message: String, events: &[u64]) {
        self.add(Severity::Unknown, message, events);
    }

    /// A figure for the reader.
    pub(crate) fn note(&mut self, message: String, events: &[u64]) {
        self.add(Severity::Report, message, events);
    }

    /// The cluster broke a promise, if it made it. Otherwise the finding is only reported.
    pub(crate) fn promised(&mut self, promise: bool, message: String, events: &[u64]) {
        if promise { self.invalid(message, events) } else { self.note(message, events) }
    }

    /// The cluster took too long. A busy machine may be the cause, so then the finding is *unknown*.
    pub(crate) fn late(&mut self, message: String, events: &[u64]) {
        if self.stalled {
            self.unknown(format!("{message} (the machine was stalled)"), events);
        } else {
            self.invalid(message, events);
        }
    }

    /// Takes over the findings of another report for the same rule. Without the promise, a broken one is a figure.
    pub(crate) fn adopt(&mut self, other: Self, promise: bool) {
        for finding in other.findings {
            let severity = match finding.severity {
                Severity::Invalid if !promise => Severity::Report,
                severity => severity,
            };
            self.add(severity, finding.message, &finding.events);
        }
    }

    fn add(&mut self, severity: Severity, message: String, events: &[u64]) {
        let total = self.totals.entry(self.rule).or_default();
        *total += 1;
        if *total <= LISTED {
            let events = events.to_vec();
            self.findings.push(Finding { rule: self.rule, severity, message, events });
        }
        self.worst = self.worst.max(match severity {
            Severity::Report => Judgement::Valid,
            Severity::Unknown => Judgement::Unknown,
            Severity::Invalid => Judgement::Invalid,
        });
    }

    pub(crate) fn finish(self, counts: Counts) -> Verdict {
        let Self { worst, findings, totals, .. } = self;
        Verdict { verdict: worst, findings, totals, counts }
    }
}
