//! Patterns with `*`, `?` and variables.
//!
//! A pattern is split at its stars into segments. The first segment must be at the beginning of the text, and the
//! last one at its end. The segments between them are searched from left to right, each one after the end of the
//! segment before:
//!
//! ```text
//!   pattern   ab * c?d * ${aws:username}
//!   text      ab ..... c1d ...... alice
//!             strip    find       strip from the end
//! ```
//!
//! It is enough to take the first place where a segment matches: a later place would leave less text for the other
//! segments. So nothing is ever tried twice. For each segment, a match takes time in proportion to the length of the
//! text. If the segment has a `?`, it takes a 64th of the product of both lengths. Values of variables are compared
//! in place. No text longer than the compared one is ever built.

use std::borrow::Cow;
use std::collections::HashMap;

use super::context::RequestContext;
use super::key::Key;

/// Most variables in one pattern of a new document. Real documents have one or two.
pub(super) const MAX_VARIABLES: usize = 16;

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pattern {
    /// The parts between the stars; there is at least one.
    segments: Vec<Segment>,
    variables: Vec<Variable>,
}

type Segment = Vec<Piece>;

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    /// Exactly these characters.
    Text(String),
    /// `?`: any one character.
    Any,
    /// The value of the variable with this number. A `*` or `?` in the value is an ordinary character.
    Variable(usize),
}

#[derive(Clone, Debug, PartialEq)]
struct Variable {
    key: Key,
    default: Option<String>,
}

/// Values of the variables of a pattern, by number.
type Values<'a> = [Cow<'a, str>];

impl Pattern {
    /// Compiles a pattern. `wild`: whether `*` and `?` are wildcards. `variables`: whether `${…}` is a variable.
    ///
    /// # Errors
    /// The rule that a variable breaks.
    pub(super) fn parse(text: &str, wild: bool, variables: bool) -> Result<Self, String> {
        let mut pattern = Self { segments: vec![Segment::new()], variables: Vec::new() };
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${").filter(|_| variables) {
            pattern.push_text(before, wild);
            let (inside, after) =
                after.split_once('}').ok_or_else(|| "a variable has no '}'".to_owned())?;
            match inside {
                "*" | "?" | "$" => pattern.push_text(inside, false),
                inside => {
                    pattern.push(Piece::Variable(pattern.variables.len()));
                    pattern.variables.push(variable(inside)?);
                }
            }
            rest = after;
        }
        pattern.push_text(rest, wild);
        Ok(pattern)
    }

    fn push_text(&mut self, text: &str, wild: bool) {
        for c in text.chars() {
            match c {
                '*' if wild => self.push_star(),
                '?' if wild => self.push(Piece::Any),
                c => match self.segments.last_mut().and_then(|segment| segment.last_mut()) {
                    Some(Piece::Text(text)) => text.push(c),
                    Some(Piece::Any | Piece::Variable(_)) | None => {
                        self.push(Piece::Text(c.into()));
                    }
                },
            }
        }
    }

    fn push(&mut self, piece: Piece) {
        if let Some(segment) = self.segments.last_mut() {
            segment.push(piece);
        }
    }

    /// Adds a star. Several stars in a row are one.
    fn push_star(&mut self) {
        let is_repeated =
            self.segments.len() > 1 && self.segments.last().is_some_and(Vec::is_empty);
        if !is_repeated {
            self.segments.push(Segment::new());
        }
    }

    /// Number of variables.
    pub(super) const fn variables(&self) -> usize {
        self.variables.len()
    }

    /// Whether the request has a value, or the pattern a default, for every variable.
    pub(super) fn has_all_values(&self, context: &RequestContext<'_>) -> bool {
        self.variables
            .iter()
            .all(|Variable { key, default }| default.is_some() || context.value(key).is_some())
    }

