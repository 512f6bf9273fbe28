//! The client against a cluster in memory, and against real nodes.

#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]

mod stream_reader;
mod watched_rows;
