//! Items of DynamoDB tables as registers: conditional writes, plain writes and consistent reads. And transactions,
//! which write the same value to three items of two tables.
//!
//! The attribute `rev` is the value of a register. A register of the transactions has three items. All of them have the
//! same value at every moment, so a read of any of them is a read of the register.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use async_trait::async_trait;
use chaos_checkers::history::{
    Answer, CompareAndSet, Copies, Done, Read, ReadCopies, ReadValue, StreamName, Swapped, Write,
};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use rand::Rng;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::admin::Admin;
use crate::kinesis::{Connection, Failure, Refusal};
use crate::scene::Scene;
use crate::session::Session;
use crate::workload::Workload;
use crate::workloads::turns::Turns;

const TABLES: [&str; 2] = ["chaos-items", "chaos-others"];
const CLIENTS: u64 = 3;
/// Items of a register of the transactions: table, and what comes behind the name of the register.
const ITEMS: [(&str, &str); 3] = [(TABLES[0], "-0"), (TABLES[0], "-1"), (TABLES[1], "-2")];
/// Reads of the items of one register, until two in succession are equal.
const ROUNDS: u32 = 10;

/// The workload.
#[derive(Default)]
pub(crate) struct TablesWork {
    items: Arc<Turns>,
    transactions: Arc<Turns>,
}

#[async_trait]
impl Workload for TablesWork {
    async fn prepare(&self, scene: &Scene, _admin: &Admin) -> Result<()> {
        let mut session = scene.session("tables prepare", 0);
        for table in TABLES {
            create_table(&mut session, table, "id").await?;
        }
        Ok(())
    }

    fn clients(&self, scene: &Scene, _admin: &Admin) -> Vec<BoxFuture<'static, ()>> {
        let client = |kind, number, turns: &Arc<Turns>| {
            let session = scene.session(&format!("tables {kind:?}"), number);
            Client { session, kind, turns: Arc::clone(turns), known: (0, None) }.run().boxed()
        };
        let items = (0..CLIENTS).map(|number| client(Kind::Item, number, &self.items));
        let transactions =
            (0..CLIENTS).map(|number| client(Kind::Transaction, number, &self.transactions));
        items.chain(transactions).collect()
    }

    /// The gateways share the registers. All of them read the newest register.
    async fn read_at_end(&self, scene: &Scene) {
        let newest = self.transactions.current();
        let gateways = (0..).zip(scene.gateways.iter()).map(|(number, gateway)| async move {
            let mut session = scene.session("tables end", number).at(*gateway);
            for turn in (number..newest).step_by(scene.gateways.len()).chain([newest]) {
                read_copies(&mut session, Kind::Transaction.register(turn)).await;
            }
        });
        join_all(gateways).await;
    }

    fn streams(&self) -> Vec<StreamName> {
        Vec::new()
    }
}

/// Creates a table whose items have the key `key`.
pub(super) async fn create_table(session: &mut Session, table: &str, key: &str) -> Result<()> {
    let body = json!({
        "TableName": table,
        "AttributeDefinitions": [{ "AttributeName": key, "AttributeType": "S" }],
        "KeySchema": [{ "AttributeName": key, "KeyType": "HASH" }],
        "BillingMode": "PAY_PER_REQUEST",
    });
    let created =
        session.unrecorded(async |connection| connection.dynamo("CreateTable", &body).await);
    let created = created.await.map_err(Failure::from);
    created.map(drop).map_err(|failure| anyhow!("table {table}: {}", failure.reason()))
}

/// The store of the registers of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Item,
    Transaction,
}

impl Kind {
    fn register(self, turn: u64) -> String {
        match self {
            Self::Item => format!("item-{turn}"),
            Self::Transaction => format!("transaction-{turn}"),
        }
    }
}

struct Client {
    session: Session,
    kind: Kind,
    turns: Arc<Turns>,
    /// The last value that this client saw, and the turn of its register.
    known: (u64, Option<String>),
}

impl Client {
    async fn run(mut self) {
        while self.session.scene.goes_on() {
            self.session.move_about();
            let turn = self.turns.current();
            if self.known.0 != turn {
                self.known = (turn, None);
            }
            let register = self.kind.register(turn);
            match self.session.random.random_range(0..10) {
                0..4 => self.read(register).await,
                4..6 => self.write(register).await,
                _ => self.compare_and_set(register).await,
            }
            let pause = self.session.random.random_range(20..120);
            sleep(Duration::from_millis(pause)).await;
        }
    }

