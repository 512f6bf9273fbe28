//! The faults of a run: which come when, by a seed.
//!
//! There are three kinds of faults: of the network, of a machine, of a disk or clock. At most one of each kind is there
//! at a time. All end when the run heals.
//!
//! A fault that destroys a disk's memory (an old copy, a wiped disk) comes at most once in a run, while every group
//! has a leader and all its voters. Two of them at a time destroy a majority, and then acknowledged records are gone by right. While a node starts
//! with an old copy of its disk, no other fault begins: the node finds out by asking the other nodes (ADR-0007).

mod fault;

use std::ops::Range;

use chaos_checkers::history::{self, Phase};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub use fault::{Client, Fault};

use crate::cluster::Cluster;
use crate::recorder::Recorder;

/// Pause between two faults of a kind, in milliseconds.
const PAUSE: Range<u64> = 100..1200;
/// Length of a fault, in milliseconds.
const LENGTH: Range<u64> = 50..2500;

/// Makes the faults of one run.
pub struct Nemesis {
    rng: StdRng,
    recorder: Recorder,
    kinds: [Kind; 3],
    has_destroyed_a_disk: bool,
    /// The node whose disk is an old copy, until the catalog knows that.
    old_disk: Option<u64>,
}

/// A kind of faults, of which one may be there at a time.
struct Kind {
    draw: fn(&mut StdRng, u64) -> Fault,
    active: Option<Fault>,
    /// When the fault that is there ends, or the next one begins.
    next_millis: u64,
}

impl Nemesis {
    /// The faults that `seed` decides.
    pub fn new(seed: u64, recorder: Recorder) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut kind = |draw| Kind { draw, active: None, next_millis: rng.random_range(0..1500) };
        let kinds =
            [kind(Fault::of_network), kind(Fault::of_machine), kind(Fault::of_disk_or_clock)];
        Self { rng, recorder, kinds, has_destroyed_a_disk: false, old_disk: None }
    }

    /// Begins and ends the faults that are due after this many milliseconds of the run.
    pub fn step(&mut self, cluster: &mut Cluster, millis: u64) {
        for nth in 0..self.kinds.len() {
            if millis >= self.kinds[nth].next_millis {
                self.turn(nth, cluster, millis);
            }
        }
    }

    fn turn(&mut self, nth: usize, cluster: &mut Cluster, millis: u64) {
        if let Some(fault) = self.kinds[nth].active.take() {
            self.stop(&fault, cluster);
            self.kinds[nth].next_millis = millis + self.rng.random_range(PAUSE);
            return;
        }
        let fault = (self.kinds[nth].draw)(&mut self.rng, cluster.machines().len() as u64);
        self.old_disk = self.old_disk.filter(|node| !cluster.is_current(*node));
        if self.old_disk.is_some() || !self.may_begin(&fault, cluster) {
            self.kinds[nth].next_millis = millis + self.rng.random_range(PAUSE);
            return;
        }
        self.has_destroyed_a_disk |= fault.destroys_a_disk();
        if let Fault::OldDisk { node } = fault {
            self.old_disk = Some(node);
        }
        fault.start(cluster, &mut self.rng);
        self.record(&fault, Phase::Start);
        self.kinds[nth].active = Some(fault);
        self.kinds[nth].next_millis = millis + self.rng.random_range(LENGTH);
    }

    fn may_begin(&self, fault: &Fault, cluster: &Cluster) -> bool {
        match fault {
            Fault::OldDisk { node } => {
                let is_quiet = self.kinds.iter().all(|kind| kind.active.is_none());
                let is_first = !self.has_destroyed_a_disk && cluster.has_old_copy(*node);
                is_quiet && is_first && cluster.is_settled()
            }
            Fault::WipedDisk { .. } => !self.has_destroyed_a_disk && cluster.is_settled(),
            Fault::CutOff { .. }
            | Fault::OneWay { .. }
            | Fault::Bridge { .. }
            | Fault::Hold { .. }
            | Fault::Delay { .. }
            | Fault::ClientCut { .. }
            | Fault::PowerLoss { .. }
            | Fault::PowerLossOfAll
            | Fault::SlowDisk { .. }
            | Fault::WrongClock { .. } => true,
        }
    }

    fn stop(&self, fault: &Fault, cluster: &mut Cluster) {
        fault.stop(cluster);
        self.record(fault, Phase::Stop);
    }

    /// Ends all faults.
    pub fn heal(&mut self, cluster: &mut Cluster) {
        for nth in 0..self.kinds.len() {
            if let Some(fault) = self.kinds[nth].active.take() {
                self.stop(&fault, cluster);
            }
        }
        self.recorder.heal();
    }

    fn record(&self, fault: &Fault, phase: Phase) {
        self.recorder.fault(history::Fault {
            name: fault.name().into(),
            nodes: fault.nodes(),
            phase,
            detail: format!("{fault:?}"),
            bit: Some(true),
        });
    }
}
