//! The faults of each node, and the number of groups that it led.

use std::collections::BTreeMap;

use chaos_checkers::History;
use chaos_checkers::history::{Fault, Kind, Leaders, Nanos, Nemesis, Observation, Phase};

use super::chart::{Chart, color};

/// Height of one lane.
const LANE: f64 = 18.0;

/// The chart of faults and the chart of leaders.
pub(super) fn draw(history: &History) -> String {
    let end = history.events().last().map(|event| event.time).unwrap_or_default();
    format!(
        "<h2>Faults of each node</h2>{}<h2>Groups that each node leads</h2>{}",
        faults(history, end),
        leaders(history, end)
    )
}

fn faults(history: &History, end: Nanos) -> String {
    let nodes = &history.header().nodes;
    let lanes = nodes.len() + 1;
    let mut chart = Chart::new(end, f64::from(u32::try_from(lanes).unwrap_or(1)) * LANE);
    let lane_of = |node: Option<u64>| {
        let place = node.and_then(|node| nodes.iter().position(|known| *known == node));
        f64::from(u32::try_from(place.map_or(0, |place| place + 1)).unwrap_or_default()) * LANE
    };
    chart.name(12.0, "cluster");
    for node in nodes {
        chart.name(lane_of(Some(*node)) + 12.0, &format!("node {node}"));
    }
    for event in history.events() {
        if let Kind::Nemesis(Nemesis::Heal {}) = event.kind {
            chart.mark(event.time, "everything heals");
        }
    }
    for (from, to, fault) in spans(history, end) {
        let Fault { name, nodes, detail, bit, .. } = fault;
        let seen = match bit {
            Some(true) => "",
            Some(false) => " (no effect)",
            None => " (effect not known)",
        };
        let hint = format!("{name}{seen}: {detail}\n{from} to {to}");
        let hue = color(name.bytes().map(u64::from).sum());
        let whole = nodes.is_empty() || nodes.len() == history.header().nodes.len();
        let lanes: Vec<_> =
            if whole { vec![None] } else { nodes.iter().copied().map(Some).collect() };
        for lane in lanes {
            chart.bar(from, to, lane_of(lane) + 2.0, LANE - 4.0, hue, &hint);
        }
    }
    chart.finish()
}

/// Each fault from its start to its stop. A fault that did not begin has no length.
fn spans(history: &History, end: Nanos) -> Vec<(Nanos, Nanos, &Fault)> {
    let mut open: Vec<(Nanos, &Fault)> = Vec::new();
    let mut spans = Vec::new();
    for event in history.events() {
        let Kind::Nemesis(Nemesis::Fault(fault)) = &event.kind else { continue };
        let same = open
            .iter()
            .position(|(_, begun)| begun.name == fault.name && begun.nodes == fault.nodes);
        match (fault.phase, same) {
            (Phase::Start, _) => open.push((event.time, fault)),
            (Phase::Stop, Some(place)) => spans.push((open.remove(place).0, event.time, fault)),
            (Phase::Stop, None) => spans.push((event.time, event.time, fault)),
        }
    }
    spans.extend(open.into_iter().map(|(from, fault)| (from, end, fault)));
    spans
}

fn leaders(history: &History, end: Nanos) -> String {
    const HEIGHT: f64 = 110.0;
    let mut chart = Chart::new(end, HEIGHT);
    let mut led: BTreeMap<u64, Vec<(Nanos, u32)>> = BTreeMap::new();
    let mut most = 1;
    for event in history.events() {
        let Kind::Observation(Observation::Leaders(Leaders { leaders })) = &event.kind else {
            continue;
        };
        for node in &history.header().nodes {
            let count = leaders.iter().filter(|leader| leader.node == *node).count();
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            most = most.max(count);
            led.entry(*node).or_default().push((event.time, count));
        }
    }
    let height = |count: u32| HEIGHT - 4.0 - (HEIGHT - 14.0) * f64::from(count) / f64::from(most);
    chart.grid(height(0), "0");
    chart.grid(height(most), &most.to_string());
    for (node, counts) in led {
        chart.name(
            20.0 + 14.0 * f64::from(u32::try_from(node).unwrap_or(1)),
            &format!("● node {node}"),
        );
        let points: Vec<_> =
            counts.into_iter().map(|(time, count)| (time, height(count))).collect();
        chart.line(&points, color(node));
    }
    chart.finish()
}
