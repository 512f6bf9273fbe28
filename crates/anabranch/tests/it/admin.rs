//! AdminService as an operator's program sees it: what it returns, and the gRPC codes of its refusals.

use anabranch_proto::admin as pb;
use anabranch_proto::admin::admin_service_client::AdminServiceClient;
use anabranch_types::GroupId;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::cluster::{Cluster, Server};
use crate::waiting::wait_for;

fn admin(node: &Server) -> AdminServiceClient<Channel> {
    AdminServiceClient::new(node.channel.clone())
}

/// The code and the message of a refusal.
fn refusal<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) -> (Code, String) {
    let status = answer.expect_err("the call must be refused");
    (status.code(), status.message().to_owned())
}

/// The group, once all its replicas are open and have the whole log of the leader.
async fn settled(node: &Server, group: GroupId) -> pb::Group {
    wait_for(
        format!("group {group} has a leader, and every replica has the whole log"),
        async || {
            let asked = pb::DescribeGroupRequest { group: group.0 };
            let answer = admin(node).describe_group(asked).await.map_err(|s| s.to_string())?;
            let group = answer.into_inner().group.unwrap();
            let is_there = |replica: &pb::GroupReplica| {
                replica.state() == pb::ReplicaState::Open && replica.lag_entries == Some(0)
            };
            let is_settled = group.leader_node != 0 && group.replicas.iter().all(is_there);
            if is_settled { Ok(group) } else { Err(format!("{group:?}")) }
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_program_sees_the_cluster_and_gets_the_right_codes_of_refusals() {
    let mut cluster = Cluster::start(3, "").await;
    let client = cluster.client().await;
    let shards = cluster.create_stream(&client, 2).await;
    let node = &cluster.nodes[0];

    // Every node describes a group in the same way, whichever node leads it.
    let group = settled(node, shards[0].group).await;
    assert_eq!((group.stream.as_str(), group.shard.as_str()), ("it", "shardId-000000000000"));
    assert_eq!(group.gate(), pb::Gate::Open);
    assert!(group.committed_index.is_some() && group.committed_index <= group.last_index);
    assert_eq!(group.replicas.iter().map(|r| r.node).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(group.replicas.iter().all(|r| r.role() == pb::ReplicaRole::Voter));
    for other in &cluster.nodes[1..] {
        assert_eq!(settled(other, shards[0].group).await.leader_node, group.leader_node);
    }

    // Pages.
    let of_stream = pb::ListGroupsRequest { stream: "it".into(), limit: 1, ..Default::default() };
    let first = admin(node).list_groups(of_stream.clone()).await.unwrap().into_inner();
    let next = pb::ListGroupsRequest { start_group: first.next_group.unwrap(), ..of_stream };
    let second = admin(node).list_groups(next).await.unwrap().into_inner();
    assert_eq!([first.groups[0].group, second.groups[0].group], [0, 1].map(|i| shards[i].group.0));
    assert_eq!(second.next_group, None);

    refuses_what_is_wrong(node, shards[0].group).await;

    // With two of three nodes dead, the last node answers with what it knows, and says which nodes do not answer.
    cluster.nodes[0].kill();
    cluster.nodes[1].kill();
    let last = &cluster.nodes[2];
    wait_for("the catalog has no leader, as this node sees it", async || {
        let status = admin(last).status(pb::StatusRequest {}).await.map_err(|s| s.to_string())?;
        let leader = status.into_inner().catalog_leader;
        if leader == 0 { Ok(()) } else { Err(format!("node {leader}")) }
    })
    .await;
    let asked = pb::DescribeGroupRequest { group: shards[0].group.0 };
    let answer = admin(last).describe_group(asked).await.unwrap().into_inner();
    let states: Vec<_> = answer.group.unwrap().replicas.iter().map(|r| r.state()).collect();
    let (away, open) = (pb::ReplicaState::Unreachable, pb::ReplicaState::Open);
    assert_eq!(states, [away, away, open]);
    let nodes = admin(last).list_nodes(pb::ListNodesRequest {}).await.unwrap().into_inner().nodes;
    assert_eq!(nodes.iter().map(|node| node.answers).collect::<Vec<_>>(), [false, false, true]);
    let jobs = admin(last).list_jobs(pb::ListJobsRequest {}).await.unwrap().into_inner();
    assert_eq!(jobs, pb::ListJobsResponse::default());
    let (code, message) = refusal(admin(last).rebalance(pb::RebalanceRequest {}).await);
    assert!(matches!(code, Code::Unavailable | Code::Unknown), "{code:?} {message}");
    let to_node = 3;
    let transfer = pb::TransferLeaderRequest { group: shards[0].group.0, to_node };
    let (code, message) = refusal(admin(last).transfer_leader(transfer).await);
    assert_eq!(code, Code::Unavailable, "{message}");
}

async fn refuses_what_is_wrong(node: &Server, group: GroupId) {
    let state = pb::NodeState::Draining.into();
    let unknown = pb::SetNodeStateRequest { node: 9, state };
    let refused = refusal(admin(node).set_node_state(unknown).await);
    assert_eq!(refused, (Code::NotFound, "node 9 is not known".into()));
    let (code, message) =
        refusal(admin(node).set_node_state(pb::SetNodeStateRequest { node: 1, state: 0 }).await);
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.starts_with("state: "), "{message}");
    let in_use = refusal(admin(node).remove_node(pb::RemoveNodeRequest { node: 1 }).await);
    assert_eq!(in_use.0, Code::FailedPrecondition);
    assert!(in_use.1.contains("drain it first"), "{}", in_use.1);
    let nowhere = pb::TransferLeaderRequest { group: 999, to_node: 1 };
    let refused = refusal(admin(node).transfer_leader(nowhere).await);
    assert_eq!(refused, (Code::NotFound, "there is no group 999".into()));
    let to_nobody = pb::TransferLeaderRequest { group: group.0, to_node: 9 };
    assert_eq!(refusal(admin(node).transfer_leader(to_nobody).await).0, Code::NotFound);
    let no_group = pb::DescribeGroupRequest { group: 999 };
    assert_eq!(refusal(admin(node).describe_group(no_group).await).0, Code::NotFound);
    let bad_name = pb::ListShardsRequest { stream: "a b".into(), ..Default::default() };
    assert_eq!(refusal(admin(node).list_shards(bad_name).await).0, Code::InvalidArgument);
    let too_many = pb::ListGroupsRequest { limit: 1_001, ..Default::default() };
    let refused = refusal(admin(node).list_groups(too_many).await);
    assert_eq!(refused, (Code::InvalidArgument, "limit: must be at most 1000".into()));
}
