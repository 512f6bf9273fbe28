//! Each record of each put, with its outcome.

use std::collections::HashMap;

use super::shards::{ShardKey, Shards};
use crate::history::{
    Answer, Call, EntryResult, HashKey, Nanos, Operation, Outcome, Seq, StreamName, Uid,
};

/// One record of a put.
#[derive(Clone, Debug)]
pub(crate) struct Put<'a> {
    pub(crate) uid: Uid,
    pub(crate) stream: &'a StreamName,
    pub(crate) pk: &'a str,
    pub(crate) ehk: Option<HashKey>,
    pub(crate) ord: Option<Seq>,
    pub(crate) process: u64,
    /// The index of the invocation.
    pub(crate) index: u64,
    pub(crate) invoked: Nanos,
    /// The first invocation of any put of this record. It is earlier than `invoked` if this call is a retry.
    pub(crate) since: Nanos,
    /// How many copies of the record the call may make.
    pub(crate) copies: u64,
    /// How many attempts the client made, or may have made.
    pub(crate) attempts: u32,
    pub(crate) outcome: PutOutcome,
}

/// How the put of a record ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PutOutcome {
    Acked(Ack),
    Refused,
    Unknown,
}

/// The acknowledgement of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ack {
    pub(crate) shard: ShardKey,
    pub(crate) seq: Seq,
    pub(crate) at: Nanos,
    /// The index of the event.
    pub(crate) index: u64,
}

impl Put<'_> {
    pub(crate) fn ack(&self) -> Option<Ack> {
        match self.outcome {
            PutOutcome::Acked(ack) => Some(ack),
            PutOutcome::Refused | PutOutcome::Unknown => None,
        }
    }

    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.outcome, PutOutcome::Refused)
    }

    /// The hash key that decides the shard.
    pub(crate) fn hash_key(&self) -> HashKey {
        self.ehk.unwrap_or_else(|| hash_of(self.pk))
    }
}

/// The hash key of a partition key.
pub(crate) fn hash_of(pk: &str) -> HashKey {
    use md5::{Digest, Md5};
    HashKey(u128::from_be_bytes(Md5::digest(pk.as_bytes()).into()))
}

/// What a call says about all its records.
struct Shared<'a> {
    stream: &'a StreamName,
    budget: u32,
    named: bool,
}

pub(super) fn collect<'a>(operations: &[Operation<'a>], shards: &mut Shards<'a>) -> Vec<Put<'a>> {
    let mut puts = Vec::new();
    for operation in operations {
        match operation.call {
            Call::Put(call) => {
                let shared =
                    Shared { stream: &call.stream, budget: call.budget, named: call.named };
                let (outcome, attempts) = outcome_of_one(operation, shared.stream, shards);
                let made = make(operation, &shared, call.uid, outcome, attempts);
                puts.push(Put { pk: &call.pk, ehk: call.ehk, ord: call.ord, ..made });
            }
            Call::Puts(call) => {
                let shared =
                    Shared { stream: &call.stream, budget: call.budget, named: call.named };
                for (place, entry) in call.records.iter().enumerate() {
                    let (outcome, attempts) =
                        outcome_of_entry(operation, shared.stream, place, shards);
                    let made = make(operation, &shared, entry.uid, outcome, attempts);
                    puts.push(Put { pk: &entry.pk, ehk: entry.ehk, ..made });
                }
            }
            _ => {}
        }
    }
    puts
}

/// A put without its key.
fn make<'a>(
    operation: &Operation<'a>,
    shared: &Shared<'a>,
    uid: Uid,
    outcome: PutOutcome,
    attempts: Option<u32>,
) -> Put<'a> {
    let attempts = attempts.unwrap_or(shared.budget).max(1);
    let copies = match outcome {
        PutOutcome::Refused => 0,
        PutOutcome::Acked(_) | PutOutcome::Unknown if shared.named => 1,
        PutOutcome::Acked(_) | PutOutcome::Unknown => u64::from(attempts),
    };
    Put {
        uid,
        stream: shared.stream,
        pk: "",
        ehk: None,
        ord: None,
        process: operation.process,
        index: operation.index,
        invoked: operation.invoked,
        since: operation.invoked,
        copies,
        attempts,
        outcome,
    }
}

fn outcome_of_one<'a>(
    operation: &Operation<'a>,
    stream: &'a StreamName,
    shards: &mut Shards<'a>,
) -> (PutOutcome, Option<u32>) {
    match operation.outcome {
        Outcome::Ok { index, at, answer: Answer::Put(stored) } => {
            let shard = shards.key(stream, &stored.shard);
            let ack = Ack { shard, seq: stored.seq, at, index };
            (PutOutcome::Acked(ack), Some(stored.attempts))
        }
        Outcome::Failed { .. } => (PutOutcome::Refused, None),
        Outcome::Ok { .. } | Outcome::Unknown => (PutOutcome::Unknown, None),
    }
}

fn outcome_of_entry<'a>(
    operation: &Operation<'a>,
    stream: &'a StreamName,
    place: usize,
    shards: &mut Shards<'a>,
) -> (PutOutcome, Option<u32>) {
    match operation.outcome {
        Outcome::Ok { index, at, answer: Answer::Puts(answer) } => {
            let outcome = match answer.results.get(place) {
                Some(EntryResult::Stored { shard, seq }) => {
                    let shard = shards.key(stream, shard);
                    PutOutcome::Acked(Ack { shard, seq: *seq, at, index })
                }
                Some(EntryResult::Refused { .. }) => PutOutcome::Refused,
                Some(EntryResult::Unknown { .. }) | None => PutOutcome::Unknown,
            };
            (outcome, Some(answer.attempts))
        }
        Outcome::Failed { .. } => (PutOutcome::Refused, None),
        Outcome::Ok { .. } | Outcome::Unknown => (PutOutcome::Unknown, None),
    }
}

/// Finds the puts of each record, and sets `since`.
pub(super) fn link(puts: &mut [Put<'_>]) -> HashMap<Uid, Vec<usize>> {
    let mut puts_of: HashMap<Uid, Vec<usize>> = HashMap::with_capacity(puts.len());
    for (place, put) in puts.iter().enumerate() {
        puts_of.entry(put.uid).or_default().push(place);
    }
    for places in puts_of.values().filter(|places| places.len() > 1) {
        let accepted = places.iter().filter(|place| !puts[**place].is_refused());
        let Some(first) = accepted.map(|place| puts[*place].invoked).min() else { continue };
        for place in places {
            puts[*place].since = puts[*place].invoked.min(first);
        }
    }
    puts_of
}
