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

use std::collections::BTreeMap;

use crate::history::{Answer, Call, Operation, Outcome};
use crate::run::Run;
use crate::verdict::Report;

pub(crate) use lease::{Fenced, LeaseCall};
pub(crate) use right::{Right, RightCall};
use search::{Search, Timed};

/// What a key is and how calls change it.
pub(crate) trait Model {
    /// The state of the key.
    type State: Clone + Eq + std::hash::Hash;
    /// A call with its result.
    type Call;

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
        Search::NotLinearizable { stuck, explained } => {
            let events: Vec<u64> = stuck.iter().flat_map(|(begin, end)| [*begin, *end]).collect();
            let message = format!(
                "{key}: no order of the calls explains their results; {explained} of {} calls can be explained, and none of these can be the next",
                calls.len()
            );
            report.invalid(message, &events);
        }
    }
}

/// M1.
pub(crate) fn catalog(run: &Run<'_>, report: &mut Report) {
    for (register, operations) in registers(run) {
        let calls = calls(operations.into_iter());
        judge(run, report, &format!("register {register}"), &register::Register::new(), &calls);
    }
    for ((set, member), operations) in set::members(run) {
        let calls: Vec<Timed<set::MemberCall>> = operations;
        judge(run, report, &format!("set {set}, member {member}"), &set::Member, &calls);
    }
}

type RegisterCalls<'r, 'a> = Vec<(&'r Operation<'a>, register::RegisterCall<'a>)>;

fn registers<'r, 'a>(run: &'r Run<'a>) -> BTreeMap<&'a str, RegisterCalls<'r, 'a>> {
    let mut registers: BTreeMap<&str, RegisterCalls<'_, '_>> = BTreeMap::new();
    for operation in &run.operations {
        let (name, call) = match (operation.call, operation.outcome) {
            (Call::Write(write), _) => {
                (&write.register, register::RegisterCall::Write(write.value.as_deref()))
            }
            (Call::Read(read), Outcome::Ok { answer: Answer::Read(found), .. }) => {
                (&read.register, register::RegisterCall::Read(found.value.as_deref()))
            }
            _ => continue,
        };
        registers.entry(name).or_default().push((operation, call));
    }
    registers
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
