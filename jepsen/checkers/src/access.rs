//! Access (A1, A2): what was granted is allowed, and what was revoked is not. Each action of a user is checked alone.

use std::collections::BTreeMap;

use crate::history::{Answer, Call, Operation, Outcome};
use crate::linearizable::{self, Right, RightCall};
use crate::run::Run;
use crate::verdict::Report;

/// The calls about each action of a user.
fn by_right<'r, 'a>(
    run: &'r Run<'a>,
) -> BTreeMap<(&'a str, &'a str), Vec<(&'r Operation<'a>, RightCall)>> {
    let mut rights: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for operation in &run.operations {
        let (user, action, call) = match (operation.call, operation.outcome) {
            (Call::Grant(call), _) => (&call.user, &call.action, RightCall::Grant),
            (Call::Revoke(call), _) => (&call.user, &call.action, RightCall::Revoke),
            (Call::Attempt(call), Outcome::Ok { answer: Answer::Attempt(attempted), .. }) => {
                let allowed = attempted.allowed;
                (&call.user, &call.action, RightCall::Attempt { allowed })
            }
            _ => continue,
        };
        let key = (user.as_str(), action.as_str());
        rights.entry(key).or_default().push((operation, call));
    }
    rights
}

/// A1. Denied attempts say nothing here, so a grant may reach the nodes late, and a removal may not.
pub(crate) fn allowed_after_revoke(run: &Run<'_>, report: &mut Report) {
    for ((user, action), calls) in by_right(run) {
        let calls = calls.into_iter().filter(|(_, call)| !is_denied(*call));
        let calls = linearizable::calls(calls);
        let subject = format!("user {user}, action {action}");
        linearizable::judge(run, report, &subject, &Right, &calls);
    }
}

fn is_denied(call: RightCall) -> bool {
    call == RightCall::Attempt { allowed: false }
}

/// A2. An attempt was denied, a grant ended before it began, and no removal may have come since.
pub(crate) fn denied_after_grant(run: &Run<'_>, report: &mut Report) {
    for ((user, action), calls) in by_right(run) {
        for (attempt, _) in calls.iter().filter(|(_, call)| is_denied(*call)) {
            let Outcome::Ok { at: denied, index, .. } = attempt.outcome else { continue };
            let granted = calls.iter().rev().filter(|(_, call)| *call == RightCall::Grant);
            let mut granted = granted.filter_map(|(grant, _)| match grant.outcome {
                Outcome::Ok { at, .. } if at < attempt.invoked => Some(*grant),
                Outcome::Ok { .. } | Outcome::Failed { .. } | Outcome::Unknown => None,
            });
            let Some(grant) = granted.next() else { continue };
            let revoked = calls.iter().any(|(revoke, call)| {
                let is_over = match revoke.outcome {
                    Outcome::Ok { at, .. } => at < grant.invoked,
                    Outcome::Failed { .. } => true,
                    Outcome::Unknown => false,
                };
                *call == RightCall::Revoke && !is_over && revoke.invoked <= denied
            });
            if !revoked {
                let message = format!(
                    "user {user}, action {action}: denied at {denied}, although it was granted before"
                );
                let promised = run.header.promises.immediate_grants;
                report.promised(promised, message, &[grant.index, index]);
            }
        }
    }
}
