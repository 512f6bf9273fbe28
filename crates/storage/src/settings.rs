//! Settings of the segment store.
//!
//! A settings file is read into [`RawStorageSettings`], which has the keys as they are in the file. The conversion to
//! [`StorageSettings`] checks every rule, so a value that was read from a file is always valid. The error names the
//! key and the rule.

use std::time::Duration;

use crate::{
    Error,
    segment::{frame::MOVED_PREFIX_BYTES, round},
};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Settings of a [`crate::SegmentStore`]. A value that was read from a file is already checked. Other callers use
/// [`StorageSettings::check`].
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "RawStorageSettings")]
pub struct StorageSettings {
    /// Size of a segment file. Default: 128 MiB. From 64 KiB to 2 GiB, a multiple of 4 KiB.
    pub segment_bytes: u64,
    /// Bytes in the write queue above which callers wait for capacity. Default: 32 MiB. At most a quarter of a
    /// segment is used.
    pub queue_bytes: usize,
    /// Bytes of newest entries kept in memory, for all groups together. Default: 256 MiB.
    pub cache_bytes: usize,
    /// Empty segments kept ready. At least 2, because the last one is a reserve for a full disk. Default: 2. Surplus
    /// segments are deleted.
    pub free_segments: usize,
    /// Share of live bytes below which a sealed segment is copied forward. Default: 50 percent.
    pub copy_forward_below_percent: u8,
    /// How long this share must not have changed before the segment is copied forward. A segment whose entries are
    /// still being purged is not worth a copy. Default: 60 s.
    pub copy_forward_after: Duration,
    /// Speed limit of copying forward, in bytes per second. Default: 32 MiB.
    pub copy_forward_bytes_per_second: u64,
    /// Bytes of sealed segments, newest first, that are verified before the store opens. Default: 8 GiB. The scrub
    /// verifies the rest.
    pub verify_bytes_at_open: u64,
    /// Speed limit of the background scrub, in bytes per second. Default: 16 MiB.
    pub scrub_bytes_per_second: u64,
    /// How long one pass of the background scrub takes. A pass verifies everything once, and then the next pass
    /// begins. Default: one week. The pass after an opening runs without pauses between segments.
    pub scrub_period: Duration,
    /// Shortest time between two searches for segments to reclaim. Default: 200 ms.
    pub reclaim_interval: Duration,
    /// Bytes that all segment files together may take. The disk counts as full above that. Default: no limit.
    pub max_segment_bytes_total: Option<u64>,
    /// The disk is almost full, and takes no more records, when fewer segments than this are ready or can be made.
    /// Default: 4. At least 3. The segments between this number and the last one are for appends that are already
    /// under way.
    pub reserve_segments: usize,
    /// Time without progress after which the disk counts as stalled, and the node as silent. Default: 3 s. At least
    /// 100 ms.
    pub stall_limit: Duration,
    /// Bytes of the ballast, which is deleted when the disk is full. Default: 128 MiB. Segments leave another half of
    /// that free.
    pub ballast_bytes: u64,
}

impl Default for StorageSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 128 << 20,
            queue_bytes: 32 << 20,
            cache_bytes: 256 << 20,
            free_segments: 2,
            copy_forward_below_percent: 50,
            copy_forward_after: Duration::from_secs(60),
            copy_forward_bytes_per_second: 32 << 20,
            verify_bytes_at_open: 8 << 30,
            scrub_bytes_per_second: 16 << 20,
            scrub_period: WEEK,
            reclaim_interval: Duration::from_millis(200),
            max_segment_bytes_total: None,
            reserve_segments: 4,
            stall_limit: Duration::from_secs(3),
            ballast_bytes: 128 << 20,
        }
    }
}

impl StorageSettings {
    /// Largest payload of an entry that fits into a segment, also after the entry was copied forward with its prefix.
    #[must_use]
    pub fn payload_limit(&self) -> usize {
        let limit = round::payload_limit(self.segment_bytes);
        usize::try_from(limit).unwrap_or(usize::MAX) - MOVED_PREFIX_BYTES
    }

