//! Constraints of members, as the service model states them, and the text of a ValidationException.
//!
//! A request lists its members with a [`Rule`] each; [`Checks`] collects what is broken. Paths are
//! put together only for a member that breaks a rule: a good request costs no allocation.

use std::fmt::{self, Write};

use crate::errors::Error;
use crate::wire::{Blob, Integer, List, Map, Structure, Text};

pub(crate) mod rules;

/// A request whose members have constraints.
pub(crate) trait Constrained {
    /// Checks every member.
    fn check(&self, checks: &mut Checks);
}

/// What the service model says of one member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    required: bool,
    min: u64,
    max: u64,
    pattern: Option<Pattern>,
    one_of: &'static [&'static str],
}

/// A regular expression of the model and a function that decides the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern {
    text: &'static str,
    matches: fn(&str) -> bool,
}

impl Rule {
    /// Anything goes.
    pub(crate) const ANY: Self =
        Self { required: false, min: 0, max: u64::MAX, pattern: None, one_of: &[] };

    /// A length (characters, bytes or members) or value in `min..=max`.
    pub(crate) const fn range(min: u64, max: u64) -> Self {
        Self { min, max, ..Self::ANY }
    }

    /// One of a few words.
    pub(crate) const fn one_of(words: &'static [&'static str]) -> Self {
        Self { one_of: words, ..Self::ANY }
    }

    /// Text that matches.
    pub(crate) const fn pattern(self, text: &'static str, matches: fn(&str) -> bool) -> Self {
        Self { pattern: Some(Pattern { text, matches }), ..self }
    }

    /// Must be there.
    pub(crate) const fn required(self) -> Self {
        Self { required: true, ..self }
    }
}

/// Collects broken constraints.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    path: Vec<Step>,
    violations: Vec<String>,
}

/// Where in the request a member stands.
#[derive(Clone, Copy, Debug)]
enum Step {
    Member(&'static str),
    Index(usize),
}

/// The service lists no more than these.
const MAX_VIOLATIONS: usize = 10;
/// A value longer than this is cut in the message.
const MAX_VALUE_CHARACTERS: usize = 512;

/// Checks a request against its constraints.
///
/// # Errors
/// [`Error::Validation`] with at most ten broken constraints.
pub(crate) fn check(request: &impl Constrained) -> Result<(), Error> {
    let mut checks = Checks::default();
    request.check(&mut checks);
    checks.finish()
}

/// What a required member that isn't there is refused with, where only the operation knows that it is required.
pub(crate) fn absent(path: &str) -> Error {
    refusal(&[violation(path, "null", NOT_NULL)])
}

impl Checks {
    /// A string member.
    pub(crate) fn text(&mut self, name: &'static str, value: &Option<Text<'_>>, rule: &Rule) {
        let Some(text) = value else { return self.absent(name, rule) };
        self.text_value(name, text, rule);
    }

    /// A number member.
    pub(crate) fn number(&mut self, name: &'static str, value: &Option<Integer>, rule: &Rule) {
        let Some(Integer(number)) = *value else { return self.absent(name, rule) };
        let wide = i128::from(number);
        if wide > i128::from(rule.max) {
            let max = rule.max;
            self.violate(name, number, format_args!("have value less than or equal to {max}"));
        }
        if wide < i128::from(rule.min) {
            let min = rule.min;
            self.violate(name, number, format_args!("have value greater than or equal to {min}"));
        }
    }

    /// A member of bytes.
    pub(crate) fn blob(&mut self, name: &'static str, value: &Option<Blob<'_>>, rule: &Rule) {
        let Some(blob) = value else { return self.absent(name, rule) };
        let bytes = blob.len();
        let shown = format_args!("java.nio.HeapByteBuffer[pos=0 lim={bytes} cap={bytes}]");
        self.length(name, bytes, shown, rule);
    }

