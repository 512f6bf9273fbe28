//! The JSON line at the end of a measurement: records, latencies, errors, and the usage of processes and disk.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::options::{Api, Target};
use crate::processes::{Usage, written_by_device};

/// Latencies in whole microseconds, to three digits, up to ten minutes.
#[derive(Debug)]
pub(crate) struct Latencies(Histogram<u64>);

/// The three percentiles that every report has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Percentiles {
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
}

/// The sums of one task.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Latencies of successful calls.
    pub(crate) latencies: Latencies,
    /// Acknowledged or read records.
    pub(crate) records: u64,
    /// Bytes of data of these records.
    pub(crate) bytes: u64,
    /// Failed attempts, and refused records within a call.
    pub(crate) errors: u64,
    /// End of the last call.
    pub(crate) end: Option<Instant>,
}

/// The usage of processes and disk at the start of the measurement.
#[derive(Debug)]
pub(crate) struct Baseline {
    own: Usage,
    server: Usage,
    disk_bytes: Option<u64>,
}

/// One line of output. A figure that was not requested is `null`.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a, Parameters> {
    pub(crate) bench: &'static str,
    pub(crate) api: Api,
    pub(crate) endpoint: String,
    pub(crate) stream: &'a str,
    pub(crate) connections: u32,
    pub(crate) http2: bool,
    #[serde(flatten)]
    pub(crate) parameters: Parameters,
    pub(crate) seconds: f64,
    pub(crate) calls: u64,
    pub(crate) records: u64,
    pub(crate) records_per_s: f64,
    pub(crate) mb_per_s: f64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) errors: u64,
    pub(crate) cpu_s: f64,
    pub(crate) server_cpu_s: Option<f64>,
    pub(crate) disk_bytes: Option<u64>,
    pub(crate) server_resident_before_bytes: Option<u64>,
    pub(crate) server_resident_bytes: Option<u64>,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are in order"))
    }

    /// Counts one call. A latency outside the bounds counts as the bound.
    pub(crate) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros.max(1));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        Percentiles {
            p50_us: self.0.value_at_quantile(0.5),
            p99_us: self.0.value_at_quantile(0.99),
            p999_us: self.0.value_at_quantile(0.999),
        }
    }
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { latencies: Latencies::new(), records: 0, bytes: 0, errors: 0, end: None }
    }

    /// Counts a call that was due at `due` and has ended now, with `records` records and `bytes` bytes of data.
    pub(crate) fn succeeded(&mut self, due: Instant, records: u64, bytes: u64) {
        let end = Instant::now();
        self.latencies.record(end.saturating_duration_since(due));
        self.records += records;
        self.bytes += bytes;
        self.end = Some(end);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies);
        self.records += other.records;
        self.bytes += other.bytes;
        self.errors += other.errors;
        self.end = self.end.max(other.end);
    }
}

impl Baseline {
    /// The usage until now.
    ///
    /// # Errors
    /// When a process of `--server-pids` does not run, or `--disk` is not on a disk.
    pub(crate) fn now(target: &Target) -> Result<Self> {
        let disk_bytes = target.disk.as_deref().map(written_by_device).transpose()?;
        Ok(Self { own: Usage::own()?, server: Usage::of_all(&target.server_pids)?, disk_bytes })
    }
}

impl<'a, Parameters: Serialize> Report<'a, Parameters> {
    /// The line about a measurement that began at `start`.
    ///
    /// # Errors
    /// When a process of `--server-pids` is gone.
    pub(crate) fn new(
        bench: &'static str,
        target: &'a Target,
        parameters: Parameters,
        baseline: &Baseline,
        start: Instant,
        tally: &Tally,
    ) -> Result<Self> {
        let (own, server) = (Usage::own()?, Usage::of_all(&target.server_pids)?);
        let disk_bytes = target.disk.as_deref().map(written_by_device).transpose()?;
        let endpoints: Vec<_> = target.endpoint.iter().map(ToString::to_string).collect();
        let with_server = !target.server_pids.is_empty();
        let end = tally.end.unwrap_or(start);
        let seconds = end.saturating_duration_since(start).as_secs_f64();
        let Percentiles { p50_us, p99_us, p999_us } = tally.latencies.percentiles();
        Ok(Self {
            bench,
            api: target.api,
            endpoint: endpoints.join(","),
            stream: &target.stream,
            connections: target.connections,
            http2: target.http2,
            parameters,
            seconds: rounded(seconds),
            calls: tally.latencies.count(),
            records: tally.records,
            records_per_s: per_second(tally.records, seconds),
            mb_per_s: per_second(tally.bytes, seconds * 1e6),
            p50_us,
            p99_us,
            p999_us,
            errors: tally.errors,
            cpu_s: rounded(own.cpu_s - baseline.own.cpu_s),
            server_cpu_s: with_server.then(|| rounded(server.cpu_s - baseline.server.cpu_s)),
            disk_bytes: disk_bytes.map(|now| now - baseline.disk_bytes.unwrap_or(now)),
            server_resident_before_bytes: with_server.then_some(baseline.server.resident_bytes),
            server_resident_bytes: with_server.then_some(server.resident_bytes),
        })
    }

    /// Writes the line to standard output.
    ///
    /// # Errors
    /// Never for the types used here.
    pub(crate) fn print(&self) -> Result<()> {
        println!("{}", serde_json::to_string(self)?);
        Ok(())
    }
}

fn per_second(amount: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { rounded(amount as f64 / seconds) } else { 0.0 }
}

/// Rounded to three decimals; more would be noise.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_computed_over_all_tasks() {
        let mut all = Latencies::new();
        for micros in 1..=1000 {
            let mut one = Latencies::new();
            one.record(Duration::from_micros(micros));
            all.add(&one);
        }
        assert_eq!(all.count(), 1000);
        assert_eq!(all.percentiles(), Percentiles { p50_us: 500, p99_us: 990, p999_us: 999 });
    }

    #[test]
    fn without_measurements_figures_are_zero_and_not_nan() {
        assert_eq!(per_second(0, 0.0), 0.0);
        assert_eq!(Latencies::new().percentiles().p999_us, 0);
    }
}
