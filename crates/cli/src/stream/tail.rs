//! `anabranch stream tail`: prints records as they come.

use std::io::{ErrorKind, Write};
use std::sync::Arc;

use anabranch_client::{Client, ReadError, ShardPage, StreamReader};
use anabranch_shard::Start;
use anabranch_types::{ShardId, StreamName, Timestamp, dates};
use anyhow::{Context, Result};

use crate::stream::line::Line;

/// `anabranch stream tail`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The stream
    stream: StreamName,
    /// Where to begin: `latest`, `trim-horizon`, or a moment, as in 2026-01-31T10:20:30Z or in seconds since 1970
    #[arg(long, value_name = "WHERE", default_value = "latest", value_parser = parse_start)]
    from: Start,
    /// Only this shard, by its number or id
    #[arg(long, value_parser = parse_shard)]
    shard: Option<ShardId>,
    /// Prints a JSON object for each record, with its data in base64
    #[arg(long)]
    json: bool,
    /// Prints aggregated records as they are
    #[arg(long)]
    raw: bool,
    /// Ends after so many records
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

/// Prints until `--count` records are printed, the only shard has ended, or nobody reads the output.
///
/// # Errors
/// When there is no such stream, when it is deleted meanwhile, and when a shard can't be read.
pub(super) async fn run(client: Client, args: Args) -> Result<()> {
    let mut printer = Printer { json: args.json, raw: args.raw, left: args.count };
    let mut reader = begin(client, &args).await?;
    // From here on every record that is put is printed: scripts wait for this line.
    let count = reader.shards_being_read();
    let shards = if count == 1 { "shard" } else { "shards" };
    eprintln!("reading {count} {shards} of {}", args.stream);
    while printer.left != Some(0) {
        let Some(page) = reader.next().await? else { break };
        match printer.print(&page) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            printed => printed.context("writing to the standard output")?,
        }
    }
    Ok(())
}

async fn begin(client: Client, args: &Args) -> Result<StreamReader, ReadError> {
    let cluster = Arc::new(client);
    match args.shard {
        Some(shard) => StreamReader::begin_shard(cluster, &args.stream, shard, args.from).await,
        None => StreamReader::begin(cluster, &args.stream, args.from).await,
    }
}

/// Writes records to the standard output.
struct Printer {
    json: bool,
    raw: bool,
    /// How many more.
    left: Option<u64>,
}

impl Printer {
    fn print(&mut self, page: &ShardPage) -> std::io::Result<()> {
        let mut lines = Vec::new();
        self.write(page, &mut lines);
        let mut out = std::io::stdout().lock();
        out.write_all(&lines)?;
        out.flush()
    }

    fn write(&mut self, page: &ShardPage, out: &mut Vec<u8>) {
        if self.raw {
            page.stored_records().for_each(|record| self.write_line(&Line::of(&record), out));
        } else {
            page.records().for_each(|record| self.write_line(&Line::of(&record), out));
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
    fn beginnings_are_words_or_moments() {
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
    fn shards_are_named_by_number_or_id() {
        assert_eq!(parse_shard("3"), Ok(ShardId(3)));
        assert_eq!(parse_shard("shardId-000000000003"), Ok(ShardId(3)));
        assert!(parse_shard("three").is_err());
    }
}
