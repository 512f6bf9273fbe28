//! The workloads, one file each, and the pieces that they share.

pub(crate) mod access;
pub(crate) mod catalog;
pub(crate) mod consumers;
pub(crate) mod encrypted;
pub(crate) mod leases;
mod producer;
pub(crate) mod push;
mod reader;
pub(crate) mod records;
pub(crate) mod retention;
pub(crate) mod retries;
pub(crate) mod tables;
mod turns;
