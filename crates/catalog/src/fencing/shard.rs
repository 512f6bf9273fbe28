use super::{JobId, Rules};

/// A shard's state machine, as far as resharding goes.
///
/// Invariant: `frozen_by <= job`. It takes records unless it is hidden, frozen or closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ShardModel {
    /// The job that made it; 0 for the first shards of a stream.
    pub(crate) born: JobId,
    /// Not opened yet. At first true of every shard that a job made.
    pub(crate) hidden: bool,
    /// Highest job that froze it; 0 if none did.
    pub(crate) job: JobId,
    /// The job that holds it frozen.
    pub(crate) frozen_by: Option<JobId>,
    /// Takes no records ever again.
    pub(crate) closed: bool,
    /// Number of its last record; the first is 1.
    pub(crate) last: u64,
}

/// An entry of a shard's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// One more record.
    Append,
    /// Take no records on behalf of this job, and say which was the last.
    Freeze(JobId),
    /// This job was aborted: undo its freeze.
    Unfreeze(JobId),
    /// The job that made the shard was committed.
    Open(JobId),
    /// The job that froze the shard was committed.
    Close(JobId),
}

/// What applying a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The record has this number.
    Appended(u64),
    /// Hidden, frozen or closed: no record was added.
    Refused,
    /// Frozen by the job that asked; this is the last record as long as it stays so.
    Frozen(u64),
    /// As the command wants it, now or already before.
    Done,
    /// The command's job has no say here (any more); nothing changed.
    Stale,
}

/// Applies one entry of the log. It depends on nothing else, so replicas end equal.
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

/// The freeze of another job stays until it is undone by its own UNFREEZE. That it is sent only by who
/// saw the shard frozen by the job is enough: it never comes before its FREEZE.
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
