//! `ctl tables`: the tables of DynamoDB clients and the rows of services, with their sizes and how much they are used.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_proto::admin as pb;
use anyhow::Result;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::ctl::admin::{Admin, request, response};
use crate::ctl::output::{Output, some_node};

/// Time between the two samples that make a rate.
const BETWEEN_SAMPLES: Duration = Duration::from_secs(1);

/// Reads and writes of a second. `None` if the leader changed between the samples.
type Rate = Option<(f64, f64)>;

/// Asks twice, a second apart, so that rates can be shown.
pub(super) async fn sampled(admin: &mut Admin) -> Result<Output> {
    let first = list(admin).await?;
    if first.is_empty() {
        return Ok(Output::line("there are no tables", json!([])));
    }
    let began = Instant::now();
    sleep(BETWEEN_SAMPLES).await;
    let second = list(admin).await?;
    Ok(show(&first, &second, began.elapsed()))
}

async fn list(admin: &mut Admin) -> Result<Vec<pb::TableGroup>> {
    Ok(response(admin.list_tables(request(pb::ListTablesRequest {})).await)?.groups)
}

fn show(first: &[pb::TableGroup], second: &[pb::TableGroup], between: Duration) -> Output {
    let (mut lines, mut groups) = (Vec::new(), Vec::new());
    for group in second {
        let before = first
            .iter()
            .find(|before| (before.group, before.leader_node) == (group.group, group.leader_node));
        let before: BTreeMap<_, _> = before
            .map(|before| before.tables.iter().map(|table| (&*table.name, table)).collect())
            .unwrap_or_default();
        lines.push(group_text(group));
        let mut tables = Vec::new();
        for table in &group.tables {
            let rate = rate(before.get(&*table.name).copied(), table, between);
            lines.push(table_text(table, rate));
            tables.push(table_json(table, rate));
        }
        groups.push(json!({
            "group": group.group, "leader": some_node(group.leader_node),
            "bytes": bytes(group), "limit_bytes": group.limit_bytes, "tables": tables,
        }));
    }
    Output { lines, json: Value::Array(groups) }
}

fn bytes(group: &pb::TableGroup) -> u64 {
    group.tables.iter().map(|table| table.bytes).sum()
}

fn rate(before: Option<&pb::Table>, now: &pb::Table, between: Duration) -> Rate {
    let before = before?;
    let of_a_second = |before: u64, now: u64| {
        let more = u32::try_from(now.checked_sub(before)?).unwrap_or(u32::MAX);
        Some(f64::from(more) / between.as_secs_f64())
    };
    of_a_second(before.reads, now.reads).zip(of_a_second(before.writes, now.writes))
}

fn group_text(group: &pb::TableGroup) -> String {
    let number = group.group;
    match some_node(group.leader_node) {
        None => format!("group {number}: no leader answers"),
        Some(leader) => {
            let (used, most) = (mib(bytes(group)), mib(group.limit_bytes));
            format!("group {number}, led by node {leader}: {used:.1} of {most:.0} MiB")
        }
    }
}

fn mib(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) / 1024.0
}

fn table_text(table: &pb::Table, rate: Rate) -> String {
    let pb::Table { name, rows, bytes, .. } = table;
    let rate = rate.map_or_else(
        || "rates not known".into(),
        |(reads, writes)| format!("{reads:.0} reads and {writes:.0} writes a second"),
    );
    format!("  {name}: {rows} rows, {bytes} bytes, {rate}")
}

fn table_json(table: &pb::Table, rate: Rate) -> Value {
    json!({
        "name": table.name, "rows": table.rows, "bytes": table.bytes,
        "reads": table.reads, "writes": table.writes,
        "reads_per_second": rate.map(|(reads, _)| reads),
        "writes_per_second": rate.map(|(_, writes)| writes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(leader_node: u64, reads: u64, writes: u64) -> pb::TableGroup {
        let name = "dynamodb/leases".into();
        let table = pb::Table { name, rows: 3, bytes: 1_048_576, reads, writes };
        pb::TableGroup { group: 9, leader_node, limit_bytes: 64 << 20, tables: vec![table] }
    }

    #[test]
    fn tables_are_shown_with_sizes_and_rates() {
        let two = Duration::from_secs(2);
        let output = show(&[group(1, 10, 4)], &[group(1, 30, 4)], two);
        assert_eq!(
            output.lines,
            [
                "group 9, led by node 1: 1.0 of 64 MiB",
                "  dynamodb/leases: 3 rows, 1048576 bytes, 10 reads and 0 writes a second",
            ]
        );
        assert_eq!(output.json[0]["tables"][0]["reads_per_second"], json!(10.0));
    }

    #[test]
    fn a_rate_is_not_known_after_a_change_of_the_leader() {
        let one = Duration::from_secs(1);
        let output = show(&[group(1, 10, 4)], &[group(2, 30, 4)], one);
        assert!(output.lines[1].ends_with("rates not known"), "{:?}", output.lines);
        let smaller = show(&[group(1, 10, 4)], &[group(1, 1, 4)], one);
        assert_eq!(smaller.json[0]["tables"][0]["writes_per_second"], json!(null));
    }
}