    /// Whether the whole text matches. Never true if a variable has no value. `ignore_case` may be set only for
    /// patterns without `*`, because only the first segment is compared without case.
    pub(super) fn matches(
        &self,
        text: &str,
        context: &RequestContext<'_>,
        ignore_case: bool,
    ) -> bool {
        let values = self.variables.iter().map(|Variable { key, default }| {
            context.value(key).or_else(|| default.as_deref().map(Cow::Borrowed))
        });
        let values: Option<Vec<_>> = values.collect();
        values.is_some_and(|values| self.matches_with(text, &values, ignore_case))
    }

    fn matches_with(&self, text: &str, values: &Values<'_>, ignore_case: bool) -> bool {
        let Some((first, rest)) = self.segments.split_first() else { return false };
        let Some(mut text) = strip(first, text, values, ignore_case) else { return false };
        let Some((last, between)) = rest.split_last() else { return text.is_empty() };
        for segment in between {
            match find(segment, text, values) {
                Some(after) => text = after,
                None => return false,
            }
        }
        let tail = tail(text, characters(last, values));
        tail.is_some_and(|tail| strip(last, tail, values, false) == Some(""))
    }
}

impl Piece {
    /// The characters that the piece matches; `None` for any one character.
    fn literal<'a>(&'a self, values: &'a Values<'_>) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Any => None,
            Self::Variable(number) => Some(&values[*number]),
        }
    }
}

/// If the text begins with the segment: the rest of the text.
fn strip<'t>(
    segment: &Segment,
    text: &'t str,
    values: &Values<'_>,
    ignore_case: bool,
) -> Option<&'t str> {
    let mut rest = text;
    for piece in segment {
        rest = match piece.literal(values) {
            Some(literal) if ignore_case => strip_without_case(rest, literal)?,
            Some(literal) => rest.strip_prefix(literal)?,
            None => tail_after_one(rest)?,
        };
    }
    Some(rest)
}

fn strip_without_case<'t>(text: &'t str, literal: &str) -> Option<&'t str> {
    let same = |one: char, other: char| one == other || one.to_lowercase().eq(other.to_lowercase());
    let mut rest = text.chars();
    let found = literal.chars().all(|one| rest.next().is_some_and(|other| same(one, other)));
    found.then_some(rest.as_str())
}

fn tail_after_one(text: &str) -> Option<&str> {
    let mut rest = text.chars();
    rest.next().map(|_| rest.as_str())
}

/// Number of characters that a segment matches.
fn characters(segment: &Segment, values: &Values<'_>) -> usize {
    let pieces = segment.iter().map(|piece| piece.literal(values));
    pieces.map(|literal| literal.map_or(1, |literal| literal.chars().count())).sum()
}

/// The last `count` characters of a text; `None` if it is shorter.
fn tail(text: &str, count: usize) -> Option<&str> {
    match count.checked_sub(1) {
        None => Some(""),
        Some(before) => text.char_indices().nth_back(before).map(|(at, _)| &text[at..]),
    }
}

/// If the text contains the segment: the rest of the text after its first occurrence.
fn find<'t>(segment: &Segment, text: &'t str, values: &Values<'_>) -> Option<&'t str> {
    let literals: Option<Vec<&str>> = segment.iter().map(|piece| piece.literal(values)).collect();
    match literals.as_deref() {
        Some([literal]) => after_first(text, literal),
        Some(literals) => {
            let bytes: usize = literals.iter().map(|literal| literal.len()).sum();
            if bytes > text.len() { None } else { after_first(text, &literals.concat()) }
        }
        None => find_with_any(segment, text, values),
    }
}

fn after_first<'t>(text: &'t str, literal: &str) -> Option<&'t str> {
    text.split_once(literal).map(|(_, after)| after)
}

