//! The calls to one shard or one table group. Each says how it is sent to one node, which errors allow another attempt,
//! and what a response tells about the leader. [`Search::run`](crate::search::Search::run) does the rest for all of
//! them.

use std::time::Duration;

use anabranch_planted::{Bug, planted};
use anabranch_shard::{Batch, BatchBuilder, Page, Position, Run, Start};
use anabranch_table::{Request, Response};
use anabranch_types::{GroupId, NodeId};

use crate::call::{CallError, Read};
use crate::client::Inner;
use crate::error::Error;

/// Effect of a call whose response does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The call only reads: it may be sent to two nodes.
    Reads,
    /// The call writes: it is sent again only when another node is known to lead.
    Writes,
}

/// One attempt of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) node: NodeId,
    /// Whether the replica on the node must lead.
    pub(crate) leader_only: bool,
}

/// A call to one group, sent to one node after the other until one gives a response.
pub(crate) trait ShardCall {
    type Response;

    const EFFECT: Effect;
    /// Whether any replica may answer once no leader has been found for a while.
    const ANY_REPLICA_LATER: bool;

    /// Sends the call to one node.
    fn send(
        &self,
        inner: &Inner,
        attempt: Attempt,
    ) -> impl Future<Output = Result<Self::Response, CallError>> + Send;

    /// Whether a response to `attempt` proves that the node leads.
    fn proves_leader(&self, attempt: Attempt) -> bool;

    /// After a failed attempt: the node to ask next, if the error names it.
    ///
    /// # Errors
    /// How the call ends, if it may not be attempted again.
    fn failed(&mut self, error: CallError) -> Result<Option<NodeId>, Error>;

    /// How the call ends when its time is over. `reason` is true of a call of which no attempt can have had an effect.
    fn timed_out(&self, reason: Error) -> Error {
        reason
    }
}

/// Appends a batch.
pub(crate) struct Append {
    group: GroupId,
    batch: Batch,
    /// Whether an attempt may have written the batch, though its response did not come.
    may_be_written: bool,
}

impl Append {
    pub(crate) fn new(group: GroupId, batch: Batch) -> Self {
        Self { group, batch, may_be_written: false }
    }
}

impl ShardCall for Append {
    type Response = Vec<Run>;

    const EFFECT: Effect = Effect::Writes;
    const ANY_REPLICA_LATER: bool = false;

    async fn send(&self, inner: &Inner, attempt: Attempt) -> Result<Vec<Run>, CallError> {
        inner.target(attempt.node)?.append(self.group, &self.batch).await
    }

    fn proves_leader(&self, _: Attempt) -> bool {
        true
    }

    fn failed(&mut self, error: CallError) -> Result<Option<NodeId>, Error> {
        match error {
            CallError::Unknown(_) if planted(Bug::ReproposeOnTimeout) => {
                let mut unnamed = BatchBuilder::new(None);
                for (index, record) in (0..).zip(self.batch.records()) {
                    unnamed.push(index, &record.partition_key, &record.data);
                }
                self.batch = unnamed.finish().unwrap_or_else(|| self.batch.clone());
                self.may_be_written = true;
                Ok(None)
            }
            // Without a producer the next leader could not recognise the retry.
            CallError::Unknown(reason) if self.batch.producer().is_none() => {
                Err(Error::Unknown(reason))
            }
            CallError::Unknown(_) => {
                self.may_be_written = true;
                Ok(None)
            }
            CallError::NotLeader(hint) => Ok(hint),
            CallError::NotFound => Ok(None),
            // Before a leader says this it looks for the producer's earlier attempts: none of them was written.
            CallError::Closed => Err(Error::Closed),
            CallError::Frozen => Err(Error::Frozen),
            error @ (CallError::InUse
            | CallError::Throttled(_)
            | CallError::Invalid(_)
            | CallError::Key { .. }) => {
                let is_unknown = self.may_be_written;
                Err(if is_unknown { Error::Unknown(error.to_string()) } else { error.into() })
            }
        }
    }

    fn timed_out(&self, reason: Error) -> Error {
        if self.may_be_written {
            return Error::Unknown("no answer before the deadline".into());
        }
        reason
    }
}

/// Asks which records of a batch a closed shard has. Every replica that knows that the shard is closed can answer.
pub(crate) struct Recall<'a> {
    pub(crate) group: GroupId,
    pub(crate) batch: &'a Batch,
}

