//! The DynamoDB subset as a service of the gateway: names, the table of operations, and the loop of one call.
//!
//! ```text
//! definitions of the tables -> plan -> rows -> decision -> one transaction -> response
//!      ^                                                        |
//!      +--------------- conflict: another call was first -------+
//! ```

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::fault::Fault;
use anabranch_aws::protocol::Protocol;
use anabranch_aws::wire::Writer;
use anabranch_client::View;
use anabranch_gateway::Platform;
use anabranch_gateway::run;
use anabranch_gateway::run::{Call, Performed};
use anabranch_gateway::service::Kind::{Read, Write};
use anabranch_gateway::service::{
    self, Kind, Resource, Service, ServiceError, ServiceNames, Target,
};
use anabranch_types::{AccountId, Clock, GroupId, Region, Timestamp};
use serde::{Deserialize, Deserializer};

use crate::error::Error;
use crate::operations::continuous_backups::{DescribeContinuousBackups, UpdateContinuousBackups};
use crate::operations::create_table::CreateTable;
use crate::operations::delete_item::DeleteItem;
use crate::operations::delete_table::DeleteTable;
use crate::operations::describe_table::DescribeTable;
use crate::operations::get_item::GetItem;
use crate::operations::list_tables::ListTables;
use crate::operations::put_item::PutItem;
use crate::operations::query::Query;
use crate::operations::scan::Scan;
use crate::operations::time_to_live::DescribeTimeToLive;
use crate::operations::transact_write_items::TransactWriteItems;
use crate::operations::unsupported::unsupported;
use crate::operations::update_item::UpdateItem;
use crate::operations::update_table::UpdateTable;
use crate::operations::{Context, Operation, Output, Plan};
use crate::rows::{Obstacle, Rows, pause};
use crate::store::{Decision, Page, Range, Reads, Space, successor};
use crate::table::description::Home;
use crate::table::{Definition, Table, Tables};
use crate::token;
use crate::{index, limits};

/// Attempts of one call that has conflicts.
const ATTEMPTS: u32 = 30;
/// Rows that one step of filling an index, or of the clean-up, reads.
const STEP_ROWS: usize = 200;
/// Each gateway cleans up at most once in this time.
const CLEAN_UP_MILLIS: u64 = 60_000;
/// A space that no definition names is dropped after this time. Longer than any call takes between the two.
const ORPHANED: Duration = Duration::from_secs(600);

/// The DynamoDB subset of a cluster. Cheap to clone.
#[derive(Clone)]
pub struct DynamoDb {
    rows: Rows,
    clock: Arc<dyn Clock>,
    home: Home,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Tables whose new indexes this gateway is filling.
    filling: Mutex<HashSet<String>>,
    /// When this gateway last cleaned up.
    swept: Mutex<Timestamp>,
    /// Spaces that no definition names, and since when.
    orphans: Mutex<BTreeMap<Space, Timestamp>>,
}

impl DynamoDb {
    /// The service of a platform. `replicas` is the number of replicas of a table group that it has to make.
    pub fn new(platform: &Platform, replicas: u32) -> Self {
        let (account, region): (AccountId, Region) =
            (platform.settings.account.clone(), platform.settings.region.clone());
        Self {
            rows: Rows::new(Arc::clone(&platform.cluster), replicas),
            clock: Arc::clone(&platform.clock),
            home: Home { account, region },
            shared: Arc::default(),
        }
    }

    /// Runs one operation.
    async fn perform<O: Operation>(
        &self,
        operation: &O,
        id: [u8; 16],
        wants_sizes: bool,
    ) -> Result<Answer<<O::Plan as Plan>::Output>, Error> {
        let context = Context { home: self.home.clone(), now: self.clock.now(), id };
        let mut attempt = 0;
        loop {
            match self.attempt(operation, &context, wants_sizes).await {
                Ok(output) => return Ok(Answer { output, context }),
                Err(Obstacle::Failed(error)) => return Err(error),
                Err(Obstacle::Conflict) if attempt >= ATTEMPTS => {
                    let text = "too many calls change the same item at the same time";
                    return Err(Error::Throughput(text.to_owned()));
                }
                Err(Obstacle::Conflict) => {
                    attempt += 1;
                    pause(attempt).await;
                }
            }
        }
    }

