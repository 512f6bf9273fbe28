//! Looks at the cluster and at the machine once a second, for the report and the checkers.

use std::fs;
use std::time::Duration;

use anabranch_proto::admin::Group;
use chaos_checkers::history::{Leader, Leaders, LogLine, Observation, Pressure};
use chaos_lab::Lab;
use tokio::time::sleep;

use crate::admin::Admin;
use crate::recorder::Recorder;

const PERIOD: Duration = Duration::from_secs(1);

/// Records leaders and pressure until the task is aborted.
pub(crate) async fn observe(admin: Admin, recorder: Recorder) {
    loop {
        recorder.observe(Observation::Pressure(pressure()));
        if let Ok(groups) = admin.groups().await {
            let leaders =
                groups.iter().filter(|group| group.leader_node != 0).map(leader).collect();
            recorder.observe(Observation::Leaders(Leaders { leaders }));
        }
        sleep(PERIOD).await;
    }
}

fn leader(group: &Group) -> Leader {
    let name = match &*group.stream {
        "" if group.group == 0 => "catalog".to_owned(),
        "" => format!("tables (group {})", group.group),
        // A stream that is created again has other groups under the same name.
        stream => format!("{stream}/{} (group {})", group.shard, group.group),
    };
    Leader { group: name, node: group.leader_node, term: group.term }
}

fn pressure() -> Pressure {
    Pressure { cpu_some: some("cpu"), mem_some: some("memory") }
}

/// The ten-second average of `some` in `/proc/pressure`; 0 on a kernel that does not tell.
fn some(resource: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/pressure/{resource}")).unwrap_or_default();
    let value = text.split_whitespace().find_map(|word| word.strip_prefix("avg10="));
    value.and_then(|value| value.parse().ok()).unwrap_or_default()
}

/// Records every line of the nodes' output that tells of a panic or a broken invariant.
pub(crate) fn record_panics(lab: &mut Lab, recorder: &Recorder) {
    for node in lab.nodes() {
        let text = fs::read(node.output_file()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let number = u64::from(node.number().0);
        for line in text.lines().filter(|line| line.contains("panicked at")) {
            recorder.observe(Observation::Log(LogLine { node: number, line: line.to_owned() }));
        }
    }
}
