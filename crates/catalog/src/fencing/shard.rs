//! A shard in the model. `real.rs` compares it with `anabranch_shard::ShardState`.
//!
//! ```text
//!                OPEN          FREEZE(j)          CLOSE(j)
//!     hidden ---------> open <------------> frozen ---------> closed
//!                              UNFREEZE(j)
//! ```

use super::{JobId, Rules};

/// The part of a shard's state machine that is about resharding.
///
/// Invariant: `frozen_by <= job`. The shard takes records unless it is hidden, frozen or closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ShardModel {
    /// The job that made the shard; 0 for the first shards of a stream.
    pub(crate) born: JobId,
    /// Whether the shard is not open yet. Every shard that a job makes begins hidden.
    pub(crate) hidden: bool,
    /// The highest job that has frozen the shard; 0 if none has.
    pub(crate) job: JobId,
    /// The job whose freeze is in force.
    pub(crate) frozen_by: Option<JobId>,
    /// Whether the shard takes no records ever again.
    pub(crate) closed: bool,
    /// Number of the last record; 0 without records.
    pub(crate) last: u64,
}

/// An entry of a shard's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// One more record.
    Append,
    /// Stop taking records for this job, and answer with the last one.
    Freeze(JobId),
    /// The job was aborted: undo its freeze.
    Unfreeze(JobId),
    /// The job that made the shard was committed.
    Open(JobId),
    /// The job that froze the shard was committed.
    Close(JobId),
}

/// Result of applying a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The record was added with this number.
    Appended(u64),
    /// The shard is hidden, frozen or closed: no record was added.
    Refused,
    /// The shard is frozen by this job. This is the number of its last record as long as it stays frozen.
    Frozen(u64),
    /// The shard is as the command wants it. It may have been so before.
    Done,
    /// The job of the command is not, or no longer, in force here. Nothing changed.
    Stale,
}

/// Applies one entry of the log. The result depends on nothing else, so all replicas become equal.
pub(crate) fn step(shard: &mut ShardModel, command: Command, rules: &Rules) -> Answer {
    match command {
        Command::Append => append(shard),
        Command::Freeze(job) => freeze(shard, job, rules),
        Command::Unfreeze(job) => unfreeze(shard, job, rules),
        Command::Open(job) => open(shard, job),
        Command::Close(job) => close(shard, job),
    }
}

impl ShardModel {
    /// A shard of a stream that was just created.
    pub(crate) fn first() -> Self {
        Self::default()
    }

    /// A shard that `job` makes.
    pub(crate) fn child_of(job: JobId) -> Self {
        Self { born: job, hidden: true, ..Self::default() }
    }
}

fn append(shard: &mut ShardModel) -> Answer {
    if shard.hidden || shard.frozen_by.is_some() || shard.closed {
        return Answer::Refused;
    }
    shard.last += 1;
    Answer::Appended(shard.last)
}

fn freeze(shard: &mut ShardModel, job: JobId, rules: &Rules) -> Answer {
    let older = rules.older_freeze_is_stale && job < shard.job;
    let undone = rules.undone_freeze_is_stale && job == shard.job && shard.frozen_by != Some(job);
    if shard.closed || older || undone {
        return Answer::Stale;
    }
    shard.job = shard.job.max(job);
    shard.frozen_by = Some(job);
    Answer::Frozen(shard.last)
}

/// The freeze of another job stays until the UNFREEZE of that job. An UNFREEZE never arrives before the FREEZE of its
/// job, because its sender saw the shard frozen by the job.
fn unfreeze(shard: &mut ShardModel, job: JobId, rules: &Rules) -> Answer {
    if shard.frozen_by == Some(job) || !rules.unfreeze_only_own {
        shard.frozen_by = None;
    }
    Answer::Done
}

fn open(shard: &mut ShardModel, job: JobId) -> Answer {
    if shard.born != job {
        return Answer::Stale;
    }
    shard.hidden = false;
    Answer::Done
}

fn close(shard: &mut ShardModel, job: JobId) -> Answer {
    if shard.frozen_by != Some(job) {
        return Answer::Stale;
    }
    shard.closed = true;
    Answer::Done
}