    async fn attempt<O: Operation>(
        &self,
        operation: &O,
        context: &Context,
        wants_sizes: bool,
    ) -> Result<<O::Plan as Plan>::Output, Obstacle> {
        let group = self.rows.group();
        if let Some(group) = group {
            self.clean_up(group);
        }
        let tables = self.tables(group, &operation.tables()?, wants_sizes).await?;
        let plan = operation.plan(context, &tables)?;
        let found = match group {
            Some(group) => self.rows.read(group, &plan.reads()).await?,
            None => Default::default(),
        };
        let Decision { creates, writes, drops, response } = plan.decide(context, &found)?;
        if creates.is_empty() && writes.is_empty() && drops.is_empty() {
            return Ok(response);
        }
        let group = match group {
            Some(group) => group,
            None => self.rows.ready_group().await?,
        };
        let is_new_table = creates.iter().any(|space| matches!(space, Space::Items(_)));
        let common = is_new_table.then_some([Space::Definitions, Space::Tokens]);
        for space in common.into_iter().flatten().chain(creates.iter().copied()) {
            self.rows.create(group, space).await?;
        }
        if let Err(obstacle) = self.rows.transact(group, &writes).await {
            // Only the spaces of a table that this call made up are surely nobody else's: another call may have
            // committed the same index. And after an unknown outcome the table may be there.
            let is_own = |space: &&Space| matches!(space, Space::Items(id) if id.0 == context.id);
            if matches!(obstacle, Obstacle::Conflict) && creates.iter().any(|space| is_own(&space))
            {
                for space in creates {
                    self.rows.drop(group, space).await;
                }
            }
            return Err(obstacle);
        }
        for space in drops {
            self.rows.drop(group, space).await;
        }
        Ok(response)
    }

    /// The definitions of the tables of these names that exist.
    async fn tables(
        &self,
        group: Option<GroupId>,
        names: &[String],
        wants_sizes: bool,
    ) -> Result<Tables, Obstacle> {
        let mut tables = Tables::default();
        let Some(group) = group else { return Ok(tables) };
        for name in names {
            let Some(row) = self.rows.get(group, &Definition::row_key(name)).await? else {
                continue;
            };
            let sizes = match wants_sizes {
                true => self.rows.sizes(group).await?,
                false => BTreeMap::new(),
            };
            let table = Table::from_row(&row, sizes)?;
            if table.definition.indexes.iter().any(|index| index.is_backfilling) {
                self.fill(group, name.clone());
            }
            tables.insert(table);
        }
        Ok(tables)
    }

    /// Fills the new indexes of a table, in a task of its own. If the task ends before its work is done, the next call
    /// about the table begins it again.
    fn fill(&self, group: GroupId, name: String) {
        let is_new = lock(&self.shared.filling).insert(name.clone());
        if !is_new {
            return;
        }
        let service = self.clone();
        tokio::spawn(async move {
            if let Err(error) = service.fill_now(group, &name).await {
                tracing::warn!(table = name, ?error, "an index is not filled yet");
            }
            lock(&service.shared.filling).remove(&name);
        });
    }

    async fn fill_now(&self, group: GroupId, name: &str) -> Result<(), Obstacle> {
        let mut start = Vec::new();
        let mut conflicts = 0;
        loop {
            let Some(row) = self.rows.get(group, &Definition::row_key(name)).await? else {
                return Ok(()); // the table was deleted
            };
            let table = Table::from_row(&row, BTreeMap::new())?;
            let space = table.definition.space();
            let page = self.page(group, space, start.clone(), STEP_ROWS).await?;
            let step = index::backfill(&table, &page.rows)?;
            let is_last = step.rows == page.rows.len() && !page.has_more;
            let mut writes = step.writes;
            if is_last && page.rows.is_empty() {
                writes = vec![table.replaced_by(&index::filled(&table.definition))?];
            }
            match self.rows.transact(group, &writes).await {
                Ok(()) if is_last && page.rows.is_empty() => return Ok(()),
                Ok(()) => {
                    if let Some((last, _)) = step.rows.checked_sub(1).map(|last| &page.rows[last]) {
                        start = successor(last);
                    }
                }
                Err(Obstacle::Conflict) if conflicts < ATTEMPTS => {
                    conflicts += 1;
                    pause(conflicts).await;
                }
                Err(obstacle) => return Err(obstacle),
            }
        }
    }

    /// Forgets tokens that have ended, and drops spaces that no table has, in a task of its own, at most once a minute.
    fn clean_up(&self, group: GroupId) {
        let now = self.clock.now();
        {
            let mut swept = lock(&self.shared.swept);
            if now.as_millis() < swept.as_millis().saturating_add(CLEAN_UP_MILLIS) {
                return;
            }
            *swept = now;
        }
        let service = self.clone();
        tokio::spawn(async move {
            let cleaned = async {
                service.forget_tokens(group, now).await?;
                service.drop_orphans(group, now).await
            };
            if let Err(error) = cleaned.await {
                tracing::debug!(?error, "the clean-up goes on later");
            }
        });
    }

