//! Applying commands: the way into the rules, and the check of invariants behind them.
//!
//! Order of events: the command goes to the rules of its family, which change the catalog or refuse; then the
//! invariants are checked; then the catalog gets the log index of the command as its version, if anything changed. A
//! refusal changes nothing.

use std::collections::BTreeSet;

use anabranch_types::{HashKey, HashKeyRange, StreamName};

use crate::command::Command;
use crate::model::{Catalog, Shard};
use crate::outcome::{Outcome, Refusal};

impl Catalog {
    /// Applies the command at `log_index`. The result depends on nothing else, so it is the same on every replica.
    ///
    /// # Panics
    /// If an invariant does not hold afterwards.
    pub fn apply(&mut self, log_index: u64, command: Command) -> Outcome {
        let result = self.change(log_index, command);
        self.assert_invariants();
        // Only after commands that changed users: the check reads all users.
        if self.users.version() == log_index {
            self.assert_user_invariants();
        }
        match result {
            Ok(Change::Made) => {
                self.version = log_index;
                Outcome::Done { version: log_index }
            }
            // The version stays, so that copies of the catalog are not sent again.
            Ok(Change::AlreadySo) => Outcome::Done { version: self.version },
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    /// Applies the rules of the command's family.
    pub(crate) fn change(&mut self, log_index: u64, command: Command) -> Result<Change, Refusal> {
        match command {
            Command::Node(command) => command.apply(self),
            Command::Stream(command) => command.apply(self, log_index),
            Command::Shards(command) => command.apply(self, log_index),
            Command::Consumer(command) => command.apply(self),
            Command::Encryption(command) => command.apply(self, log_index),
            Command::Resource(command) => command.apply(self),
            Command::Account(command) => Ok(command.apply(self)),
            Command::User(command) => command.apply(self, log_index),
            Command::Group(command) => command.apply(self, log_index),
            Command::Table(command) => command.apply(self),
            Command::Limited { command, now } => {
                self.change_within_limits(log_index, *command, now)
            }
        }
    }

    /// Checks the invariants in the documentation of this crate, but for those of users.
    ///
    /// # Panics
    /// If one does not hold. A replica that went on would lose or duplicate records.
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

/// Whether an accepted command changed the catalog, or the catalog was already as the command wants it.
pub(crate) enum Change {
    Made,
    AlreadySo,
}

/// Sets `place` to `wanted`.
pub(crate) fn assign<T: PartialEq>(place: &mut T, wanted: T) -> Change {
    if *place == wanted {
        return Change::AlreadySo;
    }
    *place = wanted;
    Change::Made
}

#[cfg(test)]
mod tests {
    use anabranch_types::{GroupId, NodeId, ReplicaId, limits};
    use proptest::prelude::*;

    use super::*;
    use crate::groups::GroupCommand;
    use crate::model::StreamId;
    use crate::model::StreamMode::Provisioned;
    use crate::script::{Script, create_stream};
    use crate::streams::StreamCommand;
    use crate::tables::TableCommand;

    /// A command about node, stream or group number `which` of this catalog. `size` is a number of shards, of replicas
    /// or the place of a replica.
    fn command(catalog: &Catalog, kind: u8, which: u32, size: u32) -> Command {
        let name: StreamName = format!("s{which}").parse().unwrap();
        let id = catalog.streams.get(&name).map_or(StreamId(0), |stream| stream.id);
        // The last groups come first, so that the few numbers name groups of tables as well as the catalog's own.
        let mut groups: Vec<_> = catalog.groups().collect();
        let few = groups.len().min(2);
        groups.rotate_right(few);
        let found = groups.get(which as usize);
        let group = found.map_or(GroupId(u64::from(which)), |found| found.group);
        let place = found.and_then(|found| found.holders().nth(size as usize % 4));
        let replica = place.map_or(ReplicaId(u64::from(size)), |replica| replica.id);
        match kind {
            0 => StreamCommand::Activate { name, id, newest_group: None }.into(),
            1 => StreamCommand::Delete { name, with_consumers: false }.into(),
            2 => StreamCommand::Drop { name, id }.into(),
            3 => create_stream(name.as_str(), size, Provisioned).into(),
            4 => TableCommand::CreateGroups { replicas: size, at_least: 7 * which }.into(),
            5 => TableCommand::Activate { group }.into(),
            6 => GroupCommand::ReplaceReplica { group, lost: replica }.into(),
            7 => {
                let (from, to) = ((size > 4).then_some(replica), NodeId(u64::from(size) % 4 + 1));
                GroupCommand::MoveReplica { group, from, to }.into()
            }
            8 => GroupCommand::FinishMove { group, replica }.into(),
            9 => GroupCommand::CancelMove { group, replica }.into(),
            _ => GroupCommand::Recover { group, from: replica }.into(),
        }
    }

    proptest! {
        #[test]
        fn any_commands_keep_the_invariants_and_are_deterministic(
            steps in proptest::collection::vec((0u8..12, 0u32..4, 1u32..9), 1..60)
        ) {
            let mut scripts = [Script::with_nodes(1, &["a", "b"]), Script::with_nodes(1, &["a", "b"])];
            for (kind, which, size) in steps {
                let outcomes = scripts.each_mut().map(|script| match kind {
                    11 => script.register(u64::from(which) + 1, u64::from(size), "z"),
                    kind => script.run(command(&script.catalog, kind, which, size)),
                });
                prop_assert_eq!(&outcomes[0], &outcomes[1]);
                prop_assert_eq!(&scripts[0].catalog, &scripts[1].catalog);
                let catalog = &scripts[0].catalog;
                prop_assert!(catalog.table_groups.len() <= limits::MAX_TABLE_GROUPS);
                prop_assert!(catalog.groups().all(|group| group.group.0 < catalog.next_group));
            }
        }
    }
}
