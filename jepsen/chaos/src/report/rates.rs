//! How many calls ended in each way, and how long they took.

use chaos_checkers::History;
use chaos_checkers::history::{Call, Nanos, Operation, Outcome};

use super::chart::Chart;

const HEIGHT: f64 = 130.0;
/// Number of intervals of the time axis.
const INTERVALS: u64 = 200;
const OK: &str = "#3d9a50";
const FAILED: &str = "#d9822b";
const UNKNOWN: &str = "#c23b4e";

/// The chart of rates and the charts of latencies.
pub(super) fn draw(history: &History) -> String {
    let end = history.events().last().map(|event| event.time).unwrap_or_default();
    let operations = history.operations();
    let is_put =
        |operation: &&Operation<'_>| matches!(operation.call, Call::Put(_) | Call::Puts(_));
    let is_get = |operation: &&Operation<'_>| matches!(operation.call, Call::Get(_));
    format!(
        "<h2>Calls a second: <span style=\"color:{OK}\">ok</span>, <span style=\"color:{FAILED}\">refused</span>, \
         <span style=\"color:{UNKNOWN}\">unknown</span></h2>{}<h2>Time of puts that succeeded (median, 99th percentile, \
         longest; logarithmic)</h2>{}<h2>Time of reads that succeeded</h2>{}",
        rates(&operations, end),
        latencies(operations.iter().filter(is_put), end),
        latencies(operations.iter().filter(is_get), end),
    )
}

fn interval(end: Nanos) -> u64 {
    (end.0 / INTERVALS).max(1)
}

#[expect(clippy::cast_precision_loss, reason = "a height on a page")]
fn rates(operations: &[Operation<'_>], end: Nanos) -> String {
    let length = interval(end);
    let places = usize::try_from(INTERVALS).unwrap_or(1) + 1;
    let mut counts = [vec![0_u64; places], vec![0; places], vec![0; places]];
    for operation in operations {
        let (series, at) = match operation.outcome {
            Outcome::Ok { at, .. } => (0, at),
            Outcome::Failed { at, .. } => (1, at),
            Outcome::Unknown => (2, operation.invoked),
        };
        if let Some(count) =
            usize::try_from(at.0 / length).ok().and_then(|at| counts[series].get_mut(at))
        {
            *count += 1;
        }
    }
    let a_second = |count: u64| count as f64 * 1e9 / length as f64;
    let most = counts.iter().flatten().map(|count| a_second(*count)).fold(1.0, f64::max);
    let height =
        |rate: f64| HEIGHT - 4.0 - (HEIGHT - 14.0) * (1.0 + rate).log10() / (1.0 + most).log10();
    let mut chart = Chart::new(end, HEIGHT);
    for rate in [0.0, 10.0, 100.0, 1000.0] {
        if rate <= most {
            chart.grid(height(rate), &format!("{rate}/s"));
        }
    }
    for (series, color) in counts.iter().zip([OK, FAILED, UNKNOWN]) {
        let points =
            (0..).zip(series).map(|(at, count)| (Nanos(at * length), height(a_second(*count))));
        chart.line(&points.collect::<Vec<_>>(), color);
    }
    chart.finish()
}

fn latencies<'a>(operations: impl Iterator<Item = &'a Operation<'a>>, end: Nanos) -> String {
    let length = interval(end);
    let mut times = vec![Vec::new(); usize::try_from(INTERVALS).unwrap_or(1) + 1];
    for operation in operations {
        let Outcome::Ok { at, .. } = operation.outcome else { continue };
        let place = usize::try_from(at.0 / length).ok();
        if let Some(times) = place.and_then(|place| times.get_mut(place)) {
            times.push(at.since(operation.invoked));
        }
    }
    let mut chart = Chart::new(end, HEIGHT);
    for (time, name) in [
        (100_000, "0.1 ms"),
        (1_000_000, "1 ms"),
        (10_000_000, "10 ms"),
        (100_000_000, "100 ms"),
        (1_000_000_000, "1 s"),
    ] {
        chart.grid(height(time), name);
    }
    times.iter_mut().for_each(|times| times.sort_unstable());
    for (percent, color) in [(50, "#3b6fb6"), (99, FAILED), (100, UNKNOWN)] {
        let points = (0..).zip(&times).filter_map(|(at, times)| {
            let place = (times.len() * percent).div_ceil(100).checked_sub(1)?;
            Some((Nanos(at * length), height(*times.get(place)?)))
        });
        chart.line(&points.collect::<Vec<_>>(), color);
    }
    chart.finish()
}

/// Height of a time, from 50 microseconds to ten seconds.
#[expect(clippy::cast_precision_loss, reason = "a height on a page")]
fn height(nanoseconds: u64) -> f64 {
    let place = (nanoseconds as f64 / 50_000.0).max(1.0).log10() / 200_000_f64.log10();
    HEIGHT - 4.0 - (HEIGHT - 10.0) * place.min(1.0)
}
