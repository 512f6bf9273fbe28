//! Commands: the changes to the catalog that its log holds.
//!
//! They come in families, one per kind of thing that they change. The file or folder of a family has its enum, the
//! rules by which the catalog applies each of its commands, and their tests. A new command is a variant there, a
//! conversion in the family's file of `crates/proto/src/catalog/commands/`, and a field of `Command` in
//! `catalog.proto`, where the stored bytes are defined: the order of variants here means nothing.

use anabranch_types::Timestamp;

use crate::account::AccountCommand;
use crate::consumers::ConsumerCommand;
use crate::encryption::EncryptionCommand;
use crate::groups::GroupCommand;
use crate::nodes::NodeCommand;
use crate::resources::ResourceCommand;
use crate::shards::ShardsCommand;
use crate::streams::StreamCommand;
use crate::tables::TableCommand;
use crate::users::UserCommand;

/// One change to the catalog. Replicated and stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A change to nodes: they register, drain and leave.
    Node(NodeCommand),
    /// A change to a stream: its life and its settings.
    Stream(StreamCommand),
    /// A change to the shards of a stream: splits, merges, expiry.
    Shards(ShardsCommand),
    /// A change to the consumers of a stream.
    Consumer(ConsumerCommand),
    /// A change to the encryption of a stream's records.
    Encryption(EncryptionCommand),
    /// A change to the tags or the policy of a stream or a consumer.
    Resource(ResourceCommand),
    /// A change to the settings of the account.
    Account(AccountCommand),
    /// A change to users, their access keys and their policies.
    User(UserCommand),
    /// A change to the replicas of groups: replacements, moves, recoveries, balancing.
    Group(GroupCommand),
    /// A change to table groups: they are made and become ready.
    Table(TableCommand),
    /// A user's change in a cluster that enforces the limits of the service (`service_limits.rs`).
    Limited {
        /// The change. Not a limited one itself: decoding refuses that.
        command: Box<Command>,
        /// Time by the proposer's clock, to count the changes of a day.
        now: Timestamp,
    },
}

impl Command {
    /// Whether the command is idempotent: applied twice in a row, it changes nothing the second time and has the same
    /// outcome. A proposer that does not know the outcome of such a command may propose it again.
    pub fn is_idempotent(&self) -> bool {
        match self {
            // The limits do not count a change without effect.
            Self::Limited { command, .. } => command.is_idempotent(),
            Self::Resource(command) => command.is_idempotent(),
            Self::Stream(command) => command.is_idempotent(),
            Self::Table(TableCommand::CreateGroups { .. } | TableCommand::Activate { .. }) => true,
            Self::Node(_)
            | Self::Shards(_)
            | Self::Consumer(_)
            | Self::Encryption(_)
            | Self::Account(_)
            | Self::User(_)
            | Self::Group(_) => false,
        }
    }
}

/// Makes a [`Command`] of a command of each family.
macro_rules! families {
    ($($family:ident($command:ty),)*) => {
        $(impl From<$command> for Command {
            fn from(command: $command) -> Self {
                Self::$family(command)
            }
        })*
    };
}

families! {
    Node(NodeCommand),
    Stream(StreamCommand),
    Shards(ShardsCommand),
    Consumer(ConsumerCommand),
    Encryption(EncryptionCommand),
    Resource(ResourceCommand),
    Account(AccountCommand),
    User(UserCommand),
    Group(GroupCommand),
    Table(TableCommand),
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use anabranch_types::GroupId;

    use super::*;
    use crate::model::StreamMode;
    use crate::resources::Resource;
    use crate::script::{NOW, Script};
    use crate::streams::ShardMetrics;

    #[test]
    fn a_repeatable_command_changes_nothing_the_second_time() {
        let mut script = Script::with_nodes(3, &["a", "b", "c"]);
        script.create_active("s", 1, StreamMode::Provisioned);
        let name = || "s".parse().unwrap();
        let (all, none) = (ShardMetrics::ALL, ShardMetrics::default());
        let resource = Resource { stream: name(), consumer: None };
        let set = BTreeMap::from([("a".into(), "v".into()), ("b".into(), "v".into())]);
        let (tagged, removed) = (resource.clone(), BTreeSet::from(["c".into()]));
        let policy =
            |policy| ResourceCommand::SetPolicy { resource: resource.clone(), policy }.into();
        let commands: [Command; 7] = [
            ResourceCommand::SetTags { resource: tagged, set, removed }.into(),
            policy(Some("p".into())),
            policy(None),
            StreamCommand::SetMaxRecordSize { name: name(), kib: 2048 }.into(),
            StreamCommand::SetShardMetrics { name: name(), on: all, off: none }.into(),
            TableCommand::CreateGroups { replicas: 3, at_least: 2 }.into(),
            TableCommand::Activate { group: GroupId(2) }.into(),
        ];
        for command in commands {
            let now = NOW;
            for command in
                [command.clone(), Command::Limited { command: Box::new(command.clone()), now }]
            {
                assert!(command.is_idempotent());
                script.done(command.clone());
                let after = script.catalog.clone();
                script.done(command);
                assert_eq!(script.catalog, after);
            }
        }
        let delete = StreamCommand::Delete { name: name(), with_consumers: false };
        assert!(!Command::from(delete).is_idempotent());
    }
}
