//! The wire and disk messages, generated from `/proto`, and their conversions.
//!
//! Only the crates of layers 2 and 3, the native client, and `ctl` (those of `admin`) see these types;
//! everyone else works with the types of `types`, `shard` and `catalog`. Conversions check: a message that converts
//! holds only valid names, ranges and numbers.

mod catalog;
mod codec;
mod log;

pub use catalog::{
    decode_catalog, decode_catalog_after, decode_command, decode_outcome, encode_catalog,
    encode_catalog_without_users, encode_command, encode_outcome,
};
pub use log::{key_error_kind, key_fault};

/// A module of generated messages, which keeps no rule of ours.
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
    /// `anabranch.v1`: the native API.
    v1 = "anabranch.v1"
);
generated!(
    /// `anabranch.replica.v1`: between nodes.
    replica = "anabranch.replica.v1"
);
generated!(
    /// `anabranch.node.v1`: between nodes, beside the replicas' messages.
    node = "anabranch.node.v1"
);
generated!(
    /// `anabranch.admin.v1`: for operators.
    admin = "anabranch.admin.v1"
);
generated!(
    /// `anabranch.catalog.v1`: the catalog, stored and sent.
    pb_catalog = "anabranch.catalog.v1"
);

/// Why a message can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not the message.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// A field that must be there isn't.
    #[error("{0}: missing")]
    Missing(&'static str),
    /// A field holds what it can't.
    #[error("{field}: {rule}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// The rule that it breaks.
        rule: String,
    },
}

impl From<prost::DecodeError> for Error {
    fn from(error: prost::DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}
