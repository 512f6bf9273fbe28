//! Members of a consumer group of a stream whose shards are split and merged.
//!
//! Each member is two processes of the history: one calls, the other one watches. Positions are made up: log index 0
//! and an offset that rises, which is below every record of a shard. A shard is finished with the end that the group
//! names. The end of a closed shard without a record is below made-up positions, so a member stores them only for
//! shards that have a record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_proto::consumer as pb;
use anabranch_proto::v1::Position;
use anyhow::Result;
use chaos_checkers::history::{
    Answer, Assigned, AssignedShard, Checkpoint, CheckpointAt, Done, MemberAction, Membership, Seq,
    ShardId, StreamName, WatchShards,
};
use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::Stored;
use super::coordinator::{Coordinator, is_unknown_member};
use crate::kinesis::Failure;
use crate::scene::Scene;
use crate::session::Session;

pub(super) const APP: &str = "group";
pub(super) const SHARDS: u32 = 3;
/// The shortest session time that the server takes.
const SESSION: Duration = Duration::from_secs(3);
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A member pauses, or leaves, in one of this number of rounds.
const PAUSES: u32 = 40;
const LEAVES: u32 = 60;
/// A checkpoint goes back on purpose in one of this number of cases.
const GOES_BACK: u32 = 20;
/// A member tries a checkpoint of a former ownership in one of this number of rounds.
const TRIES_FORMER: u32 = 5;
/// Former ownerships that a member remembers.
const FORMER: usize = 8;
const AGAIN: Duration = Duration::from_millis(200);
/// Pause after a watch has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Pause before the shards are listed again.
const FILL: Duration = Duration::from_millis(700);

/// The stream, which may be resharded.
pub(super) fn stream() -> StreamName {
    StreamName::from("resharded-leases")
}

fn checkpoint_at(position: Position) -> CheckpointAt {
    CheckpointAt::Seq(Seq::small((position.log_index << 16) | u64::from(position.offset)))
}

/// A position that no record has.
fn made_up(number: u32) -> Position {
    Position { log_index: 0, offset: number.min(u32::from(u16::MAX)) }
}

/// A shard of the member.
#[derive(Clone, Debug, PartialEq)]
struct Owned {
    shard: u32,
    id: ShardId,
    epoch: u64,
    next: Option<Position>,
    end: Option<Position>,
    is_leaving: bool,
}

impl From<pb::OwnedShard> for Owned {
    fn from(shard: pb::OwnedShard) -> Self {
        Self {
            shard: shard.shard,
            id: ShardId(shard.shard_id),
            epoch: shard.epoch,
            next: shard.next,
            end: shard.end,
            is_leaving: shard.leaving,
        }
    }
}

/// What the member does with one shard.
enum Act {
    Store { number: u32, back: bool, release: bool },
    Finish(Position),
}

pub(super) struct Member {
    session: Session,
    name: String,
    coordinator: Coordinator,
    /// The highest number that was tried, by shard and epoch.
    numbers: BTreeMap<(u32, u64), u32>,
    /// Ownerships that may be over.
    former: Vec<Owned>,
    stored: Stored,
    filled: Filled,
    watcher: Option<Watcher>,
    owned: watch::Receiver<Vec<Owned>>,
}

impl Member {
    pub(super) fn new(scene: &Scene, number: u64, stored: Stored, filled: Filled) -> Result<Self> {
        let name = format!("member-{number}");
        let group = pb::GroupRef { stream: stream().0, group: "chaos".into() };
        let (shown, owned) = watch::channel(Vec::new());
        let watcher = Watcher {
            session: scene.session("leases watch", number).native(),
            name: name.clone(),
            coordinator: Coordinator::new(scene, group.clone(), name.clone())?,
            shown,
        };
        Ok(Self {
            session: scene.session("leases member", number).native(),
            coordinator: Coordinator::new(scene, group, name.clone())?,
            name,
            numbers: BTreeMap::new(),
            former: Vec::new(),
            stored,
            filled,
            watcher: Some(watcher),
            owned,
        })
    }

    pub(super) async fn run(mut self) {
        let Some(watcher) = self.watcher.take() else { return };
        futures::future::join(watcher.run(), self.work()).await;
    }

