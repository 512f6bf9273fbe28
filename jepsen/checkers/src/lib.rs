//! Judges the history of a chaos run.
//!
//! A history is a list of events on one clock: calls of clients, their outcomes, faults, and observations of the
//! harness. This crate defines the history with its two file formats (JSON lines and Jepsen's EDN), the payload of a
//! record, and the checkers. Everything is a pure function of its input: no clock, no randomness, no files, no
//! network. So one history always gets one verdict, wherever and whenever it is checked.
//!
//! [`check`] collects the facts of the history (`run.rs`), then runs each rule of the table in `rules.rs`. A new
//! family of rules is a file with functions, and a row in that table for each of them. A test fails until
//! `tests/it/planted/histories.rs` has a history that breaks the new rule, and no other rule.
//!
//! ```
//! let lines = r#"{"format":1}
//! {"i":0,"t_ns":1,"type":"invoke","proc":1,"gw":1,"f":"write","value":{"register":"r","value":"a"},"err":null}
//! {"i":1,"t_ns":2,"type":"ok","proc":1,"gw":1,"f":"write","value":{},"err":null}
//! {"i":2,"t_ns":3,"type":"invoke","proc":2,"gw":2,"f":"read","value":{"register":"r"},"err":null}
//! {"i":3,"t_ns":4,"type":"ok","proc":2,"gw":2,"f":"read","value":{"value":null},"err":null}"#;
//! let history = chaos_checkers::history::read_history(lines.as_bytes())?;
//! let verdict = chaos_checkers::check(&history);
//! assert_eq!(verdict.verdict, chaos_checkers::Judgement::Invalid);
//! assert_eq!(verdict.findings[0].rule, chaos_checkers::RuleId::M1);
//! # Ok::<(), chaos_checkers::history::ReadError>(())
//! ```

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each rule is about few of the many calls, and a new call changes no rule"
)]

mod access;
mod cluster;
mod completeness;
mod counts;
pub mod history;
mod integrity;
mod leases;
mod linearizable;
mod order;
mod outages;
pub mod payload;
mod resharding;
mod retention;
mod rules;
mod run;
mod verdict;

pub use counts::{Counts, FaultCount, Outcomes};
pub use history::{Event, Header, History};
pub use outages::Outage;
pub use rules::{RULES, Rule, RuleId};
pub use verdict::{Finding, Judgement, Severity, Verdict};

/// Judges a history by all rules.
pub fn check(history: &History) -> Verdict {
    let run = run::Run::of(history);
    let mut report = verdict::Report::new(run.stalled);
    for rule in RULES {
        report.begin(rule.id);
        (rule.check)(&run, &mut report);
    }
    report.finish(counts::count(&run, history))
}
