//! Moments as text in the service's form.

use anabranch_access::calendar::{DAY_SECONDS, civil_from_days};
use anabranch_types::Timestamp;

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Thu Jan 22 01:22:02 UTC 2015`, as the service writes it in ExpiredIteratorException.
pub(crate) fn service_text(moment: Timestamp) -> String {
    let seconds = i64::try_from(moment.as_secs()).unwrap_or(i64::MAX);
    let (days, second) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
    let (year, month, day) = civil_from_days(days);
    let weekday = DAYS[usize::try_from(days.rem_euclid(7)).unwrap_or(0)];
    let month = MONTHS[usize::try_from(month - 1).unwrap_or(0)];
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday} {month} {day:02} {hour:02}:{minute:02}:{second:02} UTC {year}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_the_service_writes_them() {
        let moment = |seconds: u64| service_text(Timestamp::from_millis(seconds * 1000));
        assert_eq!(moment(1_421_889_722), "Thu Jan 22 01:22:02 UTC 2015");
        assert_eq!(moment(0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(moment(1_709_164_799), "Wed Feb 28 23:59:59 UTC 2024");
        assert_eq!(moment(1_709_251_199), "Thu Feb 29 23:59:59 UTC 2024");
    }

    #[test]
    fn the_farthest_moment_is_written_without_a_panic() {
        assert!(service_text(Timestamp::from_millis(u64::MAX)).contains("UTC"));
    }
}
