//! How a job goes: what its owner last said, in the space [`SPACE`]. For operators and for the balance of nodes; no
//! rule of ownership depends on it.

use anabranch_types::Timestamp;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Name of the space with the status of jobs. Stored: never change it.
pub(crate) const SPACE: &str = "jobs/status";

/// Figures that the work of a job gives about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Age of the oldest record that is not finished, in milliseconds. `None` if the work does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_millis: Option<u64>,
    /// Work of the last minute, in KiB a second.
    #[serde(default)]
    pub load: u64,
}

/// The status of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Figures that the work gives about itself.
    #[serde(flatten)]
    pub report: Report,
    /// How often the work has failed since it last went well for a minute.
    #[serde(default)]
    pub failures: u32,
    /// Why the work last failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When the work last failed, in milliseconds since 1970.
    #[serde(default)]
    pub failed_millis: u64,
    /// When this was written, in milliseconds since 1970.
    #[serde(default)]
    pub written_millis: u64,
}

impl JobStatus {
    /// Most bytes of an error's text. The rest is cut off.
    const MAX_ERROR_BYTES: usize = 1000;

    /// The stored form.
    pub(crate) fn encode(&self) -> Bytes {
        // All values have a JSON form.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Reads the stored form. A status that can't be read says nothing.
    pub fn decode(value: &[u8]) -> Self {
        serde_json::from_slice(value).unwrap_or_default()
    }

    pub(crate) fn fail(&mut self, mut error: String, now: Timestamp) {
        error.truncate(error.floor_char_boundary(Self::MAX_ERROR_BYTES));
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(error);
        (self.failed_millis, self.written_millis) = (now.as_millis(), now.as_millis());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_statuses_read_back() {
        let report = Report { lag_millis: Some(20), load: 7 };
        let mut status = JobStatus { report, ..JobStatus::default() };
        status.fail("é".repeat(600), Timestamp::from_millis(9));
        let read = JobStatus::decode(&status.encode());
        assert_eq!(read, status);
        assert_eq!(read.last_error.map(|text| text.len()), Some(1000));
        assert_eq!(JobStatus::decode(b"garbage"), JobStatus::default());
        assert_eq!(JobStatus::decode(b"{\"of a later release\":1}"), JobStatus::default());
    }
}
