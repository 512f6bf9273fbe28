//! Delivery streams: records of a stream, or records that users put, go to object stores, each once.
//!
//! ```text
//! definition (a row) --job--> pipeline.rs: readers -> batch -> intent row -> objects -> commit
//!                                |            |         |                      |
//!                           readers.rs   stages.rs   intent.rs    upload.rs, stores.rs
//!                                        batch.rs
//! ```
//!
//! - [`Definition`] is a delivery stream as it is stored, [`Settings`] the meaning of its destination.
//! - [`Delivery`] (`work.rs`) is the work of the jobs: it creates, delivers and deletes.
//! - [`ObjectStores`] are the stores that the configuration of a node names.
//!
//! Invariants: a position moves only past records whose objects are all put. An object's name is a function of the
//! records in it, so a second attempt makes the same name, and the store keeps the first one. The API is the crate
//! `firehose`.

mod batch;
pub mod definition;
pub mod encryption;
pub mod intent;
mod metrics;
mod pipeline;
mod readers;
mod recovery;
pub mod rows;
pub mod settings;
mod spool;
mod stages;
pub mod stores;
mod upload;
mod work;

pub use definition::{Definition, Destination, Kind, Source, Status};
pub use settings::{Invalid, Settings};
pub use stores::ObjectStores;
pub use work::Delivery;