    /// A list of structures, and each of them. The service shows the members of a list; those of structures have no text.
    pub(crate) fn list<T: Constrained>(
        &mut self,
        name: &'static str,
        value: &Option<List<Structure<T>>>,
        rule: &Rule,
    ) {
        let Some(list) = value else { return self.absent(name, rule) };
        let shown = match list.count() {
            0 => "[]".to_owned(),
            count => format!("[{count} members]"),
        };
        self.length(name, list.count(), format_args!("{shown}"), rule);
        self.path.push(Step::Member(name));
        for (index, Structure(member)) in (1..).zip(list.members()) {
            self.path.extend([Step::Index(index), Step::Member("member")]);
            member.check(self);
            self.path.truncate(self.path.len() - 2);
        }
        self.path.pop();
    }

    /// A list of strings: its size, then the sizes of its members, of which the service names the list.
    pub(crate) fn texts(
        &mut self,
        name: &'static str,
        value: &Option<List<Text<'_>>>,
        size: &Rule,
        member: &Rule,
    ) {
        let Some(list) = value else { return self.absent(name, size) };
        let shown = fmt::from_fn(|f| {
            f.write_str("[")?;
            write_joined(f, list.members().iter().map(|text| text.0.as_ref()))?;
            f.write_str("]")
        });
        self.length(name, list.count(), format_args!("{shown}"), size);
        if !list.members().iter().all(|text| has_length(text, member)) {
            self.violate(name, &shown, format_args!("satisfy constraint: [{}]", lengths(member)));
        }
        self.words(name, list, member);
    }

    /// Members of a list of strings that may only be certain words.
    fn words(&mut self, name: &'static str, list: &List<Text<'_>>, member: &Rule) {
        if member.one_of.is_empty() {
            return;
        }
        self.path.push(Step::Member(name));
        for (index, text) in (1..).zip(list.members()) {
            self.path.push(Step::Index(index));
            self.text_value("member", text, member);
            self.path.pop();
        }
        self.path.pop();
    }

    /// A map of strings: its size, then the sizes of its keys and values, of which the service names the map.
    pub(crate) fn map(
        &mut self,
        name: &'static str,
        value: &Option<Map<'_>>,
        size: &Rule,
        (key, value_rule): (&Rule, &Rule),
    ) {
        let Some(map) = value else { return self.absent(name, size) };
        let shown = fmt::from_fn(|f| {
            f.write_str("{")?;
            let entry = |(key, value): &(Text<'_>, Text<'_>)| format!("{}={}", &**key, &**value);
            write_joined(f, map.entries().iter().map(entry))?;
            f.write_str("}")
        });
        self.length(name, map.count(), format_args!("{shown}"), size);
        let entries = map.entries();
        let must =
            |what: &str, rule| format!("{what} must satisfy constraint: [{}]", lengths(rule));
        if !entries.iter().all(|(text, _)| has_length(text, key)) {
            self.violate_wholly(name, &shown, &must("Map keys", key));
        }
        if !entries.iter().all(|(_, text)| has_length(text, value_rule)) {
            self.violate_wholly(name, &shown, &must("Map value", value_rule));
        }
    }

    /// A structure.
    pub(crate) fn structure<T: Constrained>(
        &mut self,
        name: &'static str,
        value: &Option<Structure<T>>,
    ) {
        let Some(Structure(structure)) = value else { return };
        self.path.push(Step::Member(name));
        structure.check(self);
        self.path.pop();
    }

    /// As [`Self::structure`], of one that must be there.
    pub(crate) fn required_structure<T: Constrained>(
        &mut self,
        name: &'static str,
        value: &Option<Structure<T>>,
    ) {
        if value.is_none() {
            self.absent(name, &rules::NATURAL.required());
        }
        self.structure(name, value);
    }

    fn finish(self) -> Result<(), Error> {
        if self.violations.is_empty() { Ok(()) } else { Err(refusal(&self.violations)) }
    }

