//! Patterns with `*`, `?` and variables.

use std::borrow::Cow;

use super::facts::Facts;
use super::key::Key;

/// One piece of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// This character.
    One(char),
    /// `?`: any one.
    Any,
    /// `*`: any number of any.
    Many,
}

/// A text with pieces that stand for others.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pattern(Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Tokens(Vec<Token>),
    Variable { key: Key, default: Option<String> },
}

impl Pattern {
    /// Compiles a text. `wild` says whether `*` and `?` mean others, `variables` whether `${…}` does.
    ///
    /// # Errors
    /// What is wrong with a variable.
    pub(super) fn parse(text: &str, wild: bool, variables: bool) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${").filter(|_| variables) {
            push(&mut pieces, tokens(before, wild));
            let (inside, after) =
                after.split_once('}').ok_or_else(|| "a variable has no '}'".to_owned())?;
            match inside {
                "*" | "?" | "$" => push(&mut pieces, inside.chars().map(Token::One).collect()),
                inside => pieces.push(variable(inside)?),
            }
            rest = after;
        }
        push(&mut pieces, tokens(rest, wild));
        Ok(Self(pieces))
    }

    /// Whether every variable has a value.
    pub(super) fn is_known(&self, facts: &Facts<'_>) -> bool {
        self.0.iter().all(|piece| match piece {
            Piece::Tokens(_) => true,
            Piece::Variable { key, default } => default.is_some() || facts.value(key).is_some(),
        })
    }

    /// Whether the whole text matches; never, with a variable that has no value.
    pub(super) fn matches(&self, text: &str, facts: &Facts<'_>, ignore_case: bool) -> bool {
        match self.tokens(facts) {
            Some(tokens) => matches(&tokens, text, ignore_case),
            None => false,
        }
    }

    fn tokens(&self, facts: &Facts<'_>) -> Option<Cow<'_, [Token]>> {
        match self.0.as_slice() {
            [] => return Some(Cow::Borrowed(&[])),
            [Piece::Tokens(tokens)] => return Some(Cow::Borrowed(tokens)),
            _ => {}
        }
        let mut all = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Tokens(tokens) => all.extend_from_slice(tokens),
                Piece::Variable { key, default } => {
                    let value = facts.value(key);
                    let value = value.as_deref().or(default.as_deref())?;
                    // A value means itself, whatever stands in it.
                    all.extend(value.chars().map(Token::One));
                }
            }
        }
        Some(Cow::Owned(all))
    }
}

fn push(pieces: &mut Vec<Piece>, tokens: Vec<Token>) {
    match pieces.last_mut() {
        Some(Piece::Tokens(last)) => last.extend(tokens),
        _ if tokens.is_empty() => {}
        _ => pieces.push(Piece::Tokens(tokens)),
    }
}

fn tokens(text: &str, wild: bool) -> Vec<Token> {
    let token = |c| match c {
        '*' if wild => Token::Many,
        '?' if wild => Token::Any,
        c => Token::One(c),
    };
    let mut tokens: Vec<_> = text.chars().map(token).collect();
    tokens.dedup_by(|one, other| *one == Token::Many && *other == Token::Many);
    tokens
}

/// `aws:username`, or `aws:username, 'default'`.
fn variable(text: &str) -> Result<Piece, String> {
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
        None | Some(Key::TagKeys | Key::Absent) => {
            Err(format!("${{{name}}} is no variable that is known"))
        }
        Some(key) => Ok(Piece::Variable { key, default }),
    }
}

/// Goes back to the last `*` alone, so it takes at most the product of the two lengths.
fn matches(pattern: &[Token], text: &str, ignore_case: bool) -> bool {
    let same = |one: char, other: char| {
        one == other || ignore_case && one.to_lowercase().eq(other.to_lowercase())
    };
    let mut rest = text.chars();
    let mut at = 0;
    // Where the pattern goes on after the last `*`, and what the text is there.
    let mut last_star = None;
    loop {
        let before = rest.clone();
        match (pattern.get(at), rest.next()) {
            (Some(Token::Many), _) => {
                at += 1;
                rest = before.clone();
                last_star = Some((at, before));
                continue;
            }
            (Some(Token::Any), Some(_)) => {
                at += 1;
                continue;
            }
            (Some(Token::One(wanted)), Some(found)) if same(*wanted, found) => {
                at += 1;
                continue;
            }
            (None, None) => return true,
            (Some(_), None) => return false,
            (Some(_) | None, Some(_)) => {}
        }
        // The `*` takes one more.
        let Some((after, star_rest)) = &mut last_star else { return false };
        if star_rest.next().is_none() {
            return false;
        }
        at = *after;
        rest = star_rest.clone();
    }
}

/// `kinesis:Put*`, without case.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ActionPattern(Vec<Token>);

impl ActionPattern {
    /// Compiles a text.
    ///
    /// # Errors
    /// What it must look like.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let is_valid = text == "*"
            || text.split_once(':').is_some_and(|(service, action)| {
                let of_service = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
                let of_action = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'*' | b'?');
                let filled = !service.is_empty() && !action.is_empty();
                filled && service.bytes().all(of_service) && action.bytes().all(of_action)
            });
        if is_valid {
            Ok(Self(tokens(text, true)))
        } else {
            Err("an action is '*' or <service>:<action>, the latter with '*' and '?'".to_owned())
        }
    }

    pub(super) fn matches(&self, action: &str) -> bool {
        matches(&self.0, action, true)
    }
}

/// A pattern of ARNs: each of the six parts for itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ArnPattern {
    /// `*`
    All,
    /// Partition, service, region, account and resource.
    Parts(Box<[Pattern; 5]>),
}

impl ArnPattern {
    /// Compiles a text.
    ///
    /// # Errors
    /// What it must look like.
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

    /// Whether every variable has a value.
    pub(super) fn is_known(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Parts(parts) => parts.iter().all(|part| part.is_known(facts)),
        }
    }

    pub(super) fn matches(&self, arn: &str, facts: &Facts<'_>) -> bool {
        let Self::Parts(patterns) = self else { return true };
        let mut parts = arn.splitn(6, ':');
        parts.next() == Some("arn")
            && patterns
                .iter()
                .all(|pattern| parts.next().is_some_and(|p| pattern.matches(p, facts, false)))
    }
}

/// Where the first colon is that stands in no variable.
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
        matches(&tokens(pattern, true), text, false)
    }

    /// By trying everything.
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
    fn stars_and_question_marks_match_as_they_do_in_policies() {
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
    fn many_stars_take_no_more_than_the_product_of_the_lengths() {
        let pattern = "a*".repeat(2000) + "b";
        assert!(!glob(&pattern, &"a".repeat(5000)));
    }

    proptest! {
        #[test]
        fn matching_is_what_trying_everything_finds(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(glob(&pattern, &text), slow(&chars(&pattern), &chars(&text)));
        }
    }
}
