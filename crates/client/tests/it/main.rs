//! The client against a cluster in memory.

#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]

mod stream_reader;
