//! Generated histories of a correct cluster are valid, and each mutation of one is found.

use std::collections::{BTreeMap, BTreeSet};

use chaos_checkers::history::*;
use chaos_checkers::{Event, History, Judgement, RuleId, Verdict, check};
use proptest::prelude::*;

use crate::model::{Random, Shape, generate};

/// `PROPTEST_CASES` sets another number of histories.
fn config(cases: u32) -> ProptestConfig {
    let wanted = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    let cases = wanted.unwrap_or(cases);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn findings(verdict: &Verdict) -> String {
    let lines = verdict.findings.iter().take(5);
    let lines =
        lines.map(|at| format!("{:?} {:?}: {} {:?}", at.rule, at.severity, at.message, at.events));
    lines.collect::<Vec<_>>().join("\n")
}

fn assert_valid(seed: u64, shape: Shape) -> Result<(), TestCaseError> {
    let verdict = check(&generate(seed, shape));
    let found = findings(&verdict);
    prop_assert!(verdict.verdict == Judgement::Valid, "seed {seed}, {shape:?}:\n{found}");
    Ok(())
}

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn histories_without_faults_are_valid(seed: u64, steps in 10_usize..2000) {
        assert_valid(seed, Shape { steps, trims: false, faults: false, changes: 300 })?;
    }

    #[test]
    fn histories_with_unknown_outcomes_are_valid(seed: u64, steps in 10_usize..2000) {
        assert_valid(seed, Shape { steps, trims: false, faults: true, changes: 300 })?;
    }

    #[test]
    fn histories_with_trims_are_valid(seed: u64, steps in 10_usize..2000) {
        assert_valid(seed, Shape { steps, trims: true, faults: true, changes: 300 })?;
    }
}

#[test]
fn generated_histories_have_all_that_the_rules_look_at() {
    let shape = Shape { steps: 20_000, trims: true, faults: true, changes: 300 };
    let verdict = check(&generate(1, shape));
    let counts = &verdict.counts;
    for function in Function::ALL {
        let outcomes = counts.operations.get(function).copied().unwrap_or_default();
        let is_left_out = matches!(
            function,
            Function::Delete | Function::Membership | Function::Assigned | Function::RecoverLease
        );
        assert!(outcomes.ok > 0 || is_left_out, "{function:?} never succeeds");
    }
    assert!(counts.records.info > 50 && counts.records.fail > 50, "{:?}", counts.records);
    assert!(counts.duplicates > 20, "{} duplicates", counts.duplicates);
    assert!(counts.redeliveries > 10, "{} redeliveries", counts.redeliveries);
    assert!(counts.shards > 20, "{} shards", counts.shards);
}

#[test]
fn one_seed_makes_one_history() {
    let shape = Shape { steps: 500, trims: true, faults: true, changes: 300 };
    assert_eq!(generate(7, shape), generate(7, shape));
    assert_ne!(generate(7, shape), generate(8, shape));
}

/// A change of a history that breaks a rule. Returns whether there was anything to change.
type Mutation = fn(&mut [Event], &mut Random) -> bool;

