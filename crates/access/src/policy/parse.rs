//! Compiles a policy document to a [`Policy`]. Errors name the field and the rule that it breaks.
//!
//! 1. Parse the JSON, keeping duplicate members.
//! 2. Take each known member out of its object and compile it.
//! 3. Refuse the document if a member is left. So no member is ever ignored.
//! 4. For a new document, also refuse what older documents may still contain (`check_new`).

use super::condition::{Condition, Operator};
use super::json::Json;
use super::pattern::{ActionPattern, ArnPattern, MAX_VARIABLES};
use super::principal::{Principal, Principals};
use super::{Effect, Kind, Listed, Policy, Statement};

/// Longest document, in bytes.
///
/// Source: IAM quotas for resource-based policies. The API reference of PutResourcePolicy names no limit.
pub const MAX_DOCUMENT_BYTES: usize = 20_480;

/// A rule that a document breaks, and the field that breaks it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct ParseError {
    /// Path of the field, such as `Statement[0].Effect`.
    pub field: String,
    /// The rule, such as `it is missing`.
    pub rule: String,
}

fn wrong(field: impl Into<String>, rule: impl Into<String>) -> ParseError {
    ParseError { field: field.into(), rule: rule.into() }
}

impl Policy {
    /// Compiles a document that may have been attached by an earlier version.
    ///
    /// # Errors
    /// [`ParseError`] if the document is too long, is not JSON, has unknown or duplicate members, or has malformed
    /// values.
    pub fn parse(document: &str, kind: Kind) -> Result<Self, ParseError> {
        if document.len() > MAX_DOCUMENT_BYTES {
            let rule = format!("it is longer than {MAX_DOCUMENT_BYTES} bytes");
            return Err(wrong("Policy", rule));
        }
        let json: Json = serde_json::from_str(document)
            .map_err(|_| wrong("Policy", "it is no JSON document"))?;
        let mut members = Members::of("Policy", json)?;
        members.path.clear();
        let variables = match members.take("Version")? {
            None => false,
            Some(Json::Text(version)) if version == "2012-10-17" => true,
            Some(Json::Text(version)) if version == "2008-10-17" => false,
            Some(_) => return Err(wrong("Version", "it is 2012-10-17 or 2008-10-17")),
        };
        members.take_text("Id")?;
        let statements = match members.take("Statement")? {
            Some(Json::List(statements)) => statements,
            Some(statement @ Json::Object(_)) => vec![statement],
            Some(_) => return Err(wrong("Statement", "it is an object or a list of objects")),
            None => return Err(wrong("Statement", "it is missing")),
        };
        members.finish()?;
        if statements.is_empty() {
            return Err(wrong("Statement", "it is empty"));
        }
        let statements = statements.into_iter().enumerate();
        let parse = |(number, json)| statement(number, json, kind, variables);
        let statements: Vec<_> = statements.map(parse).collect::<Result<_, _>>()?;
        let mut sids: Vec<_> = statements.iter().filter_map(|(_, sid)| sid.as_deref()).collect();
        sids.sort_unstable();
        if sids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(wrong("Sid", "another statement has the same Sid"));
        }
        let statements = statements.into_iter().map(|(statement, _)| statement).collect();
        Ok(Self { statements, bytes: document.len() })
    }

    /// Compiles a document that is about to be attached. `check_new` has additional rules for it. Documents that were
    /// attached earlier may break these rules and stay valid.
    ///
    /// # Errors
    /// [`ParseError`], as [`Self::parse`] and for the additional rules.
    pub fn parse_new(document: &str, kind: Kind) -> Result<Self, ParseError> {
        let policy = Self::parse(document, kind)?;
        for (number, statement) in policy.statements.iter().enumerate() {
            check_new(number, statement)?;
        }
        Ok(policy)
    }
}

/// Refuses a `Deny` on a condition key that no request has here, and values with too many variables.
fn check_new(number: usize, statement: &Statement) -> Result<(), ParseError> {
    let path = format!("Statement[{number}]");
    let mut absent = statement.conditions.iter().filter_map(Condition::absent_key);
    if statement.effect == Effect::Deny
        && let Some(key) = absent.next()
    {
        let rule = format!(
            "no request has a value for {} here, so a Deny on it would deny nothing, or everything",
            cut(key)
        );
        return Err(wrong(format!("{path}.Condition"), rule));
    }
    let resources = statement.resources.iter().flat_map(|resources| &resources.members);
    let variables = resources.map(ArnPattern::variables);
    let variables = variables.chain(statement.conditions.iter().map(Condition::variables));
    if variables.max().is_some_and(|most| most > MAX_VARIABLES) {
        return Err(wrong(path, format!("a value has more than {MAX_VARIABLES} variables")));
    }
    Ok(())
}

