//! Workers that keep leases in a DynamoDB table, with the calls of the Kinesis Client Library.
//!
//! Every change of a lease expects the `leaseCounter` that the worker knows, and raises it. A lease whose counter
//! stands still for the failover time is free. The epoch of the history is the counter that the taking call has
//! written. A worker whose call has an unknown outcome looks at the next list: if it is the owner and the counter is as
//! before or one higher, it goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use chaos_checkers::history::{
    AddMember, Answer, Checkpoint, CheckpointAt, Done, Lease, LeaseTake, LeaseTaken,
    Leases as Listed, ListLeases, Renew, Seq, ShardId, StreamName,
};
use rand::Rng;
use rand::seq::IteratorRandom;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Stored;
use crate::kinesis::{Connection, Failure};
use crate::session::Session;

pub(super) const TABLE: &str = "chaos-leases";
pub(super) const APP: &str = "kcl";
const LEASES: u64 = 4;
/// A lease whose counter stands still for this time is free.
const FAILOVER: Duration = Duration::from_millis(1500);
/// A worker pauses in one of this number of rounds.
const PAUSES: u32 = 25;
/// A checkpoint goes back on purpose in one of this number of cases.
const GOES_BACK: u32 = 20;
/// Rounds after which a worker creates all leases again, which must be refused.
const CREATES: u32 = 30;

/// The stream that the leases are about. It does not exist.
pub(super) fn stream() -> StreamName {
    StreamName::from("kcl")
}

/// All leases.
pub(super) fn leases() -> Vec<ShardId> {
    (0..LEASES).map(|number| ShardId(format!("shardId-{number:012}"))).collect()
}

/// A lease as the table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    shard: ShardId,
    counter: u64,
    owner: Option<String>,
    checkpoint: Option<u64>,
}

impl Item {
    fn of(item: &Value) -> Option<Self> {
        Some(Self {
            shard: ShardId(item["leaseKey"]["S"].as_str()?.to_owned()),
            counter: item["leaseCounter"]["N"].as_str()?.parse().ok()?,
            owner: item["leaseOwner"]["S"].as_str().map(str::to_owned),
            // TRIM_HORIZON is no number.
            checkpoint: item["checkpoint"]["S"].as_str().and_then(|text| text.parse().ok()),
        })
    }
}

fn at(checkpoint: u64) -> CheckpointAt {
    CheckpointAt::Seq(Seq::small(checkpoint))
}

/// A counter, and since when the worker knows it.
struct Seen {
    counter: u64,
    since: Instant,
}

/// A lease that the worker believes to own.
#[derive(Clone)]
struct Held {
    epoch: u64,
    counter: u64,
    /// The checkpoint that is stored, or a higher one that it tried to store.
    checkpoint: u64,
    /// The outcome of the last call is unknown.
    is_uncertain: bool,
}

pub(super) struct Worker {
    session: Session,
    name: String,
    seen: BTreeMap<ShardId, Seen>,
    held: BTreeMap<ShardId, Held>,
    stored: Stored,
}

impl Worker {
    pub(super) fn new(session: Session, number: u64, stored: Stored) -> Self {
        let name = format!("worker-{number}");
        Self { session, name, seen: BTreeMap::new(), held: BTreeMap::new(), stored }
    }

    pub(super) async fn run(mut self) {
        let mut round = 0;
        while self.session.scene.goes_on() {
            self.session.move_about();
            if round % CREATES == 0 {
                self.create_leases().await;
            }
            round += 1;
            if let Ok(items) = self.list().await {
                self.compare(&items);
                self.take_one(&items).await;
                self.keep_all().await;
            }
            if self.session.random.random_ratio(1, PAUSES) {
                self.pause().await;
            }
            let rest = self.session.random.random_range(100..300);
            sleep(Duration::from_millis(rest)).await;
        }
    }

    /// PutItem, if the lease is not there.
    async fn create_leases(&mut self) {
        for shard in leases() {
            let item = json!({
                "leaseKey": { "S": shard.0 },
                "leaseCounter": { "N": "0" },
                "checkpoint": { "S": "TRIM_HORIZON" },
                "checkpointSubSequenceNumber": { "N": "0" },
                "ownerSwitchesSinceCheckpoint": { "N": "0" },
            });
            let expected = json!({ "leaseKey": { "Exists": false } });
            let body = json!({ "TableName": TABLE, "Item": item, "Expected": expected });
            let add = AddMember { set: TABLE.into(), member: shard.0 };
            // The history has the outcome.
            let _recorded = self
                .session
                .run(add, Answer::Add, async |connection| {
                    match connection.dynamo("PutItem", &body).await.map_err(Failure::from) {
                        Ok(_) => Ok(Done {}),
                        Err(failure) if is_condition(&failure) => {
                            Err(Failure::Refused("exists".into()))
                        }
                        Err(failure) => Err(failure),
                    }
                })
                .await;
        }
    }

