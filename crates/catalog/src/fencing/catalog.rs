//! The catalog in the model: shards with small ranges, and jobs. A hash key is a small number.

use super::{JobId, Rules};

/// Number of a shard. Shards are numbered in the order in which jobs make them.
pub(super) type ShardIndex = usize;

/// The part of the catalog's state machine that is about resharding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Catalog {
    /// Shards by [`ShardIndex`], those of aborted jobs included.
    pub(super) shards: Vec<Shard>,
    /// Jobs, ended ones included. The first one has the number 1.
    pub(super) jobs: Vec<Job>,
}

/// A shard in the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shard {
    /// Hash keys of the shard, `start..end`.
    pub(super) range: (u8, u8),
    pub(super) status: Status,
}

/// Status of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Status {
    /// The job that makes the shard is current. Writers do not see the shard.
    Hidden,
    /// The shard takes records.
    Open,
    /// The shard takes no more records. `ending` is the number of the last one.
    Closed { ending: u64 },
    /// The job was aborted.
    Gone,
}

/// One split or merge.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Job {
    pub(super) parents: Vec<ShardIndex>,
    pub(super) children: Vec<ShardIndex>,
    pub(super) committed: bool,
    pub(super) aborted: bool,
}

/// The answer of a parent to FREEZE: the number of its last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FreezeAnswer {
    pub(super) job: JobId,
    pub(super) shard: ShardIndex,
    pub(super) last: u64,
}

/// The request of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reshard {
    /// One shard becomes two halves.
    Split(ShardIndex),
    /// Two neighbours become one.
    Merge(ShardIndex, ShardIndex),
}

/// An entry of the catalog's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// A user splits or merges shards.
    Prepare(Reshard),
    /// A controller ends a job with an answer of every parent.
    Commit(JobId, Vec<FreezeAnswer>),
    /// A controller gives a job up.
    Abort(JobId),
}

impl Catalog {
    /// A catalog with open shards of these widths, next to each other.
    pub(super) fn new(widths: &[u8]) -> Self {
        let mut end = 0;
        let shards = widths.iter().map(|width| {
            let start = end;
            end += width;
            Shard { range: (start, end), status: Status::Open }
        });
        Self { shards: shards.collect(), jobs: Vec::new() }
    }

    /// The catalog after one more entry of its log. `None` if the entry changes nothing.
    pub(super) fn after(&self, command: Command, rules: &Rules) -> Option<Self> {
        match command {
            Command::Prepare(reshard) => self.prepare(reshard),
            Command::Commit(job, answers) => self.commit(job, &answers, rules),
            Command::Abort(job) => self.abort(job),
        }
    }

    /// Jobs with their numbers, in order.
    pub(super) fn jobs(&self) -> impl Iterator<Item = (JobId, &Job)> {
        (1..).zip(&self.jobs)
    }

    /// Open shards with their numbers, in order.
    pub(super) fn open_shards(&self) -> impl Iterator<Item = (ShardIndex, &Shard)> {
        self.shards.iter().enumerate().filter(|(_, shard)| shard.status == Status::Open)
    }

    /// Whether `shard` was made of `ancestor`, by one job or several.
    pub(super) fn descends(&self, shard: ShardIndex, ancestor: ShardIndex) -> bool {
        let made_by = self.jobs.iter().find(|job| job.children.contains(&shard));
        let parents = made_by.map_or(&[][..], |job| &job.parents);
        parents.iter().any(|&parent| parent == ancestor || self.descends(parent, ancestor))
    }

    fn prepare(&self, reshard: Reshard) -> Option<Self> {
        let ranges = self.ranges_after(reshard)?;
        let parents = match reshard {
            Reshard::Split(parent) => vec![parent],
            Reshard::Merge(left, right) => vec![left, right],
        };
        if !parents.iter().all(|&parent| self.is_free(parent)) {
            return None;
        }
        let mut next = self.clone();
        let children = (self.shards.len()..).take(ranges.len()).collect();
        next.shards.extend(ranges.into_iter().map(|range| Shard { range, status: Status::Hidden }));
        next.jobs.push(Job { parents, children, committed: false, aborted: false });
        Some(next)
    }

    /// Whether the shard is open and in no current job.
    fn is_free(&self, shard: ShardIndex) -> bool {
        let busy = self.jobs.iter().any(|job| job.is_current() && job.parents.contains(&shard));
        self.shards[shard].status == Status::Open && !busy
    }

    /// Ranges of the children. `None` if the shard is too narrow, or if the shards are not neighbours.
    fn ranges_after(&self, reshard: Reshard) -> Option<Vec<(u8, u8)>> {
        match reshard {
            Reshard::Split(parent) => {
                let (start, end) = self.shards[parent].range;
                let middle = start.midpoint(end);
                (start < middle).then(|| vec![(start, middle), (middle, end)])
            }
            Reshard::Merge(left, right) => {
                let (left, right) = (self.shards[left].range, self.shards[right].range);
                (left.1 == right.0).then(|| vec![(left.0, right.1)])
            }
        }
    }

    fn commit(&self, id: JobId, answers: &[FreezeAnswer], rules: &Rules) -> Option<Self> {
        let job = self.current(id)?;
        let own = |answer: &FreezeAnswer| answer.job == id || !rules.commit_needs_own_answers;
        let mut next = self.clone();
        for &parent in &job.parents {
            let answer = answers.iter().find(|answer| answer.shard == parent && own(answer))?;
            next.shards[parent].status = Status::Closed { ending: answer.last };
        }
        for &child in &job.children {
            next.shards[child].status = Status::Open;
        }
        next.jobs[index(id)].committed = true;
        Some(next)
    }

    fn abort(&self, id: JobId) -> Option<Self> {
        let job = self.current(id)?;
        let mut next = self.clone();
        for &child in &job.children {
            next.shards[child].status = Status::Gone;
        }
        next.jobs[index(id)].aborted = true;
        Some(next)
    }

    fn current(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(index(id)).filter(|job| job.is_current())
    }
}

impl Job {
    /// Whether the job is neither committed nor aborted.
    pub(super) fn is_current(&self) -> bool {
        !self.committed && !self.aborted
    }
}

fn index(id: JobId) -> usize {
    usize::try_from(id).expect("a model has few jobs") - 1
}
