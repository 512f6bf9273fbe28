//! Which retention may have been in force when.

use std::collections::HashMap;

use crate::history::{Call, Header, Nanos, Operation, Outcome, StreamName};

/// The retentions of a stream, in the order of the calls that set them.
#[derive(Debug)]
pub(super) struct Retentions {
    changes: Vec<Change>,
    raises: Vec<Nanos>,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    hours: u64,
    invoked: Nanos,
    /// `None` if the outcome is unknown. Such a change may take effect at any later time.
    at: Option<Nanos>,
}

impl Retentions {
    /// The least and the largest number of hours that may have been in force from `from` to `to`.
    pub(super) fn range(&self, from: Nanos, to: Nanos) -> (u64, u64) {
        let possible = self.changes.iter().filter(|change| {
            change.invoked <= to && !self.changes.iter().any(|next| replaces(next, change, from))
        });
        let hours = possible.map(|change| change.hours);
        hours.fold((u64::MAX, 0), |(least, most), hours| (least.min(hours), most.max(hours)))
    }

    /// Invocations of the changes that may have made the retention longer.
    pub(super) fn raises(&self) -> &[Nanos] {
        &self.raises
    }
}

/// Whether `next` took effect after `change`, and before `from`.
fn replaces(next: &Change, change: &Change, from: Nanos) -> bool {
    let is_later = change.at.is_some_and(|at| at < next.invoked);
    is_later && next.at.is_some_and(|at| at < from)
}

pub(super) fn collect<'a>(
    header: &Header,
    operations: &[Operation<'a>],
) -> HashMap<&'a StreamName, Retentions> {
    let mut changes: HashMap<&StreamName, Vec<Change>> = HashMap::new();
    let default = header.default_retention_hours;
    for operation in operations {
        let (stream, hours, creates) = match operation.call {
            Call::Create(call) => (&call.stream, call.retention_hours.unwrap_or(default), true),
            Call::Retention(call) => (&call.stream, call.hours, false),
            _ => continue,
        };
        let at = match operation.outcome {
            Outcome::Failed { .. } => continue,
            Outcome::Ok { at, .. } => Some(at),
            Outcome::Unknown => None,
        };
        let known = changes.entry(stream).or_default();
        if known.is_empty() && !creates {
            known.push(Change { hours: default, invoked: Nanos(0), at: Some(Nanos(0)) });
        }
        known.push(Change { hours, invoked: operation.invoked, at });
    }
    changes.into_iter().map(|(stream, changes)| (stream, with_raises(changes))).collect()
}

fn with_raises(changes: Vec<Change>) -> Retentions {
    let is_raise = |(place, change): &(usize, &Change)| {
        changes[..*place].iter().any(|before| before.hours < change.hours)
    };
    let raises = changes.iter().enumerate().filter(is_raise);
    let raises = raises.map(|(_, change)| change.invoked).collect();
    Retentions { changes, raises }
}