    /// Scan.
    async fn list(&mut self) -> Result<Vec<Item>, Failure> {
        let body = json!({ "TableName": TABLE });
        let mut items = Vec::new();
        let list = ListLeases { app: APP.into(), stream: stream() };
        self.session
            .run(list, Answer::Leases, async |connection| {
                let answer = connection.dynamo("Scan", &body).await?;
                items =
                    answer["Items"].as_array().into_iter().flatten().filter_map(Item::of).collect();
                let leases = items.iter().map(|item| Lease {
                    shard: item.shard.clone(),
                    owner: item.owner.clone(),
                    checkpoint: item.checkpoint.map(at),
                });
                Ok(Listed { leases: leases.collect() })
            })
            .await?;
        Ok(items)
    }

    /// Learns from a list which counters have changed, and which leases this worker has lost.
    fn compare(&mut self, items: &[Item]) {
        for Item { shard, counter, owner, .. } in items {
            let since = Instant::now();
            let seen = self.seen.entry(shard.clone()).or_insert(Seen { counter: *counter, since });
            if seen.counter != *counter {
                *seen = Seen { counter: *counter, since };
            }
            if let Some(held) = self.held.get_mut(shard) {
                let is_next = *counter == held.counter || *counter == held.counter + 1;
                if owner.as_ref() == Some(&self.name) && is_next {
                    held.counter = *counter;
                    held.is_uncertain = false;
                } else {
                    self.held.remove(shard);
                }
            }
        }
    }

    /// Takes a free lease, or now and then one of another worker.
    async fn take_one(&mut self, items: &[Item]) {
        let steals = self.session.random.random_ratio(1, 10);
        let is_free = |item: &&Item| match &item.owner {
            None => true,
            Some(owner) if *owner == self.name => true,
            Some(_) => {
                let stands = |seen: &Seen| seen.since.elapsed() > FAILOVER;
                steals || self.seen.get(&item.shard).is_some_and(stands)
            }
        };
        let free = items.iter().filter(|item| !self.held.contains_key(&item.shard));
        let free: Vec<&Item> = free.filter(is_free).collect();
        if let Some(item) = free.into_iter().choose(&mut self.session.random) {
            self.take(item).await;
        }
    }

    async fn take(&mut self, item: &Item) {
        let epoch = item.counter + 1;
        let mut body = update(&item.shard, item.counter);
        body["AttributeUpdates"]["leaseOwner"] = put_text(&self.name);
        body["AttributeUpdates"]["ownerSwitchesSinceCheckpoint"] =
            json!({ "Action": "ADD", "Value": { "N": "1" } });
        body["ReturnValues"] = "ALL_NEW".into();
        let take = LeaseTake {
            app: APP.into(),
            stream: stream(),
            shard: item.shard.clone(),
            epoch,
            owner: self.name.clone(),
        };
        let mut checkpoint = None;
        let taken = self
            .session
            .run(take, Answer::LeaseTake, async |connection| {
                let answer = connection.dynamo("UpdateItem", &body).await?;
                let item = Item::of(&answer["Attributes"])
                    .ok_or_else(|| Failure::Unknown("a response without the lease".into()))?;
                checkpoint = item.checkpoint;
                Ok(LeaseTaken { checkpoint: checkpoint.map(at) })
            })
            .await;
        if taken.is_ok() {
            let checkpoint = checkpoint.unwrap_or_default();
            let held = Held { epoch, counter: epoch, checkpoint, is_uncertain: false };
            self.held.insert(item.shard.clone(), held);
        }
    }

    /// Renews each lease that is held, or stores a checkpoint.
    async fn keep_all(&mut self) {
        for shard in self.held.keys().cloned().collect::<Vec<_>>() {
            if self.session.random.random() {
                self.renew(&shard).await;
            } else {
                self.checkpoint(&shard).await;
            }
        }
    }

    /// As a long collection of garbage: the worker goes on with what it believed before.
    async fn pause(&mut self) {
        let pause = self.session.random.random_range(500..2500);
        sleep(FAILOVER + Duration::from_millis(pause)).await;
        for shard in self.held.keys().cloned().collect::<Vec<_>>() {
            self.checkpoint(&shard).await;
        }
    }

