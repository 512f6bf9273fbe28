//! Each rule is shown to fail: a bad history that breaks this rule only, and a good history next to it.

mod histories;

use std::collections::BTreeSet;

use chaos_checkers::{Finding, Judgement, RULES, RuleId, Severity, check};

use crate::script;
use histories::PLANTED;

/// A bad history and its good neighbour, as scripts.
struct Planted {
    rule: RuleId,
    severity: Severity,
    what: &'static str,
    bad: &'static str,
    good: &'static str,
}

fn show(findings: &[Finding]) -> String {
    let lines =
        findings.iter().map(|at| format!("{:?} {:?}: {}", at.rule, at.severity, at.message));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn each_bad_history_breaks_its_rule_and_no_other() {
    let mut wrong = Vec::new();
    for planted in PLANTED {
        let verdict = check(&script::history(planted.bad));
        let found: BTreeSet<(RuleId, Severity)> =
            verdict.findings.iter().map(|finding| (finding.rule, finding.severity)).collect();
        if found != BTreeSet::from([(planted.rule, planted.severity)]) {
            let found = show(&verdict.findings);
            wrong.push(format!("{:?} {}: found\n{found}", planted.rule, planted.what));
        }
        let expected = match planted.severity {
            Severity::Invalid => Judgement::Invalid,
            Severity::Unknown => Judgement::Unknown,
            Severity::Report => Judgement::Valid,
        };
        assert!(verdict.verdict == expected || !wrong.is_empty(), "{}", planted.what);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn each_good_history_is_valid_without_a_finding() {
    let mut wrong = Vec::new();
    for planted in PLANTED {
        let verdict = check(&script::history(planted.good));
        if verdict.verdict != Judgement::Valid || !verdict.findings.is_empty() {
            let found = show(&verdict.findings);
            wrong.push(format!("{:?} {}: found\n{found}", planted.rule, planted.what));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn each_rule_has_a_planted_history() {
    let planted: BTreeSet<RuleId> = PLANTED.iter().map(|planted| planted.rule).collect();
    let rules: BTreeSet<RuleId> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(planted, rules);
    assert_eq!(rules.len(), RULES.len(), "two rules have one id");
}

#[test]
fn a_finding_names_its_events() {
    let verdict = check(&script::history(
        "p1 put 1-1 -> fail throttled\np1 iter c1 0 trim -> ok\np1 get c1 -> 10:1-1",
    ));
    assert_eq!(verdict.findings[0].rule, RuleId::I2);
    assert_eq!(verdict.findings[0].events, [0, 5]);
    let json = serde_json::to_value(&verdict).unwrap();
    assert_eq!(json["verdict"], "invalid");
    assert_eq!(json["findings"][0]["rule"], "I2");
    assert_eq!(json["totals"]["I2"], 1);
    assert_eq!(json["counts"]["operations"]["put"]["fail"], 1);
}

#[test]
fn the_class_of_a_loss_is_named() {
    let puts = "p1 put 1-1 -> 0@10\np1 put 1-2 -> 0@11\np1 put 1-3 -> 0@12\n";
    for (drain, class) in [
        ("11:1-2 12:1-3", "lost-prefix"),
        ("10:1-1 12:1-3", "lost-middle"),
        ("10:1-1 11:1-2", "lost-postfix"),
        ("", "lost-all"),
    ] {
        let script =
            format!("{puts}p2/g2 drain 0 -> {drain}\np2/g3 drain 0 -> 10:1-1 11:1-2 12:1-3");
        let verdict = check(&script::history(&script));
        assert_eq!(verdict.findings.len(), 1);
        let message = &verdict.findings[0].message;
        assert!(message.starts_with(class), "{message}");
        assert!(message.contains("through gateway 2"), "{message}");
        assert!(message.ends_with("is in full reads through gateway 3"), "{message}");
    }
}

#[test]
fn a_finding_about_an_order_names_the_calls_and_the_state() {
    let verdict = check(&script::history(
        "p1 take 0 1 ann -> none
         p2 take 0 2 bob -> none
         p1 checkpoint 0 1 10 -> ok",
    ));
    let message = &verdict.findings[0].message;
    assert!(message.starts_with("application app, stream s, shard shardId-000000000000: no order"));
    assert!(message.contains("the state is then State { epoch: 2, is_over: false"), "{message}");
    let call = "Checkpoint { epoch: 1, at: Seq(10), back: false, release: false } of process 1";
    assert!(message.ends_with(call), "{message}");
}

#[test]
fn a_fault_without_another_one_beside_it_has_an_outage() {
    let verdict = check(&script::history(
        "p1 put 1-1 -> 0@11
         * fault kill 2 start bit
         wait 1s
         p1 put 1-2 -> 0@12
         wait 2s
         p1 put 1-3
         * fault kill 2 stop bit
         p1 -> 0@13
         wait 3s
         p1 put 1-4 -> 0@14
         * fault delay 1 start bit
         * fault pause 2 start bit
         * fault pause 2 stop bit
         * fault delay 1 stop bit
         p1 put 1-5 -> 0@15",
    ));
    let [outage] = &verdict.counts.outages[..] else { panic!("{:?}", verdict.counts.outages) };
    assert_eq!(outage.fault, "kill");
    assert_eq!(outage.interruption_ms / 1000, 3, "between the third and the fourth put");
    assert_eq!(outage.recovery_ms / 1000, 3, "the put that was on its way does not count");
}

#[test]
fn figures_of_a_run_are_counted() {
    let verdict = check(&script::history(
        "p1 put 1-1 budget=2 -> 0@11 x2
         p1 put 1-2 -> 0@12
         p2 iter c1 0 trim -> ok
         p2 get c1 -> 10:1-1 11:1-1 behind=5
         * fault kill 2 start bit
         p1/g1 put 1-3 -> info
         p3 process 0 1 1-1 11 -> ok
         p3 process 0 1 1-1 11 -> ok
         p2/g1 drain 0 -> 10:1-1 11:1-1 12:1-2",
    ));
    let counts = &verdict.counts;
    assert_eq!((counts.records.ok, counts.records.info), (2, 1));
    assert_eq!((counts.duplicates, counts.unseen, counts.redeliveries), (1, 0, 1));
    assert_eq!((counts.faults["kill"].begun, counts.faults["kill"].bit), (1, 1));
    assert_eq!((counts.minority_puts, counts.minority_puts_ok), (1, 0));
    assert_eq!((counts.positions, counts.shards, counts.stale_reads), (3, 1, 0));
}
