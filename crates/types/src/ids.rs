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
    /// Number of a node, set in its configuration. It names a place in the cluster: it stays when the disk is
    /// replaced (ADR-0007), and is never reused.
    NodeId
}
id! {
    /// Number of a Raft group: the catalog ([`GroupId::CATALOG`]) or one shard. The catalog assigns it and never
    /// reuses it.
    GroupId
}
id! {
    /// Number of a replica: one node's copy of a group. After a disk was wiped, its node gets new replica ids. An old
    /// id would claim votes and entries that the disk has lost.
    ReplicaId
}
id! {
    /// Random number of a node's data directory, drawn when the directory is created. A new one means that the node
    /// has lost its data.
    Incarnation
}

impl GroupId {
    /// Group of the catalog.
    pub const CATALOG: Self = Self(0);
}

/// Position of an entry in a group's log. In one log, an entry with a higher index never has a lower term.
///
/// Ordered by term first, then by index, as Raft compares logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// Term of the leader that created the entry.
    pub term: u64,
    /// Index of the entry; the first entry of a group has index 0.
    pub index: u64,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.index)
    }
}