    /// Checks the rules of all values.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first key whose value breaks its rule.
    pub fn check(&self) -> Result<(), Error> {
        let rules = [
            (
                "segment-bytes",
                "must be 64 KiB to 2 GiB in whole blocks of 4 KiB",
                (64 << 10..=2 << 30).contains(&self.segment_bytes)
                    && self.segment_bytes.is_multiple_of(4096),
            ),
            ("queue-bytes", "must be above 0", self.queue_bytes > 0),
            ("free-segments", "must be at least 2", self.free_segments >= 2),
            ("reserve-segments", "must be at least 3", self.reserve_segments >= 3),
            (
                "copy-forward-below-percent",
                "must be at most 90",
                self.copy_forward_below_percent <= 90,
            ),
            (
                "copy-forward-bytes-per-second",
                "must be above 0",
                self.copy_forward_bytes_per_second > 0,
            ),
            (
                "stall-limit-ms",
                "must be at least 100",
                self.stall_limit >= Duration::from_millis(100),
            ),
            ("scrub-period-hours", "must be above 0", !self.scrub_period.is_zero()),
            ("scrub-bytes-per-second", "must be above 0", self.scrub_bytes_per_second > 0),
        ];
        match rules.into_iter().find(|(_, _, kept)| !kept) {
            Some((key, rule, _)) => Err(Error::Setting { key, rule }),
            None => Ok(()),
        }
    }
}

/// The keys of a settings file.
#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct RawStorageSettings {
    segment_bytes: u64,
    queue_bytes: usize,
    cache_bytes: usize,
    free_segments: usize,
    copy_forward_below_percent: u8,
    copy_forward_after_ms: u64,
    copy_forward_bytes_per_second: u64,
    verify_bytes_at_open: u64,
    scrub_bytes_per_second: u64,
    scrub_period_hours: u64,
    reclaim_interval_ms: u64,
    max_segment_bytes_total: Option<u64>,
    reserve_segments: usize,
    stall_limit_ms: u64,
    ballast_bytes: u64,
}

impl Default for RawStorageSettings {
    fn default() -> Self {
        let checked = StorageSettings::default();
        Self {
            segment_bytes: checked.segment_bytes,
            queue_bytes: checked.queue_bytes,
            cache_bytes: checked.cache_bytes,
            free_segments: checked.free_segments,
            copy_forward_below_percent: checked.copy_forward_below_percent,
            copy_forward_after_ms: 60_000,
            copy_forward_bytes_per_second: checked.copy_forward_bytes_per_second,
            verify_bytes_at_open: checked.verify_bytes_at_open,
            scrub_bytes_per_second: checked.scrub_bytes_per_second,
            scrub_period_hours: WEEK.as_secs() / 3600,
            reclaim_interval_ms: 200,
            max_segment_bytes_total: None,
            reserve_segments: checked.reserve_segments,
            stall_limit_ms: 3_000,
            ballast_bytes: checked.ballast_bytes,
        }
    }
}

impl TryFrom<RawStorageSettings> for StorageSettings {
    type Error = Error;

    fn try_from(raw: RawStorageSettings) -> Result<Self, Error> {
        let settings = Self {
            segment_bytes: raw.segment_bytes,
            queue_bytes: raw.queue_bytes,
            cache_bytes: raw.cache_bytes,
            free_segments: raw.free_segments,
            copy_forward_below_percent: raw.copy_forward_below_percent,
            copy_forward_after: Duration::from_millis(raw.copy_forward_after_ms),
            copy_forward_bytes_per_second: raw.copy_forward_bytes_per_second,
            verify_bytes_at_open: raw.verify_bytes_at_open,
            scrub_bytes_per_second: raw.scrub_bytes_per_second,
            scrub_period: Duration::from_secs(raw.scrub_period_hours.saturating_mul(3600)),
            reclaim_interval: Duration::from_millis(raw.reclaim_interval_ms),
            max_segment_bytes_total: raw.max_segment_bytes_total,
            reserve_segments: raw.reserve_segments,
            stall_limit: Duration::from_millis(raw.stall_limit_ms),
            ballast_bytes: raw.ballast_bytes,
        };
        settings.check()?;
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_satisfy_every_rule() {
        assert_eq!(StorageSettings::default().check(), Ok(()));
        assert_eq!(
            StorageSettings::try_from(RawStorageSettings::default()),
            Ok(StorageSettings::default())
        );
    }

    #[test]
    fn the_error_for_an_invalid_setting_names_its_key() {
        let settings = StorageSettings { segment_bytes: 100_000, ..StorageSettings::default() };
        let text = settings.check().unwrap_err().to_string();
        assert_eq!(text, "segment-bytes: must be 64 KiB to 2 GiB in whole blocks of 4 KiB");
    }
}
