//! The functions that are fuzzed.

mod access;
pub(crate) mod catalog;
mod gateway;
mod log;
mod names;
mod nodes;

/// A function of bytes that panics if it finds an error.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of the target and of its corpus.
    pub name: &'static str,
    /// The function.
    pub run: fn(&[u8]),
}

/// All targets. Targets for bytes from clients come first, then targets for bytes from other nodes and from the disk.
pub const TARGETS: &[Target] = &[
    Target { name: "gateway-call", run: gateway::call },
    Target { name: "gateway-form", run: gateway::form },
    Target { name: "gateway-gzip", run: gateway::gzip },
    Target { name: "signature", run: access::signature },
    Target { name: "policy", run: access::policy },
    Target { name: "session", run: access::session },
    Target { name: "gateway-token", run: gateway::token },
    Target { name: "gateway-event-stream", run: gateway::event_stream },
    Target { name: "names", run: names::names },
    Target { name: "aggregate", run: log::aggregate },
    Target { name: "batch", run: log::batch },
    Target { name: "shard-command", run: log::command },
    Target { name: "log-entry", run: log::entry },
    Target { name: "native-messages", run: nodes::native },
    Target { name: "replica-messages", run: nodes::replica },
    Target { name: "catalog-command", run: catalog::command },
    Target { name: "catalog-outcome", run: catalog::outcome },
    Target { name: "catalog", run: catalog::catalog },
];
