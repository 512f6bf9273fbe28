//! Disks that are full, slow, hung, failing or dead. No synced write is lost.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use chaos_lab::{NodeNumber, ShimFault};
use rand::Rng;

use crate::fault::{Begun, Cost, Fault, FaultKind};
use crate::faults::seconds;
use crate::field::Field;

/// A trouble of a disk.
#[derive(Clone, Copy)]
enum Trouble {
    Full,
    Slow,
    Throttled,
    Hung,
    SyncFails,
    WriteBackFails,
    ReadFails,
    Dead,
}

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
    use Cost::{Disturbs, Minority};
    vec![
        kind("disk-full", "the disk of a node is full", Minority, || trouble(Trouble::Full))
            .needs_root(),
        kind("disk-slow", "every sync of a node takes up to 200 ms longer", Disturbs, || {
            trouble(Trouble::Slow)
        }),
        kind("disk-throttled", "the disk of a node writes 256 KiB a second", Disturbs, || {
            trouble(Trouble::Throttled)
        })
        .needs_root(),
        kind("disk-hung", "the file system of a node hangs", Minority, || trouble(Trouble::Hung))
            .needs_root(),
        kind("fsync-fails", "every fsync of a node fails with EIO", Minority, || {
            trouble(Trouble::SyncFails)
        }),
        FaultKind {
            // A node that writes only to blocks that it had before does not notice.
            in_default: false,
            ..kind(
                "write-back-fails",
                "the storage behind a node's disk refuses new blocks; ext4 tells it at a sync",
                Minority,
                || trouble(Trouble::WriteBackFails),
            )
            .needs_root()
        },
        kind("read-fails", "some reads of a node's segment files fail with EIO", Minority, || {
            trouble(Trouble::ReadFails)
        }),
        kind("disk-dead", "every access to a node's disk fails with EIO", Minority, || {
            trouble(Trouble::Dead)
        })
        .needs_root(),
    ]
}

fn trouble(trouble: Trouble) -> Box<dyn Fault> {
    Box::new(DiskTrouble { trouble, node: None, hits: 0 })
}

/// Bytes that a full disk has left.
const LEFT: u64 = 64 << 10;

struct DiskTrouble {
    trouble: Trouble,
    node: Option<NodeNumber>,
    hits: u64,
}

#[async_trait(?Send)]
impl Fault for DiskTrouble {
    async fn start(&mut self, field: &mut Field) -> Result<Begun> {
        let number = field.pick_leader().await?;
        self.node = Some(number);
        let milliseconds = field.random.random_range(20..200);
        if self.is_hard() {
            field.goes_away(number);
        }
        let node = field.lab.node(number);
        self.hits = node.shim.hits()?;
        let detail = match self.trouble {
            Trouble::Full => {
                node.disk.image()?.fill(LEFT)?;
                format!("{} KiB left", LEFT >> 10)
            }
            Trouble::Slow => {
                node.shim.start(ShimFault::SyncWaits(Duration::from_millis(milliseconds)))?;
                format!("each sync waits {milliseconds} ms")
            }
            Trouble::Throttled => {
                let device = node.disk.image()?.device()?;
                if let Some(limits) = &node.limits {
                    limits.limit_writes(&device, 256 << 10)?;
                }
                "256 KiB/s".into()
            }
            Trouble::Hung => {
                node.disk.image()?.freeze()?;
                "fsfreeze".into()
            }
            Trouble::SyncFails => {
                node.shim.start(ShimFault::SyncFails)?;
                "EIO at fsync and fdatasync".into()
            }
            Trouble::WriteBackFails => {
                node.disk.image()?.trim()?;
                node.disk.image()?.shrink()?;
                "no room behind the disk".into()
            }
            Trouble::ReadFails => {
                node.shim.start(ShimFault::ReadFails { every: 3 })?;
                "EIO at one of three reads of segments".into()
            }
            Trouble::Dead => {
                node.disk.image()?.lose_power()?;
                "EIO at every access".into()
            }
        };
        Ok(Begun::at([number], detail))
    }

    async fn stop(&mut self, field: &mut Field) -> Result<Option<bool>> {
        let Some(number) = self.node else { return Ok(None) };
        field.watch_exits();
        let refuses = field.refuses_records(number).await;
        let node = field.lab.node(number);
        let bit = match self.trouble {
            Trouble::Full => Some(refuses),
            Trouble::Throttled | Trouble::Hung => Some(true),
            Trouble::Slow | Trouble::SyncFails | Trouble::ReadFails => {
                Some(node.shim.hits()? > self.hits)
            }
            Trouble::WriteBackFails | Trouble::Dead => Some(!node.runs()),
        };
        node.shim.stop()?;
        match self.trouble {
            Trouble::Full => node.disk.image()?.drain()?,
            Trouble::Throttled => {
                let device = node.disk.image()?.device()?;
                if let Some(limits) = &node.limits {
                    limits.limit_writes(&device, 0)?;
                }
            }
            Trouble::Hung => node.disk.image()?.thaw()?,
            Trouble::WriteBackFails | Trouble::Dead => {
                node.disk.image()?.grow()?;
                node.power_up()?;
            }
            Trouble::Slow | Trouble::SyncFails | Trouble::ReadFails => {}
        }
        field.comes_back(number).await?;
        Ok(bit)
    }
}

impl DiskTrouble {
    /// Whether the node can't do its part while the fault lasts, and its process may end.
    fn is_hard(&self) -> bool {
        !matches!(self.trouble, Trouble::Slow | Trouble::Throttled)
    }
}
