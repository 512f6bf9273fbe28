//! A reader: follows one shard after the other from a random position. It prefers shards that it has not seen.

use std::collections::BTreeSet;
use std::time::Duration;

use chaos_checkers::history::{IterStart, Millis, Page, ShardId, StreamName};
use rand::Rng;
use rand::seq::IteratorRandom;
use tokio::time::sleep;

use crate::kinesis::Failure;
use crate::operations::Iterator;
use crate::session::Session;

/// Pages after which a reader goes to another shard.
const PAGES: u32 = 60;
/// Longest pause between two reads.
const PAUSE_MILLIS: u64 = 60;

/// A reader of one stream.
pub(super) struct Reader {
    session: Session,
    stream: StreamName,
    seen: BTreeSet<ShardId>,
    /// A record that was seen, from which a later chain may begin.
    mark: Option<(ShardId, chaos_checkers::history::Seq, Millis)>,
}

impl Reader {
    pub(super) fn new(session: Session, stream: StreamName) -> Self {
        Self { session, stream, seen: BTreeSet::new(), mark: None }
    }

    /// Reads until the run ends.
    pub(super) async fn run(mut self) {
        while self.session.scene.goes_on() {
            self.session.move_about();
            if self.chain().await.is_err() {
                self.pause().await;
            }
        }
    }

    async fn pause(&mut self) {
        let pause = self.session.random.random_range(1..PAUSE_MILLIS);
        sleep(Duration::from_millis(pause)).await;
    }

    /// Reads one shard for a while.
    async fn chain(&mut self) -> Result<(), Failure> {
        let shards = self.session.shards(&self.stream).await?.shards;
        let unseen = shards.iter().filter(|shard| !self.seen.contains(&shard.shard));
        let shard = unseen.choose(&mut self.session.random);
        let Some(shard) = shard.or_else(|| shards.iter().choose(&mut self.session.random)) else {
            return Ok(());
        };
        let shard = shard.shard.clone();
        self.seen.insert(shard.clone());
        let start = self.start(&shard);
        let mut iterator = self.session.iter(&self.stream, &shard, start).await?;
        for _ in 0..PAGES {
            if !self.session.scene.goes_on() {
                break;
            }
            let (page, next) = self.read(iterator).await?;
            self.remember(&shard, &page);
            match next {
                Some(next) => iterator = next,
                None => break,
            }
            self.pause().await;
        }
        Ok(())
    }

    /// Reads a page. A read has no effect, so it is made again with the same iterator.
    async fn read(&mut self, iterator: Iterator) -> Result<(Page, Option<Iterator>), Failure> {
        loop {
            match self.session.get(iterator.clone()).await {
                Err(failure) if self.session.scene.goes_on() && !is_final(&failure) => {
                    self.pause().await
                }
                result => return result,
            }
        }
    }

    fn start(&mut self, shard: &ShardId) -> IterStart {
        let mark = self.mark.as_ref().filter(|(marked, ..)| marked == shard);
        match (self.session.random.random_range(0..8), mark) {
            (0, _) => IterStart::Latest,
            (1, Some((_, seq, _))) => IterStart::AtSequenceNumber(*seq),
            (2, Some((_, seq, _))) => IterStart::AfterSequenceNumber(*seq),
            (3, Some((_, _, time))) => IterStart::AtTimestamp(*time),
            _ => IterStart::TrimHorizon,
        }
    }

    fn remember(&mut self, shard: &ShardId, page: &Page) {
        if let Some(record) = page.records.iter().choose(&mut self.session.random) {
            self.mark = Some((shard.clone(), record.seq, record.ts));
        }
    }
}

/// Whether a read with the same iterator can't succeed any more.
fn is_final(failure: &Failure) -> bool {
    let reason = failure.reason();
    ["ExpiredIteratorException", "ResourceNotFoundException", "InvalidArgumentException"]
        .iter()
        .any(|code| reason.starts_with(code))
}
