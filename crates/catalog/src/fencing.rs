//! A model of the resharding protocol (ADR-0013), and a search through all of its states.
//!
//! A job j is named by the log index of its PREPARE in the catalog's log. Every shard has a log of
//! its own. Messages carry decisions from one log to another:
//!
//! | entry | log | proposed by, when | effect |
//! | --- | --- | --- | --- |
//! | PREPARE | catalog | a user | j is current, its children are hidden |
//! | FREEZE(j) | parent | a controller whose catalog copy shows j as current | no records; answers with the last one |
//! | COMMIT(j) | catalog | a controller with an answer of every parent | parents closed, children open |
//! | ABORT(j) | catalog | a controller, at any time | children gone |
//! | OPEN(j) | child | its leader, whose copy shows the child as open | takes records |
//! | CLOSE(j) | parent | its leader, whose copy shows the parent as closed | takes no records ever again |
//! | UNFREEZE(j) | parent | its leader, whose copy is of j or later and shows the parent open and j over | records |
//!
//! The model trusts no participant to be up to date. A copy of the catalog may be of any earlier version, any number
//! of controllers act at once, and messages arrive late, more than once and in any order. A record may arrive at any
//! shard. So a message that could be sent once can arrive at any later time. Therefore [`cluster::State`] has no
//! messages, copies, controllers or writers. It has only the entries that were applied, and [`cluster::Cluster`]
//! computes the entries that can follow.
//!
//! The model does not look into a group: Raft makes the replicas of a log agree. In the model a shard may be in one
//! current job at a time; in the real catalog a stream has at most one job. The tests show that no rule of [`Rules`]
//! can be left out, and that with all rules every property in [`properties`] holds. Start at [`shard::step`].

mod catalog;
mod cluster;
mod properties;
mod real;
mod shard;

/// Number of a job: the log index of its PREPARE. 0 means no job.
pub(crate) type JobId = u64;

/// The rules of the protocol. Each can be switched off, to show which property it protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// UNFREEZE(j) undoes only FREEZE(j).
    pub(crate) unfreeze_only_own: bool,
    /// FREEZE(j) is ignored below the highest job that the shard has seen.
    pub(crate) older_freeze_is_stale: bool,
    /// FREEZE(j) is ignored after UNFREEZE(j).
    pub(crate) undone_freeze_is_stale: bool,
    /// COMMIT(j) needs answers to FREEZE(j), not to another job's.
    pub(crate) commit_needs_own_answers: bool,
    /// OPEN(j) is sent only after COMMIT(j) is in the catalog. A child does not rely on writers to send records
    /// only to open shards.
    pub(crate) open_after_commit: bool,
    /// UNFREEZE(j) is sent only after ABORT(j) is in the catalog. It is not enough that j is not current in a copy:
    /// that is also true of copies from before PREPARE(j).
    pub(crate) unfreeze_after_abort: bool,
}

impl Rules {
    /// All rules, as in the real protocol.
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

    /// The only shard of the clusters in which a property is violated, and its first child.
    const PARENT: usize = 0;
    const CHILD: usize = 1;

    /// Searches all states: every property holds in all of them, and each of `happens` is true in one.
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

    /// With `rules` the search finds a violation of `property`, and `trace` leads to one. With all rules it finds none.
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

    /// COMMIT with the answer that the parent gave when `frozen_by` froze it.
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
    fn a_repeated_unfreeze_of_an_aborted_job_would_unfreeze_the_next_job() {
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
    fn a_late_freeze_of_an_aborted_job_would_replace_that_of_the_next_job() {
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

    /// No record is lost, because the leader unfreezes the shard again. But late controllers, one after another,
    /// could keep the shard frozen.
    #[test]
    fn a_repeated_freeze_after_its_unfreeze_would_freeze_again() {
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
    fn a_commit_with_the_answer_to_an_aborted_job_would_lose_records() {
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
    fn a_child_that_opens_before_commit_would_take_records_before_its_parent() {
        let rules = Rules { open_after_commit: false, ..Rules::ALL };
        let trace =
            vec![prepare(), child(Shard::Open(1)), child(Shard::Append), parent(Shard::Append)];
        breaks(rules, ORDER, trace);
    }

    #[test]
    fn a_leader_with_an_old_catalog_would_unfreeze_before_commit() {
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
