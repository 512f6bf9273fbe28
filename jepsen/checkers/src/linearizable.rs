//! Linearizability: can the calls about one key be put in an order that respects time and explains all results?
//!
//! Each key is checked alone, because a history is linearizable if each of its keys is. A search that visits too many
//! states ends with *unknown*, never with *invalid*. `search.rs` has the search, the other files have the models.

mod lease;
mod register;
mod right;
mod search;
mod set;
mod stream;

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Answer, Call, CompareAndSet, Operation, Outcome, Swapped};
use crate::run::Run;
use crate::verdict::Report;

pub(crate) use lease::{Fenced, LeaseCall};
use register::RegisterCall;
pub(crate) use right::{Right, RightCall};
use search::Search;
pub(crate) use search::Timed;

/// The states of a key, and how calls change them.
pub(crate) trait Model {
    /// The state of the key.
    type State: Clone + Eq + std::hash::Hash + std::fmt::Debug;
    /// A call with its result.
    type Call: std::fmt::Debug;

    /// The state before the first call.
    fn start(&self) -> Self::State;

    /// The state after the call, or `None` if the call cannot have its result in this state. A call with an unknown
    /// outcome that does nothing in this state returns the same state.
    fn step(&self, state: &Self::State, call: &Self::Call) -> Option<Self::State>;

    /// Whether the call only looks. If such a call fits and leaves the state as it is, then to take it now excludes
    /// nothing: any order that takes it later is still possible without it.
    fn is_observation(&self, call: &Self::Call) -> bool;
}

/// The calls about a key, for the search. Failed calls are left out, because they have no effect.
pub(crate) fn calls<'r, 'a: 'r, C>(
    operations: impl Iterator<Item = (&'r Operation<'a>, C)>,
) -> Vec<Timed<C>> {
    let timed = operations.filter_map(|(operation, call)| {
        let end = match operation.outcome {
            Outcome::Ok { index, .. } => Some(index),
            Outcome::Failed { .. } => return None,
            Outcome::Unknown => None,
        };
        Some(Timed { begin: operation.index, end, call })
    });
    timed.collect()
}

/// Reports a key whose calls have no order that explains them.
pub(crate) fn judge<M: Model>(
    run: &Run<'_>,
    report: &mut Report,
    key: &str,
    model: &M,
    calls: &[Timed<M::Call>],
) {
    match search::search(model, calls, run.header.linear_states) {
        Search::Linearizable => {}
        Search::GaveUp { states } => {
            let message = format!("{key}: the search ended without a result after {states} states");
            report.unknown(message, &[]);
        }
        Search::NotLinearizable { stuck, explained, state } => {
            let events: Vec<u64> = stuck.iter().flat_map(|(begin, end)| [*begin, *end]).collect();
            let next: Vec<String> =
                stuck.iter().take(4).map(|(begin, _)| describe(run, calls, *begin)).collect();
            let message = format!(
                "{key}: no order of the calls explains their results; {explained} of {} calls can be explained, the state is then {state}, and none of these calls can be the next: {}",
                calls.len(),
                next.join("; ")
            );
            report.invalid(message, &events);
        }
    }
}

/// The call that began at this index, with its process.
fn describe<C: std::fmt::Debug>(run: &Run<'_>, calls: &[Timed<C>], begin: u64) -> String {
    let call = calls.iter().find(|timed| timed.begin == begin).map(|timed| &timed.call);
    let place = run.operations.binary_search_by_key(&begin, |operation| operation.index);
    match (call, place.map(|place| run.operations[place].process)) {
        (Some(call), Ok(process)) => format!("{call:?} of process {process}"),
        _ => format!("the call at event {begin}"),
    }
}

/// M1.
pub(crate) fn catalog(run: &Run<'_>, report: &mut Report) {
    for (register, mut operations) in registers(run) {
        leave_out_unseen(&mut operations);
        let calls = calls(operations.into_iter());
        judge(run, report, &format!("register {register}"), &register::Register::new(), &calls);
    }
    for ((set, member), operations) in set::members(run) {
        let calls: Vec<Timed<set::MemberCall>> = operations;
        judge(run, report, &format!("set {set}, member {member}"), &set::Member, &calls);
    }
}