fn statement(
    number: usize,
    json: Json,
    kind: Kind,
    variables: bool,
) -> Result<(Statement, Option<String>), ParseError> {
    let path = format!("Statement[{number}]");
    let mut members = Members::of(&path, json)?;
    let sid = members.take_text("Sid")?;
    let effect = match members.take_text("Effect")?.as_deref() {
        Some("Allow") => Effect::Allow,
        Some("Deny") => Effect::Deny,
        _ => return Err(wrong(format!("{path}.Effect"), "it is Allow or Deny")),
    };
    let actions = members.listed("Action", "NotAction", ActionPattern::parse)?;
    let actions = actions
        .ok_or_else(|| wrong(format!("{path}.Action"), "it is missing, and so is NotAction"))?;
    let parse = |text: &str| ArnPattern::parse(text, true, variables);
    let resources = members.listed("Resource", "NotResource", parse)?;
    if resources.is_none() && kind == Kind::Identity {
        let rule = "it is missing, and so is NotResource";
        return Err(wrong(format!("{path}.Resource"), rule));
    }
    let principals = members.principals(effect)?;
    match (kind, &principals) {
        (Kind::Identity, Some(_)) => {
            let rule = "it is allowed only in policies of resources";
            return Err(wrong(format!("{path}.Principal"), rule));
        }
        (Kind::Resource, None) => {
            return Err(wrong(format!("{path}.Principal"), "it is missing"));
        }
        (Kind::Identity, None) | (Kind::Resource, Some(_)) => {}
    }
    let conditions = members.conditions(variables)?;
    members.finish()?;
    Ok((Statement { effect, principals, actions, resources, conditions }, sid))
}

/// The members of a JSON object that have not been taken out yet.
struct Members {
    path: String,
    members: Vec<(String, Json)>,
}

impl Members {
    fn of(path: &str, json: Json) -> Result<Self, ParseError> {
        match json {
            Json::Object(members) => Ok(Self { path: path.to_owned(), members }),
            Json::Null | Json::Text(_) | Json::Bare(_) | Json::List(_) => {
                Err(wrong(path, "it is not a JSON object"))
            }
        }
    }

    fn field(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Takes the member with this name out. It may appear only once.
    fn take(&mut self, name: &str) -> Result<Option<Json>, ParseError> {
        let Some(at) = self.members.iter().position(|(known, _)| known == name) else {
            return Ok(None);
        };
        let (_, json) = self.members.remove(at);
        if self.members.iter().any(|(known, _)| known == name) {
            return Err(wrong(self.field(name), "it appears more than once"));
        }
        Ok(Some(json))
    }

    fn take_text(&mut self, name: &str) -> Result<Option<String>, ParseError> {
        match self.take(name)? {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(self.field(name), "it is not a string")),
        }
    }

