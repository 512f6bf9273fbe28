//! A storage in memory that runs calls as the service will: read, decide, write under expectations.

use std::collections::BTreeMap;

use anabranch_aws::constraints;
use anabranch_aws::wire::{self, Format, Writer};
use anabranch_types::Timestamp;
use serde::Deserialize;

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
use crate::operations::update_item::UpdateItem;
use crate::operations::update_table::UpdateTable;
use crate::operations::{Context, Operation, Output, Plan};
use crate::store::{Change, Decision, Expect, Found, Page, Reads, Row, RowKey, Space, Write};
use crate::table::{Definition, Size, Table, Tables};
use crate::{index, token};

/// Rows in memory.
#[derive(Debug)]
pub(crate) struct Memory {
    pub rows: BTreeMap<RowKey, Row>,
    pub now: u64,
    version: u64,
    calls: u8,
    /// Most rows of one read.
    pub max_rows: usize,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self { rows: BTreeMap::new(), now: 1_700_000_000_000, version: 0, calls: 0, max_rows: 1000 }
    }

    /// Runs a call. Returns the body of the response, or that of the error.
    pub(crate) fn call(&mut self, operation: &str, body: &str) -> Result<String, String> {
        let body = body.as_bytes();
        match operation {
            "CreateTable" => self.run::<CreateTable<'_>>(body),
            "DeleteItem" => self.run::<DeleteItem<'_>>(body),
            "DeleteTable" => self.run::<DeleteTable<'_>>(body),
            "DescribeContinuousBackups" => self.run::<DescribeContinuousBackups<'_>>(body),
            "DescribeTable" => self.run::<DescribeTable<'_>>(body),
            "DescribeTimeToLive" => self.run::<DescribeTimeToLive<'_>>(body),
            "GetItem" => self.run::<GetItem<'_>>(body),
            "ListTables" => self.run::<ListTables<'_>>(body),
            "PutItem" => self.run::<PutItem<'_>>(body),
            "Query" => self.run::<Query<'_>>(body),
            "Scan" => self.run::<Scan<'_>>(body),
            "TransactWriteItems" => self.run::<TransactWriteItems<'_>>(body),
            "UpdateContinuousBackups" => self.run::<UpdateContinuousBackups<'_>>(body),
            "UpdateItem" => self.run::<UpdateItem<'_>>(body),
            "UpdateTable" => self.run::<UpdateTable<'_>>(body),
            other => panic!("no operation {other}"),
        }
    }

    /// Runs a call that must succeed.
    #[track_caller]
    pub(crate) fn ok(&mut self, operation: &str, body: &str) -> String {
        match self.call(operation, body) {
            Ok(response) => response,
            Err(error) => panic!("{operation} {body}: {error}"),
        }
    }

    /// Runs a call that must fail. Returns code and message.
    #[track_caller]
    pub(crate) fn error(&mut self, operation: &str, body: &str) -> String {
        let error = match self.call(operation, body) {
            Ok(response) => panic!("{operation} {body} succeeded: {response}"),
            Err(error) => error,
        };
        let error: serde_json::Value = serde_json::from_str(&error).unwrap();
        let code = error["__type"].as_str().unwrap().rsplit('#').next().unwrap();
        let message = error["message"].as_str().or(error["Message"].as_str()).unwrap_or_default();
        format!("{code}: {message}")
    }

    fn run<'a, T: Operation + Deserialize<'a>>(
        &mut self,
        body: &'a [u8],
    ) -> Result<String, String> {
        let request: T = match wire::decode(Format::Json, body) {
            Ok(request) => request,
            Err(error) => {
                return Err(format!(
                    r##"{{"__type":"#SerializationException","message":{:?}}}"##,
                    format!("{error:?}")
                ));
            }
        };
        self.calls = self.calls.wrapping_add(1);
        let now = Timestamp::from_millis(self.now);
        let cx =
            Context { home: crate::table::description::Home::default(), now, id: [self.calls; 16] };
        let written =
            self.attempt(&cx, &request).map(|response| body_of(|w| response.write(&cx, w)));
        written.map_err(|error| body_of(|w| error.write(w)))
    }

    fn attempt<T: Operation>(
        &mut self,
        cx: &Context,
        request: &T,
    ) -> Result<<T::Plan as Plan>::Output, Error> {
        constraints::check(request)?;
        let mut tables = Tables::default();
        for name in request.tables()? {
            if let Some(row) = self.rows.get(&Definition::row_key(&name)) {
                tables.insert(Table::from_row(row, self.sizes())?);
            }
        }
        let plan = request.plan(cx, &tables)?;
        let found = self.read(&plan.reads());
        let decision = plan.decide(cx, &found)?;
        self.apply(&decision);
        self.backfill();
        self.assert_indexes();
        Ok(decision.response)
    }

    fn sizes(&self) -> BTreeMap<Space, Size> {
        let mut sizes: BTreeMap<Space, Size> = BTreeMap::new();
        for (key, row) in &self.rows {
            let size = sizes.entry(key.space).or_default();
            size.items += 1;
            size.bytes += row.value.len() as u64;
        }
        sizes
    }

    fn read(&self, reads: &Reads) -> Found {
        let rows =
            reads.rows.iter().filter_map(|key| Some((key.clone(), self.rows.get(key)?.clone())));
        let mut found = Found { rows: rows.collect(), page: Page::default() };
        let Some(range) = &reads.range else { return found };
        let in_range = |key: &RowKey| {
            key.space == range.space
                && key.key >= range.start
                && range.end.as_ref().is_none_or(|end| key.key < *end)
        };
        let mut rows: Vec<_> = self.rows.iter().filter(|(key, _)| in_range(key)).collect();
        if range.descending {
            rows.reverse();
        }
        let max = range.max_rows.min(self.max_rows);
        found.page.has_more = rows.len() > max;
        rows.truncate(max);
        found.page.rows =
            rows.into_iter().map(|(key, row)| (key.key.clone(), row.clone())).collect();
        found
    }

    fn apply<R>(&mut self, decision: &Decision<R>) {
        self.transact(&decision.writes);
        self.rows.retain(|key, _| !decision.drops.contains(&key.space));
    }

    /// Runs a transaction whose expectations must hold, because nothing else writes.
    pub(crate) fn transact(&mut self, writes: &[Write]) {
        crate::limits::check(writes).unwrap();
        self.version += 1;
        let mut seen = std::collections::BTreeSet::new();
        for Write { key, expect, change } in writes {
            assert!(seen.insert(key), "{key:?} twice in {writes:?}");
            let version = self.rows.get(key).map(|row| row.version);
            match expect {
                Expect::Absent => assert_eq!(version, None, "{key:?}"),
                Expect::Version(expected) => assert_eq!(version, Some(*expected), "{key:?}"),
                Expect::Anything => {}
            }
            match change {
                Change::Put(value) => {
                    let row = Row { version: self.version, value: value.clone() };
                    self.rows.insert(key.clone(), row);
                }
                Change::Delete => {
                    self.rows.remove(key);
                }
                Change::Keep => {}
            }
        }
    }

    /// Fills new indexes, as the service does after UpdateTable.
    fn backfill(&mut self) {
        for table in self.tables() {
            if table.definition.indexes.iter().any(|index| index.is_backfilling) {
                let page = self.space(table.definition.space());
                let mut rest = page.as_slice();
                while !rest.is_empty() {
                    let backfill = index::backfill(&table, rest).unwrap();
                    self.transact(&backfill.writes);
                    rest = &rest[backfill.rows..];
                }
                let filled = index::filled(&table.definition);
                self.transact(&[table.replaced_by(&filled).unwrap()]);
            }
        }
    }

    pub(crate) fn sweep(&mut self) {
        let page = self.space(Space::Tokens);
        self.transact(&token::sweep(&page, Timestamp::from_millis(self.now)));
    }

    pub(crate) fn space(&self, space: Space) -> Vec<(Vec<u8>, Row)> {
        let rows = self.rows.iter().filter(|(key, _)| key.space == space);
        rows.map(|(key, row)| (key.key.clone(), row.clone())).collect()
    }

    fn tables(&self) -> Vec<Table> {
        let rows = self.space(Space::Definitions);
        rows.iter().map(|(_, row)| Table::from_row(row, BTreeMap::new()).unwrap()).collect()
    }

    /// Each index has exactly the rows that the items of its table should have in it.
    fn assert_indexes(&self) {
        for table in self.tables() {
            let definition = &table.definition;
            let items = self.space(definition.space());
            for index in definition.indexes.iter().filter(|index| !index.is_backfilling) {
                let rows = items.iter().filter_map(|(_, row)| {
                    let item = crate::value::stored::decode(&row.value).unwrap();
                    index::row(definition, index, &item).unwrap()
                });
                let expected: BTreeMap<_, _> = rows.map(|(key, value)| (key.key, value)).collect();
                let actual = self.space(definition.index_space(index));
                let actual = actual.into_iter().map(|(key, row)| (key, row.value)).collect();
                assert_eq!(expected, actual, "index {}", index.name);
            }
        }
    }
}

fn body_of(write: impl FnOnce(&mut Writer)) -> String {
    let mut writer = Writer::new(Format::Json, 64);
    write(&mut writer);
    String::from_utf8(writer.finish()).unwrap()
}
