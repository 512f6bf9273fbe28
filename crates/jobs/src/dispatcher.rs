//! Gives jobs to nodes. Runs on every node, and acts only where the table group's leader is. It remembers nothing that
//! matters: all it knows is in rows, so the next leader goes on at once.
//!
//! Two dispatchers may act for a moment, around a change of the leader. Each change expects the row as it was read, so
//! one of the two fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::NodeState;
use anabranch_client::{ShownRows, Tables};
use anabranch_table::{Expect, Key, Outcome, SpaceId, Transaction, Version};
use anabranch_types::{Clock, GroupId, NodeId, Timestamp};
use bytes::Bytes;
use futures::StreamExt;
use tokio::time::{Instant, sleep, timeout};

use crate::assign::{Change, Condition, MAX_BALANCING, Situation, assign};
use crate::copies::Copies;
use crate::id::JobId;
use crate::leaving;
use crate::member::Member;
use crate::row::{JobRow, Owner, SPACE};
use crate::status::{self, JobStatus};
use crate::work::{WantedJobs, Work};

/// Longest time between two looks at the nodes.
const LOOK: Duration = Duration::from_millis(200);
/// A node is gone after this time of silence, counted from when it was first found silent. [`Member::is_silent`] takes
/// a second, so a job waits two seconds for its node to come back.
const GONE_AFTER: Duration = Duration::from_secs(1);
/// Time between two rounds in which jobs may leave their nodes because of the balance.
const BALANCE_EVERY: Duration = Duration::from_secs(1);
/// Least time between two rounds. Every checkpoint of a job is a change.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(50);
/// Key of the row that each deletion of a job's row writes. A dispatcher that makes a row expects this one as it has
/// read it. So its copy shows every deletion, and the new epoch is above those of the deleted rows.
const FLOOR: &[u8] = b"floor";
/// Transactions at a time.
const CONCURRENT: usize = 32;

pub(crate) struct Dispatcher {
    pub(crate) works: Arc<[Arc<dyn Work>]>,
    pub(crate) member: Arc<dyn Member>,
    pub(crate) tables: Tables,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) group: GroupId,
    pub(crate) owners: SpaceId,
    pub(crate) statuses: SpaceId,
    pub(crate) copies: Copies,
}

/// The dispatcher's memory from round to round.
#[derive(Default)]
struct Memory {
    silent: BTreeMap<NodeId, Instant>,
    balanced: Option<Instant>,
}

impl Dispatcher {
    /// Runs until the task is dropped.
    pub(crate) async fn run(mut self) {
        let names = self.works.iter().flat_map(|work| work.spaces()).copied();
        let spaces: Vec<_> = names.chain([SPACE, leaving::SPACE]).collect();
        let mut memory = Memory::default();
        loop {
            // A round follows each change of rows, and looks at nodes and the catalog now and then.
            let _look_again = timeout(LOOK, self.copies.changed(&spaces)).await;
            if self.member.leads(self.group)
                && self.member.is_current()
                && self.copies.are_complete()
            {
                self.round(&mut memory).await;
                sleep(BETWEEN_ROUNDS).await;
            } else {
                memory = Memory::default();
            }
        }
    }