    async fn forget_tokens(&self, group: GroupId, now: Timestamp) -> Result<(), Obstacle> {
        let mut start = Vec::new();
        loop {
            let page = self.page(group, Space::Tokens, start, limits::MAX_ROWS).await?;
            let writes = token::sweep(&page.rows, now);
            match self.rows.transact(group, &writes).await {
                // Another gateway forgets them, or a client sends one again.
                Ok(()) | Err(Obstacle::Conflict) => {}
                Err(obstacle) => return Err(obstacle),
            }
            let Some(next) = page.next_start() else { return Ok(()) };
            start = next;
        }
    }

    /// Drops the spaces of items and indexes that no definition has named for some minutes: a gateway was lost, or an
    /// outcome was unknown, between a space and its definition.
    async fn drop_orphans(&self, group: GroupId, now: Timestamp) -> Result<(), Obstacle> {
        let mut orphans: HashSet<Space> = self.rows.sizes(group).await?.into_keys().collect();
        orphans.retain(|space| matches!(space, Space::Items(_) | Space::Index(..)));
        let mut start = Vec::new();
        loop {
            let page = self.page(group, Space::Definitions, start, STEP_ROWS).await?;
            for (_, row) in &page.rows {
                let Table { definition, .. } = Table::from_row(row, BTreeMap::new())?;
                orphans.remove(&definition.space());
                for index in &definition.indexes {
                    orphans.remove(&definition.index_space(index));
                }
            }
            let Some(next) = page.next_start() else { break };
            start = next;
        }
        let due: Vec<Space> = {
            let mut known = lock(&self.shared.orphans);
            known.retain(|space, _| orphans.contains(space));
            for space in &orphans {
                known.entry(*space).or_insert(now);
            }
            let is_due = |since: &Timestamp| now.since(*since) >= ORPHANED;
            known.iter().filter(|(_, since)| is_due(since)).map(|(space, _)| *space).collect()
        };
        for space in due {
            self.rows.drop(group, space).await;
        }
        Ok(())
    }

    async fn page(
        &self,
        group: GroupId,
        space: Space,
        start: Vec<u8>,
        max_rows: usize,
    ) -> Result<Page, Obstacle> {
        let range = Some(Range { space, start, end: None, descending: false, max_rows });
        let reads = Reads { range, ..Reads::default() };
        Ok(self.rows.read(group, &reads).await?.page)
    }
}

impl fmt::Debug for DynamoDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoDb").field("home", &self.home).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A response with the values that its body needs.
#[derive(Debug)]
pub struct Answer<R> {
    output: R,
    context: Context,
}

impl<R: Output + Send> service::Response for Answer<R> {
    fn write(&self, writer: &mut Writer) {
        self.output.write(&self.context, writer);
    }

    fn reports_change(&self) -> bool {
        true
    }
}

/// A request as the gateway runs it. With `SIZES` the sizes of the tables are read, too.
#[derive(Debug)]
pub struct Sent<O, const SIZES: bool>(O);

impl<'de, O: Deserialize<'de>, const SIZES: bool> Deserialize<'de> for Sent<O, SIZES> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        O::deserialize(deserializer).map(Self)
    }
}

impl<O: Constrained, const SIZES: bool> Constrained for Sent<O, SIZES> {
    fn check(&self, checks: &mut Checks) {
        self.0.check(checks);
    }
}

impl<O, const SIZES: bool> service::Request<DynamoDb> for Sent<O, SIZES>
where
    O: Operation + Send + Sync,
    O::Plan: Send + Sync,
    <O::Plan as Plan>::Output: Send + Sync,
{
    type Target = TableTarget;
    type Response = Answer<<O::Plan as Plan>::Output>;

    fn target(&self, _: &DynamoDb) -> Result<TableTarget, Error> {
        let mut rights = self.0.rights()?.into_iter();
        if let Some((action, table)) = rights.next() {
            let (action, table, further) = (Some(action), Some(table), rights.collect());
            return Ok(TableTarget { action, table, further });
        }
        let table = self.0.tables()?.into_iter().next();
        Ok(TableTarget { action: None, table, further: Vec::new() })
    }

    async fn run(
        &self,
        cx: &service::Context<'_, DynamoDb>,
        _: &TableTarget,
    ) -> Result<Self::Response, Error> {
        cx.service.perform(&self.0, cx.request_id, SIZES).await
    }
}

/// The table that a request works on, and further tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableTarget {
    action: Option<&'static str>,
    /// `None` if the request is about no certain table.
    table: Option<String>,
    further: Vec<(&'static str, String)>,
}

