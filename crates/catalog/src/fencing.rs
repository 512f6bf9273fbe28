//! The protocol that splits and merges shards, and a search through all that can happen in it.
//!
//! A job j is named by the log index of its PREPARE in the catalog's log. Every shard has a log of
//! its own. What is agreed on in one log is told to another by messages:
//!
//! | entry | log | proposed by, when | effect |
//! | --- | --- | --- | --- |
//! | PREPARE | catalog | a user | j is current, its children are hidden |
//! | FREEZE(j) | parent | a controller whose copy of the catalog shows j as current | no records; answers the last one |
//! | COMMIT(j) | catalog | a controller with an answer of every parent | parents closed, children open |
//! | ABORT(j) | catalog | a controller, at any time | children gone |
//! | OPEN(j) | child | its leader, whose copy shows the child as open | records |
//! | CLOSE(j) | parent | its leader, whose copy shows the parent as closed | never again a record |
//! | UNFREEZE(j) | parent | its leader, whose copy is of j or later and shows the parent as open and j as over | records again |
//!
//! Nobody is trusted to be up to date: copies of the catalog are of any earlier version, any number
//! of controllers act at once, messages come late, more than once and in any order, and a record may
//! come to any shard. So whatever could be sent once can come in at any later moment: there are no
//! messages, copies, controllers or writers in [`cluster::State`], only what has happened, and
//! [`cluster::Cluster`] says what that allows next.
//!
//! The model never looks into a group: that replicas of a log agree and keep it is Raft's part. A
//! shard may be in one current job at a time, while a stream of the real catalog has at most one.
//! [`Rules`] hold it all together; the tests show that none can be left out, and
//! [`properties`] what holds with all of them. Start at [`shard::step`].

mod catalog;
mod cluster;
mod properties;
mod real;
mod shard;

/// A job: the log index of its PREPARE. 0 is none.
pub(crate) type JobId = u64;

/// What the protocol insists on. Each can be switched off, to see what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// UNFREEZE(j) thaws only what FREEZE(j) froze.
    pub(crate) unfreeze_only_own: bool,
    /// FREEZE(j) is ignored below the highest job that the shard has seen.
    pub(crate) older_freeze_is_stale: bool,
    /// FREEZE(j) is ignored after UNFREEZE(j).
    pub(crate) undone_freeze_is_stale: bool,
    /// COMMIT(j) needs answers to FREEZE(j), not to another job's.
    pub(crate) commit_needs_own_answers: bool,
    /// OPEN(j) is sent only once COMMIT(j) is in the catalog: a child doesn't rely on writers that
    /// know only open shards.
    pub(crate) open_after_commit: bool,
    /// UNFREEZE(j) is sent only once ABORT(j) is in the catalog: a copy from before PREPARE(j)
    /// doesn't show j as current either.
    pub(crate) unfreeze_after_abort: bool,
}

impl Rules {
    /// The protocol as it is.
    pub(crate) const ALL: Self = Self {
        unfreeze_only_own: true,
        older_freeze_is_stale: true,
        undone_freeze_is_stale: true,
        commit_needs_own_answers: true,
        open_after_commit: true,
        unfreeze_after_abort: true,
    };
}

mod tests {
    use stateright::{Checker, Expectation, HasDiscoveries, Model};

    use super::Rules;
    use super::catalog::{Command as Catalog, FreezeAnswer, Reshard};
    use super::cluster::{Action, Cluster};
    use super::properties::{
        GRANDCHILD, MERGED, NOTHING_LOST, ONE_ANSWER, ORDER, SECOND_TRY, TWO_JOBS,
    };
    use super::shard::Command as Shard;

    /// The only shard of the clusters that break, and the first half of it.
    const PARENT: usize = 0;
    const CHILD: usize = 1;

