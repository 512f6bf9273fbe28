//! Which retention may have been in force when.

use std::collections::HashMap;

use crate::history::{Call, Header, Nanos, Operation, Outcome, StreamName};

/// The retentions of a stream, in the order of the calls that set them.
#[derive(Debug)]
pub(super) struct Retentions {
    changes: Vec<Change>,
    raises: Vec<Nanos>,
    /// The end of each change that succeeded, sorted, with the latest invocation of a change that ended by then.
    settled: Vec<(Nanos, Nanos)>,
    /// The least and the largest number of hours of all changes.
    bounds: (u64, u64),
}

#[derive(Clone, Copy, Debug)]
struct Change {
    hours: u64,
    invoked: Nanos,
    /// `None` if the outcome is unknown. Such a change may take effect at any later time.
    at: Option<Nanos>,
}

impl Retentions {
    fn of(changes: Vec<Change>) -> Self {
        let is_raise = |(place, change): &(usize, &Change)| {
            changes[..*place].iter().any(|before| before.hours < change.hours)
        };
        let raises = changes.iter().enumerate().filter(is_raise);
        let raises = raises.map(|(_, change)| change.invoked).collect();
        let ended = changes.iter().filter_map(|change| Some((change.at?, change.invoked)));
        let mut settled: Vec<(Nanos, Nanos)> = ended.collect();
        settled.sort_unstable();
        let mut latest = Nanos(0);
        for (_, invoked) in &mut settled {
            latest = latest.max(*invoked);
            *invoked = latest;
        }
        let bounds = span(changes.iter());
        Self { changes, raises, settled, bounds }
    }

    /// The least and the largest number of hours of all changes.
    pub(super) fn bounds(&self) -> (u64, u64) {
        self.bounds
    }

    /// The least and the largest number of hours that may have been in force from `from` to `to`. A change was
    /// replaced if a later change ended before `from`.
    pub(super) fn range(&self, from: Nanos, to: Nanos) -> (u64, u64) {
        let ended = self.settled.partition_point(|(at, _)| *at < from);
        let latest = ended.checked_sub(1).map(|last| self.settled[last].1);
        let is_replaced = |change: &Change| change.at.is_some_and(|at| Some(at) < latest);
        let begun = self.changes.partition_point(|change| change.invoked <= to);
        span(self.changes[..begun].iter().filter(|change| !is_replaced(change)))
    }

    /// Invocations of the changes that may have made the retention longer.
    pub(super) fn raises(&self) -> &[Nanos] {
        &self.raises
    }
}

fn span<'c>(changes: impl Iterator<Item = &'c Change>) -> (u64, u64) {
    let hours = changes.map(|change| change.hours);
    hours.fold((u64::MAX, 0), |(least, most), hours| (least.min(hours), most.max(hours)))
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
    changes.into_iter().map(|(stream, changes)| (stream, Retentions::of(changes))).collect()
}
