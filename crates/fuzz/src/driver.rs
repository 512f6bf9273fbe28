//! Feeds a target.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use md5::{Digest, Md5};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::mutate::mutated;
use crate::targets::Target;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// After so many mutations.
    Count(u64),
    /// After so long.
    Time(Duration),
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Inputs of the corpus.
    pub corpus: usize,
    /// Mutations.
    pub mutations: u64,
    /// The longest that one input took.
    pub slowest: Duration,
}

/// An input that made a target panic.
#[derive(Clone, Debug)]
pub struct Crash {
    /// The target's name.
    pub target: &'static str,
    /// The input.
    pub input: Vec<u8>,
}

impl Crash {
    /// Writes the input into the corpus, under a name of what is in it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep(&self) -> Result<PathBuf> {
        let digest = Md5::digest(&self.input);
        let name: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let path = corpus_dir(self.target).join(format!("crash-{name}"));
        fs::create_dir_all(corpus_dir(self.target))?;
        fs::write(&path, &self.input).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

/// Where the inputs of a target stand.
pub fn corpus_dir(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// The corpus of a target, in the order of its file names.
///
/// # Errors
/// What the file system says; a target without a corpus is one.
pub fn inputs(target: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let dir = corpus_dir(target);
    let entries = fs::read_dir(&dir).with_context(|| dir.display().to_string())?;
    let mut inputs = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        inputs.push((name, fs::read(&path)?));
    }
    inputs.sort();
    Ok(inputs)
}

/// Tries one input; `false` if the target panics.
pub fn replay(target: &Target, input: &[u8]) -> bool {
    // A target keeps nothing from one input to the next.
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_ok()
}

/// Tries the corpus, then mutations of it until `limit`.
///
/// # Errors
/// [`Crash`] with the first input that makes the target panic.
pub fn drive(target: &Target, corpus: &[Vec<u8>], seed: u64, limit: Limit) -> Result<Stats, Crash> {
    let mut stats = Stats { corpus: corpus.len(), mutations: 0, slowest: Duration::ZERO };
    let mut feed = |input: Vec<u8>| {
        let began = Instant::now();
        let is_well = replay(target, &input);
        stats.slowest = stats.slowest.max(began.elapsed());
        if is_well { Ok(()) } else { Err(Crash { target: target.name, input }) }
    };
    corpus.iter().cloned().try_for_each(&mut feed)?;
    let (mut random, began) = (StdRng::seed_from_u64(seed), Instant::now());
    let mut mutations = 0;
    while match limit {
        Limit::Count(count) => mutations < count,
        Limit::Time(time) => began.elapsed() < time,
    } {
        feed(mutated(corpus, &mut random))?;
        mutations += 1;
    }
    stats.mutations = mutations;
    Ok(stats)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picky(input: &[u8]) {
        assert!(!input.contains(&0xfe), "this one");
    }

    #[test]
    fn what_makes_a_target_panic_is_found_and_found_again() {
        let target = Target { name: "picky", run: picky };
        let corpus = [b"nothing special".to_vec()];
        let found = |seed| drive(&target, &corpus, seed, Limit::Count(100_000)).unwrap_err().input;
        let input = found(1);
        assert!(input.contains(&0xfe));
        assert_eq!(found(1), input);
        assert!(!replay(&target, &input) && replay(&target, &corpus[0]));
    }
}