    fn new_value(&mut self) -> String {
        self.session.random.random::<u32>().to_string()
    }

    async fn read(&mut self, register: String) {
        let (table, item) = match self.kind {
            Kind::Item => (TABLES[0], register.clone()),
            Kind::Transaction => {
                let (table, end) = ITEMS[self.session.random.random_range(0..ITEMS.len())];
                (table, format!("{register}{end}"))
            }
        };
        let read = self
            .session
            .run(Read { register }, Answer::Read, async |connection| {
                let value = get(connection, table, &item).await?;
                Ok(ReadValue { value })
            })
            .await;
        self.turns.count(&read);
        if let Ok(found) = read {
            self.known.1 = found.value;
        }
    }

    async fn write(&mut self, register: String) {
        let value = self.new_value();
        let (operation, body) = match self.kind {
            Kind::Item => ("PutItem", put(TABLES[0], &register, &value)),
            Kind::Transaction => ("TransactWriteItems", transaction(&register, &value, None)),
        };
        let write = Write { register, value: Some(value.clone()) };
        let written = self
            .session
            .run(write, Answer::Write, async |connection| {
                connection.dynamo(operation, &body).await?;
                Ok(Done {})
            })
            .await;
        self.turns.count(&written);
        if written.is_ok() {
            self.known.1 = Some(value);
        }
    }

    async fn compare_and_set(&mut self, register: String) {
        let value = self.new_value();
        let expected = self.known.1.clone();
        let (operation, body) = match self.kind {
            Kind::Item if self.session.random.random() => {
                ("PutItem", put_expected(&register, &value, expected.as_deref()))
            }
            Kind::Item => ("UpdateItem", update(&register, &value, expected.as_deref())),
            Kind::Transaction => {
                let checked = self.session.random.random_range(0..ITEMS.len());
                let condition = Some((checked, expected.as_deref()));
                ("TransactWriteItems", transaction(&register, &value, condition))
            }
        };
        let cas = CompareAndSet { register, expected, value: value.clone() };
        let done = self
            .session
            .run(cas, Answer::Cas, async |connection| {
                match connection.dynamo(operation, &body).await {
                    Ok(_) => Ok(Swapped { swapped: true, found: None }),
                    Err(refusal) => refused_swap(refusal),
                }
            })
            .await;
        self.turns.count(&done);
        match done {
            Ok(Swapped { swapped: true, .. }) => self.known.1 = Some(value),
            Ok(Swapped { found: Some(found), .. }) => self.known.1 = found.value,
            Ok(_) | Err(_) => {}
        }
    }
}

/// A refusal because of the condition is a result, with the item as it is.
fn refused_swap(refusal: Refusal) -> Result<Swapped, Failure> {
    let Refusal { failure, body } = refusal;
    let Failure::Refused(reason) = &failure else { return Err(failure) };
    let found = if reason.starts_with("ConditionalCheckFailedException") {
        value_of(&body["Item"])
    } else if reason.starts_with("TransactionCanceledException") {
        let reasons = body["CancellationReasons"].as_array();
        let mut failed = reasons
            .into_iter()
            .flatten()
            .filter(|reason| reason["Code"] == "ConditionalCheckFailed");
        let Some(failed) = failed.next() else { return Err(failure) };
        value_of(&failed["Item"])
    } else {
        return Err(failure);
    };
    Ok(Swapped { swapped: false, found: Some(ReadValue { value: found }) })
}

fn value_of(item: &Value) -> Option<String> {
    item["rev"]["N"].as_str().map(str::to_owned)
}

async fn get(
    connection: &mut Connection,
    table: &str,
    item: &str,
) -> Result<Option<String>, Failure> {
    let body =
        json!({ "TableName": table, "Key": { "id": { "S": item } }, "ConsistentRead": true });
    let answer = connection.dynamo("GetItem", &body).await?;
    Ok(value_of(&answer["Item"]))
}

fn item(id: &str, value: &str) -> Value {
    json!({ "id": { "S": id }, "rev": { "N": value }, "filler": { "S": "x".repeat(100) } })
}

fn put(table: &str, id: &str, value: &str) -> Value {
    json!({ "TableName": table, "Item": item(id, value) })
}