const MUTATIONS: [(&str, Mutation, &[RuleId]); 20] = [
    ("drop an acknowledged record from a full read", drop_from_drain, &[RuleId::C1, RuleId::C2]),
    ("swap two records of a full read", swap_in_drain, &[RuleId::O1]),
    ("a full read has another record at a position", replace_in_drain, &[RuleId::I3, RuleId::I4]),
    ("damage a payload", damage_payload, &[RuleId::I1]),
    ("skip a record of a page", skip_in_page, &[RuleId::C3]),
    ("acknowledge another number", change_ack, &[RuleId::C1, RuleId::I4]),
    ("a put that was read failed", fail_a_put, &[RuleId::I2]),
    ("a list lacks an open shard", drop_shard, &[RuleId::R1]),
    ("a read ends before the tip", truncate_page, &[RuleId::C6, RuleId::C3]),
    ("a register has another value", change_register, &[RuleId::M1]),
    ("an attempt is allowed that nobody granted", allow_attempt, &[RuleId::A1]),
    ("a page ends at an open shard", end_page, &[RuleId::C4]),
    ("two records change places everywhere", exchange_records, &[RuleId::O2, RuleId::O3]),
    ("each full read has a record twice", repeat_in_drains, &[RuleId::I5, RuleId::R5]),
    ("a child starts below its parent", lower_start, &[RuleId::R4]),
    ("the end of a shard changes", change_end, &[RuleId::R3]),
    ("a stream has another retention", change_retention, &[RuleId::R8]),
    ("a consumer leaves out a record", skip_processing, &[RuleId::L3]),
    ("a new owner gets another checkpoint", change_checkpoint, &[RuleId::L2]),
    ("an end names another child", change_child, &[RuleId::R6]),
];

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn each_mutation_is_found(seed: u64) {
        let history = generate(seed, Shape { steps: 1500, trims: false, faults: true, changes: 300 });
        prop_assert_eq!(check(&history).verdict, Judgement::Valid);
        for (what, mutation, rules) in MUTATIONS {
            let (header, mut events) = history.clone().into_parts();
            if !mutation(&mut events, &mut Random(seed)) {
                continue;
            }
            let verdict = check(&History::new(header, events).unwrap());
            let found: BTreeSet<RuleId> = verdict.totals.keys().copied().collect();
            let is_found = rules.iter().any(|rule| found.contains(rule));
            prop_assert!(verdict.verdict == Judgement::Invalid && is_found, "{what}: {}", findings(&verdict));
        }
    }
}

#[test]
fn each_mutation_finds_something_to_change() {
    for (what, mutation, _) in MUTATIONS {
        let shape = Shape { steps: 1500, trims: false, faults: true, changes: 300 };
        let applied = (0..20).filter(|seed| {
            let (_, mut events) = generate(*seed, shape).into_parts();
            mutation(&mut events, &mut Random(*seed))
        });
        assert!(applied.count() > 10, "{what}");
    }
}

/// All results of one kind, in a random order of preference.
fn answers<'e>(events: &'e mut [Event], random: &mut Random) -> Vec<&'e mut Answer> {
    let mut answers: Vec<&mut Answer> = events
        .iter_mut()
        .filter_map(|event| match &mut event.kind {
            Kind::Ok { answer, .. } => Some(answer),
            _ => None,
        })
        .collect();
    for place in (1..answers.len()).rev() {
        answers.swap(place, usize::try_from(random.below(place as u64 + 1)).unwrap());
    }
    answers
}

fn drains<'e>(events: &'e mut [Event], random: &mut Random) -> Option<&'e mut Vec<Record>> {
    answers(events, random).into_iter().find_map(|answer| match answer {
        Answer::Drain(drained) if drained.records.len() > 2 => Some(&mut drained.records),
        _ => None,
    })
}

fn pages<'e>(events: &'e mut [Event], random: &mut Random, least: usize) -> Option<&'e mut Page> {
    answers(events, random).into_iter().find_map(|answer| match answer {
        Answer::Get(page) if page.records.len() >= least && page.next => Some(page),
        _ => None,
    })
}

/// All positions that were acknowledged.
fn acked(events: &[Event]) -> BTreeMap<Seq, ShardId> {
    let mut acked = BTreeMap::new();
    for event in events {
        if let Kind::Ok { answer: Answer::Put(stored), .. } = &event.kind {
            acked.insert(stored.seq, stored.shard.clone());
        }
    }
    acked
}

fn drop_from_drain(events: &mut [Event], random: &mut Random) -> bool {
    let acked = acked(events);
    let Some(records) = drains(events, random) else { return false };
    let Some(place) = records.iter().position(|record| acked.contains_key(&record.seq)) else {
        return false;
    };
    records.remove(place);
    true
}

fn swap_in_drain(events: &mut [Event], random: &mut Random) -> bool {
    let Some(records) = drains(events, random) else { return false };
    records.swap(0, 1);
    true
}

fn replace_in_drain(events: &mut [Event], random: &mut Random) -> bool {
    let Some(records) = drains(events, random) else { return false };
    let first = records[0].clone();
    let Some(other) = records.iter().find(|record| record.uid != first.uid).cloned() else {
        return false;
    };
    records[0] = Record { seq: first.seq, ts: first.ts, ..other };
    true
}