type RegisterCalls<'r, 'a> = Vec<(&'r Operation<'a>, RegisterCall<'a>)>;

/// Leaves out writes with an unknown outcome whose value no other call found. An order without such a write explains
/// all results if any order does, and the search is exponential in the number of unknown outcomes.
///
/// A refusal that does not show the value may have found any other one, so then all writes stay.
fn leave_out_unseen(operations: &mut RegisterCalls<'_, '_>) {
    let is_blind =
        |call: &RegisterCall<'_>| matches!(call, RegisterCall::Refused { found: None, .. });
    if operations.iter().any(|(_, call)| is_blind(call)) {
        return;
    }
    let mut found: BTreeSet<String> = BTreeSet::new();
    for (operation, call) in &*operations {
        let is_certain = matches!(operation.outcome, Outcome::Ok { .. });
        let value = match *call {
            RegisterCall::Read(value) => value,
            RegisterCall::Swap { expected, .. } if is_certain => expected,
            RegisterCall::Refused { found, .. } => found.flatten(),
            RegisterCall::Swap { .. } | RegisterCall::Write(_) => None,
        };
        found.extend(value.map(str::to_owned));
    }
    // A compare-and-set of unknown outcome may have found a value that another one wrote.
    let mut more = true;
    while more {
        let before = found.len();
        for (_, call) in &*operations {
            if let RegisterCall::Swap { expected: Some(expected), value } = *call
                && found.contains(value)
            {
                found.insert(expected.to_owned());
            }
        }
        more = found.len() > before;
    }
    operations.retain(|(operation, call)| match (call, operation.outcome) {
        (RegisterCall::Write(Some(value)) | RegisterCall::Swap { value, .. }, Outcome::Unknown) => {
            found.contains(*value)
        }
        _ => true,
    });
}

fn registers<'r, 'a>(run: &'r Run<'a>) -> BTreeMap<&'a str, RegisterCalls<'r, 'a>> {
    let mut registers: BTreeMap<&str, RegisterCalls<'_, '_>> = BTreeMap::new();
    for operation in &run.operations {
        let answer = match operation.outcome {
            Outcome::Ok { answer, .. } => Some(answer),
            Outcome::Failed { .. } | Outcome::Unknown => None,
        };
        let (name, call) = match (operation.call, answer) {
            (Call::Write(write), _) => {
                (&write.register, RegisterCall::Write(write.value.as_deref()))
            }
            (Call::Read(read), Some(Answer::Read(found))) => {
                (&read.register, RegisterCall::Read(found.value.as_deref()))
            }
            (Call::Cas(cas), answer) => (&cas.register, compare_and_set(cas, answer)),
            // Items that differ are no value of the register (M8).
            (Call::Copies(read), Some(Answer::Copies(found))) => match one_value(&found.values) {
                Some(value) => (&read.register, RegisterCall::Read(value)),
                None => continue,
            },
            _ => continue,
        };
        registers.entry(name).or_default().push((operation, call));
    }
    registers
}

fn compare_and_set<'a>(cas: &'a CompareAndSet, answer: Option<&'a Answer>) -> RegisterCall<'a> {
    let expected = cas.expected.as_deref();
    match answer {
        Some(Answer::Cas(Swapped { swapped: false, found })) => {
            let found = found.as_ref().map(|found| found.value.as_deref());
            RegisterCall::Refused { expected, found }
        }
        _ => RegisterCall::Swap { expected, value: &cas.value },
    }
}

/// The value that all items have.
fn one_value(values: &[Option<String>]) -> Option<Option<&str>> {
    let first = values.first()?;
    values.iter().all(|value| value == first).then_some(first.as_deref())
}

/// M8.
pub(crate) fn transactions(run: &Run<'_>, report: &mut Report) {
    for operation in &run.operations {
        if let (Call::Copies(read), Outcome::Ok { answer: Answer::Copies(found), index, .. }) =
            (operation.call, operation.outcome)
            && one_value(&found.values).is_none()
        {
            let name = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
            let values: Vec<String> = found.values.iter().map(name).collect();
            let message = format!(
                "register {}: each transaction writes the same value to all items, and they have {}",
                read.register,
                values.join(", ")
            );
            report.invalid(message, &[operation.index, index]);
        }
    }
}

/// R8.
pub(crate) fn streams(run: &Run<'_>, report: &mut Report) {
    for (name, (model, calls)) in stream::streams(run) {
        let mut own = Report::new(run.stalled);
        own.begin(crate::RuleId::R8);
        judge(run, &mut own, &format!("stream {name}"), &model, &calls);
        report.adopt(own, run.header.promises.linearizable_streams);
    }
}
