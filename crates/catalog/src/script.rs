//! A catalog and the commands that it applies, for the tests of this crate. Tests add methods of their own.

use anabranch_types::{Incarnation, NodeId, ReplicaId, StreamName, Timestamp};

use crate::command::Command;
use crate::groups::Replica;
use crate::model::{Catalog, Stream, StreamMode};
use crate::nodes::{NodeCommand, NodeRegistration};
use crate::outcome::{Outcome, Refusal};
use crate::samples;
use crate::streams::{NewStream, StreamCommand};

pub(crate) struct Script {
    pub(crate) catalog: Catalog,
    index: u64,
}

/// Time by the proposer's clock.
pub(crate) const NOW: Timestamp = samples::CREATED;

impl Script {
    /// Nodes 1, 2, … in these zones. Nodes 1 to `voters` hold the catalog, registered or not.
    pub(crate) fn with_nodes(voters: u64, zones: &[&str]) -> Self {
        let voters: Vec<_> =
            (1..=voters).map(|id| Replica { id: ReplicaId(id), node: NodeId(id) }).collect();
        let mut script = Self { catalog: Catalog::bootstrap(&voters), index: 0 };
        for (id, zone) in (1..).zip(zones) {
            script.register(id, id, zone);
        }
        script
    }

    pub(crate) fn run(&mut self, command: impl Into<Command>) -> Outcome {
        self.index += 1;
        self.catalog.apply(self.index, command.into())
    }

    pub(crate) fn done(&mut self, command: impl Into<Command>) {
        let command = command.into();
        let outcome = self.run(command.clone());
        assert!(matches!(outcome, Outcome::Done { .. }), "{command:?}: {outcome:?}");
    }

    pub(crate) fn refused(&mut self, command: impl Into<Command>) -> Refusal {
        let command = command.into();
        match self.run(command.clone()) {
            Outcome::Refused(refusal) => refusal,
            done @ Outcome::Done { .. } => panic!("{command:?}: {done:?}"),
        }
    }

    pub(crate) fn register(&mut self, node: u64, incarnation: u64, zone: &str) -> Outcome {
        let registration = samples::registration(node);
        let (incarnation, zone) = (Incarnation(incarnation), zone.into());
        self.run(NodeCommand::Register(NodeRegistration { incarnation, zone, ..registration }))
    }

    pub(crate) fn create(&mut self, name: &str, shards: u32, mode: StreamMode) -> Outcome {
        self.run(create_stream(name, shards, mode))
    }

    /// Creates a stream and makes it ACTIVE.
    pub(crate) fn create_active(&mut self, name: &str, shards: u32, mode: StreamMode) {
        assert!(matches!(self.create(name, shards, mode), Outcome::Done { .. }));
        let (name, id) = (name.parse().unwrap(), self.stream(name).id);
        self.done(StreamCommand::Activate { name, id, newest_group: None });
    }

    pub(crate) fn stream(&self, name: &str) -> &Stream {
        &self.catalog.streams[&name.parse::<StreamName>().unwrap()]
    }
}

/// The command that creates a stream with the defaults of the Kinesis API.
pub(crate) fn create_stream(name: &str, shards: u32, mode: StreamMode) -> StreamCommand {
    StreamCommand::Create(NewStream { mode, ..samples::new_stream(name, shards) })
}
