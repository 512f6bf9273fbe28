//! Tests of the public interface: file formats, and the rules on hand-made and on generated histories.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, and looks at one kind of event at a time"
)]

mod edn;
mod formats;
mod planted;
mod script;