fn damage_payload(events: &mut [Event], random: &mut Random) -> bool {
    let Some(page) = pages(events, random, 1) else { return false };
    page.records[0].uid = None;
    true
}

fn skip_in_page(events: &mut [Event], random: &mut Random) -> bool {
    let Some(page) = pages(events, random, 3) else { return false };
    page.records.remove(1);
    true
}

fn change_ack(events: &mut [Event], random: &mut Random) -> bool {
    let stored = answers(events, random).into_iter().find_map(|answer| match answer {
        Answer::Put(stored) => Some(stored),
        _ => None,
    });
    let Some(stored) = stored else { return false };
    stored.seq = Seq::small(9);
    true
}

/// Makes a put fail whose record is in a full read, unless a retry of it remains.
fn fail_a_put(events: &mut [Event], _: &mut Random) -> bool {
    let acked = acked(events);
    let mut puts: BTreeMap<Uid, u32> = BTreeMap::new();
    let mut open: BTreeMap<u64, Uid> = BTreeMap::new();
    for event in events.iter() {
        if let Kind::Invoke { process, call: Call::Put(put), .. } = &event.kind {
            *puts.entry(put.uid).or_default() += 1;
            open.insert(*process, put.uid);
        }
    }
    let read: BTreeSet<Seq> = events
        .iter()
        .filter_map(|event| match &event.kind {
            Kind::Ok { answer: Answer::Drain(drained), .. } => Some(&drained.records),
            _ => None,
        })
        .flatten()
        .map(|record| record.seq)
        .filter(|seq| acked.contains_key(seq))
        .collect();
    let mut open: BTreeMap<u64, Uid> = BTreeMap::new();
    for event in events.iter_mut() {
        match &event.kind {
            Kind::Invoke { process, call: Call::Put(put), .. } => {
                open.insert(*process, put.uid);
            }
            Kind::Ok { process, gateway, answer: Answer::Put(stored) }
                if puts[&open[process]] == 1 && read.contains(&stored.seq) =>
            {
                let (process, gateway) = (*process, *gateway);
                let (function, error) = (Function::Put, String::from("throttled"));
                event.kind = Kind::Fail { process, gateway, function, error };
                return true;
            }
            _ => {}
        }
    }
    false
}

fn drop_shard(events: &mut [Event], random: &mut Random) -> bool {
    let shards = answers(events, random).into_iter().find_map(|answer| match answer {
        Answer::Shards(shards) if shards.shards.len() > 1 => Some(&mut shards.shards),
        _ => None,
    });
    let Some(shards) = shards else { return false };
    let open = shards.iter().position(|shard| shard.end.is_none()).unwrap();
    shards.remove(open);
    true
}

