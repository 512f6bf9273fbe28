//! The nemesis: carries out the plan, and records when each fault began and ended.

use std::time::Duration;

use anyhow::Result;
use chaos_checkers::history::{Fault as FaultSeen, Nemesis, Phase};
use tokio::time::{Instant, sleep};

use crate::fault::{Begun, Cost, Fault, FaultKind};
use crate::field::Field;
use crate::plan::Period;

/// How often the nemesis looks whether a process has ended.
const WATCH: Duration = Duration::from_millis(200);

/// Carries out one period.
pub(crate) async fn carry_out(field: &mut Field, kinds: &[FaultKind], period: &Period) {
    let mut running: Vec<(usize, Box<dyn Fault>, Begun)> = Vec::new();
    for index in &period.faults {
        let kind = &kinds[*index];
        let mut fault = (kind.make)();
        match fault.start(field).await {
            Ok(begun) => {
                record(field, kind.name, &begun, Phase::Start, None);
                running.push((*index, fault, begun));
            }
            Err(error) => {
                let begun =
                    Begun { nodes: Vec::new(), detail: format!("did not begin: {error:#}") };
                record(field, kind.name, &begun, Phase::Stop, Some(false));
                // A fault may have begun in part.
                let _ended = fault.stop(field).await;
            }
        }
    }
    wait(field, period.lasts).await;
    // A node that comes back may need the network that another fault disturbs.
    running.sort_by_key(|(index, ..)| kinds[*index].cost != Cost::Disturbs);
    for (index, mut fault, begun) in running {
        let name = kinds[index].name;
        match fault.stop(field).await {
            Ok(bit) => record(field, name, &begun, Phase::Stop, bit),
            Err(error) => {
                let detail = format!("{}; not over: {error:#}", begun.detail);
                record(field, name, &Begun { detail, ..begun }, Phase::Stop, None);
                heal_after(field, &error).await;
            }
        }
    }
    wait(field, period.rest).await;
}

/// A fault that does not end by its own means leaves something wrong. The run goes on with a whole cluster.
async fn heal_after(field: &mut Field, error: &anyhow::Error) {
    if let Err(second) = field.heal().await {
        field.recorder.note(format!("the cluster is not whole: {error:#}; then {second:#}"));
    }
}

fn record(field: &Field, name: &str, begun: &Begun, phase: Phase, bit: Option<bool>) {
    let nodes = begun.nodes.iter().map(|node| u64::from(node.0)).collect();
    let (name, detail) = (name.to_owned(), begun.detail.clone());
    field.recorder.nemesis(Nemesis::Fault(FaultSeen { name, nodes, phase, detail, bit }));
}

/// Waits, and looks after processes that end meanwhile.
pub(crate) async fn wait(field: &mut Field, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        field.watch_exits();
        sleep(WATCH.min(until - Instant::now())).await;
    }
}

/// Ends everything, and records the last heal.
///
/// # Errors
/// If a node does not come back.
pub(crate) async fn heal(field: &mut Field) -> Result<()> {
    let healed = field.heal().await;
    field.recorder.nemesis(Nemesis::Heal {});
    healed
}
