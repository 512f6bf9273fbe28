//! Constraints of members, as a service model states them, and the text of a `ValidationException`.
//!
//! A request lists its members with a [`Rule`] each. [`Checks`] collects the violations, at most ten, and writes them
//! in the words of AWS. The type of a member says whether it is required: [`crate::wire::Required`] or `Option`.
//!
//! A path such as `records.1.member.data` is built only for a member that violates its rule, so a valid request causes
//! no allocation. Source of the sentences: recorded responses of the public Kinesis endpoint.

use std::fmt::{self, Write};

use crate::wire::{Blob, Integer, List, Map, Member, Structure, Text};

/// A request whose members have constraints.
pub trait Constrained {
    /// Checks every member.
    fn check(&self, checks: &mut Checks);
}

/// The constraints of one member in the service model.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    min: u64,
    max: u64,
    pattern: Option<Pattern>,
    one_of: &'static [&'static str],
}

/// A regular expression of the model and a function that decides the same.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    text: &'static str,
    matches: fn(&str) -> bool,
}

impl Rule {
    /// No constraint.
    pub const ANY: Self = Self { min: 0, max: u64::MAX, pattern: None, one_of: &[] };

    /// A length (characters, bytes or members) or value in `min..=max`.
    pub const fn range(min: u64, max: u64) -> Self {
        Self { min, max, ..Self::ANY }
    }

    /// Text that is one of a few words.
    pub const fn one_of(words: &'static [&'static str]) -> Self {
        Self { one_of: words, ..Self::ANY }
    }

    /// Adds a pattern that the text must match.
    pub const fn pattern(self, text: &'static str, matches: fn(&str) -> bool) -> Self {
        Self { pattern: Some(Pattern { text, matches }), ..self }
    }
}

/// Collects broken constraints.
#[derive(Debug, Default)]
pub struct Checks {
    path: Vec<Step>,
    violations: Vec<String>,
}

/// One step of the path from the request to a member.
#[derive(Clone, Copy, Debug)]
enum Step {
    Member(&'static str),
    Index(usize),
}

/// AWS lists at most ten violations.
const MAX_VIOLATIONS: usize = 10;
/// A value longer than this is cut in the message.
const MAX_VALUE_CHARACTERS: usize = 512;

/// The text of a `ValidationException`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violations(pub String);

/// Checks a request against its constraints.
///
/// # Errors
/// The text that names the violated constraints, at most ten.
pub fn check(request: &impl Constrained) -> Result<(), Violations> {
    let mut checks = Checks::default();
    request.check(&mut checks);
    checks.finish()
}

/// The text for an absent member if only the operation knows that the member is required. `path` is written as in a
/// message: `records.1.member.partitionKey`.
pub fn absent(path: &str) -> Violations {
    summary(&[violation(path, "null", NOT_NULL)])
}

impl Checks {
    /// A string member.
    pub fn text<'t>(&mut self, name: &'static str, value: &impl Member<Text<'t>>, rule: &Rule) {
        let Some(text) = self.present(name, value) else { return };
        self.text_value(name, text, rule);
    }

    /// A number member.
    pub fn number(&mut self, name: &'static str, value: &impl Member<Integer>, rule: &Rule) {
        let Some(&Integer(number)) = self.present(name, value) else { return };
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

    /// A member of type blob.
    pub fn blob<'t>(&mut self, name: &'static str, value: &impl Member<Blob<'t>>, rule: &Rule) {
        let Some(blob) = self.present(name, value) else { return };
        let bytes = blob.len();
        let shown = format_args!("java.nio.HeapByteBuffer[pos=0 lim={bytes} cap={bytes}]");
        self.length(name, bytes, shown, rule);
    }

