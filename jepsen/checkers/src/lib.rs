//! Judges the history of a chaos run.
//!
//! A history is a list of events on one clock: calls of clients, their outcomes, faults, and observations of the
//! harness. This crate defines the history with its two file formats (JSON lines and Jepsen's EDN), the payload of a
//! record, and the checkers. Everything is a pure function of its input: no clock, no randomness, no files, no
//! network. So one history always gets one verdict, wherever and whenever it is checked.

pub mod history;
pub mod payload;

pub use history::{Event, Header, History};