/// A PutItem with a condition in the older style.
fn put_expected(id: &str, value: &str, expected: Option<&str>) -> Value {
    let mut body = put(TABLES[0], id, value);
    body["Expected"]["rev"] = match expected {
        Some(expected) => json!({ "Value": { "N": expected } }),
        None => json!({ "Exists": false }),
    };
    body["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD".into();
    body
}

/// Adds the condition that an item has a value, as an expression.
fn add_condition(body: &mut Value, expected: Option<&str>) {
    match expected {
        Some(expected) => {
            body["ConditionExpression"] = "rev = :expected".into();
            body["ExpressionAttributeValues"][":expected"] = json!({ "N": expected });
        }
        None => body["ConditionExpression"] = "attribute_not_exists(rev)".into(),
    }
    body["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD".into();
}

/// An UpdateItem with expressions.
fn update(id: &str, value: &str, expected: Option<&str>) -> Value {
    let mut body = set(TABLES[0], id, value);
    add_condition(&mut body, expected);
    body
}

fn set(table: &str, id: &str, value: &str) -> Value {
    json!({
        "TableName": table,
        "Key": { "id": { "S": id } },
        "UpdateExpression": "SET rev = :value",
        "ExpressionAttributeValues": { ":value": { "N": value } },
    })
}

/// A TransactWriteItems that writes all items of a register. The condition is on one of them.
fn transaction(register: &str, value: &str, condition: Option<(usize, Option<&str>)>) -> Value {
    let entries = ITEMS.iter().enumerate().map(|(place, (table, end))| {
        let id = format!("{register}{end}");
        let is_put = place == 0;
        let mut entry = if is_put { put(table, &id, value) } else { set(table, &id, value) };
        if let Some((checked, expected)) = condition
            && checked == place
        {
            add_condition(&mut entry, expected);
        }
        if is_put { json!({ "Put": entry }) } else { json!({ "Update": entry }) }
    });
    json!({ "TransactItems": entries.collect::<Vec<_>>() })
}

/// Reads all items of a register. A transaction of unknown outcome may still come, so two equal rounds count.
async fn read_copies(session: &mut Session, register: String) {
    let read = ReadCopies { register: register.clone() };
    // The history has the outcome.
    let _recorded = session
        .run(read, Answer::Copies, async |connection| {
            let mut last = None;
            let mut failure = Failure::Unknown("the items change all the time".into());
            for _ in 0..ROUNDS {
                match read_round(connection, &register).await {
                    Ok(values) if last.as_ref() == Some(&values) => return Ok(Copies { values }),
                    Ok(values) => last = Some(values),
                    Err(failed) => {
                        failure = failed;
                        sleep(Duration::from_millis(500)).await;
                    }
                }
            }
            Err(failure)
        })
        .await;
}

async fn read_round(
    connection: &mut Connection,
    register: &str,
) -> Result<Vec<Option<String>>, Failure> {
    let mut values = Vec::new();
    for (table, end) in ITEMS {
        values.push(get(connection, table, &format!("{register}{end}")).await?);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(reason: &str, body: Value) -> Refusal {
        Refusal { failure: Failure::Refused(reason.into()), body }
    }

    #[test]
    fn a_failed_condition_shows_the_item() {
        let body = json!({ "Item": { "rev": { "N": "7" } } });
        let swapped = refused_swap(refusal("ConditionalCheckFailedException: ", body)).unwrap();
        assert_eq!(swapped.found, Some(ReadValue { value: Some("7".into()) }));
        let failed = json!({ "Code": "ConditionalCheckFailed" });
        let body = json!({ "CancellationReasons": [{ "Code": "None" }, failed] });
        let swapped = refused_swap(refusal("TransactionCanceledException: ", body)).unwrap();
        assert_eq!(swapped.found, Some(ReadValue { value: None }));
    }

    #[test]
    fn a_transaction_that_was_refused_for_another_reason_shows_nothing() {
        let body = json!({ "CancellationReasons": [{ "Code": "TransactionConflict" }] });
        assert!(refused_swap(refusal("TransactionCanceledException: ", body)).is_err());
    }

    #[test]
    fn the_condition_of_a_transaction_is_on_one_item() {
        let body = transaction("r", "5", Some((1, Some("4"))));
        let entries = body["TransactItems"].as_array().unwrap();
        assert_eq!(entries.len(), ITEMS.len());
        assert!(entries[0]["Put"]["ConditionExpression"].is_null());
        assert_eq!(entries[1]["Update"]["ConditionExpression"], "rev = :expected");
    }
}