    /// A list of structures: first the number of members, then the members of each structure. AWS prints the list in
    /// the message. A structure has no printed form here, so the message holds `[3 members]`.
    pub fn list<T: Constrained>(
        &mut self,
        name: &'static str,
        value: &impl Member<List<Structure<T>>>,
        rule: &Rule,
    ) {
        let Some(list) = self.present(name, value) else { return };
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

    /// A list of strings: first the number of members, then their lengths. AWS reports a member of a wrong length
    /// under the name of the list.
    pub fn texts<'t>(
        &mut self,
        name: &'static str,
        value: &impl Member<List<Text<'t>>>,
        size: &Rule,
        member: &Rule,
    ) {
        let Some(list) = self.present(name, value) else { return };
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

    /// Checks a list of strings whose members must be certain words.
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

    /// A map of strings: first the number of entries, then the lengths of keys and values. AWS reports a key or a
    /// value of a wrong length under the name of the map.
    pub fn map<'t>(
        &mut self,
        name: &'static str,
        value: &impl Member<Map<'t>>,
        size: &Rule,
        (key, value_rule): (&Rule, &Rule),
    ) {
        let Some(map) = self.present(name, value) else { return };
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

    /// A structure: checks each of its members.
    pub fn structure<T: Constrained>(
        &mut self,
        name: &'static str,
        value: &impl Member<Structure<T>>,
    ) {
        let Some(Structure(structure)) = self.present(name, value) else { return };
        self.path.push(Step::Member(name));
        structure.check(self);
        self.path.pop();
    }

    /// The value of a member. An absent one is a violation if the member is required.
    pub fn present<'m, T, M: Member<T>>(
        &mut self,
        name: &'static str,
        value: &'m M,
    ) -> Option<&'m T> {
        let given = value.given();
        if M::REQUIRED && given.is_none() {
            self.push(name, "null", NOT_NULL);
        }
        given
    }

    /// A violation that the caller found. `path` is written as in a message: `records.1.member.data`. `value` is what
    /// the member holds; `None` if it is absent.
    pub fn broken(&mut self, path: &str, value: Option<&str>, sentence: &str) {
        if self.violations.len() < MAX_VIOLATIONS {
            let shown =
                value.map_or_else(|| "null".to_owned(), |value| format!("'{}'", shortened(value)));
            self.violations.push(violation(path, &shown, sentence));
        }
    }

    fn finish(self) -> Result<(), Violations> {
        if self.violations.is_empty() { Ok(()) } else { Err(summary(&self.violations)) }
    }

    #[inline]
    fn text_value(&mut self, name: &'static str, text: &str, rule: &Rule) {
        // A text never has more characters than bytes. If the number of bytes is in range and the minimum is 0 or 1,
        // then the number of characters is in range too and need not be counted.
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

    #[inline]
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

    fn violate(&mut self, name: &'static str, value: impl fmt::Display, must: fmt::Arguments<'_>) {
        self.violate_wholly(name, value, &format!("Member must {must}"));
    }

    /// Like [`Self::violate`], with the whole sentence given.
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

    /// A path such as `records.1.member.partitionKey`. Names begin with a small letter, indexes begin with 1.
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

/// Writes the texts with commas between them. It stops after 512 texts: a message shows at most 512 characters.
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

#[inline]
fn has_length(text: &str, rule: &Rule) -> bool {
    in_range(text.chars().count(), rule)
}

/// The sentence of AWS about the lengths that members of a list may have.
fn lengths(rule: &Rule) -> String {
    let Rule { min, max, .. } = rule;
    format!(
        "Member must have length less than or equal to {max}, Member must have length greater \
         than or equal to {min}"
    )
}

fn summary(violations: &[String]) -> Violations {
    let count = violations.len();
    let plural = if count == 1 { "" } else { "s" };
    let list = violations.join("; ");
    Violations(format!("{count} validation error{plural} detected: {list}"))
}

#[inline]
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
    use crate::wire::Required;

    const NAME: Rule = Rule::range(1, 128).pattern("[a-zA-Z0-9_.-]+", |text| !text.is_empty());
    const WORD: Rule = Rule::one_of(&["PROVISIONED", "ON_DEMAND"]);
    const COUNT: Rule = Rule::range(1, 10_000);
    const KEY: Rule = Rule::range(1, 256);

    fn text(text: &str) -> Option<Text<'_>> {
        Some(Text(Cow::Borrowed(text)))
    }

    fn message(check: impl FnOnce(&mut Checks)) -> String {
        let mut checks = Checks::default();
        check(&mut checks);
        checks.finish().map_or_else(|violations| violations.0, |()| "fine".to_owned())
    }

    #[test]
    fn a_missing_member_is_named() {
        assert_eq!(
            message(|c| c.text("StreamName", &Required::<Text<'_>>::default(), &NAME)),
            "1 validation error detected: Value null at 'streamName' failed to satisfy constraint: \
             Member must not be null"
        );
    }

    #[test]
    fn every_broken_constraint_of_a_member_is_listed() {
        assert_eq!(
            message(|c| c.text("StreamName", &text(""), &NAME)),
            "2 validation errors detected: Value '' at 'streamName' failed to satisfy constraint: \
             Member must have length greater than or equal to 1; Value '' at 'streamName' failed to \
             satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
        );
    }

    #[test]
    fn words_and_numbers_are_checked() {
        assert_eq!(
            message(|c| c.text("StreamMode", &text("BOTH"), &WORD)),
            "1 validation error detected: Value 'BOTH' at 'streamMode' failed to satisfy \
             constraint: Member must satisfy enum value set: [PROVISIONED, ON_DEMAND]"
        );
        assert_eq!(
            message(|c| c.number("Limit", &Some(Integer(10_001)), &COUNT)),
            "1 validation error detected: Value '10001' at 'limit' failed to satisfy constraint: \
             Member must have value less than or equal to 10000"
        );
        assert_eq!(
            message(|c| c.number("Limit", &Some(Integer(-1)), &COUNT)),
            "1 validation error detected: Value '-1' at 'limit' failed to satisfy constraint: \
             Member must have value greater than or equal to 1"
        );
    }

    #[test]
    fn length_is_counted_in_characters() {
        let key = "ä".repeat(256);
        assert_eq!(message(|c| c.text("PartitionKey", &text(&key), &KEY)), "fine");
        let key = "ä".repeat(257);
        let text = message(|c| c.text("PartitionKey", &text(&key), &KEY));
        assert!(text.ends_with("Member must have length less than or equal to 256"), "{text}");
    }

    #[test]
    fn at_most_ten_violations_are_listed_and_long_values_are_cut() {
        let long = "é".repeat(100_000);
        let text = message(|c| {
            for _ in 0..20 {
                c.text("StreamName", &text(&long), &NAME);
            }
        });
        assert!(text.starts_with("10 validation errors detected: "), "{text}");
        assert!(text.len() < 20_000);
    }
}
