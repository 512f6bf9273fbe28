//! One run: a cluster, clients and faults, all of which come from one seed.
//!
//! ```text
//! begin    the cluster starts, the first streams are created
//! run      clients work, faults come and go
//! heal     all faults end, clients end; every node must become ready, all replicas equal
//! audit    every open shard takes a record, every shard is read
//! check    the history is checked
//! ```
//!
//! The replicas are watched all the time (`invariants.rs`).

use std::time::Duration;

use anabranch_catalog::StreamStatus;
use anabranch_replica::GroupReport;
use chaos_checkers::Severity;
use chaos_checkers::history::{Event, Header, History, write_event, write_header};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::clock::WallClock;
use crate::cluster::Cluster;
use crate::invariants::Invariants;
use crate::machine::Machine;
use crate::nemesis::Nemesis;
use crate::recorder::Recorder;
use crate::workload::{Audit, Stage, Workload};

/// The run of a seed or a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Number of nodes.
    pub nodes: u64,
    /// How long clients work and faults come.
    pub length: Duration,
    /// Whether there are faults.
    pub faults: bool,
    /// Whether all clocks go on by more than the retention during the run. Then records expire, and replicas that come back
    /// need snapshots.
    pub expiry: bool,
}

/// The longest time that the cluster may take to start, in milliseconds.
const START_MILLIS: u64 = 30_000;
/// The longest time that the cluster may take to recover, in milliseconds.
const RECOVERY_MILLIS: u64 = 30_000;
/// A little longer than the retention of the streams.
const RETENTION_MILLIS: u64 = 25 * 3600 * 1000;
/// Time in which all nodes agree on a new time, in milliseconds.
const CLOCKS_AGREE_MILLIS: u64 = 3000;
/// Time between two looks at the replicas, in milliseconds.
const LOOK_MILLIS: u64 = 20;

impl Plan {
    /// The plan of a seed: every fifth one has five nodes, and in every third one records expire.
    pub fn of(seed: u64) -> Self {
        let nodes = if seed % 5 == 4 { 5 } else { 3 };
        Self { nodes, length: Duration::from_secs(8), faults: true, expiry: seed.is_multiple_of(3) }
    }
}

/// The result of a run.
pub struct Run {
    /// All that happened.
    pub history: Vec<u8>,
    /// Why the run failed.
    pub failure: Option<String>,
    /// Length of the run in simulated milliseconds.
    pub millis: u64,
    /// Time from the last heal until all was well.
    pub recovery_millis: u64,
    /// Number of events of the history.
    pub events: usize,
    /// Number of entries that were applied.
    pub entries: usize,
    /// Number of leaders that there were.
    pub elections: usize,
}

fn write(header: &Header, events: &[Event]) -> Vec<u8> {
    let mut history = Vec::new();
    let mut write = || -> std::io::Result<()> {
        write_header(&mut history, header)?;
        events.iter().try_for_each(|event| write_event(&mut history, event))
    };
    write().expect("memory takes all bytes");
    history
}

/// Checks what clients saw.
fn check(header: Header, events: Vec<Event>) -> Result<(), String> {
    let history = History::new(header, events).map_err(|error| error.to_string())?;
    let verdict = chaos_checkers::check(&history);
    let broken: Vec<String> = verdict
        .findings
        .iter()
        .filter(|finding| finding.severity != Severity::Report)
        .map(|finding| {
            format!("{:?}: {} (events {:?})", finding.rule, finding.message, finding.events)
        })
        .collect();
    if broken.is_empty() { Ok(()) } else { Err(broken.join("\n")) }
}

/// How far the expiry of records is.
#[derive(Clone, Copy)]
enum Expiry {
    Due,
    /// The time has passed. Calls begin again after this many milliseconds of the run.
    Settles {
        until: u64,
    },
    Over,
}

/// A run that is under way.
pub struct Simulation {
    seed: u64,
    plan: Plan,
    cluster: Cluster,
    recorder: Recorder,
    workload: Workload,
    nemesis: Nemesis,
    invariants: Invariants,
    recovery_millis: u64,
}

