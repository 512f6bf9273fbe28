//! A producer: puts single records and batches, with few partition keys, so that the order of each key is tested.

use std::collections::HashMap;
use std::time::Duration;

use chaos_checkers::history::{Api, Entry, HashKey, Put, Puts, Seq, StreamName, Uid};
use rand::Rng;
use tokio::time::sleep;

use crate::session::Session;

/// Partition keys of all producers together.
const KEYS: u32 = 24;
/// Most records of one PutRecords.
const BATCH: usize = 12;
/// Longest pause between two calls.
const PAUSE_MILLIS: u64 = 25;
/// Longest payload.
const PAYLOAD_BYTES: usize = 1200;

/// A producer of one stream.
pub(super) struct Producer {
    pub(super) session: Session,
    pub(super) stream: StreamName,
    /// Last sequence number of each partition key that this process has put.
    last: HashMap<String, Seq>,
    process: u64,
}

impl Producer {
    pub(super) fn new(session: Session, stream: StreamName) -> Self {
        let process = session.process();
        Self { session, stream, last: HashMap::new(), process }
    }

    /// Puts until the run ends.
    pub(super) async fn run(mut self) {
        while self.session.scene.goes_on() {
            self.session.move_about();
            if self.session.random.random_ratio(1, 3) {
                self.put_batch().await;
            } else {
                self.put_one().await;
            }
            self.pause().await;
        }
    }

    pub(super) async fn pause(&mut self) {
        let pause = self.session.random.random_range(1..PAUSE_MILLIS);
        sleep(Duration::from_millis(pause)).await;
    }

    /// A new record of this process.
    pub(super) fn record(&mut self) -> Entry {
        if self.process != self.session.process() {
            // The old process may still have a put under way, so its numbers order nothing any more.
            self.process = self.session.process();
            self.last.clear();
        }
        let uid = Uid { process: self.process, counter: self.session.next_record() };
        let random = &mut self.session.random;
        let pk = format!("key-{}", random.random_range(0..KEYS));
        let ehk = random.random_ratio(1, 10).then(|| HashKey(random.random()));
        Entry { uid, pk, ehk }
    }

    pub(super) fn length(&mut self) -> usize {
        self.session.random.random_range(0..PAYLOAD_BYTES)
    }

    async fn put_one(&mut self) {
        let Entry { uid, pk, ehk } = self.record();
        let ord = match ehk {
            None if self.session.random.random() => self.last.get(&pk).copied(),
            _ => None,
        };
        let put = Put {
            stream: self.stream.clone(),
            uid,
            pk: pk.clone(),
            ehk,
            ord,
            api: Api::PutRecord,
            budget: 1,
            named: false,
        };
        let length = self.length();
        if let Ok(stored) = self.session.put(put, length).await
            && ehk.is_none()
        {
            self.last.insert(pk, stored.seq);
        }
    }

    async fn put_batch(&mut self) {
        let count = self.session.random.random_range(1..=BATCH);
        let records = (0..count).map(|_| self.record()).collect();
        let puts = Puts { stream: self.stream.clone(), records, budget: 1, named: false };
        let length = self.length();
        // The history has the outcome of each record.
        let _recorded = self.session.puts(puts, length).await;
    }
}