    async fn work(mut self) {
        while self.session.scene.goes_on() {
            if self.tell(MemberAction::Join).await.is_err() {
                sleep(AGAIN).await;
                continue;
            }
            self.be_a_member().await;
        }
    }

    /// Works until the group does not know the member any more, or the member has left.
    async fn be_a_member(&mut self) {
        let mut beat = Instant::now();
        while self.session.scene.goes_on() {
            if beat.elapsed() > HEARTBEAT {
                beat = Instant::now();
                if let Err(failure) = self.tell(MemberAction::Heartbeat).await
                    && is_unknown_member(&failure)
                {
                    return;
                }
            }
            let owned = self.owned.borrow().clone();
            for shard in owned {
                self.work_on(&shard).await;
            }
            if self.session.random.random_ratio(1, TRIES_FORMER) {
                self.try_former().await;
            }
            if self.session.random.random_ratio(1, PAUSES) {
                self.pause().await;
            }
            if self.session.random.random_ratio(1, LEAVES) {
                // The history has the outcome. A member that did not get through is removed later.
                let _recorded = self.tell(MemberAction::Leave).await;
                sleep(HEARTBEAT).await;
                return;
            }
            let rest = self.session.random.random_range(100..300);
            sleep(Duration::from_millis(rest)).await;
        }
    }

    async fn tell(&mut self, action: MemberAction) -> Result<Done, Failure> {
        let (app, member) = (APP.into(), self.name.clone());
        let call = Membership { app, stream: stream(), member, action };
        let coordinator = &mut self.coordinator;
        let work = async {
            match action {
                MemberAction::Join => coordinator.join(SESSION).await,
                MemberAction::Heartbeat => coordinator.heartbeat().await,
                MemberAction::Leave => coordinator.leave().await,
            }
            .map(|()| Done {})
        };
        self.session.run_native(call, Answer::Membership, work).await
    }

    /// As a long collection of garbage: the member goes on with what it believed before.
    async fn pause(&mut self) {
        let before = self.owned.borrow().clone();
        let pause = self.session.random.random_range(500..3000);
        sleep(SESSION + Duration::from_millis(pause)).await;
        for shard in &before {
            self.store_next(shard, false).await;
        }
    }

    async fn work_on(&mut self, shard: &Owned) {
        match shard.end {
            Some(end) if self.session.random.random() => self.act(shard, Act::Finish(end)).await,
            _ if shard.is_leaving => self.store_next(shard, true).await,
            _ if self.session.random.random() => self.store_next(shard, false).await,
            _ => {}
        }
    }

    /// A checkpoint with an epoch that may be over.
    async fn try_former(&mut self) {
        if let Some(shard) = self.former.choose(&mut self.session.random).cloned() {
            self.store_next(&shard, false).await;
        }
    }

    async fn store_next(&mut self, shard: &Owned, release: bool) {
        if !self.filled.contains(&shard.id) {
            return;
        }
        let stored = shard.next.map_or(0, |next| next.offset);
        let last = self.numbers.get(&(shard.shard, shard.epoch)).copied().unwrap_or(stored);
        let back = last > 1 && self.session.random.random_ratio(1, GOES_BACK);
        let number = if back {
            self.session.random.random_range(1..last)
        } else {
            last + self.session.random.random_range(1..4)
        };
        self.act(shard, Act::Store { number, back, release }).await;
    }

    async fn act(&mut self, shard: &Owned, act: Act) {
        self.remember(shard);
        let (next, back, release) = match act {
            Act::Store { number, back, release } => (made_up(number), back, release),
            Act::Finish(end) => (end, false, false),
        };
        let at = match act {
            Act::Store { .. } => checkpoint_at(next),
            Act::Finish(_) => CheckpointAt::ShardEnd,
        };
        let call = Checkpoint {
            app: APP.into(),
            stream: stream(),
            shard: shard.id.clone(),
            epoch: shard.epoch,
            at,
            owner: self.name.clone(),
            back,
            release,
        };
        let request = pb::ShardCheckpoint {
            shard: shard.shard,
            epoch: shard.epoch,
            next: Some(next),
            release,
        };
        let began = Instant::now();
        let coordinator = &mut self.coordinator;
        let work = async { coordinator.checkpoint(request).await.map(|()| Done {}) };
        let stored = self.session.run_native(call, Answer::Checkpoint, work).await;
        if stored.is_ok() {
            self.stored.add(&shard.id, began);
        }
        if let Act::Store { number, .. } = act {
            let last = self.numbers.entry((shard.shard, shard.epoch)).or_insert(number);
            *last = if stored.is_ok() { number } else { number.max(*last) };
        }
    }

