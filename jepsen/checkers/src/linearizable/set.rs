//! A set, one member at a time: the member is there or not.

use std::collections::{BTreeMap, BTreeSet};

use super::Model;
use super::search::Timed;
use crate::history::{Answer, Call, Operation, Outcome};
use crate::run::Run;

/// The error of an addition that found the member.
const EXISTS: &str = "exists";
/// The error of a removal that did not find the member.
const ABSENT: &str = "absent";

/// The model.
pub(crate) struct Member;

/// What a call did to a member, or what it saw.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MemberCall {
    /// The member was not there, and now it is.
    Added,
    /// The member was there, and now it is not.
    Removed,
    /// The call may have added the member, or it may have found it.
    MayAdd,
    /// The call may have removed the member, or it may not have found it.
    MayRemove,
    /// The call saw whether the member is there.
    Saw(bool),
}

impl Model for Member {
    type State = bool;
    type Call = MemberCall;

    fn start(&self) -> bool {
        false
    }

    fn step(&self, state: &bool, call: &MemberCall) -> Option<bool> {
        match *call {
            MemberCall::Added => (!*state).then_some(true),
            MemberCall::Removed => state.then_some(false),
            MemberCall::MayAdd => Some(true),
            MemberCall::MayRemove => Some(false),
            MemberCall::Saw(there) => (there == *state).then_some(there),
        }
    }

    fn is_observation(&self, call: &MemberCall) -> bool {
        matches!(call, MemberCall::Saw(_))
    }
}

type Members<'a> = BTreeMap<(&'a str, &'a str), Vec<Timed<MemberCall>>>;

/// The calls about each member of each set. A failed call is an observation if its error says what it found.
pub(super) fn members<'a>(run: &Run<'a>) -> Members<'a> {
    let mut members = Members::new();
    for operation in &run.operations {
        let (set, member, call) = match operation.call {
            Call::Add(call) => (&call.set, &call.member, added(operation)),
            Call::Remove(call) => (&call.set, &call.member, removed(operation)),
            _ => continue,
        };
        let calls = members.entry((set, member)).or_default();
        calls.extend(call.map(|call| timed(operation, call)));
    }
    add_lists(run, &mut members);
    members
}

fn added(operation: &Operation<'_>) -> Option<MemberCall> {
    match operation.outcome {
        Outcome::Ok { .. } => Some(MemberCall::Added),
        Outcome::Unknown => Some(MemberCall::MayAdd),
        Outcome::Failed { error, .. } => (error == EXISTS).then_some(MemberCall::Saw(true)),
    }
}

fn removed(operation: &Operation<'_>) -> Option<MemberCall> {
    match operation.outcome {
        Outcome::Ok { .. } => Some(MemberCall::Removed),
        Outcome::Unknown => Some(MemberCall::MayRemove),
        Outcome::Failed { error, .. } => (error == ABSENT).then_some(MemberCall::Saw(false)),
    }
}

fn timed(operation: &Operation<'_>, call: MemberCall) -> Timed<MemberCall> {
    let end = match operation.outcome {
        Outcome::Ok { index, .. } | Outcome::Failed { index, .. } => Some(index),
        Outcome::Unknown => None,
    };
    Timed { begin: operation.index, end, call }
}

/// A list is an observation of each member that the history knows. A member that only a list knows was never added,
/// so its list cannot be explained.
fn add_lists<'a>(run: &Run<'a>, members: &mut Members<'a>) {
    let mut sets: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut lists = Vec::new();
    for (set, member) in members.keys() {
        sets.entry(set).or_default().insert(member);
    }
    for operation in &run.operations {
        if let (Call::List(call), Outcome::Ok { answer: Answer::List(answer), .. }) =
            (operation.call, operation.outcome)
        {
            let listed: BTreeSet<&str> = answer.members.iter().map(String::as_str).collect();
            sets.entry(&call.set).or_default().extend(&listed);
            lists.push((operation, &*call.set, listed));
        }
    }
    for (operation, set, listed) in lists {
        for member in sets.get(set).into_iter().flatten() {
            let saw = MemberCall::Saw(listed.contains(member));
            members.entry((set, member)).or_default().push(timed(operation, saw));
        }
    }
}