    fn text_value(&mut self, name: &'static str, text: &str, rule: &Rule) {
        // Bytes are never fewer than characters: counting is seldom needed.
        if !in_range(text.len(), rule) || rule.min > 1 {
            self.length(name, text.chars().count(), format_args!("{text}"), rule);
        }
        if let Some(pattern) = rule.pattern
            && !(pattern.matches)(text)
        {
            let pattern = pattern.text;
            self.violate(name, text, format_args!("satisfy regular expression pattern: {pattern}"));
        }
        if !rule.one_of.is_empty() && !rule.one_of.contains(&text) {
            let words = rule.one_of.join(", ");
            self.violate(name, text, format_args!("satisfy enum value set: [{words}]"));
        }
    }

    fn length(
        &mut self,
        name: &'static str,
        length: usize,
        shown: fmt::Arguments<'_>,
        rule: &Rule,
    ) {
        if length as u64 > rule.max {
            let max = rule.max;
            self.violate(name, shown, format_args!("have length less than or equal to {max}"));
        }
        if (length as u64) < rule.min {
            let min = rule.min;
            self.violate(name, shown, format_args!("have length greater than or equal to {min}"));
        }
    }

    fn absent(&mut self, name: &'static str, rule: &Rule) {
        if rule.required {
            self.push(name, "null", NOT_NULL);
        }
    }

    fn violate(&mut self, name: &'static str, value: impl fmt::Display, must: fmt::Arguments<'_>) {
        self.violate_wholly(name, value, &format!("Member must {must}"));
    }

    /// As [`Self::violate`], with the whole sentence.
    fn violate_wholly(&mut self, name: &'static str, value: impl fmt::Display, sentence: &str) {
        if self.violations.len() < MAX_VIOLATIONS {
            let shown = shortened(&value.to_string());
            self.push(name, &format!("'{shown}'"), sentence);
        }
    }

    fn push(&mut self, name: &'static str, value: &str, sentence: &str) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(violation(&self.path_to(name), value, sentence));
        }
    }

    /// `records.1.member.partitionKey`: members with a small first letter, indexes from 1.
    fn path_to(&self, name: &'static str) -> String {
        let mut path = String::new();
        for step in self.path.iter().copied().chain([Step::Member(name)]) {
            if !path.is_empty() {
                path.push('.');
            }
            match step {
                Step::Index(index) => write!(path, "{index}").expect("a string takes every write"),
                Step::Member(name) => {
                    let mut letters = name.chars();
                    path.extend(letters.next().map(|first| first.to_ascii_lowercase()));
                    path.push_str(letters.as_str());
                }
            }
        }
        path
    }
}

const NOT_NULL: &str = "Member must not be null";

fn violation(path: &str, value: &str, sentence: &str) -> String {
    format!("Value {value} at '{path}' failed to satisfy constraint: {sentence}")
}

/// The texts with commas between them; no more of them than a message shows.
fn write_joined(
    f: &mut fmt::Formatter<'_>,
    texts: impl Iterator<Item = impl fmt::Display>,
) -> fmt::Result {
    for (index, text) in texts.take(MAX_VALUE_CHARACTERS).enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        write!(f, "{separator}{text}")?;
    }
    Ok(())
}

fn has_length(text: &str, rule: &Rule) -> bool {
    in_range(text.chars().count(), rule)
}

/// What the service says of the lengths that members of a list may have.
fn lengths(rule: &Rule) -> String {
    let Rule { min, max, .. } = rule;
    format!(
        "Member must have length less than or equal to {max}, Member must have length greater \
         than or equal to {min}"
    )
}

fn refusal(violations: &[String]) -> Error {
    let count = violations.len();
    let plural = if count == 1 { "" } else { "s" };
    let list = violations.join("; ");
    Error::Validation(format!("{count} validation error{plural} detected: {list}"))
}

