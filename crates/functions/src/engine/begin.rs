//! How the work begins. `run.rs` has its loop.
//!
//! A shard without a checkpoint gets one first, at the mapping's starting position. The source and the table are asked
//! again after an error, until the worker is told to stop.

use std::future::Future;
use std::pin::pin;

use tokio::time::sleep;

use crate::checkpoint::Checkpoint;
use crate::engine::parts::{CommitError, SourceError};
use crate::engine::run::Run;
use crate::engine::worker::{End, RETRY, Worker};

impl Worker {
    /// Works until the shard is finished, or until `stop` is ready.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> End {
        let mut stop = pin!(stop);
        let began = tokio::select! {
            biased;
            () = &mut stop => return End::Stopped,
            began = self.begin() => began,
        };
        match began {
            Ok(checkpoint) => Run::new(self, checkpoint).until(stop).await,
            Err(end) => end,
        }
    }

    /// The checkpoint to begin from. It is stored.
    async fn begin(&self) -> Result<Checkpoint, End> {
        let stored = self.again(|| self.checkpoints.load()).await?;
        if let Some(checkpoint) = stored {
            return Ok(checkpoint);
        }
        let position = loop {
            match self.source.seek(self.mapping.start.start()).await {
                Ok(position) => break position,
                Err(SourceError::Gone) => return Err(End::Gone),
                Err(error @ SourceError::Unavailable(_)) => {
                    tracing::warn!(shard = %self.names.shard(), %error, "function mapping");
                    sleep(RETRY).await;
                }
            }
        };
        let checkpoint = Checkpoint::at(position);
        self.again(|| self.checkpoints.commit(checkpoint.clone())).await?;
        Ok(checkpoint)
    }

    /// Repeats `attempt` until it succeeds, or until this worker is fenced.
    async fn again<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, End>
    where
        F: Future<Output = Result<T, CommitError>>,
    {
        loop {
            match attempt().await {
                Ok(value) => return Ok(value),
                Err(CommitError::Fenced) => return Err(End::Fenced),
                Err(error @ CommitError::Failed(_)) => {
                    tracing::warn!(shard = %self.names.shard(), %error, "function mapping");
                    sleep(RETRY).await;
                }
            }
        }
    }
}
