//! `anabranch stream tail`: prints records as they arrive.
//!
//! A reader task for each shard sends pages through one bounded queue, and one loop prints them. When a shard has
//! been read to its end, its children begin ([`Lineage`] decides). With `--from latest`, children are read from their
//! first record: nothing is skipped over a split. Aggregated records are taken apart; user records that belong to
//! another shard are left out, as the producer sends them there again.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::StreamId;
use anabranch_client::{Aggregate, Client, Error, Page, ShardRoute};
use anabranch_shard::{Position, Start};
use anabranch_types::{HashKeyRange, ShardId, StreamName, Timestamp, dates};
use anyhow::{Context, Result, bail};
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::stream::line::Line;
use crate::stream::lineage::{Lineage, is_over};
use crate::stream::view_with;

/// `anabranch stream tail`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The stream
    stream: StreamName,
    /// Where to begin: `latest`, `trim-horizon`, or a time, such as 2026-01-31T10:20:30Z or seconds since 1970
    #[arg(long, value_name = "WHERE", default_value = "latest", value_parser = parse_start)]
    from: Start,
    /// Only this shard, by its number or id
    #[arg(long, value_parser = parse_shard)]
    shard: Option<ShardId>,
    /// Prints a JSON object for each record, with its data in base64
    #[arg(long)]
    json: bool,
    /// Prints aggregated records without taking them apart
    #[arg(long)]
    raw: bool,
    /// Ends after N records
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

