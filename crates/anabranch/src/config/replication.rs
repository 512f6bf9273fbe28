//! Section `[replication]` of a node's configuration.
//!
//! Every key is optional and keeps the default of [`ReplicaSettings`]. The check compares keys with each other: a
//! leader lease must be shorter than the silence after which other nodes elect a new leader, or two leaders could
//! answer reads.

use std::time::Duration;

use anabranch_replica::ReplicaSettings;
use anabranch_transport::TransportSettings;
use anabranch_types::NodeId;
use anyhow::bail;
use serde::Deserialize;

/// Section `[replication]`: [`ReplicaSettings`] with times in milliseconds. The meaning of each key is described
/// there.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RawReplicaSettings {
    pub(super) heartbeat_interval_ms: u64,
    pub(super) election_timeout_ms: u64,
    pub(super) leader_lease_ms: u64,
    pub(super) election_stagger_ms: u64,
    pub(super) checkpoint_interval_ms: u64,
    pub(super) maintenance_interval_ms: u64,
    pub(super) append_deadline_ms: u64,
    pub(super) append_bytes_in_flight: usize,
    pub(super) hand_over_limit_ms: u64,
    pub(super) catch_up_bytes_per_second: u64,
    pub(super) max_clock_skew_ms: u64,
}

impl Default for RawReplicaSettings {
    fn default() -> Self {
        let checked = ReplicaSettings::default();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            heartbeat_interval_ms: millis(checked.heartbeat_interval),
            election_timeout_ms: millis(checked.election_timeout),
            leader_lease_ms: millis(checked.leader_lease),
            election_stagger_ms: millis(checked.election_stagger),
            checkpoint_interval_ms: millis(checked.checkpoint_interval),
            maintenance_interval_ms: millis(checked.maintenance_interval),
            append_deadline_ms: millis(checked.append_deadline),
            append_bytes_in_flight: checked.append_bytes_in_flight,
            hand_over_limit_ms: millis(checked.hand_over_limit),
            catch_up_bytes_per_second: checked.catch_up_bytes_per_second,
            max_clock_skew_ms: millis(checked.max_clock_skew),
        }
    }
}

impl TryFrom<RawReplicaSettings> for ReplicaSettings {
    type Error = anyhow::Error;

    fn try_from(raw: RawReplicaSettings) -> anyhow::Result<Self> {
        let silence = TransportSettings::new(NodeId(1), 0, String::new()).silence;
        let settings = Self {
            heartbeat_interval: Duration::from_millis(raw.heartbeat_interval_ms),
            election_timeout: Duration::from_millis(raw.election_timeout_ms),
            leader_lease: Duration::from_millis(raw.leader_lease_ms),
            election_stagger: Duration::from_millis(raw.election_stagger_ms),
            checkpoint_interval: Duration::from_millis(raw.checkpoint_interval_ms),
            maintenance_interval: Duration::from_millis(raw.maintenance_interval_ms),
            append_deadline: Duration::from_millis(raw.append_deadline_ms),
            append_bytes_in_flight: raw.append_bytes_in_flight,
            hand_over_limit: Duration::from_millis(raw.hand_over_limit_ms),
            catch_up_bytes_per_second: raw.catch_up_bytes_per_second,
            max_clock_skew: Duration::from_millis(raw.max_clock_skew_ms),
            ..Self::default()
        };
        let rules = [
            ("heartbeat-interval-ms: must be above 0", !settings.heartbeat_interval.is_zero()),
            (
                "election-timeout-ms: must be above heartbeat-interval-ms",
                settings.election_timeout > settings.heartbeat_interval,
            ),
            (
                "leader-lease-ms: must be below the silence limit of 1000, or two leaders could answer",
                settings.leader_lease < silence,
            ),
            ("maintenance-interval-ms: must be above 0", !settings.maintenance_interval.is_zero()),
            ("append-deadline-ms: must be above 0", !settings.append_deadline.is_zero()),
            (
                "append-bytes-in-flight: must be 12582912 to 1073741824, so that the largest batch fits",
                (12 << 20..=1 << 30).contains(&settings.append_bytes_in_flight),
            ),
            ("catch-up-bytes-per-second: must be above 0", settings.catch_up_bytes_per_second > 0),
            (
                "max-clock-skew-ms: must be 100 to 60000",
                (100..=60_000).contains(&raw.max_clock_skew_ms),
            ),
        ];
        match rules.into_iter().find(|(_, kept)| !kept) {
            Some((rule, _)) => bail!(rule),
            None => Ok(settings),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_optional_and_has_a_default() {
        let raw: RawReplicaSettings = toml::from_str("checkpoint-interval-ms = 250").unwrap();
        let expected = ReplicaSettings {
            checkpoint_interval: Duration::from_millis(250),
            ..ReplicaSettings::default()
        };
        assert_eq!(ReplicaSettings::try_from(raw).unwrap(), expected);
        assert!(toml::from_str::<RawReplicaSettings>("checkpoint-interval = 1").is_err());
    }
}
