//! Machines that are short of memory or CPU.

use anyhow::{Context, Result};
use async_trait::async_trait;
use chaos_lab::NodeNumber;

use crate::fault::{Begun, Cost, Fault, FaultKind};
use crate::faults::seconds;
use crate::field::Field;

/// The kinds of this family.
pub(crate) fn kinds() -> Vec<FaultKind> {
    let kind = |name, about, cost, make| FaultKind {
        name,
        about,
        cost,
        least_nodes: 3,
        lasts: seconds(3, 8),
        in_default: true,
        needs_root: false,
        make,
    };
    vec![
        kind(
            "memory-pressure",
            "a node may use little more memory than it does; the kernel may kill it",
            Cost::Minority,
            || Box::new(Memory { node: None, shortages: 0 }),
        )
        .needs_root(),
        kind("cpu-pressure", "a node has a tenth of a processor", Cost::Disturbs, || {
            Box::new(Cpu { node: None })
        })
        .needs_root(),
    ]
}

/// Memory above its resident set that a node has under pressure.
const MORE: u64 = 4 << 20;

struct Memory {
    node: Option<NodeNumber>,
    /// How often the node was short of memory before.
    shortages: u64,
}

#[async_trait(?Send)]
impl Fault for Memory {
    async fn start(&mut self, field: &mut Field) -> Result<Begun> {
        let number = field.pick()?;
        self.node = Some(number);
        field.goes_away(number);
        let node = field.lab.node(number);
        let (resident, _, _) = node.resources()?;
        let limits = node.limits.as_ref().context("this machine has no control groups")?;
        let limit = resident + MORE;
        self.shortages = limits.memory_shortages()?;
        limits.limit_memory(Some(limit))?;
        Ok(Begun::at([number], format!("{} MiB", limit >> 20)))
    }

    async fn stop(&mut self, field: &mut Field) -> Result<Option<bool>> {
        let Some(number) = self.node else { return Ok(None) };
        field.watch_exits();
        let mut bit = None;
        if let Some(limits) = &field.lab.node(number).limits {
            bit = Some(limits.memory_shortages()? > self.shortages);
            limits.limit_memory(None)?;
        }
        field.comes_back(number).await?;
        Ok(bit)
    }
}

struct Cpu {
    node: Option<NodeNumber>,
}

#[async_trait(?Send)]
impl Fault for Cpu {
    async fn start(&mut self, field: &mut Field) -> Result<Begun> {
        let number = field.pick_leader().await?;
        self.node = Some(number);
        let limits = field.lab.node(number).limits.as_ref();
        limits.context("this machine has no control groups")?.limit_cpu(Some(10))?;
        Ok(Begun::at([number], "a tenth of a processor"))
    }

    async fn stop(&mut self, field: &mut Field) -> Result<Option<bool>> {
        let Some(number) = self.node else { return Ok(None) };
        if let Some(limits) = &field.lab.node(number).limits {
            limits.limit_cpu(None)?;
        }
        field.comes_back(number).await?;
        Ok(Some(true))
    }
}
