//! Commands: the changes to the catalog that its log holds.
//!
//! They come in families, one per kind of thing that they change. The file or folder of a family has its enum, the rules by which the
//! catalog applies each of its commands, and their tests. A new command is a variant there, a conversion in the family's
//! file of `crates/proto/src/catalog/commands/`, and a field of `Command` in `catalog.proto`, where the stored bytes are
//! defined: the order of variants here means nothing.

use anabranch_types::Timestamp;

use crate::account::AccountCommand;
use crate::consumers::ConsumerCommand;
use crate::encryption::EncryptionCommand;
use crate::groups::GroupCommand;
use crate::nodes::NodeCommand;
use crate::resources::ResourceCommand;
use crate::shards::ShardsCommand;
use crate::streams::StreamCommand;
use crate::users::UserCommand;

/// One change to the catalog. Replicated and stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Nodes register, drain and leave.
    Node(NodeCommand),
    /// Streams come and go, and their settings change.
    Stream(StreamCommand),
    /// Shards of a stream are split, merged and forgotten.
    Shards(ShardsCommand),
    /// Consumers of a stream come and go.
    Consumer(ConsumerCommand),
    /// Records of a stream are encrypted or not, under which keys.
    Encryption(EncryptionCommand),
    /// Tags and policies of streams and consumers change.
    Resource(ResourceCommand),
    /// Settings of the account change.
    Account(AccountCommand),
    /// Users, their access keys and their policies change.
    User(UserCommand),
    /// Replicas of groups are replaced, moved, evened out and recovered.
    Group(GroupCommand),
    /// A user's change in a cluster that has the limits of the service.
    Limited {
        /// The change; never a limited one itself.
        command: Box<Command>,
        /// The proposer's clock.
        now: Timestamp,
    },
}

impl Command {
    /// Whether the command, applied once more right behind itself, changes nothing and has the same outcome. If nobody knows
    /// what became of such a command, it may be proposed again.
    pub fn is_repeatable(&self) -> bool {
        match self {
            Self::Limited { command, .. } => command.is_repeatable(), // a change without effect is not counted
            Self::Resource(command) => command.is_repeatable(),
            Self::Stream(command) => command.is_repeatable(),
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
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::model::StreamMode;
    use crate::resources::Resource;
    use crate::script::{NOW, Script};
    use crate::streams::ShardMetrics;

    #[test]
    fn a_repeatable_command_comes_to_the_same_when_it_is_repeated() {
        let mut script = Script::with_nodes(3, &["a", "b", "c"]);
        script.create_active("s", 1, StreamMode::Provisioned);
        let name = || "s".parse().unwrap();
        let (all, none) = (ShardMetrics::ALL, ShardMetrics::default());
        let resource = Resource { stream: name(), consumer: None };
        let set = BTreeMap::from([("a".into(), "v".into()), ("b".into(), "v".into())]);
        let (tagged, removed) = (resource.clone(), BTreeSet::from(["c".into()]));
        let policy =
            |policy| ResourceCommand::SetPolicy { resource: resource.clone(), policy }.into();
        let commands: [Command; 5] = [
            ResourceCommand::SetTags { resource: tagged, set, removed }.into(),
            policy(Some("p".into())),
            policy(None),
            StreamCommand::SetMaxRecordSize { name: name(), kib: 2048 }.into(),
            StreamCommand::SetShardMetrics { name: name(), on: all, off: none }.into(),
        ];
        for command in commands {
            let now = NOW;
            for command in
                [command.clone(), Command::Limited { command: Box::new(command.clone()), now }]
            {
                assert!(command.is_repeatable());
                script.done(command.clone());
                let after = script.catalog.clone();
                script.done(command);
                assert_eq!(script.catalog, after);
            }
        }
        let delete = StreamCommand::Delete { name: name(), with_consumers: false };
        assert!(!Command::from(delete).is_repeatable());
    }
}
