//! Times as text: ISO 8601, the `Date` header of HTTP, signatures, and messages of the service.
//!
//! All texts are in UTC. Years from 1970 to 9999 are read. Writing never fails: a time after the year 9999 is written
//! as its last second, except in `service_text`, where the year gets more digits. Parsing never panics: it returns
//! `None`.

use crate::clock::Timestamp;

const DAY_SECONDS: i64 = 86_400;

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The last second of the year 9999.
const LATEST_SECONDS: u64 = 253_402_300_799;

/// `20260131T235959Z`, the form in signatures. A time after the year 9999 is written as its last second.
pub fn basic_text(moment: Timestamp) -> String {
    let ([year, month, day], [hour, minute, second]) = parts(moment);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// `2026-01-31T23:59:59Z`, without the milliseconds. A time after the year 9999 is written as its last second.
pub fn iso_8601_text(moment: Timestamp) -> String {
    let ([year, month, day], [hour, minute, second]) = parts(moment);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `2026-01-31T10:20:30.500Z`. A time after the year 9999 is written in its last second.
pub fn iso_8601(moment: Timestamp) -> String {
    let ([year, month, day], [hour, minute, second]) = parts(moment);
    let millis = moment.as_millis() % 1000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// `Thu Jan 22 01:22:02 UTC 2015`, the form in the message of ExpiredIteratorException.
pub fn service_text(moment: Timestamp) -> String {
    let seconds = i64::try_from(moment.as_secs()).unwrap_or(i64::MAX);
    let (days, second) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
    let (year, month, day) = civil_from_days(days);
    let weekday = DAYS[usize::try_from(days.rem_euclid(7)).unwrap_or(0)];
    let month = MONTHS[usize::try_from(month - 1).unwrap_or(0)];
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday} {month} {day:02} {hour:02}:{minute:02}:{second:02} UTC {year}")
}

fn parts(moment: Timestamp) -> ([i64; 3], [i64; 3]) {
    let seconds = i64::try_from(moment.as_secs().min(LATEST_SECONDS)).unwrap_or(0);
    let (year, month, day) = civil_from_days(seconds.div_euclid(DAY_SECONDS));
    let second = seconds.rem_euclid(DAY_SECONDS);
    ([year, month, day], [second / 3600, second / 60 % 60, second % 60])
}

/// Parses `20260131T235959Z`.
pub fn parse_basic(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let number = |range: std::ops::Range<usize>| digits(text.get(range)?);
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let date = [number(0..4)?, number(4..6)?, number(6..8)?];
    moment(date, [number(9..11)?, number(11..13)?, number(13..15)?], 0, 0)
}

/// Parses `Sun, 06 Nov 1994 08:49:37 GMT`, the `Date` header of HTTP. The day of the week is not checked.
pub fn parse_http(text: &str) -> Option<Timestamp> {
    let (_weekday, rest) = text.split_once(", ")?;
    let mut words = rest.split(' ');
    let day = digits(words.next()?)?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)?;
    let month = i64::try_from(month).ok()? + 1;
    let year = digits(words.next()?)?;
    let mut clock = words.next()?.splitn(3, ':').map(digits);
    let clock = [clock.next()??, clock.next()??, clock.next()??];
    if !matches!((words.next(), words.next()), (Some("GMT" | "+0000" | "-0000"), None)) {
        return None;
    }
    moment([year, month, day], clock, 0, 0)
}

/// Parses `2026-01-31T10:20:30.5Z`. The offset is `Z`, `+hh:mm` or `-hh:mm`. The fraction may be missing; digits
/// after the third are cut off.
pub fn parse_iso_8601(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once(['T', ' '])?;
    let mut date = date.splitn(3, '-').map(digits);
    let date = [date.next()??, date.next()??, date.next()??];
    let (clock, offset_minutes) = split_offset(time)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut clock = clock.splitn(3, ':').map(digits);
    let clock = [clock.next()??, clock.next()??, clock.next()??];
    moment(date, clock, offset_minutes, fraction_millis(fraction)?)
}

/// The time of a date `[year, month, day]` and a time of day `[hour, minute, second]`. `None` if a field is out of
/// range. The day may be up to 31 in any month: February 30 is taken as March 1 or 2. The second may be 60, for leap
/// seconds.
fn moment(
    [year, month, day]: [i64; 3],
    [hour, minute, second]: [i64; 3],
    offset_minutes: i64,
    millis: u64,
) -> Option<Timestamp> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * DAY_SECONDS
        + (hour * 60 + minute - offset_minutes) * 60
        + second;
    Some(Timestamp::from_millis(u64::try_from(seconds.max(0)).ok()? * 1000 + millis))
}