/// [`find`] for segments with `?`. One bit for each character of the segment says whether the segment matches up to
/// there at the current place of the text (Baeza-Yates and Gonnet, "A new approach to text searching", 1992).
fn find_with_any<'t>(segment: &Segment, text: &'t str, values: &Values<'_>) -> Option<&'t str> {
    let count = characters(segment, values);
    tail(text, count)?;
    let mut any = vec![0u64; count.div_ceil(64)];
    // For each character: the positions of the segment that this character matches, those of `?` included.
    let mut places: HashMap<char, Vec<u64>> = HashMap::new();
    let mut wanted = Vec::with_capacity(count);
    for piece in segment {
        match piece.literal(values) {
            Some(literal) => wanted.extend(literal.chars().map(Some)),
            None => wanted.push(None),
        }
    }
    for (at, _) in wanted.iter().enumerate().filter(|(_, wanted)| wanted.is_none()) {
        any[at / 64] |= 1 << (at % 64);
    }
    for (at, wanted) in wanted.iter().enumerate() {
        if let Some(wanted) = wanted {
            places.entry(*wanted).or_insert_with(|| any.clone())[at / 64] |= 1 << (at % 64);
        }
    }
    let (last_word, last_bit) = ((count - 1) / 64, 1 << ((count - 1) % 64));
    let mut matched = vec![0u64; any.len()];
    let mut rest = text.chars();
    while let Some(found) = rest.next() {
        let places = places.get(&found).unwrap_or(&any);
        let mut carry = 1;
        for (matched, places) in matched.iter_mut().zip(places) {
            let next = *matched >> 63;
            *matched = (*matched << 1 | carry) & places;
            carry = next;
        }
        if matched[last_word] & last_bit != 0 {
            return Some(rest.as_str());
        }
    }
    None
}

/// Parses the inside of a variable: `aws:username`, or `aws:username, 'default'`.
fn variable(text: &str) -> Result<Variable, String> {
    let (name, default) = match text.split_once(',') {
        None => (text, None),
        Some((name, default)) => {
            let default = default.trim();
            let bare = default.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
            let bare = bare.ok_or_else(|| format!("the default of ${{{text}}} has no quotes"))?;
            (name.trim_end(), Some(bare.to_owned()))
        }
    };
    match Key::of_name(name) {
        None | Some(Key::TagKeys | Key::Absent(_)) => {
            Err(format!("${{{name}}} is not a known variable"))
        }
        Some(key) => Ok(Variable { key, default }),
    }
}

/// A pattern of actions such as `kinesis:Put*`, compared without case.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ActionPattern(Pattern);

impl ActionPattern {
    /// Compiles an action pattern.
    ///
    /// # Errors
    /// The form that an action must have.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let is_valid = text == "*"
            || text.split_once(':').is_some_and(|(service, action)| {
                let of_service = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
                let of_action = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'*' | b'?');
                let filled = !service.is_empty() && !action.is_empty();
                filled && service.bytes().all(of_service) && action.bytes().all(of_action)
            });
        if is_valid {
            Pattern::parse(&text.to_ascii_lowercase(), true, false).map(Self)
        } else {
            Err("an action is '*' or <service>:<action>, the latter with '*' and '?'".to_owned())
        }
    }

    /// Whether the pattern matches the action, which must be in lower case.
    pub(super) fn matches(&self, action: &str) -> bool {
        self.0.matches_with(action, &[], false)
    }
}

/// A pattern of ARNs. Each of the six parts is matched on its own, so a `*` in one part never matches a colon between
/// parts.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ArnPattern {
    /// `*`: any ARN.
    All,
    /// Patterns of partition, service, region, account and resource. The first part is always `arn`.
    Parts(Box<[Pattern; 5]>),
}

