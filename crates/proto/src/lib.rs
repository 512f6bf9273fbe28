//! Messages on the wire and on disk, generated from `/proto`, and their conversions.
//!
//! Only the crates of layers 2 and 3, the native client, and `ctl` (for `admin`) use these types. All other crates
//! use the types of `types`, `shard` and `catalog`. A conversion inwards checks the message: the result has only
//! valid names, ranges and numbers. Fields are added to messages and never changed, so that nodes of different
//! releases understand each other.

mod catalog;
mod codec;
mod log;

pub use catalog::{
    decode_catalog, decode_catalog_after, decode_command, decode_outcome, encode_catalog,
    encode_catalog_without_users, encode_command, encode_outcome,
};
pub use log::{key_error_kind, key_fault};

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
    /// `anabranch.catalog.v1`: the catalog and its commands, stored and sent.
    pb_catalog = "anabranch.catalog.v1"
);

/// Reason why a message cannot be converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not a message of this type.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// A required field, which the text names, is absent.
    #[error("{0}: missing")]
    Missing(&'static str),
    /// The value of a field is not allowed.
    #[error("{field}: {rule}")]
    Invalid {
        /// Name of the field.
        field: &'static str,
        /// Rule that the value breaks.
        rule: String,
    },
}

impl From<prost::DecodeError> for Error {
    fn from(error: prost::DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}
