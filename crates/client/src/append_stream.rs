//! The appends of one client to one node, on one gRPC stream.
//!
//! Order of events: appends wait until the connection can send. Appends that wait together make one message, within
//! bounds. Outcomes come back as they are decided, in any order, each with the number of its append. When the stream
//! breaks, all appends that wait for an outcome end as unknown, and the next append opens a new stream.
//!
//! Invariant: an append that was given to the stream ends with an outcome of the node, or as unknown.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use anabranch_proto::v1;
use anabranch_shard::{Batch, Run};
use anabranch_types::GroupId;
use futures::stream;
use tokio::sync::{mpsc, oneshot};
use tonic::transport::Channel;

use crate::call::{CallError, error_of_detail, log_client};

/// Most bytes of one message. A larger append has a message of its own.
const MESSAGE_BYTES: usize = 1 << 20;
/// Most appends of one message.
const MESSAGE_APPENDS: usize = 512;

type Outcome = Result<Vec<Run>, CallError>;

/// The stream to one node. The first append opens it, and the first append after it broke opens it again. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub(crate) struct AppendStream {
    channel: Channel,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// To the connection, while the stream is open. Bounded by the callers, which wait for outcomes.
    queue: Option<mpsc::UnboundedSender<v1::NumberedAppend>>,
    waiting: HashMap<u64, oneshot::Sender<Outcome>>,
    next_number: u64,
}

impl AppendStream {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel, state: Arc::default() }
    }

    /// Appends `batch` to the shard of `group`. Waits for the outcome without a limit, because the caller has one.
    pub(crate) async fn append(&self, group: GroupId, batch: &Batch) -> Outcome {
        let (decided, outcome) = oneshot::channel();
        self.send(group, batch, decided);
        let stream_broke = |_| Err(CallError::Unknown("the connection broke".into()));
        outcome.await.unwrap_or_else(stream_broke)
    }

    fn send(&self, group: GroupId, batch: &Batch, decided: oneshot::Sender<Outcome>) {
        let mut state = self.lock();
        let number = state.next_number;
        state.next_number += 1;
        state.waiting.insert(number, decided);
        let (hash_keys, batch) = (batch.hash_keys().clone(), batch.bytes().clone());
        let append = v1::NumberedAppend { number, group: group.0, batch, hash_keys };
        let queue = state.queue.get_or_insert_with(|| {
            let (queue, outgoing) = mpsc::unbounded_channel();
            tokio::spawn(run(self.channel.clone(), Arc::downgrade(&self.state), outgoing));
            queue
        });
        let _stream_is_over = queue.send(append);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs one stream until it breaks, or until the client is dropped.
async fn run(
    channel: Channel,
    state: Weak<Mutex<State>>,
    outgoing: mpsc::UnboundedReceiver<v1::NumberedAppend>,
) {
    let end = End(state);
    let requests = stream::unfold(outgoing, |mut outgoing| async {
        let request = gather(outgoing.recv().await?, &mut outgoing);
        Some((request, outgoing))
    });
    let mut outcomes = match log_client(channel).append_stream(requests).await {
        Ok(outcomes) => outcomes.into_inner(),
        Err(status) => return tracing::info!(%status, "stream of appends can't be opened"),
    };
    loop {
        match outcomes.message().await {
            Ok(Some(message)) => end.settle(message.outcomes),
            Ok(None) => return,
            Err(status) => return tracing::info!(%status, "stream of appends broke"),
        }
    }
}

/// The state that the task of the stream shares with the callers. When the task ends, so does every wait for an
/// outcome.
struct End(Weak<Mutex<State>>);

impl End {
    fn settle(&self, outcomes: Vec<v1::NumberedOutcome>) {
        let Some(state) = self.0.upgrade() else { return };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        for v1::NumberedOutcome { number, runs, error } in outcomes {
            let outcome = match error {
                Some(detail) => Err(error_of_detail(&detail, &detail.message)),
                None => {
                    let runs = runs.into_iter().map(Run::try_from).collect::<Result<_, _>>();
                    runs.map_err(|error| CallError::Unknown(error.to_string()))
                }
            };
            if let Some(decided) = state.waiting.remove(&number) {
                let _caller_gave_up = decided.send(outcome);
            }
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(state) = self.0.upgrade() {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.queue = None;
            state.waiting.clear();
        }
    }
}

/// A message of `first` and the appends that wait, within the bounds of a message.
fn gather(
    first: v1::NumberedAppend,
    outgoing: &mut mpsc::UnboundedReceiver<v1::NumberedAppend>,
) -> v1::AppendStreamRequest {
    let mut bytes = first.batch.len();
    let mut appends = vec![first];
    while bytes < MESSAGE_BYTES && appends.len() < MESSAGE_APPENDS {
        let Ok(next) = outgoing.try_recv() else { break };
        bytes += next.batch.len();
        appends.push(next);
    }
    v1::AppendStreamRequest { appends }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// How many appends are in each message, if appends of these sizes wait.
    fn messages(sizes: &[usize]) -> Vec<usize> {
        let (queue, mut outgoing) = mpsc::unbounded_channel();
        for (number, size) in (0..).zip(sizes) {
            let batch = Bytes::from(vec![0; *size]);
            let append = v1::NumberedAppend { number, group: 1, batch, ..Default::default() };
            queue.send(append).unwrap();
        }
        std::iter::from_fn(|| {
            let first = outgoing.try_recv().ok()?;
            Some(gather(first, &mut outgoing).appends.len())
        })
        .collect()
    }

    #[test]
    fn appends_that_wait_make_one_message_within_its_bounds() {
        assert_eq!(messages(&[10]), [1]);
        assert_eq!(messages(&[10; 40]), [40]);
        assert_eq!(messages(&[10; MESSAGE_APPENDS + 1]), [MESSAGE_APPENDS, 1]);
        assert_eq!(messages(&[MESSAGE_BYTES / 2; 5]), [2, 2, 1]);
        assert_eq!(messages(&[10 * MESSAGE_BYTES, 10]), [1, 1]);
    }
}