impl ShardCall for Recall<'_> {
    type Response = Vec<Option<Run>>;

    const EFFECT: Effect = Effect::Reads;
    const ANY_REPLICA_LATER: bool = false;

    async fn send(&self, inner: &Inner, attempt: Attempt) -> Result<Self::Response, CallError> {
        inner.target(attempt.node)?.recall(self.group, self.batch).await
    }

    fn proves_leader(&self, _: Attempt) -> bool {
        false
    }

    /// Any error may be of this one replica: the next one is asked.
    fn failed(&mut self, _: CallError) -> Result<Option<NodeId>, Error> {
        Ok(None)
    }
}

/// Asks where a reader begins.
pub(crate) struct Seek {
    pub(crate) group: GroupId,
    pub(crate) start: Start,
}

impl ShardCall for Seek {
    type Response = Position;

    const EFFECT: Effect = Effect::Reads;
    const ANY_REPLICA_LATER: bool = true;

    async fn send(&self, inner: &Inner, attempt: Attempt) -> Result<Position, CallError> {
        inner.target(attempt.node)?.seek(self.group, self.start, attempt.leader_only).await
    }

    fn proves_leader(&self, attempt: Attempt) -> bool {
        attempt.leader_only
    }

    fn failed(&mut self, error: CallError) -> Result<Option<NodeId>, Error> {
        next_replica(error)
    }
}

/// Reads a page.
pub(crate) struct ReadPage {
    pub(crate) group: GroupId,
    pub(crate) from: Position,
    pub(crate) max_records: u32,
    pub(crate) max_bytes: usize,
    pub(crate) wait: Duration,
}

impl ShardCall for ReadPage {
    type Response = Page;

    const EFFECT: Effect = Effect::Reads;
    const ANY_REPLICA_LATER: bool = true;

    async fn send(&self, inner: &Inner, attempt: Attempt) -> Result<Page, CallError> {
        let Self { group, from, max_records, max_bytes, wait } = *self;
        let read = Read { from, max_records, max_bytes, leader_only: attempt.leader_only, wait };
        inner.target(attempt.node)?.read(group, read).await
    }

    fn proves_leader(&self, attempt: Attempt) -> bool {
        attempt.leader_only
    }

    fn failed(&mut self, error: CallError) -> Result<Option<NodeId>, Error> {
        next_replica(error)
    }
}

/// A request to a table group.
pub(crate) struct TableCall<const WRITES: bool> {
    pub(crate) group: GroupId,
    pub(crate) request: Request,
}

impl<const WRITES: bool> ShardCall for TableCall<WRITES> {
    type Response = Response;

    const EFFECT: Effect = if WRITES { Effect::Writes } else { Effect::Reads };
    const ANY_REPLICA_LATER: bool = false;

    async fn send(&self, inner: &Inner, attempt: Attempt) -> Result<Response, CallError> {
        inner.target(attempt.node)?.table(self.group, &self.request).await
    }

    fn proves_leader(&self, _: Attempt) -> bool {
        true
    }

    fn failed(&mut self, error: CallError) -> Result<Option<NodeId>, Error> {
        if WRITES && let CallError::Unknown(reason) = error {
            // The caller reads the row to learn whether the transaction was made.
            return Err(Error::Unknown(reason));
        }
        next_replica(error)
    }
}

/// After an error that says nothing of other replicas: the leader that it names, if any.
fn next_replica(error: CallError) -> Result<Option<NodeId>, Error> {
    match error {
        CallError::NotLeader(hint) => Ok(hint),
        CallError::NotFound | CallError::Unknown(_) => Ok(None),
        error @ (CallError::Closed
        | CallError::Frozen
        | CallError::InUse
        | CallError::Throttled(_)
        | CallError::Invalid(_)
        | CallError::Key { .. }) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use anabranch_shard::{BatchBuilder, Producer};
    use bytes::Bytes;

    use super::*;

    fn append(producer: Option<Producer>) -> Append {
        let mut builder = BatchBuilder::new(producer);
        builder.push(0, b"key", b"data");
        Append::new(GroupId(1), builder.finish().unwrap())
    }

    #[test]
    fn after_an_unknown_outcome_a_batch_is_sent_again_under_its_name_or_not_at_all() {
        let unknown = || CallError::Unknown("no answer in time".into());
        let producer = Producer { id: Bytes::from_static(b"call"), sequence: 0 };
        let mut named = append(Some(producer.clone()));
        assert_eq!(named.failed(unknown()), Ok(None));
        assert_eq!(named.batch.producer(), Some(&producer));
        assert!(matches!(named.timed_out(Error::NoLeader), Error::Unknown(_)));
        assert!(matches!(append(None).failed(unknown()), Err(Error::Unknown(_))));
    }
}