    /// Takes the texts of `name`, or of its negated form `opposite`, out and parses each. Both at once are an error.
    fn listed<T>(
        &mut self,
        name: &str,
        opposite: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<Listed<T>>, ParseError> {
        let (json, negated, name) = match (self.take(name)?, self.take(opposite)?) {
            (None, None) => return Ok(None),
            (Some(json), None) => (json, false, name),
            (None, Some(json)) => (json, true, opposite),
            (Some(_), Some(_)) => {
                return Err(wrong(
                    self.field(name),
                    format!("it cannot be combined with {opposite}"),
                ));
            }
        };
        let field = self.field(name);
        let members = texts(&field, json)?.into_iter().map(|text| {
            parse(&text).map_err(|rule| wrong(field.clone(), format!("'{}': {rule}", cut(&text))))
        });
        Ok(Some(Listed { negated, members: members.collect::<Result<_, _>>()? }))
    }

    fn principals(&mut self, effect: Effect) -> Result<Option<Principals>, ParseError> {
        let (json, name) = match (self.take("Principal")?, self.take("NotPrincipal")?) {
            (None, None) => return Ok(None),
            (Some(json), None) => (json, "Principal"),
            (None, Some(json)) => (json, "NotPrincipal"),
            (Some(_), Some(_)) => {
                return Err(wrong(
                    self.field("Principal"),
                    "it cannot be combined with NotPrincipal",
                ));
            }
        };
        let field = self.field(name);
        if name == "NotPrincipal" && effect == Effect::Allow {
            return Err(wrong(field, "it is allowed only with the effect Deny"));
        }
        let members = match json {
            Json::Text(text) if text == "*" => vec![Principal::Everybody],
            json @ Json::Object(_) => {
                let mut kinds = Members::of(&field, json)?;
                let named = kinds.take("AWS")?;
                kinds.finish()?;
                let named = named.ok_or_else(|| wrong(format!("{field}.AWS"), "it is missing"))?;
                let texts = texts(&field, named)?.into_iter().map(|text| {
                    Principal::parse(&text)
                        .map_err(|rule| wrong(field.clone(), format!("'{}': {rule}", cut(&text))))
                });
                texts.collect::<Result<_, _>>()?
            }
            Json::Null | Json::Text(_) | Json::Bare(_) | Json::List(_) => {
                return Err(wrong(field, "it is '*' or an object with the member AWS"));
            }
        };
        Ok(Some(Principals { negated: name == "NotPrincipal", members }))
    }

    fn conditions(&mut self, variables: bool) -> Result<Vec<Condition>, ParseError> {
        let Some(json) = self.take("Condition")? else { return Ok(Vec::new()) };
        let mut conditions = Vec::new();
        let operators = Members::of(&self.field("Condition"), json)?;
        operators.check_unique()?;
        for (name, json) in operators.members {
            let field = format!("{}.{}", operators.path, cut(&name));
            let operator = Operator::of_name(&name)
                .ok_or_else(|| wrong(field.clone(), "unknown condition operator"))?;
            let keys = Members::of(&field, json)?;
            keys.check_unique()?;
            for (key, json) in keys.members {
                let field = format!("{field}.{}", cut(&key));
                let values = scalars(&field, json)?;
                let condition = Condition::parse(operator, &key, &values, variables);
                conditions.push(condition.map_err(|rule| wrong(field, rule))?);
            }
        }
        Ok(conditions)
    }

    fn check_unique(&self) -> Result<(), ParseError> {
        let mut names: Vec<_> = self.members.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(wrong(self.field(&cut(pair[0])), "it appears more than once")),
            None => Ok(()),
        }
    }

    fn finish(self) -> Result<(), ParseError> {
        match self.members.first() {
            Some((name, _)) => Err(wrong(self.field(&cut(name)), "unknown member")),
            None => Ok(()),
        }
    }
}

/// Reads a string or a list of strings that is not empty.
fn texts(field: &str, json: Json) -> Result<Vec<String>, ParseError> {
    let rule = "it must be a string or a list of strings";
    let text = |json| match json {
        Json::Text(text) => Ok(text),
        Json::Null | Json::Bare(_) | Json::List(_) | Json::Object(_) => Err(wrong(field, rule)),
    };
    match json {
        Json::List(list) if list.is_empty() => Err(wrong(field, "it is empty")),
        Json::List(list) => list.into_iter().map(text).collect(),
        json @ (Json::Null | Json::Text(_) | Json::Bare(_) | Json::Object(_)) => {
            text(json).map(|text| vec![text])
        }
    }
}

/// Reads a string, number or boolean, or a list of these.
fn scalars(field: &str, json: Json) -> Result<Vec<String>, ParseError> {
    let scalar = |json| match json {
        Json::Text(text) | Json::Bare(text) => Ok(text),
        Json::Null | Json::List(_) | Json::Object(_) => {
            Err(wrong(field, "it must be a value or a list of values"))
        }
    };
    match json {
        Json::List(list) => list.into_iter().map(scalar).collect(),
        json @ (Json::Null | Json::Text(_) | Json::Bare(_) | Json::Object(_)) => {
            scalar(json).map(|text| vec![text])
        }
    }
}

/// The first 128 characters of a user's text, for an error message.
fn cut(text: &str) -> String {
    text.chars().take(128).collect()
}
