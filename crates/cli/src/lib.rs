//! The commands that ask a running cluster: `anabranch ctl` ([`ctl`]) and `anabranch stream` ([`stream`]).
//!
//! Each command is a clap struct with the arguments and a function `run`. The binary `anabranch` parses the arguments
//! and calls `run`; nothing here starts a node. The commands speak gRPC to any node that answers. Only
//! `ctl certs`, `ctl master-key` and `ctl recover catalog` work on local files and ask no node.
//!
//! Other programs share three parts: [`TlsArgs`] (how to connect with TLS), [`ctl::certs`] (certificates, which
//! `anabranch dev` makes too) and [`cluster_file`] (`cluster.json`, which `dev` writes and these commands read).

pub mod cluster_file;
pub mod ctl;
mod reach;
mod replace;
pub mod stream;
mod tls_args;

pub use replace::replace_file;
pub use tls_args::TlsArgs;