fn split_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let at = time.rfind(['+', '-'])?;
    let (clock, offset) = time.split_at(at);
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = offset.trim_start_matches(['+', '-']).split_once(':')?;
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (hours <= 18 && minutes <= 59).then_some((clock, sign * (hours * 60 + minutes)))
}

fn digits(text: &str) -> Option<i64> {
    let valid = (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if valid { text.parse().ok() } else { None }
}

fn fraction_millis(fraction: &str) -> Option<u64> {
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let padded: String = fraction.chars().chain("000".chars()).take(3).collect();
    padded.parse().ok()
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Counts years from March, so the leap day is the last one
/// of a year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day (the last two from 1) of a number of days since 1970-01-01.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn iso_8601_is_parsed() {
        let read = |text: &str| parse_iso_8601(text).map(Timestamp::as_millis);
        assert_eq!(read("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(read("2015-01-22T01:22:02Z"), Some(1_421_889_722_000));
        assert_eq!(read("2015-01-22T03:22:02.25+02:00"), Some(1_421_889_722_250));
        assert_eq!(read("2024-02-28T23:59:59.9999-00:00"), Some(1_709_164_799_999));
        for bad in ["", "2015", "2015-01-22", "2015-13-22T00:00:00Z", "2015-01-22T00:00:00", "x"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        for moment in [0, 1_421_889_722_250, 1_709_164_799_999] {
            assert_eq!(read(&iso_8601(Timestamp::from_millis(moment))), Some(moment));
        }
    }

    #[test]
    fn service_texts_have_the_form_of_the_service() {
        let moment = |seconds: u64| service_text(Timestamp::from_millis(seconds * 1000));
        assert_eq!(moment(1_421_889_722), "Thu Jan 22 01:22:02 UTC 2015");
        assert_eq!(moment(0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(moment(1_709_164_799), "Wed Feb 28 23:59:59 UTC 2024");
        assert_eq!(moment(1_709_251_199), "Thu Feb 29 23:59:59 UTC 2024");
    }

    #[test]
    fn the_latest_timestamp_is_written_without_a_panic() {
        assert!(service_text(Timestamp::from_millis(u64::MAX)).contains("UTC"));
    }

    #[test]
    fn dates_of_signatures_and_of_http_are_parsed_and_written() {
        let leap = Timestamp::from_millis(951_868_799_000);
        assert_eq!(basic_text(leap), "20000229T235959Z");
        assert_eq!(iso_8601_text(leap), "2000-02-29T23:59:59Z");
        assert_eq!(parse_basic("20000229T235959Z"), Some(leap));
        assert_eq!(parse_http("Tue, 29 Feb 2000 23:59:59 GMT"), Some(leap));
        for bad in
            ["", "20000229T235959", "20000229t235959Z", "2000022 T235959Z", "é0000229T23595Z"]
        {
            assert_eq!(parse_basic(bad), None, "{bad}");
        }
        for bad in
            ["", "Tue, 29 Feb 2000", "Tue, 29 Feb 2000 23:59:59 CET", "Tue, 29 Foo 2000 1:1:1 GMT"]
        {
            assert_eq!(parse_http(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn written_times_parse_to_the_same_second(seconds in 0..=LATEST_SECONDS) {
            let moment = Timestamp::from_millis(seconds * 1000);
            prop_assert_eq!(parse_basic(&basic_text(moment)), Some(moment));
            prop_assert_eq!(parse_iso_8601(&iso_8601_text(moment)), Some(moment));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in ".{0,40}", moment in any::<u64>()) {
            let _ = (parse_basic(&text), parse_http(&text), parse_iso_8601(&text));
            let moment = Timestamp::from_millis(moment);
            prop_assert_eq!(basic_text(moment).len(), 16);
        }
    }
}
