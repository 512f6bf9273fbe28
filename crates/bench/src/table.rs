//! `anabranch-bench table`: conditional writes to a table group, by the client that services use.

use std::sync::Arc;

use anabranch_client::{Client, Tables};
use anabranch_table::{Expect, Key, Outcome, SpaceId, Transaction, Version};
use anabranch_types::GroupId;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::options::{Target, Until};
use crate::payload::random_data;
use crate::put::schedule;
use crate::report::{Baseline, Report, Tally};
use crate::schedule::Schedule;

/// Writes rows of a table group in transactions, each on the condition that the row has the version that was written
/// last. Makes the table group if the cluster has none. `--api grpc`; `--stream` is the name of the space.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    until: Until,
    /// Rows of a transaction
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    rows_per_transaction: u32,
    /// Bytes of a row's value
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=8192))]
    row_size: u32,
    /// Rows per second over all connections. Each transaction is sent when it is due, also if earlier ones are not done
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Replicas of the table group, if it has to be made
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=5))]
    replicas: u32,
}

#[derive(Debug, Serialize)]
struct Parameters {
    rows_per_transaction: u32,
    row_size: u32,
    rate: Option<u32>,
}

/// The rows that one transaction after another writes: only one at a time.
struct Rows {
    tables: Tables,
    group: GroupId,
    keys: Vec<Key>,
    value: Bytes,
    written: Version,
}

/// Measures, and prints the report.
///
/// # Errors
/// When no node answers, or no transaction is made.
pub(crate) async fn run(args: Args) -> Result<()> {
    let target = &args.target;
    let nodes = target.authorities()?.into_iter().map(|(host, port)| format!("{host}:{port}"));
    let client = Client::connect(nodes.collect(), target.tls.connector("client")?).await?;
    let tables = Tables::new(Arc::new(client), args.replicas);
    let group = tables.ready_group().await.context("the table group")?;
    let space = tables.create_space(group, &target.stream).await.context("the space")?;
    let mut writers = Vec::new();
    for writer in 0..target.connections {
        writers.push(Rows::new(&tables, group, space, writer, &args).await?);
    }
    let baseline = Baseline::now(target)?;
    let schedule = Arc::new(schedule(args.until, args.rows_per_transaction, args.rate));
    let pace = Arc::clone(&schedule);
    std::thread::spawn(move || pace.run_pace());
    let mut tasks = JoinSet::new();
    for rows in writers {
        tasks.spawn(rows.write_all(Arc::clone(&schedule)));
    }
    let mut tally = Tally::new();
    while let Some(ended) = tasks.join_next().await {
        tally.add(&ended.context("a writer's task died")?);
    }
    let parameters = Parameters {
        rows_per_transaction: args.rows_per_transaction,
        row_size: args.row_size,
        rate: args.rate,
    };
    Report::new("table", target, parameters, &baseline, schedule.start(), &tally)?.print()
}

impl Rows {
    /// Makes the rows of one writer.
    async fn new(
        tables: &Tables,
        group: GroupId,
        space: SpaceId,
        writer: u32,
        args: &Args,
    ) -> Result<Self> {
        let keys = (0..args.rows_per_transaction)
            .map(|row| Key { space, key: format!("{writer:05}/{row:03}").into() });
        let mut rows = Self {
            tables: tables.clone(),
            group,
            keys: keys.collect(),
            value: random_data(args.row_size as usize).into(),
            written: Version::START,
        };
        let puts = rows.keys.iter().map(|key| (key.clone(), rows.value.clone())).collect();
        rows.written = rows.transact(Transaction { puts, ..Transaction::default() }).await?;
        Ok(rows)
    }

    async fn write_all(mut self, schedule: Arc<Schedule>) -> Tally {
        let mut tally = Tally::new();
        let (rows, bytes) = (self.keys.len() as u64, (self.keys.len() * self.value.len()) as u64);
        while let Some(ticket) = schedule.next().await {
            match self.write().await {
                Ok(()) => tally.succeeded(ticket.due, rows, bytes),
                Err(error) => {
                    eprintln!("anabranch-bench: {error:#}");
                    tally.errors += 1;
                }
            }
        }
        tally
    }

    /// Writes all rows, if they are as this writer left them.
    async fn write(&mut self) -> Result<()> {
        let expect = Expect::Version(self.written);
        let transaction = Transaction {
            checks: self.keys.iter().map(|key| (key.clone(), expect)).collect(),
            puts: self.keys.iter().map(|key| (key.clone(), self.value.clone())).collect(),
            ..Transaction::default()
        };
        self.written = self.transact(transaction).await?;
        Ok(())
    }

    async fn transact(&self, transaction: Transaction) -> Result<Version> {
        let outcome = self.tables.transact(self.group, transaction).await?;
        let Outcome::Done { version } = outcome else {
            bail!("a transaction was not made: {outcome:?}");
        };
        Ok(version)
    }
}
