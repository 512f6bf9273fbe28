//! Responses about splits and merges that are under way and about moves of replicas: how far each of them is.

use anabranch_catalog::{Catalog, GroupRef, Move, ReshardJob, ShardRef, Stream};
use anabranch_proto::admin as pb;
use anabranch_proto::node::GroupReport;
use anabranch_types::StreamName;

use crate::admin_service::cluster::count;
use crate::admin_service::groups::{lag, member};
use crate::group_reports::Reports;

/// Whether a group takes part in a resharding job or a move, so that [`list`] needs the reports of its replicas.
pub(super) fn concerns(group: &GroupRef<'_>) -> bool {
    let takes_part = group.shard().is_some_and(|ShardRef { stream, shard, .. }| {
        let job = stream.job.as_ref();
        job.is_some_and(|job| {
            job.parents.contains(&shard.id) || job.children.contains_key(&shard.id)
        })
    });
    takes_part || group.moving.is_some()
}

pub(super) fn list(catalog: &Catalog, reports: &Reports) -> pb::ListJobsResponse {
    let reshards = catalog.streams.iter().filter_map(|(name, stream)| {
        let job = stream.job.as_ref()?;
        Some(reshard_message(name, stream, job, reports))
    });
    let moves = catalog.groups().filter_map(|group| {
        let leading = reports.leader(group.group).map(|(_, leading)| leading);
        Some(move_message(&group, group.moving?, leading))
    });
    let (reshards, mut moves): (_, Vec<_>) = (reshards.collect(), moves.collect());
    moves.sort_by_key(|moving| moving.group);
    pb::ListJobsResponse { reshards, moves }
}

fn reshard_message(
    name: &StreamName,
    stream: &Stream,
    job: &ReshardJob,
    reports: &Reports,
) -> pb::ReshardJob {
    let led = job.children.values().filter(|child| reports.leader(child.group).is_some()).count();
    let parents = job.parents.iter().filter_map(|parent| stream.shards.get(parent));
    let is_frozen = |leading: &GroupReport| {
        leading.gate.as_ref().is_some_and(|gate| gate.closed || gate.frozen_by == job.id)
    };
    let frozen = parents.filter(|parent| {
        reports.leader(parent.group).is_some_and(|(_, leading)| is_frozen(leading))
    });
    let frozen = frozen.count();
    let step = if frozen == job.parents.len() {
        pb::ReshardStep::Committing
    } else if led == job.children.len() || frozen > 0 {
        pb::ReshardStep::Freezing
    } else {
        pb::ReshardStep::Electing
    };
    pb::ReshardJob {
        stream: name.to_string(),
        job: job.id,
        parents: job.parents.iter().map(|parent| parent.0).collect(),
        children: job.children.keys().map(|child| child.0).collect(),
        target_shards: stream.target_shards.unwrap_or_default(),
        began_millis: job.began.as_millis(),
        step: step.into(),
        children_led: count(led),
        parents_frozen: count(frozen),
    }
}

/// A move, with the step that the group's leader has reached.
pub(super) fn move_message(
    group: &GroupRef<'_>,
    moving: Move,
    leading: Option<&GroupReport>,
) -> pb::Move {
    let from = moving.from.and_then(|from| group.replicas.iter().find(|held| held.id == from));
    let comes = leading.and_then(|leading| member(leading, moving.to));
    let step = match (leading, comes) {
        (None, _) => pb::MoveStep::Unspecified,
        (Some(_), None) => pb::MoveStep::Adding,
        (Some(leading), Some(_)) if leading.voters_change => pb::MoveStep::ChangingVoters,
        (Some(_), Some(comes)) if comes.votes => pb::MoveStep::Finishing,
        (Some(_), Some(_)) => pb::MoveStep::CatchingUp,
    };
    pb::Move {
        group: group.group.0,
        from_node: from.map_or(0, |replica| replica.node.0),
        to_node: moving.to.node.0,
        replica: moving.to.id.0,
        step: step.into(),
        lag_entries: leading.and_then(|leading| lag(leading, moving.to)),
    }
}
