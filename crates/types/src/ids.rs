use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A machine's place in the cluster, as the configuration names it. Never reused.
    NodeId
}
id! {
    /// A Raft group: the catalog ([`GroupId::CATALOG`]) or one shard. Given out by the catalog, never reused.
    GroupId
}
id! {
    /// One node's copy of a group. A wiped disk comes back under a new replica id, never under the old one.
    ReplicaId
}
id! {
    /// One life of a node's data directory: drawn at random when the directory is first made.
    Incarnation
}

impl GroupId {
    /// The group of the catalog.
    pub const CATALOG: Self = Self(0);
}

/// Position of an entry in a group's log: terms never fall along indexes.
///
/// Ordered by term first, as Raft compares logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// Term of the leader that wrote the entry.
    pub term: u64,
    /// Index of the entry; the first entry of a group has index 0.
    pub index: u64,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.index)
    }
}