    fn remember(&mut self, shard: &Owned) {
        let is_same = |known: &Owned| known.shard == shard.shard && known.epoch == shard.epoch;
        if !self.former.iter().any(is_same) {
            self.former.push(shard.clone());
            let excess = self.former.len().saturating_sub(FORMER);
            self.former.drain(..excess);
        }
    }
}

/// The shards that have a record. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Filled(Arc<Mutex<BTreeSet<ShardId>>>);

impl Filled {
    fn contains(&self, shard: &ShardId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(shard)
    }

    fn add(&self, shard: ShardId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(shard);
    }
}

/// Puts a record into each open shard that has none. The history does not have the puts. It has the lists, which tell
/// the checkers which shard has which parents.
pub(super) async fn fill(mut session: Session, filled: Filled) {
    while session.scene.goes_on() {
        session.move_about();
        let listed = session.shards(&stream()).await.map(|listed| listed.shards);
        let open = listed.unwrap_or_default().into_iter().filter(|shard| shard.end.is_none());
        for shard in open.filter(|shard| !filled.contains(&shard.shard)).collect::<Vec<_>>() {
            let body = json!({
                "StreamName": stream().0,
                "PartitionKey": "leases",
                "ExplicitHashKey": shard.range.start.to_string(),
                "Data": "eA==",
            });
            let put = session
                .unrecorded(async |connection| connection.call("PutRecord", &body, None).await)
                .await;
            if let Ok(answer) = put
                && let Some(shard) = answer["ShardId"].as_str()
            {
                filled.add(ShardId(shard.to_owned()));
            }
        }
        sleep(FILL).await;
    }
}

/// The process that learns which shards the member has.
struct Watcher {
    session: Session,
    name: String,
    coordinator: Coordinator,
    shown: watch::Sender<Vec<Owned>>,
}

impl Watcher {
    async fn run(mut self) {
        while self.session.scene.goes_on() {
            let lasts = self.session.random.random_range(1_000..8_000);
            let until = Instant::now() + Duration::from_millis(lasts);
            let failure = self.watch(until).await;
            if is_unknown_member(&failure) {
                self.shown.send_replace(Vec::new());
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Watches until the time is over. Returns why the watch has ended.
    async fn watch(&mut self, until: Instant) -> Failure {
        let chain = self.session.scene.recorder.new_chain();
        let member = self.name.clone();
        let call = WatchShards { app: APP.into(), stream: stream(), member, chain };
        self.session.begin(call.clone());
        let over = || Failure::Refused("the watch is over".into());
        let begun = timeout_at(until, self.coordinator.watch()).await;
        let mut lists = match begun.unwrap_or_else(|_elapsed| Err(over())) {
            Ok(lists) => lists,
            Err(failure) => return self.end(failure),
        };
        loop {
            let list = match timeout_at(until, lists.message()).await {
                Ok(Ok(Some(list))) => list,
                Ok(Ok(None)) | Err(_) => return self.end(over()),
                Ok(Err(status)) => {
                    let failure = self.coordinator.ended(&status);
                    return self.end(failure);
                }
            };
            let shards: Vec<Owned> = list.shards.into_iter().map(Owned::from).collect();
            let assigned = shards.iter().map(|shard| AssignedShard {
                shard: shard.id.clone(),
                epoch: shard.epoch,
                checkpoint: shard.next.map(checkpoint_at),
            });
            let assigned = Assigned { shards: assigned.collect() };
            // The response is here already.
            let _recorded = self.session.end(Ok(assigned), Answer::Assigned);
            self.shown.send_replace(shards);
            self.session.begin(call.clone());
        }
    }

    fn end(&mut self, failure: Failure) -> Failure {
        // A watch changes nothing, so no outcome of it is unknown.
        let refused = Failure::Refused(failure.reason().to_owned());
        let _recorded = self.session.end(Err::<Assigned, _>(refused), Answer::Assigned);
        failure
    }
}
