//! Faults, heals, and what the harness observed.

use std::collections::BTreeSet;

use crate::history::{
    Event, Exit, Fault, Header, Kind, Leaders, LogLine, Millis, Nanos, Nemesis, Observation, Phase,
    Pressure,
};

/// An event with its time and index.
pub(crate) struct At<T> {
    pub(crate) time: Nanos,
    pub(crate) index: u64,
    pub(crate) value: T,
}

/// Everything that no client did.
#[derive(Default)]
pub(crate) struct Surroundings<'a> {
    pub(crate) faults: Vec<At<&'a Fault>>,
    pub(crate) last_heal: Option<Nanos>,
    pub(crate) leaders: Vec<At<&'a Leaders>>,
    pub(crate) exits: Vec<At<&'a Exit>>,
    pub(crate) lines: Vec<At<&'a LogLine>>,
    pressures: Vec<Pressure>,
    /// When all clocks moved, and how far ahead they were then, in nanoseconds.
    clocks: Vec<(Nanos, u64)>,
}

const NANOS_PER_MS: u64 = 1_000_000;
/// Longest time until every node has noticed that its clock moved.
const NOTICED: Millis = Millis(15_000);

/// A time in which the same nodes have faults.
pub(crate) struct Period {
    pub(crate) from: Nanos,
    pub(crate) to: Nanos,
    pub(crate) nodes: BTreeSet<u64>,
}

impl<'a> Surroundings<'a> {
    pub(super) fn of(events: &'a [Event]) -> Self {
        let mut all = Self::default();
        for event in events {
            let (time, index) = (event.time, event.index);
            match &event.kind {
                Kind::Nemesis(Nemesis::Fault(value)) => all.faults.push(At { time, index, value }),
                Kind::Nemesis(Nemesis::Clocks(clocks)) => {
                    all.clocks.push((time, clocks.ahead_ms.saturating_mul(NANOS_PER_MS)));
                }
                Kind::Nemesis(Nemesis::Heal {}) => all.last_heal = Some(time),
                Kind::Observation(seen) => all.observe(time, index, seen),
                Kind::Invoke { .. } | Kind::Ok { .. } | Kind::Fail { .. } | Kind::Info { .. } => {}
            }
        }
        all
    }

    fn observe(&mut self, time: Nanos, index: u64, seen: &'a Observation) {
        match seen {
            Observation::Leaders(value) => self.leaders.push(At { time, index, value }),
            Observation::Exit(value) => self.exits.push(At { time, index, value }),
            Observation::Log(value) => self.lines.push(At { time, index, value }),
            Observation::Pressure(pressure) => self.pressures.push(*pressure),
            Observation::Note(_) => {}
        }
    }

    /// The longest time that may have passed on the clocks of the cluster between two times of the harness.
    ///
    /// A record that was put just after a move may have been stamped before the nodes noticed the move.
    pub(crate) fn cluster_time(&self, from: Nanos, to: Nanos) -> u64 {
        let ahead = |at: Nanos| {
            let moved = self.clocks.iter().rev().find(|(time, _)| *time <= at);
            moved.map_or(0, |(_, ahead)| *ahead)
        };
        let stamped = Nanos(from.0.saturating_sub(NOTICED.as_nanos()));
        to.since(from).saturating_add(ahead(to).saturating_sub(ahead(stamped)))
    }

    /// Whether the machine was too busy: then times say nothing about the cluster.
    pub(super) fn is_stalled(&self, header: &Header) -> bool {
        let limit = header.stall_percent;
        self.pressures.iter().any(|seen| seen.cpu_some > limit || seen.mem_some > limit)
    }

    /// The times between the events of faults, with the nodes that have a fault. A heal ends all faults.
    pub(crate) fn periods(&self, end: Nanos) -> Vec<Period> {
        let mut active: Vec<&Fault> = Vec::new();
        let mut periods = Vec::new();
        for (place, fault) in self.faults.iter().enumerate() {
            match fault.value.phase {
                Phase::Start => active.push(fault.value),
                Phase::Stop => active.retain(|begun| !ends(fault.value, begun)),
            }
            let next = self.faults.get(place + 1).map_or(end, |next| next.time);
            let to = self.last_heal.map_or(next, |heal| next.min(heal));
            let nodes: BTreeSet<u64> =
                active.iter().flat_map(|begun| begun.nodes.iter().copied()).collect();
            if fault.time < to && !nodes.is_empty() {
                periods.push(Period { from: fault.time, to, nodes });
            }
        }
        periods
    }
}

/// Whether the end belongs to this beginning.
pub(crate) fn ends(end: &Fault, begun: &Fault) -> bool {
    end.name == begun.name && (end.nodes == begun.nodes || end.nodes.is_empty())
}