impl DynamoDb {
    fn resource<'v>(&self, table: Option<&str>) -> Resource<'v> {
        let owner = self.home.account.clone();
        let arn = table.map_or_else(|| "*".to_owned(), |name| self.home.table_arn(name));
        Resource { arn, owner, tags: None, policy: None, missing: None }
    }
}

impl Target<DynamoDb> for TableTarget {
    fn resource<'v>(&self, service: &DynamoDb, _: &AccountId, _: &'v View) -> Resource<'v> {
        service.resource(self.table.as_deref())
    }

    fn action(&self) -> Option<&'static str> {
        self.action
    }

    fn further_rights<'v>(
        &self,
        service: &DynamoDb,
        _: &AccountId,
        _: &'v View,
    ) -> Vec<(&'static str, Resource<'v>)> {
        let right =
            |(action, table): &(&'static str, String)| (*action, service.resource(Some(table)));
        self.further.iter().map(right).collect()
    }

    fn subject(&self, scope: NoScope, _: &View) -> Option<()> {
        match scope {}
    }
}

/// No operation has a limit of calls of its own.
#[derive(Clone, Copy, Debug)]
pub enum NoScope {}

impl service::Scope for NoScope {
    fn text(self) -> &'static str {
        match self {}
    }
}

impl ServiceError for Error {
    fn fault(&self) -> Fault {
        if let Self::Internal { cause } = self {
            tracing::warn!(cause, "internal error of the DynamoDB API");
        }
        Self::fault(self)
    }

    /// An old version of the catalog may not have the table group yet.
    fn may_be_outdated(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }
}

/// All operations: name, kind, request type. Calls that create or delete tables read the newest catalog, so that they
/// know the table group.
#[rustfmt::skip]
#[expect(clippy::redundant_closure, reason = "a function of one lifetime is not one for every lifetime")]
const OPERATIONS: &[service::Operation<DynamoDb>] = &[
    row("CreateTable", Kind::Control, |call| run::<_, Sent<CreateTable<'_>, false>>(call)),
    row("DeleteItem", Write, |call| run::<_, Sent<DeleteItem<'_>, false>>(call)),
    row("DeleteTable", Kind::Control, |call| run::<_, Sent<DeleteTable<'_>, true>>(call)),
    row("DescribeContinuousBackups", Kind::Control, |call| run::<_, Sent<DescribeContinuousBackups<'_>, false>>(call)),
    row("DescribeTable", Kind::Control, |call| run::<_, Sent<DescribeTable<'_>, true>>(call)),
    row("DescribeTimeToLive", Kind::Control, |call| run::<_, Sent<DescribeTimeToLive<'_>, false>>(call)),
    row("GetItem", Read, |call| run::<_, Sent<GetItem<'_>, false>>(call)),
    row("ListTables", Kind::Control, |call| run::<_, Sent<ListTables<'_>, false>>(call)),
    row("PutItem", Write, |call| run::<_, Sent<PutItem<'_>, false>>(call)),
    row("Query", Read, |call| run::<_, Sent<Query<'_>, false>>(call)),
    row("Scan", Read, |call| run::<_, Sent<Scan<'_>, false>>(call)),
    row("TransactWriteItems", Write, |call| run::<_, Sent<TransactWriteItems<'_>, false>>(call)),
    row("UpdateContinuousBackups", Kind::Control, |call| run::<_, Sent<UpdateContinuousBackups<'_>, false>>(call)),
    row("UpdateItem", Write, |call| run::<_, Sent<UpdateItem<'_>, false>>(call)),
    row("UpdateTable", Kind::Control, |call| run::<_, Sent<UpdateTable<'_>, true>>(call)),
];

impl Service for DynamoDb {
    const NAMES: ServiceNames = ServiceNames {
        target: "DynamoDB_20120810",
        protocols: &[Protocol::Json10],
        signing: "dynamodb",
        actions: "dynamodb",
        query: None,
    };
    const OPERATIONS: &'static [service::Operation<Self>] = OPERATIONS;

    type Error = Error;
    type Scope = NoScope;
    type Subject = ();

    fn unsupported(operation: &str) -> Option<Fault> {
        unsupported(operation).map(|error| error.fault())
    }

    fn throttled(kind: Kind, message: String) -> Fault {
        let error = match kind {
            Kind::Read | Kind::Write => Error::Throughput(message),
            Kind::Control | Kind::Push => Error::Limit(message),
        };
        error.fault()
    }
}

const fn row(
    name: &'static str,
    kind: Kind,
    perform: for<'a> fn(Call<'a, DynamoDb>) -> Performed<'a>,
) -> service::Operation<DynamoDb> {
    service::Operation { name, kind, limit: None, perform }
}
