use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The default filter: warnings, and only errors of openraft, h2 and hyper. Two modules of openraft log as an error
/// that a group was stopped, which also happens when a stream is deleted or a node stops. They are silent: if a group
/// stops by itself, openraft's core and the node that replaces the replica log it.
const DEFAULT_LOG: &str =
    "warn,openraft=error,openraft::raft=off,openraft::core::heartbeat=off,h2=error,hyper=error";

/// Logs to stderr, filtered by `ANABRANCH_LOG` or else by [`DEFAULT_LOG`].
pub(crate) fn init() {
    let filter =
        EnvFilter::try_from_env("ANABRANCH_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    let _was_set_already = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}
