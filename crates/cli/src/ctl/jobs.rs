//! Output about the work under way: splits, merges and replicas that move, each with its step, and the jobs of
//! services, each with its owner.

use anabranch_proto::admin as pb;
use anabranch_proto::job::ServiceJob;
use serde_json::{Value, json};

use crate::ctl::output::{Output, some_node, spoken, word};

pub(super) fn list(jobs: &pb::ListJobsResponse, of_services: &[ServiceJob]) -> Output {
    let mut lines: Vec<_> = jobs.reshards.iter().map(reshard_text).collect();
    lines.extend(jobs.moves.iter().map(move_text));
    lines.extend(of_services.iter().map(service_job_text));
    if lines.is_empty() {
        lines.push("nothing is under way".into());
    }
    let reshards = jobs.reshards.iter().map(reshard_json);
    let moves = jobs.moves.iter().map(move_json);
    let json = reshards.chain(moves).chain(of_services.iter().map(service_job_json)).collect();
    Output { lines, json }
}

fn service_job_text(job: &ServiceJob) -> String {
    let ServiceJob { service, resource, part, epoch, .. } = job;
    let owner = match (some_node(job.node), job.leaving) {
        (Some(node), false) => format!("node {node}"),
        (Some(node), true) => format!("leaves node {node}"),
        (None, _) => "no node yet".into(),
    };
    let lag = job.lag_millis.map(|lag| format!(", {} s behind", lag / 1000)).unwrap_or_default();
    let failures = match (job.failures, &*job.last_error) {
        (0, _) => String::new(),
        (failures, error) => format!(", failed {failures} times: {error}"),
    };
    format!("{service}: {resource}, {part}: {owner}, epoch {epoch}{lag}{failures}")
}

fn service_job_json(job: &ServiceJob) -> Value {
    json!({
        "service": job.service, "resource": job.resource, "part": job.part,
        "node": some_node(job.node), "leaving": job.leaving, "epoch": job.epoch,
        "since_millis": some_node(job.node).map(|_| job.since_millis),
        "lag_millis": job.lag_millis, "failures": job.failures,
        "last_error": (!job.last_error.is_empty()).then_some(&job.last_error),
    })
}

fn reshard_text(job: &pb::ReshardJob) -> String {
    let list = |ids: &[u32]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let step = match job.step() {
        pb::ReshardStep::Electing => {
            format!("{} of {} children have a leader", job.children_led, job.children.len())
        }
        pb::ReshardStep::Freezing => {
            format!("{} of {} parents are frozen", job.parents_frozen, job.parents.len())
        }
        pb::ReshardStep::Committing => "about to be committed".into(),
        pb::ReshardStep::Unspecified => "its step is not known".into(),
    };
    let (stream, number) = (&job.stream, job.job);
    let (parents, children) = (list(&job.parents), list(&job.children));
    format!("{stream}: job {number}, shards {parents} become {children}; {step}")
}

fn reshard_json(job: &pb::ReshardJob) -> Value {
    json!({
        "stream": job.stream, "job": job.job, "parents": job.parents, "children": job.children,
        "target_shards": (job.target_shards != 0).then_some(job.target_shards),
        "began_millis": job.began_millis, "step": word(job.step().as_str_name(), "RESHARD_STEP_"),
        "children_led": job.children_led, "parents_frozen": job.parents_frozen,
    })
}

pub(super) fn move_text(moving: &pb::Move) -> String {
    let away = some_node(moving.from_node);
    let away = away.map_or_else(|| "nowhere".into(), |node| format!("node {node}"));
    let step = if moving.step() == pb::MoveStep::Unspecified {
        "no leader of the group is known".into()
    } else {
        spoken(move_step(moving.step()))
    };
    let lacks = moving.lag_entries.map(|lag| format!(", lacks {lag} entries")).unwrap_or_default();
    format!(
        "group {}: a replica from {away} to node {}: {step}{lacks}",
        moving.group, moving.to_node
    )
}

pub(super) fn move_json(moving: &pb::Move) -> Value {
    json!({
        "group": moving.group, "from": some_node(moving.from_node), "to": moving.to_node,
        "replica": moving.replica, "step": move_step(moving.step()), "lag_entries": moving.lag_entries,
    })
}

fn move_step(step: pb::MoveStep) -> &'static str {
    word(step.as_str_name(), "MOVE_STEP_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(step: pb::ReshardStep) -> pb::ReshardJob {
        pb::ReshardJob {
            stream: "orders".into(),
            job: 40,
            parents: vec![0],
            children: vec![1, 2],
            step: step.into(),
            children_led: 1,
            ..Default::default()
        }
    }

    #[test]
    fn a_job_is_shown_with_its_step() {
        let text = |step| reshard_text(&job(step));
        let begins = "orders: job 40, shards 0 become 1, 2; ";
        let electing = text(pb::ReshardStep::Electing);
        assert_eq!(electing, format!("{begins}1 of 2 children have a leader"));
        let freezing = text(pb::ReshardStep::Freezing);
        assert_eq!(freezing, format!("{begins}0 of 1 parents are frozen"));
        assert_eq!(reshard_json(&job(pb::ReshardStep::Freezing))["step"], json!("FREEZING"));
        assert_eq!(reshard_json(&job(pb::ReshardStep::Freezing))["target_shards"], json!(null));
    }

    #[test]
    fn without_work_the_list_is_empty() {
        let output = list(&pb::ListJobsResponse::default(), &[]);
        assert_eq!((output.lines, output.json), (vec!["nothing is under way".into()], json!([])));
    }

    #[test]
    fn jobs_of_services_are_shown_with_their_owner_and_their_trouble() {
        let job = ServiceJob {
            service: "functions".into(),
            resource: "m".into(),
            part: "shardId-000000000000".into(),
            node: 2,
            epoch: 7,
            lag_millis: Some(3_500),
            failures: 2,
            last_error: "no route".into(),
            ..ServiceJob::default()
        };
        let output = list(&pb::ListJobsResponse::default(), &[job]);
        let line = "functions: m, shardId-000000000000: node 2, epoch 7, 3 s behind, failed 2 times: no route";
        assert_eq!(output.lines, [line]);
        assert_eq!(
            (&output.json[0]["node"], &output.json[0]["leaving"]),
            (&json!(2), &json!(false))
        );
    }

    #[test]
    fn a_replica_that_is_added_comes_from_nowhere() {
        let added = pb::Move { group: 3, to_node: 4, ..Default::default() };
        let text = "group 3: a replica from nowhere to node 4: no leader of the group is known";
        assert_eq!(move_text(&added), text);
        let json = move_json(&added);
        assert_eq!((&json["from"], &json["step"]), (&json!(null), &json!("UNKNOWN")));
    }
}