impl ArnPattern {
    /// Compiles an ARN pattern.
    ///
    /// # Errors
    /// The form that an ARN must have.
    pub(super) fn parse(text: &str, wild: bool, variables: bool) -> Result<Self, String> {
        if text == "*" && wild {
            return Ok(Self::All);
        }
        let wrong = || "it is '*' or an ARN of six parts, arn:…:…:…:…:…".to_owned();
        let mut rest = text.strip_prefix("arn:").ok_or_else(wrong)?;
        let mut parts = Vec::with_capacity(5);
        for _ in 0..4 {
            let end = part_end(rest, variables).ok_or_else(wrong)?;
            parts.push(Pattern::parse(&rest[..end], wild, variables)?);
            rest = &rest[end + 1..];
        }
        if rest.is_empty() {
            return Err(wrong());
        }
        parts.push(Pattern::parse(rest, wild, variables)?);
        parts.try_into().map(|parts| Self::Parts(Box::new(parts))).map_err(|_| wrong())
    }

    /// The largest number of variables in one of the parts.
    pub(super) fn variables(&self) -> usize {
        match self {
            Self::All => 0,
            Self::Parts(parts) => parts.iter().map(Pattern::variables).max().unwrap_or(0),
        }
    }

    /// Whether the request has a value for every variable.
    pub(super) fn has_all_values(&self, context: &RequestContext<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Parts(parts) => parts.iter().all(|part| part.has_all_values(context)),
        }
    }

    pub(super) fn matches(&self, arn: &str, context: &RequestContext<'_>) -> bool {
        let Self::Parts(patterns) = self else { return true };
        let mut parts = arn.splitn(6, ':');
        parts.next() == Some("arn")
            && patterns
                .iter()
                .all(|pattern| parts.next().is_some_and(|p| pattern.matches(p, context, false)))
    }
}

/// Position of the first colon that is not inside a variable.
fn part_end(text: &str, variables: bool) -> Option<usize> {
    let mut in_variable = false;
    text.char_indices().find_map(|(at, c)| {
        match c {
            '$' if variables && text[at..].starts_with("${") => in_variable = true,
            '}' => in_variable = false,
            ':' if !in_variable => return Some(at),
            _ => {}
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(pattern: &str, text: &str) -> bool {
        Pattern::parse(pattern, true, false).unwrap().matches_with(text, &[], false)
    }

    /// Reference implementation: tries every length for every star.
    fn slow(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=text.len()).any(|taken| slow(rest, &text[taken..])),
            (['?', rest @ ..], [_, others @ ..]) => slow(rest, others),
            ([one, rest @ ..], [other, others @ ..]) => one == other && slow(rest, others),
            _ => false,
        }
    }

    #[test]
    fn stars_and_question_marks_match_as_in_iam() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("*", "a"),
            ("a*c", "abbc"),
            ("?", "ä"),
            ("*b*", "abc"),
            ("a**", "a"),
        ] {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("?", ""), ("a*c", "ab"), ("b*", "ab"), ("*?", "")] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn long_patterns_match_long_texts_in_linear_time() {
        let text = "a".repeat(1_000_000);
        for pattern in [
            "a*".repeat(5_000) + "b",
            format!("*{}b*", "a".repeat(10_000)),
            format!("*{}b*c", "a?".repeat(100)),
            format!("*{}", "b".repeat(10_000)),
        ] {
            assert!(!glob(&pattern, &text));
        }
        assert!(glob(&format!("*{}*", "a?".repeat(100)), &text));
    }

    #[test]
    fn segments_with_question_marks_may_be_longer_than_one_word() {
        let middle = "x?".repeat(50) + "y";
        let text = "xx".repeat(60) + "y";
        assert!(glob(&format!("*{middle}*"), &text));
        assert!(glob(&format!("x*{middle}"), &text));
        assert!(!glob(&format!("*{middle}*y"), &text));
        assert!(!glob(&format!("*{middle}y*"), &text));
        assert!(glob("*?ä?*z", "aaäöz"));
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_reference_implementation(pattern in "[abä*?]{0,8}", text in "[abä]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(glob(&pattern, &text), slow(&chars(&pattern), &chars(&text)));
        }
    }
}