fn in_range(length: usize, rule: &Rule) -> bool {
    (rule.min..=rule.max).contains(&(length as u64))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_VALUE_CHARACTERS) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn text(text: &str) -> Option<Text<'_>> {
        Some(Text(Cow::Borrowed(text)))
    }

    fn message(check: impl FnOnce(&mut Checks)) -> String {
        let mut checks = Checks::default();
        check(&mut checks);
        checks.finish().map_or_else(|error| error.to_string(), |()| "fine".to_owned())
    }

    fn fits(rule: &Rule, value: &str) -> bool {
        message(|checks| checks.text("Member", &text(value), rule)) == "fine"
    }

    #[test]
    fn a_missing_member_is_named() {
        let rule = rules::STREAM_NAME.required();
        assert_eq!(
            message(|c| c.text("StreamName", &None, &rule)),
            "1 validation error detected: Value null at 'streamName' failed to satisfy constraint: \
             Member must not be null"
        );
    }

    #[test]
    fn every_broken_constraint_of_a_member_is_listed() {
        assert_eq!(
            message(|c| c.text("StreamName", &text(""), &rules::STREAM_NAME)),
            "2 validation errors detected: Value '' at 'streamName' failed to satisfy constraint: \
             Member must have length greater than or equal to 1; Value '' at 'streamName' failed to \
             satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
        );
    }

    #[test]
    fn words_and_numbers_are_checked() {
        assert_eq!(
            message(|c| c.text("StreamMode", &text("BOTH"), &rules::STREAM_MODE)),
            "1 validation error detected: Value 'BOTH' at 'streamMode' failed to satisfy \
             constraint: Member must satisfy enum value set: [PROVISIONED, ON_DEMAND]"
        );
        assert_eq!(
            message(|c| c.number("Limit", &Some(Integer(10_001)), &rules::LIMIT)),
            "1 validation error detected: Value '10001' at 'limit' failed to satisfy constraint: \
             Member must have value less than or equal to 10000"
        );
        assert_eq!(
            message(|c| c.number("Limit", &Some(Integer(-1)), &rules::LIMIT)),
            "1 validation error detected: Value '-1' at 'limit' failed to satisfy constraint: \
             Member must have value greater than or equal to 1"
        );
    }

    #[test]
    fn length_is_counted_in_characters() {
        let key = "ä".repeat(256);
        assert_eq!(message(|c| c.text("PartitionKey", &text(&key), &rules::PARTITION_KEY)), "fine");
        let key = "ä".repeat(257);
        let text = message(|c| c.text("PartitionKey", &text(&key), &rules::PARTITION_KEY));
        assert!(text.ends_with("Member must have length less than or equal to 256"), "{text}");
    }

    #[test]
    fn at_most_ten_are_listed_and_long_values_are_cut() {
        let long = "é".repeat(100_000);
        let text = message(|c| {
            for _ in 0..20 {
                c.text("StreamName", &text(&long), &rules::STREAM_NAME);
            }
        });
        assert!(text.starts_with("10 validation errors detected: "), "{text}");
        assert!(text.len() < 20_000);
    }

    #[test]
    fn patterns_decide_as_the_models_expressions() {
        let sequence = |text: &str| fits(&rules::SEQUENCE_NUMBER, text);
        assert!(sequence("0") && sequence("49") && sequence(&"9".repeat(129)));
        assert!(!sequence("") && !sequence("01") && !sequence("-1") && !sequence(&"9".repeat(130)));
        let arn = |text: &str| fits(&rules::STREAM_ARN, text);
        assert!(arn("arn:aws:kinesis:us-east-1:123456789012:stream/a"));
        assert!(arn("arn:aws-cn:kinesis:cn-north-1:123456789012:stream/a"));
        for bad in [
            "a",
            "arn:aws:kinesis:us-east-1:12345678901:stream/a",
            "arn:aws:s3:us-east-1:123456789012:stream/a",
            "arn:aws:kinesis:us-east-1:123456789012:stream/",
            "arn:aws:kinesis:us-east-1:123456789012:stream/a b",
            "arn:aws:kinesis:us-east-1:123456789012:streams/a",
        ] {
            assert!(!arn(bad), "{bad}");
        }
        let id = |text: &str| fits(&rules::STREAM_ID, text);
        assert!(id("abcdefghij0123456789-abc") && !id("abcdefghij0123456789-ab") && !id("é"));
    }
}
