//! `ConsumerGroupAdminService` over gRPC: groups for operators. Any node answers.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use anabranch_jobs::Jobs;
use anabranch_proto::consumer as pb;
use anabranch_proto::consumer::consumer_group_admin_service_server::{
    ConsumerGroupAdminService, ConsumerGroupAdminServiceServer,
};
use anabranch_table::Row;
use bytes::Bytes;
use tonic::{Request, Response, Status};

use crate::message;
use crate::name::GroupKey;
use crate::rows::{self, Definition, StateKey, StoredMember, StoredShard};
use crate::status;
use crate::work::{ConsumerGroups, job_of};

/// The service on a node. Both parts are empty until the node has begun: gRPC is served before anything else.
pub fn admin_service(
    groups: Arc<OnceLock<ConsumerGroups>>,
    jobs: Arc<OnceLock<Jobs>>,
) -> ConsumerGroupAdminServiceServer<ServedAdmin> {
    ConsumerGroupAdminServiceServer::new(ServedAdmin { groups, jobs })
        .max_encoding_message_size(usize::MAX)
}

/// The service, on one node.
#[derive(Clone, Debug)]
pub struct ServedAdmin {
    groups: Arc<OnceLock<ConsumerGroups>>,
    jobs: Arc<OnceLock<Jobs>>,
}

/// The rows of one group, as messages.
#[derive(Default)]
struct Stored {
    members: Vec<pb::Member>,
    shards: Vec<pb::GroupShard>,
}

impl ServedAdmin {
    fn groups(&self) -> Result<&ConsumerGroups, Status> {
        self.groups.get().ok_or_else(|| Status::unavailable("the node is about to begin"))
    }

    fn summary(&self, key: &GroupKey, group: &Definition, stored: &Stored) -> pb::GroupSummary {
        let coordinator = self.jobs.get().and_then(|jobs| jobs.owner(&job_of(key)));
        let owned = stored.shards.iter().filter(|shard| !shard.owner.is_empty()).count();
        pb::GroupSummary {
            group: Some(message::group_ref(key)),
            coordinator: coordinator.map_or(0, |node| node.0),
            members: count(stored.members.len()),
            owned_shards: count(owned),
            created_millis: group.created_millis,
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The rows of members and shards, by group.
fn by_group(stored: Vec<(Bytes, Row)>) -> Result<BTreeMap<GroupKey, Stored>, Status> {
    let mut groups = BTreeMap::<GroupKey, Stored>::new();
    for (key, row) in stored {
        let unknown = || status::damaged(format!("unknown row {}", String::from_utf8_lossy(&key)));
        // STREAM/GROUP/…
        let slashes = key.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let slash = slashes.map(|(at, _)| at).nth(1).ok_or_else(unknown)?;
        let group = String::from_utf8_lossy(&key[..slash]).parse().map_err(|_| unknown())?;
        let group = groups.entry(group).or_default();
        let (_, parsed) = rows::parse_state_key(&key[slash + 1..]).ok_or_else(unknown)?;
        match parsed {
            StateKey::Turn => {}
            StateKey::Member(id) => {
                let stored: StoredMember =
                    rows::decode(&key, &row.value).map_err(status::damaged)?;
                group.members.push(message::member(&id, stored));
            }
            StateKey::Shard(_, shard) => {
                let stored: StoredShard =
                    rows::decode(&key, &row.value).map_err(status::damaged)?;
                group.shards.push(message::group_shard(shard, stored));
            }
        }
    }
    Ok(groups)
}

#[tonic::async_trait]
impl ConsumerGroupAdminService for ServedAdmin {
    async fn list_groups(
        &self,
        _request: Request<pb::ListGroupsRequest>,
    ) -> Result<Response<pb::ListGroupsResponse>, Status> {
        let definitions = &self.groups()?.definitions;
        let listed = definitions.list().await?;
        let stored = by_group(definitions.state(None).await?)?;
        let nothing = Stored::default();
        let groups = listed
            .iter()
            .map(|(key, group)| self.summary(key, group, stored.get(key).unwrap_or(&nothing)));
        Ok(Response::new(pb::ListGroupsResponse { groups: groups.collect() }))
    }

    async fn describe_group(
        &self,
        request: Request<pb::DescribeGroupRequest>,
    ) -> Result<Response<pb::DescribeGroupResponse>, Status> {
        let definitions = &self.groups()?.definitions;
        let key = message::group_key(request.into_inner().group);
        let key = key.map_err(|error| status::invalid(&error))?;
        let listed = definitions.list().await?;
        let (_, group) = listed
            .into_iter()
            .find(|(listed, _)| *listed == key)
            .ok_or_else(|| status::no_group(&key))?;
        let mut stored = by_group(definitions.state(Some(&key)).await?)?;
        let mut stored = stored.remove(&key).unwrap_or_default();
        stored.shards.sort_by_key(|shard| shard.shard);
        let summary = Some(self.summary(&key, &group, &stored));
        let Stored { members, shards } = stored;
        Ok(Response::new(pb::DescribeGroupResponse { summary, members, shards }))
    }

    async fn delete_group(
        &self,
        request: Request<pb::DeleteGroupRequest>,
    ) -> Result<Response<pb::DeleteGroupResponse>, Status> {
        let key = message::group_key(request.into_inner().group);
        let key = key.map_err(|error| status::invalid(&error))?;
        if !self.groups()?.definitions.delete(&key).await? {
            return Err(status::no_group(&key));
        }
        Ok(Response::new(pb::DeleteGroupResponse {}))
    }
}
