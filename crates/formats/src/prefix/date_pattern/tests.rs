//! Patterns against values that Java 17 printed, and patterns that break.
//!
//! `java_dates.tsv` was made once by `DateTimeFormatter.ofPattern(pattern, Locale.US)`. Its first line has the
//! instants, in milliseconds since 1970, with their zones. Every other line has a pattern and a value for each
//! instant, or `refused`.

use anabranch_types::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::prefix::Zone;

const TABLE: &str = include_str!("java_dates.tsv");

fn print(pattern: &str, time: &Zoned) -> Result<String, PatternError> {
    let mut text = String::new();
    DatePattern::parse(pattern)?.print(time, &mut text);
    Ok(text)
}

fn instant(column: &str) -> Zoned {
    let (millis, zone) = column.split_once(' ').unwrap();
    Zone::parse(zone).unwrap().at(Timestamp::from_millis(millis.parse().unwrap()))
}

/// Patterns that Java accepts and this crate refuses.
fn is_refused_here_alone(pattern: &str) -> bool {
    pattern == "zzzz"
}

/// Java has names of its own for zones whose abbreviation in the tz database is a number, and for times long ago.
fn is_named_by_java_alone(pattern: &str, column: &str) -> bool {
    pattern.starts_with('z')
        && (column.ends_with("Asia/Kathmandu") || column.ends_with("Africa/Monrovia"))
}

#[test]
fn patterns_print_what_java_prints() {
    let mut lines = TABLE.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let columns = lines.next().unwrap();
    let times: Vec<Zoned> = columns[1..].iter().map(|column| instant(column)).collect();
    let mut differences = Vec::new();
    for line in lines {
        let pattern = line[0];
        if line[1] == "refused" || is_refused_here_alone(pattern) {
            if let Ok(text) = print(pattern, &times[0]) {
                differences.push(format!("{pattern} is not refused, but prints {text}"));
            }
            continue;
        }
        for ((time, expected), column) in times.iter().zip(&line[1..]).zip(&columns[1..]) {
            let actual = print(pattern, time);
            let same = actual.as_deref() == Ok(expected);
            if !same && !is_named_by_java_alone(pattern, column) {
                differences.push(format!("{pattern} at {column}: {actual:?}, not {expected}"));
            }
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn reasons_for_a_refusal() {
    let count = |letter, count| Err(PatternError::Count { letter, count });
    let cases = [
        ("yyyy-T", Err(PatternError::UnknownLetter('T'))),
        ("{", Err(PatternError::UnknownLetter('{'))),
        ("[yyyy]", Err(PatternError::NotSupported('['))),
        ("ppd", Err(PatternError::NotSupported('p'))),
        ("zzzz", count('z', 4)),
        ("HHH", count('H', 3)),
        ("cc", count('c', 2)),
        ("V", count('V', 1)),
        ("yyyy'", Err(PatternError::OpenQuote)),
    ];
    for (pattern, expected) in cases {
        assert_eq!(DatePattern::parse(pattern).map(|_| ()), expected, "{pattern}");
    }
}

proptest! {
    #[test]
    fn no_text_causes_a_panic(pattern: String, millis: u64) {
        let time = Zone::UTC.at(Timestamp::from_millis(millis));
        let _ = print(&pattern, &time);
    }

    #[test]
    fn letters_in_any_number_cause_no_panic(letter in "[a-zA-Z]", count in 0usize..24) {
        let time = Zone::parse("America/New_York").unwrap().at(Timestamp::from_millis(1 << 40));
        let _ = print(&letter.repeat(count), &time);
    }
}
