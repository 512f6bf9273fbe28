//! The table of all rules. A new rule is a function and a row here.
//!
//! Which rule finds the anomalies that chaos tests of other logs look for:
//!
//! | anomaly | rules |
//! | --- | --- |
//! | lost acknowledged record, at all gateways or at one | C1 |
//! | two records under one number, one record under two numbers | I3, I4, I6; I5, R5 |
//! | reordering within a shard or a key, also across a split or a merge | O1, O2, O3, O5 |
//! | aborted read | I2 |
//! | stale read after an acknowledgement | C6, C7, M1, R8 |
//! | a reader skips a record that appears later | C3, C5 |
//! | no service after the heal, a stream that stays UPDATING | M3, M6 |
//! | truncated log, power loss | C1, C2, M2 |
//! | torn write, bit flip or truncation on one replica | I1, C1, M2, M7 |
//! | lost update, half a transaction | M1, M8 |
//! | a former owner of a lease stores a checkpoint | L1, L2 |
//! | clock jump | C5 (arrival times), T2 |
//! | full or slow disk | M3, M4, M6 |
//! | crash at a step of a resharding | R1 to R7, M3 |

use serde::{Deserialize, Serialize};

use crate::run::Run;
use crate::verdict::Report;
use crate::{
    access, cluster, completeness, integrity, leases, linearizable, order, resharding, retention,
};

/// One rule.
pub struct Rule {
    /// Its id.
    pub id: RuleId,
    /// A short name.
    pub name: &'static str,
    /// The promise that the rule checks.
    pub promise: &'static str,
    pub(crate) check: fn(&Run<'_>, &mut Report),
}

macro_rules! rules {
    ($($id:ident $name:literal $promise:literal $check:path;)*) => {
        /// The id of a rule. The letter is its family: **I**ntegrity, **O**rder, **C**ompleteness, **R**esharding,
        /// re**T**ention, **L**eases, the cluster as a **M**achine, **A**ccess.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum RuleId { $(#[doc = $promise] $id,)* }

        /// All rules, in the order in which they run.
        pub const RULES: &[Rule] = &[
            $(Rule { id: RuleId::$id, name: $name, promise: $promise, check: $check },)*
        ];
    };
}

rules! {
    I1 "phantom" "Each record that is read was put to that stream with that key, and its payload is whole." integrity::phantom;
    I2 "aborted-read" "A record whose puts all failed is never read." integrity::aborted_read;
    I3 "inconsistent-offsets" "Two reads of a position find the same record." integrity::inconsistent_offsets;
    I4 "ack-agreement" "A read of an acknowledged position finds the acknowledged record." integrity::ack_agreement;
    I5 "duplicate" "A record has at most as many copies as its client made attempts, and one if they are named." integrity::duplicate;
    I6 "sequence-unique" "Two puts are never acknowledged with the same position." integrity::sequence_unique;
    O1 "order-of-reads" "Sequence numbers rise within a response and along a chain of reads." order::order_of_reads;
    O2 "real-time-order" "A put that begins after another one ended gets a higher number in the same shard." order::real_time_order;
    O3 "order-of-a-process" "The puts of a process to a shard get rising numbers." order::order_of_a_process;
    O4 "array-order" "The records of one call for one shard keep the order of the call." order::array_order;
    O5 "order-across-resharding" "All numbers of a child are above those of its ancestors, and a child takes records only after them." order::order_across_resharding;
    C1 "lost-write" "A full read through each gateway has each acknowledged record that is not trimmed." completeness::lost_write;
    C2 "flicker" "A record that was read once is in each later full read until it is trimmed." completeness::flicker;
    C3 "skip" "A chain of reads leaves out no record." completeness::skip;
    C4 "premature-end" "A chain ends only at a closed shard, behind its last record." completeness::premature_end;
    C5 "iterator-start" "A chain starts where its iterator says, and arrival times never fall." completeness::iterator_start;
    C6 "stale" "A read that says that it is at the tip has seen all records that were acknowledged before it began." completeness::stale;
    C7 "realtime-lag" "After the recovery a reader that waits for records is behind the tip for a short time only." completeness::realtime_lag;
    R1 "snapshot" "The open shards of each list cover all hash keys once." resharding::snapshot;
    R2 "routing" "A record is in a shard whose range has its hash key." resharding::routing;
    R3 "closed-stays-closed" "A closed shard takes no record, keeps its end, and is read the same each time." resharding::closed_stays_closed;
    R4 "lineage" "Children cover their parents' hash keys and start above their parents' ends." resharding::lineage;
    R5 "family-once" "A put that races a resharding is in exactly one shard of the family." resharding::family_once;
    R6 "parent-before-child" "The end of a shard names its children, and no child has a record before the resharding began." resharding::parent_before_child;
    R7 "reshard-once" "A resharding takes effect at most once, and never if it failed." resharding::reshard_once;
    R8 "linear-streams" "The calls that create, change and describe a stream are linearizable." linearizable::streams;
    T1 "prefix" "The trimmed records of a shard are a prefix, never a hole." retention::prefix;
    T2 "not-early" "No record is trimmed before its retention is over." retention::not_early;
    T3 "trim-monotone" "A trimmed record never comes back." retention::trim_monotone;
    T4 "raise-restores-nothing" "A longer retention brings no trimmed record back." retention::raise_restores_nothing;
    T5 "trimmed-in-time" "A record is gone soon after its retention is over." retention::trimmed_in_time;
    L1 "one-owner" "An epoch of a consumer lease has one owner." leases::one_owner;
    L2 "fencing" "Checkpoints go back only if their owner asks for it, and an old owner cannot store one." leases::fencing;
    L3 "handover" "A new owner goes on behind the checkpoint and leaves out no record." leases::handover;
    L4 "order-of-an-epoch" "Within an epoch records are processed in order." leases::order_of_an_epoch;
    L5 "parent-first" "No record of a child is processed before its parents are finished, and no group gives a child out before." leases::parent_first;
    L6 "two-owners" "How long two owners worked at once. This is reported, because pauses make it legal." leases::two_owners;
    L7 "lease-recovery" "After the last heal each lease gets an owner that stores a checkpoint, within the limit." leases::recovery;
    M1 "linear-catalog" "Registers and sets are linearizable: tags, policies and streams of the catalog, items of tables." linearizable::catalog;
    M2 "equal-replicas" "A term has one leader, and replicas that applied the same entries hold the same records." cluster::equal_replicas;
    M3 "recovery" "After the last heal each shard takes a put and a read, and each stream is ACTIVE, within the limit." cluster::recovery;
    M4 "no-crash" "No process panics or ends without a reason." cluster::no_crash;
    M5 "coverage" "Each fault that the run wanted had its effect." cluster::coverage;
    M6 "availability" "While a minority of the nodes is faulty, the other nodes take puts." cluster::availability;
    M7 "damage-never-leads" "A node with a damaged disk leads nothing until it is repaired or made new." cluster::damage_never_leads;
    M8 "transaction" "A transaction writes all of its items, or none of them." linearizable::transactions;
    A1 "allowed-after-revoke" "No action is allowed after its removal was acknowledged." access::allowed_after_revoke;
    A2 "denied-after-grant" "An action that was granted is allowed. This is reported unless it is promised." access::denied_after_grant;
}
