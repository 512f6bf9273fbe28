use anabranch_types::Timestamp;
use jiff::Zoned;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// A `CustomTimeZone`. The zones are compiled in, so all nodes of one version agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// A `CustomTimeZone` that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown time zone: {0}")]
pub struct ZoneError(String);

impl Zone {
    /// UTC, the default.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// Finds a zone by its name in the tz database: `Europe/Berlin`. Case matters, as in Java. An empty name is UTC.
    ///
    /// # Errors
    ///
    /// Fails for a name that is not in the database.
    pub fn parse(name: &str) -> Result<Self, ZoneError> {
        if matches!(name, "" | "UTC") {
            return Ok(Self::UTC);
        }
        match TimeZoneDatabase::bundled().get(name) {
            Ok(zone) if zone.iana_name() == Some(name) => Ok(Self(zone)),
            Ok(_) | Err(_) => Err(ZoneError(name.to_owned())),
        }
    }

    /// Name in the tz database.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// `instant` as date and time of day in this zone. An instant after the year 9999 becomes the last instant of
    /// that year.
    pub(crate) fn at(&self, instant: Timestamp) -> Zoned {
        let millis = i64::try_from(instant.as_millis()).unwrap_or(i64::MAX);
        let latest = jiff::Timestamp::MAX;
        jiff::Timestamp::from_millisecond(millis).unwrap_or(latest).to_zoned(self.0.clone())
    }
}