    async fn renew(&mut self, shard: &ShardId) {
        let Some(held) = self.held.get(shard).filter(|held| !held.is_uncertain) else { return };
        let body = update(shard, held.counter);
        let renew = Renew {
            app: APP.into(),
            stream: stream(),
            shard: shard.clone(),
            epoch: held.epoch,
            owner: self.name.clone(),
        };
        let renewed = self
            .session
            .run(renew, Answer::Renew, async |connection| change(connection, &body).await)
            .await;
        self.after(shard, &renewed);
    }

    async fn checkpoint(&mut self, shard: &ShardId) {
        let random = &mut self.session.random;
        let Some(held) = self.held.get_mut(shard).filter(|held| !held.is_uncertain) else { return };
        let back = held.checkpoint > 1 && random.random_ratio(1, GOES_BACK);
        let checkpoint = if back {
            random.random_range(1..held.checkpoint)
        } else {
            held.checkpoint + random.random_range(1..5)
        };
        let mut body = update(shard, held.counter);
        let updates = &mut body["AttributeUpdates"];
        updates["checkpoint"] = put_text(&checkpoint.to_string());
        updates["checkpointSubSequenceNumber"] = json!({ "Action": "PUT", "Value": { "N": "0" } });
        updates["ownerSwitchesSinceCheckpoint"] = json!({ "Action": "PUT", "Value": { "N": "0" } });
        updates["pendingCheckpoint"] = json!({ "Action": "DELETE" });
        let call = Checkpoint {
            app: APP.into(),
            stream: stream(),
            shard: shard.clone(),
            epoch: held.epoch,
            at: at(checkpoint),
            owner: self.name.clone(),
            back,
            release: false,
        };
        let began = Instant::now();
        let stored = self
            .session
            .run(call, Answer::Checkpoint, async |connection| change(connection, &body).await)
            .await;
        if stored.is_ok() {
            self.stored.add(shard, began);
        }
        if let Some(held) = self.held.get_mut(shard) {
            let is_stored = stored.is_ok();
            held.checkpoint = if is_stored { checkpoint } else { held.checkpoint.max(checkpoint) };
        }
        self.after(shard, &stored);
    }

    /// Draws the conclusions from an UpdateItem of an owner.
    fn after(&mut self, shard: &ShardId, result: &Result<Done, Failure>) {
        match result {
            Ok(_) => {
                if let Some(held) = self.held.get_mut(shard) {
                    held.counter += 1;
                }
            }
            Err(failure) if is_condition(failure) => {
                self.held.remove(shard);
            }
            Err(Failure::Refused(_)) => {}
            Err(Failure::Unknown(_)) => {
                if let Some(held) = self.held.get_mut(shard) {
                    held.is_uncertain = true;
                }
            }
        }
    }
}

/// UpdateItem of an owner. A refusal must show the lease, and that becomes part of the error.
async fn change(connection: &mut Connection, body: &Value) -> Result<Done, Failure> {
    match connection.dynamo("UpdateItem", body).await {
        Ok(_) => Ok(Done {}),
        Err(refusal) if is_condition(&refusal.failure) => {
            let reason = refusal.failure.reason();
            Err(Failure::Refused(format!("{reason}: the lease is {}", refusal.body["Item"])))
        }
        Err(refusal) => Err(refusal.failure),
    }
}

fn is_condition(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused(why) if why.starts_with("ConditionalCheckFailedException"))
}

fn put_text(text: &str) -> Value {
    json!({ "Action": "PUT", "Value": { "S": text } })
}

/// An UpdateItem that expects a counter and raises it.
fn update(shard: &ShardId, counter: u64) -> Value {
    json!({
        "TableName": TABLE,
        "Key": { "leaseKey": { "S": shard.0 } },
        "Expected": { "leaseCounter": { "Value": { "N": counter.to_string() } } },
        "AttributeUpdates": {
            "leaseCounter": { "Action": "PUT", "Value": { "N": (counter + 1).to_string() } },
        },
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_read_from_its_item() {
        let item = json!({
            "leaseKey": { "S": "shardId-000000000001" },
            "leaseCounter": { "N": "7" },
            "checkpoint": { "S": "TRIM_HORIZON" },
        });
        let expected =
            Item { shard: leases()[1].clone(), counter: 7, owner: None, checkpoint: None };
        assert_eq!(Item::of(&item), Some(expected));
    }

    #[test]
    fn every_change_raises_the_counter() {
        let body = update(&leases()[0], 7);
        assert_eq!(body["Expected"]["leaseCounter"]["Value"]["N"], "7");
        assert_eq!(body["AttributeUpdates"]["leaseCounter"]["Value"]["N"], "8");
    }
}
