//! Wall clocks that jump, drift, and go back and forth.

use anyhow::Result;
use async_trait::async_trait;
use chaos_lab::NodeNumber;
use rand::Rng;

use crate::fault::{Begun, Cost, Fault, FaultKind};
use crate::faults::seconds;
use crate::field::Field;

/// The kinds of this family.
pub(crate) fn kinds() -> Vec<FaultKind> {
    let kind = |name, about, in_default, make| FaultKind {
        name,
        about,
        cost: Cost::Disturbs,
        least_nodes: 3,
        lasts: seconds(2, 8),
        in_default,
        needs_root: false,
        make,
    };
    vec![
        kind(
            "clock-jump",
            "the clock of a node jumps by up to two days, forward or back",
            true,
            || Box::new(Jump { node: None }),
        ),
        kind(
            "clock-drift",
            "the clock of a node runs at twice the speed, or stands still",
            true,
            || Box::new(Drift { node: None }),
        ),
        kind(
            "clock-strobe",
            "the clock of a node goes back and forth several times a second",
            true,
            || Box::new(Strobe { node: None }),
        ),
    ]
}

struct Jump {
    node: Option<NodeNumber>,
}

#[async_trait(?Send)]
impl Fault for Jump {
    async fn start(&mut self, field: &mut Field) -> Result<Begun> {
        let node = field.pick_leader().await?;
        self.node = Some(node);
        let distances = [3, 90, 3600, 90_000, 172_800];
        let distance = distances[field.random.random_range(0..distances.len())];
        let offset = if field.random.random() { distance } else { -distance };
        field.set_clock(node, offset)?;
        Ok(Begun::at([node], format!("{offset} s")))
    }

    async fn stop(&mut self, field: &mut Field) -> Result<Option<bool>> {
        settle(field, self.node).await
    }
}

/// Sets a clock right, and waits until the node counts as sound again.
async fn settle(field: &mut Field, node: Option<NodeNumber>) -> Result<Option<bool>> {
    if let Some(node) = node {
        field.set_clock(node, 0)?;
        field.comes_back(node).await?;
    }
    Ok(Some(true))
}

struct Drift {
    node: Option<NodeNumber>,
}

#[async_trait(?Send)]
impl Fault for Drift {
    async fn start(&mut self, field: &mut Field) -> Result<Begun> {
        let node = field.pick_leader().await?;
        self.node = Some(node);
        let step = if field.random.random() { 1 } else { -1 };
        field.drift(node, step);
        Ok(Begun::at([node], if step > 0 { "twice the speed" } else { "it stands still" }))
    }

    async fn stop(&mut self, field: &mut Field) -> Result<Option<bool>> {
        field.stop_repeating();
        settle(field, self.node).await
    }
}

struct Strobe {
    node: Option<NodeNumber>,
}

#[async_trait(?Send)]
impl Fault for Strobe {
    async fn start(&mut self, field: &mut Field) -> Result<Begun> {
        let node = field.pick_leader().await?;
        self.node = Some(node);
        field.strobe(node, 300);
        Ok(Begun::at([node], "between 0 and 300 s, five times a second"))
    }

    async fn stop(&mut self, field: &mut Field) -> Result<Option<bool>> {
        field.stop_repeating();
        settle(field, self.node).await
    }
}