/// Cuts the last record of a page that was at the tip. If it was acknowledged before, the page is stale. If the chain
/// goes on, the record is skipped.
fn truncate_page(events: &mut [Event], _: &mut Random) -> bool {
    let mut acked: BTreeSet<Seq> = BTreeSet::new();
    let mut at_invoke: BTreeMap<u64, BTreeSet<Seq>> = BTreeMap::new();
    for event in events.iter_mut() {
        match &mut event.kind {
            Kind::Ok { answer: Answer::Put(stored), .. } => {
                acked.insert(stored.seq);
            }
            Kind::Invoke { process, call: Call::Get(_), .. } => {
                at_invoke.insert(*process, acked.clone());
            }
            Kind::Ok { process, answer: Answer::Get(page), .. } => {
                let last = page.records.last().map(|record| record.seq);
                let was_acked = last.is_some_and(|seq| at_invoke[process].contains(&seq));
                if was_acked && page.records.len() > 1 && page.next && page.behind_ms == 0 {
                    page.records.pop();
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

fn change_register(events: &mut [Event], random: &mut Random) -> bool {
    let value = answers(events, random).into_iter().find_map(|answer| match answer {
        Answer::Read(read) => Some(&mut read.value),
        _ => None,
    });
    let Some(value) = value else { return false };
    *value = Some("nobody wrote this".into());
    true
}

/// Allows the first attempt of a user before anybody granted anything to the user.
fn allow_attempt(events: &mut [Event], _: &mut Random) -> bool {
    let mut granted: BTreeSet<String> = BTreeSet::new();
    let mut open: BTreeMap<u64, String> = BTreeMap::new();
    for event in events.iter_mut() {
        match &mut event.kind {
            Kind::Invoke { call: Call::Grant(grant), .. } => {
                granted.insert(grant.user.clone());
            }
            Kind::Invoke { process, call: Call::Attempt(attempt), .. } => {
                open.insert(*process, attempt.user.clone());
            }
            Kind::Ok { process, answer: Answer::Attempt(attempted), .. }
                if !granted.contains(&open[process]) =>
            {
                attempted.allowed = true;
                return true;
            }
            _ => {}
        }
    }
    false
}

/// Ends a chain although records follow in its shard.
fn end_page(events: &mut [Event], random: &mut Random) -> bool {
    let page = answers(events, random).into_iter().find_map(|answer| match answer {
        Answer::Get(page) if page.next && page.behind_ms > 0 => Some(page),
        _ => None,
    });
    let Some(page) = page else { return false };
    page.next = false;
    true
}

/// The records of all pages and full reads.
fn all_records(events: &mut [Event]) -> impl Iterator<Item = &mut Vec<Record>> {
    events.iter_mut().filter_map(|event| match &mut event.kind {
        Kind::Ok { answer: Answer::Get(page), .. } => Some(&mut page.records),
        Kind::Ok { answer: Answer::Drain(drained), .. } => Some(&mut drained.records),
        _ => None,
    })
}

/// Exchanges two records that were put one after the other, in all acknowledgements and reads.
fn exchange_records(events: &mut [Event], _: &mut Random) -> bool {
    let mut open: BTreeMap<u64, Put> = BTreeMap::new();
    let mut first: Option<(Put, Stored)> = None;
    let mut last: Option<(Put, Stored)> = None;
    for event in events.iter() {
        match &event.kind {
            Kind::Invoke { process, call: Call::Put(put), .. } if put.budget == 1 => {
                if first.is_some() {
                    open.insert(*process, put.clone());
                } else {
                    open = BTreeMap::from([(*process, put.clone())]);
                }
            }
            Kind::Ok { process, answer: Answer::Put(stored), .. } => {
                let Some(put) = open.remove(process) else { continue };
                match &first {
                    None => {
                        first = Some((put, stored.clone()));
                        open.clear();
                    }
                    Some((_, earlier)) if earlier.shard == stored.shard => {
                        last = Some((put, stored.clone()));
                        break;
                    }
                    Some(_) => {}
                }
            }
            _ => {}
        }
    }
    let (Some((put, stored)), Some((later, later_stored))) = (first, last) else { return false };
    for event in events.iter_mut() {
        if let Kind::Ok { answer: Answer::Put(at), .. } = &mut event.kind {
            if at.seq == stored.seq {
                at.seq = later_stored.seq;
            } else if at.seq == later_stored.seq {
                at.seq = stored.seq;
            }
        }
    }
    for record in all_records(events).flatten() {
        if record.seq == stored.seq {
            (record.uid, record.pk) = (Some(later.uid), later.pk.clone());
        } else if record.seq == later_stored.seq {
            (record.uid, record.pk) = (Some(put.uid), put.pk.clone());
        }
    }
    true
}

/// Adds a copy of a record that has one already to the end of all full reads of its shard.
fn repeat_in_drains(events: &mut [Event], _: &mut Random) -> bool {
    let mut once: BTreeSet<Uid> = BTreeSet::new();
    for event in events.iter() {
        if let Kind::Invoke { call: Call::Put(put), .. } = &event.kind
            && put.budget == 1
            && !put.named
        {
            once.insert(put.uid);
        }
    }
    let drains = || {
        |event: &mut Event| match &mut event.kind {
            Kind::Ok { answer: Answer::Drain(drained), .. } if !drained.records.is_empty() => {
                let record =
                    drained.records.iter().find(|at| at.uid.is_some_and(|uid| once.contains(&uid)));
                record.cloned()
            }
            _ => None,
        }
    };
    let Some(record) = events.iter_mut().find_map(drains()) else { return false };
    for event in events.iter_mut() {
        if let Kind::Ok { answer: Answer::Drain(drained), .. } = &mut event.kind
            && drained.records.iter().any(|at| at.seq == record.seq)
        {
            let last = drained.records.last().unwrap().clone();
            let seq = format!("{}000", last.seq).parse().unwrap();
            drained.records.push(Record { seq, ts: last.ts, ..record.clone() });
        }
    }
    true
}

fn listed(events: &mut [Event]) -> impl Iterator<Item = &mut Shard> {
    let lists = events.iter_mut().filter_map(|event| match &mut event.kind {
        Kind::Ok { answer: Answer::Shards(shards), .. } => Some(&mut shards.shards),
        _ => None,
    });
    lists.flatten()
}

fn lower_start(events: &mut [Event], _: &mut Random) -> bool {
    let child = listed(events).find(|shard| !shard.parents.is_empty()).map(|at| at.shard.clone());
    let Some(child) = child else { return false };
    for shard in listed(events).filter(|shard| shard.shard == child) {
        shard.start = Seq::small(2);
    }
    true
}

/// Changes the end in the last list, if an earlier list has it too.
fn change_end(events: &mut [Event], _: &mut Random) -> bool {
    let mut closed: BTreeMap<ShardId, u32> = BTreeMap::new();
    for shard in listed(events).filter(|shard| shard.end.is_some()) {
        *closed.entry(shard.shard.clone()).or_default() += 1;
    }
    let Some((shard, count)) = closed.into_iter().find(|(_, count)| *count > 1) else {
        return false;
    };
    let mut ends = listed(events).filter(|at| at.shard == shard && at.end.is_some());
    let last = ends.nth(count as usize - 1).unwrap();
    last.end = Some(format!("{}0", last.end.unwrap()).parse().unwrap());
    true
}

fn change_retention(events: &mut [Event], random: &mut Random) -> bool {
    let status = answers(events, random).into_iter().find_map(|answer| match answer {
        Answer::Describe(status) => Some(status),
        _ => None,
    });
    let Some(status) = status else { return false };
    status.retention_hours = 7;
    true
}

/// Turns the processing of a record into a failed call, if the owner goes on with the next record of the shard.
fn skip_processing(events: &mut [Event], _: &mut Random) -> bool {
    let mut calls: Vec<(usize, Process)> = Vec::new();
    for (place, event) in events.iter().enumerate() {
        let Kind::Invoke { process, call: Call::Process(call), .. } = &event.kind else { continue };
        let mut later = events[place + 1..].iter();
        let outcome = later.find(|event| event.kind.process() == Some(*process));
        if outcome.is_some_and(|event| matches!(event.kind, Kind::Ok { .. })) {
            calls.push((place, call.clone()));
        }
    }
    let same = |a: &Process, b: &Process| (a.epoch, &a.shard) == (b.epoch, &b.shard);
    let skipped = calls.iter().enumerate().find(|(at, (_, call))| {
        let goes_on =
            calls[at + 1..].iter().any(|(_, next)| same(next, call) && next.seq > call.seq);
        let again = calls.iter().filter(|(_, other)| same(other, call) && other.seq == call.seq);
        goes_on && again.count() == 1
    });
    let Some((_, (place, _))) = skipped else { return false };
    let process = events[*place].kind.process();
    for event in &mut events[*place + 1..] {
        if event.kind.process() != process {
            continue;
        }
        let (Some(process), gateway) = (process, event.kind.gateway()) else { return false };
        let (function, error) = (Function::Process, String::from("not processed"));
        event.kind = Kind::Fail { process, gateway, function, error };
        return true;
    }
    false
}

fn change_checkpoint(events: &mut [Event], random: &mut Random) -> bool {
    let taken = answers(events, random).into_iter().find_map(|answer| match answer {
        Answer::LeaseTake(taken) => Some(taken),
        _ => None,
    });
    let Some(taken) = taken else { return false };
    taken.checkpoint = Some(CheckpointAt::Seq(Seq::small(3)));
    true
}

fn change_child(events: &mut [Event], random: &mut Random) -> bool {
    let page = answers(events, random).into_iter().find_map(|answer| match answer {
        Answer::Get(page) if !page.children.is_empty() => Some(page),
        _ => None,
    });
    let Some(page) = page else { return false };
    page.children[0].range.start = HashKey(page.children[0].range.start.0 + 1);
    true
}
