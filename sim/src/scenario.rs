//! Scenarios of bugs that the simulation found. Each one is the shortest way to the bug, and holds since it is fixed.

use std::time::Duration;

use anabranch_storage::LogStore;
use anabranch_types::NodeId;

use crate::machine::Machine;
use crate::simulation::{self, Plan, Run, Simulation};

/// A named scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// A disk is wiped. The node registers the new disk, and loses power before the disk holds anything. At its next
    /// start it began the replica of the catalog under the id of the founder, whose votes and entries were gone. This
    /// run goes the way to the bug, but some writes of the new disk may survive. The unit test of `is_unused`
    /// (`node/src/bootstrap.rs`) has the exact case.
    WipedDiskLosesPower,
    /// A leader gives its leadership away, because its clock is wrong. The replica that it chose is gone for ever: its
    /// disk was wiped, and its node is alive with another replica. The leader chose the same replica again and again,
    /// and the group had no leader any more.
    TransferToAWipedDisk,
    /// The leader of a new group loses its disk, and its node comes back with another replica. Of the two replicas that
    /// are left, one has no entry yet, so it does not know on which node the leader was. It kept the lease of the lost
    /// leader for 22 seconds, and the other replica took the node for a living leader. This is the run in which the bug
    /// was found.
    EmptyVoterOfAWipedLeader,
}

/// The seed in which [`Scenario::EmptyVoterOfAWipedLeader`] was found.
const EMPTY_VOTER_SEED: u64 = 421;

/// The node whose disk is wiped.
const WIPED: u64 = 1;
/// A node that leads some groups.
const LEADER: u64 = 2;
/// Longest wait for anything, in milliseconds.
const LONGEST_MILLIS: u64 = 10_000;

impl Scenario {
    /// All scenarios.
    pub const ALL: [Self; 3] =
        [Self::WipedDiskLosesPower, Self::TransferToAWipedDisk, Self::EmptyVoterOfAWipedLeader];

    /// The scenario with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name)
    }

    /// The name, for the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::WipedDiskLosesPower => "wiped-disk-loses-power",
            Self::TransferToAWipedDisk => "transfer-to-a-wiped-disk",
            Self::EmptyVoterOfAWipedLeader => "empty-voter-of-a-wiped-leader",
        }
    }

    /// Runs the scenario.
    pub fn run(self) -> Run {
        let plan = Plan { nodes: 3, length: Duration::ZERO, faults: false, expiry: false };
        let scenario = match self {
            Self::WipedDiskLosesPower => wiped_disk_loses_power,
            Self::TransferToAWipedDisk => transfer_to_a_wiped_disk,
            Self::EmptyVoterOfAWipedLeader => {
                return simulation::run(EMPTY_VOTER_SEED, Plan::of(EMPTY_VOTER_SEED));
            }
        };
        Simulation::new(1, plan).run(scenario)
    }
}

/// Runs `simulation` until every group has all its voters.
fn settle(simulation: &mut Simulation) -> Result<(), String> {
    simulation.step_until("all voters", LONGEST_MILLIS, Simulation::is_settled)
}

fn wiped_disk_loses_power(simulation: &mut Simulation) -> Result<(), String> {
    settle(simulation)?;
    simulation.cluster().cut_power(WIPED, true);
    simulation.cluster().wipe(WIPED);
    simulation.cluster().set_slowest_sync(WIPED, 900);
    let incarnation = simulation.machines()[0].disk().store().incarnation();
    simulation.run_for(200)?;
    simulation.cluster().power_on(WIPED);
    simulation.step_until("the registration of the wiped disk", LONGEST_MILLIS, |simulation| {
        let mut nodes = simulation.machines().iter().filter_map(Machine::node);
        nodes.any(|node| {
            let catalog = node.catalog().borrow().clone();
            catalog.nodes.get(&NodeId(WIPED)).is_some_and(|known| known.incarnation == incarnation)
        })
    })?;
    // The new disk has written nothing yet, or loses what it has written.
    simulation.cluster().cut_power(WIPED, true);
    simulation.run_for(100)?;
    simulation.cluster().power_on(WIPED);
    simulation.run_for(3000)
}

fn transfer_to_a_wiped_disk(simulation: &mut Simulation) -> Result<(), String> {
    settle(simulation)?;
    simulation.cluster().set_clock(LEADER, 60_000);
    // A second later the leader gives its leadership away. Its target is gone by then, and the node of the target is
    // alive.
    simulation.run_for(950)?;
    simulation.cluster().cut_power(WIPED, false);
    simulation.cluster().wipe(WIPED);
    simulation.run_for(30)?;
    simulation.cluster().power_on(WIPED);
    simulation.run_for(1500)?;
    simulation.cluster().set_clock(LEADER, 0);
    simulation.run_for(1000)
}
