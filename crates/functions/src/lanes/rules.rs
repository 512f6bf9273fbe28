use std::sync::Arc;
use std::time::Duration;

use crate::event::EventSource;
use crate::mapping::Mapping;

/// The rules of all lanes.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) mapping: Arc<Mapping>,
    pub(super) source: EventSource,
    /// Records of a higher age are discarded.
    pub(super) longest_age: Duration,
}
