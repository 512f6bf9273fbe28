//! Everything that reads bytes from outside, fed with bytes that nobody would send.
//!
//! A [`Target`] is a plain function of bytes that panics where something is wrong. [`drive`] feeds it with the inputs that
//! stand in `corpus/NAME`, then with mutations of them, from a seed: the same seed, the same inputs. What makes a target
//! panic is written into its corpus, and so is tried by the tests from then on: give it a name that says what it was.
//!
//! A mutation knows nothing of the code that it goes through, for that takes a compiler that isn't stable. So what is good
//! must stand in the corpus: a new kind of message needs a seed (`seeds.rs`).
//! Start at [`TARGETS`].

mod driver;
mod mutate;
mod seeds;
mod targets;

pub use driver::{Crash, Limit, Stats, corpus_dir, drive, inputs, replay};
pub use seeds::write_seeds;
pub use targets::{TARGETS, Target};
