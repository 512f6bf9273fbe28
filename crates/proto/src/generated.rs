//! The messages that `build.rs` generates from `/proto`, one module for each package.

/// A module of generated messages. Our lints do not apply to it.
macro_rules! generated {
    ($(#[doc = $doc:literal])* $name:ident = $package:literal) => {
        $(#[doc = $doc])*
        pub mod $name {
            #![allow(
                missing_docs,
                clippy::all,
                clippy::pedantic,
                clippy::allow_attributes_without_reason,
                unreachable_pub,
                reason = "generated"
            )]
            tonic::include_proto!($package);
        }
    };
}

generated!(
    /// `anabranch.v1`: the native API, for clients.
    v1 = "anabranch.v1"
);
generated!(
    /// `anabranch.replica.v1`: messages of Raft between nodes.
    replica = "anabranch.replica.v1"
);
generated!(
    /// `anabranch.node.v1`: all other messages between nodes.
    node = "anabranch.node.v1"
);
generated!(
    /// `anabranch.admin.v1`: the API for operators.
    admin = "anabranch.admin.v1"
);
generated!(
    /// `anabranch.table.v1`: calls on table groups, between nodes.
    table = "anabranch.table.v1"
);
generated!(
    /// `anabranch.catalog.v1`: the catalog and its commands, stored and sent.
    pb_catalog = "anabranch.catalog.v1"
);
generated!(
    /// `anabranch.job.v1`: jobs of services, for operators.
    job = "anabranch.job.v1"
);
generated!(
    /// `anabranch.function.v1`: functions and mappings, for operators.
    function = "anabranch.function.v1"
);
generated!(
    /// `anabranch.consumer.v1`: consumer groups, for clients and operators.
    consumer = "anabranch.consumer.v1"
);
