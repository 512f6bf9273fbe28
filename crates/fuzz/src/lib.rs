//! Fuzzing: feeds random bytes to all code that reads bytes from outside.
//!
//! A [`Target`] is a function of bytes that panics if it finds an error. [`drive`] runs it on each file in
//! `corpus/NAME`, then on mutations of these files. The same seed makes the same mutations. An input that makes a
//! target panic is written into its corpus, so the tests try it from then on. Rename the file so that it says what
//! was wrong.
//!
//! The mutations do not know the code that they run through: coverage feedback needs an unstable compiler. So the
//! corpus must contain valid inputs, and a new kind of message needs a seed (`seeds.rs`). Start at [`TARGETS`].

mod driver;
mod mutate;
mod seeds;
mod targets;

pub use driver::{Crash, Limit, Stats, corpus_dir, drive, inputs, replay};
pub use seeds::write_seeds;
pub use targets::{TARGETS, Target};
