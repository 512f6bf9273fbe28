//! Date patterns as Java's `DateTimeFormatter.ofPattern(text, Locale.US)` reads and prints them.
//!
//! The names are English, and weeks are those of the United States: they begin on Sunday, and the week of January 1 is
//! week 1. So `YYYY` is the year of the week, and differs from `yyyy` in the last days of some Decembers. Java 17 made
//! the table `java_dates.tsv` that the tests compare with.
//!
//! Differences from Java:
//! - `z` prints the abbreviation of the tz database. Java has names of its own for zones whose abbreviation there is a
//!   number. `zzzz`, the long name of the zone, is refused.
//! - Refused as well: optional sections (`[`, `]`), padding (`p`), `B`, `F`, `g` and `v`. Their meaning differs
//!   between versions of Java, or they make no sense in a key.
//! - `DD` prints three digits from day 100 on. Java 8 fails there.

use std::fmt::Write as _;

use jiff::Zoned;
use jiff::civil::{Date, Weekday};

/// A pattern that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DatePattern(Vec<Item>);

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not a letter of patterns, or a reserved character.
    #[error("unknown pattern letter: {0}")]
    UnknownLetter(char),
    /// A letter of Java that is not supported here.
    #[error("pattern letter is not supported: {0}")]
    NotSupported(char),
    /// A letter that may not be repeated that often.
    #[error("{count} pattern letters {letter} in a row")]
    Count {
        /// The letter.
        letter: char,
        /// How often it is there.
        count: usize,
    },
    /// A quote without a second one.
    #[error("pattern ends with an incomplete string literal")]
    OpenQuote,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Literal(String),
    /// A least number of digits, with zeros in front.
    Number(Field, usize),
    /// The last two digits of a year.
    TwoDigits(Field),
    /// The first digits of the fraction of a second.
    Fraction(usize),
    Text(Names, Width),
    Offset(OffsetStyle),
    /// `GMT+1` or `GMT+01:00`.
    LocalizedOffset(Width),
    ZoneName,
    ZoneAbbreviation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Year,
    WeekYear,
    Quarter,
    Month,
    WeekOfYear,
    WeekOfMonth,
    DayOfYear,
    DayOfMonth,
    DayOfWeek,
    /// 0 to 23.
    Hour,
    /// 1 to 24.
    ClockHour,
    /// 0 to 11.
    HourOfHalf,
    /// 1 to 12.
    ClockHourOfHalf,
    Minute,
    Second,
    Nanosecond,
    MillisecondOfDay,
    NanosecondOfDay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    Era,
    Quarter,
    Month,
    DayOfWeek,
    HalfOfDay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Short,
    Full,
    Narrow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OffsetStyle {
    minutes: Minutes,
    colon: bool,
    seconds: bool,
    /// Text of the offset zero.
    zero: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Minutes {
    Always,
    UnlessZero,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const QUARTERS: [&str; 4] = ["1st quarter", "2nd quarter", "3rd quarter", "4th quarter"];
/// Digits that a number may be padded to in Java.
const LONGEST_NUMBER: usize = 19;

impl DatePattern {
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        let mut items = Vec::new();
        let mut rest = text.chars().peekable();
        while let Some(first) = rest.next() {
            match first {
                letter if letter.is_ascii_alphabetic() => {
                    let mut count = 1;
                    while rest.next_if_eq(&letter).is_some() {
                        count += 1;
                    }
                    items.push(item(letter, count)?);
                }
                '\'' => items.push(Item::Literal(quoted(&mut rest)?)),
                '[' | ']' => return Err(PatternError::NotSupported(first)),
                '{' | '}' | '#' => return Err(PatternError::UnknownLetter(first)),
                literal => items.push(Item::Literal(literal.into())),
            }
        }
        Ok(Self(items))
    }

    pub(super) fn print(&self, time: &Zoned, output: &mut String) {
        self.0.iter().for_each(|item| item.print(time, output));
    }
}

/// The text up to the closing quote. Two quotes in a row are one quote.
fn quoted(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, PatternError> {
    let mut literal = String::new();
    while let Some(character) = rest.next() {
        if character != '\'' {
            literal.push(character);
        } else if rest.next_if_eq(&'\'').is_some() {
            literal.push('\'');
        } else {
            // `''` outside of a literal is a quote as well.
            return Ok(if literal.is_empty() { "'".to_owned() } else { literal });
        }
    }
    Err(PatternError::OpenQuote)
}

/// The rule for `count` equal letters. The limits are those of `DateTimeFormatterBuilder.parseField` in Java 17.
fn item(letter: char, count: usize) -> Result<Item, PatternError> {
    let too_many = Err(PatternError::Count { letter, count });
    let up_to = |most: usize, item: Item| {
        if count <= most { Ok(item) } else { Err(PatternError::Count { letter, count }) }
    };
    let number = |field, most| up_to(most, Item::Number(field, count));
    let year = |field| match count {
        2 => Ok(Item::TwoDigits(field)),
        _ => number(field, LONGEST_NUMBER),
    };
    let text = |names| match count {
        1..=3 => Ok(Item::Text(names, Width::Short)),
        4 => Ok(Item::Text(names, Width::Full)),
        5 => Ok(Item::Text(names, Width::Narrow)),
        _ => Err(PatternError::Count { letter, count }),
    };
    let number_or_text = |field, names| match count {
        1 | 2 => Ok(Item::Number(field, count)),
        _ => text(names),
    };
    let offset = |minutes, colon, seconds, zero| {
        Ok(Item::Offset(OffsetStyle { minutes, colon, seconds, zero }))
    };
    match letter {
        'G' => text(Names::Era),
        'u' | 'y' => year(Field::Year),
        'Y' => year(Field::WeekYear),
        'Q' | 'q' => number_or_text(Field::Quarter, Names::Quarter),
        'M' | 'L' => number_or_text(Field::Month, Names::Month),
        'w' => number(Field::WeekOfYear, 2),
        'W' => number(Field::WeekOfMonth, 1),
        'D' => number(Field::DayOfYear, 3),
        'd' => number(Field::DayOfMonth, 2),
        'E' => text(Names::DayOfWeek),
        'c' if count == 2 => too_many,
        'e' | 'c' => number_or_text(Field::DayOfWeek, Names::DayOfWeek),
        'a' => up_to(1, Item::Text(Names::HalfOfDay, Width::Short)),
        'H' => number(Field::Hour, 2),
        'k' => number(Field::ClockHour, 2),
        'K' => number(Field::HourOfHalf, 2),
        'h' => number(Field::ClockHourOfHalf, 2),
        'm' => number(Field::Minute, 2),
        's' => number(Field::Second, 2),
        'S' => up_to(9, Item::Fraction(count)),
        'n' => number(Field::Nanosecond, LONGEST_NUMBER),
        'A' => number(Field::MillisecondOfDay, LONGEST_NUMBER),
        'N' => number(Field::NanosecondOfDay, LONGEST_NUMBER),
        'V' if count == 2 => Ok(Item::ZoneName),
        'z' => up_to(3, Item::ZoneAbbreviation),
        'O' if count == 1 => Ok(Item::LocalizedOffset(Width::Short)),
        'O' if count == 4 => Ok(Item::LocalizedOffset(Width::Full)),
        'V' | 'O' => too_many,
        'Z' => match count {
            1..=3 => offset(Minutes::Always, false, false, "+0000"),
            4 => Ok(Item::LocalizedOffset(Width::Full)),
            5 => offset(Minutes::Always, true, true, "Z"),
            _ => too_many,
        },
        'X' | 'x' => {
            let zero = |text| if letter == 'X' { "Z" } else { text };
            match count {
                1 => offset(Minutes::UnlessZero, false, false, zero("+00")),
                2 => offset(Minutes::Always, false, false, zero("+0000")),
                3 => offset(Minutes::Always, true, false, zero("+00:00")),
                4 => offset(Minutes::Always, false, true, zero("+0000")),
                5 => offset(Minutes::Always, true, true, zero("+00:00")),
                _ => too_many,
            }
        }
        'B' | 'F' | 'g' | 'p' | 'v' => Err(PatternError::NotSupported(letter)),
        unknown => Err(PatternError::UnknownLetter(unknown)),
    }
}

impl Item {
    fn print(&self, time: &Zoned, output: &mut String) {
        match self {
            Self::Literal(text) => output.push_str(text),
            Self::Number(field, digits) => {
                push(output, format_args!("{:0digits$}", field.of(time)));
            }
            Self::TwoDigits(field) => push(output, format_args!("{:02}", field.of(time) % 100)),
            Self::Fraction(digits) => {
                let nanos = format!("{:09}", time.subsec_nanosecond());
                output.push_str(&nanos[..*digits]);
            }
            Self::Text(names, width) => names.print(time, *width, output),
            Self::Offset(style) => style.print(time.offset().seconds(), output),
            Self::LocalizedOffset(width) => {
                print_localized(time.offset().seconds(), *width, output);
            }
            Self::ZoneName => output.push_str(time.time_zone().iana_name().unwrap_or("UTC")),
            Self::ZoneAbbreviation => {
                let info = time.time_zone().to_offset_info(time.timestamp());
                output.push_str(info.abbreviation());
            }
        }
    }
}

impl Field {
    fn of(self, time: &Zoned) -> i64 {
        let date = time.date();
        match self {
            Self::Year => date.year().into(),
            Self::WeekYear => week_of_year(date).0,
            Self::Quarter => quarter_index(date) as i64 + 1,
            Self::Month => date.month().into(),
            Self::WeekOfYear => week_of_year(date).1,
            Self::WeekOfMonth => week_from(date.first_of_month(), date),
            Self::DayOfYear => date.day_of_year().into(),
            Self::DayOfMonth => date.day().into(),
            Self::DayOfWeek => date.weekday().to_sunday_one_offset().into(),
            Self::Hour => time.hour().into(),
            Self::ClockHour => last_instead_of_zero(time.hour(), 24),
            Self::HourOfHalf => (time.hour() % 12).into(),
            Self::ClockHourOfHalf => last_instead_of_zero(time.hour() % 12, 12),
            Self::Minute => time.minute().into(),
            Self::Second => time.second().into(),
            Self::Nanosecond => time.subsec_nanosecond().into(),
            Self::MillisecondOfDay => nanosecond_of_day(time) / 1_000_000,
            Self::NanosecondOfDay => nanosecond_of_day(time),
        }
    }
}

impl Names {
    fn print(self, time: &Zoned, width: Width, output: &mut String) {
        let date = time.date();
        let name = match self {
            Self::Era => match width {
                Width::Short => "AD",
                Width::Full => "Anno Domini",
                Width::Narrow => "A",
            },
            Self::Quarter => {
                let name = QUARTERS[quarter_index(date)];
                match width {
                    Width::Short => return push(output, format_args!("Q{}", &name[..1])),
                    Width::Full => name,
                    Width::Narrow => &name[..1],
                }
            }
            Self::Month => {
                let index = date.month().unsigned_abs() as usize - 1;
                shorten(MONTHS[index], width)
            }
            Self::DayOfWeek => shorten(day_name(date.weekday()), width),
            Self::HalfOfDay => ["AM", "PM"][usize::from(time.hour() >= 12)],
        };
        output.push_str(name);
    }
}

impl OffsetStyle {
    fn print(self, seconds: i32, output: &mut String) {
        if seconds == 0 {
            return output.push_str(self.zero);
        }
        let [hours, minutes, rest] = split(seconds);
        let colon = if self.colon { ":" } else { "" };
        push(output, format_args!("{}{hours:02}", sign(seconds)));
        if self.minutes == Minutes::Always || minutes != 0 {
            push(output, format_args!("{colon}{minutes:02}"));
        }
        if self.seconds && rest != 0 {
            push(output, format_args!("{colon}{rest:02}"));
        }
    }
}

fn print_localized(seconds: i32, width: Width, output: &mut String) {
    output.push_str("GMT");
    if seconds == 0 {
        return;
    }
    let [hours, minutes, rest] = split(seconds);
    output.push(sign(seconds));
    match width {
        Width::Full => push(output, format_args!("{hours:02}:{minutes:02}")),
        Width::Short | Width::Narrow if minutes == 0 && rest == 0 => {
            push(output, format_args!("{hours}"));
        }
        Width::Short | Width::Narrow => push(output, format_args!("{hours}:{minutes:02}")),
    }
    if rest != 0 {
        push(output, format_args!(":{rest:02}"));
    }
}

fn sign(seconds: i32) -> char {
    if seconds < 0 { '-' } else { '+' }
}

/// Hours, minutes and seconds of an offset.
fn split(seconds: i32) -> [u32; 3] {
    let seconds = seconds.unsigned_abs();
    [seconds / 3600, seconds / 60 % 60, seconds % 60]
}

fn push(output: &mut String, text: std::fmt::Arguments<'_>) {
    output.write_fmt(text).expect("a String takes every write");
}

fn shorten(name: &'static str, width: Width) -> &'static str {
    match width {
        Width::Short => &name[..3],
        Width::Full => name,
        Width::Narrow => &name[..1],
    }
}

fn day_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}

fn quarter_index(date: Date) -> usize {
    (date.month().unsigned_abs() as usize - 1) / 3
}

fn last_instead_of_zero(hour: i8, last: i64) -> i64 {
    if hour == 0 { last } else { hour.into() }
}

fn nanosecond_of_day(time: &Zoned) -> i64 {
    let seconds = [time.hour(), time.minute(), time.second()];
    let seconds = seconds.iter().fold(0, |sum, part| sum * 60 + i64::from(*part));
    seconds * 1_000_000_000 + i64::from(time.subsec_nanosecond())
}

/// Year and number of the date's week. The week of January 1 is week 1 of the new year, from its Sunday on.
fn week_of_year(date: Date) -> (i64, i64) {
    let days_to_saturday = 6 - date.weekday().to_sunday_zero_offset();
    let saturday_in_year = date.day_of_year() + i16::from(days_to_saturday);
    if saturday_in_year > date.days_in_year() {
        return (i64::from(date.year()) + 1, 1);
    }
    (date.year().into(), week_from(date.first_of_year(), date))
}

/// Number of the week of `date`, if the week of `first` is week 1.
fn week_from(first: Date, date: Date) -> i64 {
    let days = i64::from(date.day_of_year() - first.day_of_year());
    (days + i64::from(first.weekday().to_sunday_zero_offset())) / 7 + 1
}

#[cfg(test)]
mod tests;
