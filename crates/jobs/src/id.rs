//! Names of jobs.

use std::fmt;

/// Names a job: background work that one node does at a time.
///
/// The key of its rows is `SERVICE/RESOURCE/PART` in UTF-8. No service and no resource contains a slash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId {
    /// The service that does the work: `functions`.
    pub service: String,
    /// The resource that the work belongs to: the id of a function mapping.
    pub resource: String,
    /// Part of the resource: the id of a shard.
    pub part: String,
}

impl JobId {
    /// Key of the job in the spaces of jobs.
    pub fn key(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    /// The job of a key. `None` if the key is of no job.
    pub fn of_key(key: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(key).ok()?.splitn(3, '/').map(ToOwned::to_owned);
        Some(Self { service: parts.next()?, resource: parts.next()?, part: parts.next()? })
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.service, self.resource, self.part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back() {
        let id =
            JobId { service: "functions".into(), resource: "7f3a".into(), part: "s/0-1".into() };
        assert_eq!(id.key(), b"functions/7f3a/s/0-1");
        assert_eq!(JobId::of_key(&id.key()), Some(id));
        assert_eq!(JobId::of_key(b"functions/7f3a"), None);
        assert_eq!(JobId::of_key(b"a/\xff/b"), None);
    }
}
