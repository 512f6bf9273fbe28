//! The cluster in the model: the entries that can be applied next in each state.
//!
//! A state has only facts that are in a log. Every entry that some participant could have sent in this or an earlier
//! state is an action; the state machine then decides whether it has an effect.

use std::collections::BTreeSet;
use std::sync::Arc;

use stateright::{Model, Property};

use super::catalog::{self, Catalog, FreezeAnswer, Reshard, ShardIndex};
use super::shard::{self, Answer, ShardModel, step};
use super::{JobId, Rules, properties};

/// A cluster, and the bounds of the search.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    pub(super) rules: Rules,
    /// Widths of the first shards in hash keys. A shard of one key cannot be split.
    pub(super) widths: Vec<u8>,
    /// Number of jobs that users ask for.
    pub(super) max_jobs: usize,
    /// Number of records that all shards together accept.
    pub(super) max_records: u64,
}

/// The state of the cluster: all that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// The catalog. Shared between states, because few steps change it.
    pub(super) catalog: Arc<Catalog>,
    /// Shards by [`ShardIndex`], those of aborted jobs included.
    pub(super) shards: Vec<ShardModel>,
    /// All answers that were ever given. Those to one job by one parent are next to each other.
    pub(super) answers: BTreeSet<FreezeAnswer>,
    /// Whether a shard took a record after a shard that was made of it had taken one.
    pub(super) out_of_order: bool,
}

/// An entry that is appended to a log and applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Catalog(catalog::Command),
    Shard(ShardIndex, shard::Command),
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let shards = vec![ShardModel::first(); self.widths.len()];
        let catalog = Arc::new(Catalog::new(&self.widths));
        vec![State { catalog, shards, answers: BTreeSet::new(), out_of_order: false }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.writers(state, actions);
        self.users(state, actions);
        self.controllers(state, actions);
        self.leaders(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        match action {
            Action::Catalog(command) => last.after_catalog(command, &self.rules),
            Action::Shard(shard, command) => last.after_shard(shard, command, &self.rules),
        }
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

impl Cluster {
    /// Writers use any copy of the catalog, or none. So a record may arrive at any shard.
    fn writers(&self, state: &State, actions: &mut Vec<Action>) {
        let records: u64 = state.shards.iter().map(|shard| shard.last).sum();
        if records < self.max_records {
            let shards = 0..state.shards.len();
            actions.extend(shards.map(|shard| Action::Shard(shard, shard::Command::Append)));
        }
    }

    /// A user may split any open shard and merge any two. The catalog refuses some of these requests.
    fn users(&self, state: &State, actions: &mut Vec<Action>) {
        if state.catalog.jobs.len() == self.max_jobs {
            return;
        }
        let open: Vec<_> = state.catalog.open_shards().map(|(shard, _)| shard).collect();
        let splits = open.iter().map(|&shard| Reshard::Split(shard));
        let merges = open
            .iter()
            .flat_map(|&left| open.iter().map(move |&right| Reshard::Merge(left, right)));
        let prepare = |reshard| Action::Catalog(catalog::Command::Prepare(reshard));
        actions.extend(splits.chain(merges).map(prepare));
    }

    /// A controller may freeze the parents of every job at any time, and commit it with any answers, or abort it.
    fn controllers(&self, state: &State, actions: &mut Vec<Action>) {
        for (id, job) in state.catalog.jobs() {
            let freeze = |&parent| Action::Shard(parent, shard::Command::Freeze(id));
            actions.extend(job.parents.iter().map(freeze));
            let commit = |answers| Action::Catalog(catalog::Command::Commit(id, answers));
            actions.extend(state.answers_of(&job.parents).into_iter().map(commit));
            actions.push(Action::Catalog(catalog::Command::Abort(id)));
        }
    }

    /// A leader proposes to its shard what a copy of the catalog shows about a job.
    fn leaders(&self, state: &State, actions: &mut Vec<Action>) {
        for (id, job) in state.catalog.jobs() {
            let to = |shards: &[ShardIndex], command: fn(JobId) -> shard::Command| {
                shards.iter().map(|&s| Action::Shard(s, command(id))).collect::<Vec<_>>()
            };
            if job.aborted || (!self.rules.unfreeze_after_abort && job.is_current()) {
                actions.extend(to(&job.parents, shard::Command::Unfreeze));
            }
            if job.committed {
                actions.extend(to(&job.parents, shard::Command::Close));
            }
            if job.committed || !self.rules.open_after_commit {
                actions.extend(to(&job.children, shard::Command::Open));
            }
        }
    }
}

impl State {
    /// The state after a command of the catalog. `None` if the command changes nothing.
    fn after_catalog(&self, command: catalog::Command, rules: &Rules) -> Option<Self> {
        let catalog = self.catalog.after(command, rules)?;
        let mut shards = self.shards.clone();
        // The children of a new job get their groups.
        let newest = catalog.jobs().map(|(id, _)| id).last().unwrap_or_default();
        shards.resize(catalog.shards.len(), ShardModel::child_of(newest));
        Some(Self { catalog: Arc::new(catalog), shards, ..self.clone() })
    }

    /// The state after a command of a shard. `None` if the command changes nothing.
    fn after_shard(
        &self,
        shard: ShardIndex,
        command: shard::Command,
        rules: &Rules,
    ) -> Option<Self> {
        let mut model = self.shards[shard];
        let answer = step(&mut model, command, rules);
        let frozen = match (command, answer) {
            (shard::Command::Freeze(job), Answer::Frozen(last)) => {
                Some(FreezeAnswer { job, shard, last })
            }
            _ => None,
        };
        let is_new = frozen.is_some_and(|answer| !self.answers.contains(&answer));
        if model == self.shards[shard] && !is_new {
            return None;
        }
        let mut state = self.clone();
        state.shards[shard] = model;
        state.answers.extend(frozen);
        let appended = matches!(answer, Answer::Appended(_));
        state.out_of_order |= appended && self.taken_after(shard).next().is_some();
        Some(state)
    }

    /// Shards that were made of this one and have taken a record.
    pub(super) fn taken_after(&self, shard: ShardIndex) -> impl Iterator<Item = ShardIndex> {
        let taken = (0..self.shards.len()).filter(|&other| self.shards[other].last > 0);
        taken.filter(move |&other| self.catalog.descends(other, shard))
    }

    /// All combinations of one answer for each of `parents`, also of answers to different jobs.
    fn answers_of(&self, parents: &[ShardIndex]) -> Vec<Vec<FreezeAnswer>> {
        let mut choices = vec![Vec::new()];
        for &parent in parents {
            let of_parent = self.answers.iter().filter(|answer| answer.shard == parent);
            choices = of_parent
                .flat_map(|answer| choices.iter().map(|rest| [&rest[..], &[*answer]].concat()))
                .collect();
        }
        choices
    }
}