fn parse_start(text: &str) -> Result<Start, String> {
    match text {
        "latest" => Ok(Start::Latest),
        "trim-horizon" => Ok(Start::TrimHorizon),
        moment => parse_moment(moment)
            .map(Start::AtTimestamp)
            .ok_or_else(|| "neither latest nor trim-horizon nor a moment".into()),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` goes to the nearest number there is"
)]
fn parse_moment(text: &str) -> Option<Timestamp> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite());
    let moment = seconds.map(|seconds| Timestamp::from_millis((seconds * 1000.0).round() as u64));
    moment.or_else(|| dates::parse_iso_8601(text))
}

fn parse_shard(text: &str) -> Result<ShardId, String> {
    match text.parse() {
        Ok(number) => Ok(ShardId(number)),
        Err(_) => text.parse().map_err(|_| "neither a number nor an id of a shard".into()),
    }
}

/// Pages that may wait for the terminal.
const PAGES: usize = 8;
/// Shards whose start is looked up at the same time.
const SEEKS: usize = 64;
/// How often the catalog is checked when it reports no change.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Prints until `--count` records are printed, the only shard has ended, or the reader of the pipe is gone.
///
/// # Errors
/// When the stream does not exist or is deleted, and when a shard cannot be read.
pub(super) async fn run(client: Client, args: Args) -> Result<()> {
    let mut printer = Printer { json: args.json, raw: args.raw, left: args.count };
    let mut tail = Tail::begin(client, &args).await?;
    while printer.left != Some(0) {
        match tail.next().await? {
            Some((source, page)) => match printer.print(&source, &page) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
                printed => printed.context("writing to the standard output")?,
            },
            None => break,
        }
    }
    Ok(())
}

/// A shard that is being read, with its hash keys.
#[derive(Debug)]
struct Source {
    route: Arc<ShardRoute>,
    range: HashKeyRange,
}

/// A message from the reader of a shard.
enum Event {
    Page(Arc<Source>, Page),
    Ended(ShardId),
    Failed(ShardId, Error),
}

/// The readers of all shards; each reader is a task.
struct Tail {
    client: Client,
    stream: StreamName,
    id: StreamId,
    only: Option<ShardId>,
    /// Where the children of shards begin.
    later: Start,
    lineage: Lineage,
    events: mpsc::Receiver<Event>,
    sender: mpsc::Sender<Event>,
    readers: JoinSet<()>,
}

impl Tail {
    /// Looks up the start in every shard, then reports on stderr: every record put from then on is printed.
    async fn begin(client: Client, args: &Args) -> Result<Self> {
        let view = view_with(&client, &args.stream).await?;
        let found = view.stream(&args.stream).context("it was there")?;
        if let Some(shard) = args.shard.filter(|shard| found.shard(*shard).is_none()) {
            bail!("stream {} has no shard {shard}", args.stream);
        }
        let lineage = match args.from {
            Start::Latest => Lineage::from_open(found.stream),
            Start::TrimHorizon | Start::At(_) | Start::AtTimestamp(_) => Lineage::default(),
        };
        let (sender, events) = mpsc::channel(PAGES);
        let mut tail = Self {
            client,
            stream: args.stream.clone(),
            id: found.stream.id,
            only: args.shard,
            later: match args.from {
                Start::Latest => Start::TrimHorizon,
                start @ (Start::TrimHorizon | Start::At(_) | Start::AtTimestamp(_)) => start,
            },
            lineage,
            events,
            sender,
            readers: JoinSet::new(),
        };
        let count = tail.begin_shards(args.from).await?;
        let shards = if count == 1 { "shard" } else { "shards" };
        eprintln!("reading {count} {shards} of {}", args.stream);
        Ok(tail)
    }

    /// The next page with records; `None` when the only shard has ended.
    async fn next(&mut self) -> Result<Option<(Arc<Source>, Page)>> {
        loop {
            match self.events.recv().await.context("a sender is kept here")? {
                Event::Page(source, page) => return Ok(Some((source, page))),
                Event::Ended(_) if self.only.is_some() => return Ok(None),
                Event::Ended(shard) => {
                    self.lineage.end(shard);
                    self.begin_shards(self.later).await?;
                }
                Event::Failed(shard, error) => {
                    let name = &self.stream;
                    return Err(error).with_context(|| format!("reading {shard} of {name}"));
                }
            }
        }
    }

    /// Starts readers for the shards that can be read now; returns their number.
    async fn begin_shards(&mut self, start: Start) -> Result<usize> {
        let view = self.client.view();
        let found = view.stream(&self.stream).filter(|found| found.stream.id == self.id);
        let Some(found) = found else { bail!("stream {} is gone", self.stream) };
        let shards = match self.only {
            Some(only) => vec![only],
            None => self.lineage.begin(found.stream),
        };
        let sources = shards.iter().filter_map(|id| {
            let (route, shard) = (found.shard(*id)?, found.stream.shards.get(id)?);
            Some(Arc::new(Source { route: Arc::clone(route), range: shard.range }))
        });
        let client = &self.client;
        let seeks = stream::iter(sources).map(|source| async move {
            let from = client.seek(&source.route, start).await?;
            Ok::<_, Error>((source, from))
        });
        let begun: Result<Vec<_>, Error> = seeks.buffered(SEEKS).try_collect().await;
        let begun = begun.context("looking for where to begin")?;
        let count = begun.len();
        for (source, from) in begun {
            self.readers.spawn(read(self.client.clone(), source, from, self.sender.clone()));
        }
        Ok(count)
    }
}

/// Sends the pages of one shard, then the event that it has ended or failed.
async fn read(client: Client, source: Arc<Source>, from: Position, events: mpsc::Sender<Event>) {
    let shard = source.route.shard;
    let event = match read_pages(&client, source, from, &events).await {
        Ok(()) => Event::Ended(shard),
        Err(error) => Event::Failed(shard, error),
    };
    // When the command ends, the receiver is gone.
    let _ = events.send(event).await;
}

async fn read_pages(
    client: &Client,
    source: Arc<Source>,
    mut next: Position,
    events: &mpsc::Sender<Event>,
) -> Result<(), Error> {
    let mut pages = client.tail(&source.route, next);
    loop {
        let view = client.view();
        let found = view.stream(&source.route.stream);
        let found = found.filter(|found| found.stream.id == source.route.stream_id);
        match found.map(|found| found.stream.shards.get(&source.route.shard)) {
            None => return Err(Error::NotFound),
            Some(Some(shard)) if !is_over(shard, next) => {}
            // The shard has ended, or it has expired and is no longer listed.
            Some(_) => return Ok(()),
        }
        let page = tokio::select! {
            biased;
            page = pages.next() => page,
            () = client.newer_view(view.catalog().version, LOOK_AGAIN) => continue,
        };
        let Some(page) = page.transpose()? else { return Ok(()) };
        next = page.next;
        if page.record_count() > 0
            && events.send(Event::Page(Arc::clone(&source), page)).await.is_err()
        {
            return Ok(());
        }
    }
}

/// Writes records to the standard output.
struct Printer {
    json: bool,
    raw: bool,
    /// Records that may still be printed; `None` without a limit.
    left: Option<u64>,
}

impl Printer {
    fn print(&mut self, source: &Source, page: &Page) -> std::io::Result<()> {
        let mut lines = Vec::new();
        self.write(source, page, &mut lines);
        let mut out = std::io::stdout().lock();
        out.write_all(&lines)?;
        out.flush()
    }

    fn write(&mut self, source: &Source, page: &Page, out: &mut Vec<u8>) {
        let ShardRoute { shard, birth, .. } = *source.route;
        for (position, arrival, record) in page.records() {
            let number = position.sequence_number(shard, birth, arrival);
            let alone = Line {
                shard,
                number,
                place: None,
                arrival,
                partition_key: &record.partition_key,
                explicit_hash_key: None,
                data: &record.data,
            };
            let aggregate = if self.raw { None } else { Aggregate::parse(&record.data) };
            let Some(aggregate) = aggregate else {
                self.write_line(&alone, out);
                continue;
            };
            let records = aggregate.records();
            for user in records.filter(|user| source.range.contains(user.hash_key())) {
                let line = Line {
                    place: Some(user.place),
                    partition_key: &user.partition_key,
                    explicit_hash_key: user.explicit_hash_key,
                    data: &user.data,
                    ..alone
                };
                self.write_line(&line, out);
            }
        }
    }

    fn write_line(&mut self, line: &Line<'_>, out: &mut Vec<u8>) {
        if let Some(left) = &mut self.left {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => return,
            }
        }
        let text = if self.json { line.json() } else { line.text() };
        out.extend_from_slice(text.as_bytes());
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_word_or_a_time() {
        assert_eq!(parse_start("latest"), Ok(Start::Latest));
        assert_eq!(parse_start("trim-horizon"), Ok(Start::TrimHorizon));
        let at = |millis| Ok(Start::AtTimestamp(Timestamp::from_millis(millis)));
        assert_eq!(parse_start("2015-01-22T01:22:02Z"), at(1_421_889_722_000));
        assert_eq!(parse_start("1421889722.5"), at(1_421_889_722_500));
        for bad in ["", "yesterday", "nan", "inf", "2015-01-22"] {
            assert!(parse_start(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_shard_is_named_by_number_or_id() {
        assert_eq!(parse_shard("3"), Ok(ShardId(3)));
        assert_eq!(parse_shard("shardId-000000000003"), Ok(ShardId(3)));
        assert!(parse_shard("three").is_err());
    }
}
