//! A worker over streams and tables in memory, with functions in memory and over HTTP.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod http;
mod memory;
mod worker;
