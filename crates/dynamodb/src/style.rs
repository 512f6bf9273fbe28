//! The style of a request: expressions, or the older parameters. A request that mixes them is refused.

use anabranch_aws::wire::Text;

use crate::error::Error;
use crate::expression::Placeholders;
use crate::value::json::{Entries, SentValue};

/// Parameters of both styles that a request has.
#[derive(Debug, Default)]
pub(crate) struct Style {
    expressions: Vec<&'static str>,
    /// Members for expressions that the operation has, given or not.
    possible: Vec<&'static str>,
    legacy: Vec<&'static str>,
}

/// `ExpressionAttributeNames` of a request.
pub(crate) type SentNames<'a> = Entries<Text<'a>>;
/// `ExpressionAttributeValues` of a request.
pub(crate) type SentValues = Entries<SentValue>;

impl Style {
    /// A request without parameters of either style.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A member that holds an expression.
    pub(crate) fn expression(mut self, name: &'static str, is_given: bool) -> Self {
        self.possible.push(name);
        self.expressions.extend(is_given.then_some(name));
        self
    }

    /// A member of the older style.
    pub(crate) fn legacy(mut self, name: &'static str, is_given: bool) -> Self {
        self.legacy.extend(is_given.then_some(name));
        self
    }

    /// Checks that the styles are not mixed. Returns the placeholders for the expressions.
    ///
    /// # Errors
    /// [`Error::Validation`] with the text of AWS.
    pub(crate) fn placeholders(
        &self,
        names: Option<&SentNames<'_>>,
        values: Option<&SentValues>,
    ) -> Result<Placeholders, Error> {
        let mut given = self.expressions.clone();
        given.extend(names.map(|_| "ExpressionAttributeNames"));
        given.extend(values.map(|_| "ExpressionAttributeValues"));
        if !given.is_empty() && !self.legacy.is_empty() {
            return Err(Error::Validation(format!(
                "Can not use both expression and non-expression parameters in the same request: Non-expression \
                 parameters: {{{}}} Expression parameters: {{{}}}",
                self.legacy.join(", "),
                given.join(", ")
            )));
        }
        if self.expressions.is_empty() {
            self.check_unneeded(names.is_some(), values.is_some())?;
        }
        let names = names.map(|names| {
            let names = names.0.iter().map(|(key, name)| (key.clone(), name.to_string()));
            names.collect()
        });
        let values = values.map(|values| {
            let values = values.0.iter().map(|(key, value)| {
                let fault = |fault| {
                    Error::Validation(format!(
                        "ExpressionAttributeValues contains invalid value: {fault} for key {key}"
                    ))
                };
                Ok((key.clone(), value.0.clone().map_err(fault)?))
            });
            values.collect::<Result<_, Error>>()
        });
        Placeholders::new(names, values.transpose()?)
    }

    fn check_unneeded(&self, has_names: bool, has_values: bool) -> Result<(), Error> {
        if has_names {
            return Err(Error::Validation(
                "ExpressionAttributeNames can only be specified when using expressions".to_owned(),
            ));
        }
        if !has_values {
            return Ok(());
        }
        let verb = if self.possible.len() == 1 { "is" } else { "are" };
        Err(Error::Validation(format!(
            "ExpressionAttributeValues can only be specified when using expressions: {} {verb} null",
            self.possible.join(" and ")
        )))
    }
}
