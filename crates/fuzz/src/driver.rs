//! Runs a target on its corpus and on mutations of it.
//!
//! 1. Try each input of the corpus.
//! 2. Mutate random inputs of the corpus until the limit, and try each result.
//! 3. Stop at the first panic and return the input. The caller writes it into the corpus.

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

/// When to stop mutating.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// After this number of mutations.
    Count(u64),
    /// After this time.
    Time(Duration),
}

/// Result of a run without a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Number of inputs in the corpus.
    pub corpus: usize,
    /// Number of mutations that were tried.
    pub mutations: u64,
    /// Longest time for one input.
    pub slowest: Duration,
}

/// An input that made a target panic.
#[derive(Clone, Debug)]
pub struct Crash {
    /// Name of the target.
    pub target: &'static str,
    /// The bytes.
    pub input: Vec<u8>,
}

impl Crash {
    /// Writes the input into the corpus of the target. The file name contains a hash of the input. Returns the path.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn keep(&self) -> Result<PathBuf> {
        let digest = Md5::digest(&self.input);
        let name: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let path = corpus_dir(self.target).join(format!("crash-{name}"));
        fs::create_dir_all(corpus_dir(self.target))?;
        fs::write(&path, &self.input).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

/// Folder with the corpus of a target.
pub fn corpus_dir(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// The corpus of a target, sorted by file name.
///
/// # Errors
/// Errors of the file system. A missing corpus is an error too.
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

/// Runs the target on one input. `false` if the target panics.
pub fn replay(target: &Target, input: &[u8]) -> bool {
    // A target has no state between two inputs, so a panic leaves nothing half done.
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
    fn an_input_that_panics_is_found_again_with_the_same_seed() {
        let target = Target { name: "picky", run: picky };
        let corpus = [b"nothing special".to_vec()];
        let found = |seed| drive(&target, &corpus, seed, Limit::Count(100_000)).unwrap_err().input;
        let input = found(1);
        assert!(input.contains(&0xfe));
        assert_eq!(found(1), input);
        assert!(!replay(&target, &input) && replay(&target, &corpus[0]));
    }
}
