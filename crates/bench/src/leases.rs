//! `anabranch-bench leases`: renews leases of the Kinesis Client Library, with the call that the library makes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;

use crate::connection::{AwsService, Connection, Endpoint};
use crate::options::Target;
use crate::report::{Baseline, Report, Tally};
use crate::schedule::Schedule;

/// Creates a lease table and its leases, then renews each lease in turn, all of them once in each interval. `--stream`
/// is the name of the table, which is deleted at the end.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// Number of leases
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    leases: u32,
    /// Milliseconds in which each lease is renewed once; the library's default is a third of its failover time of ten
    /// seconds
    #[arg(long, default_value_t = 3_333, value_parser = clap::value_parser!(u32).range(1..=600_000))]
    interval_ms: u32,
    /// How often each lease is renewed
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
}

#[derive(Debug, Serialize)]
struct Parameters {
    leases: u32,
    interval_ms: u32,
    rounds: u32,
}

/// The leases, and how often each was renewed.
struct Leases {
    table: String,
    counters: Vec<AtomicU64>,
}

/// Measures, and prints the report.
///
/// # Errors
/// When the table can't be made, or no renewal succeeds.
pub(crate) async fn run(args: Args) -> Result<()> {
    let target = &args.target;
    let endpoints = Endpoint::of(target, AwsService::DYNAMODB)?;
    let mut connections: Vec<_> = Connection::spread(&endpoints, target.connections).collect();
    let counters = (0..args.leases).map(|_| AtomicU64::new(1)).collect();
    let leases = Arc::new(Leases { table: target.stream.clone(), counters });
    let first = connections.first_mut().context("no connection")?;
    first.call("CreateTable", leases.create_table()).await.context("CreateTable")?;
    let connections = make_all(connections, &leases).await?;
    let calls = u64::from(args.leases) * u64::from(args.rounds);
    let between = Duration::from_millis(args.interval_ms.into()) / args.leases;
    let baseline = Baseline::now(target)?;
    let schedule = Arc::new(Schedule::open(calls, between));
    let pace = Arc::clone(&schedule);
    std::thread::spawn(move || pace.run_pace());
    let mut tasks = JoinSet::new();
    for connection in connections {
        tasks.spawn(renew_all(connection, Arc::clone(&leases), Arc::clone(&schedule)));
    }
    let (mut tally, mut first) = (Tally::new(), None);
    while let Some(ended) = tasks.join_next().await {
        let (connection, part) = ended.context("a connection's task died")?;
        tally.add(&part);
        first = Some(connection);
    }
    let parameters =
        Parameters { leases: args.leases, interval_ms: args.interval_ms, rounds: args.rounds };
    Report::new("leases", target, parameters, &baseline, schedule.start(), &tally)?.print()?;
    let mut first = first.context("no connection")?;
    let delete = json!({ "TableName": leases.table }).to_string().into();
    first.call("DeleteTable", delete).await.context("DeleteTable")?;
    Ok(())
}

/// Makes all leases, each connection its part.
async fn make_all(connections: Vec<Connection>, leases: &Arc<Leases>) -> Result<Vec<Connection>> {
    let (mut tasks, next) = (JoinSet::new(), Arc::new(AtomicU64::new(0)));
    for mut connection in connections {
        let (leases, next) = (Arc::clone(leases), Arc::clone(&next));
        tasks.spawn(async move {
            loop {
                let lease = next.fetch_add(1, Ordering::Relaxed);
                if lease >= leases.counters.len() as u64 {
                    return Ok::<_, anyhow::Error>(connection);
                }
                connection.call("PutItem", leases.put(lease)).await.context("PutItem")?;
            }
        });
    }
    let mut connections = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        connections.push(ended.context("a connection's task died")??);
    }
    Ok(connections)
}

async fn renew_all(
    mut connection: Connection,
    leases: Arc<Leases>,
    schedule: Arc<Schedule>,
) -> (Connection, Tally) {
    let mut tally = Tally::new();
    let before = connection.errors;
    while let Some(ticket) = schedule.next().await {
        let lease = ticket.number % leases.counters.len() as u64;
        let body = leases.renewal(lease);
        let bytes = body.len() as u64;
        match connection.call("UpdateItem", body).await {
            Ok(_) => tally.succeeded(ticket.due, 1, bytes),
            Err(error) => eprintln!("anabranch-bench: UpdateItem: {error}"),
        }
    }
    tally.errors = connection.errors - before;
    (connection, tally)
}

impl Leases {
    fn create_table(&self) -> Bytes {
        let body = json!({
            "TableName": self.table,
            "AttributeDefinitions": [{ "AttributeName": "leaseKey", "AttributeType": "S" }],
            "KeySchema": [{ "AttributeName": "leaseKey", "KeyType": "HASH" }],
            "BillingMode": "PAY_PER_REQUEST",
        });
        body.to_string().into()
    }

    fn key(lease: u64) -> String {
        format!("shardId-{lease:012}")
    }

    /// A lease, with the attributes that the library gives it.
    fn put(&self, lease: u64) -> Bytes {
        let body = json!({
            "TableName": self.table,
            "Item": {
                "leaseKey": { "S": Self::key(lease) },
                "leaseOwner": { "S": "worker-1" },
                "leaseCounter": { "N": "1" },
                "ownerSwitchesSinceCheckpoint": { "N": "0" },
                "checkpoint": { "S": "49657461208400000000000000000000000000000000000000000000" },
                "checkpointSubSequenceNumber": { "N": "0" },
                "startingHashKey": { "S": "0" },
                "endingHashKey": { "S": "340282366920938463463374607431768211455" },
                "entityType": { "S": "LEASE" },
            },
            "Expected": { "leaseKey": { "Exists": false } },
        });
        body.to_string().into()
    }

    /// The library's `renewLease`. A lease is renewed by one call at a time as long as a round takes longer than a
    /// call.
    fn renewal(&self, lease: u64) -> Bytes {
        let place = usize::try_from(lease).unwrap_or_default();
        let counter = self.counters.get(place).map_or(0, |c| c.fetch_add(1, Ordering::Relaxed));
        let body = json!({
            "TableName": self.table,
            "Key": { "leaseKey": { "S": Self::key(lease) } },
            "Expected": {
                "leaseCounter": { "Value": { "N": counter.to_string() } },
                "checkpointOwner": { "Exists": false },
            },
            "AttributeUpdates": {
                "leaseCounter": { "Action": "PUT", "Value": { "N": (counter + 1).to_string() } },
                "throughputKBps": { "Action": "PUT", "Value": { "N": "12.5" } },
            },
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        });
        body.to_string().into()
    }
}
