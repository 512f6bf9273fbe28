//! Splits and merges of random shards, as calls of the Kinesis API.

use anyhow::{Context, Result, anyhow, bail};
use chaos_checkers::history::{HashKey, Merge, Scale, Shard, Split, StreamName};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::kinesis::Failure;
use crate::scene::Scene;

/// Beginning of the names of streams that may be resharded.
pub(crate) const PREFIX: &str = "resharded-";
/// A stream with this number of open shards is merged and not split.
const MOST: usize = 6;

/// Splits or merges one random shard of the stream, or scales it. Returns what was done.
pub(crate) async fn one(scene: &Scene, random: &mut StdRng, stream: &StreamName) -> Result<String> {
    let mut session = scene.session("reshard", random.random());
    let failed = |failure: Failure| anyhow!("{}", failure.reason().to_owned());
    let shards = session.shards(stream).await.map_err(failed)?.shards;
    let mut open: Vec<&Shard> = shards.iter().filter(|shard| shard.end.is_none()).collect();
    open.sort_by_key(|shard| shard.range.start);
    let merges = open.len() >= MOST || (open.len() > 1 && random.random_ratio(2, 5));
    if random.random_ratio(1, 6) {
        let count = random.random_range(1..=MOST);
        let scale = Scale { stream: stream.clone(), count: u32::try_from(count)? };
        session.scale(scale).await.map_err(failed)?;
        return Ok(format!("scaled to {count}"));
    }
    if merges {
        let pairs: Vec<_> = open.windows(2).collect();
        let [left, right] = pairs.choose(random).context("no pair of shards")? else {
            bail!("no pair of shards")
        };
        let (a, b) = (left.shard.clone(), right.shard.clone());
        let said = format!("{a} and {b} merged");
        session.merge(Merge { stream: stream.clone(), a, b }).await.map_err(failed)?;
        return Ok(said);
    }
    let shard = open.choose(random).context("no open shard")?;
    let (low, high) = (shard.range.start.0, shard.range.end.0);
    if low + 1 >= high {
        bail!("{} has too few hash keys to be split", shard.shard);
    }
    // The middle half, so that no shard becomes too narrow to be split again.
    let quarter = (high - low) / 4;
    let at = HashKey(random.random_range(low + quarter.max(1)..=high - quarter));
    let split = Split { stream: stream.clone(), shard: shard.shard.clone(), at };
    session.split(split).await.map_err(failed)?;
    Ok(format!("{} split", shard.shard))
}