    async fn round(&self, memory: &mut Memory) {
        let (nodes, mut wanted) = (self.nodes(memory), self.wanted());
        let rows = self.copies.rows(SPACE);
        let known = self.known(&rows, &mut wanted);
        let decoded = known.iter().map(|(job, (row, _))| (job.clone(), row.clone())).collect();
        let now = Instant::now();
        let may_balance = memory.balanced.is_none_or(|at| now.duration_since(at) >= BALANCE_EVERY);
        let balancing = if may_balance { MAX_BALANCING } else { 0 };
        let situation =
            Situation { nodes: &nodes, wanted: &wanted.jobs, rows: &decoded, balancing };
        let changes = assign(&situation);
        if changes.values().any(|change| *change == Change::Leave) {
            memory.balanced = Some(now);
        }
        let floor = rows.get(FLOOR).map_or(Expect::Absent, |row| Expect::Version(row.version));
        let shown = rows.version();
        // A deletion changes the floor, which new rows expect. So deletions come last.
        let (removes, others): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|(_, change)| *change == Change::Remove);
        let mut newest = shown;
        for changes in [others, removes] {
            let made = futures::stream::iter(changes).map(|(job, change)| {
                let known = known.get(&job).cloned();
                self.make(job, change, known, shown, floor)
            });
            let made = made.buffer_unordered(CONCURRENT);
            newest = made.fold(newest, async |a, b| a.max(b)).await;
        }
        // The next round sees what this one did.
        self.copies.reaches(SPACE, newest).await;
    }

    /// The rows that this dispatcher may change. Those of services and definitions that this release does not know, and
    /// rows without a readable value, are left alone.
    fn known(
        &self,
        rows: &ShownRows,
        wanted: &mut WantedJobs,
    ) -> BTreeMap<JobId, (JobRow, Version)> {
        let WantedJobs { jobs, unreadable } = wanted;
        let is_known = |job: &JobId| {
            let resource = (job.service.clone(), job.resource.clone());
            self.works.iter().any(|work| work.service() == job.service)
                && !unreadable.contains(&resource)
        };
        let mut known = BTreeMap::new();
        for (key, row) in rows.all() {
            let Some(job) = JobId::of_key(key).filter(is_known) else { continue };
            match JobRow::decode(&row.value) {
                Ok(decoded) => {
                    known.insert(job, (decoded, row.version));
                }
                Err(error) => {
                    tracing::error!(%job, %error, "the job is left alone");
                    jobs.remove(&job);
                }
            }
        }
        known
    }

    /// Makes one change. Returns the version that shows it. A change that fails is decided again in the next round.
    async fn make(
        &self,
        job: JobId,
        change: Change,
        known: Option<(JobRow, Version)>,
        shown: Version,
        floor: Expect,
    ) -> Version {
        let key = Key { space: self.owners, key: Bytes::from(job.key()) };
        let checks = match &known {
            Some((_, version)) => vec![(key.clone(), Expect::Version(*version))],
            // The row was never made, or its deletion is in the copy: each deletion writes the floor.
            None => vec![(key.clone(), Expect::Absent), (self.floor(), floor)],
        };
        let old = known.as_ref().map_or(0, |(row, _)| row.epoch);
        let put = |row: &JobRow| vec![(key.clone(), row.encode())];
        let (puts, deletes) = match (change, known) {
            (Change::Remove, _) => {
                let status = Key { space: self.statuses, key: key.key.clone() };
                (vec![(self.floor(), Bytes::new())], vec![key.clone(), status])
            }
            (Change::Assign(node), _) => {
                let owner = Owner::Owned { node, since: self.now(), leaving: false };
                // No row has an epoch above the version at which it was written, so this one is new.
                let epoch = shown.as_u64().max(old).saturating_add(1);
                (put(&JobRow { epoch, owner }), Vec::new())
            }
            (Change::Leave, Some((row, _))) => {
                let Owner::Owned { node, since, .. } = row.owner else { return shown };
                let owner = Owner::Owned { node, since, leaving: true };
                (put(&JobRow { epoch: row.epoch, owner }), Vec::new())
            }
            (Change::Leave, None) => return shown,
        };
        let transaction = Transaction { checks, puts, deletes, ..Transaction::default() };
        match self.tables.transact(self.group, transaction).await {
            Ok(Outcome::Done { version }) => {
                tracing::info!(%job, ?change, "the owner of a job changes");
                version
            }
            Ok(outcome) => {
                tracing::debug!(%job, ?change, ?outcome, "the owner of a job was changed meanwhile");
                shown
            }
            Err(error) => {
                tracing::warn!(%job, ?change, %error, "the owner of a job is not changed yet");
                shown
            }
        }
    }

    fn floor(&self) -> Key {
        Key { space: self.owners, key: Bytes::from_static(FLOOR) }
    }

    fn wanted(&self) -> WantedJobs {
        let view = self.tables.cluster().view();
        let statuses = self.copies.rows(status::SPACE);
        let mut wanted = WantedJobs::default();
        for work in self.works.iter() {
            work.wanted(&view, &self.copies, &*self.member, &mut wanted);
        }
        for (job, want) in &mut wanted.jobs {
            let load =
                statuses.get(&job.key()).map(|row| JobStatus::decode(&row.value).report.load);
            want.weight = want.weight.max(load.unwrap_or_default());
        }
        wanted
    }

    fn nodes(&self, memory: &mut Memory) -> BTreeMap<NodeId, Condition> {
        let view = self.tables.cluster().view();
        let nodes = &view.catalog().nodes;
        let mut conditions = BTreeMap::new();
        let leaving = leaving::nodes(&self.copies.rows(leaving::SPACE));
        memory.silent.retain(|node, _| nodes.contains_key(node));
        for (id, node) in nodes {
            let is_silent = *id != self.member.node() && self.member.is_silent(*id);
            let condition = if is_silent {
                let since = *memory.silent.entry(*id).or_insert_with(Instant::now);
                // Silent, but not long enough: its jobs stay, and it gets no new ones.
                if since.elapsed() >= GONE_AFTER { Condition::Gone } else { Condition::Waited }
            } else {
                memory.silent.remove(id);
                match node.state {
                    NodeState::Active if !leaving.contains(id) => Condition::Takes,
                    NodeState::Active | NodeState::Draining => Condition::Draining,
                }
            };
            conditions.insert(*id, condition);
        }
        conditions
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
