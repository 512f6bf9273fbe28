//! Tests of the series of applications: labels, bounds, extremes of the last minutes.

use anabranch_types::ManualClock;

use super::*;

struct Node {
    registry: Registry,
    clock: Arc<ManualClock>,
    applications: Arc<Applications>,
}

impl Node {
    fn new() -> Self {
        let registry = Registry::default();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(6_000_000)));
        let applications = Applications::new(&registry, &(clock.clone() as Arc<dyn Clock>));
        Self { registry, clock, applications }
    }

    fn put(&self, application: &str, metric: &str, dimensions: &[(&str, &str)], values: &[f64]) {
        let mut statistics = Statistics::NONE;
        for value in values {
            statistics.add(&Statistics {
                count: 1.0,
                sum: *value,
                minimum: *value,
                maximum: *value,
            });
        }
        let sample = Sample { metric, dimensions: dimensions.to_vec(), statistics };
        self.applications.add(application, &[sample], self.clock.now());
    }

    /// The lines of one metric, without its name.
    fn lines(&self, name: &str) -> Vec<String> {
        let (text, name) = (self.registry.render(), format!("anabranch_cloudwatch_{name}"));
        let lines = text.lines().filter_map(|line| line.strip_prefix(&name));
        lines.map(str::to_owned).collect()
    }
}

#[test]
fn values_are_added_up_by_application_metric_operation_and_names_of_dimensions() {
    let node = Node::new();
    let shard = |id: &'static str| [("ShardId", id), ("Operation", "ProcessTask")];
    node.put("app", "RecordsProcessed", &shard("shardId-0"), &[2.0, 3.5]);
    node.put("app", "RecordsProcessed", &shard("shardId-1"), &[1.0]);
    node.put("app", "NumWorkers", &[], &[4.0]);
    node.put("other", "NumWorkers", &[], &[5.0]);
    assert_eq!(
        node.lines("values_total"),
        [
            r#"{application="app",dimensions="",metric="NumWorkers",operation=""} 4"#,
            r#"{application="app",dimensions="Operation,ShardId",metric="RecordsProcessed",operation="ProcessTask"} 6.5"#,
            r#"{application="other",dimensions="",metric="NumWorkers",operation=""} 5"#,
        ]
    );
    assert!(node.lines("samples_total")[1].ends_with(" 3"));
    assert_eq!(node.lines("applications"), [" 2"]);
}

#[test]
fn extremes_are_of_this_minute_and_the_last_one() {
    let node = Node::new();
    let extremes = || {
        let value = |name| {
            let lines = node.lines(name);
            lines[0].rsplit(' ').next().unwrap().to_owned()
        };
        (value("smallest_value"), value("largest_value"))
    };
    let is = |smallest: &str, largest: &str| (smallest.to_owned(), largest.to_owned());
    node.put("app", "MillisBehindLatest", &[], &[5.0, 900.0]);
    assert_eq!(extremes(), is("5", "900"));
    node.clock.advance(std::time::Duration::from_secs(60));
    node.put("app", "MillisBehindLatest", &[], &[7.0]);
    assert_eq!(extremes(), is("5", "900"));
    node.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(extremes(), is("7", "7"));
    node.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(extremes(), is("NaN", "NaN"));
    node.put("app", "MillisBehindLatest", &[], &[]);
    assert_eq!(extremes(), is("NaN", "NaN"));
    node.put("app", "MillisBehindLatest", &[], &[-1.0]);
    assert_eq!(extremes(), is("-1", "-1"));
    assert_eq!(node.lines("negative_sums_total"), [" 1"]);
}

#[test]
fn applications_beyond_the_first_hundred_are_added_up() {
    let node = Node::new();
    for number in 0..150 {
        node.put(&format!("app-{number:03}"), "Time", &[], &[1.0]);
    }
    let lines = node.lines("values_total");
    assert_eq!(lines.len(), MAX_APPLICATIONS + 1);
    assert_eq!(lines[0], r#"{application=":other",dimensions="",metric="Time",operation=""} 50"#);
    assert_eq!(node.lines("applications"), [" 100"]);
    // A known application keeps its series.
    node.put("app-007", "Success", &[], &[1.0]);
    assert_eq!(node.lines("values_total").len(), MAX_APPLICATIONS + 2);
}

#[test]
fn metrics_beyond_the_bound_of_an_application_are_added_up() {
    let node = Node::new();
    for number in 0..1000 {
        node.put("app", &format!("Metric{number:04}"), &[], &[1.0]);
    }
    node.put("app", "Metric0000", &[], &[1.0]);
    let lines = node.lines("values_total");
    assert_eq!(lines.len(), MAX_SERIES_OF_APPLICATION + 1);
    let rest = r#"{application="app",dimensions="",metric=":other",operation=""} 744"#;
    assert_eq!(lines[0], rest);
    assert!(lines[1].ends_with(r#"metric="Metric0000",operation=""} 2"#), "{}", lines[1]);
}

#[test]
fn all_applications_together_have_a_bound() {
    let node = Node::new();
    for number in 0..120 {
        for metric in 0..200 {
            node.put(&format!("app-{number:03}"), &format!("Metric{metric}"), &[], &[1.0]);
        }
    }
    let count = node.lines("values_total").len();
    assert!((MAX_SERIES..=MAX_SERIES + MAX_APPLICATIONS + 1).contains(&count), "{count}");
    let sum: f64 = node.lines("values_total").iter().map(|line| value_of(line)).sum();
    assert!((sum - 24_000.0).abs() < 1e-9, "{sum}");
}

fn value_of(line: &str) -> f64 {
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn no_text_of_a_client_breaks_a_line_or_a_label() {
    let node = Node::new();
    let hostile = "a\"b\\c\nd\re\u{2028}f\0g}h{i=\"j\"} 1\n# TYPE x counter\n\u{85}";
    node.put(hostile, hostile, &[(hostile, "x"), (OPERATION, hostile)], &[1.0]);
    let text = node.registry.render();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("values_total{")).collect();
    let escaped = r#"a\"b\\c�d�e�f�g}h{i=\"j\"} 1�# TYPE x counter��"#;
    let expected = format!(
        "anabranch_cloudwatch_values_total{{application=\"{escaped}\",dimensions=\"Operation,{escaped}\",metric=\"{escaped}\",operation=\"{escaped}\"}} 1"
    );
    assert_eq!(lines, [expected]);
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
    let long = "x".repeat(256);
    node.put("long", "Time", &[(OPERATION, &long)], &[1.0]);
    assert!(node.lines("values_total")[1].contains(r#"operation=":other""#));
}