/// Runs a plan. The same seed and plan give the same run, if [`crate::seeding`] prepared the thread.
pub fn run(seed: u64, plan: Plan) -> Run {
    Simulation::new(seed, plan).run(|simulation| simulation.run_under_faults())
}

impl Simulation {
    /// A cluster that has not begun.
    pub fn new(seed: u64, plan: Plan) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut cluster = Cluster::new(plan.nodes, rng.random());
        let recorder = Recorder::new(cluster.time().clone());
        let clock = WallClock::new(cluster.time());
        let workload = Workload::new(plan.nodes, recorder.clone(), clock);
        cluster.add_client(workload.clone().run(rng.random(), true));
        cluster.add_client(workload.clone().run(rng.random(), false));
        cluster.add_client(Audit::new(&workload).run());
        let nemesis = Nemesis::new(rng.random(), recorder.clone());
        let invariants = Invariants::default();
        Self { seed, plan, cluster, recorder, workload, nemesis, invariants, recovery_millis: 0 }
    }

    /// Begins, lets clients work while `middle` goes on, heals, audits, and checks the history.
    pub fn run(mut self, middle: impl FnOnce(&mut Self) -> Result<(), String>) -> Run {
        let outcome = self.run_all(middle);
        let nodes = self.cluster.nodes().collect();
        let header = Header { seed: self.seed, nodes, ..Header::default() };
        let events = self.recorder.take();
        let (number, history) = (events.len(), write(&header, &events));
        let checked = outcome.and_then(|()| check(header, events));
        Run {
            history,
            failure: checked.err(),
            millis: self.cluster.time().simulated_millis(),
            recovery_millis: self.recovery_millis,
            events: number,
            entries: self.invariants.entries(),
            elections: self.invariants.elections(),
        }
    }

    fn run_all(
        &mut self,
        middle: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        self.step_until("the first streams", START_MILLIS, Self::has_begun)?;
        self.workload.set_stage(Stage::Runs);
        middle(self)?;
        self.nemesis.heal(&mut self.cluster);
        self.workload.set_stage(Stage::Heals);
        let healed = self.cluster.time().simulated_millis();
        self.step_until("the recovery of all nodes", RECOVERY_MILLIS, Self::has_recovered)?;
        self.workload.set_stage(Stage::Audits);
        self.step_until("the audit", RECOVERY_MILLIS, |this| this.workload.stage() == Stage::Done)?;
        self.recovery_millis = self.cluster.time().simulated_millis() - healed;
        Ok(())
    }

    fn run_under_faults(&mut self) -> Result<(), String> {
        let began = self.cluster.time().simulated_millis();
        let length = u64::try_from(self.plan.length.as_millis()).unwrap_or(u64::MAX);
        let mut expiry = if self.plan.expiry { Expiry::Due } else { Expiry::Over };
        loop {
            let passed = self.cluster.time().simulated_millis() - began;
            // If the last call before the jump of the clocks took long, the nodes have not agreed on the new time yet.
            if passed >= length && !matches!(expiry, Expiry::Settles { .. }) {
                self.workload.hold(false);
                return Ok(());
            }
            expiry = self.expire(expiry, passed, length);
            if self.plan.faults && passed < length {
                self.nemesis.step(&mut self.cluster, passed);
            }
            self.step()?;
        }
    }

    /// Lets more than the retention pass after a quarter of the run. No call is under way then, because none takes that
    /// long. Calls begin again when the nodes agree on the new time: until then a leader stamps records with the old
    /// one.
    fn expire(&self, expiry: Expiry, passed: u64, length: u64) -> Expiry {
        match expiry {
            Expiry::Due if passed >= length / 4 => {
                self.workload.hold(true);
                if self.recorder.open_calls() > 0 {
                    return expiry;
                }
                self.cluster.time().skip(RETENTION_MILLIS);
                self.recorder.note("25 hours pass");
                Expiry::Settles { until: passed + CLOCKS_AGREE_MILLIS }
            }
            Expiry::Settles { until } if passed >= until => {
                self.workload.hold(false);
                Expiry::Over
            }
            Expiry::Due | Expiry::Settles { .. } | Expiry::Over => expiry,
        }
    }

    /// The machines, for faults.
    pub fn cluster(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    /// Lets the time of the world go on.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn run_for(&mut self, millis: u64) -> Result<(), String> {
        let until = self.cluster.time().simulated_millis() + millis;
        while self.cluster.time().simulated_millis() < until {
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), String> {
        self.cluster.step().map_err(|error| error.to_string())?;
        if self.cluster.time().simulated_millis().is_multiple_of(LOOK_MILLIS) {
            self.invariants.check(&self.cluster, &self.recorder)?;
        }
        Ok(())
    }

    /// Lets the time of the world go on until something is there, but at most `longest` milliseconds.
    ///
    /// # Errors
    /// The first rule that does not hold, or that `what` is not there in time.
    pub fn step_until(
        &mut self,
        what: &str,
        longest: u64,
        is_there: impl Fn(&Self) -> bool,
    ) -> Result<(), String> {
        let began = self.cluster.time().simulated_millis();
        while !is_there(self) {
            if self.cluster.time().simulated_millis() - began > longest {
                let state = self.describe();
                return Err(format!("not within {longest} ms: {what}\n{state}"));
            }
            self.step()?;
        }
        Ok(())
    }

    fn has_begun(&self) -> bool {
        self.workload.is_ready() && self.all_ready() && self.cluster.is_settled()
    }

    fn all_ready(&self) -> bool {
        let mut machines = self.cluster.machines().iter();
        machines.all(|machine| machine.node().is_some_and(|node| node.is_ready()))
    }

    /// Whether every node is current, and every group has all its voters.
    pub fn is_settled(&self) -> bool {
        self.cluster.is_settled()
    }

    /// The machines, to look at.
    pub fn machines(&self) -> &[Machine] {
        self.cluster.machines()
    }

    /// Whether all clients have ended, and every node is ready and has the same catalog.
    fn has_recovered(&self) -> bool {
        if self.workload.busy() > 0 || !self.all_ready() {
            return false;
        }
        let nodes = self.cluster.machines().iter().filter_map(|machine| machine.node());
        let versions: Vec<_> = nodes.map(|node| node.catalog().borrow().clone()).collect();
        versions.windows(2).all(|pair| pair[0] == pair[1])
    }

    /// State of the nodes and their replicas, for the reader of a failure.
    fn describe(&self) -> String {
        let mut lines = vec![format!("clients that have not ended: {}", self.workload.busy())];
        for machine in self.cluster.machines() {
            let Some(node) = machine.node() else {
                lines.push(format!("node {} does not run", machine.id()));
                continue;
            };
            let catalog = node.catalog().borrow().clone();
            let (ready, current, version) = (node.is_ready(), node.is_current(), catalog.version);
            lines.push(format!(
                "node {}: ready {ready}, current {current}, catalog {version}, disk {:?}",
                machine.id(),
                node.disk()
            ));
            let groups = catalog.groups().map(|group| group.group);
            lines.extend(groups.filter_map(|group| {
                let report = node.report(group)?;
                let GroupReport { replica, leads, term, last, committed, applied, .. } = report;
                let (last, committed) = (last.map(|id| id.index), committed.map(|id| id.index));
                let members: Vec<_> = report.members.iter().map(|m| (m.replica.0, m.votes)).collect();
                Some(format!(
                    "  group {group} replica {replica}: leads {leads}, term {term}, last {last:?}, committed \
                     {committed:?}, applied {applied}, members {members:?}"
                ))
            }));
            let streams = catalog.streams.iter().filter(|(_, s)| s.status != StreamStatus::Active);
            lines.extend(streams.map(|(name, stream)| format!("  {name} is {:?}", stream.status)));
        }
        lines.join("\n")
    }
}
