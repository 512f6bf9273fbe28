use std::collections::{BTreeMap, BTreeSet};

use anabranch_types::{HashKey, HashKeyRange, ShardId, StreamName, limits};

use crate::attributes::{Distribution, ShardMetrics, check_tags};
use crate::births::born_after;
use crate::capacity::check_warm_throughput;
use crate::command::{Command, NewStream, Outcome, Refusal};
use crate::encryption::Encryption;
use crate::model::{Catalog, Node, Shard, Stream, StreamId, StreamMode, StreamStatus};
use crate::reshard::{Dates, Piece};
use crate::service_limits::RecentChanges;

impl Catalog {
    /// Applies the command at `log_index`. Equal on every replica: it depends on nothing else.
    pub fn apply(&mut self, log_index: u64, command: Command) -> Outcome {
        let result = self.change(log_index, command);
        self.assert_invariants();
        if self.users.version() == log_index {
            self.assert_user_invariants();
        }
        match result {
            Ok(Change::Made) => {
                self.version = log_index;
                Outcome::Done { version: log_index }
            }
            Ok(Change::AlreadySo) => Outcome::Done { version: self.version },
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    /// Does what the command says.
    pub(crate) fn change(&mut self, log_index: u64, command: Command) -> Result<Change, Refusal> {
        match command {
            Command::RegisterNode {
                node,
                incarnation,
                starts,
                boot,
                grpc_address,
                api_address,
                zone,
            } => {
                let state = self.nodes.get(&node).map(|known| known.state).unwrap_or_default();
                let went_back = false;
                self.register_node(
                    node,
                    Node {
                        incarnation,
                        starts,
                        boot,
                        went_back,
                        grpc_address,
                        api_address,
                        zone,
                        state,
                    },
                )
            }
            Command::CreateStream(new) => self.create_stream(log_index, new),
            Command::ActivateStream { name, id } => self.activate_stream(&name, id),
            Command::DeleteStream { name, with_consumers } => {
                self.delete_stream(name, with_consumers)
            }
            Command::DropStream { name, id } => self.drop_stream(&name, id),
            Command::ReplaceReplica { group, lost } => self.replace_replica(group, lost),
            Command::RecoverGroup { group, from } => self.recover_group(group, from),
            Command::Reshard { name, change, now } => self.reshard(log_index, name, change, now),
            Command::CommitReshard { name, id, job, endings, now } => {
                self.commit_reshard(log_index, &name, id, job, &endings, now)
            }
            Command::AbortReshard { name, id, job } => self.abort_reshard(&name, id, job),
            Command::ExpireShards { name, id, now } => self.expire_shards(&name, id, now),
            Command::SetRetention { name, hours, longer } => {
                self.set_retention(name, hours, longer)
            }
            Command::SetStreamMode { name, mode, warm_throughput_mibps } => {
                self.set_stream_mode(name, mode, warm_throughput_mibps)
            }
            Command::SetWarmThroughput { name, mibps } => self.set_warm_throughput(name, mibps),
            Command::Scale { name, id, change, now } => {
                self.scale(log_index, name, id, change, now)
            }
            Command::SetNodeState { node, state } => self.set_node_state(node, state),
            Command::RemoveNode { node } => self.remove_node(node),
            Command::MoveReplica { group, from, to } => self.move_replica(group, from, to),
            Command::FinishMove { group, replica } => self.finish_move(group, replica),
            Command::CancelMove { group, replica } => self.cancel_move(group, replica),
            Command::SetBalancing { paused } => Ok(self.set_balancing(paused)),
            Command::Rebalance => Ok(self.begin_rebalance(log_index)),
            Command::FinishRebalance { rebalance } => Ok(self.finish_rebalance(rebalance)),
            Command::RegisterConsumer { name, consumer, tags, now } => {
                self.register_consumer(name, consumer, tags, now)
            }
            Command::DeregisterConsumer { name, consumer, created } => {
                self.deregister_consumer(name, consumer, created)
            }
            Command::SettleConsumers { name, id } => self.settle_consumers(&name, id),
            Command::SetTags { resource, set, removed } => self.set_tags(&resource, set, &removed),
            Command::SetPolicy { resource, policy } => self.set_policy(&resource, policy),
            Command::SetMaxRecordSize { name, kib } => self.set_max_record_size(&name, kib),
            Command::SetShardMetrics { name, on, off } => self.set_shard_metrics(&name, on, off),
            Command::SetDistribution { name, distribution } => {
                self.set_distribution(name, distribution)
            }
            Command::StartEncryption { name, id, master_key, wrapped, now } => {
                self.start_encryption(log_index, &name, id, master_key, wrapped, now)
            }
            Command::StopEncryption { name } => self.stop_encryption(log_index, &name),
            Command::RotateDataKey { name, id, used, wrapped, now } => {
                self.rotate_data_key(name, id, used, wrapped, now)
            }
            Command::SettleEncryption { name, id, change } => {
                self.settle_encryption(&name, id, change)
            }
            Command::SetCommitment { enabled, now } => Ok(self.set_commitment(enabled, now)),
            Command::CreateUser { name, account, now } => {
                self.create_user(log_index, name, account, now)
            }
            Command::DeleteUser { name } => self.delete_user(log_index, name),
            Command::CreateAccessKey { user, id, sealed_secret, now } => {
                self.create_access_key(log_index, user, id, sealed_secret, now)
            }
            Command::SetAccessKey { id, enabled } => self.set_access_key(log_index, id, enabled),
            Command::DeleteAccessKey { id } => self.delete_access_key(log_index, id),
            Command::PutUserPolicy { user, name, document } => {
                self.put_user_policy(log_index, user, name, document)
            }
            Command::DeleteUserPolicy { user, name } => {
                self.delete_user_policy(log_index, user, name)
            }
            Command::Limited { command, now } => {
                self.change_within_limits(log_index, *command, now)
            }
        }
    }

    fn create_stream(&mut self, log_index: u64, new: NewStream) -> Result<Change, Refusal> {
        if self.streams.contains_key(&new.name) {
            return Err(Refusal::StreamExists { name: new.name });
        }
        if new.shards > limits::STREAM_MAX_SHARDS {
            let [actual, limit] = [new.shards, limits::STREAM_MAX_SHARDS].map(u64::from);
            return Err(Refusal::Limit { what: "ShardCount", actual, limit });
        }
        check_warm_throughput(new.warm_throughput_mibps)?;
        check_tags(&new.tags)?;
        if new.mode != StreamMode::OnDemand && new.distribution == Distribution::Auto {
            return Err(Refusal::NotOnDemand { name: new.name });
        }
        let ranges = HashKeyRange::split_evenly(new.shards).into_iter();
        let pieces: Vec<_> = ranges.map(|range| Piece { range, parents: Vec::new() }).collect();
        let (first, born) = (ShardId(0), 0);
        // Taken only when nothing refuses the stream any more.
        let newest_gone = self.former_names.newest(&new.name);
        let dates = Dates { created: new.now, birth: born_after(newest_gone, new.now) };
        let shards = self.new_shards(&pieces, first, born, dates, new.replicas)?;
        self.former_names.forget(&new.name);
        let stream = Stream {
            id: StreamId(log_index),
            created: new.now,
            status: StreamStatus::Creating,
            mode: new.mode,
            warm_throughput_mibps: new.warm_throughput_mibps,
            retention_hours: new.retention_hours,
            max_record_size_kib: new.max_record_size_kib,
            tags: new.tags,
            replicas: new.replicas,
            next_shard: new.shards,
            shards,
            job: None,
            target_shards: None,
            consumers: BTreeMap::new(),
            policy: None,
            shard_metrics: ShardMetrics::default(),
            distribution: new.distribution,
            encryption: Encryption::default(),
            recent_changes: RecentChanges::default(),
            newest_gone,
        };
        self.streams.insert(new.name, stream);
        Ok(Change::Made)
    }

    fn activate_stream(&mut self, name: &StreamName, id: StreamId) -> Result<Change, Refusal> {
        match self.streams.get_mut(name).filter(|stream| stream.id == id) {
            Some(stream) if stream.status == StreamStatus::Creating => {
                stream.status = StreamStatus::Active;
                Ok(Change::Made)
            }
            Some(_) => Ok(Change::AlreadySo),
            None => Err(Refusal::StreamNotFound { name: name.clone() }),
        }
    }

    fn delete_stream(&mut self, name: StreamName, with_consumers: bool) -> Result<Change, Refusal> {
        if self.streams.get(&name).is_some_and(|s| s.status == StreamStatus::Deleting) {
            return Ok(Change::AlreadySo);
        }
        let stream = match self.streams.get_mut(&name) {
            // A change of encryption settles once every shard has a leader; where one has lost its majority it never will.
            Some(stream) if stream.encryption.unsettled.is_some() && stream.job.is_none() => stream,
            _ => self.changeable_stream(&name)?,
        };
        if !with_consumers && !stream.consumers.is_empty() {
            return Err(Refusal::StreamHasConsumers { name });
        }
        stream.status = StreamStatus::Deleting;
        (stream.job, stream.target_shards) = (None, None);
        Ok(Change::Made)
    }

    fn drop_stream(&mut self, name: &StreamName, id: StreamId) -> Result<Change, Refusal> {
        match self.streams.get(name).filter(|stream| stream.id == id) {
            Some(stream) if stream.status == StreamStatus::Deleting => {
                self.former_names.remember(name.clone(), stream);
                self.streams.remove(name);
                Ok(Change::Made)
            }
            Some(_) => Err(Refusal::StreamNotActive { name: name.clone() }),
            None => Ok(Change::AlreadySo),
        }
    }

    /// Panics if an invariant of the crate's documentation doesn't hold: a replica that goes on
    /// from there would lose or double records.
    pub fn assert_invariants(&self) {
        let (mut groups, mut replicas) = (BTreeSet::new(), BTreeSet::new());
        for group in self.groups() {
            assert!(groups.insert(group.group), "group {} is given out twice", group.group);
            let nodes: BTreeSet<_> = group.holders().map(|replica| replica.node).collect();
            assert_eq!(
                nodes.len(),
                group.holders().count(),
                "group {} doubles a node",
                group.group
            );
            for replica in group.holders() {
                assert!(replicas.insert(replica.id), "replica {} is given out twice", replica.id);
                assert!(replica.id.0 < self.next_replica, "replica {} from nowhere", replica.id);
            }
        }
        for (name, stream) in &self.streams {
            assert_covers_all(name, stream.open_shards().map(|shard| shard.range).collect());
            let Some(job) = &stream.job else { continue };
            let stays = |shard: &&Shard| !job.parents.contains(&shard.id);
            let after = stream.open_shards().filter(stays).chain(job.children.values());
            assert_covers_all(name, after.map(|shard| shard.range).collect());
        }
    }
}

fn assert_covers_all(name: &StreamName, mut ranges: Vec<HashKeyRange>) {
    ranges.sort();
    let mut next = Some(HashKey(0));
    for range in ranges {
        assert_eq!(Some(range.start()), next, "shards of {name} leave a gap or overlap");
        next = range.end().0.checked_add(1).map(HashKey);
    }
    assert_eq!(next, None, "shards of {name} end early");
}

/// Whether a command that was accepted changed anything.
pub(crate) enum Change {
    Made,
    AlreadySo,
}

#[cfg(test)]
mod tests {
    use anabranch_types::{GroupId, NodeId, ReplicaId};
    use proptest::prelude::*;

    use super::*;
    use crate::model::StreamMode::Provisioned;
    use crate::script::Script;

    #[test]
    fn a_stream_lives_from_creating_to_gone() {
        let mut script = Script::with_nodes(1, &["a", "b", "c"]);
        let name: StreamName = "s".parse().unwrap();
        assert_eq!(script.create("s", 4, Provisioned), Outcome::Done { version: 4 });
        let id = script.stream("s").id;
        let exists = Refusal::StreamExists { name: name.clone() };
        assert_eq!(script.create("s", 4, Provisioned), Outcome::Refused(exists));
        let delete = Command::DeleteStream { name: name.clone(), with_consumers: false };
        let not_active = Refusal::StreamNotActive { name: name.clone() };
        assert_eq!(script.run(delete.clone()), Outcome::Refused(not_active.clone()));
        let activate = Command::ActivateStream { name: name.clone(), id };
        assert_eq!(script.run(activate.clone()), Outcome::Done { version: 7 });
        assert_eq!(script.run(activate), Outcome::Done { version: 7 });
        let drop = Command::DropStream { name: name.clone(), id };
        assert_eq!(script.run(drop.clone()), Outcome::Refused(not_active));
        assert_eq!(script.run(delete), Outcome::Done { version: 10 });
        assert_eq!(script.stream("s").status, StreamStatus::Deleting);
        assert_eq!(script.run(drop.clone()), Outcome::Done { version: 11 });
        assert_eq!(script.run(drop), Outcome::Done { version: 11 });
        assert!(script.catalog.streams.is_empty());
    }

    #[test]
    fn replicas_spread_over_nodes_then_zones_then_load() {
        let mut script = Script::with_nodes(1, &["a", "a", "b", "c"]);
        script.create("s", 4, Provisioned);
        let mut load = BTreeMap::new();
        for shard in script.stream("s").shards.values() {
            let zones: BTreeSet<_> = shard
                .replicas
                .iter()
                .map(|replica| script.catalog.nodes[&replica.node].zone.clone())
                .collect();
            assert_eq!(zones.len(), 3, "{shard:?}");
            shard.replicas.iter().for_each(|r| *load.entry(r.node).or_insert(0) += 1);
        }
        assert_eq!(load[&NodeId(1)], 2);
        assert_eq!(load[&NodeId(2)], 2);
    }

    #[test]
    fn fewer_nodes_give_fewer_replicas_and_none_a_refusal() {
        let mut script = Script::with_nodes(1, &["a"]);
        script.create("s", 1, Provisioned);
        assert_eq!(script.stream("s").shards[&ShardId(0)].replicas.len(), 1);
        let mut empty = Script::with_nodes(1, &[]);
        assert_eq!(empty.create("s", 1, Provisioned), Outcome::Refused(Refusal::NoNodes));
    }

    #[test]
    fn a_wiped_disk_comes_back_under_new_replica_ids() {
        let mut script = Script::with_nodes(1, &["a", "b", "c"]);
        script.create("s", 2, Provisioned);
        let on_two = |script: &Script| {
            let groups = script.catalog.groups();
            let replicas = groups.flat_map(|group| group.replicas.to_vec());
            replicas.filter(|r| r.node == NodeId(2)).map(|r| r.id).collect::<BTreeSet<_>>()
        };
        let before = on_two(&script);
        script.register(2, 2, "b");
        assert_eq!(on_two(&script), before);
        script.register(2, 77, "b");
        assert!(on_two(&script).is_disjoint(&before));
        assert_eq!(on_two(&script).len(), before.len());
    }

    #[test]
    fn a_lost_replica_is_replaced_once() {
        let mut script = Script::with_nodes(1, &["a", "b", "c"]);
        script.create("s", 1, Provisioned);
        let shard = script.stream("s").shards[&ShardId(0)].clone();
        let lost = shard.replicas[1];
        let replace = Command::ReplaceReplica { group: shard.group, lost: lost.id };
        assert!(matches!(script.run(replace.clone()), Outcome::Done { .. }));
        let now = &script.stream("s").shards[&ShardId(0)].replicas;
        assert_eq!(now[1].node, lost.node);
        assert_ne!(now[1].id, lost.id);
        let again = Refusal::ReplicaNotFound { group: shard.group, replica: lost.id };
        assert_eq!(script.run(replace), Outcome::Refused(again));
    }

    proptest! {
        #[test]
        fn any_commands_keep_the_invariants_and_are_deterministic(
            steps in proptest::collection::vec((0u8..6, 0u64..4, 1u32..9), 1..60)
        ) {
            let mut scripts = [Script::with_nodes(1, &["a", "b"]), Script::with_nodes(1, &["a", "b"])];
            for (kind, which, shards) in steps {
                let name: StreamName = format!("s{which}").parse().unwrap();
                let outcomes = scripts.each_mut().map(|script| {
                    let id = script.catalog.streams.get(&name).map_or(StreamId(0), |s| s.id);
                    match kind {
                        0 => script.register(which + 1, u64::from(shards), "z"),
                        1 => script.create(name.as_str(), shards, Provisioned),
                        2 => script.run(Command::ActivateStream { name: name.clone(), id }),
                        3 => script.run(Command::DeleteStream { name: name.clone(), with_consumers: false }),
                        4 => script.run(Command::DropStream { name: name.clone(), id }),
                        _ => script.run(Command::ReplaceReplica {
                            group: GroupId(which),
                            lost: ReplicaId(u64::from(shards)),
                        }),
                    }
                });
                prop_assert_eq!(&outcomes[0], &outcomes[1]);
                prop_assert_eq!(&scripts[0].catalog, &scripts[1].catalog);
            }
        }
    }
}
