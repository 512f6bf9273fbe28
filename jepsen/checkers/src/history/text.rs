//! Values that are text in files: names of streams and shards, and the identity of a record.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Reads and writes a type as its text.
macro_rules! serde_as_text {
    ($($type:ty),*) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
pub(super) use serde_as_text;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

names! {
    /// Name of a stream.
    StreamName;
    /// Id of a shard, such as `shardId-000000000003`. It is unique within its stream only.
    ShardId;
}

/// Identity of a record, which its payload carries: the process that put it, and a counter of that process. In files
/// `7-42`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid {
    /// The process that put the record.
    pub process: u64,
    /// Counts the records of the process.
    pub counter: u64,
}

/// The text is not `PROCESS-COUNTER`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the identity of a record (PROCESS-COUNTER): {0:?}")]
pub struct NotAUid(String);

impl Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.process, self.counter)
    }
}

impl FromStr for Uid {
    type Err = NotAUid;

    fn from_str(text: &str) -> Result<Self, NotAUid> {
        let error = || NotAUid(text.to_owned());
        let (process, counter) = text.split_once('-').ok_or_else(error)?;
        let number = |text: &str| text.parse().map_err(|_| error());
        Ok(Self { process: number(process)?, counter: number(counter)? })
    }
}

serde_as_text!(Uid);