    /// Looks at every state: no property is broken, and `happens` does happen.
    fn holds(cluster: Cluster, happens: &[&'static str]) {
        let checker = cluster.checker().spawn_dfs().join();
        for property in checker.model().properties() {
            if property.expectation == Expectation::Always {
                checker.assert_no_discovery(property.name);
            }
        }
        for name in happens {
            checker.assert_any_discovery(name);
        }
    }

    /// The search breaks `property` without all rules, as `trace` does, and not with them.
    fn breaks(rules: Rules, property: &'static str, trace: Vec<Action>) {
        let cluster = Cluster { rules, widths: vec![2], max_jobs: 2, max_records: 2 };
        holds(Cluster { rules: Rules::ALL, ..cluster.clone() }, &[SECOND_TRY]);
        let found = HasDiscoveries::AnyOf([property].into());
        let checker = cluster.checker().finish_when(found).spawn_bfs().join();
        checker.assert_discovery(property, trace);
    }

    fn prepare() -> Action {
        Action::Catalog(Catalog::Prepare(Reshard::Split(PARENT)))
    }

    fn abort(job: u64) -> Action {
        Action::Catalog(Catalog::Abort(job))
    }

    /// With what the parent answered when `frozen_by` froze it.
    fn commit(job: u64, frozen_by: u64, last: u64) -> Action {
        let answer = FreezeAnswer { job: frozen_by, shard: PARENT, last };
        Action::Catalog(Catalog::Commit(job, vec![answer]))
    }

    fn parent(command: Shard) -> Action {
        Action::Shard(PARENT, command)
    }

    fn child(command: Shard) -> Action {
        Action::Shard(CHILD, command)
    }

    /// 2,886,326 states.
    #[test]
    fn three_jobs_at_two_shards_keep_every_property() {
        let cluster =
            Cluster { rules: Rules::ALL, widths: vec![2, 2], max_jobs: 3, max_records: 3 };
        holds(cluster, &[SECOND_TRY, TWO_JOBS, MERGED, GRANDCHILD]);
    }

    /// 2,001,667 states.
    #[test]
    fn four_jobs_one_by_one_keep_every_property() {
        let cluster =
            Cluster { rules: Rules::ALL, widths: vec![1, 1], max_jobs: 4, max_records: 3 };
        holds(cluster, &[SECOND_TRY, MERGED, GRANDCHILD]);
    }

    /// 96,329 states.
    #[test]
    fn two_merges_at_once_keep_every_property() {
        let cluster =
            Cluster { rules: Rules::ALL, widths: vec![1; 4], max_jobs: 2, max_records: 2 };
        holds(cluster, &[SECOND_TRY, TWO_JOBS, MERGED, GRANDCHILD]);
    }

    #[test]
    fn an_unfreeze_of_an_aborted_job_comes_again_after_the_next_job_froze() {
        let rules = Rules { unfreeze_only_own: false, ..Rules::ALL };
        let trace = vec![
            prepare(),
            parent(Shard::Freeze(1)),
            abort(1),
            parent(Shard::Unfreeze(1)),
            prepare(),
            parent(Shard::Freeze(2)),
            commit(2, 2, 0),
            parent(Shard::Unfreeze(1)),
            parent(Shard::Append),
        ];
        breaks(rules, NOTHING_LOST, trace);
    }

    #[test]
    fn a_freeze_of_an_aborted_job_takes_over_the_freeze_of_the_next_and_is_undone() {
        let rules = Rules { older_freeze_is_stale: false, ..Rules::ALL };
        let trace = vec![
            prepare(),
            abort(1),
            prepare(),
            parent(Shard::Freeze(2)),
            parent(Shard::Freeze(1)),
            parent(Shard::Unfreeze(1)),
            parent(Shard::Append),
            commit(2, 2, 0),
        ];
        breaks(rules, NOTHING_LOST, trace);
    }

    /// Nothing is lost, for the leader thaws it again; but one late controller after the other
    /// could keep the shard frozen.
    #[test]
    fn a_freeze_comes_again_after_it_was_undone() {
        let rules = Rules { undone_freeze_is_stale: false, ..Rules::ALL };
        let trace = vec![
            prepare(),
            parent(Shard::Freeze(1)),
            abort(1),
            parent(Shard::Unfreeze(1)),
            parent(Shard::Append),
            parent(Shard::Freeze(1)),
        ];
        breaks(rules, ONE_ANSWER, trace);
    }

    #[test]
    fn a_commit_takes_the_answer_that_an_aborted_job_got() {
        let rules = Rules { commit_needs_own_answers: false, ..Rules::ALL };
        let trace = vec![
            prepare(),
            parent(Shard::Freeze(1)),
            abort(1),
            parent(Shard::Unfreeze(1)),
            parent(Shard::Append),
            prepare(),
            commit(2, 1, 0),
        ];
        breaks(rules, NOTHING_LOST, trace);
    }

    #[test]
    fn a_child_that_opens_before_commit_takes_records_before_its_parent() {
        let rules = Rules { open_after_commit: false, ..Rules::ALL };
        let trace =
            vec![prepare(), child(Shard::Open(1)), child(Shard::Append), parent(Shard::Append)];
        breaks(rules, ORDER, trace);
    }

    #[test]
    fn a_leader_that_never_heard_of_the_job_thaws_it_before_commit() {
        let rules = Rules { unfreeze_after_abort: false, ..Rules::ALL };
        let trace = vec![
            prepare(),
            parent(Shard::Freeze(1)),
            parent(Shard::Unfreeze(1)),
            parent(Shard::Append),
            commit(1, 1, 0),
        ];
        breaks(rules, NOTHING_LOST, trace);
    }
}
