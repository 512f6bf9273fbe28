pub use anabranch_client::{Cluster, Pages};
