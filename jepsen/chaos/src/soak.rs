//! A soak: hours of load with restarts, in which memory, descriptors, threads and disks must not grow.
//!
//! Every few seconds each node's figures are added to a file. A process that was started again begins a new series. At
//! the end the last quarter of the run is compared with the second: a figure that grew by more than a tenth, and by
//! more than the noise of that figure, has a leak.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tokio::time::Instant;

use crate::field::Field;

/// Time between two samples.
pub(crate) const PERIOD: Duration = Duration::from_secs(5);

/// The figures of one node at one time.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sample {
    seconds: u64,
    node: u8,
    resident_bytes: u64,
    descriptors: u64,
    threads: u64,
    disk_bytes: u64,
}

/// A figure that is watched: its name, its value in a sample, and the growth below which it is noise.
type Figure = (&'static str, fn(&Sample) -> u64, u64);

const FIGURES: [Figure; 4] = [
    ("resident memory, bytes", |sample| sample.resident_bytes, 24 << 20),
    ("open descriptors", |sample| sample.descriptors, 40),
    ("threads", |sample| sample.threads, 8),
    ("disk, bytes", |sample| sample.disk_bytes, 64 << 20),
];

/// All samples of a soak.
pub(crate) struct Samples {
    began: Instant,
    file: File,
    out: PathBuf,
    all: Vec<Sample>,
}

impl Samples {
    /// Samples go to `samples.jsonl` in the folder.
    ///
    /// # Errors
    /// If the file can't be made.
    pub(crate) fn create(out: &Path) -> Result<Self> {
        let file = File::create(out.join("samples.jsonl")).context("samples.jsonl")?;
        Ok(Self { began: Instant::now(), file, out: out.to_owned(), all: Vec::new() })
    }

    /// Takes the figures of every node that runs.
    ///
    /// # Errors
    /// If the file can't be written.
    pub(crate) fn take(&mut self, field: &mut Field) -> Result<()> {
        for number in field.members.clone() {
            let node = field.lab.node(number);
            let Ok((resident_bytes, descriptors, threads)) = node.resources() else { continue };
            let sample = Sample {
                seconds: self.began.elapsed().as_secs(),
                node: number.0,
                resident_bytes,
                descriptors,
                threads,
                disk_bytes: node.disk.used_bytes()?,
            };
            writeln!(self.file, "{}", serde_json::to_string(&sample)?)?;
            self.all.push(sample);
        }
        Ok(())
    }

    /// Draws the plots, and compares the quarters of the run.
    ///
    /// # Errors
    /// Names every figure that grew.
    pub(crate) fn finish(self) -> Result<()> {
        fs::write(self.out.join("soak.svg"), plots(&self.all))?;
        let grown = growths(&self.all);
        ensure!(grown.is_empty(), "these figures grew: {}", grown.join("; "));
        println!("{} samples; memory, descriptors, threads and disks stay flat", self.all.len());
        Ok(())
    }
}

/// Figures of nodes that are higher in the last quarter than in the second.
fn growths(samples: &[Sample]) -> Vec<String> {
    let end = samples.iter().map(|sample| sample.seconds).max().unwrap_or_default();
    let mut nodes: Vec<u8> = samples.iter().map(|sample| sample.node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let mut grown = Vec::new();
    for node in nodes {
        for (name, figure, noise) in FIGURES {
            let quarter = |from: u64, to: u64| {
                let own = samples.iter().filter(|sample| sample.node == node);
                median(
                    own.filter(|s| (end * from / 4..end * to / 4).contains(&s.seconds)).map(figure),
                )
            };
            if let (Some(before), Some(after)) = (quarter(1, 2), quarter(3, 4))
                && after > before + before / 10
                && after > before + noise
            {
                grown.push(format!("node {node}: {name} from {before} to {after}"));
            }
        }
    }
    grown
}

fn median(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 120.0;

/// One plot under the other, with a line for each node.
#[expect(clippy::cast_precision_loss, reason = "places on a page")]
fn plots(samples: &[Sample]) -> String {
    let end = samples.iter().map(|sample| sample.seconds).max().unwrap_or(1).max(1);
    let mut body = String::new();
    for (place, (name, figure, _)) in (0_u32..).zip(FIGURES) {
        let top = f64::from(place) * (HEIGHT + 30.0);
        let most = samples.iter().map(figure).max().unwrap_or(1).max(1);
        let _written = write!(
            body,
            "<text x=\"4\" y=\"{}\" font-size=\"12\">{name}, at most {most}</text>",
            top + 14.0
        );
        for node in 1..=9 {
            let own = samples.iter().filter(|sample| sample.node == node);
            let points: Vec<_> = own
                .map(|sample| {
                    let x = WIDTH * sample.seconds as f64 / end as f64;
                    let y = top + 20.0 + HEIGHT - HEIGHT * figure(sample) as f64 / most as f64;
                    format!("{x:.1},{y:.1}")
                })
                .collect();
            let color = ["#3b6fb6", "#d9822b", "#3d9a50"][usize::from(node) % 3];
            let _written = write!(
                body,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\"/>",
                points.join(" ")
            );
        }
    }
    let height = f64::from(u32::try_from(FIGURES.len()).unwrap_or(1)) * (HEIGHT + 30.0);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\">{body}</svg>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(resident: impl Fn(u64) -> u64) -> Vec<Sample> {
        let sample = |seconds| Sample {
            seconds,
            node: 1,
            resident_bytes: resident(seconds),
            descriptors: 90,
            threads: 12,
            disk_bytes: 300 << 20,
        };
        (0..1000).map(sample).collect()
    }

    #[test]
    fn memory_that_grows_without_end_is_found() {
        let grown = growths(&samples(|seconds| (100 << 20) + (seconds << 17)));
        assert!(
            matches!(&grown[..], [one] if one.starts_with("node 1: resident memory")),
            "{grown:?}"
        );
    }

    #[test]
    fn memory_that_grows_only_at_first_or_goes_up_and_down_is_flat() {
        assert!(growths(&samples(|seconds| (100 << 20) + (seconds.min(200) << 19))).is_empty());
        assert!(growths(&samples(|seconds| (100 + seconds % 40) << 20)).is_empty());
    }
}
